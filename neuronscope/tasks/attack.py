"""Try to bring back what a model was made to forget."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import pandas as pd

from neuronscope.results.attack_table import ATTACKED_CHECKPOINT, NEVER_KNEW, ORIGINAL, REST
from neuronscope.results.cache import Workspace, write_table
from neuronscope.tasks._facts import read_facts
from neuronscope.tasks._task import Facts, Loading, Method, Model, PromptForm, Task, runs
from neuronscope.tasks.methods import file_of, made

TABLE, RECOVERY = "attack.parquet", "recovery.parquet"
"""The tables in the folder of a result."""


@dataclass(frozen=True, eq=False)
class Attacked:
    """What an attack brought back."""

    table: pd.DataFrame
    """One row per model, run, look and split; columns as in `results/attack_table.py`."""

    recovery: pd.DataFrame
    """One row per model, variant and split; columns as in `attacks/_recovery.py`."""

    @property
    def readings(self) -> list[str]:
        """What may be said of the attacked checkpoint: one sentence per variant."""
        table = self.recovery
        rows = table.loc[(table["model"] == ATTACKED_CHECKPOINT) & (table["split"] == REST)]
        return [
            f"{row['variant']}: {row['reading']}" if row["variant"] else row["reading"]
            for row in rows.to_dict("records")
        ]


@dataclass(frozen=True)
class Attack(Task[Attacked]):
    """Try to bring back what a model was made to forget, beside the same attack on controls."""

    model: Annotated[Any, Model()]
    """The checkpoint under attack: HF directory, hub id, adapter directory, or .gguf file."""

    facts: Annotated[Any, Facts()]
    """The facts: those of split forget are to be brought back, those of retain are watched."""

    attack: Annotated[Any, Method("attacks", "Attack")]
    """How the forgotten is brought back."""

    original: Annotated[Any, Model()] = None
    """The model before unlearning: attacked likewise, it shows the most that can come back
    (default: no such control)."""

    never_knew: Annotated[Any, Model()] = None
    """A model that never saw the facts: attacked likewise, it shows what the attack teaches any
    model (default: no such control)."""

    form: PromptForm = "completion"
    """How a fact is taught."""

    asked: PromptForm | None = None
    """How a fact is asked (default: as it is taught)."""

    loading: Loading = field(default_factory=Loading)

    def check(self) -> None:
        from neuronscope.tasks._models import tokenizers_of

        facts = read_facts(self.facts)
        tokenizers = tokenizers_of([self.model, *self._controls().values()], self.loading)
        self.method().check(facts, tokenizers, self.form, self.asked or self.form)

    def method(self) -> Any:
        """The attack that is tried.

        Raises:
            ValueError: If there is no such attack or setting.
        """
        from neuronscope.attacks import Attack as Base

        found = made("attacks", self.attack, Base, None)
        if found is None:
            raise ValueError("Expected an attack, got None.")
        return found

    def _perform(self, folder: Path | None) -> Any:
        if folder is None:
            return self._attacked(None)
        with self._writing(folder) as workspace:
            found = self._attacked(workspace)
            write_table(folder / TABLE, found.table)
            write_table(folder / RECOVERY, found.recovery)
        return found

    def _controls(self) -> dict[str, Any]:
        """The other models, by the names that they have in the table."""
        controls = {ORIGINAL: self.original, NEVER_KNEW: self.never_knew}
        return {name: model for name, model in controls.items() if model is not None}

    def _attacked(self, workspace: Workspace | None) -> Attacked:
        from neuronscope.attacks import recovery
        from neuronscope.display import showing_progress
        from neuronscope.tasks._models import loaded

        attack, facts = self.method(), read_facts(self.facts)
        model = loaded(self.model, self.loading)
        controls = {name: loaded(one, self.loading) for name, one in self._controls().items()}

        def keep(number: int, make: Callable[[], Any]) -> Any:
            """The rows of a run, made or found from an earlier call."""
            return make() if workspace is None else workspace.json(f"run-{number:04}", make)

        with showing_progress(file_of(attack).replace("_", " ")) as progress:
            table = attack(model, facts, controls, self.form, self.asked, progress, keep)
        return Attacked(table, recovery(table))


attack = runs(Attack)
