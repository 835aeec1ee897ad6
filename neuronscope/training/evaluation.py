"""Evaluation of the model between two steps."""

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
    """Counts answers, computes the scores of the stop rule, and calls the callback."""

    work: Work
    roles: Roles
    encoded: list[Encoded]
    """The encoded facts whose answers are counted, targets first."""

    stop: StopRule | None
    callback: Callback | None

    @staticmethod
    def of(
        work: Work, roles: Roles, stop: StopRule | None, callback: Callback | None
    ) -> "Evaluation":
        """Encode the facts."""
        counted = (*roles.targets, *roles.others)
        encoded = answers_of(work.training.model, counted, work.config.form)
        return Evaluation(work, roles, encoded, stop, callback)

    def __call__(self, step: int) -> tuple[Row, Row]:
        """Evaluate the model in its current state.

        Returns:
            Columns of the history; and the subset of them that are scores of the stop rule.

        Raises:
            NaNLogitsError: If the model's logits are NaN.
        """
        began = time.perf_counter()
        model = self.work.training.model
        measured = measure(model, self.encoded)
        target = np.arange(len(self.encoded)) < len(self.roles.targets)
        row: Row = {}
        for name, chosen in zip(self.roles.names, (target, ~target), strict=True):
            if chosen.any():
                row[f"asked_{name}"] = float(chosen.sum())
                row[f"answered_{name}"] = float(measured.answered[chosen].sum())
                row[f"answered_{name}_rate"] = float(measured.answered[chosen].mean())
        if target.any():
            row[f"log_odds_{self.roles.names[0]}"] = float(np.mean(measured.score[target]))
        scores: Row = {}
        if self.stop is not None:
            scores = self.stop.score(model, self.work.facts, self.work.config.form)
        if self.callback is not None:
            self.callback(step, model)
        return row | scores | {"evaluation_seconds": time.perf_counter() - began}, scores
