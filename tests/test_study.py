"""The steps of a study: computed once, reused, and the same with every engine."""

import importlib.util
import json
import random
import re
import shlex
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
import pytest
from demo_pair import AFTER, BEFORE, write_facts

from neuronscope.analysis.influence_variation import influence_variation, sum_of_largest
from neuronscope.analysis.retention import counted
from neuronscope.analysis.stability import stability
from neuronscope.attacks.relearn_forget import RelearnForget
from neuronscope.attribution._record import record
from neuronscope.attribution.gradient_x_activation import GradientXActivation
from neuronscope.facts.fact import Fact, FactSet
from neuronscope.facts.loading import load_facts
from neuronscope.metrics._retention import answers
from neuronscope.metrics.exact_memorization import ExactMemorization
from neuronscope.metrics.forget_quality import ForgetQuality
from neuronscope.metrics.truth_ratio import TruthRatio
from neuronscope.models.loading import load_model
from neuronscope.results.attack_table import ATTACKED_CHECKPOINT, REST
from neuronscope.results.cache import MANIFEST
from neuronscope.results.comparison import Comparison
from neuronscope.study import running
from neuronscope.study.estimating import Pace, estimate_study, estimates
from neuronscope.study.loading import plain_study, read_study, study_of
from neuronscope.study.plan import checked_plan, plan_of
from neuronscope.study.presets import PRESETS, chosen_study
from neuronscope.study.running import run_study
from neuronscope.study.tables import pairs_of
from neuronscope.tasks.attack import TABLE
from neuronscope.tasks.score import Score
from neuronscope.training import TrainingConfig, finetune

ATTACK = {"name": "relearn-forget", "learning_rates": [1e-3], "seeds": [0], "steps": 2, "batch": 2}
KINDS = {"unlearn", "score", "attack", "record", "diagnose", "stability"}
NESTED = ("training", "diagnosing")
CHEAP = {"attribution": "gradient-x-activation", "views": []}
DAMPED = {"name": "damping", "relative": 0.5}
LATE = {"name": "late", "objective": "gradient-difference"}


@pytest.fixture(scope="module")
def facts(tmp_path_factory):
    return write_facts(tmp_path_factory.mktemp("study") / "facts.jsonl")


def told(facts, **changes):
    plain = {
        "model": str(BEFORE),
        "facts": str(facts),
        "training": {"steps": 2, "learning_rate": 1e-3, "evaluate_every": 1},
        "methods": [
            {"name": "GD <b>", "objective": "gradient-difference", "stop": None},
            {
                "name": "as far",
                "objective": "gradient-difference",
                "regularizer": DAMPED,
                "stop": {"name": "update-norm", "match": "GD <b>"},
                "training": {"steps": 20},
                "control": True,
            },
        ],
        "attacks": [ATTACK],
        "metrics": ["exact-memorization"],
        "diagnosing": CHEAP,
    }
    return plain | changes


@pytest.fixture(scope="module")
def finished(facts, tmp_path_factory):
    """A finished study: its plan, its folder, and the steps that ran."""
    diagnosing = CHEAP | {"after_attack": "relearn-forget"}
    plan = checked_plan(study_of(told(facts, diagnosing=diagnosing)))
    out = tmp_path_factory.mktemp("out") / "study"
    ran = []
    report = run_study(plan, out, "sequential", 1, lambda step, *_: ran.append(step))
    return plan, out, ran, report


def matching(name, other):
    """A method that matches the update norm of another."""
    stop = {"name": "update-norm", "match": other}
    return {"name": name, "objective": "npo", "stop": stop}


def same(one, other):
    for name in ("runs", "recovery", "curves", "strata", "scores", "stability"):
        left, right = (pd.read_parquet(folder / f"{name}.parquet") for folder in (one, other))
        drop = [column for column in ("seconds",) if column in left]
        pd.testing.assert_frame_equal(left.drop(columns=drop), right.drop(columns=drop))
        assert len(left) > 0


