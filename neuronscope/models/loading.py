"""Load models from disk or the hub, and save them.

A model can be given as a Hugging Face directory or hub id, as a LoRA/PEFT adapter directory (merged
onto its base) or as a `.gguf` file (de-quantized). The result is always a plain, trainable Hugging
Face model; `HookedModel.notes` records the conversion.
"""

import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast

import torch
from jaxtyping import Shaped
from torch import Tensor
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    GgufConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from neuronscope.display import quiet
from neuronscope.models.hook_points import place_hook_points
from neuronscope.models.hooked_model import HookedModel
from neuronscope.models.load_check import check_loaded_model
from neuronscope.models.passes import frozen
from neuronscope.models.sources import base_of, check_device, check_source, reading
from neuronscope.results.cache import written_whole

Dtype = Literal["float32", "bfloat16", "float16", "float64"]

Loaded = tuple[PreTrainedModel, PreTrainedTokenizerBase, tuple[str, ...]]
Report = dict[str, Iterable[object]]
"""The missing, unexpected and mismatched parameters that transformers reports, by kind."""

Reported = tuple[PreTrainedModel, Report]
"""The result of `from_pretrained` with `output_loading_info=True`, which its annotation omits."""


@dataclass(frozen=True)
class _Options:
    dtype: torch.dtype
    device_map: str | None
    trust_remote_code: bool
    allow_pickle: bool


@quiet()
def load_model(
    source: str | Path,
    *,
    base: str | Path | None = None,
    dtype: Dtype = "float32",
    device: str | None = None,
    device_map: str | None = None,
    trust_remote_code: bool = False,
    allow_pickle: bool = False,
) -> HookedModel:
    """Load a model, locate its neurons, and run a self-test.

    Args:
        source: HF directory, hub id, PEFT adapter directory, or `.gguf` file.
        base: The base model of an adapter, if the adapter does not name one that can be found.
        dtype: Precision of the parameters. Use float32 for attributions.
        device: The model's device; by default the first GPU if there is one, else the CPU.
        device_map: Spreads layers over devices (`auto`), instead of `device`.
        trust_remote_code: Run code that comes with the checkpoint.
        allow_pickle: Also load weights in formats that can run code; by default only safetensors.

    Raises:
        FileNotFoundError: If there is no such file or directory.
        ValueError: If the source is none of these, is not safetensors, is damaged, lacks a
            parameter, or fails the self-test; or if there is no such device.
    """
    check_source(source, base, allow_pickle)
    check_device(device, device_map)
    options = _Options(getattr(torch, dtype), device_map, trust_remote_code, allow_pickle)
    path = Path(source).expanduser()
    if path.suffix == ".gguf":
        hf, tokenizer, notes = _from_gguf(path, options)
    elif (path / "adapter_config.json").is_file():
        hf, tokenizer, notes = _from_adapter(path, base, options)
    else:
        hf, tokenizer, notes = _from_pretrained(str(source), options)
    if device_map is None:
        chosen = device or ("cuda" if torch.cuda.is_available() else "cpu")
        torch.nn.Module.to(hf, chosen)
    hf.eval().requires_grad_(True)
    model = HookedModel.of(hf, tokenizer, str(source), notes)
    check_loaded_model(model)
    return model


def as_model(model: HookedModel | str | Path) -> HookedModel:
    """Return a loaded model unchanged; load anything else with `load_model`'s defaults."""
    return model if isinstance(model, HookedModel) else load_model(model)


@quiet()
def save_model(model: HookedModel, path: str | Path) -> None:
    """Write a directory that plain `transformers` loads with bit-equal logits, and check it.

    The write is atomic: the directory appears under its name only after the check has passed.

    Raises:
        FileExistsError: If `path` exists.
        ValueError: If the written directory does not load as the same model.
    """
    path = Path(path)
    if path.exists():
        raise FileExistsError(f"{path} exists: choose another directory, or move this one.")
    path.parent.mkdir(parents=True, exist_ok=True)
    with written_whole(path) as unfinished:
        model.hf.save_pretrained(unfinished)
        model.tokenizer.save_pretrained(unfinished)
        check_saved(model, unfinished)


