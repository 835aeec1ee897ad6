"""Restoring the original weights of neurons in the unlearned model."""

import math
from collections.abc import Callable
from contextlib import ExitStack
from itertools import pairwise

import numpy as np
from jaxtyping import Int

from neuronscope.evidence._base import Case
from neuronscope.evidence._controls import SITE
from neuronscope.evidence._curves import Curve, among
from neuronscope.models.interventions import weights_from

RESOLUTION = 1.05
"""Bisection stops when the sizes that do and do not suffice are within 5 % of each other."""

Step = Callable[[], None]
"""Called after each pass over the facts."""


def restore(
    case: Case, order: Int[np.ndarray, " flat"], sizes: Int[np.ndarray, " size"], step: Step
) -> Curve:
    """Evaluate the forgotten facts with the original weights of the first neurons restored.

    Each size swaps only the neurons that the previous size lacks, so that the swapped weights are
    held in memory once.

    Args:
        order: Flat indices of the neurons, in the order of restoration.
        sizes: Numbers of neurons, ascending.
    """
    hook_points = case.after.hook_points_at(SITE)
    recovered, answered = [], []
    with ExitStack() as restored:
        for start, end in pairwise([0, *sizes.tolist()]):
            chosen = {SITE: among(order[start:end], len(hook_points), hook_points[0].width)}
            restored.enter_context(weights_from(case.after, case.before, chosen))
            now = case.measure(case.after, case.forgotten)
            recovered.append((now.score - case.at_last.score)[case.forgotten])
            answered.append(now.answered[case.forgotten])
            step()
    return Curve(sizes, np.stack(recovered), np.stack(answered))


def smallest_prefix(
    case: Case, order: Int[np.ndarray, " flat"], curve: Curve, wanted: int, step: Step
) -> Curve | None:
    """The smallest prefix found that recovers the wanted number of answers; None if none does.

    Bisection on a log scale, starting from the first size of the curve that suffices. The number of
    recovered answers need not be monotone: a smaller prefix may suffice where a larger one does
    not, and bisection misses it.
    """
    enough = np.flatnonzero(curve.counts >= wanted)
    if not len(enough):
        return None
    first = int(enough[0])
    low, high = int(curve.sizes[first - 1]) if first else 0, int(curve.sizes[first])
    best = curve.part(slice(first, first + 1))
    while high - low > 1 and high > RESOLUTION * low:
        middle = min(max(round(math.sqrt(max(low, 1) * high)), low + 1), high - 1)
        tried = restore(case, order, np.array([middle]), step)
        if tried.counts[0] >= wanted:
            best, high = tried, middle
        else:
            low = middle
    return best
