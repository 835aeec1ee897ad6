"""Quadrature of functions with known integrals: when it stops, its cost, and what it flags.

A path here is a function F of α on [0, 1] with one neuron, whose influence on an interval is the
integral of F′ by Gauss-Legendre quadrature. The influences must add up to F(1) − F(0).
"""

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from neuronscope.attribution._quadrature import NARROWEST, integrate


def quadrature(paths, steps=4, tolerance=1e-6, max_steps=10_000):
    """Integrate (F, F′) pairs.

    Returns:
        The pieces of each path, and how many nodes each path was evaluated at.
    """
    nodes, weights = np.polynomial.legendre.leggauss(steps)
    spent = [0] * len(paths)

    def influence(spans):
        results = []
        for span in spans:
            _, derivative = paths[span.path]
            width = span.end - span.start
            points = span.start + width * (nodes + 1) / 2
            spent[span.path] += steps
            integral = (
                width / 2 * sum(w * derivative(a) for w, a in zip(weights, points, strict=True))
            )
            results.append((torch.tensor([[integral]], dtype=torch.float64),))
        return results

    def score(points):
        return [float(paths[path][0](alpha)) for path, alpha in points]

    ends = [float(function(1.0)) for function, _ in paths]
    integrals = integrate(influence, score, ends, steps, tolerance, max_steps)
    assert [integral.nodes for integral in integrals] == spent
    return [integral.pieces for integral in integrals], spent


def total(pieces):
    return sum(float(part.sum()) for piece in pieces for part in piece.influence)


def polynomial(coefficients):
    p = np.polynomial.Polynomial(coefficients)
    return p, p.deriv()


def kink(at):
    """Slope 0 up to a point, then slope 1: a ReLU along the path."""
    return lambda a: max(a - at, 0.0), lambda a: float(a > at)


def jump(at, height=1.0):
    """A step without a derivative, like a router that switches."""
    return lambda a: height * (a >= at) + a, lambda a: 1.0


@given(
    steps=st.integers(1, 6),
    coefficients=st.lists(st.floats(-9, 9), min_size=1, max_size=13),
)
def test_polynomials_that_the_nodes_integrate_exactly_are_not_divided(steps, coefficients):
    coefficients = coefficients[: 2 * steps + 1]
    (pieces,), spent = quadrature([polynomial(coefficients)], steps=steps, tolerance=1e-9)
    assert len(pieces) == 1 and spent == [steps]
    assert total(pieces) == pytest.approx(sum(coefficients[1:]), abs=1e-9)


@given(at=st.floats(0, 1), steps=st.integers(1, 8))
def test_a_kink_converges_by_dividing_around_it(at, steps):
    (pieces,), spent = quadrature([kink(at)], steps=steps, tolerance=1e-6)
    assert total(pieces) == pytest.approx(1 - at, abs=1e-6)
    assert spent[0] <= steps * (8 * 20 + 1)
    # Every piece except the one around the kink is integrated exactly.
    assert sum(abs(piece.missing) > 1e-12 for piece in pieces) <= 1


@given(
    at=st.floats(0.01, 1),
    height=st.floats(0.1, 9),
    steps=st.integers(1, 8),
    max_steps=st.integers(8, 400),
)
def test_the_error_of_a_jump_remains_within_the_allowed_number_of_nodes(
    at, height, steps, max_steps
):
    (pieces,), spent = quadrature([jump(at, height)], steps, 1e-3, max_steps)
    assert spent[0] <= max_steps
    assert sum(piece.missing for piece in pieces) == pytest.approx(height)
    # One piece contains the jump and is divided as often as the number of nodes allows.
    (missed,) = (piece for piece in pieces if abs(piece.missing) > 1e-9)
    assert missed.missing == pytest.approx(height)
    assert missed.span.start < at <= missed.span.end
    # With such a large error, a piece is divided into at least four and at most eight.
    divisions = (max_steps - steps) // (8 * steps)
    assert missed.span.end - missed.span.start <= max(4.0**-divisions, NARROWEST)


