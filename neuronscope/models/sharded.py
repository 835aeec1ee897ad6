"""Arithmetic on tensors that may be sharded over processes.

Where possible, no step allocates a second tensor of the same size: for large matrices, allocating
memory costs more than the arithmetic.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence

import torch
from jaxtyping import Float, Shaped
from torch import Tensor
from torch.distributed.tensor import DTensor, Partial, Replicate

BLOCK_CPU, BLOCK_ELSEWHERE = 2**18, 2**26
"""Maximum number of entries in a block. On a CPU, a few blocks fit into its caches together; on a
GPU, launching a kernel costs more than memory access."""


def whole(tensor: Shaped[Tensor, "..."]) -> Shaped[Tensor, "..."]:
    """The full tensor, gathered if it is sharded."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def local(tensor: Shaped[Tensor, "..."]) -> Shaped[Tensor, "..."]:
    """This process's shard, without a copy; the tensor itself if it is not sharded."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def blocks(*tensors: Shaped[Tensor, "..."]) -> Iterator[tuple[Tensor, ...]]:
    """Split tensors of one shape into blocks of the same rows; yields views.

    Several operations on one block read memory only once. For sharded tensors, only this process's
    shards are split.
    """
    parts = [local(tensor) for tensor in tensors]
    first = parts[0]
    if first.dim() == 0 or first.numel() == 0:
        yield tuple(parts)
        return
    most = BLOCK_CPU if first.device.type == "cpu" else BLOCK_ELSEWHERE
    rows = max(1, most * len(first) // first.numel())
    yield from zip(*(part.split(rows) for part in parts), strict=True)


def added(parts: Sequence[Shaped[Tensor, ""]], shard: Shaped[Tensor, "..."]) -> float:
    """Add up numbers that each process computed from its shards, over all processes.

    Args:
        shard: One of the tensors that the numbers were computed from, for its sharding.
    """
    total = torch.stack([part.to(parts[0].device) for part in parts]).sum()
    if isinstance(shard, DTensor):
        # Processes that hold the same shard have the same numbers.
        kinds = [p if isinstance(p, Replicate) else Partial() for p in shard.placements]
        total = DTensor.from_local(total, shard.device_mesh, kinds).full_tensor()
    return float(total)


Pair = tuple[Tensor, Tensor]


def squares_and_products(pairs: Iterable[Pair]) -> tuple[float, float]:
    """Σ a² and Σ a·b over all entries of pairs a, b, in at least single precision."""
    squares, products = _over_pairs(pairs, lambda a, _: inner(a, a), inner)
    return squares, products


def squares_between(pairs: Iterable[Pair]) -> float:
    """Σ (a − b)² over all entries of pairs a, b, in at least single precision."""

    def square(a: Tensor, b: Tensor) -> Float[Tensor, ""]:
        apart = a.to(_wide(a)) - b
        return inner(apart, apart)

    return _over_pairs(pairs, square)[0]


def inner(a: Float[Tensor, "*axes"], b: Float[Tensor, "*axes"]) -> Float[Tensor, ""]:
    """Σ a·b without a tensor of products, in at least single precision."""
    wide = _wide(a)
    return torch.dot(a.to(wide).reshape(-1), b.to(wide).reshape(-1))


def _over_pairs(
    pairs: Iterable[Pair], *figures: Callable[[Tensor, Tensor], Float[Tensor, ""]]
) -> list[float]:
    found, shard = [], None
    for a, b in pairs:
        shard = a
        found += [[figure(*block) for figure in figures] for block in blocks(a, b)]
    if shard is None:
        return [0.0] * len(figures)
    return [added(one, shard) for one in zip(*found, strict=True)]


def total_of(tensors: Iterable[Tensor]) -> float:
    """The sum of all entries of all tensors over all shards, in at least single precision."""
    sums = [t.sum(dtype=_wide(t)) for t in tensors]
    if not sums:
        return 0.0
    return float(whole(torch.stack([one.to(sums[0].device) for one in sums]).sum()))


def squares_of(tensors: Iterable[Tensor]) -> float:
    """The sum of the squares of all entries over all shards, in at least single precision."""
    return total_of(_squares(t) for t in tensors)


def _squares(tensor: Shaped[Tensor, "..."]) -> Shaped[Tensor, "..."]:
    """Terms whose sum is the squared norm.

    They are the squared norms of a matrix's rows, or the squared entries of vectors and shards.
    """
    if isinstance(tensor, DTensor) or tensor.dim() < 2:
        return tensor.to(_wide(tensor)).square()
    return torch.linalg.vector_norm(tensor, dim=-1, dtype=_wide(tensor)).square()


def _wide(tensor: Shaped[Tensor, "..."]) -> torch.dtype:
    return torch.promote_types(tensor.dtype, torch.float32)
