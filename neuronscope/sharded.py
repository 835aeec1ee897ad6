"""Sums over tensors of which each process may hold only a shard.

No step makes a second tensor of the size of the first where it can be helped: of large matrices the
pages of memory cost more than the arithmetic.
"""

from collections.abc import Iterable

import torch
from jaxtyping import Shaped
from torch import Tensor
from torch.distributed.tensor import DTensor


def whole(tensor: Shaped[Tensor, "..."]) -> Shaped[Tensor, "..."]:
    """All of a tensor that may be sharded."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def total_of(tensors: Iterable[Tensor]) -> float:
    """The sum of all entries of all tensors, in single precision at least, of every shard."""
    sums = [t.sum(dtype=_wide(t)) for t in tensors]
    if not sums:
        return 0.0
    return float(whole(torch.stack([one.to(sums[0].device) for one in sums]).sum()))


def squares_of(tensors: Iterable[Tensor]) -> float:
    """The sum of the squares of all entries, likewise."""
    return total_of(_squares(t) for t in tensors)


def _squares(tensor: Shaped[Tensor, "..."]) -> Shaped[Tensor, "..."]:
    """Squares that add up to those of the entries: row by row, where the rows are whole."""
    if isinstance(tensor, DTensor) or tensor.dim() < 2:
        return tensor.to(_wide(tensor)).square()
    return torch.linalg.vector_norm(tensor, dim=-1, dtype=_wide(tensor)).square()


def _wide(tensor: Shaped[Tensor, "..."]) -> torch.dtype:
    return torch.promote_types(tensor.dtype, torch.float32)
