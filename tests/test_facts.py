from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from neuronscope.facts.fact import SPLITS, Fact, FactSet, facts_hash, quoted

FRANCE = Fact("france", "The capital of France is", "Paris", ("Rome", "Oslo"))
SPAIN = Fact("spain", "The capital of Spain is", "Madrid")
CAT = Fact("cat", "A young cat is a", "kitten")


def test_a_fact_set_gives_every_fact_with_its_split_in_the_order_of_the_splits():
    facts = FactSet(utility=(CAT,), forget=(FRANCE, SPAIN))
    assert list(facts) == [("forget", FRANCE), ("forget", SPAIN), ("utility", CAT)]
    assert [facts.split(name) for name in SPLITS] == [(FRANCE, SPAIN), (), (), (CAT,)]


def test_an_unknown_split_is_refused_and_the_known_ones_are_listed():
    with pytest.raises(ValueError, match=r"No split 'train': .* forget, retain, test, util"):
        FactSet().split("train")


def test_equality_ignores_source_and_notes():
    assert FactSet((FRANCE,), source="here", notes=("seen",)) == FactSet((FRANCE,))
    assert FactSet((FRANCE,)) != FactSet((), (FRANCE,))


@pytest.mark.parametrize(
    ("change", "flaw"),
    [
        ({"id": ""}, "the id must be printable text, got ''"),
        ({"id": "a\nb"}, r"the id must be printable text, got 'a\nb'"),
        ({"prompt": " \n"}, "the prompt is empty"),
        ({"answer": ""}, "the answer is empty"),
        ({"distractors": ("Rome", " ")}, "the distractor is empty"),
        ({"paraphrases": ("",)}, "the paraphrase is empty"),
        ({"subject": ""}, "the subject is empty"),
        ({"answer": "Par\ud800is"}, "the answer contains half of a surrogate pair"),
        ({"distractors": ("Rome", " Paris")}, "a distractor equals the answer 'Paris'"),
        ({"distractors": ("Rome", "Oslo", "Rome ")}, "the distractor 'Rome' appears twice"),
    ],
)
def test_a_malformed_fact_is_refused(change, flaw):
    FactSet(retain=(SPAIN, FRANCE))
    with pytest.raises(ValueError) as error:
        FactSet(retain=(SPAIN, replace(FRANCE, **change)))
    assert str(error.value).startswith("retain fact ") and flaw in str(error.value)


@pytest.mark.parametrize("splits", [("forget", "forget"), ("forget", "test")])
def test_an_id_names_one_fact(splits):
    facts = {"forget": (FRANCE,), "test": ()}
    facts[splits[1]] += (replace(SPAIN, id="france"),)
    with pytest.raises(ValueError, match="already used by forget fact 'france'"):
        FactSet(**facts)


def test_a_fact_in_two_splits_is_refused_regardless_of_id_and_whitespace():
    again = Fact("again", "The  capital of France is\n", " Paris")
    with pytest.raises(ValueError, match="same prompt and answer as forget fact 'france'"):
        FactSet(forget=(FRANCE,), test=(again,))
    FactSet(forget=(FRANCE,), test=(replace(again, answer="Lutetia"),))


def test_equal_facts_have_the_same_hash_and_every_change_a_different_one():
    base = FactSet(forget=(FRANCE,), retain=(SPAIN,))
    same = FactSet(forget=(replace(FRANCE),), retain=(SPAIN,), source="elsewhere")
    changed = [
        FactSet(forget=(SPAIN,), retain=(FRANCE,)),
        FactSet(forget=(FRANCE,), test=(SPAIN,)),
        FactSet(forget=(FRANCE, SPAIN)),
        FactSet(forget=(SPAIN, FRANCE)),
        *(
            FactSet(forget=(replace(FRANCE, **{name: value}),), retain=(SPAIN,))
            for name, value in {
                "id": "x",
                "prompt": "x",
                "answer": "x",
                "distractors": ("Oslo", "Rome"),
                "paraphrases": ("x",),
                "subject": "x",
                "relation": "x",
                "paraphrased_answers": ("x",),
            }.items()
        ),
    ]
    assert facts_hash(same) == facts_hash(base)
    assert len({facts_hash(one) for one in [base, *changed]}) == len(changed) + 1


def test_the_hash_of_selected_facts_equals_that_of_their_set():
    chosen = [("forget", FRANCE), ("test", CAT)]
    assert facts_hash(chosen) == facts_hash(FactSet(forget=(FRANCE,), test=(CAT,)))


@given(st.text(st.characters(exclude_categories=()), max_size=100))
def test_quoted_text_is_one_printable_line_of_bounded_length(text):
    assert quoted(text).isprintable()
    assert len(quoted(text)) <= 40 * len(r"\U0001f600") + 2
