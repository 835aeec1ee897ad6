"""A linear probe with few labels: can the right answer be told from wrong ones, if one looks?

The model reads a prompt with a candidate behind it, the answer or a distractor, and its state at
the candidate's last token is kept. A logistic regression learns from facts that were *not* to be
forgotten which states belong to right candidates, and is asked about the facts that were: the
answer must score above every distractor. A model that lost a fact leaves the probe at chance; one
that only does not say it need not.

Each fact's candidates are centred on their mean, in training and in the test: they differ in the
candidate alone, and so do the states that are compared. The layer is chosen by cross-validation
over the training facts. The control is the same probe with the labels shuffled within each fact.
"""

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Int
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold, cross_val_predict
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from neuronscope.evidence._base import Case, Evidence, Progress, no_progress
from neuronscope.evidence._candidates import Candidates
from neuronscope.evidence._forgotten import undecided
from neuronscope.evidence._readable import (
    compared,
    figures_before,
    judged,
    share_interval,
    too_few,
    with_distractors,
    without_distractors,
)
from neuronscope.results.findings import Finding

FEWEST_LABELS = 6
"""Facts to learn from without which a probe says nothing; reasoned: as many as give each of three
folds two."""

MODELS = ("before", "after")


@dataclass(frozen=True)
class LinearProbe(Evidence):
    """How often a linear probe of the states tells forgotten answers from distractors."""

    by_default: ClassVar[bool] = False

    layers: int = 6
    """How many layers are tried, evenly spread and ending with the last."""

    inverse_penalty: float = 0.01
    """C of the logistic regression: the smaller, the stronger its L2 penalty. There are far more
    directions than labels."""

    shuffles: int = 5
    """How often the control is drawn."""

    seed: int = 0
    """Of the shuffled labels."""

    def __post_init__(self) -> None:
        if self.layers < 1 or self.shuffles < 1 or not self.inverse_penalty > 0:
            raise ValueError(
                "Expected layers and shuffles of 1 or more and an inverse_penalty above 0, got "
                f"{self.layers}, {self.shuffles} and {self.inverse_penalty}."
            )

    def __call__(self, case: Case, progress: Progress = no_progress) -> Finding:
        asked = with_distractors(case)
        training = int((asked & ~case.forget).sum())
        if training < FEWEST_LABELS:
            return _untaught(case, training)
        candidates = Candidates.of(case, asked)
        probed = []
        for step, model in enumerate((case.before, case.after), start=1):
            depths = np.linspace(0, model.n_layers, self.layers + 1)[1:].round().astype(int) - 1
            chosen = np.unique(depths.clip(min=0))
            states = candidates.states(model, chosen)
            probed.append(self._probe(candidates, states, chosen))
            progress(step, 2)
        return _finding(case, asked, candidates, *probed)

    def _probe(
        self,
        candidates: Candidates,
        states: Float[np.ndarray, "layer candidate residual"],
        layers: Int[np.ndarray, " layer"],
    ) -> "Probed":
        """Train on the facts that were not to be forgotten, layer by layer, and ask about all."""
        probe = make_pipeline(
            StandardScaler(),
            LogisticRegression(C=self.inverse_penalty, class_weight="balanced", max_iter=1000),
        )
        learnt = np.stack([cross_validated(probe, layer, candidates) for layer in states])
        asked = np.stack([taught(probe, layer, candidates, candidates.true) for layer in states])
        best = int(learnt.mean(axis=1).argmax())
        rng = np.random.default_rng(self.seed)
        control = [
            taught(probe, states[best], candidates, candidates.shuffled(rng))
            for _ in range(self.shuffles)
        ]
        return Probed(layers, best, learnt, asked, float(np.mean(control)))


@dataclass(frozen=True, eq=False)
class Probed:
    """What the probes of one model found."""

    layers: Int[np.ndarray, " layer"]

    best: int
    """Which of them reads the training facts best when they are held out."""

    learnt: Bool[np.ndarray, "layer training"]
    """Which training facts are right where they were held out."""

    asked: Bool[np.ndarray, "layer fact"]
    """Which facts to be forgotten are right."""

    control: float
    """Share of them that probes with shuffled labels have right."""


