"""The unlearning depth score (UDS, arXiv 2605.24614): the depth of unlearning, by patching.

The original model is evaluated with its states after one layer replaced by those of another model,
at the positions that predict the answer's tokens. With s the mean log-probability of these tokens,

    Δ_l = s(before) − s(before, states after layer l replaced)

and the UDS of a fact is the share of the reference's Δ that the unlearned model's states reach:

    Σ_l Δ^ref_l clip(Δ^after_l / Δ^ref_l, 0, 1) / Σ_l Δ^ref_l    over l with Δ^ref_l > threshold

A score of 1 means erased to the level of the reference; a score of 0 means intact: the original
model answers equally well from the unlearned model's states.

| reference | states |
|---|---|
| retain model | of a model that never learned the facts: the published score |
| other subjects | of the original model, for the same prompts about other subjects: *our variant* |

The variant averages the states over several subjects. The states of a single subject not only lack
the answer but encode a different one, which reduces s far more than ignorance does: every model
would appear intact. Averaging does not remove this effect entirely, so the variant is lower than
the published score; variant scores can only be compared with each other.

A low score shows that the knowledge is present. A high score does not show that it is gone:
suppression in an early layer is part of the patched states and reduces s as much as ignorance does.
With planted inhibitors, scores reach those of models that never learned the facts.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor

from neuronscope.analysis.statistics import mean_interval
from neuronscope.evidence._base import Case, Evidence, Progress, no_progress
from neuronscope.evidence._forgotten import undecided
from neuronscope.evidence._readable import too_few
from neuronscope.evidence._states import Pass, states_at
from neuronscope.evidence._subjects import other_subjects
from neuronscope.facts.prompts import Batch, Encoded
from neuronscope.models.answers import groups
from neuronscope.models.hooked_model import HookedModel
from neuronscope.models.interventions import check_same_shapes
from neuronscope.models.passes import frozen
from neuronscope.models.targets import Answers, Target
from neuronscope.results.findings import Finding, Word

HIDDEN_BELOW = 1 / 3
"""The verdict is hidden if the whole interval lies below this score: the unlearned model's states
then reduce s by less than a third of what the reference's do."""

ERASED_ABOVE = 2 / 3
"""The verdict is erased if the whole interval lies above this score: the unlearned model's states
then reduce s by more than two thirds of what the reference's do."""

RETAIN_MODEL, OTHER_SUBJECTS = "retain model", "other subjects"
"""The references."""

REFERENCES = {
    RETAIN_MODEL: "a model that never learned the facts",
    OTHER_SUBJECTS: "the original model on prompts about other subjects",
}
"""The references in sentences."""

Questions = tuple[Encoded, ...]
"""The prompts that replace a fact, with the same answer tokens; their states are averaged."""

SCORE = Target("log_prob")
"""The s of the formula, in nats per token."""


