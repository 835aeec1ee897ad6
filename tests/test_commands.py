"""How the tasks that record models use their settings."""

import json
import shutil
from dataclasses import asdict, replace
from importlib.metadata import version

import numpy as np
import pandas as pd
import pytest
import torch
from checkpoints import checkpoint
from demo_pair import AFTER, BEFORE, write_facts
from tiny import FORGET, RETAIN, batch_of

from neuronscope.attribution.conductance import Conductance
from neuronscope.cli import studying
from neuronscope.facts.fact import Fact, FactSet
from neuronscope.models import neutral_facts
from neuronscope.models.loading import load_model
from neuronscope.models.passes import answer_logits
from neuronscope.models.sites import PAPER_SITES
from neuronscope.models.targets import Answers
from neuronscope.tasks import diagnose as tasks_diagnose
from neuronscope.tasks._facts import NULL_FACTS, choose_facts
from neuronscope.tasks._measuring import Measuring
from neuronscope.tasks._recording import attribution_of, target_of
from neuronscope.tasks.diagnose import Diagnose
from neuronscope.tasks.record import RECORDING, Record

MANY = tuple(Fact(f"many {number}", f"prompt {number}", "word") for number in range(40))
FAST = "gradient-x-activation"


def diagnose(before, after, facts, out, attribution=FAST, **settings):
    task = Diagnose(before, after, facts, attribution, "none", **settings)
    return task.run(out), out / tasks_diagnose.REPORT


@pytest.fixture(scope="module")
def tiny_facts(tmp_path_factory):
    file = tmp_path_factory.mktemp("facts") / "facts.jsonl"
    splits = (("forget", FORGET[:5]), ("retain", RETAIN[:5]))
    rows = [asdict(fact) | {"split": split} for split, facts in splits for fact in facts]
    file.write_text("\n".join(map(json.dumps, rows)))
    return file


def test_the_diagnosed_split_is_complete_and_called_forget():
    facts = FactSet(forget=MANY[:3], retain=MANY[3:20], test=MANY[20:30])
    assert choose_facts(facts, "forget", None, 0).forget == MANY[:3]
    chosen = choose_facts(facts, "test", None, 0)
    assert chosen.forget == MANY[20:30] and len(chosen.retain) == NULL_FACTS and not chosen.test


def test_the_number_of_controls_is_that_of_the_diagnosed_facts_up_to_a_limit():
    facts = FactSet(forget=MANY[:3], retain=MANY[3:])
    assert len(choose_facts(facts, "forget", None, 0).retain) == 3
    assert len(choose_facts(facts, "forget", 20, 0).retain) == 20
    assert len(choose_facts(facts, "forget", 1000, 0).retain) == 37
    assert choose_facts(facts, "forget", 0, 0) == FactSet(forget=MANY[:3])


def test_the_sample_depends_only_on_the_seed():
    facts = FactSet(forget=MANY[:6], retain=MANY[6:])
    draws = [choose_facts(facts, "forget", None, seed).retain for seed in (0, 0, 1)]
    assert draws[0] == draws[1] != draws[2]
    assert set(draws[0]) < set(MANY[6:])


def test_controls_are_retained_facts_if_there_are_any():
    facts = FactSet(forget=MANY[:2], retain=MANY[2:4], test=MANY[4:6], utility=MANY[6:8])
    assert {split for split, _ in choose_facts(facts, "forget", None, 0)} == {"forget", "retain"}
    facts = FactSet(forget=MANY[:2], test=MANY[4:6], utility=MANY[6:8])
    assert {split for split, _ in choose_facts(facts, "forget", None, 0)} == {"forget", "test"}


