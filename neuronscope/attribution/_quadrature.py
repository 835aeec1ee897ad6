"""Integrals along paths whose exact value is known, on any piece, from its two ends.

A path's integral must add up to the target's difference between the ends. So must that of every
piece: pieces that miss too much are halved, worst first, and nothing else is computed again.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True)
class Span:
    """A piece of a path: α from `start` to `end`."""

    path: int
    start: float
    end: float

    def halves(self) -> "tuple[Span, Span]":
        """The piece in two."""
        middle = (self.start + self.end) / 2
        return Span(self.path, self.start, middle), Span(self.path, middle, self.end)


NARROWEST = 2.0**-40
"""A piece this short is not halved again: what it misses is a jump, which no gradient sees."""

Influences = tuple[Float[Tensor, "pos neuron"], ...]
"""One tensor for each tap that moves along the path."""


@dataclass(frozen=True, eq=False)
class Piece:
    """A span, integrated."""

    span: Span
    influence: Influences
    start_score: float
    end_score: float

    @cached_property
    def missing(self) -> float:
        """How much of the target's difference the integral misses."""
        explained = sum(float(part.double().sum()) for part in self.influence)
        return self.end_score - self.start_score - explained


Evaluate = Callable[[Sequence[Span]], list[tuple[Influences, float]]]
"""Integrates spans: the influence along each, and the target at its start."""


def integrate(
    evaluate: Evaluate,
    end_scores: Sequence[float],
    steps: int,
    tolerance: float,
    max_steps: int,
) -> list[list[Piece]]:
    """The pieces of each path from α = 0 to 1, halved until they add up or the nodes are spent.

    Args:
        evaluate: Integrates many spans at once.
        end_scores: The target at α = 1, one for each path.
        steps: Nodes that `evaluate` spends on a span.
        tolerance: What the pieces of a path may miss in all, each without its sign.
        max_steps: Most nodes for a path, those of halved pieces included.
    """
    spans = [Span(path, 0.0, 1.0) for path in range(len(end_scores))]
    paths = [
        [Piece(span, influence, start, end)]
        for span, (influence, start), end in zip(spans, evaluate(spans), end_scores, strict=True)
    ]
    spent = [steps] * len(paths)
    while True:
        halved = []
        for path, pieces in enumerate(paths):
            room = (max_steps - spent[path]) // (2 * steps)
            halved += _to_halve(pieces, tolerance)[:room]
        if not halved:
            return paths
        pairs = [piece.span.halves() for piece in halved]
        results = iter(evaluate([span for pair in pairs for span in pair]))
        for piece, (left, right) in zip(halved, pairs, strict=True):
            (left_influence, start), (right_influence, middle) = next(results), next(results)
            path = piece.span.path
            spent[path] += 2 * steps
            paths[path].remove(piece)
            paths[path] += [
                Piece(left, left_influence, start, middle),
                Piece(right, right_influence, middle, piece.end_score),
            ]


def _to_halve(pieces: Sequence[Piece], tolerance: float) -> list[Piece]:
    """The pieces that miss more than their share, worst first; none if they add up."""
    if sum(abs(piece.missing) for piece in pieces) <= tolerance:
        return []
    share = tolerance / (2 * len(pieces))
    return sorted(
        (
            piece
            for piece in pieces
            if abs(piece.missing) > share and piece.span.end - piece.span.start > NARROWEST
        ),
        key=lambda piece: -abs(piece.missing),
    )
