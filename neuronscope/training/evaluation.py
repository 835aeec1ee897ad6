"""A look at the model between two steps."""

import time
from dataclasses import dataclass

import numpy as np

from neuronscope.evidence import Case
from neuronscope.facts.fact import FactSet
from neuronscope.models.targets import Target
from neuronscope.results.history import Row
from neuronscope.stopping import StopRule
from neuronscope.training.sampling import batches
from neuronscope.training.work import Work


@dataclass(frozen=True, eq=False)
class Evaluation:
    """What is asked, and the rule that is asked for."""

    work: Work
    case: Case
    stop: StopRule | None

    @staticmethod
    def of(work: Work, stop: StopRule | None) -> "Evaluation":
        """Choose the facts: all to forget, and of those to keep no more than the config says."""
        facts, config, model = work.facts, work.config, work.training.model
        kept = next(batches(facts.retain, config.evaluate_facts, config.seed, "evaluate"))
        asked = FactSet(forget=facts.forget, retain=kept)
        return Evaluation(work, Case(model, model, asked, Target("log_odds"), config.form), stop)

    def __call__(self) -> tuple[Row, Row]:
        """What the model answers as it is now; and the stop rule's scores."""
        began = time.perf_counter()
        row: Row = {}
        if self.case.labelled:
            measured = self.case.measure(self.work.training.model)
            for split, here in (("forget", self.case.forget), ("retain", ~self.case.forget)):
                if here.any():
                    row[f"asked_{split}"] = float(here.sum())
                    row[f"answered_{split}"] = float(measured.answered[here].sum())
                    row[f"answered_{split}_rate"] = float(measured.answered[here].mean())
            if self.case.forget.any():
                row["log_odds_forget"] = float(np.mean(measured.score[self.case.forget]))
        scores: Row = {}
        if self.stop is not None:
            work = self.work
            scores = self.stop.score(work.training.model, work.facts, work.config.form)
        return row | scores | {"evaluation_seconds": time.perf_counter() - began}, scores
