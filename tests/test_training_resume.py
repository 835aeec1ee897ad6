import dataclasses
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
import torch
from checkpoints import one_line
from training_example import (
    FACTS,
    LEFT,
    LOSS,
    Drag,
    Fragile,
    Interrupted,
    config,
    model,
    same,
    untimed,
)

from neuronscope.facts.fact import FactSet
from neuronscope.models.loading import load_model
from neuronscope.regularizers.ssiuu import SSIUU
from neuronscope.regularizers.ssiuu_neurons import SSIUUNeurons
from neuronscope.results.cache import described
from neuronscope.stopping.update_norm import UpdateNorm
from neuronscope.training import unlearn

SETTINGS = config(steps=9, schedule="cosine", warmup_steps=2, checkpoint_steps=2)


def fragile(out, after, regularizer=None, settings=SETTINGS, given=None, facts=FACTS):
    LEFT[0] = after
    return unlearn(given or model(), Fragile(), facts, regularizer, config=settings, out=out)


@pytest.mark.parametrize(
    ("regularizer", "changes"),
    [
        (None, {}),
        (Drag(noise=0.1), {}),
        (SSIUU(strength=10.0), {"optimizer": "sgd"}),
        (Drag(), {"lora_rank": 2, "optimizer": "adafactor"}),
    ],
)
def test_an_interrupted_run_resumes_with_the_same_numbers(tmp_path, regularizer, changes):
    settings = config(**vars(SETTINGS) | changes)
    whole = fragile(tmp_path / "whole", 0, regularizer, settings)
    out = tmp_path / "broken"
    for after in (random.randint(1, 2), random.randint(3, 6), random.randint(2, 4)):
        with pytest.raises(Interrupted):
            fragile(out, after, regularizer, settings)
    run = fragile(out, 0, regularizer, settings)
    repeated = -LEFT[0]
    assert repeated < settings.steps
    assert same(run.model, whole.model) and not same(run.model, model())
    pd.testing.assert_frame_equal(untimed(run.history), untimed(whole.history), check_exact=True)
    saved = pd.read_parquet(out / "history.parquet")
    pd.testing.assert_frame_equal(saved, run.history, check_exact=True)


@pytest.mark.slow
def test_a_killed_run_resumes_with_the_same_numbers(tmp_path):
    out = tmp_path / "killed"
    script = Path(__file__).with_name("slow_run.py")
    process = subprocess.Popen([sys.executable, str(script), str(out)])
    deadline = time.monotonic() + 120
    while not list(out.glob("pieces/step-00000[4-9]")) and time.monotonic() < deadline:
        assert process.poll() is None
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert not (out / "manifest.json").exists()
    run = unlearn(model(), LOSS, FACTS, Drag(noise=0.1), config=SETTINGS, out=out)
    whole = unlearn(model(), LOSS, FACTS, Drag(noise=0.1), config=SETTINGS)
    assert same(run.model, whole.model)
    pd.testing.assert_frame_equal(untimed(run.history), untimed(whole.history), check_exact=True)


def test_a_partly_written_checkpoint_is_ignored(tmp_path):
    with pytest.raises(Interrupted):
        fragile(tmp_path / "run", 6)
    (done,) = (tmp_path / "run" / "pieces").iterdir()
    half = done.with_name(".step-000008.123")
    shutil.copytree(done, half)
    (half / "process-00000.safetensors").write_bytes(b"half")
    run = fragile(tmp_path / "run", 0)
    assert same(run.model, fragile(None, 0).model)


def test_a_damaged_checkpoint_is_named(tmp_path):
    with pytest.raises(Interrupted):
        fragile(tmp_path / "run", 6)
    (done,) = (tmp_path / "run" / "pieces").iterdir()
    (done / "process-00000.safetensors").write_bytes(b"half")
    with pytest.raises(ValueError) as error:
        fragile(tmp_path / "run", 0)
    one_line(error, done, "delete it")


def test_a_checkpoint_of_another_run_is_refused(tmp_path):
    other = config(**vars(SETTINGS) | {"learning_rate": 0.1})
    for folder, settings in (("run", SETTINGS), ("other", other)):
        with pytest.raises(Interrupted):
            fragile(tmp_path / folder, 6, settings=settings)
    (done,) = (tmp_path / "run" / "pieces").iterdir()
    shutil.rmtree(done)
    shutil.copytree(tmp_path / "other" / "pieces" / done.name, done)
    with pytest.raises(ValueError) as error:
        fragile(tmp_path / "run", 0)
    one_line(error, done, "models, facts or settings")


@pytest.mark.parametrize("suffix", [".safetensors", ".json"])
def test_a_checkpoint_with_a_changed_byte_is_refused(tmp_path, suffix):
    with pytest.raises(Interrupted):
        fragile(tmp_path / "run", 6)
    (done,) = (tmp_path / "run" / "pieces").iterdir()
    file = done / f"process-00000{suffix}"
    content = bytearray(file.read_bytes())
    content[-40] ^= 1
    file.write_bytes(content)
    with pytest.raises(ValueError) as error:
        fragile(tmp_path / "run", 0)
    one_line(error, done)


