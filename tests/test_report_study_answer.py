"""The answer to a study's question: its results, and the sentences about them."""

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
from neuronscope.report.skeleton import plain_text
from neuronscope.report.study_answer import answer
from neuronscope.report.study_verdicts import verdict_table

RELEARN, QUANTIZE = "relearn forget (2 of 16 facts)", "quantize (4 bits)"


@pytest.fixture(scope="module")
def study():
    return example_study()


def paragraph(study):
    return plain_text("study_answer.j2", "paragraph", answer(study))


def attacks_on(study):
    """The name of each attack, and the sentences about it."""
    return [
        (one.name, plain_text("study_answer.j2", "attack", one)) for one in answer(study).attacks
    ]


def recovered(back, **changed):
    """Recovery of the example's methods, with some tables replaced."""
    tables = []
    for name in METHODS:
        for seed in SEEDS:
            table = changed.get(name.replace(" ", "_"), attack_table(back[name]))
            tables.append(recovery(table).assign(method=name, run_seed=seed))
    return pd.concat(tables, ignore_index=True)


def test_the_answer_counts_the_attacks_that_recovered_answers(study):
    text = paragraph(study)
    assert text.startswith("4 methods (2 seeds each) were used to unlearn 16 facts")
    assert "answered 16. Afterwards 0 to 1 were still answered." in text
    assert "after gradient difference (1 of 2), SSIUU (1 of 2) and L2 of equal size (1 of" in text
    assert "After NPO, none of 2 attacks recovered more than chance explains" in text
    (name, relearned), (other, quantized) = attacks_on(study)
    assert (name, other) == (RELEARN, QUANTIZE)
    low, high = wilson_interval(13, 14)
    assert f"Recovered: gradient difference 13 of 14 [{100 * low:.0f}–{100 * high:.0f}" in relearned
    assert "Within chance: NPO 1 of 14" in relearned and "Recovered" not in quantized
    assert "a model that never learned the facts: 1 of 14" in relearned


def test_answers_that_were_not_forgotten_do_not_count_as_unrecovered(study):
    there = attack_table(13)
    rest = (there["split"] == "rest") & (there["model"] == "attacked checkpoint")
    there.loc[rest, "correct"] = 13
    changed = dataclasses.replace(study, recovery=recovered(BACK, NPO=there))
    ((_, text),) = attacks_on(changed)
    assert "Not forgotten before the attack: NPO 13 of 14 [69–99\xa0%], 13 before" in text
    assert "After NPO, none" in paragraph(study) and "After NPO, none" not in paragraph(changed)


def test_an_attack_that_did_not_learn_its_own_facts_failed(study):
    failed = attack_table(0)
    trained = failed["split"] == "attacked"
    failed.loc[trained, "correct"] = failed.loc[trained, "correct"].clip(upper=1)
    changed = dataclasses.replace(study, recovery=recovered(BACK, NPO=failed))
    ((_, text),) = attacks_on(changed)
    assert "The attack failed: NPO 0 of 14 [0–22\xa0%], 1 of 2 training facts" in text


def test_without_a_model_that_never_learned_the_facts_guessing_cannot_be_excluded(study):
    bare = study.recovery.loc[study.recovery["model"] != "never_knew"]
    bare = dataclasses.replace(study, recovery=bare)
    (_, text), _ = attacks_on(bare)
    assert "from guessing" in text
    assert [block.whole[0].text for block in verdict_table(bare).blocks][-1] == "NPO"


@pytest.mark.parametrize(
    ("p", "difference", "expected"),
    [
        ((0.6, 0.8, 1.0), (-0.9, -0.9, 0.0), "SSIUU does not beat its controls: in none of 2"),
        ((0.001, 0.8, 1.0), (-0.9, 0.1, 0.0), "SSIUU beats its controls in 1 of 2 comparisons"),
        (
            (0.001, 0.8, 1.0),
            (0.9, 0.1, 0.0),
            "In 1 comparison, recovery is significantly higher after SSIUU",
        ),
        # Alone, each of the two tests at p = 0.02 would be significant.
        ((0.02, 0.02, 1.0), (-0.9, -0.9, 0.0), "SSIUU does not beat its controls: in none of 2"),
    ],
)
def test_the_answer_says_whether_ssiuu_beats_its_controls(study, p, difference, expected):
    assert expected in paragraph(dataclasses.replace(study, comparisons=comparisons(p, difference)))


def test_the_answer_says_if_other_runs_were_not_compared(study):
    assert "one run" not in paragraph(study)
    single = study.comparisons.assign(runs=1)
    assert "one run" in paragraph(dataclasses.replace(study, comparisons=single))


