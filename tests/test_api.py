"""The public API `ns.`: complete, fast to import, and with short representations."""

import importlib
import subprocess
import sys
from collections import Counter
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from diagnosis_example import example_recordings
from findings_example import causal_diagnosis
from method_families import FAMILIES, METHODS
from tiny import FORGET, RETAIN, tiny

import neuronscope as ns
from neuronscope._discover import method_class, method_classes, method_names
from neuronscope.attribution import record

FACTS = ns.FactSet(forget=FORGET[:3], retain=RETAIN[:2])


def in_a_new_process(code):
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_importing_the_package_imports_nothing_heavy_nor_does_dir():
    code = (
        "import sys; import neuronscope as ns; dir(ns); "
        "print(any(name in sys.modules for name in ('torch', 'numpy', 'pandas', 'plotly')))"
    )
    assert in_a_new_process(code) == ["False"]


@pytest.mark.parametrize("name", [name for name in dir(ns) if not name.startswith("_")])
def test_every_public_name_exists(name):
    assert getattr(ns, name) is getattr(ns, name)


def test_dir_has_every_public_name():
    assert set(ns.__all__) <= set(dir(ns))
    with pytest.raises(AttributeError, match="nothing"):
        _ = ns.nothing


@pytest.mark.parametrize(("family", "name"), METHODS)
def test_every_method_is_found_by_the_name_of_its_class(family, name):
    found = method_class(family, name, FAMILIES[family])
    assert found.__name__ in dir(ns) and getattr(ns, found.__name__) is found


def test_no_name_occurs_twice():
    names = [name for name, _ in method_classes(ns.FAMILIES)] + ns.__all__
    assert [name for name, count in Counter(names).items() if count > 1] == []
    assert set(ns.FAMILIES) == set(FAMILIES)


def test_every_figure_is_a_function_of_plots_also_after_its_file_was_imported():
    for name in method_names("plots"):
        importlib.import_module(f"neuronscope.plots.{name}")
        assert callable(getattr(ns.plots, name)) and name in dir(ns.plots)


def test_a_fact_is_found_by_its_id():
    assert FACTS[RETAIN[1].id] is RETAIN[1]
    with pytest.raises(KeyError, match="no-such-fact"):
        _ = FACTS["no-such-fact"]


def test_log_odds_are_those_of_a_recording():
    model = tiny("llama")
    recording = record(model, FACTS, ns.GradientXActivation(), progress=False)
    table = ns.log_odds(model, FACTS)
    assert list(table.columns) == ["fact", "split", "log_odds", "answered"]
    assert tuple(table["fact"]) == recording.fact_ids and tuple(table["split"]) == recording.splits
    assert table["log_odds"].to_numpy() == pytest.approx(recording.score, rel=1e-5)
    assert list(table["answered"]) == list(recording.answered)
    alone = ns.log_odds(model, FACTS.forget)
    pd.testing.assert_frame_equal(alone, table.iloc[:3], check_exact=False, rtol=1e-5)


BAD = "<script>alert(1)</script>"


def objects():
    """One object of each kind with a repr, with markup in every text that a user can set."""
    forget = tuple(replace(fact, id=f"{BAD} {fact.id}" * 9, prompt=BAD) for fact in FORGET[:3])
    facts = ns.FactSet(forget=forget, retain=RETAIN[:2], source=BAD * 99, notes=(BAD,))
    model = replace(tiny("llama"), source=BAD * 99, notes=(BAD * 99, BAD))
    before, after = example_recordings(BAD * 99)
    diagnosis = causal_diagnosis()
    finding = replace(diagnosis.findings[0], why=BAD, meaning=BAD * 99, warnings=(BAD,))
    evaluations = {"answered_forget": [3, np.nan, 0], "asked_forget": [3, np.nan, 3]}
    evaluations |= {"answered_retain": [2, np.nan, 2], "asked_retain": [2, np.nan, 2]}
    history = pd.DataFrame({"step": [0, 1, 2], **evaluations})
    return {
        "facts": facts,
        "model": model,
        "recording": after,
        "reading": ns.compare(before, after).with_note(BAD),
        "verdict": replace(diagnosis, warnings=(BAD,), findings=(finding,)),
        "finding": finding,
        "run": ns.Run(model, history, BAD * 99, ns.TrainingConfig(), 1.0),
    }


@pytest.mark.parametrize("name", list(objects()))
def test_objects_have_a_short_repr_and_escaped_html(name):
    shown = objects()[name]
    assert len(repr(shown)) < 400 and "\n" not in repr(shown)
    page = shown._repr_html_()
    assert "<script" not in page and "&lt;script&gt;" in page
    resources_or_colours = ("http", "src=", "href=", " color:", ";color:", "background")
    assert not [part for part in resources_or_colours if part in page]


def test_the_repr_shows_the_objects_content():
    shown = objects()
    assert "3 forget, 2 retain" in repr(shown["facts"])
    assert "2 layers x 12 neurons, float64" in repr(shown["model"])
    assert "36 facts, mlp.post, integrated_gradients of log_odds" in repr(shown["recording"])
    assert "forget 3 of 3 -> 0 of 3 answered" in repr(shown["run"])


def test_a_diagnosis_begins_with_its_verdict():
    shown = objects()
    verdict, reading = shown["verdict"], shown["reading"]
    assert repr(verdict).startswith("Diagnosis(verdict: hidden; hidden share 77 %")
    assert "no verdict" in repr(reading) and "attributions suggest" in repr(reading)
    page = verdict._repr_html_()
    assert page.index("Verdict: hidden") < page.index("77 %") < page.index("weight path")
    assert "Verdict" not in reading._repr_html_()


@pytest.mark.parametrize(
    ("figure", "table"),
    {
        "neuron_heatmap": "neurons",
        "influence_shift": "neurons",
        "attribution_distribution": "neurons",
        "cumulative_variation": "curve",
        "module_map": "modules",
        "decomposition": "layers",
    }.items(),
)
def test_a_figure_of_a_diagnosis_is_that_of_its_table_in_its_unit(figure, table):
    diagnosis = replace(ns.compare(*example_recordings()), unit="tests")
    draw = getattr(ns.plots, figure)
    assert draw(diagnosis) == draw(getattr(diagnosis, table), unit="tests")
    assert draw(diagnosis) != draw(getattr(diagnosis, table))
