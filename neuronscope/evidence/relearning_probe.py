"""The relearning probe: how much sooner a model relearns forgotten answers than new ones.

This is Ebbinghaus' savings measure of a memory that can no longer be recalled: relearning takes
less effort than learning something new. The weights of the unlearned model are moved a short
distance along the gradient of the forgotten facts' log-odds, and separately, from the same start,
along the gradient of *placebos*: the same prompts with permuted answers. No weights of the original
model are used. Answers that return within a distance at which placebos are not learned were present
in the unlearned model; a model that never learned the facts learns both equally fast.

With t the share of forgotten answers and p the mean share of placebo answers given at a distance,
the hidden share is the largest (t − p) / (1 − p) over all distances (Abbott's correction for
chance). A maximum is biased upwards; it is compared with the same maximum for each placebo against
the other placebos.

In contrast to a relearning attack, the probe trains on the facts that it evaluates and hardly moves
the weights; an attack evaluates held-out facts and moves the weights far.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import count, islice, pairwise
from typing import ClassVar

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn.functional import softplus

from neuronscope.analysis.statistics import wilson_interval
from neuronscope.evidence._base import Case, Evidence, Progress, no_progress, working_copy
from neuronscope.evidence._forgotten import undecided, without_value
from neuronscope.facts.fact import Fact, FactSet
from neuronscope.models.hook_points import decoder_layers
from neuronscope.models.hooked_model import HookedModel, answer_logits
from neuronscope.models.targets import Answers, Target
from neuronscope.results.findings import ITSELF, Figure, Finding, Word

HIDDEN_FROM = 7 / 8
"""From this share on, the verdict is hidden: closer to 1 than to 3/4, the largest share of a
planted mixture. Planted pairs in which all answers are hidden give 1.0 if the inhibitors are in
MLPs, and sometimes less if they are ten attention neurons (`benchmarks/verdict.py`)."""

ERASED_TO = 1 / 8
"""Up to this share, the verdict is erased: closer to 0 than to 1/4, the smallest share of a planted
mixture."""

TRIES = 1000
"""Largest number of permutations drawn until every fact has a wrong answer."""

MEANING = (
    "share of the forgotten answers relearned within a distance at which placebo answers are not "
    "learned, corrected for chance"
)


@dataclass(frozen=True)
class RelearningProbe(Evidence):
    """How much sooner forgotten answers are relearned than wrong answers to the same prompts."""

    decides: ClassVar[bool] = True

    distances: tuple[float, ...] = tuple(4e-3 * 2 ** (k / 2) for k in range(-12, 1))
    """Distances from the start, ascending, as shares of the norm of the layers' matrices; each is
    reached by one gradient step. Training stops when all true answers have returned."""

    placebos: int = 3
    """Number of permutations of the answers."""

    seed: int = 0
    """Seed of the permutations."""

    def __post_init__(self) -> None:
        if not self.distances or any(a >= b for a, b in pairwise((0.0, *self.distances))):
            raise ValueError(f"Expected distances that ascend from above 0, got {self.distances}.")
        if self.placebos < 2:
            raise ValueError(f"Expected two placebos or more, got {self.placebos}.")

    def __call__(self, case: Case, progress: Progress = no_progress) -> Finding:
        no_word = undecided(case)
        chosen = [fact for fact, gone in zip(case.facts, case.forgotten, strict=True) if gone]
        if len(chosen) < 2:
            assert no_word is not None, "one fact is too few"
            return without_value("relearning_probe", MEANING, no_word)
        facts = [fact for _, fact in chosen]
        wrong = [placebo(facts, 1000 * self.seed + draw) for draw in range(self.placebos)]
        most, done = len(self.distances), count(1)
        shares, totals = [], []
        for training_facts in (facts, *wrong):
            answered = []
            for given in islice(self._train(case, training_facts), 1 + most):
                answered.append(given)
                progress(next(done), (1 + len(wrong)) * (1 + most))
                if training_facts is facts and given.all():
                    most = len(answered) - 1
                    break
            # A placebo answer that is given from the start was not learned.
            new = ~answered[0]
            totals.append(int(new.sum()))
            shares.append([float(given[new].mean()) if new.any() else 0.0 for given in answered])
        return _finding((0.0, *self.distances[:most]), np.array(shares), totals, no_word)

    def _train(self, case: Case, facts: Sequence[Fact]) -> Iterator[Bool[np.ndarray, " fact"]]:
        """Which answers are given at the start, and after each step."""
        training = replace(case, facts=FactSet(forget=tuple(facts)), target=Target())
        model = working_copy(case.after)
        matrices = _matrices(model)
        norm = _norm(matrices)
        yield training.measure(model).answered
        for start, end in pairwise((0.0, *self.distances)):
            gradients = _gradients(training, model, matrices)
            gradient_norm = _norm(gradients)
            with torch.no_grad():
                for matrix, gradient in zip(matrices, gradients, strict=True):
                    matrix.sub_(gradient * ((end - start) * norm / max(gradient_norm, 1e-30)))
            yield training.measure(model).answered


def placebo(facts: Sequence[Fact], seed: int) -> list[Fact]:
    """The same prompts with permuted answers, all of them wrong.

    Raises:
        ValueError: If too many facts share an answer.
    """
    generator = np.random.default_rng(seed)
    answers = [fact.answer.strip() for fact in facts]
    for _ in range(TRIES):
        order = generator.permutation(len(facts))
        if all(answers[k] != answers[other] for k, other in enumerate(order)):
            return [
                replace(fact, answer=facts[other].answer, distractors=())
                for fact, other in zip(facts, order, strict=True)
            ]
    raise ValueError(
        f"No permutation that gives every fact a wrong answer was found: {len(facts)} facts have "
        f"only {len(set(answers))} different answers."
    )


def _matrices(model: HookedModel) -> list[nn.Parameter]:
    """The matrices of the decoder layers, which are trained; all other parameters are frozen."""
    model.hf.requires_grad_(False)
    found = [p for layer in decoder_layers(model.hf) for p in layer.parameters() if p.dim() > 1]
    for parameter in found:
        parameter.requires_grad_(True)
    return found


def _gradients(case: Case, model: HookedModel, matrices: Sequence[Tensor]) -> list[Tensor]:
    """Gradients of the mean loss log(1 + 1/odds), which vanishes for facts with high odds."""
    for _, batch in case.batches():
        answers = Answers.of(batch)
        scores = Target()(answer_logits(model, batch.tokens[:, :-1], answers), answers)
        (softplus(-scores).sum() / len(case.labelled)).backward()
    gradients = []
    for matrix in matrices:
        assert matrix.grad is not None
        gradients.append(matrix.grad)
        matrix.grad = None
    return gradients


def _norm(tensors: Sequence[Tensor]) -> float:
    return math.sqrt(sum(float(t.detach().double().square().sum()) for t in tensors))


def corrected(
    shares: Float[np.ndarray, "*batch step"], chance: Float[np.ndarray, " step"]
) -> Float[np.ndarray, "*batch step"]:
    """Shares corrected for chance by Abbott's formula; at most 0 where chance is 1."""
    room = np.where(chance < 1, 1 - chance, 1.0)
    return (shares - chance) / room


