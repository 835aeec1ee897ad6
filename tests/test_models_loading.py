"""Loading and saving: what is loaded or written is exactly the model, or an error is raised."""

import shutil

import pytest
import torch
from checkpoints import checkpoint, edit_json, one_line
from gguf import GGUFWriter, TokenType
from peft import IA3Config, LoraConfig, PromptTuningConfig, get_peft_model
from safetensors.torch import load_file, save_file
from tiny import hf_model, tiny, tokenizer
from torch.testing import assert_close
from transformer_lens.model_bridge.sources._bridge_builder import build_bridge_from_module
from transformers import AutoModelForCausalLM, AutoTokenizer

from neuronscope.models.hooked_model import HookedModel
from neuronscope.models.loading import check_saved, load_model, save_model

TOKENS = torch.tensor([[4, 5, 6, 8, 7, 11, 4, 9], [21, 24, 25, 3, 4, 5, 60, 62]])
UP = "model.layers.1.mlp.up_proj.weight"
DOWN = "model.layers.1.mlp.down_proj.weight"
WEIGHTS = "model.safetensors"


@pytest.fixture(scope="module")
def llama(tmp_path_factory):
    return checkpoint(tmp_path_factory.mktemp("models") / "llama")


@pytest.fixture(scope="module")
def lora(tmp_path_factory, llama):
    return adapter(tmp_path_factory.mktemp("models") / "lora", llama)[0]


def adapter(folder, base, config=None):
    """A trained adapter, and the model with the adapter attached."""
    config = config or LoraConfig(r=3, target_modules=["down_proj", "q_proj"])
    torch.manual_seed(1)
    attached = get_peft_model(plain(base, torch.float64), config)
    for parameter in attached.parameters():
        if parameter.requires_grad:
            torch.nn.init.normal_(parameter, std=0.3)
    attached.save_pretrained(folder)
    return folder, attached.eval()


def plain(folder, dtype=torch.float32):
    return AutoModelForCausalLM.from_pretrained(folder, dtype=dtype).eval()


def logits(hf):
    with torch.no_grad():
        return hf(TOKENS, attention_mask=torch.ones_like(TOKENS)).logits


def copied(folder, original):
    shutil.copytree(original, folder)
    return folder


def change_weights(file, change):
    tensors = load_file(file)
    change(tensors)
    save_file(tensors, file, metadata={"format": "pt"})


def cut(file, share):
    content = file.read_bytes()
    file.write_bytes(content[: int(len(content) * share)])


def check_trainable(hf):
    loss = hf.train()(TOKENS, labels=TOKENS).loss
    loss.backward()
    for name, parameter in hf.named_parameters():
        assert parameter.grad is not None and parameter.grad.any(), name


def test_a_directory_loads_to_the_logits_of_plain_transformers_and_can_be_trained(llama):
    model = load_model(llama)
    assert torch.equal(logits(model.hf), logits(plain(llama)))
    assert model.source == str(llama) and model.notes == ()
    assert model.tokenizer("a young cat").input_ids == [21, 24, 22]
    assert not model.hf.training
    check_trainable(model.hf)


def test_a_sharded_directory_is_the_same_model(llama, tmp_path):
    plain(llama).save_pretrained(tmp_path, max_shard_size="5KB")
    tokenizer().save_pretrained(tmp_path)
    assert len(list(tmp_path.glob("*.safetensors"))) > 2
    sharded, whole = load_model(tmp_path), load_model(str(llama))
    assert torch.equal(logits(sharded.hf), logits(whole.hf))
    assert sharded.fingerprint() == whole.fingerprint()


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16", "float64"])
def test_every_parameter_has_the_requested_precision(llama, dtype):
    model = load_model(llama, dtype=dtype)
    assert {p.dtype for p in model.hf.parameters()} == {getattr(torch, dtype)} == {model.dtype}


def test_a_model_spread_over_devices_by_a_map_is_the_same_model(llama):
    assert torch.equal(logits(load_model(llama, device_map="auto").hf), logits(plain(llama)))


