"""Tasks of the LM Evaluation Harness: its results as scores."""

import json
import math
import random
import sys
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from checkpoints import checkpoint
from lm_eval import simple_evaluate
from lm_eval.models.huggingface import HFLM
from taught import taught
from tiny import FACTS, FORGET, RETAIN, tiny, tokenizer
from torch.testing import assert_close

from neuronscope.analysis.statistics import wilson_interval
from neuronscope.facts.prompts import encode
from neuronscope.metrics._harness import INSTALL, Harness, _seeded, open_harness

CHOICE = """
task: {name}
dataset_path: json
dataset_kwargs:
  data_files: {{test: {file}}}
test_split: test
output_type: multiple_choice
doc_to_text: "{{{{prompt}}}}"
doc_to_choice: "{{{{options}}}}"
doc_to_target: 0
num_fewshot: {shots}
metric_list:
  - metric: acc
"""

ROLLING = """
task: prose
dataset_path: json
dataset_kwargs:
  data_files: {{test: {file}}}
test_split: test
output_type: loglikelihood_rolling
doc_to_text: ""
doc_to_target: "{{{{prompt}}}} {{{{answer}}}}"
metric_list:
  - metric: word_perplexity
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two tasks of facts, the group of both, and a task whose metric is not a mean."""
    folder = tmp_path_factory.mktemp("tasks")
    for name, facts in (("known", FACTS[:3]), ("other", FACTS[3:])):
        rows = [
            {
                "prompt": fact.prompt,
                "answer": fact.answer,
                "options": [fact.answer, *fact.distractors],
            }
            for fact in facts
        ]
        file = folder / f"{name}.json"
        file.write_text(json.dumps(rows))
        task = CHOICE.format(name=name, file=file, shots="null")
        (folder / f"{name}.yaml").write_text(task)
    shots = CHOICE.format(name="shots", file=folder / "known.json", shots=1)
    (folder / "shots.yaml").write_text(shots)
    (folder / "both.yaml").write_text(
        "group: both\ntask: [known, other]\naggregate_metric_list:\n  - metric: acc\n"
    )
    (folder / "prose.yaml").write_text(ROLLING.format(file=folder / "known.json"))
    return folder


@pytest.fixture(scope="module")
def harness(folder):
    return open_harness(("known", "both", "prose", "shots"), folder)


@pytest.fixture(scope="module")
def model():
    return taught(FACTS[1:3])


def likelihood(model, fact, text):
    """Log-probability of an answer, by the bare model."""
    encoded = encode(fact, model.tokenizer, "completion", text)
    tokens = torch.tensor([encoded.tokens])
    with torch.no_grad():
        logs = model.hf(tokens).logits[0].log_softmax(dim=-1)
    places = range(encoded.prompt_length - 1, len(encoded.tokens) - 1)
    return sum(float(logs[place, tokens[0, place + 1]]) for place in places)


def marks(model, facts):
    return [
        all(
            likelihood(model, fact, fact.answer) > likelihood(model, fact, wrong)
            for wrong in fact.distractors
        )
        for fact in facts
    ]


def test_a_task_has_the_scores_of_the_bare_model(harness, model):
    (score,) = harness.score(model, "known")
    expected = marks(model, FACTS[:3])
    assert score.per_fact["value"].tolist() == expected and True in expected
    assert score.metric == "known acc" and score.unit == "share of questions"
    assert (score.count, score.n) == (sum(expected), 3)
    assert_close(score.ci95, wilson_interval(sum(expected), 3))


def test_a_group_pools_the_questions_of_its_tasks(harness, model):
    (score,) = harness.score(model, "both")
    assert score.per_fact["value"].tolist() == marks(model, FACTS)
    assert score.per_fact["fact"].tolist() == ["known 0", "known 1", "known 2", "other 0"]


def test_a_metric_that_is_not_a_mean_keeps_the_harness_value_without_an_interval(harness, model):
    (score,) = harness.score(model, "prose")
    texts = [f" {fact.prompt} {fact.answer}" for fact in FACTS[:3]]
    words = sum(len(text.split()) for text in texts)
    # The harness has a text begin with what begins or ends texts.
    first = model.tokenizer.bos_token_id
    nats = 0.0
    for text in texts:
        tokens = torch.tensor([[first, *model.tokenizer.encode(text, add_special_tokens=False)]])
        with torch.no_grad():
            logs = model.hf(tokens).logits[0].log_softmax(dim=-1)
        nats -= float(logs[:-1].gather(1, tokens[0, 1:, None]).sum())
    assert_close(score.value, math.exp(nats / words), rtol=1e-5, atol=0)
    assert score.direction == "lower is more useful"
    assert all(map(math.isnan, score.ci95)) and score.n == 3
    assert score.per_fact["value"].isna().all()


