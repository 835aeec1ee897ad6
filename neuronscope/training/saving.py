"""Write the files of a finished run."""

import importlib.metadata
import platform
import shutil
from collections.abc import Mapping

import torch
from torch import nn

from neuronscope.facts.fact import facts_hash
from neuronscope.models.hooked_model import HookedModel
from neuronscope.models.loading import save_model
from neuronscope.models.sharded import whole
from neuronscope.results.cache import Workspace, write_table
from neuronscope.training.copies import copied, training_dtype
from neuronscope.training.lora import merged, save_adapter
from neuronscope.training.plan import HISTORY, MODEL
from neuronscope.training.run import Run
from neuronscope.training.work import Work

PACKAGES = ("neuronscope", "torch", "transformers", "accelerate", "peft", "safetensors")
"""Packages whose versions affect the numbers."""


def plain_model(model: HookedModel, work: Work, source: str, note: str) -> HookedModel:
    """The trained model, with adapters merged and shards gathered.

    Every process gathers the shards on the device of the given model.

    Args:
        model: The original model.
        note: A description of the training, added to the model's notes.
    """
    hf = work.training.model.hf
    if work.adapted is not None:
        hf = merged(work.adapted)
    elif work.processes.sharded:
        hf = copied(model.hf, None, training_dtype(model.hf), share=False)
        _fill(hf, dict(work.training.model.hf.named_parameters()))
    hf.eval().requires_grad_(True)
    return HookedModel.of(hf, model.tokenizer, source, (*model.notes, note))


def _fill(hf: nn.Module, shards: Mapping[str, nn.Parameter]) -> None:
    with torch.no_grad():
        for name, parameter in hf.named_parameters():
            parameter.copy_(whole(shards[name].detach()))


def save_run(workspace: Workspace, run: Run, model: HookedModel, work: Work, steps: int) -> None:
    """Write model, history and, last, the manifest; delete the checkpoints.

    Args:
        model: The original model.
        steps: Number of updates made.
    """
    out = workspace.folder
    # A run that was interrupted at this point may have left a complete or partial model.
    for left in (out / MODEL, *out.glob(f".{MODEL}.*")):
        shutil.rmtree(left, ignore_errors=True)
    if work.adapted is not None:
        save_adapter(work.adapted, model, out / MODEL)
    else:
        save_model(run.model, out / MODEL)
    write_table(out / HISTORY, run.history)
    manifest = {
        "config": vars(run.config),
        "steps": steps,
        "stopped": run.stopped,
        "seconds": run.seconds,
        "model": {"source": model.source, "notes": model.notes},
        "fingerprint": run.model.fingerprint(),
        "adapter": work.adapted is not None,
        "facts": {"source": work.facts.source, "hash": facts_hash(work.facts)},
        "devices": {"processes": work.processes.count, "each": _device(work)},
        "versions": {"python": platform.python_version()}
        | {name: importlib.metadata.version(name) for name in PACKAGES},
    }
    workspace.finish(manifest)


def _device(work: Work) -> str:
    device = work.training.model.device
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{device.type} ({platform.machine()})"