def test_controls_of_the_same_relation_come_first_as_many_as_there_are_diagnosed_facts():
    towns, jobs = (
        tuple(replace(fact, relation=name) for fact in facts)
        for name, facts in (("town", MANY[:20]), ("job", MANY[20:40]))
    )
    facts = FactSet(forget=towns[:10], retain=jobs + towns[10:14], test=towns[14:])
    chosen = choose_facts(facts, "forget", None, 0)
    assert set(chosen.test) == set(towns[14:])
    assert set(towns[10:14]) < set(chosen.retain)
    # Others show whether the model is damaged in general.
    assert len(set(chosen.retain) & set(jobs)) == NULL_FACTS
    few = choose_facts(facts, "forget", 3, 0)
    assert set(few.retain) < set(towns[10:14]) and len(few.retain) == 3 and not few.test
    alone = FactSet(forget=towns[:15], retain=jobs, test=towns[15:17])
    chosen = choose_facts(alone, "forget", None, 0)
    assert chosen.test and set(chosen.test) == set(towns[15:17])
    assert len(chosen.retain) == NULL_FACTS


def test_given_settings_are_used_and_others_have_the_methods_defaults():
    assert attribution_of({"name": "conductance", "steps": 5}, 3) == Conductance(steps=5)
    told = {"name": "integrated-gradients", "max_steps": 77, "path": "joint", "tolerance": 0.5}
    made = attribution_of(told, None)
    assert (made.max_steps, made.path, made.positions, made.tolerance) == (77, "joint", "all", 0.5)
    assert attribution_of({"name": "ablation", "sample": 3}, 4).seed == 4
    assert attribution_of({"name": "ablation", "seed": 2}, 4).seed == 2
    target = target_of(Measuring(target="log-prob", reduction="sum"))
    assert (target.name, target.reduction) == ("log_prob", "sum")
    assert Measuring(sites=("paper",)).chosen_sites == PAPER_SITES


def test_a_task_takes_models_facts_and_methods_in_memory(tiny_facts, tmp_path):
    place = checkpoint(tmp_path / "model")
    model, facts = load_model(place), FactSet(forget=FORGET[:3])
    ready = Record(model, facts, attribution_of(FAST, None)).run()
    (tmp_path / "facts.jsonl").write_text(
        "\n".join(json.dumps(asdict(fact) | {"split": "forget"}) for fact in FORGET[:3])
    )
    named = Record(place, tmp_path / "facts.jsonl", FAST.replace("-", "_")).run()
    for name, array in vars(ready.sites["mlp.post"]).items():
        np.testing.assert_array_equal(array, vars(named.sites["mlp.post"])[name])


def test_a_task_is_identified_by_content_and_not_by_path(tiny_facts, tmp_path):
    one, other = checkpoint(tmp_path / "one"), checkpoint(tmp_path / "other")
    decides = Record(one, tiny_facts, FAST).decides()
    copied = shutil.copy(tiny_facts, tmp_path / "copied.jsonl")
    assert Record(other, copied, FAST).decides() == decides
    changed = checkpoint(tmp_path / "changed", seed=1)
    for task in (
        Record(changed, tiny_facts, FAST),
        Record(one, tiny_facts, FAST, "forget"),
        Record(one, tiny_facts, {"name": "conductance"}),
        Record(one, tiny_facts, FAST, target="prob"),
    ):
        assert task.decides() != decides


def answered_by(model, facts):
    """The facts, with the first token that the model would write as their answers."""
    batch = batch_of(facts)
    with torch.no_grad():
        answers = Answers.of(batch)
        logits = answer_logits(model, batch.tokens[:, :-1], answers)
    first = [logits.argmax(-1)[answers.row == row][0] for row in range(len(facts))]
    words = map(model.tokenizer.decode, first)
    return tuple(replace(fact, answer=word) for fact, word in zip(facts, words, strict=True))


