"""What a training run works on: the model in training, its parameters, and those who judge it."""

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
    """Everything that a step needs and that stays the same from step to step."""

    training: TrainingState
    objective: Objective
    regularizer: Regularizer | None
    facts: FactSet
    config: TrainingConfig
    processes: Processes

    parameters: dict[str, nn.Parameter]
    """Those that are trained."""

    masks: Gradients
    """Where a parameter may change, as booleans; for those that may not change everywhere."""

    start: Gradients
    """The trained parameters of the model before: its own, or its shards. Empty with adapters."""

    optimizer: Optimizer

    adapted: "PeftModel | None"
    """The model in training with its adapters, if these are what is trained."""

    apart: Gradients = field(default_factory=dict)
    """Memory for a second gradient. It outlasts the step, because fresh memory costs a step more
    than the arithmetic on it."""

    def update_norm(self) -> float:
        """‖θ − θ0‖ over all parameters that are trained; of adapters, over what they add."""
        if self.adapted is not None:
            return math.sqrt(square_of_change(self.adapted))
        pairs = ((p.detach(), self.start[name]) for name, p in self.parameters.items())
        return math.sqrt(squares_between(pairs))

    def kept_apart(
        self, name: str, gradient: Float[Tensor, "..."], divisor: float
    ) -> Float[Tensor, "..."]:
        """A parameter's gradient, divided, in the place of the last one of that name."""
        if name not in self.apart:
            self.apart[name] = torch.empty_like(gradient)
        torch.div(local(gradient), divisor, out=local(self.apart[name]))
        return self.apart[name]

    def gather_anew(self) -> None:
        """Let the next pass put the parameters together from their shards.

        Between a forward pass that no backward pass follows and the next one, FSDP2 keeps its last
        modules whole: with the values that they had, and without gradient if they were frozen.
        """
        for module in self.training.model.hf.modules():
            if isinstance(module, FSDPModule):
                module.reshard()

    def hold_masked(self) -> None:
        """Put back what the optimizer changed where nothing may change, as by weight decay."""
        with torch.no_grad():
            for name, mask in self.masks.items():
                parameter = self.parameters[name]
                parameter.copy_(torch.where(mask, parameter, self.start[name].to(parameter.dtype)))


class HalfPrecision(nn.Module):
    """A model whose passes are in bfloat16, with its parameters as they are."""

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
    """Copy the model, find out what of it is trained, and share it out over the processes.

    Memory: the copy (with adapters: these alone), its gradients, and what the optimizer keeps. The
    reference and θ0 are the given model itself, where device and precision are the same.

    Raises:
        ValueError: If the objective names weights that may change, but adapters are trained.
    """
    training, adapted = _training_state(model, objective, regularizer, config, processes)
    named = objective.where(training, facts)
    training.model.hf.zero_grad(set_to_none=True)
    if named is not None and adapted is not None:
        raise ValueError(
            f"{type(objective).__name__} names the weights that may change, which adapters cannot "
            "follow: train without lora_rank."
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
    # What will be sharded must not first lie whole on every device.
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
    """θ0: a copy of the shard, or the given model's own parameter."""
    if isinstance(parameter, DTensor):
        return parameter.detach().clone()
    return before.to(parameter.device)


def _like(tensor: Shaped[Tensor, "..."], parameter: nn.Parameter) -> Shaped[Tensor, "..."]:
    """The same on the parameter's device, and sharded as it is."""
    if isinstance(parameter, DTensor):
        there = tensor.to(parameter.device)
        return distribute_tensor(there, parameter.device_mesh, parameter.placements)
    return tensor.to(parameter.device)
