import pytest
import torch
from checkpoints import checkpoint, one_line
from peft import PeftModel
from tiny import hf_model, tiny
from training_example import FACTS, LOSS, Drag, config, distance, model, same, untimed, weights

from neuronscope.models.loading import load_model
from neuronscope.objectives.npo import NPO
from neuronscope.objectives.rmu import RMU
from neuronscope.regularizers.ssiuu_neurons import SSIUUNeurons
from neuronscope.training import unlearn
from neuronscope.training.copies import copied, hooked_alike, reference_of
from neuronscope.training.lora import with_adapter

LORA = config(lora_rank=2)
TOKENS = torch.arange(3, 11)[None]


@pytest.mark.parametrize("architecture", ["llama", "gpt2", "gpt_neox", "phi3"])
def test_an_adapter_loads_to_the_trained_model(tmp_path, architecture):
    given = tiny(architecture)
    before = weights(given)
    run = unlearn(given, LOSS, FACTS, Drag(), config=LORA, out=tmp_path / "run")
    assert all(torch.equal(p, before[name]) for name, p in weights(given).items())
    files = {path.name for path in (tmp_path / "run" / "model").iterdir()}
    assert files == {"adapter_config.json", "adapter_model.safetensors"}
    blank = hf_model(architecture)
    adapted = PeftModel.from_pretrained(blank, str(tmp_path / "run" / "model"))
    with torch.no_grad():
        theirs = adapted(TOKENS).logits
        ours, bare = run.model.hf(TOKENS).logits, given.hf(TOKENS).logits
    assert (theirs - ours).abs().max() < 1e-5 < 1e-3 < (ours - bare).abs().max()
    assert run.model.sites == given.sites


def test_load_model_merges_the_adapter(tmp_path):
    base = checkpoint(tmp_path / "base")
    given = load_model(base)
    run = unlearn(given, LOSS, FACTS, config=LORA, out=tmp_path / "run")
    loaded = load_model(tmp_path / "run" / "model")
    assert same(loaded, run.model) and not same(loaded, given)
    # The base of an adapter trained on a merged model exists nowhere.
    again = unlearn(loaded, LOSS, FACTS, config=LORA, out=tmp_path / "again")
    with pytest.raises(ValueError) as error:
        load_model(tmp_path / "again" / "model")
    one_line(error, "base")
    assert not same(again.model, loaded)


def test_full_rank_updates_show_in_the_update_norm():
    given = model()
    run = unlearn(given, LOSS, FACTS, config=LORA)
    before = weights(given)
    moved = torch.stack([(p - before[n]).norm() for n, p in weights(run.model).items()]).norm()
    assert abs(run.history["update_norm"].iloc[-1] - moved) < 1e-10 and moved > 0.01


@pytest.mark.parametrize("architecture", ["llama", "gpt2"])
def test_base_and_reference_share_memory_with_the_given_model(architecture):
    given = tiny(architecture)
    clone = copied(given.hf, None, given.dtype, share=True)
    adapted = with_adapter(clone, None, LORA)
    theirs = {p.data_ptr() for p in given.hf.parameters()}
    base = {p.data_ptr() for name, p in adapted.named_parameters() if "lora_" not in name}
    assert base == theirs
    reference = reference_of(given, None, given.dtype)
    assert {p.data_ptr() for p in reference.hf.parameters()} == theirs
    # Hook points find the modules of the neurons inside the adapters.
    for ours, hook_point in zip(hooked_alike(given, clone), given.hook_points, strict=True):
        assert (ours.site, ours.layer, ours.width) == (
            hook_point.site,
            hook_point.layer,
            hook_point.width,
        )
        assert ours.module is not hook_point.module and ours.module in set(clone.modules())


def test_neuron_penalties_work_with_adapters():
    rule = SSIUUNeurons(strength=10.0, target="log-prob")
    given = model()
    bare = unlearn(given, LOSS, FACTS, config=LORA)
    run = unlearn(given, LOSS, FACTS, rule, config=LORA)
    assert run.history["penalty"].max() > 0 and distance(bare.model, run.model) > 1e-6


def test_the_reference_is_the_original_model():
    run = unlearn(model(), NPO(beta=0.1), FACTS, config=LORA)
    first = run.history["loss_forget"].iloc[1]
    assert abs(first - 20 * torch.tensor(2.0).double().log()) < 1e-12
    assert run.history["loss_forget"].iloc[-1] < first - 1e-4


def test_only_target_modules_get_an_adapter():
    given = model()
    run = unlearn(given, LOSS, FACTS, config=config(lora_rank=2, lora_targets=("down_proj",)))
    before = weights(given)
    changed = {n for n, p in weights(run.model).items() if not torch.equal(p, before[n])}
    assert changed == {f"model.layers.{i}.mlp.down_proj.weight" for i in range(2)}
    with pytest.raises(ValueError, match="sideways_proj"):
        unlearn(given, LOSS, FACTS, config=config(lora_rank=2, lora_targets=("sideways_proj",)))


def test_adapters_on_stacked_experts_are_refused():
    given = tiny("mixtral")
    with pytest.raises(ValueError) as error:
        unlearn(given, LOSS, FACTS, config=LORA)
    one_line(error, "q_proj")
    attention = config(lora_rank=2, lora_targets=("q_proj", "v_proj"))
    run = unlearn(given, LOSS, FACTS, config=attention)
    assert distance(run.model, given) > 1e-4 and run.model.experts == 4


def test_adapters_with_an_objective_that_restricts_weights_are_refused():
    with pytest.raises(ValueError, match="RMU") as error:
        unlearn(model(), RMU(), FACTS, config=LORA)
    one_line(error, "lora_rank")


def test_the_seed_determines_the_initial_values_of_adapters():
    runs = [unlearn(model(), LOSS, FACTS, config=LORA) for _ in range(2)]
    assert same(runs[0].model, runs[1].model)
    assert untimed(runs[0].history).equals(untimed(runs[1].history))


def test_half_precision_bases_keep_their_precision():
    given = tiny("llama", torch.bfloat16)
    run = unlearn(given, LOSS, FACTS, config=LORA)
    assert given.dtype == torch.bfloat16 and run.model.dtype == torch.float32
