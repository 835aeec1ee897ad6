"""Which neurons of an unlearned model are unstable: recordings before and after an attack."""

import math
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any

import pandas as pd

from neuronscope.analysis.influence_variation import influence_variation, sum_of_largest
from neuronscope.analysis.stability import stability
from neuronscope.attacks import Relearning
from neuronscope.facts.fact import FactSet
from neuronscope.results.cache import write_json, write_table
from neuronscope.results.comparison import Comparison
from neuronscope.results.recording import Recording
from neuronscope.tasks import Facts, Measuring, Method, Model, Task
from neuronscope.tasks.record import RECORDING, Record

STABILITY, MOVED = "stability.json", "moved.parquet"
"""Files of a result: the summary, and the table of neurons."""


@dataclass(frozen=True, eq=False)
class Moved:
    """How a relearning attack changed the influences of a model's neurons."""

    summary: dict[str, Any]
    """Correlations of the influences before and after the attack; D+ and D- relative to the
    original model."""

    neurons: pd.DataFrame
    """The influence of every neuron before and after the attack."""

    recording: Recording
    """The influences after the attack."""


@dataclass(frozen=True)
class Stability(Measuring, Task[Moved]):
    """Attack an unlearned model, and compare its neurons before and after (arXiv 2509.22263)."""

    model: Annotated[Any, Model()]
    """The model after unlearning."""

    facts: Annotated[FactSet, Facts()]
    """The facts that the attack trains on and evaluates."""

    attack: Annotated[Relearning, Method("attacks", "Attack")]
    """The attack, restricted to a single run."""

    recorded: Annotated[FactSet, Facts()]
    """The facts on which influences are compared."""

    before: Any
    """Recording of the model before unlearning: a path, or the file of an earlier step."""

    after: Any
    """Recording of the model after unlearning: a path, or the file of an earlier step."""

    attribution: Annotated[Any, Method("attribution", "Attribution")]
    """Attribution method."""

    original: Annotated[Any, Model()] = None
    """The model before unlearning, which selects neutral facts as in `Record`."""

    null_facts: int | None = None
    """Number of neutral facts, as in `Record`."""

    def check(self) -> None:
        """Do nothing: the attack and the recordings are checked by their own tasks."""

    def _perform(self, folder: Path | None) -> Moved:
        if folder is None:
            return self._computed()
        with self._writing(folder):
            moved = self._computed()
            # The file exists if an earlier process was killed after writing it.
            moved.recording.save(folder / RECORDING, overwrite=True)
            write_table(folder / MOVED, moved.neurons)
            write_json(folder / STABILITY, moved.summary)
        return moved

    def _computed(self) -> Moved:
        scene = self.attack.scene(self.model, self.facts, self.form, self.form)
        run = self.attack.first_run(self.model, scene)
        names = ("original", "null_facts", *(item.name for item in fields(Measuring)))
        how = {name: vars(self)[name] for name in names}
        attacked = Record(run.model, self.recorded, self.attribution, "all", **how).run()
        before, after = Recording.load(self.before), Recording.load(self.after)
        neurons = influence_variation(Comparison(after, attacked))
        alike = stability(after, attacked)
        since = influence_variation(Comparison(before, attacked))
        summary = {
            "stopped": run.stopped,
            "unit": before.provenance.unit,
            "n_neurons": alike.n_neurons,
            "pearson": _or_none(alike.pearson),
            "spearman": _or_none(alike.spearman),
            **{sign: sum_of_largest(since[sign].to_numpy()) for sign in ("d_plus", "d_minus")},
        }
        return Moved(summary, neurons.drop(columns=["d_plus", "d_minus"]), attacked)


def _or_none(value: float) -> float | None:
    """JSON has no NaN."""
    return None if math.isnan(value) else value
