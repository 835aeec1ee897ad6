import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import pytest
import torch
from demo_pair import BEFORE, few_facts, write_facts
from tiny import tiny

from neuronscope.attribution._base import GIB
from neuronscope.attribution._memory import saved_bytes
from neuronscope.attribution._plan import make_plan
from neuronscope.attribution._record import record
from neuronscope.attribution.gradient_x_activation import GradientXActivation
from neuronscope.attribution.integrated_gradients import IntegratedGradients
from neuronscope.facts.fact import Fact, FactSet
from neuronscope.facts.prompts import encode
from neuronscope.models.loading import load_model
from neuronscope.models.targets import Target
from neuronscope.results.recording import Recording
from neuronscope.tasks.record import RECORDING, Record

METHOD = IntegratedGradients(steps=4, max_steps=4, baseline="zero")


@pytest.fixture(scope="module")
def model():
    return load_model(BEFORE)


def test_activations_equal_the_bridges_cache_where_the_answer_is_predicted(model):
    facts = few_facts(2, 0)
    recording = record(model, facts, GradientXActivation(), progress=False)
    for row, fact in enumerate(facts.forget):
        encoded = encode(fact, model.tokenizer, "completion")
        tokens = torch.tensor([encoded.tokens])
        _, cache = model.bridge.run_with_cache(tokens, attention_mask=torch.ones_like(tokens))
        for layer in range(model.n_layers):
            neurons = cache[f"blocks.{layer}.mlp.hook_post"][0]
            expected = neurons[encoded.prompt_length - 1 : -1].mean(dim=0)
            recorded = torch.tensor(recording.sites["mlp.post"].activation[row, layer])
            torch.testing.assert_close(recorded, expected, atol=1e-5, rtol=1e-4)


def test_answered_agrees_with_greedy_decoding(model):
    facts = few_facts(3, 0)
    wrong = Fact("wrong", facts.forget[0].prompt, facts.forget[0].distractors[0])
    recording = record(model, [*facts.forget, wrong], GradientXActivation(), progress=False)
    for fact, answered in zip([*facts.forget, wrong], recording.answered, strict=True):
        encoded = encode(fact, model.tokenizer, "completion")
        prompt = torch.tensor([encoded.tokens[: encoded.prompt_length]])
        count = len(encoded.tokens) - encoded.prompt_length
        decoded = model.hf.generate(
            prompt,
            attention_mask=torch.ones_like(prompt),
            max_new_tokens=count,
            min_new_tokens=count,
            do_sample=False,
        )
        assert (tuple(decoded[0].tolist()) == encoded.tokens) == answered
    assert recording.answered[:3].all() and not recording.answered[3]


def test_means_equal_the_means_over_single_facts(model):
    facts = few_facts(6, 0)
    single = record(model, facts, METHOD, progress=False)
    reduced = record(model, facts, METHOD, per_fact=False, progress=False)
    assert single.per_fact and not reduced.per_fact
    ours, theirs = reduced.means("mlp.post"), single.means("mlp.post")
    for name, value in vars(theirs).items():
        np.testing.assert_allclose(vars(ours)[name], value, atol=1e-6, rtol=1e-5)
    np.testing.assert_array_equal(reduced.score, single.score)


def test_the_order_of_facts_only_affects_the_order_of_rows(model):
    facts = few_facts(6, 0).forget
    one = record(model, facts, METHOD, progress=False)
    other = record(model, facts[::-1], METHOD, progress=False)
    assert one.fact_ids == other.fact_ids[::-1]
    for name, value in vars(one.sites["mlp.post"]).items():
        reverse = vars(other.sites["mlp.post"])[name][::-1]
        np.testing.assert_allclose(value, reverse, atol=1e-5, rtol=1e-4)


def test_splits_are_recorded_under_their_names(model):
    recording = record(model, few_facts(2, 3), GradientXActivation(), progress=False)
    assert recording.splits == ("forget",) * 2 + ("retain",) * 3


def test_a_list_is_recorded_as_the_forget_set(model):
    facts = few_facts(3, 0)
    one = record(model, facts, METHOD, progress=False)
    other = record(model, list(facts.forget), METHOD, progress=False)
    assert one.splits == other.splits == ("forget",) * 3
    assert one.provenance == other.provenance
    for name, value in vars(one.sites["mlp.post"]).items():
        np.testing.assert_array_equal(value, vars(other.sites["mlp.post"])[name])


def test_less_memory_means_smaller_batches(model):
    encoded = [encode(f, model.tokenizer, "completion") for f in few_facts(8, 0).forget]
    one = len(encoded[0].tokens) * model.n_layers * saved_bytes(model)
    plenty = make_plan(model, encoded, ("mlp.post",), True, 2**30)
    little = make_plan(model, encoded, ("mlp.post",), True, int(one))
    assert max(map(len, plenty.batches)) > 1 == max(map(len, little.batches))
    assert sorted(i for batch in plenty.batches for i in batch) == list(range(8))


def test_saved_bytes_are_measured_even_without_gradients():
    with torch.no_grad():
        without = saved_bytes(tiny("llama"))
    assert without == saved_bytes(tiny("llama")) > 16 * 8


def test_a_saved_recording_equals_the_returned_one(model, tmp_path):
    path = tmp_path / "before.safetensors"
    recording = record(model, few_facts(2, 2), METHOD, out=path, progress=False)
    loaded = Recording.load(path)
    assert loaded.provenance == recording.provenance
    np.testing.assert_array_equal(loaded.sites["mlp.post"].total, recording.sites["mlp.post"].total)
    assert [p.name for p in tmp_path.iterdir()] == ["before.safetensors"]


