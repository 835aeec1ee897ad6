"""Only recordings of the same facts with the same settings can be compared."""

from dataclasses import replace

import pytest
from synthetic_recordings import make_recording, random_influence, reduce

from neuronscope.results.comparison import Comparison


def recorded(**changes):
    return make_recording(random_influence(0), sites=("mlp.up", "attn.q"), **changes)


def cut(recording):
    return make_recording(random_influence(0, neurons=4), sites=("mlp.up", "attn.q"))


OTHERS = {
    "fewer facts": (
        lambda r: make_recording(random_influence(0, facts=3), sites=("mlp.up", "attn.q")),
        "number of facts, got 4 before and 3 after",
    ),
    "another fact": (
        lambda r: replace(r, fact_ids=("fact-0", "other", "fact-2", "fact-3")),
        "fact 1, got 'fact-1' before and 'other' after; record both with the same facts",
    ),
    "another order": (
        lambda r: replace(r, fact_ids=("fact-1", "fact-0", "fact-2", "fact-3")), "fact 0, got"
    ),
    "another split": (
        lambda r: replace(r, splits=("forget", "forget", "forget", "test")),
        "split of fact 'fact-3', got 'forget' before and 'test' after",
    ),
    "other content": (lambda r: recorded(facts_hash="g"), r"facts \(by hash\), got 'f' before"),
    "method": (lambda r: recorded(attribution="conductance"), "attribution, got 'integrated_"),
    "target": (lambda r: recorded(target="prob"), "target, got 'log_odds' before and 'prob' after"),
    "unit": (lambda r: recorded(unit="probability"), "unit, got 'nats'"),
    "prompt form": (lambda r: recorded(prompt_form="chat"), "prompt form, got 'plain'"),
    "a setting": (
        lambda r: recorded(settings=r.provenance.settings | {"steps": 8}),
        "setting 'steps', got 16 before and 8 after; .* same settings",
    ),
    "a setting less": (
        lambda r: recorded(settings={"steps": 16, "baseline": None}),
        "setting 'tolerance', got 0.001 before and 'nothing' after",
    ),
    "sites": (
        lambda r: make_recording(random_influence(0), sites=("mlp.up",)),
        r"sites, got \['attn.q', 'mlp.up'\] before and \['mlp.up'\] after",
    ),
    "means": (lambda r: reduce(r), r"form \(per fact\), got True before and False after"),
    "experts": (lambda r: recorded(experts=5), "number of experts, got 0 before and 5 after"),
    "width": (cut, r"shape of mlp.up.total, got \(4, 2, 5\) before and \(4, 2, 4\) after"),
    "path": (
        lambda r: make_recording(random_influence(0), joint=True, sites=("mlp.up", "attn.q")),
        r"shape of mlp.up.baseline_score, got \(4, 2\) before and \(4, 1\) after",
    ),
}  # fmt: skip


@pytest.mark.parametrize("other", OTHERS.values(), ids=OTHERS)
def test_the_difference_is_named(other):
    change, message = other
    recording = recorded()
    with pytest.raises(ValueError, match=message) as caught:
        Comparison(recording, change(recording))
    assert "\n" not in str(caught.value)


def test_models_of_different_precision_can_be_compared():
    other = recorded(model="b", model_hash="n", dtype="bfloat16", versions={}, notes=("merged",))
    assert Comparison(recorded(), other).after is other
