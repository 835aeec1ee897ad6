"""The causal part of a diagnosis: views run once, and their findings are saved and reloaded."""

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import pytest
from tiny import FORGET, RETAIN, tiny

from neuronscope._discover import method_names
from neuronscope.analysis.diagnosis import compare
from neuronscope.attribution._record import record
from neuronscope.attribution.gradient_x_activation import GradientXActivation
from neuronscope.evidence._base import Case, Evidence, no_progress
from neuronscope.evidence._views import ask, ask_views, default_views, view_name, views_called
from neuronscope.evidence.logit_lens import LogitLens
from neuronscope.evidence.relearning_probe import RelearningProbe
from neuronscope.evidence.silencing import Silencing
from neuronscope.evidence.weight_path import WeightPath
from neuronscope.evidence.weight_restoration import WeightRestoration
from neuronscope.facts.fact import FactSet
from neuronscope.models.targets import Target
from neuronscope.results.comparison import Comparison
from neuronscope.results.findings import Finding


@dataclass(frozen=True)
class Counting(Evidence):
    """Counts how often it ran, and with which rankings."""

    number: int = 0

    def __call__(self, case, progress=no_progress):
        Counting.asked.append(sorted(case.rankings or {}))
        progress(1, 1)
        nothing = (float("nan"), float("nan"))
        return Finding("counting", None, float(self.number), nothing, "a number", "It counts.")


@dataclass(frozen=True)
class Refusing(Evidence):
    """Always refuses."""

    def __call__(self, case, progress=no_progress):
        raise ValueError("these models have no such thing.")


@pytest.fixture
def case():
    Counting.asked = []
    facts = FactSet(forget=FORGET[:4], retain=RETAIN[:4])
    return Case(tiny("llama"), tiny("gpt2"), facts, Target())


def test_a_saved_finding_is_not_computed_again(case, tmp_path):
    for _ in range(2):
        found, missing = ask_views(case, (Counting(),), tmp_path)
        assert [finding.view for finding in found] == ["counting"] and not missing
    assert len(Counting.asked) == 1
    # A saved finding does not match other settings.
    found, missing = ask_views(case, (Counting(2),), tmp_path)
    assert not found and "models, facts or settings" in missing[0]


@dataclass(frozen=True)
class Ranked(Counting):
    """Uses the rankings."""

    needs_rankings: ClassVar[bool] = True


def test_a_finding_saved_with_other_rankings_is_not_reused(case, tmp_path):
    scores = np.arange(6.0).reshape(2, 3)
    given = ({"one": scores}, {"one": scores}, {"one": scores + 1}, {"two": scores})
    for view, others_count in ((Ranked(), True), (Counting(), False)):
        Counting.asked, folder = [], tmp_path / type(view).__name__
        for place, rankings in enumerate(given):
            found, missing = ask_views(replace(case, rankings=rankings), (view,), folder)
            kept = place < 2 or not others_count
            assert len(found) == kept and ("different models" in str(missing)) == (not kept)
        assert len(Counting.asked) == 1
    assert WeightRestoration.needs_rankings and Silencing.needs_rankings
    assert not RelearningProbe.needs_rankings


@pytest.mark.parametrize("names", [(), ("none",)])
def test_none_selects_no_view(names):
    assert views_called(names) == ()


def test_views_are_called_by_name():
    assert views_called(("logit_lens", "relearning_probe")) == (RelearningProbe(), LogitLens())
    assert views_called(("all",)) == default_views()
    assert views_called(("silencing", "weight_path")) == (WeightPath(), Silencing())
    with pytest.raises(ValueError, match="none cannot be combined"):
        views_called(("none", "logit_lens"))


def test_all_views_but_two_run_by_default_and_rankings_come_before_views_that_need_them():
    names = [view_name(view) for view in default_views()]
    assert set(method_names("evidence")) - set(names) == {"depth_score", "linear_probe"}
    assert len(names) == len(set(names)) and names[0] == "relearning_probe"
    ranked = names.index("weight_path") + 1
    assert set(names[ranked:]) == {"silencing", "weight_restoration"}


def test_a_view_that_refuses_is_named_and_the_others_still_run(case):
    found, missing = ask_views(case, (Refusing(), Counting()))
    assert [finding.view for finding in found] == ["counting"]
    (reason,) = missing
    assert "test_evidence_views" in reason and "these models have no such thing." in reason


@pytest.fixture(scope="module")
def compared():
    """A case, its two recordings and the table of neurons."""
    model, facts = tiny("llama"), FactSet(forget=FORGET[:4], retain=RETAIN[:4])
    other = tiny("llama")
    for parameter in other.hf.parameters():
        parameter.data.mul_(1.01)
    recordings = [
        record(one, facts, GradientXActivation(), progress=False) for one in (model, other)
    ]
    return Case(model, other, facts, Target()), recordings, compare(*recordings).neurons


FROM_RECORDINGS = ["activation_change", "attribution_difference", "d_minus"]


@pytest.mark.parametrize(
    ("with_path", "expected"),
    [(True, [*FROM_RECORDINGS, "weight_path"]), (False, FROM_RECORDINGS)],
)
def test_views_receive_the_rankings_of_all_views_that_ran_before(
    compared, tmp_path, with_path, expected
):
    Counting.asked = []
    case, recordings, table = compared
    views = (Ranked(), *([WeightPath()] if with_path else []))
    found, missing = ask(case, views, Comparison(*recordings), table, tmp_path, progress=False)
    assert not missing and Counting.asked == [expected]
    assert [finding.view for finding in found] == ["weight_path", "counting"][not with_path :]


def test_the_weight_path_provides_a_ranking_of_neurons(compared):
    case, recordings, table = compared
    found, _ = ask(case, (WeightPath(),), Comparison(*recordings), table, progress=False)
    whole = compare(*recordings).with_findings(found)
    assert whole.verdict is not None and "causal_share" in whole.neurons
    owned = found[0].tables["neurons"]
    share = owned.loc[owned["site"] == "mlp.post", "contribution"].sum() / found[0].value
    assert whole.neurons["causal_share"].sum() == pytest.approx(share)


def test_without_views_there_are_no_findings(compared):
    case, recordings, table = compared
    assert ask(case, (), Comparison(*recordings), table, progress=False) == ((), ())
