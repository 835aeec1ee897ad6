"""Warnings about the limitations of a diagnosis."""

from collections.abc import Iterator

from neuronscope.analysis.outcome import Outcome
from neuronscope.results.comparison import Comparison

FEW_FACTS = 8
"""With fewer facts, intervals of means are wide, and bootstrap intervals too narrow."""

FADED = 0.05
"""Mean probability below which attributions of a probability are uninformative."""


def caveats(comparison: Comparison, outcome: Outcome, unconverged: int) -> tuple[str, ...]:
    """Warnings about this comparison, one sentence each, the most serious first."""
    return (*_on_scores(comparison, outcome, unconverged), *_on_facts(comparison))


def _on_scores(comparison: Comparison, outcome: Outcome, unconverged: int) -> Iterator[str]:
    ours, theirs = comparison.before.provenance, comparison.after.provenance
    if ours.target == "prob" and outcome.probability_after < FADED:
        yield (
            f"The mean probability after unlearning is {outcome.probability_after:.2g}, below "
            f"{FADED:g}: influences on a probability vanish with it, so strong hiding can look "
            "like erasure. Record with the target log_odds."
        )
    lost = 2 * outcome.still_answered <= outcome.answered_before
    if outcome.drop <= 0 and outcome.answered_before and lost:
        yield (
            f"Answers were lost although the mean score did not fall (drop {outcome.drop:.3g} "
            f"{ours.unit}): D⁺ and D⁻ describe changed influence, not a drop."
        )
    if unconverged:
        yield (
            f"{unconverged:,} attributions have an error above the tolerance of "
            f"{ours.settings['tolerance']} {ours.unit}; use more steps."
        )
    if ours.dtype != theirs.dtype:
        yield (
            f"The models ran in different precisions ({ours.dtype} before, {theirs.dtype} after): "
            "part of the change may be rounding error."
        )


def _on_facts(comparison: Comparison) -> Iterator[str]:
    forget = comparison.before.in_split("forget")
    count = int(forget.sum())
    if not comparison.before.per_fact:
        yield (
            "The recordings contain only means over facts: there are no intervals for neurons and "
            "no test for spurious neurons."
        )
    elif forget.all():
        yield (
            "Only facts to be forgotten were recorded: without other facts there is no test for "
            "spurious neurons."
        )
    if count < 2:
        yield "A single fact gives no intervals: another fact might give a different result."
    elif count < FEW_FACTS:
        yield (
            f"Intervals from {count} facts are only a rough guide: those of means are wide, others "
            f"too narrow. Record at least {FEW_FACTS} facts."
        )