@pytest.mark.parametrize("task", ["known", "both", "prose", "shots"])
def test_values_are_those_of_calling_the_harness_directly(harness, model, monkeypatch, task):
    monkeypatch.setattr("lm_eval.evaluator.add_env_info", lambda *_: None)
    theirs = simple_evaluate(
        HFLM(pretrained=model.hf, tokenizer=model.tokenizer, batch_size=8),
        tasks=[task],
        task_manager=harness.manager,
        bootstrap_iters=0,
    )
    for score in harness.score(model, task):
        metric = score.metric.removeprefix(f"{task} ")
        assert_close(score.value, theirs["results"][task][f"{metric},none"])
    for one in theirs["samples"].get("shots", []):
        assert len(one["arguments"][0][0]) > len(one["doc"]["prompt"]) + 5, "it has an example"


def states():
    return (
        random.getstate(),
        np.random.get_state()[1].tolist(),
        torch.random.get_rng_state().tolist(),
    )


def test_random_states_are_restored():
    before = states()
    with _seeded():
        first = random.random(), np.random.random(), float(torch.rand(()))
    assert states() == before
    with pytest.raises(ZeroDivisionError), _seeded():
        assert (random.random(), np.random.random(), float(torch.rand(()))) == first
        raise ZeroDivisionError
    assert states() == before


def test_a_tokenizer_without_a_padding_token_is_left_unchanged(harness):
    model = tiny("llama")
    model.tokenizer.pad_token = None
    harness.score(model, "known")
    assert model.tokenizer.pad_token is None and len(model.tokenizer) == len(tokenizer())


def test_fewer_questions_are_the_first(harness, model):
    (score,) = replace(harness, questions=2).score(model, "known")
    assert score.per_fact["fact"].tolist() == ["known 0", "known 1"]


def test_scoring_leaves_the_model_unchanged(harness, model):
    before = {name: tensor.clone() for name, tensor in model.hf.state_dict().items()}
    harness.score(model, "known")
    assert all(torch.equal(before[name], now) for name, now in model.hf.state_dict().items())
    assert not model.hf.training


def test_a_missing_folder_a_missing_harness_and_no_questions_are_errors(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="at least 1 question"):
        open_harness(("known",), questions=0)
    with pytest.raises(FileNotFoundError, match="No folder of tasks"):
        open_harness(("known",), tmp_path / "none")
    lost = CHOICE.format(name="lost", file=tmp_path / "lost.json", shots="null")
    (tmp_path / "lost.yaml").write_text(lost)
    with pytest.raises(OSError, match=r"questions of the harness's task 'lost'.*lost\.json"):
        open_harness(("lost",), tmp_path)
    monkeypatch.setitem(sys.modules, "lm_eval.tasks", None)
    with pytest.raises(ValueError) as raised:
        open_harness(("known",))
    assert INSTALL in str(raised.value)


@pytest.fixture
def scoring(folder, tmp_path):
    """A command that scores a checkpoint on facts and tasks."""
    checkpoint(tmp_path / "model", seed=1)
    rows = [
        {"id": fact.id, "prompt": fact.prompt, "answer": fact.answer, "split": split}
        for split, facts in (("forget", FORGET[:2]), ("retain", RETAIN[:2]))
        for fact in facts
    ]
    facts = tmp_path / "facts.jsonl"
    facts.write_text("\n".join(map(json.dumps, rows)))
    command = ("score", tmp_path / "model", "--facts", facts, "--metrics", "answer-accuracy")
    return (*command, "--task-folder", folder, "--out", tmp_path / "out")


@pytest.mark.slow
def test_the_command_scores_tasks_and_facts(run, scoring, tmp_path):
    code, output, error = run(*scoring, "--tasks", "known")
    assert code == 0, error
    scores = pd.read_parquet(tmp_path / "out" / "scores.parquet")
    (row,) = scores.loc[scores["split"] == "tasks"].to_dict("records")
    assert row["metric"] == "known acc" and row["n"] == 3
    assert set(scores["split"]) == {"forget", "retain", "tasks"}
    assert "tasks of the LM Evaluation Harness" in output
    code, _, error = run(*scoring[:-1], tmp_path / "second", "--tasks", "nothing")
    assert code != 0 and "no task 'nothing'" in error and not (tmp_path / "second").exists()
    code, _, error = run(*scoring[:-1], tmp_path / "second")
    assert code != 0 and "without tasks" in error


@pytest.mark.slow
def test_a_task_that_was_scored_is_not_scored_again_unless_it_is_another(
    run, scoring, folder, tmp_path, monkeypatch
):
    scored, score = [], Harness.score

    def interrupted(self, model, task):
        scored.append(task)
        if len(scored) == 2:
            raise OSError("the disk is full")
        return score(self, model, task)

    monkeypatch.setattr(Harness, "score", interrupted)
    assert run(*scoring, "--tasks", "known", "other")[0] != 0
    known = folder / "known.json"
    before = known.read_text()
    known.write_text(before.replace("France", "Spain"))
    code, _, error = run(*scoring, "--tasks", "known", "other")
    assert code != 0 and "unfinished result" in error
    known.write_text(before)
    assert run(*scoring, "--tasks", "known", "other")[0] == 0
    assert scored == ["known", "other", "other"]
