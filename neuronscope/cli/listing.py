"""The command that says which methods there are."""

from dataclasses import dataclass
from typing import Annotated

import tyro
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
    "evidence": "what happened inside, as both models show it: --views",
    "plots": "figures, each a function of tables",
}


@dataclass(frozen=True)
class List:
    """List the methods: attributions, objectives, regularizers, metrics, figures."""

    family: Annotated[
        str | None, tyro.conf.Positional, tyro.conf.arg(metavar="FAMILY", help_behavior_hint="")
    ] = None
    """The family that is listed, e.g. objectives (default: all of them)."""

    def run(self, console: Console) -> None:
        """Print a family's methods, or those of all, with their first lines.

        Raises:
            ValueError: If there is no such family.
        """
        if self.family not in (None, *FAMILIES):
            raise ValueError(f"No family {self.family!r}: there are {', '.join(FAMILIES)}.")
        for family in FAMILIES if self.family is None else (self.family,):
            table = Table(
                "name", "what it is", title=f"{family}: {FAMILIES[family]}", title_justify="left"
            )
            for name in method_names(family):
                table.add_row(name, escape(summary(f"{family}/{name}")))
            console.print(table)
