import json
import shutil
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from checkpoints import edit_json
from demo_pair import AFTER, BEFORE, FACTS, write_facts

from neuronscope import __version__
from neuronscope._discover import method_names
from neuronscope.analysis.decomposition import PARTS
from neuronscope.cli import listing
from neuronscope.models.sites import PAPER_SITES
from neuronscope.results.recording import Recording
from neuronscope.tasks import _models
from neuronscope.training import room

REPORTED = (
    "n_facts", "target", "attribution", "sites", "score_before", "score_after", "answered_before",
    "answered_after", "drop", "layers", "d_plus_sum", "d_minus_sum", "d_plus_at_100",
    "d_minus_at_100", "n_spurious", "completeness_error", "reading", "why",
)  # fmt: skip
METHOD = ("--attribution", "gradient-x-activation")
FAST = (*METHOD, "--views", "none")


CAUSAL = (
    "verdict",
    "why",
    "views",
    "weight_restoration",
    "minimal_set",
    "low_rank_restoration",
    "weight_path",
)


def diagnose(out, facts=FACTS, before=BEFORE, after=AFTER):
    return ("diagnose", "--before", before, "--after", after, "--facts", facts, "--out", out)


@pytest.fixture(scope="module")
def facts(tmp_path_factory):
    return write_facts(tmp_path_factory.mktemp("facts") / "facts.jsonl", 8, 8)


def test_a_diagnosis_writes_its_files_and_all_numbers(run, tmp_path, facts):
    out = tmp_path / "result"
    code, said, _ = run(*diagnose(out, facts), *FAST)
    assert (
        code == 0
        and "attributions suggest: " in said
        and "No verdict" in said
        and "report.html" in said
    )
    assert sorted(p.name for p in out.iterdir()) == [
        "after.safetensors", "before.safetensors", "diagnosis.json", "manifest.json",
        "neurons.parquet", "report.html", "task.json",
    ]  # fmt: skip
    diagnosis = json.loads((out / "diagnosis.json").read_text())
    assert set(REPORTED) <= set(diagnosis)
    assert diagnosis["answered_before"] == 8 and diagnosis["answered_after"] == 0
    for row in diagnosis["layers"]:
        parts = sum(row[name] for name in PARTS[1:])
        assert row["drop"] == pytest.approx(parts, abs=1e-9)
        assert row["drop"] == pytest.approx(
            diagnosis["score_before"] - diagnosis["score_after"], abs=1e-9
        )
    neurons = pd.read_parquet(out / "neurons.parquet")
    before = Recording.load(out / "before.safetensors")
    assert len(neurons) == before.sites["mlp.post"].total[0].size
    assert {"site", "layer", "neuron", "before", "after", "d_plus", "d_minus", "p", "q"} <= set(
        neurons.columns
    )
    assert str(tmp_path) not in (out / "report.html").read_text()[:2000]

    code, _, error = run(*diagnose(out, facts), *FAST)
    assert code == 2 and "finished result" in error


@pytest.mark.slow
def test_a_diagnosis_with_defaults_resumes(run, tmp_path, facts):
    out = tmp_path / "result"
    code, said, _ = run(*diagnose(out, facts))
    assert "verdict: hidden" in said and "no verdict" not in said
    assert code == 0
    first = (out / "before.safetensors").read_bytes(), (out / "diagnosis.json").read_text()
    diagnosis = json.loads(first[1])
    assert diagnosis["attribution"] == "integrated_gradients" and diagnosis["unconverged"] == 0
    assert 0 < diagnosis["completeness_error"] < 2e-3
    assert set(CAUSAL) <= set(diagnosis) and diagnosis["verdict"] == "hidden"
    assert diagnosis["why"].startswith("Hidden") and diagnosis["reading_why"] != diagnosis["why"]
    path = diagnosis["weight_path"]
    assert path["total"] == pytest.approx(diagnosis["drop"], rel=1e-3)
    assert sum(path["modules"].values()) == pytest.approx(path["total"], rel=1e-9)
    assert sum(path["layers"].values()) == pytest.approx(path["total"], rel=1e-9)
    for ranking in ("d_minus", "attribution_difference", "activation_change", "weight_path"):
        curve = diagnosis["weight_restoration"][ranking]
        assert len(curve["sizes"]) == len(curve["recovered_target"]) > 3
        assert curve["sizes"] == sorted(curve["sizes"]) and curve["random"]["sizes"]
    assert [row["rank"] for row in diagnosis["low_rank_restoration"]][:3] == [0, 1, 2]
    neurons = pd.read_parquet(out / "neurons.parquet")
    assert 0 < neurons["causal_share"].sum() < 1
    report = (out / "report.html").read_text()
    assert "Low-rank restoration" in report and "restored neurons" in report
    for name in ("manifest.json", "after.safetensors", "neurons.parquet", "report.html"):
        (out / name).unlink()
    code, _, _ = run(*diagnose(out, facts))
    assert code == 0
    assert (
        (out / "before.safetensors").read_bytes(),
        (out / "diagnosis.json").read_text(),
    ) == first


