import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from tiny import StayDouble
from training_example import RUNS, model, same, untimed, weights

from neuronscope.models.loading import load_model
from neuronscope.training import unlearn

pytestmark = pytest.mark.slow

SHARED = ("ssiuu", "npo", "rmu", "fragile", "stopped", "adapters")
SHARDED = SHARED[:-1]


@pytest.fixture(scope="module")
def alone():
    """Every run, in one process."""
    with StayDouble():
        return {name: unlearn(model(), **RUNS[name]()) for name in SHARED}


@pytest.fixture(scope="module")
def launched(tmp_path_factory):
    """The folder with the results of two processes."""
    out = tmp_path_factory.mktemp("two_processes")
    script = Path(__file__).with_name("two_processes.py")
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    done = subprocess.run(
        [*launch, str(script), str(out), *SHARED],
        env=os.environ | {"ACCELERATE_USE_CPU": "true"},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return out


@pytest.fixture(params=["shared", "sharded"])
def together(request, launched):
    return launched / request.param


def test_two_processes_give_the_numbers_of_one(alone, together):
    for name in SHARED if "shared" in together.name else SHARDED:
        ours, before = weights(alone[name].model), weights(model())
        assert max(float((p - before[n]).abs().max()) for n, p in ours.items()) > 1e-3
        for rank in (0, 1):
            history = pd.read_parquet(together / f"{name}-{rank}.parquet")
            pd.testing.assert_frame_equal(
                untimed(history), untimed(alone[name].history), rtol=1e-6, atol=1e-9, obj=name
            )
            theirs = load_file(together / f"{name}-{rank}.safetensors")
            assert max(float((p - theirs[n]).abs().max()) for n, p in ours.items()) < 1e-9, name
            with safe_open(together / f"{name}-{rank}.safetensors", "pt") as file:
                assert file.metadata()["stopped"] == alone[name].stopped


def test_every_process_computes_its_share(alone, together):
    # The five facts of a step were counted in both processes together.
    history = pd.read_parquet(together / "fragile-1.parquet")
    np.testing.assert_array_equal(history["facts"][1:], 5.0)
    assert (history["facts"][1:] == alone["fragile"].history["facts"][1:]).all()


def test_resumed_processes_give_the_same_numbers(together):
    for rank in (0, 1):
        whole, again = (
            pd.read_parquet(together / f"{n}-{rank}.parquet") for n in ("fragile", "again")
        )
        pd.testing.assert_frame_equal(untimed(whole), untimed(again), check_exact=True)
        one, other = (load_file(together / f"{n}-{rank}.safetensors") for n in ("fragile", "again"))
        assert all(torch.equal(p, other[name]) for name, p in one.items())
    parts = 2 if "sharded" in together.name else 1
    files = (together / "files").read_text().split()
    assert len(files) == 2 * parts and f"process-0000{parts - 1}.safetensors" in files


def test_processes_save_one_model(alone, together):
    loaded = load_model(together / "npo" / "model", dtype="float64")
    theirs = load_file(together / "npo-1.safetensors")
    assert all(torch.equal(p, theirs[name]) for name, p in weights(loaded).items())
    assert not same(loaded, model())


def test_fewer_facts_than_processes_are_refused(together):
    for rank in (0, 1):
        assert (
            "1 facts of split 'retain' for 2 processes"
            in (together / f"refused-{rank}").read_text()
        )
