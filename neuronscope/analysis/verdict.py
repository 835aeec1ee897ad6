"""The verdict: what became of the knowledge, from all evidence.

| verdict | when |
|---|---|
| not forgotten | most answers are still given |
| collapsed | answers outside the forget set are lost as well |
| hidden | the forgotten answers, possibly all, are relearned sooner than wrong ones |
| mixed | some forgotten answers are relearned sooner, but not all (95 % interval) |
| erased | not relearned sooner (95 % bound: a third of them); no view finds them in the model |
| cannot tell | too few facts, probe undecided or not run, or views that contradict an erasure |

The relearning probe decides between hidden, erased and mixed by a permutation test and an interval
of the hidden share (`evidence/relearning_probe.py`). `benchmarks/results/README.md` says how often
it is right on models in which it is known by construction whether the answers are present. Low-rank
restoration cannot contradict an erasure, because it also restores answers that are gone. The other
views can: a view that finds the answers inside the model, or recovers them by ablating a few
neurons or restoring their original weights, turns "erased" into "cannot tell". Attributions have no
vote: on a real checkpoint they were wrong. Every view is listed as agreeing, differing or silent.

The sentence under a verdict is in `report/templates/verdict.j2`.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import pandas as pd

from neuronscope.analysis.outcome import Counts
from neuronscope.results.findings import Finding, Word

FEWEST = 4
"""Minimum number of known facts: in the forget set for any verdict, outside it for a collapse."""

COLLAPSED_TO = 0.5
"""The model counts as collapsed if at most this share of the other answers is still given."""

CONTRADICTING = ("silencing", "weight_restoration", "logit_lens", "linear_probe", "depth_score")
"""Views whose verdict "hidden" contradicts an erasure. Low-rank restoration is not among them,
because it can also restore answers that are gone."""

Reason = Literal[
    "too few facts",
    "still answered",
    "other answers lost",
    "no relearning probe",
    "contradicted",
    "relearning probe",
]
"""The rule that decided a verdict."""


@dataclass(frozen=True)
class Verdict:
    """What became of the knowledge, the rule that decided it, and which views agree."""

    word: Word
    reason: Reason

    counts: Counts
    """The answers before and after."""

    hidden_share: float
    """Share of the forgotten answers that were hidden, by the relearning probe; NaN without it."""

    hidden_share_ci95: tuple[float, float]
    """95 % interval of the hidden share over the forgotten facts."""

    agree: tuple[str, ...]
    """Views whose own verdict is this one."""

    differ: tuple[str, ...]
    """Views with a different verdict."""

    silent: tuple[str, ...]
    """Views that cannot tell, or that localize an effect without interpreting it."""

    contradicting: tuple[str, ...] = ()
    """Views that contradict an erasure; only where they decided the verdict."""


def weigh(facts: pd.DataFrame, reading: str, findings: Sequence[Finding]) -> Verdict:
    """Combine the evidence into a verdict.

    Args:
        facts: A diagnosis' table of facts.
        reading: What the attributions suggest.
        findings: The findings of the views.
    """
    counts = Counts.of(facts)
    views = {finding.view: finding for finding in findings}
    hidden = {name for name, finding in views.items() if finding.word == "hidden"}
    against = tuple(name for name in CONTRADICTING if name in hidden)
    word, reason = _decide(counts, views, bool(against))
    probed = word in ("hidden", "erased", "mixed", "cannot tell") and "relearning_probe" in views
    words = {"attributions": reading} | {
        name: finding.word for name, finding in views.items() if finding.word is not None
    }
    decided = {name: own for name, own in words.items() if own != "cannot tell"}
    return Verdict(
        word=word,
        reason=reason,
        counts=counts,
        hidden_share=views["relearning_probe"].value if probed else math.nan,
        hidden_share_ci95=views["relearning_probe"].ci95 if probed else (math.nan, math.nan),
        agree=tuple(name for name, own in decided.items() if own == word),
        differ=tuple(name for name, own in decided.items() if own != word),
        silent=tuple(name for name in ("attributions", *views) if name not in decided),
        contradicting=against if reason == "contradicted" else (),
    )


def _decide(counts: Counts, views: dict[str, Finding], contradicted: bool) -> tuple[Word, Reason]:
    if counts.known < FEWEST:
        return "cannot tell", "too few facts"
    if 2 * counts.still > counts.known:
        return "not forgotten", "still answered"
    if counts.others >= FEWEST and counts.kept <= COLLAPSED_TO * counts.others:
        return "collapsed", "other answers lost"
    if "relearning_probe" not in views:
        return "cannot tell", "no relearning probe"
    word = views["relearning_probe"].word
    assert word is not None, "the relearning probe always has a verdict"
    if word == "erased" and contradicted:
        return "cannot tell", "contradicted"
    return word, "relearning probe"
