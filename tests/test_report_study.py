"""The page of a study: its sections, tables, links and figures."""

import base64
import dataclasses
import json
import re

import numpy as np
import pandas as pd
import pytest
from study_example import (
    METHODS,
    SEEDS,
    attack_table,
    example_study,
)
from test_report import EVIL, Page

from neuronscope.analysis.statistics import wilson_interval
from neuronscope.attacks._recovery import recovery
from neuronscope.report import write_study_report
from neuronscope.report.over_seeds import pooled_curves, pooled_recovery
from neuronscope.report.run_pages import EXPLORE, run_pages
from neuronscope.report.study_figures import study_figures
from neuronscope.report.study_page import render_study_report
from neuronscope.report.study_rows import comparison_table, score_table, setting_rows, why_table
from neuronscope.report.study_verdicts import verdict_table
from neuronscope.results.study_tables import StudyTables

RELEARN, QUANTIZE = "relearn forget (2 of 16 facts)", "quantize (4 bits)"


@pytest.fixture(scope="module")
def study():
    return example_study()


@pytest.fixture(scope="module")
def page(study):
    return render_study_report(study)


def cells(table, name, part=None):
    """A line of the verdict table by column."""
    (block,) = [block for block in table.blocks if block.whole[0].text == name]
    line = block.whole if part is None else block.parts[part]
    return dict(zip(table.header, line, strict=True))


def test_the_page_loads_nothing_and_links_only_to_the_runs_pages(page):
    tags = Page(page).tags
    assert not {"link", "iframe", "img", "object", "embed", "base"} & {tag for tag, _ in tags}
    assert [tag for tag, attributes in tags if "src" in attributes] == []
    links = [attributes["href"] for _, attributes in tags if "href" in attributes]
    # Per run: on the line of its method, on its own line, and next to its verdict.
    assert len(links) == 3 * len(METHODS) * len(SEEDS)
    assert len(set(links)) == len(METHODS) * len(SEEDS)
    assert links[0] == "./runs/gradient%20difference/0/report.html"


def test_every_part_is_there_and_what_has_no_table_is_left_out(study, page):
    headings = re.findall("<h2>(.*?)</h2>", page)
    assert headings == [
        "Warnings", "Methods side by side", "Recovered answers", "Retention and recovery",
        "Differences between methods", "Answers by kind of fact", "Scores",
        "Erased, or only hidden?", "Neurons changed by an attack", "The runs", "Provenance",
    ]  # fmt: skip
    bare = render_study_report(StudyTables(study.question, study.runs))
    left = ["Methods side by side", "The runs", "Provenance"]
    assert re.findall("<h2>(.*?)</h2>", bare) == left
    assert "<figure" in page and "<figure" not in bare
    moved = StudyTables(study.question, study.runs, stability=study.stability, moved=study.moved)
    assert "Neurons changed by an attack" in render_study_report(moved)
    alone = StudyTables(study.question, study.runs, moved=study.moved)
    assert "Neurons changed by an attack" not in render_study_report(alone)
    assert "No attack was run" in bare and "No methods were compared" in bare


def test_text_from_outside_is_escaped_everywhere(study, page):
    nasty = {"question": EVIL, "warnings": (EVIL,), "reproduce": EVIL, "settings": {EVIL: [EVIL]}}
    for name, columns in {
        "runs": ("stopped", "stop"),
        "scores": ("metric", "reason", "unit"),
        "strata": ("stratum",),
        "diagnoses": ("why", "verdict", "reading", "report"),
        "comparisons": ("reading",),
        "stability": ("attack", "unit"),
        "retention": ("stratum", "use", "reading"),
    }.items():
        nasty[name] = getattr(study, name).assign(**dict.fromkeys(columns, EVIL))
    nasty["recovery"] = study.recovery.assign(variant=EVIL, reason=EVIL, note=EVIL)
    nasty["curves"] = study.curves.assign(variant=EVIL)
    for name in ("recovery", "curves"):
        nasty[name] = nasty[name].loc[nasty[name]["attack"] == "quantize"]
    text = render_study_report(example_study(rename=lambda name: f"{name} {EVIL}", **nasty))
    assert text.count("alert(&#34;1&#34;)") > 50
    assert 'alert("1")' not in text and "evil.example/x>" not in text
    assert "img" not in {tag for tag, _ in Page(text).tags}
    beside = page.count("<script") - page.count("<figure")
    assert text.count("<script") - text.count("<figure") == beside


def test_the_address_of_a_runs_page_is_always_a_relative_file(study):
    diagnoses = study.diagnoses.assign(report="javascript:alert(1)")
    addresses = set(run_pages(dataclasses.replace(study, diagnoses=diagnoses)).values())
    assert addresses == {"./javascript%3Aalert%281%29"}
    for path in ("/etc/passwd", "//evil.example/x"):
        with pytest.raises(ValueError, match="relative to the study's page"):
            run_pages(dataclasses.replace(study, diagnoses=diagnoses.assign(report=path)))