def test_recordings_of_forget_facts_share_the_neutral_facts_of_the_original(tmp_path, monkeypatch):
    before = load_model(checkpoint(tmp_path / "before"))
    after = load_model(checkpoint(tmp_path / "after", seed=1))
    neutral = answered_by(before, RETAIN[:3])
    monkeypatch.setattr(neutral_facts, "_shipped", lambda: neutral)
    known = tuple(neutral_facts.neutral_facts(before))
    facts = FactSet(forget=FORGET[:3])
    assert known
    for name, model in (("before", before), ("after", after)):
        task = Record(model, facts, FAST, original=before)
        recording = task.run(tmp_path / f"{name}-recorded")
        assert recording.splits == ("forget",) * 3 + ("utility",) * len(known)
    places = {f"{n}_recording": tmp_path / f"{n}-recorded" / RECORDING for n in ("before", "after")}
    alone = Diagnose(before, after, facts, FAST, "none").run()
    given = Diagnose(before, after, facts, FAST, "none", **places).run()
    assert given.n_null == len(known)
    pd.testing.assert_frame_equal(given.neurons, alone.neurons)


@pytest.mark.parametrize(
    ("architecture", "attribution"), [("gpt2", "integrated-gradients"), ("mixtral", FAST)]
)
def test_a_plain_pair_and_a_mixture_of_experts_can_be_diagnosed(
    architecture, attribution, tiny_facts, tmp_path
):
    before = checkpoint(tmp_path / "before", architecture)
    after = checkpoint(tmp_path / "after", architecture, seed=1)
    diagnosis, report = diagnose(before, after, tiny_facts, tmp_path / "out", attribution)
    assert report.is_file() and diagnosis.n_facts == diagnosis.n_null == 5
    neurons = pd.read_parquet(tmp_path / "out" / "neurons.parquet")
    assert neurons["d_minus"].max() > 1e-3
    page = report.read_text(encoding="utf-8")
    assert (
        f"{len(neurons)} of {len(neurons)} neurons are listed" in page and '"promotes":[["' in page
    )
    if architecture == "mixtral":
        assert set(neurons["expert"]) == {0, 1, 2, 3} and len(neurons) == 2 * 4 * 12
    else:
        assert "expert" not in neurons and len(neurons) == 2 * 12
        assert diagnosis.unconverged == 0 and diagnosis.completeness_error < 2e-3


def test_an_unchanged_model_has_forgotten_nothing(tiny_facts, tmp_path):
    model = checkpoint(tmp_path / "model")
    diagnosis, _ = diagnose(model, model, tiny_facts, tmp_path / "out")
    written = json.loads((tmp_path / "out" / "diagnosis.json").read_text())
    assert written["drop"] == 0 and written["reading"] == "not forgotten"
    assert written["d_plus_sum"] == written["d_minus_sum"] == 0
    assert (diagnosis.neurons[["d_plus", "d_minus"]] == 0).all(axis=None)


def test_a_swapped_pair_has_forgotten_nothing(tmp_path):
    facts = write_facts(tmp_path / "facts.jsonl")
    wrong, _ = diagnose(AFTER, BEFORE, facts, tmp_path / "wrong")
    assert wrong.answered_before == 0 and wrong.answered_after == 4
    assert wrong.drop < -1 and wrong.reading == "not forgotten"


def test_models_of_different_shapes_are_refused(tiny_facts, tmp_path):
    before = checkpoint(tmp_path / "before")
    after = checkpoint(tmp_path / "after", intermediate_size=20)
    with pytest.raises(ValueError, match="same architecture"):
        diagnose(before, after, tiny_facts, tmp_path / "out")
    assert not (tmp_path / "out" / "manifest.json").exists()


def test_the_manifest_says_how_to_reproduce_the_result(tiny_facts, tmp_path):
    model = checkpoint(tmp_path / "model")
    diagnose(model, model, tiny_facts, tmp_path / "out", target="prob")
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert manifest["attribution"]["name"] == "GradientXActivation"
    assert manifest["target"] == "prob" and manifest["loading"]["dtype"] == "float32"
    assert manifest["sources"]["facts"] == str(tiny_facts)
    assert manifest["versions"]["torch"] == version("torch")
    assert {"neuronscope", "transformers", "transformer-lens", "python"} <= set(
        manifest["versions"]
    )


def test_the_demo_goes_to_a_folder_that_does_not_exist_yet(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("neuronscope-demo", "neuronscope-demo-2", "neuronscope-demo-3"):
        assert studying.new_folder().name == name
        (tmp_path / name).mkdir()
