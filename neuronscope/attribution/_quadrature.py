"""Adaptive quadrature along paths, whose error is known from the target at the ends of each piece.

The integral over a path must equal the difference of the target between its ends, and the same
holds for every piece of it. Pieces with too large an error are divided, worst first; other pieces
are not computed again.
"""

import math
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

    def divided(self, count: int) -> "list[Span]":
        """The piece divided into `count` equal pieces, in order."""
        step = (self.end - self.start) / count
        ends = [self.start + step * k for k in range(count)] + [self.end]
        return [Span(self.path, ends[k], ends[k + 1]) for k in range(count)]


NARROWEST = 2.0**-40
"""A shorter piece is not divided again: its error is due to a jump, which gradients do not show."""

MOST_PARTS = 8
"""Maximum number of parts into which a piece is divided at once."""

ORDER_COUNTED_ON = 1.5
"""The error of a piece is assumed to decrease as its length to the power of this times the number
of
nodes; on short, smooth pieces the factor is 2."""

Influences = tuple[Float[Tensor, "pos neuron"], ...]
"""One tensor for each hook point that moves along the path."""


@dataclass(frozen=True, eq=False)
class Piece:
    """A span with its integral."""

    span: Span
    influence: Influences
    start_score: float
    end_score: float

    @cached_property
    def missing(self) -> float:
        """The difference of the target between the ends, minus the integral."""
        explained = sum(float(part.double().sum()) for part in self.influence)
        return self.end_score - self.start_score - explained


@dataclass(frozen=True, eq=False)
class Integral:
    """A path from α = 0 to 1 with its integral."""

    pieces: tuple[Piece, ...]
    """The pieces, in order."""

    nodes: int
    """Number of gradient evaluations, including those of pieces that were divided later."""


def integrate(
    influence: Callable[[Sequence[Span]], list[Influences]],
    score: Callable[[Sequence[tuple[int, float]]], list[float]],
    end_scores: Sequence[float],
    steps: int,
    tolerance: float,
    max_steps: int,
) -> list[Integral]:
    """Integrate paths, dividing pieces until the error is within tolerance or the nodes run out.

    Args:
        influence: Computes the influence along each of many spans.
        score: Computes the target at points (path, α); needs no gradient.
        end_scores: The target at α = 1 of each path.
        steps: Nodes that `influence` uses per span.
        tolerance: Maximum sum of the absolute errors of a path's pieces.
        max_steps: Maximum number of nodes per path, including those of divided pieces.
    """
    spans = [Span(path, 0.0, 1.0) for path in range(len(end_scores))]
    starts = score([(path, 0.0) for path in range(len(end_scores))])
    paths = [
        [Piece(*found)] for found in zip(spans, influence(spans), starts, end_scores, strict=True)
    ]
    spent = [steps] * len(paths)
    while True:
        divided: list[tuple[Piece, list[Span]]] = []
        for path, pieces in enumerate(paths):
            for piece, count in _to_divide(pieces, tolerance, steps):
                count = min(count, (max_steps - spent[path]) // steps)
                if count > 1:
                    divided.append((piece, piece.span.divided(count)))
                    spent[path] += steps * count
        if not divided:
            break
        influences = iter(influence([span for _, parts in divided for span in parts]))
        inner = iter(score([(part.path, part.start) for _, p in divided for part in p[1:]]))
        for piece, parts in divided:
            scores = [piece.start_score, *(next(inner) for _ in parts[1:]), piece.end_score]
            pieces = paths[piece.span.path]
            pieces.remove(piece)
            pieces += [
                Piece(span, next(influences), scores[k], scores[k + 1])
                for k, span in enumerate(parts)
            ]
    return [
        Integral(tuple(sorted(pieces, key=lambda piece: piece.span.start)), nodes)
        for pieces, nodes in zip(paths, spent, strict=True)
    ]


def _to_divide(pieces: Sequence[Piece], tolerance: float, steps: int) -> list[tuple[Piece, int]]:
    """The pieces to divide, worst first, with their numbers of parts.

    Empty if the sum of all errors is within the tolerance. Otherwise, pieces are chosen until the
    errors of the others sum to at most half the tolerance.
    """
    left = sum(abs(piece.missing) for piece in pieces)
    if left <= tolerance:
        return []
    share = tolerance / (2 * len(pieces))
    chosen = []
    for piece in sorted(pieces, key=lambda piece: -abs(piece.missing)):
        if left <= tolerance / 2:
            break
        left -= abs(piece.missing)
        if piece.span.end - piece.span.start > NARROWEST:
            count = math.ceil((abs(piece.missing) / share) ** (1 / (ORDER_COUNTED_ON * steps)))
            chosen.append((piece, min(MOST_PARTS, max(2, count))))
    return chosen
