"""What a study's page shows of attacks in addition to the maximum recovery."""

import dataclasses
import json

import pandas as pd
import pytest
from study_example import LR, METHODS, SLOW, example_study, swept
from test_report import EVIL, Page

from neuronscope.report.drawing import figures_of_study
from neuronscope.report.over_seeds import pooled_by_learning_rate
from neuronscope.report.study_attacks import attack_notes
from neuronscope.report.study_attacks import attack_table as table_of
from neuronscope.report.study_figures import study_figures
from neuronscope.report.study_page import render_study_report
from neuronscope.results.study_tables import StudyTables

RELEARN, QUANTIZE = "relearn forget (2 of 16 facts)", "quantize (4 bits)"


@pytest.fixture(scope="module")
def study():
    return example_study()


def line(study, attack, method):
    table = table_of(study)
    (row,) = [row for row in table.rows if (row[0].text, row[1].text) == (attack, method)]
    return dict(zip(table.header, row, strict=True))


def test_the_table_of_attacks_has_area_and_position_between_the_bounds(study):
    table = table_of(study)
    assert len(table.rows) == 2 * (len(METHODS) + 2) and table.header[-2:] == (
        "area",
        "between the bounds",
    )
    ours = line(study, RELEARN, "gradient difference")
    # 0, 6 and 13 of 14 at steps 0, 10 and 40: the trapezoids, by the budget.
    area = (10 * (0 + 6) / 2 + 30 * (6 + 13) / 2) / 40 / 14
    assert ours["area"].key == pytest.approx(area) and ours["area"].text == f"{area:.0%}".replace(
        "%", "\xa0%"
    )
    # 13 of 14 at most, between 1 (never knew) and 14 (original).
    assert ours["between the bounds"].key == pytest.approx(12 / 13)
    assert ours["between the bounds"].notes == ()
    assert ours["maximum"].text == "13 of 14" and ours["before"].text == "0 of 14"
    bounds = [line(study, RELEARN, name) for name in ("before unlearning", "never knew")]
    assert [one["between the bounds"].key for one in bounds] == [1, 0]
    assert [one["maximum"].text for one in bounds] == ["14 of 14", "1 of 14"]


def test_without_bounds_there_is_a_reason_and_different_seeds_are_in_brackets(study):
    own = study.recovery["method"] == "SSIUU"
    first = own & (study.recovery["run_seed"] == 0)
    why = "not attacked likewise: never_knew"
    recovery = study.recovery.assign(
        recovered=study.recovery["recovered"]
        .mask(own)
        .mask(study.recovery["method"] == "NPO", 0.2),
        reason=study.recovery["reason"].mask(own, why),
        area=study.recovery["area"].mask(first, 0.25).mask(own & ~first, 0.75),
    )
    changed = dataclasses.replace(study, recovery=recovery)
    ours = line(changed, RELEARN, "SSIUU")
    assert ours["between the bounds"].text == "–"
    assert ours["between the bounds"].notes == ("not attacked likewise: never knew",)
    assert (ours["area"].text, ours["area"].notes) == ("50\xa0%", ("[25\xa0%, 75\xa0%]",))
    assert line(changed, RELEARN, "NPO")["between the bounds"].text == "20\xa0%"
    assert "not attacked likewise: never knew" in render_study_report(changed)


def test_a_study_without_attacks_has_no_table_of_them(study):
    bare = StudyTables(study.question, study.runs)
    assert table_of(bare) is None and attack_notes(bare) == ()
    assert "Every attack on every method" in render_study_report(study)
    assert "Every attack on every method" not in render_study_report(bare)


def test_each_note_is_shown_once_and_escaped(study):
    simulated, left = "Simulated by rounding.", f"59 instructions left out {EVIL}"
    quantized = study.recovery["attack"] == "quantize"
    noted = study.recovery.assign(note=pd.Series(simulated, study.recovery.index).where(quantized))
    many = dataclasses.replace(study, recovery=noted)
    assert attack_notes(many) == ((QUANTIZE, simulated),)
    assert render_study_report(many).count(f"{QUANTIZE}: {simulated}") == 1
    shared = dataclasses.replace(study, recovery=noted.assign(note=left))
    ((names, note),) = attack_notes(shared)
    assert names == f"{RELEARN}, {QUANTIZE}" and note == left
    text = render_study_report(shared)
    assert text.count("59 instructions left out") == 1 and 'alert("1")' not in text
    assert "img" not in {tag for tag, _ in Page(text).tags}
    old = dataclasses.replace(study, recovery=study.recovery.drop(columns="note", errors="ignore"))
    assert attack_notes(old) == () == attack_notes(study)


def test_a_note_on_some_models_names_them(study):
    broken = "At step 12 the loss was not finite."
    table = study.recovery.loc[study.recovery["attack"] == "quantize"]
    notes = pd.Series("", study.recovery.index)

    def labels(rows):
        noted = study.recovery.assign(note=notes.mask(notes.index.isin(rows.index), broken))
        return [names for names, _ in attack_notes(dataclasses.replace(study, recovery=noted))]

    own = table.loc[table["model"] == "attacked checkpoint"]
    assert labels(own.loc[own["method"] == "NPO"]) == [f"{QUANTIZE}, on NPO"]
    assert labels(table.loc[table["model"] == "original"]) == [f"{QUANTIZE}, on the original model"]
    assert labels(own) == labels(table) == [QUANTIZE]
    relearned = study.recovery.loc[study.recovery["attack"] != "quantize"]
    others = relearned.loc[
        (relearned["model"] == "attacked checkpoint") & (relearned["method"] != "NPO")
    ]
    split = labels(pd.concat([own.loc[own["method"] == "NPO"], others]))
    assert set(split) == {
        f"{QUANTIZE}, on NPO",
        f"{RELEARN}, on gradient difference, SSIUU and L2 of equal size",
    }


def test_an_attack_with_several_learning_rates_is_drawn_by_rate_on_average_over_seeds(study):
    assert [len(one.figures) for one in study_figures(study).curves] == [1, 1]
    drawn = study_figures(swept(study))
    relearned, quantized = drawn.curves
    assert [len(one.figures) for one in (relearned, quantized)] == [2, 1]
    figure = relearned.figures[1]
    assert figure.title == "Recovery by the attack's learning rate"
    lines = {
        trace["name"]: trace
        for trace in json.loads(figure.spec)["data"]
        if trace["mode"] == "lines+markers"
    }
    assert set(lines) == {*METHODS, "original", "never_knew"}
    assert lines["SSIUU"]["hovertemplate"].startswith("learning rate")
    assert figure in figures_of_study(swept(study))
    assert study_figures(dataclasses.replace(study, by_learning_rate=pd.DataFrame())).curves


def test_means_by_learning_rate_are_of_seeds_and_count_no_fact_twice(study):
    pooled = pooled_by_learning_rate(swept(study).by_learning_rate)
    ours = pooled.loc[(pooled["method"] == "SSIUU") & (pooled["model"] == "attacked checkpoint")]
    rest = ours.loc[(ours["split"] == "rest") & (ours["attack"] == "relearn_forget")]
    most = rest.set_index("lr")["maximum_correct"]
    assert most[LR] == 12 and most[SLOW] == 2.5 and set(rest["n"]) == {14}