def taught(
    probe: Pipeline,
    states: Float[np.ndarray, "candidate residual"],
    candidates: Candidates,
    labels: Bool[np.ndarray, " candidate"],
) -> Bool[np.ndarray, " chosen"]:
    """Which facts to be forgotten a probe has right after learning from all others."""
    train = ~candidates.forget[candidates.fact]
    probe.fit(states[train], labels[train])
    return candidates.right(probe.decision_function(states), candidates.forget)


def cross_validated(
    probe: Pipeline, states: Float[np.ndarray, "candidate residual"], candidates: Candidates
) -> Bool[np.ndarray, " chosen"]:
    """Which training facts a probe has right after learning from other training facts."""
    train = ~candidates.forget[candidates.fact]
    scores = np.zeros(len(states))
    held_out = cross_val_predict(
        probe,
        states[train],
        candidates.true[train],
        groups=candidates.fact[train],
        cv=GroupKFold(min(5, int((~candidates.forget).sum()))),
        method="decision_function",
    )
    scores[train] = np.asarray(held_out)
    return candidates.right(scores, ~candidates.forget)


def _finding(
    case: Case,
    asked: Bool[np.ndarray, " fact"],
    candidates: Candidates,
    before: Probed,
    after: Probed,
) -> Finding:
    probed = candidates.forget
    about = judged(case, asked & case.forget)[asked & case.forget]
    of_each = 1 / np.bincount(candidates.fact)[probed]
    chance = float(of_each[about].mean())
    right = [model.asked[model.best][about].astype(float) for model in (before, after)]
    word, reason = (
        undecided(case)
        or too_few(case.forgotten & asked, "have distractors")
        or compared(right[0], right[1], chance)
    )
    low, high = share_interval(right[1])
    left_out = int((case.forget & ~asked).sum())
    return Finding(
        view="linear_probe",
        word=word,
        value=float(right[1].mean()),
        ci95=(low, high),
        meaning="share of facts whose answer a linear probe of the model after, taught on other "
        "facts, scores above every distractor",
        why=f"A linear probe taught on {int((~probed).sum())} other facts tells "
        f"{int(right[1].sum())} of {len(right[1])} answers from their distractors "
        f"({int(right[0].sum())} before; chance {chance:.0%}, shuffled labels "
        f"{after.control:.0%}). {reason}",
        figures={
            "layer_before": int(before.layers[before.best]),
            "layer_after": int(after.layers[after.best]),
            "chance": chance,
            **figures_before(right[0]),
            "control_before": before.control,
            "control_after": after.control,
            "facts": int(about.sum()),
            "training_facts": int((~probed).sum()),
            "left_out": left_out,
        },
        tables={"layers": _table(before, after, float(of_each.mean()))},
        warnings=without_distractors(left_out),
    )


def _untaught(case: Case, training: int) -> Finding:
    """What is found where there is too little to learn from."""
    word, reason = undecided(case) or (
        "cannot tell",
        f"Only {training} facts that were not to be forgotten have distractors, to teach a probe "
        f"with; {FEWEST_LABELS} are needed.",
    )
    return Finding(
        view="linear_probe",
        word=word,
        value=math.nan,
        ci95=(math.nan, math.nan),
        meaning="share of facts whose answer a linear probe of the model after scores highest",
        why=f"No probe was taught. {reason}",
        figures={"training_facts": training},
    )


def _table(before: Probed, after: Probed, chance: float) -> pd.DataFrame:
    """One row per model and layer tried.

    Columns: `model`, `layer`, `training` (share of training facts right where they were held out),
    `share` (of all facts to be forgotten that have distractors), `low`, `high`, `chance`, `chosen`.
    """
    rows = [
        (
            name,
            int(layer),
            float(learnt.mean()),
            float(asked.mean()),
            *share_interval(asked.astype(float)),
            chance,
            place == model.best,
        )
        for name, model in zip(MODELS, (before, after), strict=True)
        for place, (layer, learnt, asked) in enumerate(
            zip(model.layers, model.learnt, model.asked, strict=True)
        )
    ]
    columns = ["model", "layer", "training", "share", "low", "high", "chance", "chosen"]
    return pd.DataFrame(rows, columns=columns)