def test_every_step_gives_the_same_result_as_its_parts(finished, facts):
    plan, out, ran, report = finished
    assert [step.key for step in ran] == [step.key for step in plan.steps]
    assert all(step.done(out) for step in plan.steps)
    (unlearned,) = plan.of("unlearn", "GD <b>", 0)
    model = load_model(unlearned.folder(out) / "model")
    given = plan.study
    (attacked,) = plan.of("attack", "GD <b>", 0)
    alone = RelearnForget(learning_rates=(1e-3,), seeds=(0,), steps=2, batch=2)
    everything = load_facts(facts)
    expected = alone(model, everything)
    found = pd.read_parquet(attacked.folder(out) / TABLE)
    assert found["correct"].tolist() == expected["correct"].tolist()
    assert [list(one) for one in found["answered"]] == expected["answered"].tolist()
    strata = pd.read_parquet(out / "strata.parquet")
    here = strata.loc[strata["method"] == "GD <b>"].drop(columns=["method", "seed"])
    pd.testing.assert_frame_equal(
        here.reset_index(drop=True), counted(answers(model, everything, given.form))
    )
    assert "GD <b>" not in report.read_text() and "GD &lt;b&gt;" in report.read_text()


def test_a_method_that_matches_another_ends_at_its_update_norm(finished):
    _, out, _, _ = finished
    runs = pd.read_parquet(out / "runs.parquet").set_index("method")
    assert runs.loc["as far", "update_norm"] >= runs.loc["GD <b>", "update_norm"] > 0
    assert "2" not in runs.loc["GD <b>", "stop"] and "match=GD <b>" in runs.loc["as far", "stop"]


def test_bounds_are_the_original_under_the_same_attack(finished):
    plan, out, _, _ = finished
    (step,) = plan.of("attack", "original", None)
    own = pd.read_parquet(step.folder(out) / TABLE)
    assert set(own["model"]) == {ATTACKED_CHECKPOINT}
    recovery = pd.read_parquet(out / "recovery.parquet")
    assert set(recovery["model"]) == {ATTACKED_CHECKPOINT, "original"}
    most = own.loc[own["split"] == REST, "correct"].max()
    bound = recovery.loc[(recovery["model"] == "original") & (recovery["split"] == REST)]
    assert (bound["maximum_correct"] == most).all() and len(bound) == 2
    assert most > 0


def test_stability_is_that_of_the_same_fine_tuning(finished, facts):
    plan, out, _, report = finished
    (run,) = plan.of("unlearn", "GD <b>", 0)
    unlearnt, everything = load_model(run.folder(out) / "model"), load_facts(facts)
    taught = random.Random(0).sample(everything.forget, 2)
    sites = ("mlp.post",)
    config = TrainingConfig(steps=6, retain_batch=2, micro_batch=2, learning_rate=1e-3)
    before, after, attacked = (
        record(model, everything, GradientXActivation(), sites, progress=False)
        for model in (load_model(BEFORE), unlearnt, finetune(unlearnt, taught, config).model)
    )
    (found,) = (
        pd.read_parquet(out / "stability.parquet").query("method == 'GD <b>'").to_dict("records")
    )
    named = found["attack"], found["seed"], found["unit"]
    assert named == ("relearn-forget", 0, before.provenance.unit)
    expected = stability(after, attacked)
    assert 0 < expected.pearson < 1
    assert found["pearson"] == pytest.approx(expected.pearson, abs=1e-6)
    assert found["spearman"] == pytest.approx(expected.spearman, abs=1e-4)
    variation = influence_variation(Comparison(before, attacked))
    for sign in ("d_plus", "d_minus"):
        assert found[sign] == pytest.approx(sum_of_largest(variation[sign].to_numpy()), rel=1e-3)
    assert "Neurons changed by an attack" in report.read_text()


def test_finished_steps_are_not_repeated_and_lost_steps_are_reproduced(finished, tmp_path, facts):
    plan, out, _, _ = finished
    copy = tmp_path / "copy"
    shutil.copytree(out, copy)
    ran = []
    run_study(plan, copy, "sequential", 1, lambda step, *_: ran.append(step.kind))
    assert ran == []
    (lost,) = plan.of("attack", "as far", 0)
    shutil.rmtree(lost.folder(copy))
    run_study(plan, copy, "sequential", 1, lambda step, *_: ran.append(step.kind))
    assert ran == ["attack"]
    same(out, copy)
    # The file that the study wrote gives the same plan.
    again = plan_of(read_study(copy / "study.json"), load_facts(facts))
    assert [step.key for step in again.steps] == [step.key for step in plan.steps]


