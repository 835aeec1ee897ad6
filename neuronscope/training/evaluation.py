"""A look at the model between two steps."""

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from neuronscope.facts.prompts import Encoded
from neuronscope.models.answers import answers_of, measure
from neuronscope.models.hooked_model import HookedModel
from neuronscope.results.history import Row
from neuronscope.stopping import StopRule
from neuronscope.training.roles import Roles
from neuronscope.training.work import Work

Callback = Callable[[int, HookedModel], None]
"""Called with the step and the model."""


@dataclass(frozen=True, eq=False)
class Evaluation:
    """What is measured at a look, besides what the stop rule scores."""

    work: Work
    roles: Roles
    encoded: list[Encoded]
    """The facts whose answers are counted, targets first, as tokens."""

    stop: StopRule | None
    callback: Callback | None

    @staticmethod
    def of(
        work: Work, roles: Roles, stop: StopRule | None, callback: Callback | None
    ) -> "Evaluation":
        """Put the facts into tokens."""
        counted = (*roles.targets, *roles.others)
        encoded = answers_of(work.training.model, counted, work.config.form)
        return Evaluation(work, roles, encoded, stop, callback)

    def __call__(self, step: int) -> tuple[Row, Row]:
        """Measure the model as it is now.

        Returns:
            Columns of the history; and those among them that the stop rule scored.
        """
        began = time.perf_counter()
        model = self.work.training.model
        measured = measure(model, self.encoded)
        target = np.arange(len(self.encoded)) < len(self.roles.targets)
        row: Row = {}
        for name, here in zip(self.roles.names, (target, ~target), strict=True):
            if here.any():
                row[f"asked_{name}"] = float(here.sum())
                row[f"answered_{name}"] = float(measured.answered[here].sum())
                row[f"answered_{name}_rate"] = float(measured.answered[here].mean())
        if target.any():
            row[f"log_odds_{self.roles.names[0]}"] = float(np.mean(measured.score[target]))
        scores: Row = {}
        if self.stop is not None:
            scores = self.stop.score(model, self.work.facts, self.work.config.form)
        if self.callback is not None:
            self.callback(step, model)
        return row | scores | {"evaluation_seconds": time.perf_counter() - began}, scores