@pytest.mark.parametrize(
    "config",
    [
        LoraConfig(r=3, target_modules=["down_proj", "q_proj"], task_type="CAUSAL_LM"),
        LoraConfig(r=2, target_modules="all-linear", use_dora=True),
        IA3Config(target_modules=["down_proj", "v_proj"], feedforward_modules=["down_proj"]),
    ],
    ids=["lora", "dora", "ia3"],
)
def test_a_merged_adapter_has_the_logits_of_the_attached_one_and_can_be_trained(
    llama, tmp_path, config
):
    folder, attached = adapter(tmp_path / "adapter", llama, config)
    model = load_model(folder, dtype="float64")
    # transformers computes norms in single precision, from inputs that now differ by rounding.
    assert_close(logits(model.hf), logits(attached), rtol=0, atol=1e-5)
    assert (logits(model.hf) - logits(plain(llama, torch.float64))).abs().max() > 0.1
    assert set(model.hf.state_dict()) == set(plain(llama).state_dict())
    assert model.notes == ("adapter adapter merged onto llama",)
    check_trainable(model.hf)


def test_a_merged_adapter_is_saved_as_a_plain_model(lora, tmp_path):
    model = load_model(lora)
    save_model(model, tmp_path / "merged")
    assert not (tmp_path / "merged" / "adapter_config.json").exists()
    assert torch.equal(logits(load_model(tmp_path / "merged").hf), logits(model.hf))


def test_a_given_base_takes_precedence_over_the_one_that_an_adapter_names(llama, lora, tmp_path):
    other = checkpoint(tmp_path / "other", seed=1)
    given, named = load_model(lora, base=other), load_model(lora)
    assert given.notes == ("adapter lora merged onto other",)
    learned = named.hf.state_dict()[DOWN] - plain(llama).state_dict()[DOWN]
    assert learned.abs().max() > 0.1
    assert_close(given.hf.state_dict()[DOWN], plain(other).state_dict()[DOWN] + learned)


GGUF_NAMES = {
    "model.embed_tokens": "token_embd",
    "lm_head": "output",
    "model.norm": "output_norm",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "model.layers.": "blk.",
}


def write_gguf(path):
    """A tiny llama as llama.cpp writes one, with a tokenizer of single letters; and the model."""
    letters = [chr(code) for code in range(33, 127)] + ["Ġ", "ab"]
    tokens = ["<s>", "</s>", "<unk>", *letters]
    hf = hf_model("llama", torch.float32, vocab_size=len(tokens))
    file = GGUFWriter(path, "llama")
    for setting, value in {
        "context_length": 64,
        "embedding_length": 16,
        "block_count": 2,
        "feed_forward_length": 12,
        "attention.head_count": 4,
        "attention.head_count_kv": 2,
        "attention.key_length": 4,
        "attention.value_length": 4,
        "rope.dimension_count": 4,
    }.items():
        file.add_uint32(f"llama.{setting}", value)
    file.add_layer_norm_rms_eps(hf.config.rms_norm_eps)
    file.add_tokenizer_model("gpt2")
    file.add_token_list(tokens)
    file.add_token_types([TokenType.CONTROL] * 3 + [TokenType.NORMAL] * len(letters))
    file.add_token_merges(["a b"])
    file.add_bos_token_id(0)
    file.add_eos_token_id(1)
    for name, tensor in hf.state_dict().items():
        heads = {"q_proj": 4, "k_proj": 2}.get(name.split(".")[-2])
        if heads:
            # llama.cpp rotates neighbours, transformers a head's halves.
            tensor = tensor.reshape(heads, 2, 2, 16).swapaxes(1, 2).reshape(tensor.shape)
        for theirs, ours in GGUF_NAMES.items():
            name = name.replace(theirs, ours)
        file.add_tensor(name, tensor.contiguous().numpy())
    file.write_header_to_file()
    file.write_kv_data_to_file()
    file.write_tensors_to_file()
    file.close()
    return hf


