"""Models from disk or hub, and back to disk.

A model can come as a Hugging Face directory or hub id, as a LoRA/PEFT adapter directory (merged
onto its base) or as a `.gguf` file (de-quantized). Whatever it was, what comes back is a plain,
trainable Hugging Face model, and `HookedModel.notes` says what was done to it.
"""

import json
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from tempfile import mkdtemp
from typing import Literal, cast

import torch
from safetensors import SafetensorError
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    GgufConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from neuronscope.models import HookedModel
from neuronscope.self_test import self_test

Dtype = Literal["float32", "bfloat16", "float16", "float64"]

Loaded = tuple[PreTrainedModel, PreTrainedTokenizerBase, tuple[str, ...]]


@dataclass(frozen=True)
class _Options:
    dtype: torch.dtype
    device_map: str | None
    trust_remote_code: bool
    allow_pickle: bool


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
    """Load a model, place its neurons, and test that they are what they seem.

    Args:
        source: HF directory, hub id, PEFT adapter directory, or `.gguf` file.
        base: The model under an adapter, where the adapter does not name one that can be found.
        dtype: Precision of the parameters. Attributions want float32.
        device: Where the model goes; the first GPU if there is one, else the CPU.
        device_map: Spreads layers over devices (`auto`), instead of `device`.
        trust_remote_code: Run code that comes with the checkpoint.
        allow_pickle: Load weights in formats that can run code; safetensors alone otherwise.

    Raises:
        FileNotFoundError: If there is no such file or directory.
        ValueError: If the source is none of these, is not safetensors, or fails the self-test.
    """
    check_source(source, base, allow_pickle)
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
    self_test(model)
    return model


def save_model(model: HookedModel, path: str | Path) -> None:
    """Write a directory that plain `transformers` loads to bit-equal logits, and check it.

    Written whole or not at all: the directory appears under its name after the check has passed.

    Raises:
        FileExistsError: If there is something at `path`.
        ValueError: If what was written does not load to the same model.
    """
    path = Path(path)
    if path.exists():
        raise FileExistsError(f"{path} exists: choose another directory, or move it away.")
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = Path(mkdtemp(prefix=f".{path.name}-", dir=path.parent))
    try:
        model.hf.save_pretrained(unfinished)
        model.tokenizer.save_pretrained(unfinished)
        check_saved(model, unfinished)
        unfinished.chmod(0o755)
        unfinished.rename(path)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def check_saved(model: HookedModel, path: Path) -> None:
    """Load a directory with plain `transformers`, and compare it with the model in memory.

    Raises:
        ValueError: If a parameter is missing, has another name or value, or the logits differ.
    """
    loaded, report = cast(
        tuple[PreTrainedModel, dict[str, Iterable[object]]],
        AutoModelForCausalLM.from_pretrained(
            path, dtype=model.dtype, use_safetensors=True, output_loading_info=True
        ),
    )
    strange = [
        str(key)
        for kind in ("missing", "unexpected", "mismatched")
        for key in report[f"{kind}_keys"]
    ]
    if strange:
        raise ValueError(
            f"{path} does not hold this model's parameters under their own names: "
            f"{', '.join(sorted(strange))}."
        )
    theirs = dict(loaded.named_parameters())
    for name, parameter in model.hf.named_parameters():
        if not torch.equal(parameter.detach().cpu(), theirs[name].detach()):
            raise ValueError(f"Parameter {name} did not come back from {path} as it was.")
    probe = torch.arange(8)[None] % model.hf.config.get_text_config().vocab_size
    training = model.hf.training
    with torch.no_grad():
        ours = model.hf.eval()(probe.to(model.device), use_cache=False).logits
        other = torch.nn.Module.to(loaded.eval(), model.device)(
            probe.to(model.device), use_cache=False
        ).logits
    model.hf.train(training)
    if not torch.equal(ours, other):
        raise ValueError(f"The model loaded from {path} has other logits than the one in memory.")