@dataclass(frozen=True)
class DepthScore(Evidence):
    """How far unlearning has removed the answers from the states between layers."""

    by_default: ClassVar[bool] = False

    retain: HookedModel | None = None
    """A model that never learned the facts; without one, a variant of the score is computed."""

    subjects: int = 8
    """Number of other subjects per fact in the variant."""

    threshold: float = 0.05
    """Loss in nats per token that the reference's states must cause for a layer to count, as in
    the paper."""

    def __post_init__(self) -> None:
        if self.subjects < 1 or not self.threshold > 0:
            raise ValueError(
                "Expected subjects of 1 or more and a threshold above 0, got "
                f"{self.subjects} and {self.threshold}."
            )

    def __call__(self, case: Case, progress: Progress = no_progress) -> Finding:
        source = case.before if self.retain is None else self.retain
        for other in (case.after, source):
            check_same_shapes(case.before, other)
        unknowing = self._unknowing(case)
        facts = [fact for fact, questions in unknowing.items() if questions]
        encoded = [case.labelled[fact][1] for fact in facts]
        reference, after = np.zeros((2, len(facts), case.before.n_layers))
        batches = list(groups(encoded, case.before.vocabulary))
        with frozen(case.before), frozen(case.after), frozen(source), torch.no_grad():
            for done, group in enumerate(batches):
                run = Pass.of_answers(case.before, [encoded[i] for i in group])
                reference[group] = losses(run, source, [unknowing[facts[i]] for i in group])
                progress(2 * done + 1, 2 * len(batches))
                after[group] = losses(run, case.after, [(encoded[i],) for i in group])
                progress(2 * done + 2, 2 * len(batches))
        return self._finding(case, np.array(facts), reference, after)

    def _unknowing(self, case: Case) -> dict[int, Questions]:
        """The reference's prompts for each fact of the forget set; some facts may have none.

        Raises:
            ValueError: If no fact has any.
        """
        questions = {
            fact: (encoded,) if self.retain else other_subjects(case, fact, self.subjects)
            for fact, (_, encoded) in enumerate(case.labelled)
            if case.forget[fact]
        }
        if not any(questions.values()):
            raise ValueError(
                f"None of the {len(questions)} facts of split 'forget' has a prompt about another "
                "subject: set each fact's `subject`, as worded in its prompt, and its `relation`, "
                "or use the depth score with a retain model."
            )
        return questions

    def _finding(
        self,
        case: Case,
        facts: Int[np.ndarray, " fact"],
        reference: Float[np.ndarray, "fact layer"],
        after: Float[np.ndarray, "fact layer"],
    ) -> Finding:
        scores = depth_scores(reference, after, self.threshold)
        counted = ~np.isnan(scores)
        value = float(scores[counted].mean()) if counted.any() else math.nan
        low, high = (float(end) for end in mean_interval(scores[counted], (0.0, 1.0)))
        scored = np.isin(np.arange(len(case.forget)), facts[counted])
        word, reason = (
            undecided(case) or too_few(case.forgotten & scored, "have a score") or _read(low, high)
        )
        against = OTHER_SUBJECTS if self.retain is None else RETAIN_MODEL
        without = (int(case.forget.sum()) - len(facts), int((~counted).sum()))
        kind = "variant of the " if self.retain is None else ""
        return Finding(
            view="depth_score",
            word=word,
            value=value,
            ci95=(low, high),
            meaning=f"{kind}unlearning depth score (0: as in the original model; 1: as in "
            f"{REFERENCES[against]})",
            why="Patched into the original model, the states of the unlearned model reduce the "
            f"answers' log-probability by {value:.0%} of what those of {REFERENCES[against]} do "
            f"(95 % interval {low:.0%} to {high:.0%}, mean over {counted.sum()} facts). {reason}",
            figures={
                "reference": against,
                "threshold": self.threshold,
                "facts": int(counted.sum()),
                "loss_in_other_layers": _loss_elsewhere(reference, after, self.threshold),
                "without_other_subjects": without[0],
                "without_a_layer": without[1],
            },
            tables={
                "layers": _by_layer({against: reference, "after": after}, self.threshold),
                "facts": _by_fact(case, facts, scores, (reference > self.threshold).sum(axis=1)),
            },
            warnings=_warnings(against, *without),
        )


def losses(
    run: Pass, source: HookedModel, questions: Sequence[Questions]
) -> Float[np.ndarray, "fact layer"]:
    """Δ by fact and layer: the loss of log-probability if `source`'s states replace the run's.

    Args:
        questions: The source's prompts for each fact of the run.
    """
    states = torch.cat([_mean_states(source, of_fact) for of_fact in questions], dim=1)
    full = SCORE(run.logits, run.places)
    lost = [
        full - SCORE(run.resumed(layer, state), run.places) for layer, state in enumerate(states)
    ]
    return torch.stack(lost, dim=1).double().cpu().numpy()


