"""What the attributions suggest, decided by ΣD⁺ and ΣD⁻ over all recorded neurons.

No causal evidence is used.

Each neuron's mean is clamped at zero, so noise between facts inflates both sums; with few facts or
weak effects they look more alike than they are. No interval is reported for their ratio, because
none was reliable in simulations: with strong noise, intervals of the plain ratio nearly always
missed the true ratio; those of a cross-fitted ratio mostly covered it, but in only 80 % of samples
if the lost influence was spread thinly over all neurons.

The sentence that explains the reading is in `report/templates/reading.j2`.
"""

import math
from typing import Literal

from neuronscope.analysis.outcome import Outcome

Reading = Literal["hidden", "erased", "mixed", "not forgotten"]

CLEARLY = 2
"""How many times one sum must exceed the other to decide the reading."""


def read(outcome: Outcome, d_plus: float, d_minus: float) -> Reading:
    """What the attributions suggest.

    Not forgotten: more than half of the facts answered before are still answered; or, if none was
    answered before, the interval of the drop includes 0 (without an interval: the drop is not
    positive). Otherwise hidden if ΣD⁻ is more than twice ΣD⁺, erased if it is the reverse, and
    mixed in between.

    Args:
        outcome: The answers and scores before and after.
        d_plus: ΣD⁺, the positive influence lost.
        d_minus: ΣD⁻, the negative influence gained.
    """
    if outcome.answered_before:
        forgotten = 2 * outcome.still_answered <= outcome.answered_before
    else:
        low = outcome.drop_ci95[0]
        forgotten = (outcome.drop if math.isnan(low) else low) > 0
    if not forgotten:
        return "not forgotten"
    if d_minus > CLEARLY * d_plus:
        return "hidden"
    return "erased" if d_plus > CLEARLY * d_minus else "mixed"
