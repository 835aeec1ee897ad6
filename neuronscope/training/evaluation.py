"""A look at the model between two steps."""

import time
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool

from neuronscope.facts.prompts import Encoded
from neuronscope.models.answers import answers_of, measure
from neuronscope.stopping import StopRule
from neuronscope.training.history import Row
from neuronscope.training.sampling import batches
from neuronscope.training.work import Work


@dataclass(frozen=True, eq=False)
class Evaluation:
    """What is asked, and the rule that is asked for."""

    work: Work

    encoded: list[Encoded]
    """The facts that are looked at, as tokens."""

    forget: Bool[np.ndarray, " fact"]
    """Which of them are to be forgotten."""

    stop: StopRule | None

    @staticmethod
    def of(work: Work, stop: StopRule | None) -> "Evaluation":
        """Choose the facts: all to forget, and of those to keep no more than the config says."""
        facts, config, model = work.facts, work.config, work.training.model
        kept = next(batches(facts.retain, config.evaluate_facts, config.seed, "evaluate"))
        encoded = answers_of(model, (*facts.forget, *kept), config.form)
        return Evaluation(work, encoded, np.arange(len(encoded)) < len(facts.forget), stop)

    def __call__(self) -> tuple[Row, Row]:
        """What the model answers as it is now; and the stop rule's scores."""
        began = time.perf_counter()
        measured = measure(self.work.training.model, self.encoded)
        row: Row = {}
        for split, here in (("forget", self.forget), ("retain", ~self.forget)):
            if here.any():
                row[f"asked_{split}"] = float(here.sum())
                row[f"answered_{split}"] = float(measured.answered[here].sum())
                row[f"answered_{split}_rate"] = float(measured.answered[here].mean())
        if self.forget.any():
            row["log_odds_forget"] = float(np.mean(measured.score[self.forget]))
        scores: Row = {}
        if self.stop is not None:
            work = self.work
            scores = self.stop.score(work.training.model, work.facts, work.config.form)
        return row | scores | {"evaluation_seconds": time.perf_counter() - began}, scores