def check_source(source: str | Path, base: str | Path | None, allow_pickle: bool) -> None:
    """Find out, without reading any weights, whether a source can be loaded.

    What a hub id leads to is not looked up.

    Raises:
        FileNotFoundError: If there is no such file or directory.
        ValueError: If it is no model, or its weights are not safetensors.
    """
    path = Path(source).expanduser()
    if path.suffix == ".gguf":
        if not path.is_file():
            raise FileNotFoundError(f"There is no file {path}.")
    elif (path / "adapter_config.json").is_file():
        _check_safetensors(path, allow_pickle)
        check_source(_base_of(path, base), None, allow_pickle)
    elif path.is_file():
        raise ValueError(
            f"{source} is a file: expected a Hugging Face directory, a hub id, an adapter "
            "directory, or a file that ends in .gguf."
        )
    elif path.is_dir():
        if not (path / "config.json").is_file():
            raise FileNotFoundError(
                f"{source} has neither config.json nor adapter_config.json: it is no model."
            )
        _check_safetensors(path, allow_pickle)
    elif path.is_absolute() or str(source).startswith((".", "~")) or str(source).count("/") != 1:
        raise FileNotFoundError(f"There is no model directory or .gguf file {source}.")


def load_tokenizer(
    source: str | Path, base: str | Path | None, trust_remote_code: bool
) -> PreTrainedTokenizerBase:
    """The tokenizer of any source that `load_model` takes.

    Raises:
        FileNotFoundError: If there is none.
    """
    path = Path(source).expanduser()
    if path.suffix == ".gguf":
        return AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)
    if (path / "adapter_config.json").is_file():
        return load_tokenizer(_base_of(path, base), None, trust_remote_code)
    try:
        return AutoTokenizer.from_pretrained(
            str(path if path.is_dir() else source), trust_remote_code=trust_remote_code
        )
    except OSError as error:
        raise FileNotFoundError(f"{source} has no tokenizer: {_first_line(error)}") from error


def _from_pretrained(source: str, options: _Options) -> Loaded:
    path = Path(source).expanduser()
    try:
        hf = AutoModelForCausalLM.from_pretrained(
            str(path if path.is_dir() else source),
            dtype=options.dtype,
            device_map=options.device_map,
            trust_remote_code=options.trust_remote_code,
            use_safetensors=None if options.allow_pickle else True,
        )
    except OSError as error:
        raise FileNotFoundError(f"{source} could not be loaded: {_first_line(error)}") from error
    except SafetensorError as error:
        raise ValueError(f"{source} has a damaged .safetensors file ({error}).") from error
    return hf, load_tokenizer(source, None, options.trust_remote_code), ()


def _from_gguf(path: Path, options: _Options) -> Loaded:
    hf = AutoModelForCausalLM.from_pretrained(
        path.parent,
        gguf_file=path.name,
        dtype=options.dtype,
        device_map=options.device_map,
        quantization_config=GgufConfig(dequantize=True),
    )
    precision = str(options.dtype).removeprefix("torch.")
    note = f"de-quantized from {path.name} into plain {precision} weights"
    return hf, load_tokenizer(path, None, options.trust_remote_code), (note,)


def _from_adapter(path: Path, base: str | Path | None, options: _Options) -> Loaded:
    # Imported late: most models are no adapters, and peft takes a while.
    from peft import PeftModel

    under = _base_of(path, base)
    if Path(under).suffix == ".gguf":
        hf, tokenizer, notes = _from_gguf(Path(under).expanduser(), options)
    else:
        hf, tokenizer, notes = _from_pretrained(under, options)
    merged = PeftModel.from_pretrained(hf, str(path)).merge_and_unload()
    return merged, tokenizer, (*notes, f"adapter {path.name} merged onto {Path(under).name}")


def _base_of(adapter: Path, base: str | Path | None) -> str:
    """The model under an adapter: the one given, or the one it names."""
    config = json.loads((adapter / "adapter_config.json").read_text(encoding="utf-8"))
    under = str(base or config.get("base_model_name_or_path") or "")
    if not under:
        raise ValueError(f"{adapter} is an adapter that names no base model: pass --base MODEL.")
    return under


def _check_safetensors(path: Path, allow_pickle: bool) -> None:
    if not allow_pickle and not any(path.glob("*.safetensors")):
        raise ValueError(
            f"{path} has no .safetensors file. Weights in other formats can run code when they "
            "are loaded: convert them, or pass --allow-pickle if you trust their author."
        )


def _first_line(error: OSError) -> str:
    return str(error).strip().splitlines()[0]