def test_a_step_of_any_kind_that_was_killed_at_its_end_is_done_again(finished, tmp_path):
    plan, out, _, _ = finished
    there = tmp_path / "killed"
    shutil.copytree(out, there)
    last = {step.kind: step for step in plan.steps}
    assert set(last) == KINDS
    for step in last.values():
        (step.folder(there) / MANIFEST).unlink()
    ran = []
    run_study(plan, there, "sequential", 1, lambda step, *_: ran.append(step.kind))
    assert sorted(ran) == sorted(KINDS)
    same(out, there)


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["loky", "ray"])
def test_processes_give_the_same_numbers(finished, tmp_path, engine):
    plan, out, _, _ = finished
    run_study(plan, tmp_path / "spread", engine, 2, lambda *_: None)
    same(out, tmp_path / "spread")


@pytest.mark.slow
def test_a_killed_study_leaves_no_worker_and_resumes(finished, tmp_path):
    plan, out, _, _ = finished
    study = tmp_path / "study.json"
    study.write_text((out / "study.json").read_text())
    there = tmp_path / "killed"
    command = [sys.executable, "-m", "neuronscope", "study", study, "--out", there]
    started = subprocess.Popen(
        [*command, "--engine", "loky", "--workers", "2"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    while not any(step.folder(there).is_dir() for step in plan.steps):
        assert started.poll() is None
        time.sleep(0.05)
    workers = psutil.Process(started.pid).children(recursive=True)
    with pytest.raises(ValueError, match="A study is running in"):
        run_study(plan, there, "sequential", 1, lambda *_: None)
    started.kill()
    started.wait()
    assert workers and not psutil.wait_procs(workers, timeout=30)[1]
    assert not all(step.done(there) for step in plan.steps)
    run_study(plan, there, "sequential", 1, lambda *_: None)
    same(out, there)


def naming_a_file(folder, facts):
    """Studies that name a file or its folder, and the step that depends on it."""
    file = folder / "history.parquet"
    attack = {"name": "relearn-benign", "data": str(file), "steps": 1}
    yield {"attacks": [attack]}, "attack original (relearn-benign)"
    method = {"name": "m", "objective": "gradient-difference"}
    scored = {"name": "ssiuu-neurons", "scores": str(file)}
    yield {"methods": [method | {"regularizer": scored}]}, "unlearn m, seed 0"
    stop = {"name": "update-norm", "match": str(folder)}
    yield {"methods": [method | {"stop": stop}]}, "unlearn m, seed 0"


def test_keys_depend_only_on_what_determines_the_result(facts, tmp_path):
    def keys(**changes):
        plan = plan_of(study_of(told(facts, **changes)), load_facts(facts))
        return {step.label: step.key for step in plan.steps}

    first = keys()
    renamed = told(facts)["methods"]
    renamed[0] = renamed[0] | {"name": "other"}
    renamed[1]["stop"] = renamed[1]["stop"] | {"match": "other"}
    assert sorted(keys(methods=renamed).values()) == sorted(first.values())
    slower = keys(training=told(facts)["training"] | {"learning_rate": 1e-4})
    assert slower["score original"] == first["score original"]
    assert slower["unlearn GD <b>, seed 0"] != first["unlearn GD <b>, seed 0"]
    assert slower["attack GD <b>, seed 0 (relearn-forget)"] not in first.values()
    longer = keys(attacks=[ATTACK | {"steps": 3}])
    assert longer["unlearn GD <b>, seed 0"] == first["unlearn GD <b>, seed 0"]
    assert longer["attack original (relearn-forget)"] not in first.values()
    for changes, step in naming_a_file(tmp_path, facts):
        known = []
        for text in ("one", "other"):
            (tmp_path / "history.parquet").write_text(text)
            known.append(keys(**changes)[step])
        assert known[0] != known[1], step
    seeds = keys(seeds=[0, 1])
    assert first.items() <= seeds.items() and len(seeds) > len(first)


def test_forget_facts_alone_are_recorded_with_neutral_facts_of_the_original(facts):
    methods = [{"name": "alone", "objective": "npo"}]
    study = study_of(told(facts, methods=methods))
    everything = load_facts(facts)
    for known, expected in ((FactSet(forget=everything.forget), study.model), (everything, None)):
        steps = [step for step in plan_of(study, known).steps if step.kind == "record"]
        assert len(steps) == 2 and {step.task.original for step in steps} == {expected}


def test_methods_that_differ_only_in_name_are_run_once(facts, tmp_path, monkeypatch):
    first, second = told(facts)["methods"]
    twins = told(facts, methods=[first, first | {"name": "the same"}, second])
    plan = checked_plan(study_of(twins))
    performed = []
    monkeypatch.setattr(running, "perform", lambda step, _: performed.append(step.key))
    running.run_plan(plan, tmp_path, "sequential", 1, lambda *_: None)
    assert len(performed) == len(set(performed)) < len(plan.steps)
    assert set(performed) == {step.key for step in plan.steps}


def test_a_metric_is_computed_on_the_splits_that_allow_it():
    bare = Fact("bare", "a prompt", "word")
    rich = replace(bare, id="rich", prompt="another", distractors=("other",))
    facts = FactSet(forget=(rich,), retain=(bare,), utility=(replace(rich, id="u", prompt="u"),))

    def splits(metric, facts=facts, reference=None):
        asked = Score(str(BEFORE), facts, (metric,), reference=reference).evaluations()
        return [one.split for one in asked.every], asked.left_out

    computed, (sentence,) = splits(TruthRatio())
    assert computed == ["forget", "utility"]
    assert sentence.startswith("retain, truth_ratio: needs distractors")
    assert splits(ExactMemorization()) == (["forget", "retain", "utility"], ())
    with pytest.raises(ValueError, match=r"any split\. retain, truth_ratio: needs distractors"):
        splits(TruthRatio(), replace(facts, forget=(), utility=()))
    assert splits(ForgetQuality(), reference="elsewhere")[0] == ["forget", "utility"]


def test_the_report_names_what_is_not_scored(facts, tmp_path):
    plain = told(facts, attacks=[], diagnosing=None, metrics=["multiple-choice-likelihood"])
    plain["methods"] = plain["methods"][:1]
    bare = tmp_path / "facts.jsonl"
    rows = [json.loads(line) for line in facts.read_text().splitlines()]
    rows = [row | ({"distractors": []} if row["split"] == "retain" else {}) for row in rows]
    bare.write_text("\n".join(map(json.dumps, rows)))
    plan = checked_plan(study_of(plain | {"facts": str(bare)}))
    report = run_study(plan, tmp_path / "out", "sequential", 1, lambda *_: None)
    (line,) = plan.left_out
    assert line.startswith("retain, multiple_choice_likelihood: needs distractors")
    assert "retain, multiple_choice_likelihood: needs distractors" in report.read_text()
    scores = pd.read_parquet(tmp_path / "out" / "scores.parquet")
    assert set(scores["split"]) == {"forget"}


def test_membership_inference_uses_the_holdout_split(facts, tmp_path):
    plain = told(facts, metrics=["membership-inference", "answer-probability"], attacks=[])
    with pytest.raises(ValueError, match="needs facts that the model never saw"):
        checked_plan(study_of(plain))
    rows = [json.loads(line) for line in facts.read_text().splitlines()]
    names = {row["id"] for row in rows if row["split"] == "retain"}
    rows += [
        row | {"id": f"{row['id']} {n}", "prompt": f"{n}: {row['prompt']}", "split": "test"}
        for n in range(2)
        for row in rows
        if row["id"] in names
    ]
    more = tmp_path / "facts.jsonl"
    more.write_text("\n".join(map(json.dumps, rows)))
    beside = plain | {"facts": str(more), "holdout_split": "test", "diagnosing": None}
    beside["methods"] = plain["methods"][:1]
    plan = checked_plan(study_of(beside))
    assert plan.left_out == ("test, membership_inference: this split is the holdout.",)
    run_study(plan, tmp_path / "out", "sequential", 1, lambda *_: None)
    scores = pd.read_parquet(tmp_path / "out" / "scores.parquet")
    splits = scores.groupby(scores["metric"].str.partition("_")[0])["split"].agg(set)
    assert splits["membership"] == {"forget", "retain"}
    assert splits["answer"] == {"forget", "retain", "test"}
    assert scores["value"].notna().all()


def test_every_step_is_estimated(facts, tmp_path):
    plan = checked_plan(study_of(told(facts)))
    found, pace = estimate_study(plan, tmp_path)
    assert [one.step for one in found] == list(plan.steps)
    assert min(one.seconds for one in found) > 0 and pace.memory > 0


def test_estimates_grow_with_the_work(facts):
    """With a fixed pace, so that the result does not depend on a clock."""
    pace = Pace(alone=0.01, each=0.005, loading=0.0, longest=12, memory=0)
    before = load_model(BEFORE)

    def seconds(kind, **changes):
        plan = checked_plan(study_of(told(facts, **changes)))
        asked = [step for step in plan.steps if step.kind == kind]
        return sum(one.seconds for one in estimates(asked, before, pace))

    assert seconds("record", diagnosing={"views": []}) > seconds("record")

    def diagnosed(*views):
        return seconds("diagnose", diagnosing={"views": views})

    assert (
        0
        == diagnosed("none")
        < diagnosed("relearning_probe")
        < diagnosed("relearning_probe", "logit_lens")
    )
    recorded = seconds("record")

    after = CHEAP | {"after_attack": "relearn-forget"}
    assert seconds("record", diagnosing=after) == recorded > 0
    # Two runs are attacked and recorded; the original is recorded as well.
    assert seconds("stability", diagnosing=after) > 2 / 3 * recorded

    def attacked(**changes):
        return seconds("attack", attacks=[ATTACK | {"steps": 200} | changes])

    assert attacked(learning_rates=[1e-4, 1e-3]) == pytest.approx(2 * attacked())
    # Each split is an attack: half of the facts are trained on, the others evaluated.
    halves = attacked(name="relearn-splits", splits=2)
    assert halves == pytest.approx(2 * attacked(share=0.5))

    def scored(*metrics):
        return seconds("score", metrics=metrics)

    written = [{"name": "rouge-l", "max_new_tokens": n} for n in (8, 64)]
    assert 0 < scored() < scored("answer-probability") < scored(written[0]) < scored(written[1])
    training = told(facts)["training"]
    longer = seconds("unlearn", training=training | {"steps": 200})
    assert longer > seconds("unlearn", training=training | {"steps": 100})


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"metrics": ["forget-quality"]}, "forget_quality: needs a model to compare with"),
        ({"attacks": [ATTACK | {"count": 400}]}, "trains on 400 facts"),
        (
            {"diagnosing": {"after_attack": "noise"}, "attacks": ["noise", ATTACK]},
            "after_attack is 'noise'.*: relearn-forget\\.",
        ),
        ({"attacks": ["relearn-splits"]}, "4 facts of split 'forget'"),
        ({"attacks": [{"name": "relearn-benign", "data": "gone.json"}]}, "gone.json"),
        ({"diagnosing": {"attribution": "ablation"}}, "A diagnosis needs every neuron"),
        ({"diagnosing": {"method": {"sites": ["nowhere"]}}}, "nowhere"),
        ({"diagnosing": {"method": {"memory": 0}}}, "memory"),
        ({"diagnosing": {"null_facts": -1}}, "-1"),
        ({"methods": [LATE | {"training": {"optimizer": "gone"}}]}, "gone"),
        ({"methods": [LATE | {"training": {"tracker": "gone"}}]}, "'gone'"),
        ({"methods": [LATE | {"training": {"tracker": "swanlab"}}]}, "'swanlab' is not installed"),
        ({"methods": [matching("a", "gone")]}, "neither a method of the study nor the folder of"),
        ({"methods": [matching("a", str(BEFORE))]}, "history.parquet"),
    ],
)
def test_impossible_studies_are_refused_before_anything_is_computed(facts, changes, said):
    with pytest.raises((ValueError, FileNotFoundError), match=said):
        checked_plan(study_of(told(facts, **changes)))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"methods": []}, "methods: expected one or more"),
        ({"modle": "x"}, "modle"),
        ({"methods": [{"name": "a", "objective": "gd"}]}, "No objectives called 'gd'"),
        (
            {"methods": [{"name": "a", "objective": {"name": "npo", "betta": 1}}]},
            "no setting 'betta'",
        ),
        ({"methods": [{"name": "a", "objective": "npo"}] * 2}, "'a' is used twice"),
        ({"methods": [{"name": "original", "objective": "npo"}]}, "cannot be called 'original'"),
        ({"training": {"steps": 0}}, "steps of 1 or more"),
        ({"training": {"steps": "many"}}, "steps"),
        ({"attacks": [ATTACK | {"pool": "wrong"}]}, "the pool 'wrong'"),
        ({"attacks": [{"count": 3}]}, "expected a table with a name"),
        ({"metrics": ["truth"]}, "No metrics called 'truth'"),
        ({"seeds": [1, 1]}, "without repeats"),
        ({"form": "poem"}, "form: Input should be 'completion'"),
        ({"diagnosing": {"views": ["tea leaves"]}}, "called 'tea leaves'"),
        ({"methods": [matching("a", "b"), matching("b", "a")]}, "matches a third run"),
        ({"attacks": ["prune"]}, "needs the diagnosis of one checkpoint"),
        ({"holdout_split": "retain"}, "holdout_split"),
        ({"diagnosing": {"method": {"prompt_form": "chat"}}}, "no setting 'prompt_form'"),
        ({"diagnosing": {"method": {"form": "chat"}}}, "no setting 'form'"),
        (
            {"diagnosing": {"attribution": "gradient-x-activation", "method": {"steps": 8}}},
            "no setting 'steps'",
        ),
        (
            {"diagnosing": {"after_attack": "relearn-forget"}}
            | {"attacks": [ATTACK | {"steps": 0, "epochs": 0}]},
            "'relearn-forget', which takes no steps",
        ),
    ],
)
def test_invalid_studies_are_refused_in_one_line(facts, changes, said, tmp_path):
    path = tmp_path / "study.json"
    path.write_text(json.dumps(told(facts, **changes)))
    with pytest.raises(ValueError, match=said) as raised:
        read_study(path)
    assert "\n" not in str(raised.value) and "study.json" in str(raised.value)


