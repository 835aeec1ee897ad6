"""What the page of a study says in plain words."""

import dataclasses
import math

import numpy as np
import pandas as pd
import pytest
from study_example import (
    BACK,
    METHODS,
    SEEDS,
    attack_table,
    comparisons,
    example_study,
)

from neuronscope.analysis.statistics import holm, wilson_interval
from neuronscope.attacks._recovery import recovery
from neuronscope.report.study_answer import answer
from neuronscope.report.study_verdicts import verdict_table

RELEARN, QUANTIZE = "relearn forget (2 of 16 facts)", "quantize (4 bits)"


@pytest.fixture(scope="module")
def study():
    return example_study()


def said(study):
    return " ".join(answer(study).sentences)


def recovered(back, **changed):
    """Recovery of the example's methods, but for what is changed."""
    tables = []
    for name in METHODS:
        for seed in SEEDS:
            table = changed.get(name.replace(" ", "_"), attack_table(back[name]))
            tables.append(recovery(table).assign(method=name, run_seed=seed))
    return pd.concat(tables, ignore_index=True)


def test_the_answer_counts_what_came_back_under_which_attack(study):
    text = said(study)
    assert "4 methods (2 seeds each) had to make a model forget 16 facts, of which it " in text
    assert "answered 16. Afterwards 0 to 1 were still answered." in text
    assert "after gradient difference (1 of 2), SSIUU (1 of 2) and L2 of equal size (1 of" in text
    assert "After NPO none of 2 attacks brought back more than chance can; that shows no" in text
    (name, relearnt), (other, quantized) = answer(study).attacks
    assert (name, other) == (RELEARN, QUANTIZE)
    low, high = wilson_interval(13, 14)
    assert f"Came back: gradient difference 13 of 14 [{100 * low:.0f}–{100 * high:.0f}" in relearnt
    assert "Not beyond chance: NPO 1 of 14" in relearnt and "Came back" not in quantized
    assert "a model that never knew: 1 of 14" in relearnt


def test_what_was_never_forgotten_is_not_said_to_stay_away(study):
    there = attack_table(13)
    rest = (there["split"] == "rest") & (there["model"] == "attacked checkpoint")
    there.loc[rest, "correct"] = 13
    changed = dataclasses.replace(study, recovery=recovered(BACK, NPO=there))
    ((_, text),) = answer(changed).attacks
    assert "Was not forgotten before the attack: NPO 13 of 14 [69–99\xa0%], 13 before" in text
    assert "After NPO none" in said(study) and "After NPO none" not in said(changed)


def test_an_attack_that_did_not_learn_what_it_taught_failed_and_shows_nothing(study):
    failed = attack_table(0)
    taught = failed["split"] == "attacked"
    failed.loc[taught, "correct"] = failed.loc[taught, "correct"].clip(upper=1)
    changed = dataclasses.replace(study, recovery=recovered(BACK, NPO=failed))
    ((_, text),) = answer(changed).attacks
    assert "The attack failed: NPO 0 of 14 [0–22\xa0%], 1 of 2 taught facts learnt." in text


def test_without_a_model_that_never_knew_the_answer_says_what_that_means(study):
    bare = study.recovery.loc[study.recovery["model"] != "never_knew"]
    bare = dataclasses.replace(study, recovery=bare)
    (_, text), _ = answer(bare).attacks
    assert "chance and guessing are not told apart" in text
    assert [block.whole[0].text for block in verdict_table(bare).blocks][-1] == "NPO"


@pytest.mark.parametrize(
    ("p", "difference", "expected"),
    [
        ((0.6, 0.8, 1.0), (-0.9, -0.9, 0.0), "SSIUU does not beat its controls: in none of 2"),
        ((0.001, 0.8, 1.0), (-0.9, 0.1, 0.0), "SSIUU beats its controls in 1 of 2 comparisons"),
        ((0.001, 0.8, 1.0), (0.9, 0.1, 0.0), "In 1 of them more came back from SSIUU beyond"),
        # Two of three tests at 0.02 would each be significant alone, and are not together.
        ((0.02, 0.02, 1.0), (-0.9, -0.9, 0.0), "SSIUU does not beat its controls: in none of 2"),
    ],
)
def test_whether_ssiuu_beats_its_controls_is_said_in_plain_words(study, p, difference, expected):
    assert expected in said(dataclasses.replace(study, comparisons=comparisons(p, difference)))


