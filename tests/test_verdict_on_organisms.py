"""The verdict on planted pairs: right where the truth is known, and hidden never called erased.

A few pairs of each kind; `benchmarks/verdict.py` tries hundreds, and says what it got wrong.
"""

import pytest

from neuronscope.analysis.verdict import weigh
from neuronscope.causal import ask_views
from neuronscope.evidence._base import Case
from neuronscope.evidence.lens import Lens
from neuronscope.evidence.savings import Savings
from neuronscope.evidence.silencing import Silencing
from neuronscope.organisms.nursery import Nursery
from neuronscope.organisms.organism import collapsed, erased, hidden, mixed, untouched
from neuronscope.targets import Target

VIEWS = (Savings(), Silencing(), Lens())


def verdict_on(organism):
    case = Case(organism.before, organism.after, organism.facts, Target())
    findings, missing = ask_views(case, VIEWS)
    assert not missing
    return weigh(case.table(), "erased", findings)


@pytest.mark.parametrize("gated", [True, False], ids=["gated", "plain"])
@pytest.mark.parametrize("spread", [1, 10, 100])
def test_hidden_is_hidden(gated, spread):
    assert verdict_on(hidden(Nursery(0, gated), 2.0, spread)).word == "hidden"


@pytest.mark.parametrize("gated", [True, False], ids=["gated", "plain"])
@pytest.mark.parametrize("make", [untouched, erased, mixed, collapsed])
def test_every_other_kind_has_its_word(gated, make):
    nursery = Nursery(0, gated)
    organism = make(nursery, 0.5) if make is mixed else make(nursery)
    words = {"untouched": "not forgotten"}
    assert verdict_on(organism).word == words.get(organism.kind, organism.kind)
