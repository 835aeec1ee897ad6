"""The page of a diagnosis with causal evidence: verdict, views, figures, tables."""

import dataclasses
import math
from typing import get_args

import pytest
from diagnosis_example import FORGET, RETAIN, example_diagnosis
from findings_example import VERDICT, causal_diagnosis, changed
from readable import FACTS, readable
from test_report import EVIL, Page

from neuronscope.analysis.statistics import wilson_interval
from neuronscope.evidence._base import Case
from neuronscope.evidence.depth_score import DepthScore
from neuronscope.evidence.linear_probe import LinearProbe
from neuronscope.evidence.logit_lens import LogitLens
from neuronscope.evidence.low_rank_restoration import LowRankRestoration
from neuronscope.evidence.relearning_probe import RelearningProbe
from neuronscope.evidence.silencing import Silencing
from neuronscope.evidence.weight_path import WeightPath
from neuronscope.evidence.weight_restoration import WeightRestoration
from neuronscope.models.targets import Target
from neuronscope.report.causes import causes
from neuronscope.report.numbers import estimated_share
from neuronscope.report.page import render_report
from neuronscope.report.sentences import next_step, reading_sentence, sentence
from neuronscope.report.tables import neuron_table
from neuronscope.report.views import ATTRIBUTIONS, views_of
from neuronscope.results.findings import Finding, Word

SECTIONS = {
    "Do the answers return?": {
        "low_rank_restoration",
        "weight_restoration",
        "silencing",
        "relearning_probe",
    },
    "Which weights cause the drop": {"weight_path", "low_rank_restoration"},
    "What can still be read inside the model": {"logit_lens", "linear_probe", "depth_score"},
    "How accurate are the attributions?": {"exactness"},
}
"""Headings of the page, and the views of which at least one must have run."""

DRAWN = {
    "relearning_probe",
    "low_rank_restoration",
    "weight_restoration",
    "weight_path",
    "logit_lens",
    "depth_score",
}
"""Views that have a figure."""

VIEWS = tuple(found.view for found in causal_diagnosis().findings)


@pytest.fixture(scope="module")
def diagnosis():
    return causal_diagnosis()


@pytest.fixture(scope="module")
def text(diagnosis):
    return words_of(render_report(diagnosis))


def words_of(page):
    return " ".join(Page(page).text.split())


def figures_of(page):
    return {tag["id"] for name, tag in Page(page).tags if name == "figure"}


def headings_of(page):
    return {heading for heading in SECTIONS if f"<h2>{heading}</h2>" in page}


def test_the_page_opens_with_the_verdict_and_its_reasons(diagnosis, text):
    plain = text.replace("\xa0", " ")
    assert f"Verdict hidden {sentence(diagnosis)} 77 % [50 %, 90 %] hidden" in plain
    assert "This is not a verdict" not in text
    assert "first-order estimates" in text and "relearning attack remains" in text
    assert "What would settle it" not in text


@pytest.mark.parametrize("word", get_args(Word))
def test_every_verdict_can_be_shown(diagnosis, word):
    nothing = (math.nan, math.nan)
    verdict = dataclasses.replace(
        VERDICT, word=word, hidden_share=math.nan, hidden_share_ci95=nothing
    )
    page = render_report(dataclasses.replace(diagnosis, verdict=verdict))
    assert f'<p class="word">{word}</p>' in page
    assert f'<div class="chosen"><dt>{word}</dt>' in page
    assert f'class="card reading {word.replace(" ", "-")}"' in page
    assert ("What would settle it" in page) == (word == "cannot tell")
    assert '<p class="share">' not in page and '<div class="ends">' not in page


