"""The processes that share a run, as `accelerate launch` started them; usually one.

Each process passes its share of a step's facts. Gradients are then summed over processes here, not
by DistributedDataParallel: an objective may pass the model twice, or only up to a layer, which its
reducer takes for an error. Under FSDP2 the model itself sums them, as it must to shard them.
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

OTHERS = (
    DistributedType.DEEPSPEED,
    DistributedType.MEGATRON_LM,
    DistributedType.XLA,
)
"""Ways of sharing a run that own the optimizer's step, which this one must not give away."""


@dataclass(frozen=True, eq=False)
class Processes:
    """This process among those that share the run."""

    accelerator: Accelerator

    @staticmethod
    def joined() -> "Processes":
        """Join the processes that were started together.

        Raises:
            ValueError: If they were started in a way that cannot train here.
        """
        # Precision is this package's own business: Accelerate's belongs to the whole process.
        accelerator = Accelerator(mixed_precision="no")
        kind = accelerator.distributed_type
        if kind in OTHERS or (kind == DistributedType.FSDP and not accelerator.is_fsdp2):
            raise ValueError(
                f"Started by Accelerate as {kind.value}: expected a single process, several that "
                "share the data, or FSDP version 2; run `accelerate config` again."
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
        """Whether this is the one that writes and shows."""
        return self.accelerator.is_main_process

    @property
    def sharded(self) -> bool:
        """Whether each process holds only its part of every parameter."""
        return self.accelerator.is_fsdp2

    @property
    def device(self) -> torch.device | None:
        """Where the model has to be; a single process leaves it where it is."""
        return None if self.count == 1 and not self.sharded else self.accelerator.device

    @property
    def gradient_scale(self) -> int:
        """What a loss is multiplied by, so that gradients are sums: FSDP2 takes their mean."""
        return self.count if self.sharded else 1

    def total(self, tensor: Shaped[Tensor, "..."]) -> Shaped[Tensor, "..."]:
        """The sum over processes."""
        if self.count == 1 or isinstance(tensor, DTensor):
            return tensor
        there = tensor.detach().to(self.accelerator.device)
        summed = self.accelerator.reduce(there, "sum")
        assert isinstance(summed, Tensor)
        return summed.to(tensor.device)

    def sum_gradients(self, parameters: dict[str, nn.Parameter]) -> None:
        """Make every `.grad` the sum over processes."""
        if self.count == 1 or self.sharded:
            return
        for parameter in parameters.values():
            # A process whose facts do not reach a parameter must wait for the others all the same.
            here = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
            parameter.grad = self.total(here)

    def agreed(self, value: T) -> T:
        """What the main process says, in all of them."""
        if self.count == 1:
            return value
        return broadcast_object_list([value])[0]

    def wait(self) -> None:
        """Until all are here."""
        self.accelerator.wait_for_everyone()
