import json
import shutil

import pytest
import torch
from demo_pair import BEFORE
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from neuronscope.loading import check_saved, load_model, save_model

PROBE = torch.arange(4, 12)[None]


def logits_of(hf):
    with torch.no_grad():
        return hf(PROBE, attention_mask=torch.ones_like(PROBE)).logits


@pytest.fixture
def copied(tmp_path):
    """A copy of the demo model that a test may damage."""
    return shutil.copytree(BEFORE, tmp_path / "model")


def test_a_directory_loads_to_the_logits_of_plain_transformers():
    plain = AutoModelForCausalLM.from_pretrained(BEFORE, dtype=torch.float32)
    model = load_model(BEFORE)
    assert torch.equal(logits_of(model.hf), logits_of(plain))
    assert all(parameter.requires_grad for parameter in model.hf.parameters())


def test_a_sharded_directory_loads_to_the_same_logits(tmp_path):
    plain = AutoModelForCausalLM.from_pretrained(BEFORE, dtype=torch.float32)
    shutil.copytree(BEFORE, tmp_path / "model", ignore=shutil.ignore_patterns("*.safetensors"))
    plain.save_pretrained(tmp_path / "model", max_shard_size="300KB")
    assert len(list((tmp_path / "model").glob("*.safetensors"))) > 2
    assert torch.equal(logits_of(load_model(tmp_path / "model").hf), logits_of(plain))


def test_the_precision_asked_for_is_the_one_loaded():
    assert load_model(BEFORE, dtype="float64").dtype == torch.float64


@pytest.fixture
def adapter(tmp_path):
    torch.manual_seed(0)
    base = AutoModelForCausalLM.from_pretrained(BEFORE, dtype=torch.float32)
    tuned = get_peft_model(base, LoraConfig(r=4, target_modules=["down_proj", "q_proj"]))
    for name, parameter in tuned.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.1)
    tuned.save_pretrained(tmp_path / "adapter")
    return tmp_path / "adapter", logits_of(tuned)


def test_an_adapter_is_merged_onto_its_base_and_stays_trainable(adapter):
    path, unmerged = adapter
    model = load_model(path)
    torch.testing.assert_close(logits_of(model.hf), unmerged, atol=1e-5, rtol=1e-5)
    assert not torch.allclose(unmerged, logits_of(load_model(BEFORE).hf), atol=1e-2)
    assert "merged" in model.notes[0]
    assert all(parameter.requires_grad for parameter in model.hf.parameters())
    assert not any("lora" in name for name, _ in model.hf.named_parameters())


def test_an_adapter_without_a_base_asks_for_one_and_takes_it(adapter):
    path, unmerged = adapter
    config = json.loads((path / "adapter_config.json").read_text())
    (path / "adapter_config.json").write_text(
        json.dumps(config | {"base_model_name_or_path": None})
    )
    with pytest.raises(ValueError, match="names no base model: pass --base"):
        load_model(path)
    model = load_model(path, base=BEFORE)
    torch.testing.assert_close(logits_of(model.hf), unmerged, atol=1e-5, rtol=1e-5)


def test_weights_that_can_run_code_are_refused_unless_allowed(copied):
    torch.save(load_file(copied / "model.safetensors"), copied / "pytorch_model.bin")
    (copied / "model.safetensors").unlink()
    with pytest.raises(ValueError, match="--allow-pickle"):
        load_model(copied)
    assert torch.equal(
        logits_of(load_model(copied, allow_pickle=True).hf), logits_of(load_model(BEFORE).hf)
    )


@pytest.mark.parametrize("keep", [0, 7, 5000, -1])
def test_damaged_weights_are_refused_in_one_line(copied, keep):
    whole = (copied / "model.safetensors").read_bytes()
    (copied / "model.safetensors").write_bytes(whole[:keep])
    with pytest.raises(ValueError, match=r"model\.safetensors is damaged") as error:
        load_model(copied)
    assert "\n" not in str(error.value)


def test_a_checkpoint_that_lacks_a_parameter_is_refused_by_its_name(copied):
    tensors = load_file(copied / "model.safetensors")
    del tensors["model.layers.1.mlp.up_proj.weight"]
    save_file(tensors, copied / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match=r"model\.layers\.1\.mlp\.up_proj\.weight"):
        load_model(copied)


@pytest.mark.parametrize(
    ("name", "reason"),
    [("missing/dir/model", "no model directory"), ("missing.gguf", "no file")],
)
def test_what_is_not_there_is_said_to_be_missing(tmp_path, name, reason):
    with pytest.raises(FileNotFoundError, match=reason):
        load_model(tmp_path / name)


def test_a_file_and_a_folder_that_are_no_model_are_refused(tmp_path):
    (tmp_path / "weights.bin").write_bytes(b"x")
    with pytest.raises(ValueError, match="is a file"):
        load_model(tmp_path / "weights.bin")
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match=r"config\.json"):
        load_model(tmp_path / "empty")


def test_a_device_that_does_not_exist_is_refused_before_anything_is_read():
    with pytest.raises(ValueError, match="No device"):
        load_model(BEFORE, device="cuda:77")


def test_what_was_saved_loads_to_equal_logits_also_after_booting_the_bridge(tmp_path):
    model = load_model(BEFORE)
    with torch.no_grad():
        model.hf.get_parameter("model.layers.0.mlp.up_proj.weight")[0] += 1
    assert model.bridge is not None
    save_model(model, tmp_path / "saved")
    plain = AutoModelForCausalLM.from_pretrained(tmp_path / "saved", dtype=torch.float32)
    assert torch.equal(logits_of(plain), logits_of(model.hf))
    assert not torch.equal(logits_of(plain), logits_of(load_model(BEFORE).hf))


def test_nothing_is_saved_over_what_exists(tmp_path):
    with pytest.raises(FileExistsError, match="exists"):
        save_model(load_model(BEFORE), tmp_path)


@pytest.mark.parametrize("change", ["rename", "alter"])
def test_a_wrong_name_or_value_cannot_be_written_silently(tmp_path, monkeypatch, change):
    model = load_model(BEFORE)
    honest = type(model.hf).save_pretrained

    def careless(self, path):
        honest(self, path)
        tensors = load_file(path / "model.safetensors")
        value = tensors.pop("model.norm.weight")
        name = "model.norm_wrong.weight" if change == "rename" else "model.norm.weight"
        tensors[name] = value if change == "rename" else value * 1.5
        save_file(tensors, path / "model.safetensors", metadata={"format": "pt"})

    monkeypatch.setattr(type(model.hf), "save_pretrained", careless)
    with pytest.raises(ValueError, match=r"model\.norm"):
        save_model(model, tmp_path / "saved")
    assert list(tmp_path.iterdir()) == []


def test_check_saved_accepts_what_is_right(tmp_path):
    model = load_model(BEFORE)
    model.hf.save_pretrained(tmp_path)
    check_saved(model, tmp_path)