def _mean_states(
    source: HookedModel, questions: Questions
) -> Float[Tensor, "layer token residual"]:
    """The states at the positions that predict the answer, averaged over prompts."""
    batch = Batch.of(questions, source.device)
    states = states_at(source, batch.tokens[:, :-1], Answers.of(batch))
    return states.unflatten(1, (len(questions), -1)).mean(dim=1)


def depth_scores(
    reference: Float[np.ndarray, "fact layer"],
    after: Float[np.ndarray, "fact layer"],
    threshold: float,
) -> Float[np.ndarray, " fact"]:
    """The depth score of each fact; NaN if none of its layers counts."""
    counts = reference > threshold
    weight = np.where(counts, reference, 0.0)
    share = np.clip(after / np.where(counts, reference, 1.0), 0.0, 1.0)
    total = weight.sum(axis=1)
    nothing = np.full(len(total), np.nan)
    return np.divide((weight * share).sum(axis=1), total, out=nothing, where=total > 0)


def _loss_elsewhere(
    reference: Float[np.ndarray, "fact layer"],
    after: Float[np.ndarray, "fact layer"],
    threshold: float,
) -> float:
    """The unlearned model's largest Δ in a layer that does not count, averaged over facts.

    This loss, in nats per token, is not due to lost knowledge. NaN if every layer of every fact
    counts.
    """
    elsewhere = np.where(reference > threshold, -np.inf, after).max(axis=1)
    there = np.isfinite(elsewhere)
    return float(elsewhere[there].mean()) if there.any() else math.nan


def _read(low: float, high: float) -> tuple[Word, str]:
    """The verdict, with its reason, from the interval of the score."""
    if high < HIDDEN_BELOW:
        return "hidden", "The unlearned model's states still encode most of the answers."
    if low > ERASED_ABOVE:
        return (
            "erased",
            "The unlearned model's states lack the answers, or an early layer suppresses them.",
        )
    if low >= HIDDEN_BELOW and high <= ERASED_ABOVE:
        return "mixed", "The unlearned model's states encode part of the answers."
    return "cannot tell", "The interval is too wide for a verdict."


def _by_layer(deltas: dict[str, Float[np.ndarray, "fact layer"]], threshold: float) -> pd.DataFrame:
    """One row per source and layer.

    Columns: `source`, `layer`, `loss` (mean Δ over facts, nats per token), `low`, `high`,
    `counting` (number of facts for which the layer counts), `facts`, `threshold`.
    """
    counting = (next(iter(deltas.values())) > threshold).sum(axis=0)
    parts = []
    for source, delta in deltas.items():
        low, high = mean_interval(delta)
        part = {"source": source, "layer": np.arange(delta.shape[1]), "loss": delta.mean(axis=0)}
        part |= {"low": low, "high": high, "counting": counting}
        parts.append(pd.DataFrame(part | {"facts": len(delta), "threshold": threshold}))
    return pd.concat(parts, ignore_index=True)


def _by_fact(
    case: Case,
    facts: Int[np.ndarray, " fact"],
    scores: Float[np.ndarray, " fact"],
    layers: Int[np.ndarray, " fact"],
) -> pd.DataFrame:
    """One row per fact: `fact` (its id), `score`, `layers` (number of layers that count)."""
    names = np.array([fact.id for _, fact in case.facts])
    return pd.DataFrame({"fact": names[facts], "score": scores, "layers": layers})


def _warnings(against: str, apart: int, without: int) -> tuple[str, ...]:
    warnings = []
    if against == OTHER_SUBJECTS:
        warnings.append(
            "Without a retain model this is a variant of the depth score: it is lower than the "
            "published score and can only be compared with other values of the variant."
        )
    if apart:
        warnings.append(
            f"{apart} facts were left out because they have no prompts about other subjects."
        )
    if without:
        warnings.append(
            f"{without} facts were left out because even the states of {REFERENCES[against]} do "
            "not reduce their log-probability."
        )
    return tuple(warnings)