def _finding(
    distances: Sequence[float],
    shares: Float[np.ndarray, "draw step"],
    totals: Sequence[int],
    no_word: tuple[Word, str] | None,
) -> Finding:
    true, wrong = shares[0], shares[1:]
    chance = wrong.mean(axis=0)
    best = int(corrected(true, chance).argmax())
    others = (np.delete(wrong, k, axis=0).mean(axis=0) for k in range(len(wrong)))
    most = max(float(corrected(one, rest).max()) for one, rest in zip(wrong, others, strict=True))
    total = totals[0]
    back = round(float(true[best]) * total)
    ends = corrected(np.array([*wilson_interval(back, total)])[:, None], chance[best : best + 1])
    value = max(0.0, float(corrected(true, chance)[best]))
    low, high = (float(end) for end in np.clip(ends[:, 0], 0, 1))
    result = (
        f"{back} of {total} forgotten answers return after moving the weights by "
        f"{100 * distances[best]:.2g} % of their norm along the gradient of these answers; moved "
        f"equally far, the model learns {chance[best]:.0%} of wrong answers to the same prompts."
    )
    if best == 0:
        result = (
            f"At no distance up to {100 * distances[-1]:.2g} % of the weights' norm does the model "
            "relearn a larger share of the forgotten answers than of wrong answers to the same "
            "prompts."
        )
    word, why = no_word or _read(value, low, most, result)
    figures: dict[str, Figure] = {
        "distance": distances[best],
        "answered": back,
        "forgotten": total,
        "placebo_share": float(chance[best]),
        "placebo_most": most,
    }
    return Finding(
        view="relearning_probe",
        word=word,
        value=value,
        ci95=(low, high),
        meaning=MEANING,
        why=why,
        figures=figures,
        tables={"curve": _table(distances, shares, totals)},
    )


def _read(value: float, low: float, placebo_most: float, result: str) -> tuple[Word, str]:
    if value >= HIDDEN_FROM:
        return "hidden", f"{result} The forgotten answers were still present."
    if value <= ERASED_TO:
        return "erased", f"{result} The forgotten answers are learned no sooner than new ones."
    if low > 0 and value > placebo_most:
        return "mixed", f"{result} Some of the forgotten answers were still present."
    return "cannot tell", f"{result} The difference may be due to chance."


def _table(
    distances: Sequence[float], shares: Float[np.ndarray, "draw step"], totals: Sequence[int]
) -> pd.DataFrame:
    """One row per draw (-1: the true answers) and distance."""
    rows = []
    for draw, (of_draw, total) in enumerate(zip(shares, totals, strict=True), start=ITSELF):
        for distance, share in zip(distances, of_draw, strict=True):
            back = round(float(share) * total)
            rows.append((draw, distance, back, total, share, *wilson_interval(back, total)))
    columns = ["control", "distance", "answered", "total", "share", "low", "high"]
    return pd.DataFrame(rows, columns=columns)