def test_the_answer_counts_the_tests_of_kept_facts(study):
    assert "12 paired tests" in paragraph(study) and "6 are significant" in paragraph(study)
    assert "SSIUU kept more in 6." in paragraph(study)
    turned = study.retention.assign(difference=-study.retention["difference"])
    text = paragraph(dataclasses.replace(study, retention=turned))
    assert "gradient difference kept more in 3 and NPO kept more in 3." in text
    # Holm's correction: the smallest of twelve would have to lie below 0.05 / 12.
    none = study.retention.assign(p=0.01)
    assert "none is significant" in paragraph(dataclasses.replace(study, retention=none))
    bare = dataclasses.replace(study, retention=study.retention.head(0))
    assert "paired test" not in paragraph(bare)


@pytest.mark.parametrize(
    ("p", "expected"),
    [
        (0.6, "SSIUU does not beat its control: "),
        (0.001, "SSIUU beats its control: recovery is lower than after gradient difference."),
    ],
)
def test_a_single_comparison_is_not_counted(study, p, expected):
    table = comparisons((p, 0.8, 1.0), (-0.9, -0.9, 0.0))
    alone = table.loc[(table["method"] == "SSIUU") & (table["other"] == "gradient difference")]
    assert len(alone) == 1
    text = paragraph(dataclasses.replace(study, comparisons=alone))
    assert expected in text and "1 comparison" not in text.replace("Of 1 comparison", "")


def test_unbeaten_controls_are_named_in_either_order_of_the_pair(study):
    table = comparisons((0.001, 0.8, 1.0), (0.9, 0.1, 0.0))
    turned = table.assign(method=table["other"], other=table["method"])
    text = paragraph(dataclasses.replace(study, comparisons=turned))
    assert "lower than after gradient difference." in text
    assert "It is not shown to be better than L2 of equal size." in text
    runs = study.runs.assign(
        regularizer=study.runs["regularizer"].replace("ssiuu", "ssiuu-neurons (relative=1.0)"),
        objective=study.runs["objective"].mask(
            study.runs["method"] == "SSIUU", "gradient-difference (weight=2.0)"
        ),
    )
    assert text == paragraph(dataclasses.replace(study, comparisons=turned, runs=runs))
    uncompared = dataclasses.replace(study, comparisons=table.iloc[2:])
    assert "nothing can be claimed" in paragraph(uncompared)


def test_one_attack_is_not_counted_and_many_methods_are(study):
    one = study.recovery["attack"].str.startswith("relearn")
    text = paragraph(dataclasses.replace(study, recovery=study.recovery.loc[one]))
    assert "The attack recovered answers after gradient difference, SSIUU and L2 of" in text
    assert "After NPO, the attack recovered no more than chance explains" in text
    copies = [
        study.recovery.assign(method=study.recovery["method"] + suffix) for suffix in ("", "'")
    ]
    text = paragraph(dataclasses.replace(study, recovery=pd.concat(copies)))
    assert "Of 2 attacks, at least one recovered answers after 6 methods." in text


def test_many_controls_are_counted(study):
    runs, tests = [study.runs], [study.comparisons]
    for name in ("first", "second"):
        control = study.runs.loc[study.runs["method"] == "L2 of equal size"]
        runs.append(control.assign(method=name))
        compared = study.comparisons.loc[study.comparisons["other"] == "L2 of equal size"]
        tests.append(compared.assign(other=name, p=1.0))
    few, many = (
        paragraph(
            dataclasses.replace(study, runs=pd.concat(runs[:n]), comparisons=pd.concat(tests[:n]))
        )
        for n in (1, 3)
    )
    assert "controls" not in few.split("beat its controls", 1)[1]
    assert "any of 4 controls" in many


def test_a_method_that_did_not_forget_is_named(study):
    runs = study.runs.assign(answered_forget=np.where(study.runs["method"] == "NPO", 9, 0))
    assert "still answered after NPO: not forgotten" in paragraph(
        dataclasses.replace(study, runs=runs)
    )
    assert "not forgotten" not in paragraph(study)


def test_of_many_methods_only_the_extremes_of_retention_are_named(study):
    assert paragraph(study).count("19.5 of 24") == len(METHODS)
    more = [study.strata]
    for number, use in enumerate(("worse", "better")):
        rows = study.strata.loc[study.strata["method"] == "NPO"]
        more.append(rows.assign(method=use, correct=rows["n"] * number))
    text = paragraph(dataclasses.replace(study, strata=pd.concat(more)))
    low, high = "0 of 24 [0–14\xa0%] (worse)", "24 of 24 [86–100\xa0%] (better)"
    assert f"from {low} to {high}." in text
    assert "19.5 of 24" not in text


def test_holms_adjustment_is_the_one_worked_out_by_hand():
    found = holm(np.array([0.04, 0.01, math.nan, 0.03]))
    np.testing.assert_allclose(found, [0.06, 0.03, math.nan, 0.06])
    assert holm(np.array([0.9, 0.8])).tolist() == [1.0, 1.0]
