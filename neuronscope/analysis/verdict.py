"""The verdict: what became of the knowledge, all views of the evidence weighed.

| word | when |
|---|---|
| not forgotten | most answers are still given |
| collapsed | answers that were not to be forgotten are gone as well |
| hidden | the forgotten answers come back on a way too short to learn wrong ones |
| erased | they are learnt like wrong ones, and nothing finds them inside |
| mixed | some come back in this way, and some do not |
| cannot tell | too few facts, what may be chance, or views that contradict an erasure |

The savings decide between hidden, erased and mixed. Settings and thresholds were chosen with the
planted pairs of seeds 0 to 2 in view; on those of seeds 3 to 5 the verdict is right on 165 of 167
(95 % interval 96 % to 100 %) and calls none of 108 hidden ones erased; the two others, which never
knew, leave it without a word (`benchmarks/verdict.py`). A spectrum also brings back what was never
known. The other views can contradict an erasure: one that finds answers inside, or brings them back
by mere silence, makes it "cannot tell". Attributions have no say: on a real checkpoint they were
wrong. All are listed as agreeing, differing or silent.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from neuronscope.results.findings import Finding, Word

FEWEST = 4
"""Facts below which nothing is said: forgotten ones, or others for general damage."""

COLLAPSED_TO = 0.5
"""Share of the other answers still given, up to which the model is damaged in general."""

CONTRADICTING = ("silencing", "weight_restoration", "logit_lens", "linear_probe", "depth_score")
"""The views whose "hidden" contradicts an erasure. A spectrum's does not: it can be what was put
back."""


@dataclass(frozen=True)
class Verdict:
    """One word, one sentence, and who says so."""

    word: Word
    why: str

    hidden_share: float
    """Share of the forgotten answers that were there: what the savings say; NaN where that was not
    tried."""

    hidden_share_ci95: tuple[float, float]
    """Its 95 % interval over the forgotten facts."""

    agree: tuple[str, ...]
    """Views whose own word is the verdict's."""

    differ: tuple[str, ...]
    """Views with another word."""

    silent: tuple[str, ...]
    """Views that cannot tell, or that say where and not what."""

    settle: str
    """What would settle it; empty where the verdict tells."""


@dataclass(frozen=True)
class Counts:
    """What became of the answers."""

    known: int
    """Facts to be forgotten that were answered before."""

    still: int
    """Those of them that still are."""

    others: int
    """Other facts that were answered before."""

    kept: int
    """Those of them that still are."""

    @staticmethod
    def of(facts: pd.DataFrame) -> "Counts":
        """From a diagnosis' table of facts."""
        known = facts["answered_before"].astype(bool)
        still = known & facts["answered_after"].astype(bool)
        forget = facts["split"] == "forget"
        return Counts(
            int((known & forget).sum()),
            int((still & forget).sum()),
            int((known & ~forget).sum()),
            int((still & ~forget).sum()),
        )


def weigh(facts: pd.DataFrame, reading: str, findings: Sequence[Finding]) -> Verdict:
    """Weigh what the views found.

    Args:
        facts: A diagnosis' table of facts.
        reading: What the attributions say.
        findings: What the views say.
    """
    counts = Counts.of(facts)
    views = {finding.view: finding for finding in findings}
    word, why, settle = _decide(counts, views)
    tried = word in ("hidden", "erased", "mixed", "cannot tell") and "relearning_probe" in views
    words = {"attributions": reading} | {
        name: finding.word for name, finding in views.items() if finding.word is not None
    }
    told = {name: said for name, said in words.items() if said != "cannot tell"}
    return Verdict(
        word=word,
        why=why,
        hidden_share=views["relearning_probe"].value if tried else math.nan,
        hidden_share_ci95=views["relearning_probe"].ci95 if tried else (math.nan, math.nan),
        agree=tuple(name for name, said in told.items() if said == word),
        differ=tuple(name for name, said in told.items() if said != word),
        silent=tuple(name for name in ("attributions", *views) if name not in told),
        settle=settle,
    )


Told = tuple[Word, str, str]
"""Word, reason, and what would settle it."""

ATTACK = (
    "Relearning attacks over several learning rates and budgets, beside a model that never knew."
)


def _decide(counts: Counts, views: dict[str, Finding]) -> Told:
    if counts.known < FEWEST:
        return (
            "cannot tell",
            f"Cannot tell: only {counts.known} of the facts were answered before; at least "
            f"{FEWEST} are needed.",
            "More facts that the model before knows.",
        )
    given = f"{counts.still} of {counts.known} answers are still given"
    if 2 * counts.still > counts.known:
        return "not forgotten", f"Not forgotten: {given}.", ""
    if counts.others >= FEWEST and counts.kept <= COLLAPSED_TO * counts.others:
        return (
            "collapsed",
            f"Collapsed: {given}, but of {counts.others} answers that were not to be forgotten "
            f"only {counts.kept} are.",
            "",
        )
    if "relearning_probe" not in views:
        return (
            "cannot tell",
            f"Cannot tell: {given}, and whether the others come back was not tried.",
            "The view relearning_probe.",
        )
    relearning_probe = views["relearning_probe"]
    assert relearning_probe.word is not None, "savings always have a word"
    against = [name for name in CONTRADICTING if name in views and views[name].word == "hidden"]
    if relearning_probe.word == "erased" and against:
        names = " and ".join(name.replace("_", " ") for name in against)
        return (
            "cannot tell",
            f"Cannot tell: {relearning_probe.why} Yet hidden, says {names}.",
            ATTACK,
        )
    start = f"{relearning_probe.word.capitalize()}: {given}. {relearning_probe.why}"
    return relearning_probe.word, start, ATTACK if relearning_probe.word == "cannot tell" else ""
