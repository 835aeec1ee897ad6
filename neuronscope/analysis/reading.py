"""The word for what happened, and the sentence that says why."""

import math
from typing import Literal

from neuronscope.analysis.outcome import Outcome

Reading = Literal["hidden", "erased", "mixed", "not forgotten"]

HIDDEN_FROM = 2 / 3
"""Hidden share from which the forgetting is called hidden."""

ERASED_TO = 1 / 3
"""Hidden share up to which it is called erased."""


def read(
    outcome: Outcome, share: float, share_ci95: tuple[float, float], unit: str
) -> tuple[Reading, str]:
    """The reading, and one sentence with its numbers, units and intervals.

    Not forgotten: more than half of the facts answered before are still answered; or, where none
    was answered before, the interval of the drop reaches 0 (without interval: the drop is not
    positive). Otherwise the hidden share decides: from 2/3 hidden, up to 1/3 erased, else mixed.

    Args:
        outcome: What became of the answers.
        share: The hidden share.
        share_ci95: Its 95 % interval.
        unit: The target's unit.
    """
    fell = _say_drop(outcome, unit)
    known = outcome.answered_before
    if known:
        forgotten = 2 * outcome.still_answered <= known
        facts = "fact" if known == 1 else "facts"
        answers = f"{outcome.still_answered} of {known} {facts} answered before still answered"
    else:
        low = outcome.drop_ci95[0]
        forgotten = (outcome.drop if math.isnan(low) else low) > 0
        answers = "no fact was answered before"
    if not forgotten:
        return "not forgotten", f"Not forgotten: {answers}; {fell}."
    word = _read_share(share)
    return word, f"{word.capitalize()}: {answers}, {fell}, and {_say_share(share, share_ci95)}."


def _read_share(share: float) -> Reading:
    if share >= HIDDEN_FROM:
        return "hidden"
    return "erased" if share <= ERASED_TO else "mixed"


def _say_share(share: float, interval: tuple[float, float]) -> str:
    """The hidden share in words, with its interval and any boundary that the interval crosses."""
    if math.isnan(share):
        return "no recorded neuron's influence changed, so nothing tells hidden from erased"
    sides = {"hidden": "2/3 or more", "erased": "1/3 or less", "mixed": "between 1/3 and 2/3"}
    side = sides[_read_share(share)]
    text = f"{100 * share:.0f} % of the neurons' change is negative influence gained, {side}"
    low, high = interval
    if math.isnan(low):
        return f"{text} (no interval)"
    text += f" (95 % interval {100 * low:.0f} % to {100 * high:.0f} %"
    bounds = {"1/3": ERASED_TO, "2/3": HIDDEN_FROM}
    crossed = [name for name, bound in bounds.items() if low < bound < high]
    if crossed:
        text += f", which crosses {' and '.join(crossed)}: another reading is possible"
    elif _read_share(low) != _read_share(share):
        text += ", all of it beyond a boundary: another reading is likelier"
    return text + ")"


def _say_drop(outcome: Outcome, unit: str) -> str:
    """The drop in words, with unit and interval."""
    fell = outcome.drop >= 0
    text = f"the mean score {'fell' if fell else 'rose'} by {abs(outcome.drop):.3g} {unit}"
    low, high = outcome.drop_ci95 if fell else (-outcome.drop_ci95[1], -outcome.drop_ci95[0])
    if math.isnan(low):
        return f"{text} (no interval)"
    return f"{text} (95 % interval {low:.3g} to {high:.3g})"