def test_toml_and_plain_values_are_the_same_study(tmp_path, facts):
    (tmp_path / "facts.jsonl").write_text(facts.read_text())
    (tmp_path / "study.toml").write_text(
        f'model = "{BEFORE}"\nfacts = "facts.jsonl"\nseeds = [3]\n'
        '[[methods]]\nname = "n"\nobjective = {name = "npo", beta = 0.2}\n'
    )
    study = read_study(tmp_path / "study.toml")
    assert study.facts == tmp_path / "facts.jsonl" and study.seeds == (3,)
    assert study.methods[0].made(3).objective.beta == 0.2
    assert study_of(plain_study(study)) == study
    (tmp_path / "study.toml").write_text("model = ")
    with pytest.raises(ValueError, match="cannot be read"):
        read_study(tmp_path / "study.toml")


def test_only_paths_in_a_file_are_relative_to_it(tmp_path, facts):
    folder = tmp_path / "there"
    (folder / "run").mkdir(parents=True)
    shutil.copytree(BEFORE, folder / "model")
    ssiuu = {"name": "ssiuu-neurons", "scores": "neurons.parquet"}
    methods = [
        matching("as far", "run"),
        matching("like it", "plain"),
        {"name": "plain", "objective": "npo", "regularizer": ssiuu, "stop": None},
    ]
    attacks = [{"name": "relearn-benign", "data": data} for data in ("own", "/other")]
    plain = told("facts.jsonl", model="model", never_knew="some/model", methods=methods)
    path = folder / "study.json"
    path.write_text(json.dumps(plain | {"attacks": attacks}))
    study = read_study(path)
    assert study.model == str(folder / "model") and study.never_knew == "some/model"
    assert study.facts == folder / "facts.jsonl"
    assert [one.matches for one in study.methods] == [str(folder / "run"), "plain", None]
    assert study.methods[2].made(0).regularizer.scores == folder / "neurons.parquet"
    own, other = map(study.attack, study.attacks)
    assert (str(own.data), str(other.data)) == (str(folder / "own"), "/other")
    assert study.metrics == ("exact-memorization",)