def test_a_piece_with_a_jump_is_not_divided_below_the_narrowest_width():
    (pieces,), spent = quadrature([jump(0.3)], steps=1, max_steps=10**9)
    narrowest = min(piece.span.end - piece.span.start for piece in pieces)
    assert NARROWEST / 8 <= narrowest <= NARROWEST
    assert spent[0] < 150


@settings(max_examples=25)
@given(st.lists(st.floats(0.02, 0.98), min_size=1, max_size=4), st.integers(1, 4))
def test_pieces_tile_the_path_and_share_the_scores_at_their_ends(kinks, steps):
    def function(a):
        return sum(max(a - at, 0.0) for at in kinks) + math.sin(3 * a)

    def derivative(a):
        return sum(float(a > at) for at in kinks) + 3 * math.cos(3 * a)

    (pieces,), spent = quadrature([(function, derivative)], steps, 1e-5)
    assert pieces[0].span.start == 0 and pieces[-1].span.end == 1
    for left, right in itertools.pairwise(pieces):
        assert left.span.end == right.span.start and left.end_score == right.start_score
    assert steps * len(pieces) <= spent[0]
    assert sum(abs(piece.missing) for piece in pieces) <= 1e-5
    assert abs(total(pieces) - (function(1.0) - function(0.0))) <= 1e-5


def test_errors_are_added_as_absolute_values():
    up, down = jump(0.2), jump(0.8, -1.5)
    both = (lambda a: up[0](a) + down[0](a), lambda a: 2.0)
    (pieces,), spent = quadrature([both], steps=2, max_steps=50)
    assert spent[0] > 40
    assert sum(piece.missing for piece in pieces) == pytest.approx(-0.5)
    assert sum(abs(piece.missing) for piece in pieces) == pytest.approx(2.5)


def test_jumps_that_cancel_are_not_detected():
    """A limit of the method: the target at the ends does not show two jumps that cancel."""
    up, down = jump(0.2), jump(0.8, -1.0)
    both = (lambda a: up[0](a) + down[0](a), lambda a: 2.0)
    (pieces,), spent = quadrature([both], steps=2, max_steps=50)
    assert len(pieces) == 1 and spent == [2]


def test_only_paths_with_too_large_an_error_are_divided():
    smooth, bent = polynomial([0.0, 1.0, 2.0]), kink(0.37)
    pieces, spent = quadrature([smooth, bent, smooth])
    assert spent[0] == spent[2] == 4 < spent[1]
    assert [total(path) for path in pieces] == pytest.approx([3, 0.63, 3], abs=1e-6)


@pytest.mark.parametrize("at", [0.1, 0.9])
def test_the_worst_pieces_are_divided_first_when_nodes_are_few(at):
    big, small = kink(at), kink(1 - at)
    both = (lambda a: big[0](a) + small[0](a) / 50, lambda a: big[1](a) + small[1](a) / 50)
    (pieces,), _ = quadrature([both], steps=1, max_steps=11)
    narrowest = min((piece.span for piece in pieces), key=lambda span: span.end - span.start)
    halves = narrowest.end - narrowest.start
    assert halves <= 1 / 8
    # The narrowest piece is in the quarter of the large kink; the small kink comes later.
    assert abs((narrowest.start + narrowest.end) / 2 - at) < 1 / 4


@given(st.floats(1e-8, 1e-1))
def test_a_smaller_tolerance_needs_more_nodes(tolerance):
    wave = (lambda a: math.sin(20 * a), lambda a: 20 * math.cos(20 * a))
    _, spent_loose = quadrature([wave], steps=3, tolerance=1.0)
    (tight,), spent_tight = quadrature([wave], steps=3, tolerance=tolerance)
    assert abs(total(tight) - math.sin(20)) <= tolerance
    # A path may be divided into more parts at once, or twice into fewer parts.
    assert spent_tight[0] >= spent_loose[0] / 2
