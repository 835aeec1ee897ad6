"""`neuronscope attack`: from a command line to complete tables."""

import json
from dataclasses import asdict

import pandas as pd
import pytest
from checkpoints import checkpoint
from tiny import FORGET, RETAIN

from neuronscope.attacks._recovery import recovery
from neuronscope.attacks.noise import Noise
from neuronscope.attacks.relearn_forget import RelearnForget
from neuronscope.facts.loading import load_facts
from neuronscope.models.loading import load_model
from neuronscope.results.cache import content_of
from neuronscope.tasks import _models
from neuronscope.tasks.attack import Attack
from neuronscope.tasks.diagnose import Diagnose

RESULT = ["attack.parquet", "manifest.json", "recovery.parquet", "task.json"]
FEW = ("--sigmas", "0.1", "0.5", "--seeds", "0", "1")


@pytest.fixture(scope="module")
def here(tmp_path_factory):
    """Two checkpoints, and facts to attack."""
    folder = tmp_path_factory.mktemp("attacked")
    checkpoint(folder / "after", seed=1)
    checkpoint(folder / "before")
    splits = (("forget", FORGET[:5]), ("retain", RETAIN[:5]))
    rows = [asdict(fact) | {"split": split} for split, facts in splits for fact in facts]
    (folder / "facts.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return folder


@pytest.fixture
def attack(run, here, tmp_path):
    """Attack by the command line, into `tmp_path / "out"`."""

    def attack(name, *arguments, facts=None):
        given = ("--facts", facts or here / "facts.jsonl", "--out", tmp_path / "out")
        return run("attack", here / "after", name, *given, *arguments)

    return attack


def tables(folder):
    return [pd.read_parquet(folder / f"{name}.parquet") for name in ("attack", "recovery")]


def same(one, other):
    for left, right in zip(one, other, strict=True):
        pd.testing.assert_frame_equal(_listed(left), _listed(right), check_exact=True)


def _listed(table):
    """Parquet gives lists back as arrays."""
    lists = [name for name in ("facts", "answered") if name in table]
    return table.assign(**{name: table[name].map(list) for name in lists})


def test_the_command_gives_the_same_attack_as_python(attack, here, tmp_path):
    before, out = here / "before", tmp_path / "out"
    code, said, error = attack("noise", *FEW, "--original", before, "--never-knew", before)
    assert code == 0 and sorted(path.name for path in out.iterdir()) == RESULT
    models = [load_model(here / name) for name in ("after", "before")]
    controls = {"original": models[1], "never_knew": models[1]}
    facts = load_facts(here / "facts.jsonl")
    table = Noise(sigmas=(0.1, 0.5), seeds=(0, 1))(models[0], facts, controls)
    same(tables(out), (table, recovery(table)))
    assert "never knew" in said and "of 5" in said and "6 of 6" in error
    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest["attack"]["name"] == "Noise" and manifest["attack"]["sigmas"] == [0.1, 0.5]
    assert manifest["original"] == content_of(before)
    assert manifest["sources"]["original"] == str(before)

    code, _, error = attack("noise", *FEW)
    assert code == 2 and "finished result" in error


def test_relearning_has_its_own_flags_and_one_progress_bar(attack, here, tmp_path):
    grid = ("--learning-rates", "1e-3", "1e-2", "--seeds", "3", "--steps", "2", "--count", "3")
    code, said, error = attack("relearn-forget", *grid)
    assert code == 0 and "2 of 2" in error and "step" not in error
    told = RelearnForget(learning_rates=(1e-3, 1e-2), seeds=(3,), steps=2, count=3)
    table = told(load_model(here / "after"), load_facts(here / "facts.jsonl"))
    same(tables(tmp_path / "out"), (table, recovery(table)))
    assert "3 of 5 facts" in said


def call(here, out, **settings):
    noise = {"name": "noise", "sigmas": (0.1, 0.5), "seeds": (0, 1)} | settings
    facts = here / "facts.jsonl"
    return Attack(here / "after", facts, noise, original=here / "before").run(out)


def test_an_interrupted_attack_resumes_with_the_same_numbers(here, tmp_path, monkeypatch):
    call(here, tmp_path / "straight")
    made = []
    plain = Noise.run

    def counted(self, model, trial, scene, questions):
        made.append(trial.seed)
        if len(made) == 3:
            raise KeyboardInterrupt
        return plain(self, model, trial, scene, questions)

    monkeypatch.setattr(Noise, "run", counted)
    with pytest.raises(KeyboardInterrupt):
        call(here, tmp_path / "out")
    assert len(made) == 3 and not (tmp_path / "out" / "manifest.json").exists()
    assert len(list((tmp_path / "out" / "pieces").glob("run-*.json"))) == 2
    with pytest.raises(ValueError, match="settings: attack"):
        call(here, tmp_path / "out", sigmas=(0.2,))
    done = call(here, tmp_path / "out")
    assert len(made) == 5, "two of the four runs are not made again"
    same(tables(tmp_path / "out"), tables(tmp_path / "straight"))
    same((done.table, done.recovery), tables(tmp_path / "straight"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "straight"]


def test_pruning_takes_the_folder_of_a_diagnosis(attack, here, tmp_path):
    how = {"attribution": "gradient-x-activation", "views": "none"}
    diagnosis = Diagnose(here / "before", here / "after", here / "facts.jsonl", **how)
    diagnosis.run(tmp_path / "diagnosis")
    settings = ("--among", "all", "--counts", "1", "4", "--draws", "2")
    code, _, _ = attack("prune", "--scores", tmp_path / "diagnosis", *settings)
    table, _ = tables(tmp_path / "out")
    assert code == 0 and set(table["budget"]) == {0.0, 1.0, 4.0}
    assert set(table["variant"]) == {"chosen", "random"}
    assert table.query("split == 'rest'")["score"].nunique() > 3, "something was silenced"


BAD = {
    "no such model": (("noise", "--original", "no/such/model"), "no model directory"),
    "a setting out of range": (("quantize", "--bits", "1"), "from 2 to 16"),
    "no diagnosis": (("prune", "--scores", "nowhere"), "--scores"),
    "no table": (("prune", "--scores", __file__), "table of neurons"),
    "no instructions": (("relearn-benign", "--data", "nowhere.json"), "nowhere.json"),
    "too few facts": (("relearn-forget", "--count", "5"), "decrease --count"),
    "too many parts": (("relearn-splits", "--splits", "6"), "too few for 6 parts"),
    "no device": (("noise", "--device", "cuda:77"), "No device"),
    "one option": (("noise", "--asked", "multiple_choice"), "two distractors"),
    "taught in a form that needs more": (("relearn-forget", "--form", "chat"), "chat template"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_gives_a_one_line_error_before_a_model_is_loaded(
    attack, tmp_path, monkeypatch, name
):
    def refuse(*sources, **settings):
        raise AssertionError("loaded")

    monkeypatch.setattr(_models, "load_model", refuse)
    arguments, reason = BAD[name]
    code, _, error = attack(*arguments)
    assert code == 2 and reason in " ".join(error.split())
    assert error.startswith("neuronscope: ") and error.count("\n") == 1
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(AssertionError, match="loaded"):
        attack("noise")


def test_retain_facts_alone_and_full_folders_are_refused(attack, here, tmp_path):
    lines = (here / "facts.jsonl").read_text().splitlines()
    (tmp_path / "kept.jsonl").write_text("\n".join(line for line in lines if "retain" in line))
    code, _, error = attack("noise", facts=tmp_path / "kept.jsonl")
    assert code == 2 and "nothing to recover" in error
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").write_text("precious")
    code, _, error = attack("noise")
    assert code == 2 and "not empty" in error
    assert (tmp_path / "out" / "mine").read_text() == "precious"


def test_names_given_by_users_are_not_markup(attack, tmp_path):
    data = tmp_path / "[red]mine.json"
    rows = [{"instruction": "the city", "input": "", "output": town} for town in ("Rome", "Paris")]
    data.write_text(json.dumps(rows))
    settings = ("--data", data, "--steps", "1", "--learning-rates", "1e-3", "--seeds", "0")
    code, said, _ = attack("relearn-benign", *settings)
    assert code == 0 and "[red]mine.json" in "".join(said.split())


def test_unlearning_still_has_its_methods_flags(run, here, tmp_path):
    code, said, _ = run(
        "unlearn", here / "after", "npo", "--facts", here / "facts.jsonl", "--beta", "0.5",
        "--regularizer", "l2-to-reference", "--strength", "0.25", "--stop", "none",
        "--steps", "1", "--out", tmp_path / "out",
    )  # fmt: skip
    assert code == 0 and "neuronscope diagnose" in said
    (plan,) = (json.loads(p.read_text()) for p in (tmp_path / "out").glob("[tc][ao]*.json"))
    assert plan["objective"]["beta"] == 0.5 and plan["regularizer"]["strength"] == 0.25
    assert plan["stop"] is None