def test_the_answer_counts_the_tests_of_what_was_kept(study):
    assert "Of 12 paired tests of what was kept, stratum by stratum, 6 are beyond" in said(study)
    assert "for these, at 5\u00a0%): SSIUU kept more in 6." in said(study)
    turned = study.retention.assign(difference=-study.retention["difference"])
    text = said(dataclasses.replace(study, retention=turned))
    assert "gradient difference kept more in 3 and NPO kept more in 3." in text
    # Holm's correction: the smallest of twelve would have to lie below 0.05 / 12.
    none = study.retention.assign(p=0.01)
    assert "none is beyond chance" in said(dataclasses.replace(study, retention=none))
    bare = dataclasses.replace(study, retention=study.retention.head(0))
    assert "of what was kept" not in said(bare)


@pytest.mark.parametrize(
    ("p", "expected"),
    [
        (0.6, "SSIUU does not beat its control: it is not beyond chance that less came back from"),
        (0.001, "SSIUU beats its control: less came back from it than from gradient difference."),
    ],
)
def test_of_a_single_comparison_none_is_counted(study, p, expected):
    table = comparisons((p, 0.8, 1.0), (-0.9, -0.9, 0.0))
    alone = table.loc[(table["method"] == "SSIUU") & (table["other"] == "gradient difference")]
    assert len(alone) == 1
    text = said(dataclasses.replace(study, comparisons=alone))
    assert expected in text and "1 comparison" not in text.replace("Of 1 comparison", "")


def test_a_control_that_ssiuu_did_not_beat_is_named_also_when_the_pair_is_turned_round(study):
    table = comparisons((0.001, 0.8, 1.0), (0.9, 0.1, 0.0))
    turned = table.assign(method=table["other"], other=table["method"])
    text = said(dataclasses.replace(study, comparisons=turned))
    assert "less came back from it than from gradient difference." in text
    assert "It is not shown to be better than L2 of equal size." in text
    runs = study.runs.assign(
        regularizer=study.runs["regularizer"].replace("ssiuu", "ssiuu-neurons (relative=1.0)"),
        objective=study.runs["objective"].mask(
            study.runs["method"] == "SSIUU", "gradient-difference (weight=2.0)"
        ),
    )
    assert text == said(dataclasses.replace(study, comparisons=turned, runs=runs))
    uncompared = dataclasses.replace(study, comparisons=table.iloc[2:])
    assert "SSIUU was compared with no control: nothing can be claimed" in said(uncompared)


def test_one_attack_is_not_counted_and_many_methods_are(study):
    one = study.recovery["attack"].str.startswith("relearn")
    text = said(dataclasses.replace(study, recovery=study.recovery.loc[one]))
    assert "The attack brought answers back after gradient difference, SSIUU and L2 of" in text
    assert "After NPO the attack brought back no more than chance can" in text
    copies = [
        study.recovery.assign(method=study.recovery["method"] + suffix) for suffix in ("", "'")
    ]
    text = said(dataclasses.replace(study, recovery=pd.concat(copies)))
    assert "Of 2 attacks, at least one brought answers back after 6 methods." in text


def test_many_controls_are_counted(study):
    runs, tests = [study.runs], [study.comparisons]
    for name in ("first", "second"):
        control = study.runs.loc[study.runs["method"] == "L2 of equal size"]
        runs.append(control.assign(method=name))
        compared = study.comparisons.loc[study.comparisons["other"] == "L2 of equal size"]
        tests.append(compared.assign(other=name, p=1.0))
    few, many = (
        said(dataclasses.replace(study, runs=pd.concat(runs[:n]), comparisons=pd.concat(tests[:n])))
        for n in (1, 3)
    )
    assert "controls" not in few.split("beat", 1)[1].split("beyond")[0].replace("its controls", "")
    assert "any of 4 controls" in many


def test_a_method_that_has_not_forgotten_is_not_passed_over(study):
    runs = study.runs.assign(answered_forget=np.where(study.runs["method"] == "NPO", 9, 0))
    assert "still answered after NPO: not forgotten" in said(dataclasses.replace(study, runs=runs))
    assert "not forgotten" not in said(study)


def test_of_many_methods_only_those_that_kept_least_and_most_are_named(study):
    assert said(study).count("19.5 of 24") == len(METHODS)
    more = [study.strata]
    for number, use in enumerate(("worse", "better")):
        rows = study.strata.loc[study.strata["method"] == "NPO"]
        more.append(rows.assign(method=use, correct=rows["n"] * number))
    text = said(dataclasses.replace(study, strata=pd.concat(more)))
    assert "from worse 0 of 24 [0–14\xa0%] to better 24 of 24 [86–100\xa0%]." in text
    assert "19.5 of 24" not in text


def test_holms_adjustment_is_the_one_worked_out_by_hand():
    found = holm(np.array([0.04, 0.01, math.nan, 0.03]))
    np.testing.assert_allclose(found, [0.06, 0.03, math.nan, 0.06])
    assert holm(np.array([0.9, 0.8])).tolist() == [1.0, 1.0]
