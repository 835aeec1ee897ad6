"""Which neurons a run leaves unstable: the run is attacked, and recorded once more after it."""

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
"""How much an attack moved a run's neurons, and the neurons one by one."""


@dataclass(frozen=True, eq=False)
class Moved:
    """How an attack that fine-tunes moved the influences of a run's neurons."""

    summary: dict[str, Any]
    """Correlations of the influences before and after the attack; D+ and D- since the original."""

    neurons: pd.DataFrame
    """Every neuron's influence before and after the attack."""

    recording: Recording
    """The influences after the attack."""


@dataclass(frozen=True)
class Stability(Measuring, Task[Moved]):
    """Attack an unlearned model, and compare its neurons before and after (arXiv 2509.22263)."""

    model: Annotated[Any, Model()]
    """The model after unlearning."""

    facts: Annotated[FactSet, Facts()]
    """What the attack teaches and watches is drawn from these."""

    attack: Annotated[Relearning, Method("attacks", "Attack")]
    """A single run of an attack."""

    recorded: Annotated[FactSet, Facts()]
    """The facts whose influences are compared."""

    before: Any
    """The recording of the model before unlearning: a path, or the file of an earlier step."""

    after: Any
    """The recording of the model after unlearning, likewise."""

    attribution: Annotated[Any, Method("attribution", "Attribution")]
    """How influence is measured."""

    def check(self) -> None:
        """Nothing: the attack and the recordings are checked as tasks of their own."""

    def _perform(self, folder: Path | None) -> Moved:
        if folder is None:
            return self._computed()
        with self._writing(folder):
            moved = self._computed()
            # It is there if an earlier process was killed after it.
            moved.recording.save(folder / RECORDING, overwrite=True)
            write_table(folder / MOVED, moved.neurons)
            write_json(folder / STABILITY, moved.summary)
        return moved

    def _computed(self) -> Moved:
        scene = self.attack.scene(self.model, self.facts, self.form, self.form)
        run = self.attack.first_run(self.model, scene)
        how = {item.name: vars(self)[item.name] for item in fields(Measuring)}
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