def test_only_diagnosed_runs_are_linked(study):
    diagnosed = study.diagnoses.loc[study.diagnoses["seed"] == 0]
    diagnosed = diagnosed.assign(report=diagnosed["report"].mask(diagnosed["method"] == "NPO"))
    some = dataclasses.replace(study, diagnoses=diagnosed)
    table = verdict_table(some)
    (link,) = cells(table, "SSIUU")["method"].links
    assert (link.text, link.address) == (EXPLORE, "./runs/SSIUU/0/report.html")
    assert cells(table, "SSIUU", part=0)["method"].links == (link,)
    assert cells(table, "SSIUU", part=1)["method"].links == ()
    assert cells(table, "NPO")["method"].links == ()
    assert cells(table, "before unlearning")["method"].links == ()
    assert [len(row[0].links) for row in why_table(some).rows] == [1, 1, 1, 0]
    both = cells(verdict_table(study), "SSIUU")["method"].links
    assert [one.text for one in both] == ["neurons, seed 0", "seed 1"]
    promise = "Every diagnosed run"
    assert promise in render_study_report(study)
    for diagnoses in (study.diagnoses.head(0), study.diagnoses.drop(columns="report")):
        text = render_study_report(dataclasses.replace(study, diagnoses=diagnoses))
        assert promise not in text and "href" not in {
            name for _, at in Page(text).tags for name in at
        }


def test_utility_is_the_mean_score_of_general_abilities(study):
    def scored(*places):
        rows = study.scores.loc[study.scores["metric"] == "rouge_l"]
        more = [rows.assign(metric=metric, split=split) for metric, split in places]
        return verdict_table(
            dataclasses.replace(study, scores=pd.concat([study.scores, *more], ignore_index=True))
        )

    assert "utility" not in verdict_table(study).header
    # Scores of the forget set are not utility.
    assert "utility" not in scored(("model_utility", "forget")).header
    table = scored(("rouge_l", "utility"), ("model_utility", "utility"))
    assert table.header.count("utility") == 1
    assert ("model utility", 1) in [(group.name, group.columns) for group in table.groups]
    ours = cells(table, "SSIUU")["utility"]
    assert (ours.text, ours.notes) == ("0.150", ("[0.100, 0.200]",))
    assert cells(table, "SSIUU", part=1)["utility"].text == "0.200"
    assert cells(table, "before unlearning")["utility"].text == "0.900"
    assert cells(table, "never knew")["utility"].text == "–"
    several = scored(("rouge_l", "utility"), ("exact_match", "utility"))
    assert [group.name for group in several.groups][-3:-1] == ["rouge l", "exact match"]
    assert sum(group.columns for group in several.groups) == len(several.header)


def test_seeds_are_averaged_and_their_facts_are_not_counted_twice():
    runs = [recovery(attack_table(back)).assign(method="m", run_seed=back) for back in (4, 12)]
    pooled = pooled_recovery(pd.concat(runs))
    rest = pooled.loc[(pooled["split"] == "rest") & (pooled["model"] == "attacked checkpoint")]
    (row,) = rest.to_dict("records")
    assert (row["maximum_correct"], row["n"], row["seeds"]) == (8, 14, 2)
    assert (row["maximum_low"], row["maximum_high"]) == wilson_interval(8, 14)
    assert row["learnt"] is True and row["reading"] == "mean of 2 seeds: 4, 12"


def test_a_budget_that_one_seed_did_not_reach_is_omitted(study):
    late = (study.curves["run_seed"] == 1) & (study.curves["step"] == 40)
    pooled = pooled_curves(study.curves.loc[~late])
    assert set(pooled["step"]) == {0, 10} and set(pooled["seeds"]) == {2}
    assert set(pooled_curves(study.curves)["step"]) == {0, 10, 40}


def test_the_table_of_methods_has_their_seeds_and_the_controls(study):
    table = verdict_table(study)
    names = [block.whole[0].text for block in table.blocks]
    assert names == ["before unlearning", *METHODS, "never knew"]
    assert [block.control for block in table.blocks] == [True, *[False] * len(METHODS), True]
    assert all(len(line) == len(table.header) for b in table.blocks for line in (b.whole, *b.parts))
    assert sum(group.columns for group in table.groups) == len(table.header)
    ours = cells(table, "SSIUU")
    assert (ours["still answered"].text, ours["log-odds"].text) == ("0.5 of 16", "−4.50")
    assert ours["log-odds"].notes == ("[−5.00, −4.00]",)
    assert ours[RELEARN].text == "12 of 14" and ours[RELEARN].key == pytest.approx(12 / 14)
    assert ours[RELEARN].notes == ("60–96\xa0%", "trained: 2 of 2")
    assert ours["neighbours, held out"].text == "6.5 of 8"
    assert ours["verdict"].text == "hidden (1), mixed (1)"
    assert ours["hidden share"].key == pytest.approx(0.7)
    seed = cells(table, "SSIUU", part=1)
    assert (seed["method"].text, seed["still answered"].text) == ("seed 1", "1 of 16")
    assert (seed["verdict"].text, seed["hidden share"].text) == ("mixed", "60\xa0%")
    before = cells(table, "before unlearning")
    assert (before["still answered"].text, before["log-odds"].text) == ("16 of 16", "3.00")
    assert before["neighbours, held out"].text == "8 of 8" and before[RELEARN].text == "14 of 14"
    assert before["update norm"].text == "–"


