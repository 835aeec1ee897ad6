"""Try to recover what a model was made to forget."""

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
"""The tables in a result's folder."""


@dataclass(frozen=True, eq=False)
class Attacked:
    """What an attack recovered."""

    table: pd.DataFrame
    """One row per model, run, evaluation and split; columns as in `results/attack_table.py`."""

    recovery: pd.DataFrame
    """One row per model, variant and split; columns as in `attacks/_recovery.py`."""

    @property
    def curves(self) -> pd.DataFrame:
        """Recovery by step and learning rate; columns as in `attacks/_recovery.py`."""
        from neuronscope.attacks import curves

        return curves(self.table)

    def __repr__(self) -> str:
        return f"Attacked({' '.join(self.readings)})"

    @property
    def readings(self) -> list[str]:
        """What the attack shows about the checkpoint: one sentence per variant."""
        table = self.recovery
        rows = table.loc[(table["model"] == ATTACKED_CHECKPOINT) & (table["split"] == REST)]
        return [
            f"{row['variant']}: {row['reading']}" if row["variant"] else row["reading"]
            for row in rows.to_dict("records")
        ]


@dataclass(frozen=True)
class Attack(Task[Attacked]):
    """Try to recover what a model was made to forget, and attack control models the same way."""

    model: Annotated[Any, Model()]
    """Attacked model: HF directory, hub id, adapter directory, or .gguf file."""

    facts: Annotated[Any, Facts()]
    """File or folder of facts: the attack tries to recover the forget split and monitors the
    retain split."""

    attack: Annotated[Any, Method("attacks", "Attack")]
    """Attack to run."""

    original: Annotated[Any, Model()] = None
    """The model before unlearning, attacked as well for an upper bound on recovery (default:
    none)."""

    never_knew: Annotated[Any, Model()] = None
    """A model that never learned the facts, attacked as well for a lower bound on recovery: its
    answers are guessed or learned from the attack (default: none)."""

    form: PromptForm = "completion"
    """Prompt format of the facts that an attack trains on."""

    asked: PromptForm | None = None
    """Prompt format for the evaluation (default: the same as `form`)."""

    loading: Loading = field(default_factory=Loading)

    def check(self) -> None:
        from neuronscope.tasks._models import tokenizers_of

        facts = read_facts(self.facts)
        tokenizers = tokenizers_of([self.model, *self._controls().values()], self.loading)
        self.method().check(facts, tokenizers, self.form, self.asked or self.form)

    def method(self) -> Any:
        """The attack.

        Raises:
            ValueError: If the attack or a setting does not exist.
        """
        from neuronscope.attacks import Attack as Base

        attack = made("attacks", self.attack, Base, None)
        if attack is None:
            raise ValueError("Expected an attack, got None.")
        return attack

    def _perform(self, folder: Path | None) -> Any:
        if folder is None:
            return self._attacked(None)
        with self._writing(folder) as workspace:
            attacked = self._attacked(workspace)
            write_table(folder / TABLE, attacked.table)
            write_table(folder / RECOVERY, attacked.recovery)
        return attacked

    def _controls(self) -> dict[str, Any]:
        """The control models, by their names in the table."""
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
            """The rows of a run, computed or read from an earlier call."""
            return make() if workspace is None else workspace.json(f"run-{number:04}", make)

        with showing_progress(file_of(attack).replace("_", " ")) as progress:
            table = attack(model, facts, controls, self.form, self.asked, progress, keep)
        return Attacked(table, recovery(table))


attack = runs(Attack)
