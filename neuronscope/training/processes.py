"""The processes of a run, as started by `accelerate launch`; usually one.

Each process computes on its share of a step's facts. The gradients are then summed over processes
here rather than by DistributedDataParallel, whose reducer raises an error if an objective runs the
model twice or only up to some layer. Under FSDP2 the model itself averages the gradients over
processes when it shards them, which `gradient_scale` turns into sums.
"""

from dataclasses import dataclass
from typing import TypeVar

import torch
from accelerate import Accelerator, DistributedType
from accelerate.utils import broadcast_object_list
from jaxtyping import Shaped
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

T = TypeVar("T")

UNSUPPORTED = (
    DistributedType.DEEPSPEED,
    DistributedType.MEGATRON_LM,
    DistributedType.XLA,
)
"""Backends that take over the optimizer step, which this training loop performs itself."""


@dataclass(frozen=True, eq=False)
class Processes:
    """This process and its communication with the other processes of the run."""

    accelerator: Accelerator

    @staticmethod
    def joined() -> "Processes":
        """Join the processes that were started together.

        Raises:
            ValueError: If they were started with an unsupported backend.
        """
        # This package handles precision itself; Accelerate's setting is global to the process.
        accelerator = Accelerator(mixed_precision="no")
        kind = accelerator.distributed_type
        if kind in UNSUPPORTED or (kind == DistributedType.FSDP and not accelerator.is_fsdp2):
            raise ValueError(
                f"Expected Accelerate to start a single process, data parallelism, or FSDP version "
                f"2, got {kind.value}; run `accelerate config` again."
            )
        return Processes(accelerator)

    @property
    def count(self) -> int:
        return self.accelerator.num_processes

    @property
    def index(self) -> int:
        return self.accelerator.process_index

    @property
    def main(self) -> bool:
        """Whether this is the main process, which writes files and shows progress."""
        return self.accelerator.is_main_process

    @property
    def sharded(self) -> bool:
        """Whether each process holds only a shard of every parameter."""
        return self.accelerator.is_fsdp2

    @property
    def device(self) -> torch.device | None:
        """The device for the model; None in a single process, which leaves the model in place."""
        return None if self.count == 1 and not self.sharded else self.accelerator.device

    @property
    def gradient_scale(self) -> int:
        """Factor by which the loss is multiplied.

        With it, gradients are sums over processes although FSDP2 averages them.
        """
        return self.count if self.sharded else 1

    def total(self, tensor: Shaped[Tensor, "..."]) -> Shaped[Tensor, "..."]:
        """The sum over processes."""
        if self.count == 1 or isinstance(tensor, DTensor):
            return tensor
        moved = tensor.detach().to(self.accelerator.device)
        summed = self.accelerator.reduce(moved, "sum")
        assert isinstance(summed, Tensor)
        return summed.to(tensor.device)

    def sum_gradients(self, parameters: dict[str, nn.Parameter]) -> None:
        """Replace every `.grad` by its sum over processes."""
        if self.count == 1 or self.sharded:
            return
        for parameter in parameters.values():
            # A process without a gradient for a parameter must still take part in the sum.
            own = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
            parameter.grad = self.total(own)

    def agreed(self, value: T) -> T:
        """The main process's value, in every process."""
        if self.count == 1:
            return value
        return broadcast_object_list([value])[0]

    def wait(self) -> None:
        """Wait until all processes have reached this point."""
        self.accelerator.wait_for_everyone()
