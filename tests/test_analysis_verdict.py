"""The verdict's rules, one by one; on planted pairs it is tried in test_verdict_on_organisms."""

import math

import pandas as pd
import pytest

from neuronscope.analysis.verdict import weigh
from neuronscope.results.findings import Finding


def facts(known=16, still=0, others=8, kept=8):
    """A table of facts with these counts, and one more of each kind that was never answered."""
    forget = [(True, k < still) for k in range(known)] + [(False, False)]
    rest = [(True, k < kept) for k in range(others)] + [(False, True)]
    rows = [("forget", *one) for one in forget] + [("retain", *one) for one in rest]
    return pd.DataFrame(rows, columns=["split", "answered_before", "answered_after"])


def view(name, word, value=0.5, ci95=(0.3, 0.7)):
    return Finding(name, word, value, ci95, "a share", f"What {name} says.")


@pytest.mark.parametrize("word", ["hidden", "erased", "mixed", "cannot tell"])
def test_savings_decide(word):
    verdict = weigh(facts(), "erased", [view("weight_path", None), view("relearning_probe", word)])
    assert verdict.word == word
    assert verdict.why.startswith(word.capitalize()) and "0 of 16 answers" in verdict.why
    assert verdict.hidden_share == 0.5 and verdict.hidden_share_ci95 == (0.3, 0.7)
    assert bool(verdict.settle) == (word == "cannot tell")
    named = {*verdict.agree, *verdict.differ, *verdict.silent}
    assert named == {"attributions", "weight_path", "relearning_probe"}
    assert ("attributions" in verdict.agree) == (word == "erased")


@pytest.mark.parametrize(
    "name", ["silencing", "weight_restoration", "logit_lens", "linear_probe", "depth_score"]
)
def test_an_erasure_that_another_view_contradicts_is_no_erasure(name):
    against = weigh(
        facts(), "erased", [view("relearning_probe", "erased", 0.0), view(name, "hidden")]
    )
    assert against.word == "cannot tell" and against.settle
    assert name.replace("_", " ") in against.why and against.differ == (
        "attributions",
        "relearning_probe",
        name,
    )
    for word in ("erased", "cannot tell", None):
        assert weigh(
            facts(), "hidden", [view("relearning_probe", "erased"), view(name, word)]
        ).word == ("erased")
    # A spectrum brings back what was put in: it contradicts nothing.
    low_rank_restoration = weigh(
        facts(),
        "hidden",
        [view("relearning_probe", "erased"), view("low_rank_restoration", "hidden")],
    )
    assert low_rank_restoration.word == "erased" and low_rank_restoration.differ == (
        "attributions",
        "low_rank_restoration",
    )


@pytest.mark.parametrize("said", ["hidden", "erased"])
def test_counts_come_first(said):
    views = [view("relearning_probe", said)]
    assert weigh(facts(still=9), said, views).word == "not forgotten"
    assert weigh(facts(still=8), said, views).word == said
    assert weigh(facts(kept=4), said, views).word == "collapsed"
    assert weigh(facts(kept=5), said, views).word == said
    assert weigh(facts(others=3, kept=0), said, views).word == said
    few = weigh(facts(known=3), said, views)
    assert few.word == "cannot tell" and "only 3" in few.why
    for word in (weigh(facts(still=9), said, views), weigh(facts(kept=4), said, views)):
        assert math.isnan(word.hidden_share)


def test_without_savings_nothing_is_said_of_what_was_forgotten():
    verdict = weigh(
        facts(), "hidden", [view("low_rank_restoration", "hidden"), view("logit_lens", "hidden")]
    )
    assert verdict.word == "cannot tell" and "relearning_probe" in verdict.settle
    assert math.isnan(verdict.hidden_share)