def test_invalid_arguments_are_refused_before_anything_is_written(model, tmp_path):
    out = tmp_path / "x.safetensors"
    with pytest.raises(ValueError, match="at least one fact"):
        record(model, FactSet(), METHOD, out=out)
    with pytest.raises(ValueError, match="Unknown site"):
        record(model, few_facts(), METHOD, ("mlp.middle",), out=out)
    with pytest.raises(ValueError, match="does not survive"):
        record(model, [Fact("odd", "the town of", "\u2603\u2603")], METHOD, out=out)
    with pytest.raises(ValueError, match=r"ends in \.safetensors, got .*x\.txt"):
        record(model, few_facts(), METHOD, out=tmp_path / "x.txt")
    assert list(tmp_path.iterdir()) == []
    out.write_bytes(b"precious")
    with pytest.raises(FileExistsError, match="exists"):
        record(model, few_facts(), METHOD, out=out)
    assert out.read_bytes() == b"precious"


class _Stopped(Exception):
    pass


@dataclass(frozen=True)
class _Stopping(GradientXActivation):
    """Stops after a number of batches, as a power cut would."""

    after: ClassVar[int] = 0
    batches: ClassVar[list[int]] = []

    def __call__(self, model, batch, sites, target, memory=2 * GIB):
        if len(self.batches) == self.after:
            raise _Stopped
        self.batches.append(len(batch.tokens))
        return GradientXActivation()(model, batch, sites, target, memory)


@pytest.fixture
def stopping(monkeypatch):
    """A method that stops after a number of batches, and counts its calls."""

    def after(count):
        monkeypatch.setattr(_Stopping, "after", count)
        monkeypatch.setattr(_Stopping, "batches", [])
        return _Stopping()

    return after


def test_an_unfinished_recording_with_other_settings_is_refused(model, stopping, tmp_path):
    out = tmp_path / "x.safetensors"
    method = stopping(0)
    with pytest.raises(_Stopped):
        record(model, few_facts(), method, out=out, progress=False)
    assert (tmp_path / "x.safetensors.partial" / "task.json").is_file()
    others = (
        {"attribution": METHOD},
        {"facts": few_facts(3)},
        {"sites": ("mlp.up",)},
        {"target": Target("prob")},
        {"per_fact": False},
        {"form": "question_answer"},
    )
    for other in others:
        wanted = {"facts": few_facts(), "attribution": method} | other
        with pytest.raises(ValueError, match="unfinished result"):
            record(model, **wanted, out=out, progress=False)
    assert not out.exists()


def test_finished_batches_are_loaded_and_not_computed_again(model, stopping, tmp_path):
    facts, out = few_facts(6, 6), tmp_path / "x.safetensors"
    whole = record(model, facts, stopping(9), progress=False)
    assert len(_Stopping.batches) == 3
    with pytest.raises(_Stopped):
        record(model, facts, stopping(2), out=out, progress=False)
    partial = tmp_path / "x.safetensors.partial"
    assert [p.name for p in sorted((partial / "pieces").iterdir())] == [
        "000000.safetensors",
        "000001.safetensors",
    ]
    # The same weights from another path.
    moved = replace(model, source="elsewhere")
    resumed = record(moved, facts, stopping(9), out=out, progress=False)
    assert len(_Stopping.batches) == 1 and not partial.exists()
    for name, value in vars(whole.sites["mlp.post"]).items():
        np.testing.assert_array_equal(value, vars(resumed.sites["mlp.post"])[name])


def test_a_damaged_batch_is_refused(model, stopping, tmp_path):
    facts, out = few_facts(6, 6), tmp_path / "x.safetensors"
    with pytest.raises(_Stopped):
        record(model, facts, stopping(2), out=out, progress=False)
    batch = tmp_path / "x.safetensors.partial" / "pieces" / "000001.safetensors"
    batch.write_bytes(batch.read_bytes()[:-4])
    with pytest.raises(ValueError, match=r"000001\.safetensors: not a complete"):
        record(model, facts, stopping(9), out=out, progress=False)
    assert not out.exists()


@pytest.mark.slow
def test_a_killed_recording_resumes_to_identical_bytes(tmp_path):
    facts = write_facts(tmp_path / "facts.jsonl", 16, 40)
    whole, killed = tmp_path / "whole", tmp_path / "killed"

    def here(out):
        attribution = {"name": "integrated-gradients", "baseline": "zero"}
        Record(str(BEFORE), facts, attribution, "all").run(out)

    command = [
        sys.executable, "-m", "neuronscope", "record", str(BEFORE), "--facts", str(facts),
        "--split", "all", "--out", str(killed), "--baseline", "zero",
    ]  # fmt: skip
    quiet = subprocess.DEVNULL
    # The number of threads affects the last bits of sums, so it must be the same as here.
    threads = {"OMP_NUM_THREADS": str(torch.get_num_threads())}
    process = subprocess.Popen(command, env=os.environ | threads, stdout=quiet, stderr=quiet)
    pieces = killed / f"{RECORDING}.partial" / "pieces"
    while not list(pieces.glob("00000[2-9].safetensors")):
        assert process.poll() is None, "finished before it could be killed"
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (killed / RECORDING).exists()
    assert 0 < len(list(pieces.glob("0*.safetensors"))) < 14

    here(whole)
    here(killed)
    assert (killed / RECORDING).read_bytes() == (whole / RECORDING).read_bytes()
    assert not pieces.exists()
