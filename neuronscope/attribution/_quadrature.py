"""Integrals along paths whose exact value is known, on any piece, from its two ends.

A path's integral must add up to the target's difference between the ends. So must that of every
piece: pieces that miss too much are divided, worst first, and nothing else is computed again.
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
        """The piece in `count` equal ones, in order."""
        step = (self.end - self.start) / count
        ends = [self.start + step * k for k in range(count)] + [self.end]
        return [Span(self.path, ends[k], ends[k + 1]) for k in range(count)]


NARROWEST = 2.0**-40
"""A piece this short is not divided again: what it misses is a jump, which no gradient sees."""

MOST_PARTS = 8
"""A piece is divided into this many at most before it is looked at again."""

ORDER_COUNTED_ON = 1.5
"""Error falls with a piece's length to this power for each node; on short smooth pieces it is 2."""

Influences = tuple[Float[Tensor, "pos neuron"], ...]
"""One tensor for each hook point that moves along the path."""


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


@dataclass(frozen=True, eq=False)
class Integral:
    """A path from α = 0 to 1, integrated."""

    pieces: tuple[Piece, ...]
    """In order."""

    nodes: int
    """Gradient evaluations spent on it, those of pieces that were divided later included."""


def integrate(
    influence: Callable[[Sequence[Span]], list[Influences]],
    score: Callable[[Sequence[tuple[int, float]]], list[float]],
    end_scores: Sequence[float],
    steps: int,
    tolerance: float,
    max_steps: int,
) -> list[Integral]:
    """Integrate paths; their pieces are divided until they add up or the nodes are spent.

    Args:
        influence: The influence along each of many spans.
        score: The target at points (path, α); needs no gradient.
        end_scores: The target at α = 1, one for each path.
        steps: Nodes that `influence` spends on a span.
        tolerance: What the pieces of a path may miss in all, each without its sign.
        max_steps: Most nodes for a path, those of divided pieces included.
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
    """Which pieces to divide, worst first, and into how many parts; none if they add up.

    The worst are divided, as many as leave half the tolerance to the others.
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