@pytest.mark.parametrize(
    ("word", "reason", "phrase", "open_"),
    [
        ("cannot tell", "too few facts", f"only {FORGET} of the facts", "More facts"),
        ("not forgotten", "still answered", f"0 of {FORGET} answers", ""),
        ("collapsed", "other answers lost", f"only {RETAIN} of {RETAIN} answers", ""),
        ("cannot tell", "no relearning probe", "was not tested", "relearning_probe"),
        ("cannot tell", "contradicted", "Yet logit lens and depth score", "attacks"),
        ("erased", "relearning probe", "of their norm.", ""),
        ("cannot tell", "relearning probe", "of their norm.", "attacks"),
    ],
)
def test_the_sentence_gives_the_reason_for_the_verdict(diagnosis, word, reason, phrase, open_):
    views = ("logit_lens", "depth_score")
    verdict = dataclasses.replace(VERDICT, word=word, reason=reason, contradicting=views)
    judged = dataclasses.replace(diagnosis, verdict=verdict)
    assert sentence(judged).startswith(f"{word.capitalize()}: ") and phrase in sentence(judged)
    assert open_ in next_step(judged) and bool(open_) == bool(next_step(judged))


def test_without_a_verdict_the_page_has_no_causal_part():
    page = render_report(example_diagnosis())
    assert "This is not a verdict" in page and ">Verdict</p>" not in page
    assert not headings_of(page) and not figures_of(page) & DRAWN
    assert "<h2>Where the drop comes from</h2>" in page and "by attributions" not in page


def test_each_view_is_listed_once_as_agreeing_differing_or_silent(diagnosis):
    found = causes(diagnosis)
    names = {group.name: [view.name for view in group.views] for group in found.groups}
    assert names == {
        "Agree: hidden": [
            "low rank restoration",
            "weight restoration",
            "relearning probe",
            "logit lens",
            "attributions",
        ],
        "Disagree": ["depth score"],
        "Cannot tell, or only localize": [
            "weight path",
            "silencing",
            "linear probe",
            "exactness",
        ],
    }
    unknown = dataclasses.replace(VERDICT, agree=(), differ=(), silent=())
    (group,) = causes(dataclasses.replace(diagnosis, verdict=unknown)).groups
    assert len(group.views) == len(diagnosis.findings) + 1  # none is lost


def test_a_view_is_listed_with_verdict_value_interval_and_sentence(diagnosis, text):
    listed = views_of(diagnosis)
    assert listed["low_rank_restoration"].figure == estimated_share(
        11 / FORGET, wilson_interval(11, FORGET)
    )
    assert listed["exactness"].figure == "0.910 [0.880, 0.940]"
    assert (listed["linear_probe"].figure, listed["weight_restoration"].figure) == (
        "–",
        "4.17\xa0%",
    )
    assert listed[ATTRIBUTIONS].why == reading_sentence(diagnosis)
    solid = "".join(text.split())
    for view in listed.values():
        row = f"{view.name} {view.word} {view.figure} {view.why} Value: {view.meaning}."
        assert "".join(row.split()) in solid


def test_all_causal_figures_are_drawn_each_under_its_heading(diagnosis):
    page = render_report(diagnosis)
    assert figures_of(page) >= DRAWN and headings_of(page) == set(SECTIONS)
    order = (
        "Do the answers return?</h2>",
        ">Relearning probe",
        'id="low_rank_restoration"',
        'id="weight_restoration"',
        "Which weights cause the drop</h2>",
    )
    places = [page.index(part) for part in order]
    assert places == sorted(places)


@pytest.mark.parametrize("view", VIEWS)
def test_a_view_that_was_not_run_has_no_figure(view):
    page = render_report(causal_diagnosis(without=(view,)))
    assert figures_of(page) & DRAWN == DRAWN - {view}
    assert headings_of(page) == {name for name, needed in SECTIONS.items() if needed - {view}}


def test_a_verdict_without_any_view_makes_a_page(diagnosis):
    alone = causal_diagnosis(without=VIEWS)
    page = render_report(alone)
    assert not headings_of(page) and not figures_of(page) & DRAWN
    assert [view.name for group in causes(alone).groups for view in group.views] == [ATTRIBUTIONS]