def test_a_gguf_file_loads_to_the_model_that_it_was_written_from(tmp_path):
    hf = write_gguf(tmp_path / "tiny.gguf")
    model = load_model(tmp_path / "tiny.gguf")
    assert torch.equal(logits(model.hf), logits(hf))
    assert model.notes == ("de-quantized from tiny.gguf into plain float32 weights",)
    assert model.tokenizer("ab c").input_ids == [98, 97, 69]
    save_model(model, tmp_path / "converted")
    back = load_model(tmp_path / "converted")
    assert torch.equal(logits(back.hf), logits(hf))
    assert back.tokenizer("ab c").input_ids == [98, 97, 69]
    check_trainable(model.hf)


@pytest.mark.parametrize("share", [0.001, 0.1, 0.7])
def test_a_damaged_gguf_file_is_refused_in_one_line(tmp_path, share):
    write_gguf(tmp_path / "tiny.gguf")
    cut(tmp_path / "tiny.gguf", share)
    with pytest.raises(ValueError) as error:
        load_model(tmp_path / "tiny.gguf")
    one_line(error, tmp_path / "tiny.gguf")


def test_weights_that_can_run_code_load_only_if_allowed(llama, tmp_path):
    folder = copied(tmp_path / "pickle", llama)
    torch.save(load_file(folder / WEIGHTS), folder / "pytorch_model.bin")
    (folder / WEIGHTS).unlink()
    with pytest.raises(ValueError) as error:
        load_model(folder)
    one_line(error, folder, "no .safetensors file", "allow_pickle")
    assert torch.equal(logits(load_model(folder, allow_pickle=True).hf), logits(plain(llama)))


def test_safetensors_are_preferred_to_a_pickle_in_the_same_folder(llama, tmp_path):
    folder = copied(tmp_path / "both", llama)
    (folder / "pytorch_model.bin").write_bytes(b"no pickle at all")
    assert torch.equal(logits(load_model(folder).hf), logits(plain(llama)))


SPOILED = {
    "truncated weights": (lambda f: cut(f / WEIGHTS, 0.9), [WEIGHTS, "damaged"]),
    "empty weights": (lambda f: cut(f / WEIGHTS, 0), [WEIGHTS, "damaged"]),
    "no weights": (lambda f: (f / WEIGHTS).unlink(), ["no .safetensors file"]),
    "a missing parameter": (
        lambda f: change_weights(f / WEIGHTS, lambda t: t.pop(UP)),
        ["missing", UP],
    ),
    "a parameter under another name": (
        lambda f: change_weights(f / WEIGHTS, lambda t: t.update(up=t.pop(UP))),
        ["missing", UP],
    ),
    "a parameter of another shape": (
        lambda f: change_weights(f / WEIGHTS, lambda t: t.update({UP: torch.zeros(5, 16)})),
        ["wrong shape", UP],
    ),
    "a weight that is no number": (
        lambda f: change_weights(f / WEIGHTS, lambda t: t[UP].fill_(float("nan"))),
        ["fails the self-test"],
    ),
    "no config": (lambda f: (f / "config.json").unlink(), ["config.json"]),
    "half a config": (lambda f: cut(f / "config.json", 0.5), ["config.json"]),
    "an unknown architecture": (
        lambda f: edit_json(f / "config.json", model_type="blub"),
        ["blub"],
    ),
    "an encoder and decoder": (lambda f: edit_json(f / "config.json", model_type="t5"), ["T5"]),
    "no tokenizer": (
        lambda f: [file.unlink() for file in f.glob("tokenizer*")],
        ["tokenizer of"],
    ),
    "half a tokenizer": (lambda f: cut(f / "tokenizer.json", 0.5), ["tokenizer of"]),
}


@pytest.mark.parametrize("spoil", SPOILED)
def test_a_spoiled_directory_is_refused_in_one_line(llama, tmp_path, spoil):
    folder = copied(tmp_path / "spoiled", llama)
    damage, parts = SPOILED[spoil]
    damage(folder)
    with pytest.raises((ValueError, FileNotFoundError)) as error:
        load_model(folder)
    one_line(error, folder, *parts)


