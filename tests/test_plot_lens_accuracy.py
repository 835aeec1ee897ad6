import numpy as np
import pytest
from diagnosis_example import note, traces
from readable import FORGET, OTHERS, case_of, readable

from neuronscope.evidence.logit_lens import LABELS, LogitLens
from neuronscope.facts.fact import FactSet
from neuronscope.plots._look import untitled
from neuronscope.plots.lens_accuracy import SYMBOLS, lens_accuracy


@pytest.fixture(scope="module")
def layers():
    return LogitLens()(case_of(readable("knows"), readable("hides"))).tables["layers"]


def drawn(figure, name, panel):
    """The line or band of a model in the first or the second panel."""
    axis = "y" if panel == 0 else "y2"
    (trace,) = [t for t in figure.data if t.name == name and t.yaxis == axis]
    return trace


def test_each_panel_draws_its_facts_before_and_after(layers):
    figure = lens_accuracy(layers)
    for panel, facts in enumerate(("forget", "other")):
        for model in ("before", "after"):
            rows = layers[(layers["facts"] == facts) & (layers["model"] == model)]
            line = drawn(figure, model, panel)
            np.testing.assert_array_equal(line.x, rows["layer"])
            np.testing.assert_array_equal(line.y, rows["pairs"])
            band = drawn(figure, f"{model}, 95 % interval", panel)
            np.testing.assert_array_equal(
                band.y, [*rows["pairs_high"], *rows["pairs_low"].iloc[::-1]]
            )
    titles = [mark.text for mark in figure.layout.annotations]
    assert [title.split()[0] for title in titles] == ["10", "6"]


def test_each_layer_of_the_unlearned_model_is_marked_by_its_label(layers):
    marks = traces(lens_accuracy(layers))
    assert list(marks["still readable"].x) == [0, 1, 2]
    assert list(marks["over-unlearned"].x) == [3]
    assert "never readable" not in marks
    assert set(SYMBOLS) == set(LABELS)
    assert len({symbol for symbol, _ in SYMBOLS.values()}) == len(LABELS)


def test_chance_is_drawn_in_both_panels_and_named_once(layers):
    lines = [trace for trace in lens_accuracy(layers).data if trace.name == "chance"]
    assert [set(line.y) for line in lines] == [{0.5}, {0.5}]
    assert [line.showlegend for line in lines] == [True, False]


def test_without_other_facts_there_is_one_panel():
    facts = FactSet(forget=FORGET)
    finding = LogitLens()(case_of(readable("knows"), readable("hides"), facts))
    figure = lens_accuracy(finding.tables["layers"])
    assert {trace.yaxis for trace in figure.data} == {"y"}
    both = LogitLens()(case_of(readable("knows"), readable("hides"), FactSet(FORGET, OTHERS)))
    assert lens_accuracy(both.tables["layers"]).layout.height > figure.layout.height


def test_the_subtitle_explains_the_bands(layers):
    figure = lens_accuracy(layers)
    assert "Wilson" in note(figure).replace("<br>", " ")
    assert untitled(figure)[0] == "Logit lens"