def test_the_command_in_the_report_reproduces_the_study_from_any_folder(
    facts, tmp_path, monkeypatch, run
):
    here = tmp_path / "here"
    shutil.copytree(BEFORE, here / "model")
    shutil.copy(facts, here / "facts.jsonl")
    taught = [
        {"instruction": fact.prompt, "input": "", "output": fact.answer}
        for fact in load_facts(facts).retain
    ]
    (here / "own.json").write_text(json.dumps(taught))
    benign = ATTACK | {"name": "relearn-benign", "data": "own.json", "learning_rates": [1e-4]}
    plain = told("facts.jsonl", model="model", never_knew="model", attacks=[benign])
    plain |= {"methods": plain["methods"][:1], "diagnosing": None}
    monkeypatch.chdir(here)
    plan = checked_plan(study_of(plain))
    report = run_study(plan, Path("out"), "sequential", 1, lambda *_: None).resolve()
    monkeypatch.chdir(report.parent)
    found = re.search(r"<code># in the folder of this report\n(.*)</code>", report.read_text())
    program, *arguments = shlex.split(found[1])
    assert program == "neuronscope" and arguments[-1] == "NEW"
    code, said, error = run(*arguments[:-1], report.parent, "--dry-run")
    assert code == 0, error
    assert f"{len(plan.steps)} steps, {len(plan.steps)} already done" in said
    again = checked_plan(read_study(Path("study.json")))
    assert [step.key for step in again.steps] == [step.key for step in plan.steps]