def test_a_missing_shard_is_named(llama, tmp_path):
    plain(llama).save_pretrained(tmp_path, max_shard_size="5KB")
    tokenizer().save_pretrained(tmp_path)
    missing = sorted(tmp_path.glob("*.safetensors"))[1]
    missing.unlink()
    with pytest.raises(FileNotFoundError) as error:
        load_model(tmp_path)
    one_line(error, missing)


@pytest.mark.parametrize(
    ("source", "kind", "part"),
    [
        ("nowhere", FileNotFoundError, "no model directory or .gguf file"),
        ("nowhere.gguf", FileNotFoundError, "no file"),
        ("llama/config.json", ValueError, "is a file"),
        ("", FileNotFoundError, "neither config.json nor adapter_config.json"),
    ],
)
def test_a_path_without_a_model_is_refused_in_one_line(llama, source, kind, part):
    with pytest.raises(kind) as error:
        load_model(llama.parent / source)
    one_line(error, llama.parent / source, part)


def test_a_hub_id_that_is_not_there_is_refused_in_one_line():
    with pytest.raises(FileNotFoundError) as error:
        load_model("no-one/nothing")
    one_line(error, "no-one/nothing")


SPOILED_ADAPTERS = {
    "no base named": (
        lambda f: edit_json(f / "adapter_config.json", base_model_name_or_path=None),
        ["names no base", "`base`"],
    ),
    "a base that is gone": (
        lambda f: edit_json(f / "adapter_config.json", base_model_name_or_path="/gone/away"),
        ["no base model /gone/away", "`base`"],
    ),
    "half a config": (lambda f: cut(f / "adapter_config.json", 0.5), ["adapter_config.json"]),
    "an unknown kind": (lambda f: edit_json(f / "adapter_config.json", peft_type="BLUB"), ["BLUB"]),
    "layers that the base has not": (
        lambda f: edit_json(f / "adapter_config.json", target_modules=["blub"]),
        ["blub"],
    ),
    "another rank": (lambda f: edit_json(f / "adapter_config.json", r=2), ["size mismatch"]),
    "truncated weights": (lambda f: cut(f / "adapter_model.safetensors", 0.9), ["damaged"]),
    "no weights": (
        lambda f: (f / "adapter_model.safetensors").unlink(),
        ["no .safetensors file"],
    ),
    "a missing weight": (
        lambda f: change_weights(f / "adapter_model.safetensors", lambda t: t.popitem()),
        ["missing adapter keys"],
    ),
    "weights under other names": (
        lambda f: change_weights(
            f / "adapter_model.safetensors",
            lambda t: [t.update({f"x{name}": t.pop(name)}) for name in list(t)],
        ),
        ["missing adapter keys"],
    ),
}


@pytest.mark.parametrize("spoil", SPOILED_ADAPTERS)
def test_a_spoiled_adapter_is_refused_in_one_line(lora, tmp_path, spoil):
    folder = copied(tmp_path / "spoiled", lora)
    damage, parts = SPOILED_ADAPTERS[spoil]
    damage(folder)
    with pytest.raises((ValueError, FileNotFoundError)) as error:
        load_model(folder)
    one_line(error, folder, *parts)


def test_an_adapter_that_learned_a_prompt_cannot_be_merged(llama, tmp_path):
    config = PromptTuningConfig(num_virtual_tokens=2, task_type="CAUSAL_LM")
    folder, _ = adapter(tmp_path / "prompt", llama, config)
    with pytest.raises(ValueError) as error:
        load_model(folder)
    one_line(error, folder, "cannot be merged")


@pytest.mark.parametrize(
    ("options", "part"),
    [
        ({"device": "blub"}, "No device 'blub'"),
        ({"device": "cuda:99"}, "No device 'cuda:99'"),
        ({"device": "cpu", "device_map": "auto"}, "exclude each other"),
        ({"device_map": "blub"}, "blub"),
    ],
)
def test_a_device_that_is_not_there_is_refused_in_one_line(llama, options, part):
    with pytest.raises(ValueError) as error:
        load_model(llama, **options)
    one_line(error, part)


