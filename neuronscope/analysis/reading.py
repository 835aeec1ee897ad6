"""What the attributions suggest, from the hidden share alone and without causal tests.

The sentence that explains it is in `report/templates/reading.j2`.
"""

import math
from typing import Literal

from neuronscope.analysis.outcome import Outcome

Reading = Literal["hidden", "erased", "mixed", "not forgotten"]

HIDDEN_FROM = 2 / 3
"""Smallest hidden share that suggests hiding."""

ERASED_TO = 1 / 3
"""Largest hidden share that suggests erasure."""


def read(outcome: Outcome, share: float) -> Reading:
    """What the attributions suggest.

    Not forgotten: more than half of the facts answered before are still answered; or, if none was
    answered before, the interval of the drop includes 0 (without an interval: the drop is not
    positive). Otherwise the hidden share decides.

    Args:
        outcome: The answers and scores before and after.
        share: The hidden share.
    """
    if outcome.answered_before:
        forgotten = 2 * outcome.still_answered <= outcome.answered_before
    else:
        low = outcome.drop_ci95[0]
        forgotten = (outcome.drop if math.isnan(low) else low) > 0
    return reading_of(share) if forgotten else "not forgotten"


def reading_of(share: float) -> Reading:
    """What a hidden share suggests: from 2/3 hidden, up to 1/3 erased, in between mixed."""
    if share >= HIDDEN_FROM:
        return "hidden"
    return "erased" if share <= ERASED_TO else "mixed"
