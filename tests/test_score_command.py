"""`neuronscope score`: from a command line to complete scores and strata."""

import json
from dataclasses import asdict, replace

import numpy as np
import pandas as pd
import pytest
from checkpoints import checkpoint
from tiny import FORGET, RETAIN, tokenizer

from neuronscope._discover import method_class, method_names
from neuronscope.analysis.retention import compared, counted
from neuronscope.facts.fact import FactSet
from neuronscope.facts.loading import load_facts
from neuronscope.metrics._base import Metric
from neuronscope.metrics._retention import answers
from neuronscope.metrics._score import Score, mean_score, table_of
from neuronscope.metrics.answer_accuracy import AnswerAccuracy
from neuronscope.models.loading import load_model
from neuronscope.results.cache import content_of
from neuronscope.tasks import _models
from neuronscope.tasks import score as tasks_score
from neuronscope.tasks._evaluations import evaluations_of

RESULT = [
    "answers.parquet", "manifest.json", "scores", "scores.parquet", "strata.parquet", "task.json",
]  # fmt: skip
CHEAP = {
    "answer_accuracy", "answer_probability", "exact_memorization", "extraction_strength",
    "memorization_accuracy", "perplexity",
}  # fmt: skip
"""Metrics that generate no text and need nothing but facts."""

NEEDY = {
    "forget_quality", "membership_inference", "multiple_choice_likelihood", "privleak",
    "truth_ratio",
}  # fmt: skip


def rivals(fact, others):
    wrong = [other.answer for other in others if other.answer != fact.answer]
    return replace(fact, distractors=tuple(wrong[:2]))


