"""Training low-rank adapters instead of all parameters (LoRA, arXiv 2106.09685).

W' = W + (alpha / rank) · B A. The adapters are put on modules that share the model's parameters,
so that base and reference cost no memory of their own.
"""

import copy
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, cast

import torch
from transformers import PreTrainedModel

from neuronscope.display import quiet
from neuronscope.models.hooked_model import HookedModel
from neuronscope.models.sharded import squares_of
from neuronscope.results.cache import written_whole
from neuronscope.training.config import TrainingConfig
from neuronscope.training.copies import copied, training_dtype

if TYPE_CHECKING:
    from peft import LoraModel, PeftModel

Change = Callable[[str], torch.Tensor]
"""What every kind of LoRA layer has: W' − W. To a type checker it is a parameter."""


def with_adapter(hf: PreTrainedModel, base: str | None, config: TrainingConfig) -> "PeftModel":
    """Put adapters on a model, in place: they alone ask for gradients.

    Args:
        base: Where the model under the adapter is to be found, once it is saved.

    Raises:
        ValueError: If no module has one of the targets' names, or one holds stacked experts.
    """
    # Imported late: most runs train all parameters, and peft takes a while.
    from peft import LoraConfig, PeftModel, get_peft_model
    from peft.tuners.lora import ParamWrapper

    assert config.lora_rank is not None, "whoever asks for adapters gives them a rank"
    everywhere = config.lora_targets == ("all-linear",)
    settings = LoraConfig(
        r=config.lora_rank,
        lora_alpha=config.lora_alpha,  # pyright: ignore[reportArgumentType]: any number will do
        target_modules="all-linear" if everywhere else list(config.lora_targets),
        task_type="CAUSAL_LM",
    )
    with warnings.catch_warnings():
        # GPT-2 stores its matrices the other way round, which peft sees, and then warns of.
        warnings.filterwarnings("ignore", message="fan_in_fan_out")
        # Of a mixture of experts it warns before it is refused here.
        warnings.filterwarnings("ignore", category=RuntimeWarning)
        adapted = get_peft_model(hf, settings)
    assert isinstance(adapted, PeftModel)
    if any(isinstance(module, ParamWrapper) for module in adapted.modules()):
        raise ValueError(
            f"Adapters on the stacked experts of {type(hf).__name__} would hide their neurons: "
            "name other modules (lora_targets), such as q_proj, k_proj, v_proj and o_proj."
        )
    # Where it is None, peft puts in the name of the model's class or folder.
    adapted.peft_config["default"].base_model_name_or_path = base or ""
    adapted.eval()
    return adapted


def base_named(model: HookedModel) -> str | None:
    """Under which name the model can be loaded again, if it can be."""
    if any(" merged onto " in note for note in model.notes):
        return None
    path = Path(model.source).expanduser()
    return str(path.resolve()) if path.exists() else model.hf.name_or_path or None


def merged(adapted: "PeftModel") -> PreTrainedModel:
    """A plain copy of the model with its adapters in its weights, at least in single precision."""
    whole = copy.deepcopy(adapted)
    base = whole.get_base_model()
    assert isinstance(base, PreTrainedModel)
    whole = torch.nn.Module.to(whole, training_dtype(base))
    plain = cast("LoraModel", whole.base_model).merge_and_unload()
    assert isinstance(plain, PreTrainedModel)
    return plain.requires_grad_(True)


def square_of_change(adapted: "PeftModel") -> float:
    """‖W' − W‖² over all matrices with an adapter."""
    from peft.tuners.lora import LoraLayer

    layers = [module for module in adapted.modules() if isinstance(module, LoraLayer)]
    with torch.no_grad():
        changes = (cast(Change, layer.get_delta_weight)("default") for layer in layers)
        return squares_of(changes)


@quiet()
def save_adapter(adapted: "PeftModel", model: HookedModel, path: Path) -> None:
    """Write a directory that peft loads, and check that it holds these adapters.

    Written whole or not at all.

    Args:
        model: The model under them.
        path: Where nothing is yet.

    Raises:
        ValueError: If what was written does not load to the same adapters.
    """
    from peft import PeftModel

    with written_whole(path) as unfinished:
        adapted.save_pretrained(str(unfinished), save_embedding_layers=False)
        # What peft writes besides is an empty form to be filled in.
        (unfinished / "README.md").unlink(missing_ok=True)
        blank = copied(model.hf, None, model.dtype, share=True)
        loaded = PeftModel.from_pretrained(blank, str(unfinished))
        theirs = dict(loaded.named_parameters())
        for name, parameter in adapted.named_parameters():
            if "lora_" in name and not torch.equal(
                parameter.detach().cpu(), theirs[name].detach().to(parameter.dtype).cpu()
            ):
                raise ValueError(f"Adapter {name} did not come back from {path} as it was.")
