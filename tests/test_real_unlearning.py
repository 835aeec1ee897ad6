"""A real model unlearns capitals, and the causes of its forgetting are diagnosed."""

import pytest

from neuronscope.evidence._base import Case
from neuronscope.evidence.low_rank_restoration import LowRankRestoration
from neuronscope.evidence.relearning_probe import RelearningProbe
from neuronscope.evidence.weight_path import WeightPath
from neuronscope.facts.fact import Fact, FactSet
from neuronscope.models.targets import Target
from neuronscope.objectives.gradient_difference import GradientDifference
from neuronscope.stopping.forget_accuracy import ForgetAccuracy
from neuronscope.training import TrainingConfig, unlearn

pytestmark = pytest.mark.real

CAPITALS = {
    "France": "Paris", "Germany": "Berlin", "Italy": "Rome", "Japan": "Tokyo", "Spain": "Madrid",
    "Egypt": "Cairo", "Austria": "Vienna", "Cuba": "Havana", "Russia": "Moscow", "Peru": "Lima",
    "Greece": "Athens", "Poland": "Warsaw", "Portugal": "Lisbon", "Hungary": "Budapest",
}  # fmt: skip
OPPOSITES = {
    "hot": "cold", "big": "small", "up": "down", "left": "right", "day": "night",
    "black": "white", "good": "bad", "open": "closed",
}  # fmt: skip


@pytest.fixture(scope="module")
def case(de_quantized):
    """The model before and after gradient difference on the capitals that it knows."""
    capitals = [
        Fact(country, f"The capital city of {country} is called", city)
        for country, city in CAPITALS.items()
    ]
    others = [Fact(word, f"The opposite of {word} is", other) for word, other in OPPOSITES.items()]
    known = Case(
        de_quantized,
        de_quantized,
        FactSet(forget=tuple(capitals), retain=tuple(others)),
        Target(),
    ).table()
    answered = set(known.loc[known["answered_before"], "fact"])
    facts = FactSet(
        forget=tuple(fact for fact in capitals if fact.id in answered)[:8],
        retain=tuple(fact for fact in others if fact.id in answered),
    )
    assert len(facts.forget) == 8 and len(facts.retain) >= 4
    config = TrainingConfig(learning_rate=3e-6, steps=40, evaluate_every=2)
    run = unlearn(de_quantized, GradientDifference(), facts, stop=ForgetAccuracy(), config=config)
    first, last = run.history.iloc[0], run.history.iloc[-1]
    assert first["answered_forget"] == 8 and last["answered_forget"] == 0
    assert last["answered_retain_rate"] >= 0.5, run.history
    return Case(de_quantized, run.model, facts, Target())


def test_the_weight_path_adds_up(case):
    finding = WeightPath()(case)
    drop = float((case.at_first.score - case.at_last.score)[case.forget].mean())
    assert drop > 1 and finding.value == pytest.approx(drop, rel=1e-4)
    modules = finding.tables["modules"]
    assert modules["contribution"].sum() == pytest.approx(finding.value, rel=1e-6)


def test_what_was_forgotten_is_relearnt_too_soon_to_be_new(case):
    finding = RelearningProbe()(case)
    assert finding.word == "hidden", finding.why
    assert finding.figures["placebo_share"] < 0.5 and finding.figures["distance"] < 2e-3


def test_half_of_the_answers_are_in_the_first_two_ranks_of_the_change(case):
    finding = LowRankRestoration()(case)
    assert finding.figures["random"] <= 0.1 and finding.figures["all_of_every_matrix"] > 0.7
    assert finding.figures["rank_half"] <= 2
