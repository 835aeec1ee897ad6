import json

import pytest
from fact_files import BASE, FAITHUN, error_of, load

from neuronscope.facts.fact import Fact, FactSet
from neuronscope.facts.loading import load_facts


def test_faithun_clusters_are_numbered_through_all_entities(tmp_path):
    load(tmp_path, json.dumps(FAITHUN), "FaithUnBench.json")
    (tmp_path / "splits").mkdir()
    (tmp_path / "splits" / "forget_set_split.txt").write_text("2")
    (tmp_path / "splits" / "test_set_split.txt").write_text("1\n")
    facts = load_facts(tmp_path)
    assert facts == FactSet(
        forget=(Fact("Q2-0", "What does D play?", "Golf", ("Go",)),),
        test=(
            Fact("Q1-1", "Where was A born?", "Rome", ("Oslo",), ("A was born where?",)),
        ),
    )  # fmt: skip
    assert all(note.startswith("'FaithUnBench.json': ") for note in facts.notes)
    kinds, fields, splits, unused = facts.notes
    assert "faithun, 1 test, 1 forget" in kinds
    assert "entities: 2, clusters: 3" in fields and "'question'" in fields
    assert (
        "forget_set_split.txt, test_set_split.txt" in splits and "clusters in no split: 1" in splits
    )
    assert "1 of hop2_test; 1 of hop1_test" in unused


@pytest.mark.parametrize("indent", [None, 2])
def test_faithun_without_split_files_is_all_in_the_forget_set(tmp_path, indent):
    facts = load(tmp_path, json.dumps(FAITHUN, indent=indent), "faithun.json")
    assert [fact.id for fact in facts.forget] == ["Q1-0", "Q1-1", "Q2-0"]
    assert facts.forget[0].distractors == ("C",), "an accepted answer is no distractor"
    assert any("no split files" in note for note in facts.notes)


def test_faithun_gives_no_paraphrase_to_two_clusters_with_the_same_answers(tmp_path):
    items = [BASE[1], BASE[1] | {"question": "Where does A live?"}]
    entity = {"hop1_unlearn": items, "hop1_test": [{"question": "A's town?", "answers": ["Rome"]}]}
    facts = load(tmp_path, json.dumps({"Q1": entity}), "faithun.json")
    assert [fact.paraphrases for fact in facts.forget] == [(), ()]
    assert "1 of hop1_test" in facts.notes[-1]


def test_faithun_refuses_to_guess_between_two_names_of_the_question(tmp_path):
    content = json.dumps(FAITHUN).replace('"question":', '"label": "x", "wording":')
    message = error_of(tmp_path, content, "faithun.json")
    assert message.startswith(", line 1, entity 'Q1', hop1_unlearn item 1: expected the question")
    assert message.endswith("2 fields are text in every item.")


def test_faithun_infers_the_name_of_the_question_field(tmp_path):
    renamed = json.loads(json.dumps(FAITHUN).replace('"question"', '"ask\\nme"'))
    facts = load(tmp_path, json.dumps(renamed), "faithun.json")
    assert facts == load(tmp_path / "usual", json.dumps(FAITHUN), "faithun.json")
    assert any("'ask\\nme'" in note for note in facts.notes)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"Q3": []}, ", entity 'Q3': expected an object with hop1_unlearn, got a list"),
        ({"Q3": {}}, ", entity 'Q3': expected 'hop1_unlearn' as a list, got nothing"),
        ({"Q3": {"hop1_unlearn": [1]}}, ", entity 'Q3', hop1_unlearn item 1: expected an object"),
        (
            {"Q3": {"hop1_unlearn": [{}]}},
            ", entity 'Q3', hop1_unlearn item 1: expected at least one",
        ),
        (
            {"Q3": {"hop1_unlearn": [{"answers": "x"}]}},
            ", entity 'Q3', hop1_unlearn item 1: expect",
        ),
        ({"Q1": {"hop1_unlearn": []}, "Q2": {"hop1_unlearn": []}}, ": no entity has a question"),
    ],
)
def test_a_malformed_entity_is_named(tmp_path, change, message):
    content = json.dumps(FAITHUN | change, indent=1)
    assert error_of(tmp_path, content, "faithun.json").startswith(message)


@pytest.mark.parametrize(
    ("listed", "message"),
    [
        (b"0\n3", "line 2: expected a cluster number from 0 to 2, got '3'"),
        (b"-1", "line 1: expected a cluster number from 0 to 2, got '-1'"),
        ("٢".encode(), "line 1: expected a cluster number"),
        (b"9" * 5000, "line 1: expected a cluster number from 0 to 2, got '999"),
        (b"1\n0 1", "line 2: cluster 1 is listed twice"),
        (b"\xff", "line 1: not UTF-8 text"),
    ],
)
def test_a_malformed_split_file_is_named(tmp_path, listed, message):
    load(tmp_path, json.dumps(FAITHUN), "faithun.json")
    (tmp_path / "forget_set_split.txt").write_bytes(listed)
    with pytest.raises(ValueError) as error:
        load_facts(tmp_path)
    assert str(error.value).startswith(f"{tmp_path / 'forget_set_split.txt'}, {message}")