def test_views_without_tables_have_no_figures(diagnosis):
    bare = tuple(dataclasses.replace(found, tables={}) for found in diagnosis.findings)
    page = render_report(dataclasses.replace(diagnosis, findings=bare))
    assert headings_of(page) == set(SECTIONS) and not figures_of(page) & DRAWN
    assert bare[1].why in words_of(page)
    empty = tuple(
        dataclasses.replace(found, tables={k: t.head(0) for k, t in found.tables.items()})
        for found in diagnosis.findings
    )
    assert not figures_of(render_report(dataclasses.replace(diagnosis, findings=empty))) & DRAWN


def test_text_from_outside_is_escaped_in_verdict_views_tables_and_figures(diagnosis):
    evil = {"low_rank_restoration": ("directions", ("promoted", "suppressed", "neurons", "module"))}
    evil |= {"weight_restoration": ("scores", ("ranking",)), "exactness": ("methods", ("method",))}
    evil |= {"weight_path": ("modules", ("module",))}
    found = []
    for finding in diagnosis.findings:
        if finding.view in evil:
            table, columns = evil[finding.view]
            finding = changed(finding, table, **dict.fromkeys(columns, EVIL))
        found.append(dataclasses.replace(finding, why=EVIL, meaning=EVIL, warnings=(EVIL,)))
    found.append(Finding(EVIL, None, 1.0, (0.0, 2.0), EVIL, EVIL))
    evil_diagnosis = dataclasses.replace(diagnosis, findings=tuple(found))
    page = render_report(evil_diagnosis)
    assert EVIL in sentence(evil_diagnosis)
    assert page.count("alert(&#34;1&#34;)") > 20
    assert 'alert("1")' not in page and "img" not in {tag for tag, _ in Page(page).tags}
    assert page.count("<script") == render_report(diagnosis).count("<script")


def test_with_a_weight_path_the_neurons_have_a_causal_share(diagnosis):
    table = neuron_table(diagnosis.neurons)
    share = dict(zip(table.header, table.rows[0], strict=True))["causal share"]
    assert share.key == pytest.approx(0.5)  # the planted one's
    assert "causal share" not in neuron_table(example_diagnosis().neurons).header
    assert "(weight path)" in render_report(diagnosis)
    assert "(weight path)" not in render_report(causal_diagnosis(without=("weight_path",)))


def test_findings_that_were_saved_and_loaded_make_the_same_page(tmp_path, diagnosis):
    loaded = []
    for found in diagnosis.findings:
        found.save(tmp_path / found.view, "case")
        loaded.append(Finding.load(tmp_path / found.view, "case"))
    again = dataclasses.replace(diagnosis, findings=tuple(loaded))
    assert render_report(again) == render_report(diagnosis)


def test_the_causes_of_a_model_of_eighty_layers_add_little_to_the_page(diagnosis):
    deep = len(render_report(causal_diagnosis(layers=80)).encode())
    assert deep - len(render_report(example_diagnosis()).encode()) < 300_000


def test_the_findings_on_real_models_can_be_shown():
    case = Case(readable("knows"), readable("hides"), FACTS, Target())
    chosen = (
        WeightPath(nodes=2, max_nodes=2),
        LowRankRestoration(ranks=(1,), alphas=(1.0,), draws=1, blocks=1),
        Silencing(sizes=(1,), draws=1),
        WeightRestoration(steps=2, draws=2),
        RelearningProbe(distances=(1e-3,)),
        LogitLens(),
        LinearProbe(layers=1, shuffles=1),
        DepthScore(),
    )
    diagnosis = example_diagnosis().with_findings([view(case) for view in chosen])
    page = render_report(diagnosis)
    assert figures_of(page) >= DRAWN and f'<p class="word">{diagnosis.verdict.word}</p>' in page