def test_one_view_is_enough_for_a_verdict(run, tmp_path, facts):
    out = tmp_path / "result"
    code, said, _ = run(*diagnose(out, facts), *METHOD, "--views", "relearning_probe")
    assert code == 0 and "verdict: hidden" in said
    diagnosis = json.loads((out / "diagnosis.json").read_text())
    assert [path.name for path in (out / "evidence").iterdir()] == ["relearning_probe"]
    assert diagnosis["verdict"] == "hidden" and "weight_path" not in diagnosis
    code, _, error = run(*diagnose(tmp_path / "other", facts), "--views", "tea")
    assert code == 2 and "No evidence called 'tea'" in error and not (tmp_path / "other").exists()


def test_a_folder_of_another_diagnosis_is_refused(run, tmp_path, facts):
    out = tmp_path / "result"
    run(*diagnose(out, facts), *FAST)
    (out / "manifest.json").unlink()
    kept = (out / "before.safetensors").read_bytes()
    code, _, error = run(*diagnose(out, facts), *FAST, "--target", "prob")
    assert code == 2 and "target was 'log-odds' and is now 'prob'" in " ".join(error.split())
    (out / "before.safetensors").write_bytes(kept[:-9])
    code, _, error = run(*diagnose(out, facts), *FAST)
    assert code == 2 and "before.safetensors" in error and "Traceback" not in error


def test_a_split_can_be_diagnosed_without_controls(run, tmp_path, facts):
    code, _, _ = run(
        *diagnose(tmp_path / "r", facts), *FAST, "--split", "retain", "--null-facts", "0"
    )
    diagnosis = json.loads((tmp_path / "r" / "diagnosis.json").read_text())
    assert code == 0 and diagnosis["n_null"] == 0 and diagnosis["n_spurious"] is None
    assert diagnosis["reading"] == "not forgotten"


def test_the_attributions_of_the_paper_can_be_recorded(run, tmp_path, facts):
    out = tmp_path / "paper"
    arguments = (*METHOD, "--target", "prob", "--sites", "paper")
    code, _, _ = run("record", BEFORE, "--facts", facts, "--out", out, *arguments)
    recording = Recording.load(out / "recording.safetensors")
    assert code == 0 and tuple(recording.sites) == PAPER_SITES
    assert recording.provenance.target == "prob"
    np.testing.assert_allclose(recording.score, recording.probability)


