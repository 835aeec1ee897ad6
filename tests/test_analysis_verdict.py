"""The rules of the verdict; test_verdict_on_organisms applies them to model organisms."""

import math

import pandas as pd
import pytest

from neuronscope.analysis.outcome import Counts
from neuronscope.analysis.verdict import weigh
from neuronscope.results.findings import Finding


def facts(known=16, still=0, others=8, kept=8):
    """A table of facts with these counts, and one more of each kind that was never answered."""
    forget = [(True, k < still) for k in range(known)] + [(False, False)]
    rest = [(True, k < kept) for k in range(others)] + [(False, True)]
    rows = [("forget", *one) for one in forget] + [("retain", *one) for one in rest]
    return pd.DataFrame(rows, columns=["split", "answered_before", "answered_after"])


def view(name, word, value=0.5, ci95=(0.3, 0.7)):
    return Finding(name, word, value, ci95, "a share", f"Why {name}.")


@pytest.mark.parametrize("word", ["hidden", "erased", "mixed", "cannot tell"])
def test_the_relearning_probe_decides(word):
    verdict = weigh(facts(), "erased", [view("weight_path", None), view("relearning_probe", word)])
    assert verdict.word == word
    assert verdict.reason == "relearning probe" and verdict.counts == Counts(16, 0, 8, 8)
    assert verdict.hidden_share == 0.5 and verdict.hidden_share_ci95 == (0.3, 0.7)
    named = {*verdict.agree, *verdict.differ, *verdict.silent}
    assert named == {"attributions", "weight_path", "relearning_probe"}
    assert ("attributions" in verdict.agree) == (word == "erased")


@pytest.mark.parametrize(
    "name", ["silencing", "weight_restoration", "logit_lens", "linear_probe", "depth_score"]
)
def test_another_view_can_contradict_an_erasure(name):
    against = weigh(
        facts(), "erased", [view("relearning_probe", "erased", 0.0), view(name, "hidden")]
    )
    assert (against.word, against.reason) == ("cannot tell", "contradicted")
    assert against.contradicting == (name,)
    assert against.differ == ("attributions", "relearning_probe", name)
    for word in ("erased", "cannot tell", None):
        assert weigh(
            facts(), "hidden", [view("relearning_probe", "erased"), view(name, word)]
        ).word == ("erased")
    # Low-rank restoration may find what it restored itself, so it contradicts nothing.
    low_rank_restoration = weigh(
        facts(),
        "hidden",
        [view("relearning_probe", "erased"), view("low_rank_restoration", "hidden")],
    )
    assert low_rank_restoration.word == "erased" and low_rank_restoration.differ == (
        "attributions",
        "low_rank_restoration",
    )


@pytest.mark.parametrize("own", ["hidden", "erased"])
def test_counts_come_first(own):
    views = [view("relearning_probe", own)]
    assert weigh(facts(still=9), own, views).word == "not forgotten"
    assert weigh(facts(still=8), own, views).word == own
    assert weigh(facts(kept=4), own, views).word == "collapsed"
    assert weigh(facts(kept=5), own, views).word == own
    assert weigh(facts(others=3, kept=0), own, views).word == own
    few = weigh(facts(known=3), own, views)
    assert (few.word, few.reason, few.counts.known) == ("cannot tell", "too few facts", 3)
    for word in (weigh(facts(still=9), own, views), weigh(facts(kept=4), own, views)):
        assert math.isnan(word.hidden_share)


def test_without_a_relearning_probe_there_is_no_verdict_on_forgotten_answers():
    verdict = weigh(
        facts(), "hidden", [view("low_rank_restoration", "hidden"), view("logit_lens", "hidden")]
    )
    assert (verdict.word, verdict.reason) == ("cannot tell", "no relearning probe")
    assert math.isnan(verdict.hidden_share)


def test_a_model_that_forgot_the_whole_relation_is_not_collapsed():
    kept, lost = [True] * 4, [False] * 4
    table = pd.DataFrame(
        {
            "split": ["forget"] * 4 + ["retain"] * 8,
            "relation": ["capital"] * 8 + ["colour"] * 4,
            "answered_before": [True] * 12,
            "answered_after": lost + lost + kept,
        }
    )
    findings = [view("relearning_probe", "hidden")]
    assert weigh(table, "erased", findings).word == "hidden"
    # Without facts of other relations, or if these are lost, the model is damaged.
    assert weigh(table[:8], "erased", findings).word == "collapsed"
    table["answered_after"] = False
    assert weigh(table, "erased", findings).word == "collapsed"