@pytest.mark.parametrize("preset", PRESETS)
def test_presets_can_be_planned(preset, facts):
    # Not checked: the vocabulary of the embedded model is too small for the `paper` preset.
    def planned(never_knew):
        return plan_of(chosen_study(None, preset, str(BEFORE), facts, never_knew), everything)

    everything = load_facts(facts)
    plan, never = planned(None), planned(str(AFTER))
    assert {step.kind for step in plan.steps} >= {"unlearn", "attack", "score"}
    assert len({step.key for step in plan.steps}) == len(plan.steps)
    more = {step.label for step in never.steps} - {step.label for step in plan.steps}
    attacks = {f"attack never_knew ({name})" for name in plan.study.attack_names}
    assert more == {"score never_knew", *attacks}
    # Only scores compare with it.
    again = {step.kind for step in never.steps if step.key not in {s.key for s in plan.steps}}
    assert again == {"score", "attack"}


@pytest.mark.parametrize(
    ("changes", "kinds"),
    [
        ({"training": {"checkpoint_minutes": 7.0, "checkpoint_steps": 3}}, set()),
        ({"diagnosing": {"attribution": "gradient_x_activation"}}, set()),
        ({"diagnosing": {"views": ["logit_lens"]}}, {"diagnose"}),
        ({"diagnosing": {"method": {"target": "prob"}}}, {"record", "diagnose", "stability"}),
        ({"attacks": [ATTACK | {"learning_rates": [1e-4, 1e-3], "seeds": [0, 1]}]}, {"attack"}),
        ({"attacks": [ATTACK | {"learning_rates": [1e-2]}]}, {"attack", "stability"}),
        ({"metrics": []}, {"score"}),
        ({"form": "question_answer"}, KINDS),
        ({"training": {"learning_rate": 1e-5}}, KINDS),
    ],
)
def test_a_step_is_repeated_if_what_determines_it_changed(facts, changes, kinds):
    def plan(**changes):
        diagnosing = {"attribution": "gradient-x-activation", "after_attack": "relearn-forget"}
        plain = told(facts, diagnosing=diagnosing)
        nested = {name: plain[name] | value for name, value in changes.items() if name in NESTED}
        return plan_of(study_of(plain | changes | nested), load_facts(facts))

    known = {step.key for step in plan().steps}
    changed = [step for step in plan(**changes).steps if step.key not in known]
    assert {step.kind for step in changed} == kinds
    # Steps on given models do not depend on the training.
    if "training" in changes:
        assert all(step.subject != "original" for step in changed)