@quiet()
def check_saved(model: HookedModel, path: Path) -> None:
    """Load a directory with plain `transformers`, and compare it with the model in memory.

    Raises:
        ValueError: If a parameter is missing or differs in name or value, or the logits differ.
    """
    with reading(path):
        found = AutoModelForCausalLM.from_pretrained(
            path,
            dtype=model.dtype,
            use_safetensors=True,
            output_loading_info=True,
            ignore_mismatched_sizes=True,
            attn_implementation=model.hf.config._attn_implementation,
        )
    loaded, report = cast(Reported, found)
    if model.experts:
        # Both models then run the same kernel, so their logits can be bit-equal.
        place_hook_points(loaded)
    strange = _strange(report, "missing", "unexpected", "mismatched")
    if strange:
        raise ValueError(
            f"The parameters in {path} differ from the model's in name or shape: {strange}."
        )
    theirs = dict(loaded.named_parameters())
    for name, parameter in model.hf.named_parameters():
        if not same_values(parameter.detach().cpu(), theirs[name].detach()):
            raise ValueError(f"Parameter {name} in {path} differs from the one in memory.")
    probe = (torch.arange(8)[None] % model.vocabulary).to(model.device)
    mask = torch.ones_like(probe)
    torch.nn.Module.to(loaded.eval(), model.device)
    with frozen(model), torch.no_grad():
        ours = model.hf(probe, attention_mask=mask, use_cache=False).logits
        other = loaded(probe, attention_mask=mask, use_cache=False).logits
    if not same_values(ours, other):
        raise ValueError(f"The logits of the model in {path} differ from the one in memory.")


def same_values(one: Shaped[Tensor, "..."], other: Shaped[Tensor, "..."]) -> bool:
    """Whether two tensors are equal entry by entry, where NaN equals NaN."""
    return torch.allclose(one, other, rtol=0, atol=0, equal_nan=True)


@quiet()
def load_tokenizer(
    source: str | Path, base: str | Path | None, trust_remote_code: bool
) -> PreTrainedTokenizerBase:
    """The tokenizer of any source that `load_model` accepts.

    Raises:
        FileNotFoundError: If there is none.
        ValueError: If it is damaged.
    """
    path = Path(source).expanduser()
    if (path / "adapter_config.json").is_file():
        return load_tokenizer(base_of(path, base), None, trust_remote_code)
    with reading(f"The tokenizer of {source}"):
        if path.suffix == ".gguf":
            return AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)
        return AutoTokenizer.from_pretrained(
            str(path if path.is_dir() else source), trust_remote_code=trust_remote_code
        )


def _from_pretrained(source: str, options: _Options) -> Loaded:
    path = Path(source).expanduser()
    with reading(source):
        loaded = AutoModelForCausalLM.from_pretrained(
            str(path if path.is_dir() else source),
            dtype=options.dtype,
            device_map=options.device_map,
            trust_remote_code=options.trust_remote_code,
            use_safetensors=None if options.allow_pickle else True,
            output_loading_info=True,
            ignore_mismatched_sizes=True,
        )
    hf, report = cast(Reported, loaded)
    if hf._hf_peft_config_loaded:
        # transformers also loads the base model, but does not merge the adapter.
        raise ValueError(f"{source} is an adapter: download it, and pass its directory.")
    _check_complete(source, report)
    return hf, load_tokenizer(source, None, options.trust_remote_code), ()


def _from_gguf(path: Path, options: _Options) -> Loaded:
    with reading(path):
        loaded = AutoModelForCausalLM.from_pretrained(
            path.parent,
            gguf_file=path.name,
            dtype=options.dtype,
            device_map=options.device_map,
            quantization_config=GgufConfig(dequantize=True),
            output_loading_info=True,
            ignore_mismatched_sizes=True,
        )
    hf, report = cast(Reported, loaded)
    _check_complete(path, report)
    precision = str(options.dtype).removeprefix("torch.")
    note = f"de-quantized from {path.name} into plain {precision} weights"
    return hf, load_tokenizer(path, None, options.trust_remote_code), (note,)


def _from_adapter(path: Path, base: str | Path | None, options: _Options) -> Loaded:
    # Imported here: most models are not adapters, and importing peft takes a while.
    from peft import PeftConfig, PeftModel

    with reading(path):
        learns_prompts = PeftConfig.from_pretrained(str(path)).is_prompt_learning
    if learns_prompts:
        raise ValueError(
            f"{path} is an adapter that changes the prompt but no weights: it cannot be merged."
        )
    under = base_of(path, base)
    if Path(under).suffix == ".gguf":
        hf, tokenizer, notes = _from_gguf(Path(under).expanduser(), options)
    else:
        hf, tokenizer, notes = _from_pretrained(under, options)
    with reading(path), warnings.catch_warnings():
        # If an adapter's file lacks weights, peft only warns and leaves them untrained.
        warnings.filterwarnings("error", message="Found missing adapter keys")
        merged = PeftModel.from_pretrained(hf, str(path)).merge_and_unload()
    return merged, tokenizer, (*notes, f"adapter {path.name} merged onto {Path(under).name}")


def _check_complete(source: str | Path, report: Report) -> None:
    """Reject an incomplete checkpoint: transformers initializes missing parameters at random."""
    strange = _strange(report, "missing", "mismatched")
    if strange:
        raise ValueError(f"{source} has parameters missing or of the wrong shape: {strange}.")


def _strange(report: Report, *kinds: str) -> str:
    """The names of the parameters of these kinds in a report; empty if there are none."""
    return ", ".join(sorted(str(key) for kind in kinds for key in report[f"{kind}_keys"]))
