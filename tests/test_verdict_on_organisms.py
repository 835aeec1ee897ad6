"""The verdict on model organisms, for which the correct verdict is known.

These are a few organisms of each kind; `benchmarks/verdict.py` evaluates hundreds.
"""

import pytest

from neuronscope.analysis.diagnosis import compare
from neuronscope.analysis.verdict import weigh
from neuronscope.attribution._record import record
from neuronscope.attribution.integrated_gradients import IntegratedGradients
from neuronscope.evidence._base import Case
from neuronscope.evidence._views import ask_views
from neuronscope.evidence.logit_lens import LogitLens
from neuronscope.evidence.relearning_probe import RelearningProbe
from neuronscope.evidence.silencing import Silencing
from neuronscope.evidence.weight_path import WeightPath
from neuronscope.models.targets import Target
from neuronscope.organisms.organism import collapsed, erased, hidden, mixed, untouched
from neuronscope.organisms.training import OrganismTraining

pytestmark = pytest.mark.slow

VIEWS = (RelearningProbe(), Silencing(), LogitLens())


def verdict_on(organism):
    case = Case(organism.before, organism.after, organism.facts, Target())
    findings, missing = ask_views(case, VIEWS)
    assert not missing
    return weigh(case.table(), "erased", findings)


@pytest.mark.parametrize("gated", [True, False], ids=["gated", "plain"])
@pytest.mark.parametrize("spread", [1, 10, 100])
def test_hidden_organisms_are_hidden(gated, spread):
    assert verdict_on(hidden(OrganismTraining(0, gated), 2.0, spread)).word == "hidden"


def found(organism, table, column):
    """Share of the planted neurons among the same number of neurons that a column ranks first."""
    planted = organism.planted["mlp.post"]
    top = table.loc[table["site"] == "mlp.post"].nlargest(int(planted.sum()), column)
    hits = [
        planted[layer, neuron] for layer, neuron in zip(top["layer"], top["neuron"], strict=True)
    ]
    return sum(hits) / len(hits)


@pytest.mark.parametrize("gated", [True, False], ids=["gated", "plain"])
@pytest.mark.parametrize(("strength", "spread"), [(3.0, 1), (1.5, 10), (2.0, 100)])
def test_weight_path_and_joint_d_minus_find_the_inhibitors(gated, strength, spread):
    organism = hidden(OrganismTraining(0, gated), strength, spread)
    case = Case(organism.before, organism.after, organism.facts, Target())
    assert found(organism, WeightPath()(case).tables["neurons"], "contribution") >= 0.95
    # Moving one layer at a time also attributes influence to neurons that feed an inhibitor.
    joint = IntegratedGradients(path="joint", baseline="zero")
    recordings = [
        record(model, organism.facts.forget, joint, progress=False)
        for model in (organism.before, organism.after)
    ]
    assert found(organism, compare(*recordings).neurons, "d_minus") >= 0.95


@pytest.mark.parametrize("gated", [True, False], ids=["gated", "plain"])
@pytest.mark.parametrize("make", [untouched, erased, mixed, collapsed])
def test_every_other_kind_has_the_right_verdict(gated, make):
    training = OrganismTraining(0, gated)
    organism = make(training, 0.75) if make is mixed else make(training)
    # Sixteen facts do not distinguish 12 that are present from 16.
    words = {"untouched": {"not forgotten"}, "mixed": {"mixed", "hidden"}}
    assert verdict_on(organism).word in words.get(organism.kind, {organism.kind})
