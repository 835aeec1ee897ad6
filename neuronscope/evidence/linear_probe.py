"""A linear probe with few labels: do the states distinguish the answer from its distractors?

The model reads a prompt completed with a candidate, the answer or a distractor, and its state at
the candidate's last token is recorded. A logistic regression is trained to identify the states of
correct candidates on facts *outside* the forget set and evaluated on the forget set, where the
answer must score above every distractor. If the model lost a fact, the probe is at chance; if the
model merely does not give the answer, the probe may be above chance.

The states of each fact's candidates are centred on their mean in training and in evaluation, so
that only differences between candidates of one prompt matter. The layer is chosen by
cross-validation over the training facts. The control is the same probe trained on labels that are
shuffled within each fact.
"""

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
from neuronscope.evidence._forgotten import undecided, without_value
from neuronscope.evidence._readable import (
    compared,
    figures_before,
    forgotten_or_all,
    share_interval,
    too_few,
    with_distractors,
    without_distractors,
)
from neuronscope.results.findings import Finding

FEWEST_LABELS = 6
"""Minimum number of training facts for a probe, so that each of the five folds of the
cross-validation has at least one."""

MODELS = ("before", "after")


@dataclass(frozen=True)
class LinearProbe(Evidence):
    """How often a linear probe of the states distinguishes forgotten answers from distractors."""

    by_default: ClassVar[bool] = False

    layers: int = 6
    """Number of layers to probe, evenly spaced and ending with the last."""

    inverse_penalty: float = 0.01
    """C of the logistic regression: smaller values mean a stronger L2 penalty, which is needed
    because there are far more dimensions than labels."""

    shuffles: int = 5
    """Number of controls with shuffled labels."""

    seed: int = 0
    """Seed of the shuffled labels."""

    def __post_init__(self) -> None:
        if self.layers < 1 or self.shuffles < 1 or not self.inverse_penalty > 0:
            raise ValueError(
                "Expected layers and shuffles of 1 or more and an inverse_penalty above 0, got "
                f"{self.layers}, {self.shuffles} and {self.inverse_penalty}."
            )

    def __call__(self, case: Case, progress: Progress = no_progress) -> Finding:
        chosen = with_distractors(case)
        training = int((chosen & ~case.forget).sum())
        if training < FEWEST_LABELS:
            return _too_few_to_train(case, training)
        candidates = Candidates.of(case, chosen)
        probed = []
        for step, model in enumerate((case.before, case.after), start=1):
            depths = np.linspace(0, model.n_layers, self.layers + 1)[1:].round().astype(int) - 1
            layers = np.unique(depths.clip(min=0))
            states = candidates.states(model, layers)
            probed.append(self._probe(candidates, states, layers))
            progress(step, 2)
        return _finding(case, chosen, candidates, *probed)

    def _probe(
        self,
        candidates: Candidates,
        states: Float[np.ndarray, "layer candidate residual"],
        layers: Int[np.ndarray, " layer"],
    ) -> "Probed":
        """Train a probe for each layer on facts outside the forget set, and evaluate it."""
        probe = make_pipeline(
            StandardScaler(),
            LogisticRegression(C=self.inverse_penalty, class_weight="balanced", max_iter=1000),
        )
        held_out = np.stack([cross_validated(probe, layer, candidates) for layer in states])
        forget = np.stack([trained(probe, layer, candidates, candidates.true) for layer in states])
        best = int(held_out.mean(axis=1).argmax())
        rng = np.random.default_rng(self.seed)
        control = [
            trained(probe, states[best], candidates, candidates.shuffled(rng))
            for _ in range(self.shuffles)
        ]
        return Probed(layers, best, held_out, forget, float(np.mean(control)))


@dataclass(frozen=True, eq=False)
class Probed:
    """The results of the probes of one model."""

    layers: Int[np.ndarray, " layer"]

    best: int
    """Index of the layer with the highest accuracy on held-out training facts."""

    held_out: Bool[np.ndarray, "layer training"]
    """Which training facts the probe gets right when they are held out."""

    forget: Bool[np.ndarray, "layer fact"]
    """Which facts of the forget set the probe gets right."""

    control: float
    """Share of the forget set that probes with shuffled labels get right."""


def trained(
    probe: Pipeline,
    states: Float[np.ndarray, "candidate residual"],
    candidates: Candidates,
    labels: Bool[np.ndarray, " candidate"],
) -> Bool[np.ndarray, " chosen"]:
    """Which facts of the forget set a probe gets right after training on all other facts."""
    train = ~candidates.forget[candidates.fact]
    probe.fit(states[train], labels[train])
    return candidates.right(probe.decision_function(states), candidates.forget)


def cross_validated(
    probe: Pipeline, states: Float[np.ndarray, "candidate residual"], candidates: Candidates
) -> Bool[np.ndarray, " chosen"]:
    """Which training facts a probe gets right after training on other training facts."""
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
    chosen: Bool[np.ndarray, " fact"],
    candidates: Candidates,
    before: Probed,
    after: Probed,
) -> Finding:
    probed = candidates.forget
    about = forgotten_or_all(case, chosen & case.forget)[chosen & case.forget]
    of_each = 1 / np.bincount(candidates.fact)[probed]
    chance = float(of_each[about].mean())
    right = [model.forget[model.best][about].astype(float) for model in (before, after)]
    word, reason = (
        undecided(case)
        or too_few(case.forgotten & chosen, "have distractors")
        or compared(right[0], right[1], chance)
    )
    low, high = share_interval(right[1])
    left_out = int((case.forget & ~chosen).sum())
    return Finding(
        view="linear_probe",
        word=word,
        value=float(right[1].mean()),
        ci95=(low, high),
        meaning="share of facts whose answer scores above every distractor under a linear probe of "
        "the unlearned model that was trained on other facts",
        why=f"A linear probe of the unlearned model, trained on {int((~probed).sum())} other "
        f"facts, scores {int(right[1].sum())} of {len(right[1])} answers above their distractors "
        f"(original model: {int(right[0].sum())}; chance: {chance:.0%}; shuffled labels: "
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


def _too_few_to_train(case: Case, training: int) -> Finding:
    """The finding if there are too few training facts."""
    word, reason = undecided(case) or (
        "cannot tell",
        f"Only {training} facts outside the forget set have distractors to train a probe on; at "
        f"least {FEWEST_LABELS} are needed.",
    )
    return without_value(
        "linear_probe",
        "share of facts whose answer scores highest under a linear probe of the unlearned model",
        (word, f"No probe was trained. {reason}"),
        {"training_facts": training},
    )


def _table(before: Probed, after: Probed, chance: float) -> pd.DataFrame:
    """One row per model and probed layer.

    Columns: `model`, `layer`, `training` (accuracy on held-out training facts), `share` (accuracy
    on all facts of the forget set that have distractors), `low`, `high`, `chance`, `chosen`.
    """
    rows = [
        (
            name,
            int(layer),
            float(held_out.mean()),
            float(forget.mean()),
            *share_interval(forget.astype(float)),
            chance,
            place == model.best,
        )
        for name, model in zip(MODELS, (before, after), strict=True)
        for place, (layer, held_out, forget) in enumerate(
            zip(model.layers, model.held_out, model.forget, strict=True)
        )
    ]
    columns = ["model", "layer", "training", "share", "low", "high", "chance", "chosen"]
    return pd.DataFrame(rows, columns=columns)
