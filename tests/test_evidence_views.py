"""The causal part of a diagnosis: asked once, kept, and found again."""

from dataclasses import dataclass, replace

import numpy as np
import pytest
from tiny import FORGET, RETAIN, tiny

from neuronscope.analysis.diagnosis import compare
from neuronscope.attribution._record import record
from neuronscope.attribution.gradient_x_activation import GradientXActivation
from neuronscope.evidence._base import Case, Evidence, no_progress
from neuronscope.evidence._views import FIRST, VIEWS, ask, ask_views, views_called
from neuronscope.evidence.logit_lens import LogitLens
from neuronscope.evidence.relearning_probe import RelearningProbe
from neuronscope.evidence.silencing import Silencing
from neuronscope.evidence.weight_restoration import WeightRestoration
from neuronscope.facts.fact import FactSet
from neuronscope.models.targets import Target
from neuronscope.results.comparison import Comparison
from neuronscope.results.findings import Finding


@dataclass(frozen=True)
class Counting(Evidence):
    """Says how often it was asked, and what rankings it was given."""

    number: int = 0

    def __call__(self, case, progress=no_progress):
        Counting.asked.append(sorted(case.rankings or {}))
        progress(1, 1)
        nothing = (float("nan"), float("nan"))
        return Finding("counting", None, float(self.number), nothing, "a number", "It counts.")


@dataclass(frozen=True)
class Refusing(Evidence):
    """Cannot be had."""

    def __call__(self, case, progress=no_progress):
        raise ValueError("these models have no such thing.")


@pytest.fixture
def case():
    Counting.asked = []
    facts = FactSet(forget=FORGET[:4], retain=RETAIN[:4])
    return Case(tiny("llama"), tiny("gpt2"), facts, Target())


def test_a_finding_is_kept_and_not_asked_for_again(case, tmp_path):
    for _ in range(2):
        found, missing = ask_views(case, (Counting(),), tmp_path)
        assert [finding.view for finding in found] == ["counting"] and not missing
    assert len(Counting.asked) == 1
    # Another setting is another question, and what lies there is not its answer.
    found, missing = ask_views(case, (Counting(2),), tmp_path)
    assert not found and "other models, facts or settings" in missing[0]


@dataclass(frozen=True)
class Ranked(Counting):
    """Reads the rankings."""

    @property
    def ranked(self):
        return True


def test_what_was_found_with_other_rankings_is_not_taken_for_an_answer(case, tmp_path):
    scores = np.arange(6.0).reshape(2, 3)
    given = ({"one": scores}, {"one": scores}, {"one": scores + 1}, {"two": scores})
    for view, others_count in ((Ranked(), True), (Counting(), False)):
        Counting.asked, folder = [], tmp_path / type(view).__name__
        for place, rankings in enumerate(given):
            found, missing = ask_views(replace(case, rankings=rankings), (view,), folder)
            kept = place < 2 or not others_count
            assert len(found) == kept and ("other models" in str(missing)) == (not kept)
        assert len(Counting.asked) == 1
    assert WeightRestoration().ranked and Silencing().ranked and not RelearningProbe().ranked


@pytest.mark.parametrize("names", [(), ("none",)])
def test_no_view_is_none(names):
    assert views_called(names) == ()


def test_views_are_called_by_name():
    assert views_called(("logit_lens", "relearning_probe")) == (RelearningProbe(), LogitLens())
    assert views_called(("all",)) == (FIRST, *VIEWS)
    with pytest.raises(ValueError, match="goes with no other"):
        views_called(("none", "logit_lens"))


def test_a_view_that_cannot_be_had_is_named_and_the_others_go_on(case):
    found, missing = ask_views(case, (Refusing(), Counting()))
    assert [finding.view for finding in found] == ["counting"]
    assert missing == ("test_evidence_views was left out: these models have no such thing.",)


def test_views_are_given_every_ranking(tmp_path):
    Counting.asked = []
    model, facts = tiny("llama"), FactSet(forget=FORGET[:4], retain=RETAIN[:4])
    other = tiny("llama")
    for parameter in other.hf.parameters():
        parameter.data.mul_(1.01)
    recordings = [
        record(one, facts, GradientXActivation(), progress=False) for one in (model, other)
    ]
    case = Case(model, other, facts, Target())
    table = compare(*recordings).neurons
    found, missing = ask(
        case, Comparison(*recordings), table, tmp_path, (Counting(),), progress=False
    )
    assert [finding.view for finding in found] == ["weight_path", "counting"] and not missing
    assert Counting.asked == [
        ["activation_change", "attribution_difference", "d_minus", "weight_path"]
    ]
    whole = compare(*recordings).with_findings(found)
    assert whole.verdict is not None and "causal_share" in whole.neurons
    owned = found[0].tables["neurons"]
    share = owned.loc[owned["site"] == "mlp.post", "contribution"].sum() / found[0].value
    assert whole.neurons["causal_share"].sum() == pytest.approx(share)
