"""Low-rank adapters, trained instead of all parameters (LoRA, arXiv 2106.09685).

W' = W + (alpha / rank) · B A. The adapted modules share their parameters with the given model, so
base and reference need no additional memory.
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
from neuronscope.models.loading import same_values
from neuronscope.models.sharded import squares_of
from neuronscope.results.cache import written_whole
from neuronscope.training.config import TrainingConfig
from neuronscope.training.copies import copied, training_dtype

if TYPE_CHECKING:
    from peft import LoraModel, PeftModel

Change = Callable[[str], torch.Tensor]
"""The method of a LoRA layer that returns W' − W, which type checkers take for a parameter."""


def with_adapter(hf: PreTrainedModel, base: str | None, config: TrainingConfig) -> "PeftModel":
    """Add adapters to a model, in place. Only they require gradients.

    Args:
        base: Name or path of the base model, recorded in the saved adapter.

    Raises:
        ValueError: If no module matches `lora_targets`, or one contains stacked experts.
    """
    # Imported here: most runs train all parameters, and importing peft is slow.
    from peft import LoraConfig, PeftModel, get_peft_model
    from peft.tuners.lora import ParamWrapper

    assert config.lora_rank is not None, "callers check that there is a rank"
    everywhere = config.lora_targets == ("all-linear",)
    settings = LoraConfig(
        r=config.lora_rank,
        lora_alpha=config.lora_alpha,  # pyright: ignore[reportArgumentType]: peft accepts any number
        target_modules="all-linear" if everywhere else list(config.lora_targets),
        task_type="CAUSAL_LM",
    )
    with warnings.catch_warnings():
        # peft handles GPT-2's transposed matrices correctly, but warns about them.
        warnings.filterwarnings("ignore", message="fan_in_fan_out")
        # peft warns about stacked experts, which raise an error below.
        warnings.filterwarnings("ignore", category=RuntimeWarning)
        adapted = get_peft_model(hf, settings)
    assert isinstance(adapted, PeftModel)
    if any(isinstance(module, ParamWrapper) for module in adapted.modules()):
        raise ValueError(
            f"Adapters on the stacked experts of {type(hf).__name__} would hide their neurons; set "
            "lora_targets to different modules, such as q_proj, k_proj, v_proj and o_proj."
        )
    # With None, peft would record the name of the model's class or folder.
    adapted.peft_config["default"].base_model_name_or_path = base or ""
    adapted.eval()
    return adapted


def base_named(model: HookedModel) -> str | None:
    """The name or path from which the model can be loaded again; None if there is none."""
    if any(" merged onto " in note for note in model.notes):
        return None
    path = Path(model.source).expanduser()
    return str(path.resolve()) if path.exists() else model.hf.name_or_path or None


def merged(adapted: "PeftModel") -> PreTrainedModel:
    """A copy of the model with merged adapters, in single precision or higher."""
    whole = copy.deepcopy(adapted)
    base = whole.get_base_model()
    assert isinstance(base, PreTrainedModel)
    whole = torch.nn.Module.to(whole, training_dtype(base))
    plain = cast("LoraModel", whole.base_model).merge_and_unload()
    assert isinstance(plain, PreTrainedModel)
    return plain.requires_grad_(True)


def square_of_change(adapted: "PeftModel") -> float:
    """‖W' − W‖² over all matrices that have an adapter."""
    from peft.tuners.lora import LoraLayer

    layers = [module for module in adapted.modules() if isinstance(module, LoraLayer)]
    with torch.no_grad():
        changes = (cast(Change, layer.get_delta_weight)("default") for layer in layers)
        return squares_of(changes)


@quiet()
def save_adapter(adapted: "PeftModel", model: HookedModel, path: Path) -> None:
    """Write an adapter folder atomically, and check that peft loads the same adapters.

    Args:
        model: The base model.
        path: A path that does not exist yet.

    Raises:
        ValueError: If the written files do not load as the same adapters.
    """
    from peft import PeftModel

    with written_whole(path) as unfinished:
        adapted.save_pretrained(str(unfinished), save_embedding_layers=False)
        # peft also writes an empty template of a model card.
        (unfinished / "README.md").unlink(missing_ok=True)
        blank = copied(model.hf, None, model.dtype, share=True)
        loaded = PeftModel.from_pretrained(blank, str(unfinished))
        theirs = dict(loaded.named_parameters())
        for name, parameter in adapted.named_parameters():
            if "lora_" in name and not same_values(
                parameter.detach().cpu(), theirs[name].detach().to(parameter.dtype).cpu()
            ):
                raise ValueError(
                    f"The adapter {name} read from {path} differs from the one written; check the "
                    "disk and save again."
                )
