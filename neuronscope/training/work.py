"""The objects of a training run: the model in training, its parameters, and the methods."""

import math
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.optim import Optimizer
from transformers import PreTrainedModel

from neuronscope.facts.fact import FactSet
from neuronscope.models.hooked_model import HookedModel
from neuronscope.models.sharded import local, squares_between
from neuronscope.objectives import Gradients, Objective, TrainingState
from neuronscope.regularizers import Regularizer
from neuronscope.training.config import TrainingConfig
from neuronscope.training.copies import copied, hooked_alike, reference_of, training_dtype
from neuronscope.training.lora import base_named, square_of_change, with_adapter
from neuronscope.training.optimizers import make_optimizer
from neuronscope.training.processes import Processes

if TYPE_CHECKING:
    from peft import PeftModel


@dataclass(frozen=True, eq=False)
class Work:
    """Everything that a step needs and that does not change between steps."""

    training: TrainingState
    objective: Objective
    regularizer: Regularizer | None
    facts: FactSet
    config: TrainingConfig
    processes: Processes

    parameters: dict[str, nn.Parameter]
    """The trained parameters."""

    masks: Gradients
    """Boolean masks of the entries that may change, for parameters with entries that may not."""

    start: Gradients
    """θ0, the initial values of the trained parameters, or their shards; empty with adapters."""

    optimizer: Optimizer

    adapted: "PeftModel | None"
    """The model in training with its adapters, if adapters are trained."""

    apart: Gradients = field(default_factory=dict)
    """Memory for a second gradient. It is reused by all steps, because allocating it takes more
    time than the arithmetic on it."""

    def update_norm(self) -> float:
        """‖θ − θ0‖ over all trained parameters; with adapters, the norm of their contribution."""
        if self.adapted is not None:
            return math.sqrt(square_of_change(self.adapted))
        pairs = ((p.detach(), self.start[name]) for name, p in self.parameters.items())
        return math.sqrt(squares_between(pairs))

    def stored_apart(
        self, name: str, gradient: Float[Tensor, "..."], divisor: float
    ) -> Float[Tensor, "..."]:
        """A copy of a parameter's gradient, divided by `divisor`.

        The next call for the same parameter overwrites it.
        """
        if name not in self.apart:
            self.apart[name] = torch.empty_like(gradient)
        torch.div(local(gradient), divisor, out=local(self.apart[name]))
        return self.apart[name]

    def reshard(self) -> None:
        """Make the next pass gather the parameters from their shards again.

        After a forward pass without a backward pass, FSDP2 keeps the last modules gathered until
        the next pass: with their old values, and without gradients if they were frozen.
        """
        for module in self.training.model.hf.modules():
            if isinstance(module, FSDPModule):
                module.reshard()

    def restore_masked(self) -> None:
        """Undo changes by the optimizer, such as weight decay, to entries that may not change."""
        with torch.no_grad():
            for name, mask in self.masks.items():
                parameter = self.parameters[name]
                parameter.copy_(torch.where(mask, parameter, self.start[name].to(parameter.dtype)))


class HalfPrecision(nn.Module):
    """A model that computes in bfloat16, with parameters in their own precision."""

    def __init__(self, hf: PreTrainedModel):
        super().__init__()
        self.hf = hf

    def forward(self, input_ids: Int[Tensor, "batch pos"], **others: object) -> object:
        with torch.autocast(input_ids.device.type, torch.bfloat16):
            return self.hf(input_ids=input_ids, **others)


def prepare(
    model: HookedModel,
    objective: Objective,
    regularizer: Regularizer | None,
    facts: FactSet,
    config: TrainingConfig,
    processes: Processes,
) -> Work:
    """Copy the model, determine which parameters to train, and distribute it over the processes.

    Memory: the copy (with adapters, only these), its gradients, and the optimizer's state. The
    reference and θ0 share memory with the given model if device and precision are the same.

    Raises:
        ValueError: If the objective restricts which weights may change, but adapters are trained.
    """
    training, adapted = _training_state(model, objective, regularizer, config, processes)
    named = objective.where(training, facts)
    training.model.hf.zero_grad(set_to_none=True)
    if named is not None and adapted is not None:
        raise ValueError(
            f"{type(objective).__name__} restricts which weights may change, which adapters do not "
            "support; train without lora_rank."
        )
    hf = training.model.hf
    if named is not None:
        for name, parameter in hf.named_parameters():
            parameter.requires_grad_(name in named)
    optimizer = make_optimizer([p for p in hf.parameters() if p.requires_grad], config)
    if processes.sharded:
        prepared = processes.accelerator.prepare(hf, optimizer)
        optimizer = prepared[1].optimizer
    parameters = {name: p for name, p in hf.named_parameters() if p.requires_grad}
    masks = {
        name: _like(mask.bool(), parameters[name])
        for name, mask in (named or {}).items()
        if not bool(mask.bool().all())
    }
    start = Gradients()
    if adapted is None:
        before = dict(model.hf.named_parameters())
        start = {n: _at_first(before[n].detach(), p) for n, p in parameters.items()}
    return Work(
        training, objective, regularizer, facts, config, processes, parameters, masks, start,
        optimizer, adapted,
    )  # fmt: skip


def _training_state(
    model: HookedModel,
    objective: Objective,
    regularizer: Regularizer | None,
    config: TrainingConfig,
    processes: Processes,
) -> tuple[TrainingState, "PeftModel | None"]:
    adapted = None
    # A model that will be sharded may be too large for one device.
    device = None if processes.sharded else processes.device
    adapters = config.lora_rank is not None
    dtype = model.dtype if adapters else training_dtype(model.hf)
    hf = copied(model.hf, device, dtype, share=adapters)
    if adapters:
        adapted = with_adapter(hf, base_named(model), config)
    trained = _in_precision(replace(model, hf=hf, hook_points=hooked_alike(model, hf)), config)
    needed = objective.needs_reference or (regularizer is not None and regularizer.needs_reference)
    before = _in_precision(reference_of(model, processes.device, dtype), config) if needed else None
    return TrainingState(trained, before, config.form), adapted


def _in_precision(model: HookedModel, config: TrainingConfig) -> HookedModel:
    if config.precision == "full":
        return model
    return replace(model, wrapper=HalfPrecision(model.hf))


def _at_first(before: Shaped[Tensor, "..."], parameter: nn.Parameter) -> Shaped[Tensor, "..."]:
    """θ0: a copy of the shard, or the parameter of the given model itself."""
    if isinstance(parameter, DTensor):
        return parameter.detach().clone()
    return before.to(parameter.device)


def _like(tensor: Shaped[Tensor, "..."], parameter: nn.Parameter) -> Shaped[Tensor, "..."]:
    """The tensor on the parameter's device, sharded like the parameter."""
    moved = tensor.to(parameter.device)
    if isinstance(parameter, DTensor):
        return distribute_tensor(moved, parameter.device_mesh, parameter.placements)
    return moved
