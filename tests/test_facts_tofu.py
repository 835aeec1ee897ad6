import json
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest
from fact_files import QUESTIONS, lines, load

from neuronscope.facts.fact import Fact
from neuronscope.facts.loading import load_facts


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("forget01.json", "forget"),
        ("retain99_perturbed.json", "retain"),
        ("holdout10.jsonl", "test"),
        ("real_authors.json", "utility"),
        ("world_facts_perturbed.json", "utility"),
        ("retain90/train-00000-of-00001.json", "retain"),
        ("full.json", "forget"),
    ],
)
@pytest.mark.parametrize("write", [json.dumps, lambda rows: lines(*rows)], ids=["list", "lines"])
def test_tofu_files_name_their_split(tmp_path, name, split, write):
    facts = load(tmp_path, write(QUESTIONS), name)
    stem = "retain90" if "/" in name else Path(name).stem
    assert facts.split(split) == (
        Fact(f"{stem}-0000", "Who wrote it?", "Basil", ("Ada", "Tom")),
        Fact(f"{stem}-0001", "Where?", "Lima", (), ("In which town?",)),
    )
    assert len(list(facts)) == 2
    assert any("no split" in note for note in facts.notes) == (name == "full.json")


def test_tofu_options_other_than_the_answer_are_distractors(tmp_path):
    row = {"question": "Where?", "answer": "Lima", "option1": "Lima", "option2": "Oslo"}
    row |= {"options": ["Lima", "Rome"], "perturbed_answer": "Oslo", "subject": " "}
    row |= {"paraphrased_question": "Where?"}
    (fact,) = load(tmp_path, lines(row), "world_facts.json").utility
    assert fact == Fact("world_facts-0000", "Where?", "Lima", ("Oslo", "Rome"))


def test_tofu_paraphrased_answers_are_read(tmp_path):
    row = {"question": "Where?", "answer": "In Lima.", "paraphrased_answer": "Lima it is."}
    (fact,) = load(tmp_path, lines(row), "forget01.json").forget
    assert fact.paraphrased_answers == ("Lima it is.",)
    row["paraphrased_answer"] = row["answer"]
    (bare,) = load(tmp_path, lines(row), "forget01.json").forget
    assert bare.paraphrased_answers == ()


def test_tofu_reads_the_same_from_parquet(tmp_path):
    columns = {
        name: [row.get(name) for row in QUESTIONS] for name in {**QUESTIONS[0], **QUESTIONS[1]}
    }
    pyarrow.parquet.write_table(pyarrow.table(columns), tmp_path / "forget05.parquet")
    assert load_facts(tmp_path) == load(tmp_path / "json", json.dumps(QUESTIONS), "forget05.json")
    pyarrow.parquet.write_table(
        pyarrow.table(columns | {"answer": ["Basil", None]}), tmp_path / "forget05.parquet"
    )
    with pytest.raises(
        ValueError, match=r"forget05.parquet, row 2: expected 'answer' as text, got"
    ):
        load_facts(tmp_path)


def test_a_folder_of_folders_is_read_one_level_down(tmp_path):
    load(tmp_path, json.dumps(QUESTIONS), "tofu/forget01/train.json")
    load(tmp_path, json.dumps([{"question": "When?", "answer": "Now"}]), "tofu/retain99/train.json")
    facts = load_facts(tmp_path / "tofu")
    assert (len(facts.forget), len(facts.retain)) == (2, 1)
    with pytest.raises(ValueError, match="the folder has no"):
        load_facts(tmp_path)


def test_a_folder_of_tofu_files_is_one_set_without_duplicates(tmp_path):
    bare = [{"question": "Who wrote it?", "answer": "Basil"}]
    load(tmp_path, json.dumps(bare), "forget01.json")
    load(tmp_path, json.dumps(QUESTIONS), "forget10.json")
    load(tmp_path, json.dumps([{"question": "When?", "answer": "Now"}]), "retain90.json")
    facts = load_facts(tmp_path)
    assert {fact.prompt: fact.distractors for fact in facts.forget} == {
        "Who wrote it?": ("Ada", "Tom"),
        "Where?": (),
    }
    assert [fact.prompt for fact in facts.retain] == ["When?"]
    note = facts.notes[-1]
    assert "left out: 1," in note and "'forget01-0000'" in note and "'forget10-0000'" in note
    load(tmp_path, json.dumps(bare), "retain99.json")
    with pytest.raises(
        ValueError, match=r"retain99.json, item 1 \(line 1\): the same prompt and an"
    ):
        load_facts(tmp_path)