@pytest.fixture(scope="module")
def here(tmp_path_factory):
    """Two checkpoints, and facts of three splits, one of them without distractors."""
    folder = tmp_path_factory.mktemp("scored")
    checkpoint(folder / "model", seed=1)
    checkpoint(folder / "other")
    splits = {"forget": [rivals(f, FORGET) for f in FORGET[:4]], "retain": RETAIN[:4]}
    splits["test"] = [rivals(f, RETAIN) for f in RETAIN[4:7]]
    rows = [asdict(fact) | {"split": name} for name, facts in splits.items() for fact in facts]
    (folder / "facts.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return folder


@pytest.fixture
def score(run, here, tmp_path):
    """Score by the command line, into `tmp_path / "out"`."""

    def score(*arguments):
        given = ("--facts", here / "facts.jsonl", "--out", tmp_path / "out")
        return run("score", here / "model", *given, *arguments)

    return score


def test_the_command_gives_the_same_scores_as_python(score, here, tmp_path):
    out = tmp_path / "out"
    code, said, error = score("--reference", here / "other")
    assert code == 0 and sorted(path.name for path in out.iterdir()) == RESULT
    assert "24 of 24" in error
    model, other = (load_model(here / name) for name in ("model", "other"))
    facts = load_facts(here / "facts.jsonl")
    found = []
    for split in ("forget", "retain", "test"):
        files = sorted((out / "scores" / split).glob("*.json"))
        more = {"forget_quality", "multiple_choice_likelihood", "truth_ratio"}
        assert {path.stem for path in files} == (CHEAP if split == "retain" else CHEAP | more)
        for path in files:
            metric = method_class("metrics", path.stem, Metric)()
            again = metric(model, facts.split(split), reference=other)
            pd.testing.assert_frame_equal(Score.load(path).per_fact, again.per_fact)
            found.append((split, again))
    table = pd.read_parquet(out / "scores.parquet")
    pd.testing.assert_frame_equal(table, table_of(found))
    given, beside = (answers(one, facts) for one in (model, other))
    pd.testing.assert_frame_equal(pd.read_parquet(out / "answers.parquet"), given)
    strata = pd.read_parquet(out / "strata.parquet")
    pd.testing.assert_frame_equal(strata[["stratum", "use", "correct", "n", "low", "high"]],
                                  counted(given))  # fmt: skip
    assert strata["p"].tolist() == compared(beside, given)["p"].tolist()
    assert strata["reference"].tolist() == counted(beside)["correct"].tolist()
    words = " ".join(said.split())
    for reason in ("needs distractors", "retain, truth_ratio", "needs facts that the model never"):
        assert reason in words
    assert "rouge_l: these generate text" in words
    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest["model"] == content_of(here / "model") and manifest["metrics"] is None

    code, _, error = score()
    assert code == 2 and "finished result" in error


def test_metrics_and_splits_can_be_named(score, tmp_path):
    code, _, _ = score("--metrics", "exact-match", "privleak", "--splits", "forget", "retain",
                       "--holdout-split", "test")  # fmt: skip
    assert code == 0
    table = pd.read_parquet(tmp_path / "out" / "scores.parquet")
    assert table[["split", "metric"]].to_numpy().tolist() == [
        ["forget", "exact_match"], ["forget", "privleak"],
        ["retain", "exact_match"], ["retain", "privleak"],
    ]  # fmt: skip
    assert set(pd.read_parquet(tmp_path / "out" / "strata.parquet")["use"]) == {"forget", "retain"}


def test_the_holdout_is_not_compared_with_itself():
    facts = FactSet(forget=FORGET[:3], test=RETAIN[:3])
    asked = evaluations_of(facts, ["privleak"], holdout_split="test")
    assert [one.split for one in asked.every] == ["forget"]
    assert asked.left_out == ("test, privleak: this split is the holdout.",)
    with pytest.raises(ValueError, match="cannot be computed on any split"):
        evaluations_of(facts, ["privleak"], ["test"], holdout_split="test")


def test_metrics_that_generate_text_are_computed_only_if_named():
    facts = FactSet(forget=FORGET[:3])
    asked = evaluations_of(facts)
    assert {one.name for one in asked.every} == CHEAP
    said = " ".join(asked.left_out)
    assert all(name in said for name in set(method_names("metrics")) - CHEAP)
    rich = FactSet(forget=tuple(rivals(f, FORGET) for f in FORGET[:3]), test=RETAIN[:2])
    asked = evaluations_of(rich, None, ["forget"], "some/model", "test")
    assert {one.name for one in asked.every} == CHEAP | NEEDY and len(asked.left_out) == 1
    writing = {n for n in method_names("metrics") if n in asked.left_out[0]}
    assert writing == set(method_names("metrics")) - CHEAP - NEEDY


def test_an_interrupted_score_resumes_with_the_same_numbers(here, tmp_path, monkeypatch):
    def call(out, *metrics):
        task = tasks_score.Score(here / "model", here / "facts.jsonl", metrics, ("forget",))
        return task.run(tmp_path / out)

    straight = call("straight", "answer_probability", "answer_accuracy", "perplexity")
    made = []
    plain = AnswerAccuracy.measure

    def counting(self, exam):
        made.append(len(exam.facts))
        if len(made) == 1:
            raise KeyboardInterrupt
        return plain(self, exam)

    monkeypatch.setattr(AnswerAccuracy, "measure", counting)
    with pytest.raises(KeyboardInterrupt):
        call("out", "answer_probability", "answer_accuracy", "perplexity")
    kept = tmp_path / "out" / "scores" / "forget" / "answer_probability.json"
    assert kept.is_file() and not (tmp_path / "out" / "manifest.json").exists()
    before = kept.stat().st_mtime_ns
    with pytest.raises(ValueError, match="unfinished result"):
        call("out", "answer_accuracy")
    done = call("out", "answer_probability", "answer_accuracy", "perplexity")
    for name in tasks_score.TABLES:
        pd.testing.assert_frame_equal(vars(done)[name], vars(straight)[name], check_exact=True)
    assert kept.stat().st_mtime_ns == before, "it was not made again"


BAD = {
    "no such metric": (("--metrics", "guess"), "No metrics called 'guess'"),
    "no distractors": (("--metrics", "truth-ratio", "--splits", "retain"), "needs distractors"),
    "no reference": (("--metrics", "forget-quality", "--splits", "forget"), "needs a model"),
    "one option": (
        ("--metrics", "multiple-choice-generation", "--splits", "retain"),
        "needs distr",
    ),
    "an empty split": (("--splits", "utility"), "no facts of split 'utility'"),
    "an empty holdout": (("--holdout-split", "utility"), "no facts of split 'utility'"),
    "no such reference": (("--reference", "no/such/model"), "no model directory"),
    "no chat": (("--form", "chat"), "chat template"),
    "no device": (("--device", "cuda:77"), "No device"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_gives_a_one_line_error_before_a_model_is_loaded(
    score, tmp_path, monkeypatch, name
):
    def refuse(*sources, **settings):
        raise AssertionError("loaded")

    monkeypatch.setattr(_models, "load_model", refuse)
    arguments, reason = BAD[name]
    code, _, error = score(*arguments)
    assert code == 2 and reason in error
    assert error.startswith("neuronscope: ") and error.count("\n") == 1
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(AssertionError, match="loaded"):
        score()


def test_a_paraphrase_that_cannot_be_encoded_is_found_without_a_model():
    # No space follows a Chinese character, so that it shares a token with the answer.
    strange = replace(FORGET[0], paraphrases=("the 城",))
    assert evaluations_of(FactSet(forget=(strange,))).every
    with pytest.raises(ValueError, match="Ann lives"):
        evaluations_of(FactSet(forget=(strange,)), tokenizers=[tokenizer()])
    evaluations_of(FactSet(retain=(strange,)), tokenizers=[tokenizer()])


def test_a_table_of_scores_holds_the_fields_of_a_score():
    score = mean_score(
        "example", ["a", "b"], np.array([1.0, 3.0]), unit="nats", direction="higher is more useful"
    )
    row = table_of([("test", score)]).iloc[0]
    assert (row["metric"], row["split"], row["value"], row["n"]) == ("example", "test", 2.0, 2)
    assert row["count"] is pd.NA and np.isnan(row["chance"]) and row["reason"] == ""
