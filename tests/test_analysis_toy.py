"""As an answer fades, a probability flips the verdict but log-odds do not: a model solved by hand.

Ten tokens, the nine wrong ones at logit 0. A knowledge neuron adds its weight 5 to the answer's
logit, an inhibitor adds −w; both are active at 1. With the answer's logit z and its probability
P = eᶻ / (eᶻ + 9), influence is activation × gradient: weight · P(1 − P) on P, weight · (1 − P) on
log P, and the weight itself on the log-odds log(P / (1 − P)) = z − log 9.
"""

import numpy as np
import pytest
from synthetic_recordings import make_recording

from neuronscope.analysis.diagnosis import compare

FACTOR = {"prob": lambda p: p * (1 - p), "log_prob": lambda p: 1 - p, "log_odds": lambda p: 1.0}
SCORE = {"prob": lambda p: p, "log_prob": np.log, "log_odds": lambda p: np.log(p / (1 - p))}


def toy(knowledge, inhibitor, target):
    """The toy's two neurons on two equal facts, silent at one position and active at the next."""
    odds = np.exp(knowledge + inhibitor)
    p = odds / (odds + 9)
    influence = np.zeros((2, 2, 1, 2))
    influence[:, 1] = np.array([knowledge, inhibitor]) * FACTOR[target](p)
    return make_recording(
        influence,
        score=[SCORE[target](p)] * 2,
        probability=[p, p],
        answered=[p > 0.1] * 2,
        target=target,
        unit="probability" if target == "prob" else "nats",
        attribution="gradient_x_activation",
        settings={},
    )


# knowledge and inhibitor after, P, then D⁺ and D⁻ by target, to two or three digits
TABLE = [
    (5, -2, 0.6906, {"prob": (0, 0.427), "log_prob": (0, 0.62), "log_odds": (0, 2)}),
    (5, -4, 0.2320, {"prob": (0, 0.713), "log_prob": (0, 3.07), "log_odds": (0, 4)}),
    (5, -6, 0.0393, {"prob": (0.081, 0.226), "log_prob": (0, 5.76), "log_odds": (0, 6)}),
    (5, -8, 0.0055, {"prob": (0.242, 0.044), "log_prob": (0, 7.96), "log_odds": (0, 8)}),
    (5, -10, 0.0007, {"prob": (0.266, 0.007), "log_prob": (0, 9.99), "log_odds": (0, 10)}),
    (3, 0, 0.6906, {"prob": (0, 0), "log_prob": (0, 0), "log_odds": (2, 0)}),
    (1, 0, 0.2320, {"prob": (0.091, 0), "log_prob": (0, 0), "log_odds": (4, 0)}),
    (0, 0, 0.1000, {"prob": (0.270, 0), "log_prob": (0.29, 0), "log_odds": (5, 0)}),
]


@pytest.mark.parametrize(("knowledge", "inhibitor", "p", "expected"), TABLE)
@pytest.mark.parametrize("target", FACTOR)
def test_the_table_of_the_toy(knowledge, inhibitor, p, expected, target):
    diagnosis = compare(toy(5, 0, target), toy(knowledge, inhibitor, target))
    assert diagnosis.probability_before == pytest.approx(0.943, abs=5e-4)
    assert diagnosis.probability_after == pytest.approx(p, abs=5e-5)
    found = diagnosis.d_plus_at_100, diagnosis.d_minus_at_100
    assert found == pytest.approx(expected[target], abs=6e-3 if target == "log_prob" else 6e-4)


@pytest.mark.parametrize("w", [6, 8, 10])
def test_log_odds_show_hiding_of_any_strength(w):
    diagnosis = compare(toy(5, 0, "log_odds"), toy(5, -w, "log_odds"))
    assert diagnosis.reading == "hidden" and diagnosis.d_plus_sum == 0
    assert diagnosis.layers["negative_gained"].item() == pytest.approx(w) == diagnosis.drop
    assert not any("vanish" in warning for warning in diagnosis.warnings)


@pytest.mark.parametrize(("w", "share"), [(6, 0.26), (8, 0.85), (10, 0.97)])
def test_strong_hiding_looks_erased_by_probability_with_a_warning(w, share):
    diagnosis = compare(toy(5, 0, "prob"), toy(5, -w, "prob"))
    lost, gained = diagnosis.d_plus_sum, diagnosis.d_minus_sum
    assert lost / (lost + gained) == pytest.approx(share, abs=0.006)
    assert diagnosis.reading == ("hidden" if w == 6 else "erased")
    assert any("strong hiding can look like erasure" in warning for warning in diagnosis.warnings)


def test_only_log_odds_show_partial_erasure():
    assert compare(toy(5, 0, "log_odds"), toy(3, 0, "log_odds")).d_plus_sum == 2
    for target in ("prob", "log_prob"):
        diagnosis = compare(toy(5, 0, target), toy(3, 0, target))
        assert diagnosis.d_plus_sum == diagnosis.d_minus_sum == 0