BAD = {
    "no such model": (("--before", "no/such/model"), "no model directory"),
    "no such facts": (("--facts", "nowhere.jsonl"), "No facts at"),
    "unknown site": (("--sites", "mlp.middle"), "Unknown site 'mlp.middle'"),
    "unknown split": (("--split", "forgotten"), "No split 'forgotten'"),
    "empty split": (("--split", "utility"), "no facts of split 'utility'"),
    "unknown attribution": (("--attribution", "guessing"), "No attribution called"),
    "fewer facts than none": (("--null-facts", "-1"), "--null-facts of 0 or more"),
    "no memory": (("--memory", "0"), "--memory of more than 0 GiB"),
    "no tolerance": (("--tolerance", "nan"), "positive --tolerance"),
    "no steps": (("--steps", "0"), "--steps of 1"),
    "ablation": (("--attribution", "ablation"), "needs every neuron"),
    "no reference": (("--baseline", "reference"), "reference prompt"),
    "no device": (("--device", "cuda:77"), "No device"),
    "two places": (("--device", "cpu", "--device-map", "auto"), "exclude each other"),
    "one option": (("--form", "multiple_choice"), "two distractors"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_gives_a_one_line_error_and_no_files(run, tmp_path, name):
    facts = write_facts(tmp_path / "facts.jsonl")
    if name == "one option":
        row = json.loads(facts.read_text().splitlines()[0])
        facts.write_text(json.dumps(row | {"distractors": []}))
    arguments, reason = BAD[name]
    code, _, error = run(*diagnose(tmp_path / "result", facts), *arguments)
    assert code == 2
    assert reason in error and error.startswith("neuronscope: ")
    assert error.count("\n") == 1 and "Traceback" not in error
    assert not (tmp_path / "result").exists()


@pytest.mark.parametrize(
    ("content", "place"),
    [
        (b'{"id": "a", "prompt": "p", "answer": "b"}\n{"id": "a"', "line 2"),
        (b'{"id": "a", "prompt": "p", "answer": ""}', "line 1"),
        (b'{"id": "a", "prompt": "p"}', "line 1"),
        (b"\xff\xfe\x00", "facts.jsonl"),
        (b"", "facts.jsonl"),
    ],
)
def test_malformed_facts_are_named_by_file_and_line(run, tmp_path, content, place):
    facts = tmp_path / "facts.jsonl"
    facts.write_bytes(content)
    code, _, error = run(*diagnose(tmp_path / "result", facts))
    assert code == 2 and place in error and error.count("\n") == 1
    assert not (tmp_path / "result").exists()


def test_the_margin_needs_distractors(run, tmp_path):
    facts = tmp_path / "facts.jsonl"
    facts.write_text(json.dumps({"id": "a", "prompt": "the town of", "answer": "Tarnwick"}))
    code, _, error = run(*diagnose(tmp_path / "result", facts), "--target", "margin")
    assert code == 2 and "needs distractors" in error and not (tmp_path / "result").exists()


def test_a_file_is_not_overwritten_by_a_result(run, tmp_path, facts):
    (tmp_path / "mine").write_text("precious")
    code, _, error = run(*diagnose(tmp_path / "mine", facts), *FAST)
    assert code == 2 and "choose another folder" in error and error.count("\n") == 1
    assert (tmp_path / "mine").read_text() == "precious"


def test_a_damaged_unlearned_model_is_found_before_anything_is_recorded(run, tmp_path, facts):
    after = shutil.copytree(AFTER, tmp_path / "after")
    weights = after / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    code, _, error = run(*diagnose(tmp_path / "result", facts, after=after), *FAST)
    assert code == 2 and "model.safetensors is damaged" in error and error.count("\n") == 1
    assert not (tmp_path / "result").exists()


def test_models_with_different_tokenizers_are_not_compared(run, tmp_path, facts):
    after = shutil.copytree(AFTER, tmp_path / "after")
    # No <bos> before the text.
    edit_json(after / "tokenizer.json", post_processor=None)
    code, _, error = run(*diagnose(tmp_path / "result", facts, after=after), *FAST)
    assert code == 2 and "different tokens" in error and error.count("\n") == 1
    assert not (tmp_path / "result").exists()


def test_a_setting_of_another_method_is_refused(run, tmp_path, facts):
    code, _, error = run(*diagnose(tmp_path / "result", facts), *FAST, "--steps", "8")
    assert code == 2 and "--steps" in error and not (tmp_path / "result").exists()


def test_flags_of_views_start_with_the_name_of_the_view(run, tmp_path, facts):
    out = tmp_path / "result"
    told = ("--views", "relearning-probe", "--relearning-probe.most-facts", "12")
    code, _, _ = run(*diagnose(out, facts), *METHOD, *told)
    (view,) = json.loads((out / "manifest.json").read_text())["views"]
    assert code == 0 and view["name"] == "RelearningProbe" and view["most_facts"] == 12


def test_an_empty_split_is_not_recorded(run, tmp_path, facts):
    out = tmp_path / "out"
    code, _, error = run(
        "record", BEFORE, "--facts", facts, "--out", out, *METHOD, "--split", "utility"
    )
    assert code == 2 and "no facts of split 'utility'" in error and error.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_record_writes_a_recording_and_prints_a_summary(run, tmp_path, facts):
    out = tmp_path / "after"
    forget = ("--split", "forget")
    code, said, _ = run("record", AFTER, "--facts", facts, "--out", out, *METHOD, *forget)
    assert code == 0 and "8 facts, 0 answered" in said
    assert sorted(path.name for path in out.iterdir()) == [
        "manifest.json", "recording.safetensors", "task.json",
    ]  # fmt: skip
    assert not Recording.load(out / "recording.safetensors").answered.any()
    code, _, error = run("record", AFTER, "--facts", facts, "--out", out, *METHOD, *forget)
    assert code == 2 and "finished result" in error


def test_an_ablation_can_be_recorded(run, tmp_path, facts):
    out = tmp_path / "ablation"
    told = ("--attribution", "ablation", "--sample", 12)
    code, _, _ = run("record", BEFORE, "--facts", facts, "--out", out, *told)
    assert code == 0
    total = Recording.load(out / "recording.safetensors").sites["mlp.post"].total
    assert (np.isfinite(total).sum(axis=(1, 2)) == 12).all()


def test_convert_writes_a_model_and_does_not_overwrite_it(run, tmp_path):
    code, said, _ = run("convert", BEFORE, tmp_path / "copy")
    assert code == 0 and "compared" in said and (tmp_path / "copy" / "config.json").is_file()
    code, _, error = run("convert", BEFORE, tmp_path / "copy")
    assert code == 2 and "exists" in error


def test_list_names_every_method(run):
    _, said, _ = run("list")
    for family in listing.FAMILIES:
        for name in method_names(family):
            assert name in said


def test_one_family_can_be_listed_and_the_version_printed(run):
    _, said, _ = run("list", "stopping")
    assert "log_odds" in said and "gradient_difference" not in said
    code, _, error = run("list", "tea")
    assert code == 2 and error.count("\n") == 1 and "stopping" in error
    code, said, _ = run("--version")
    assert code == 0 and said == f"neuronscope {__version__}\n"


def test_the_package_and_the_parser_import_nothing_heavy():
    code = (
        "import sys, neuronscope, neuronscope.cli; "
        "print([m for m in ('torch', 'transformers', 'transformer_lens', 'pandas', 'plotly') "
        "if m in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_a_closed_pipe_is_not_an_error():
    command = [sys.executable, "-m", "neuronscope", "unlearn", "MODEL", "npo", "--help"]
    asked = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    asked.stdout.close()
    said = asked.stderr.read()
    assert asked.wait() == 141 and said == b""


def test_a_full_disk_is_found_before_the_model_is_loaded(run, tmp_path, monkeypatch):
    def no_model(*arguments, **named):
        raise AssertionError("the model was read")

    monkeypatch.setattr(_models, "load_model", no_model)
    monkeypatch.setattr(room.shutil, "disk_usage", lambda _: SimpleNamespace(free=1_000_000))
    out = tmp_path / "out"
    arguments = ("unlearn", BEFORE, "gradient-difference", "--facts", FACTS, "--out", out)
    code, _, said = run(*arguments)
    assert code == 2 and "GB free" in said
    assert not out.exists()
    # Adapters are small enough for the disk, so the model is loaded.
    with pytest.raises(AssertionError, match="the model was read"):
        run(*arguments, "--lora-rank", 2)


def test_finetuning_counts_the_answers_of_the_facts_it_trains_on(run, tmp_path, facts):
    out = tmp_path / "taught"
    settings = ("--splits", "forget", "--steps", 1, "--learning-rate", 1e-4)
    code, said, error = run("finetune", AFTER, "--facts", facts, "--out", out, *settings)
    assert code == 0, error
    assert "facts answered: 0 of 8 before" in said
    assert (out / "model" / "model.safetensors").is_file()