def test_a_single_seed_has_nothing_to_unfold():
    table = verdict_table(example_study(seeds=(3,)))
    assert all(block.parts == () for block in table.blocks)
    assert cells(table, "SSIUU")["hidden share"].notes == ("[50\xa0%, 90\xa0%]",)


def test_tables_of_scores_comparisons_and_settings_match_the_study(study):
    table = score_table(study)
    assert table.header == ("metric", "split", "unit", "direction", "original", *METHODS)
    assert [cell.text for cell in table.rows[0][4:6]] == ["0.900", "0.150"]
    assert [row[0].text for row in table.rows] == ["rouge_l", "exact_match", "truth_ratio"]
    first = comparison_table(study).rows[0]
    assert [cell.text for cell in first[1:4]] == ["gradient difference", "NPO", "+86 points"]
    assert first[7].key == pytest.approx(3 * 0.0004)
    rows = setting_rows({"a": {"b": {"c": True}, "d": [1, 0.5]}, "e": {}})
    assert [(row.name, row.cells[0]) for row in rows] == [
        ("a › b › c", "yes"), ("a › d", "1, 0.5"), ("e", "–"),
    ]  # fmt: skip


def test_every_table_has_its_figure(study):
    drawn = study_figures(study)
    assert drawn.bars is not None and not drawn.sweeps
    assert [one.name for one in drawn.curves] == ["relearn forget", "quantize"]
    assert [one.name for one in drawn.trades] == [RELEARN, QUANTIZE]
    assert [len(one.figures) for one in drawn.training] == [2] * len(METHODS) * len(SEEDS)
    assert drawn.training[0].name == "gradient difference, seed 0"


def test_a_varied_strength_is_drawn_as_a_sweep(study):
    made = {"SSIUU": "ssiuu (target=prob, strength=0.1)"}
    made["L2 of equal size"] = "ssiuu (strength=1.0, target=prob)"
    strength = study.runs["method"].map({"SSIUU": 0.1, "L2 of equal size": 1.0})
    runs = study.runs.assign(regularizer=study.runs["method"].map(made), strength=strength)
    varied = dataclasses.replace(study, runs=runs, histories={})
    (figure,) = study_figures(varied).sweeps
    assert figure.title.endswith("gradient_difference + ssiuu (target=prob)")
    (marks, *_) = [t for t in json.loads(figure.spec)["data"] if t["mode"] == "markers"]
    drawn = np.frombuffer(base64.b64decode(marks["customdata"]["bdata"])).reshape(-1, 3)
    assert set(drawn[:, 0]) == {0.0, 0.1, 1.0}
    # Varying a different setting, or strengths that differ only between seeds, is no sweep.
    other = (
        runs["regularizer"]
        .str.replace("target=prob", "target=log-odds")
        .where(runs["method"] == "SSIUU", runs["regularizer"])
    )
    assert not study_figures(
        dataclasses.replace(varied, runs=runs.assign(regularizer=other))
    ).sweeps
    seeds = runs.assign(strength=runs["seed"] + 1.0).loc[runs["method"] != "L2 of equal size"]
    assert not study_figures(dataclasses.replace(varied, runs=seeds)).sweeps


def test_a_study_without_runs_or_columns_or_with_duplicate_runs_is_refused(study):
    with pytest.raises(ValueError, match="at least one run"):
        StudyTables("Why?", study.runs.head(0))
    with pytest.raises(ValueError, match="`runs` of the study lacks seconds"):
        StudyTables("Why?", study.runs.drop(columns="seconds"))
    with pytest.raises(ValueError, match=r"two for method 'NPO', seed 0"):
        StudyTables("Why?", pd.concat([study.runs, study.runs.iloc[-2:-1]]))


def test_a_page_is_written_whole_and_equal_studies_make_equal_pages(tmp_path, page):
    path = tmp_path / "study.html"
    write_study_report(example_study(), path)
    assert path.read_text(encoding="utf-8") == page and list(tmp_path.iterdir()) == [path]
    with pytest.raises(FileNotFoundError, match=r"No folder .*nowhere to write study.html to"):
        write_study_report(example_study(), tmp_path / "nowhere" / "study.html")