def test_an_adapter_is_identified_with_its_base_model(facts, tmp_path):
    base, adapter = tmp_path / "base", tmp_path / "adapter"
    adapter.mkdir()
    base.mkdir()
    config = {"base_model_name_or_path": str(base)}
    (adapter / "adapter_config.json").write_text(json.dumps(config))
    study, everything = study_of(told(facts, model=str(adapter))), load_facts(facts)
    keys = []
    for content in ("one", "other", "one"):
        (base / "weights").write_text(content)
        keys.append(tuple(step.key for step in plan_of(study, everything).steps))
    assert keys[0] == keys[2] and not set(keys[0]) & set(keys[1])


def test_the_word_none_stands_for_null_in_files(facts, tmp_path):
    path = tmp_path / "study.toml"
    path.write_text(
        f"""
        model = "{BEFORE}"
        facts = "{facts}"
        diagnosing = "none"
        [[methods]]
        name = "GD"
        objective = "gradient-difference"
        regularizer = "none"
        stop = "none"
        """
    )
    study = read_study(path)
    (method,) = study.methods
    assert study.diagnosing is method.stop is method.regularizer is None
    assert read_study(path).methods == study_of(plain_study(study)).methods


def test_methods_with_equal_stop_rules_are_compared(facts):
    written = ["forget-accuracy", {"name": "forget-accuracy"}, "forget_accuracy"]
    other = {"name": "log-odds", "level": -2.0}
    methods = [LATE | {"name": str(n), "stop": rule} for n, rule in enumerate([*written, other])]
    pairs = {(p.method, p.other) for p in pairs_of(study_of(told(facts, methods=methods)))}
    assert pairs == {("0", "1"), ("0", "2"), ("1", "2")}


