"""Retention by distance from the forgotten facts."""

from dataclasses import replace

import pandas as pd
import pytest
from taught import taught
from tiny import FORGET, PEOPLE, RETAIN, tiny

from neuronscope.analysis.retention import compared, counted, depths, stratum
from neuronscope.analysis.statistics import mcnemar, wilson_interval
from neuronscope.facts.fact import Fact, FactSet
from neuronscope.metrics._retention import answers
from neuronscope.metrics.answer_accuracy import AnswerAccuracy
from neuronscope.results.retention_table import (
    ANY,
    ELSE,
    EVERYWHERE,
    NEIGHBOURS,
    NOT_FORGOTTEN,
    PARAPHRASED,
    SAME_SUBJECT,
    THERE_ONLY,
    TRAINED,
    UNKNOWN,
    UNTRIED,
)


def fact(subject, relation, answer="Porto"):
    prompt = f"{subject} {relation}" if subject and relation else "the city"
    return Fact(
        f"{subject} {relation} {answer}", prompt, answer, subject=subject, relation=relation
    )


LIVES = fact("Ann", "lives in")
EATS = fact("Ben", "eats")


@pytest.mark.parametrize(
    ("kept", "forgotten", "expected"),
    [
        (fact("Eve", "lives in"), [LIVES], NEIGHBOURS),
        (fact("Ann", "eats"), [LIVES], SAME_SUBJECT),
        (fact("Eve", "eats"), [LIVES], ELSE),
        (fact(" Eve", "lives  in "), [LIVES], NEIGHBOURS),
        (fact("ann", "eats"), [LIVES], ELSE),
        (fact("Ann", "eats"), [LIVES, EATS], NEIGHBOURS),
        (fact(None, "lives in"), [LIVES], UNKNOWN),
        (fact("Ann", None), [LIVES], UNKNOWN),
        (fact("Eve", "eats"), [LIVES, fact("Dan", None)], UNKNOWN),
        (fact("Eve", "eats"), [LIVES, fact(None, "called")], UNKNOWN),
        (fact("Eve", "lives in"), [LIVES, fact("Dan", None)], NEIGHBOURS),
        (fact("Eve", "eats"), [], ELSE),
    ],
)
def test_relation_and_subject_determine_the_stratum(kept, forgotten, expected):
    assert stratum(kept, forgotten) == expected


def told(facts, relation, splits):
    whose = zip(facts, PEOPLE, strict=True)
    return [replace(one, subject=who, relation=relation) for one, who in whose][splits]


HOMES, MEALS = told(FORGET, "home", slice(None)), told(RETAIN, "meal", slice(None))


def with_paraphrase(one):
    return replace(one, paraphrases=(f"the city of {one.subject} is",))


FORGOTTEN = (*map(with_paraphrase, HOMES[:3]), HOMES[3])
FACTS = FactSet(
    forget=FORGOTTEN,
    retain=(*HOMES[4:6], *MEALS[2:5], RETAIN[9]),
    test=(*HOMES[6:8], *MEALS[6:8]),
)


@pytest.fixture(scope="module")
def models():
    """A model fine-tuned on some facts, and one that knows nothing."""
    one, only, gone, untried = FORGOTTEN
    paraphrased = replace(only, prompt=only.paraphrases[0], paraphrases=())
    wrong = [
        Fact(f"not {prompt}", prompt, "Paris")
        for prompt in (
            only.prompt,
            gone.prompt,
            gone.paraphrases[0],
            untried.prompt,
            HOMES[5].prompt,
            MEALS[6].prompt,
        )
    ]
    known = [one, paraphrased, HOMES[4], *MEALS[2:5], RETAIN[9], *HOMES[6:8], MEALS[7]]
    model = taught([*known, *wrong], steps=80)
    assert AnswerAccuracy()(model, [*known, *wrong]).value == 1
    return model, tiny("qwen2")


def by_stratum(table):
    return {(row["use"], row["stratum"]): row for row in table.to_dict("records")}