@pytest.mark.parametrize("booted", [False, True], ids=["plain", "bridge booted"])
@pytest.mark.parametrize("architecture", ["gpt2", "llama", "gemma3_text", "phi3"])
def test_plain_transformers_loads_what_was_saved_to_equal_logits(architecture, booted, tmp_path):
    model = tiny(architecture, torch.float32)
    if booted:
        assert model.bridge is model.bridge
    save_model(model, tmp_path / "parents" / "saved")
    saved = plain(tmp_path / "parents" / "saved")
    assert torch.equal(logits(saved), logits(model.hf))
    assert set(saved.state_dict()) == set(hf_model(architecture).state_dict())
    words = AutoTokenizer.from_pretrained(tmp_path / "parents" / "saved")
    assert words("a young cat").input_ids == [21, 24, 22]
    assert [path.name for path in (tmp_path / "parents").iterdir()] == ["saved"]


def test_a_mixture_of_experts_is_saved_for_plain_transformers(tmp_path):
    model = tiny("mixtral", torch.float32)
    save_model(model, tmp_path / "saved")
    assert "neuronscope" not in (tmp_path / "saved" / "config.json").read_text()
    # Its experts run another kernel than ours, in another order of summing.
    assert_close(logits(plain(tmp_path / "saved")), logits(model.hf))
    assert load_model(tmp_path / "saved").fingerprint() == model.fingerprint()


def test_a_trained_model_is_saved_as_trained(llama, tmp_path):
    model = load_model(llama)
    check_trainable(model.hf)
    torch.optim.SGD(model.hf.parameters(), lr=0.1).step()
    save_model(model, tmp_path / "trained")
    assert model.hf.training
    trained = logits(plain(tmp_path / "trained"))
    assert torch.equal(trained, logits(model.hf.eval()))
    assert (trained - logits(plain(llama))).abs().max() > 1e-3


def stray(hf):
    hf.register_parameter("stray", torch.nn.Parameter(torch.zeros(2)))


def other_formula(hf):
    hf.config.rms_norm_eps = 0.1


def lose_a_layer(hf):
    hf.config.num_hidden_layers = 1


def boot_in_place(hf):
    build_bridge_from_module(
        hf, "LlamaForCausalLM", hf_config=hf.config, tokenizer=None, model_name="llama"
    )


@pytest.mark.parametrize("spoil", [stray, other_formula, lose_a_layer, boot_in_place])
def test_a_model_that_would_load_differently_is_not_saved(tmp_path, spoil):
    model = tiny("llama", torch.float32)
    spoil(model.hf)
    with pytest.raises((ValueError, RuntimeError)):
        save_model(model, tmp_path / "saved")
    assert list(tmp_path.iterdir()) == []


WRONG = {
    "another name": lambda t: t.update({f"{UP}.weight": t.pop(UP)}),
    "one parameter more": lambda t: t.update(stray=torch.zeros(2)),
    "another shape": lambda t: t.update({UP: t[UP].T.contiguous()}),
    "the last bit of one value": lambda t: t[UP].view(-1)[7:8].view(torch.int32).bitwise_xor_(1),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_a_wrong_name_or_value_in_a_saved_file_is_detected(tmp_path, wrong):
    model = tiny("llama", torch.float32)
    save_model(model, tmp_path / "saved")
    check_saved(model, tmp_path / "saved")
    change_weights(tmp_path / "saved" / WEIGHTS, WRONG[wrong])
    with pytest.raises(ValueError) as error:
        check_saved(model, tmp_path / "saved")
    one_line(error, tmp_path / "saved", "stray" if "more" in wrong else UP)


def test_existing_files_are_not_overwritten(llama, tmp_path):
    model = HookedModel.of(plain(llama), tokenizer())
    (tmp_path / "file").write_text("mine")
    (tmp_path / "folder").mkdir()
    for path in (tmp_path / "file", tmp_path / "folder"):
        with pytest.raises(FileExistsError) as error:
            save_model(model, path)
        one_line(error, path, "choose another")
    assert (tmp_path / "file").read_text() == "mine"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder"]
