"""The relearning probe: how much sooner forgotten answers are learnt again than unknown ones.

Ebbinghaus' measure of what is left of a memory that nobody can recall: relearning it takes less
than learning something new. The model after is led, along the gradient of the facts' own log-odds,
over a short way in weight space; and as many times, from the start, towards a *placebo*: the same
prompts with each other's answers. Nothing of the model before is put in. Answers that come back on
a way so short that placebos do not come were there all the time; a model that never knew learns
both alike.

With t the share of the forgotten answers, and p the mean share of placebos, given at one point of
the way, the share that was hidden is (t − p) / (1 − p), Abbott's correction for chance, where it is
largest. The largest of several is biased upwards: it is held against the same maximum for each
placebo among the others.

Unlike a relearning attack it is taught the very facts that it is asked, over almost no way at all;
an attack asks others than it teaches, over a long one.
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
from neuronscope.evidence._forgotten import undecided
from neuronscope.facts.fact import Fact, FactSet
from neuronscope.models.hook_points import decoder_layers
from neuronscope.models.hooked_model import HookedModel, answer_logits
from neuronscope.models.targets import Answers, Target
from neuronscope.results.findings import ITSELF, Figure, Finding, Word

HIDDEN_FROM = 7 / 8
"""Share from which the forgotten answers were hidden: nearer to all than to three quarters, the
largest share of a planted mixture. Of planted pairs in which all were hidden, those in MLPs give
1.0, those in ten neurons of attention sometimes less (`benchmarks/verdict.py`)."""

ERASED_TO = 1 / 8
"""Share up to which they were erased: nearer to none than to a quarter, the smallest share of a
planted mixture."""

TRIES = 1000
"""Permutations drawn until every fact has another's answer."""

MEANING = (
    "share of the forgotten answers that come back on a way too short for placebos, chance taken "
    "off"
)


@dataclass(frozen=True)
class RelearningProbe(Evidence):
    """How much sooner forgotten answers are learnt again than wrong answers to the same prompts."""

    decides: ClassVar[bool] = True

    lengths: tuple[float, ...] = tuple(4e-3 * 2 ** (k / 2) for k in range(-12, 1))
    """Ways gone in all, ascending, as shares of the norm of the layers' matrices; each is a step.
    No way goes on after the true answers are all back."""

    placebos: int = 3
    """Permutations of the answers."""

    seed: int = 0
    """Seed of the permutations."""

    def __post_init__(self) -> None:
        if not self.lengths or any(a >= b for a, b in pairwise((0.0, *self.lengths))):
            raise ValueError(f"Expected lengths that ascend from above 0, got {self.lengths}.")
        if self.placebos < 2:
            raise ValueError(f"Expected two placebos or more, got {self.placebos}.")

    def __call__(self, case: Case, progress: Progress = no_progress) -> Finding:
        no_word = undecided(case)
        chosen = [fact for fact, gone in zip(case.facts, case.forgotten, strict=True) if gone]
        if len(chosen) < 2:
            assert no_word is not None, "one fact is too few"
            return Finding(
                "relearning_probe", no_word[0], math.nan, (math.nan, math.nan), MEANING, no_word[1]
            )
        facts = [fact for _, fact in chosen]
        wrong = [placebo(facts, 1000 * self.seed + draw) for draw in range(self.placebos)]
        most, done = len(self.lengths), count(1)
        shares, totals = [], []
        for taught in (facts, *wrong):
            learnt = []
            for given in islice(self._way(case, taught), 1 + most):
                learnt.append(given)
                progress(next(done), (1 + len(wrong)) * (1 + most))
                if taught is facts and given.all():
                    most = len(learnt) - 1
                    break
            # A placebo given from the start is no more learnt than an answer never forgotten.
            new = ~learnt[0]
            totals.append(int(new.sum()))
            shares.append([float(given[new].mean()) if new.any() else 0.0 for given in learnt])
        return _finding((0.0, *self.lengths[:most]), np.array(shares), totals, no_word)

    def _way(self, case: Case, facts: Sequence[Fact]) -> Iterator[Bool[np.ndarray, " fact"]]:
        """Which answers are given at the start, and after each length."""
        taught = replace(case, facts=FactSet(forget=tuple(facts)), target=Target())
        model = working_copy(case.after)
        matrices = _matrices(model)
        norm = _norm(matrices)
        yield taught.measure(model).answered
        for here, ahead in pairwise((0.0, *self.lengths)):
            gradients = _gradients(taught, model, matrices)
            length = _norm(gradients)
            with torch.no_grad():
                for matrix, gradient in zip(matrices, gradients, strict=True):
                    matrix.sub_(gradient * ((ahead - here) * norm / max(length, 1e-30)))
            yield taught.measure(model).answered


def placebo(facts: Sequence[Fact], seed: int) -> list[Fact]:
    """The same prompts with each other's answers, none of them right.

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
        f"{len(facts)} facts share {len(set(answers))} answers: no permutation gives each a wrong "
        "one."
    )


def _matrices(model: HookedModel) -> list[nn.Parameter]:
    """What is taught: the matrices of the layers. All else asks for no gradient."""
    model.hf.requires_grad_(False)
    found = [p for layer in decoder_layers(model.hf) for p in layer.parameters() if p.dim() > 1]
    for parameter in found:
        parameter.requires_grad_(True)
    return found


def _gradients(case: Case, model: HookedModel, matrices: Sequence[Tensor]) -> list[Tensor]:
    """Of the mean loss log(1 + 1/odds), which lets go of what is answered already."""
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
    shares: Float[np.ndarray, "*batch way"], chance: Float[np.ndarray, " way"]
) -> Float[np.ndarray, "*batch way"]:
    """Shares with what comes by chance taken off; 0 where all comes by chance."""
    room = np.where(chance < 1, 1 - chance, 1.0)
    return (shares - chance) / room


def _finding(
    lengths: Sequence[float],
    shares: Float[np.ndarray, "draw way"],
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
    said = (
        f"{back} of {total} forgotten answers come back on a way of {lengths[best]:.1e} of the "
        f"weights' norm, on which {chance[best]:.0%} of wrong answers to the same prompts are "
        "learnt"
    )
    word, why = no_word or _read(value, low, most, said)
    figures: dict[str, Figure] = {
        "length": lengths[best],
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
        tables={"ways": _table(lengths, shares, totals)},
    )


def _read(value: float, low: float, placebo_most: float, said: str) -> tuple[Word, str]:
    if value >= HIDDEN_FROM:
        return "hidden", f"{said}: they were there."
    if value <= ERASED_TO:
        return "erased", f"{said}: they are learnt like new ones."
    if low > 0 and value > placebo_most:
        return "mixed", f"{said}: some were there."
    return "cannot tell", f"{said}: a difference that may be chance."


def _table(
    lengths: Sequence[float], shares: Float[np.ndarray, "draw way"], totals: Sequence[int]
) -> pd.DataFrame:
    """One row per draw (-1: the true answers) and length."""
    rows = []
    for draw, (along, total) in enumerate(zip(shares, totals, strict=True), start=ITSELF):
        for length, share in zip(lengths, along, strict=True):
            back = round(float(share) * total)
            rows.append((draw, length, back, total, share, *wilson_interval(back, total)))
    columns = ["control", "length", "answered", "total", "share", "low", "high"]
    return pd.DataFrame(rows, columns=columns)