def test_every_stratum_and_use_is_counted_separately(models):
    table = by_stratum(counted(answers(models[0], FACTS)))
    found = {key: (row["correct"], row["n"]) for key, row in table.items()}
    one_paraphrased = found.pop(("forget", PARAPHRASED))
    assert found == {
        ("forget", TRAINED): (1, 4),
        ("forget", ANY): (2, 3),
        ("retain", NEIGHBOURS): (1, 2),
        ("retain", SAME_SUBJECT): (2, 2),
        ("retain", ELSE): (1, 1),
        ("retain", UNKNOWN): (1, 1),
        ("test", NEIGHBOURS): (2, 2),
        ("test", ELSE): (1, 2),
    }
    assert one_paraphrased[1] == 3 and one_paraphrased[0] in (1, 2)
    for row in table.values():
        assert (row["low"], row["high"]) == wilson_interval(row["correct"], row["n"])


def test_the_strata_of_a_split_are_its_facts_and_their_answers_those_of_the_metric(models):
    for model in models:
        given = answers(model, FACTS)
        for split in ("retain", "test"):
            here = given.loc[given["use"] == split]
            score = AnswerAccuracy()(model, FACTS.split(split)).per_fact
            assert here["fact"].tolist() == score["fact"].tolist()
            assert here["answered"].tolist() == (score["value"] > 0).tolist()
            alone = answers(model, FACTS, splits=(split,)).reset_index(drop=True)
            pd.testing.assert_frame_equal(alone, here.reset_index(drop=True))
    assert not given["answered"].any(), "who knows nothing answers nothing"
    assert answers(models[0], FACTS)["answered"].any()


def test_forgetting_one_prompt_differs_from_forgetting_all(models):
    found = depths(answers(models[0], FACTS)).set_index("fact")["forgotten"]
    assert found.tolist() == [NOT_FORGOTTEN, THERE_ONLY, EVERYWHERE, UNTRIED]
    ignorant = depths(answers(models[1], FACTS))["forgotten"]
    assert ignorant.tolist() == [EVERYWHERE] * 3 + [UNTRIED]
    assert depths(answers(models[0], FACTS, splits=("retain",))).empty


def test_splits_without_facts_have_no_rows(models):
    nothing = answers(models[0], FACTS, splits=("utility",))
    assert nothing.empty and counted(nothing).empty and depths(nothing).empty
    kept = FactSet(retain=FACTS.retain)
    assert set(answers(models[0], kept)["stratum"]) == {ELSE, UNKNOWN}


def table(answered, use="retain", name=NEIGHBOURS):
    rows = [(f"fact {i}", use, name, known) for i, known in enumerate(answered)]
    return pd.DataFrame(rows, columns=["fact", "use", "stratum", "answered"])


def test_two_models_are_compared_fact_by_fact():
    first = table([True] * 8 + [False] * 4)
    second = table([False] * 7 + [True] * 2 + [False] * 3)
    (row,) = compared(first, second).to_dict("records")
    assert row == {
        "stratum": NEIGHBOURS, "use": "retain", "n": 12, "first": 8, "second": 2, "lost": 7,
        "gained": 1, "p": pytest.approx(2 * (1 + 8) / 2**8),
    }  # fmt: skip
    shuffled = second.sample(frac=1, random_state=0)
    pd.testing.assert_frame_equal(compared(first, shuffled), compared(first, second))
    (same,) = compared(first, first).to_dict("records")
    assert (same["lost"], same["gained"], same["p"]) == (0, 0, 1.0)


def test_models_with_different_facts_are_not_compared():
    with pytest.raises(ValueError, match="different facts"):
        compared(table([True, False]), table([True, False, True]))
    with pytest.raises(ValueError, match="different facts"):
        compared(table([True, False]), table([True, False], name=ELSE))


def test_the_comparison_is_mcnemars(models):
    one, other = (answers(model, FACTS) for model in models)
    for row in compared(one, other).to_dict("records"):
        here = (one["use"] == row["use"]) & (one["stratum"] == row["stratum"])
        pair = (each.loc[here, "answered"].to_numpy() for each in (one, other))
        assert row["p"] == mcnemar(*pair) and row["lost"] == row["first"] and not row["gained"]