@pytest.mark.slow
def test_an_attack_on_neurons_without_influence_has_no_correlation(facts, tmp_path):
    """With probability 0, all influences on it are zero, also before the attack."""
    plain = told(facts, attacks=[ATTACK | {"learning_rates": [1e-9]}])
    plain["methods"] = [
        {"name": "GA", "objective": "gradient-ascent", "stop": "none"}
        | {"training": {"steps": 40, "learning_rate": 2e-2}}
    ]
    plain["diagnosing"] = {"after_attack": "relearn-forget", "method": {"target": "prob"}}
    plan = checked_plan(study_of(plain | {"diagnosing": plain["diagnosing"] | {"views": []}}))
    report = run_study(plan, tmp_path / "out", "sequential", 1, lambda *_: None)
    (found,) = pd.read_parquet(tmp_path / "out" / "stability.parquet").to_dict("records")
    assert np.isnan(found["pearson"]) and np.isnan(found["spearman"]) and found["d_plus"] > 0
    assert "Neurons changed by an attack" in report.read_text()


def test_a_file_and_preset_options_exclude_each_other(facts, tmp_path, run):
    (tmp_path / "study.json").write_text(json.dumps(told(facts)))
    code, _, error = run("study", tmp_path / "study.json", "--never-knew", AFTER, "--dry-run")
    assert code == 2 and "not both" in error


def test_missing_drawing_packages_are_reported_before_a_study_is_read(run, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    code, _, error = run("study", "nowhere.toml", "--figures", "pdf")
    assert code == 2 and "package kaleido" in error


@pytest.mark.browser
def test_every_figure_of_the_report_is_written_to_a_file(finished, tmp_path, run):
    _, out, _, report = finished
    shutil.copytree(out, tmp_path / "copy")
    code, said, error = run(
        "study", out / "study.json", "--out", tmp_path / "copy", "--figures", "svg"
    )
    assert code == 0 and "figures: " in said, error
    drawn = {path.stem for path in (tmp_path / "copy" / "figures").glob("*.svg")}
    assert drawn and drawn == set(re.findall(r'<figure[^>]* id="([^"]+)"', report.read_text()))


def test_controls_are_compared_with_ssiuu_under_equal_stop_rules(facts):
    study = PRESETS["controls"](str(BEFORE), facts)
    pairs = {(pair.method, pair.other) for pair in pairs_of(study)}
    assert ("SSIUU (paper), at no answer", "damping, at no answer") in pairs
    assert ("SSIUU (paper), at no answer", "damping, at log-odds -4") not in pairs
    held = "nothing added, as far as SSIUU (neurons)"
    assert ("SSIUU (neurons), at no answer", held) in pairs
    assert np.all([method.startswith("SSIUU") for method, _ in pairs])