def test_checkpoints_contain_no_code(tmp_path):
    with pytest.raises(Interrupted):
        fragile(tmp_path / "run", 6, Drag())
    (done,) = (tmp_path / "run" / "pieces").iterdir()
    assert {path.suffix for path in done.iterdir()} == {".safetensors", ".json"}


def test_a_file_is_identified_by_its_contents(tmp_path):
    """Settings of a method may name a file, or a folder of tables."""
    scores = tmp_path / "scores"
    scores.mkdir()
    table = scores / "neurons.parquet"
    seen = []
    for content in ("first", "second", "first"):
        table.write_text(content)
        seen.append([described(SSIUUNeurons(scores=at)) for at in (table, scores)])
    first, second, again = seen
    assert first == again
    assert all(one["scores"] != other["scores"] for one, other in zip(first, second, strict=True))
    elsewhere = scores.rename(tmp_path / "elsewhere")
    assert described(SSIUUNeurons(scores=elsewhere)) == first[1]
    nowhere = described(SSIUUNeurons(scores=tmp_path / "nowhere"))
    assert nowhere["scores"] == str(tmp_path / "nowhere")


def test_a_run_with_different_settings_is_refused(tmp_path):
    out = tmp_path / "run"
    with pytest.raises(Interrupted):
        fragile(out, 6)
    other = model()
    with torch.no_grad():
        other.hf.get_output_embeddings().weight[0, 0] += 1
    fewer = FactSet(forget=FACTS.forget[:-1], retain=FACTS.retain)
    for changes, words in (
        (
            {"settings": config(**vars(SETTINGS) | {"learning_rate": 0.1})},
            "config.learning_rate was 0.001",
        ),
        ({"regularizer": Drag()}, "regularizer"),
        ({"given": other}, "model was"),
        ({"facts": fewer}, "facts"),
    ):
        with pytest.raises(ValueError) as error:
            fragile(out, 0, **changes)
        one_line(error, out, words)
    with pytest.raises(ValueError, match=r"objective\.name was 'Fragile'"):
        unlearn(model(), LOSS, FACTS, config=SETTINGS, out=out)
    with pytest.raises(ValueError, match="stop"):
        unlearn(model(), Fragile(), FACTS, None, UpdateNorm(norm=1.0), SETTINGS, out)
    # No number depends on the frequency of checkpoints and the path of the model.
    moved = dataclasses.replace(model(), source="elsewhere")
    fragile(out, 0, settings=config(**vars(SETTINGS) | {"checkpoint_steps": 5}), given=moved)


def test_files_of_a_finished_run(tmp_path):
    out = tmp_path / "a" / "run"
    stop = UpdateNorm(norm=1e-3)
    run = unlearn(model(), LOSS, FACTS, Drag(), stop, SETTINGS, out)
    assert {path.name for path in out.iterdir()} == {
        "history.parquet", "manifest.json", "model", "task.json"
    }  # fmt: skip
    plan = json.loads((out / "task.json").read_text())
    assert plan["objective"]["name"] == "GradientDifference"
    assert plan["objective"]["retain_weight"] == 1.0
    assert plan["regularizer"] == {"name": "Drag", "strength": 0.5, "relative": None, "noise": 0.0}
    assert plan["stop"]["norm"] == 1e-3 and plan["config"]["learning_rate"] == 1e-3
    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest["stopped"] == run.stopped and manifest["steps"] == 2
    assert manifest["fingerprint"] == run.model.fingerprint()
    assert {"torch", "neuronscope"} < set(manifest["versions"])
    loaded = load_model(out / "model", dtype="float64")
    assert same(loaded, run.model) and run.model.source == str(out / "model")
    with pytest.raises(FileExistsError) as error:
        unlearn(model(), LOSS, FACTS, Drag(), stop, SETTINGS, out)
    one_line(error, out, "finished")


def test_a_folder_with_unrelated_files_is_refused(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "thesis.tex").write_text("all of it")
    with pytest.raises(FileExistsError) as error:
        unlearn(model(), LOSS, FACTS, config=SETTINGS, out=tmp_path / "run")
    one_line(error, tmp_path)
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["thesis.tex"]


def test_a_full_disk_is_refused(tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)
    given = model()
    whole = sum(p.numel() * 8 for p in given.hf.parameters())
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=9 * whole - 1))
    with pytest.raises(OSError, match="GB free") as error:
        unlearn(given, LOSS, FACTS, config=SETTINGS, out=tmp_path / "run")
    one_line(error, tmp_path)
    # Adapters are small, and a run that is not saved needs no space.
    unlearn(given, LOSS, FACTS, config=config(steps=1, lora_rank=1), out=tmp_path / "small")
    unlearn(given, LOSS, FACTS, config=config(steps=1))
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=9 * whole))
    unlearn(given, LOSS, FACTS, config=SETTINGS, out=tmp_path / "run")
