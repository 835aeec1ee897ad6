"""The command that says which methods there are."""

from dataclasses import dataclass

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from neuronscope._discover import method_names
from neuronscope.cli.flags import summary

FAMILIES = {
    "attribution": "how much each neuron moves the target: --attribution",
    "facts/formats": "files of facts that can be read: --facts",
    "objectives": "what unlearning minimises: neuronscope unlearn MODEL OBJECTIVE",
    "regularizers": "what is added to it: --regularizer",
    "stopping": "when unlearning is done: --stop",
    "attacks": "how the forgotten is brought back: neuronscope attack MODEL ATTACK",
    "metrics": "how forgetting and retention are scored: neuronscope score MODEL --metrics",
    "evidence": "what happened inside, asked of both models",
    "analysis": "what two recordings say",
    "plots": "figures, each a function of tables",
}


@dataclass(frozen=True)
class List:
    """List the methods: attributions, objectives, regularizers, metrics, figures."""

    def run(self, console: Console) -> None:
        """Print each family's methods with their first lines."""
        for family, what in FAMILIES.items():
            table = Table("name", "what it is", title=f"{family}: {what}", title_justify="left")
            for name in method_names(family):
                table.add_row(name, escape(summary(f"{family}/{name}")))
            console.print(table)
