"""The command that lists the methods of each family."""

from dataclasses import dataclass
from typing import Annotated

import tyro
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from neuronscope._discover import method_names
from neuronscope.cli.settings import summary

FAMILIES = {
    "attribution": "how the influence of neurons is measured (--attribution)",
    "facts/formats": "file formats of facts (--facts)",
    "objectives": "what unlearning minimizes (neuronscope unlearn MODEL OBJECTIVE)",
    "regularizers": "penalties added to the objective (--regularizer)",
    "stopping": "when unlearning stops (--stop)",
    "attacks": "ways to recover forgotten answers (neuronscope attack MODEL ATTACK)",
    "metrics": "scores of forgetting and retention (neuronscope score MODEL --metrics)",
    "evidence": "causal views of a pair of models (neuronscope diagnose --views)",
    "plots": "figures, as functions of tables (Python only)",
}


@dataclass(frozen=True)
class List:
    """List the available methods: attributions, objectives, attacks, metrics, ..."""

    family: Annotated[
        str | None, tyro.conf.Positional, tyro.conf.arg(metavar="[FAMILY]", help_behavior_hint="")
    ] = None
    """Family to list, e.g. objectives (default: all)."""

    def run(self, console: Console) -> None:
        """Print the methods of one or all families, each with the first line of its file.

        Raises:
            ValueError: If the family does not exist.
        """
        if self.family not in (None, *FAMILIES):
            raise ValueError(f"No family {self.family!r}: expected one of {', '.join(FAMILIES)}.")
        for family in FAMILIES if self.family is None else (self.family,):
            title = f"{family}: {FAMILIES[family]}"
            table = Table("name", "description", title=title, title_justify="left")
            for name in method_names(family):
                table.add_row(name, escape(summary(f"{family}/{name}")))
            console.print(table)
