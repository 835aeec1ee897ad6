"""Giving neurons the weights back that they had before."""

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
"""Bisection ends where the sizes that do and do not suffice are within 5 %."""

Step = Callable[[], None]
"""Told of each pass over the facts."""


def restore(
    case: Case, order: Int[np.ndarray, " flat"], sizes: Int[np.ndarray, " size"], step: Step
) -> Curve:
    """The forgotten facts, asked of the model after with the first neurons' weights restored.

    Each size only swaps the neurons that the one before lacks; together the swapped weights are
    kept once.

    Args:
        order: Neurons in the flat table, first to be restored first.
        sizes: Ascending.
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
    """The smallest prefix that brings back the wanted number of answers; None if none does.

    Bisection on a log scale, from the first size of the curve that suffices. Answers need not come
    back one after the other: a smaller prefix may suffice where a larger one does not, and is then
    missed.
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
