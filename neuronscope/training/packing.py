"""The state of a run as tensors and JSON, so that reading it executes no code.

The state consists of nested dictionaries, lists and tuples of tensors and plain values. If a tensor
is sharded, each process stores its own shard. The JSON contains the key of the run, its own
checksum and that of the tensors.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from neuronscope.results.cache import file_checksum, read_sealed, write_sealed


@dataclass(frozen=True, eq=False)
class Home:
    """Placement of the tensors that are read."""

    device: Callable[[str], torch.device]
    """The device for tensors that were saved from a device of the given name."""

    alike: nn.Parameter
    """Any trained parameter; all sharded tensors are sharded like it."""

    def put(self, tensor: Tensor, described: dict[str, Any]) -> Tensor:
        """Move a tensor to its device, or build the sharded tensor to which it belongs.

        Raises:
            ValueError: If it is a shard, but this run is not sharded.
        """
        if "shape" not in described:
            return tensor.to(self.device(described["device"]))
        if not isinstance(self.alike, DTensor):
            raise ValueError("the checkpoint contains shards, but this run is not sharded")
        return DTensor.from_local(
            tensor.to(self.alike.device),
            self.alike.device_mesh,
            self.alike.placements,
            run_check=False,
            shape=torch.Size(described["shape"]),
            stride=tuple(described["stride"]),
        )


def write_packed(state: object, path: Path, key: str) -> None:
    """Write a state to `path` with the suffixes `.safetensors` and `.json`.

    Args:
        key: Key of the run that the state belongs to.
    """
    tensors: dict[str, Tensor] = {}
    packed = _pack(state, tensors)
    file = path.with_suffix(".safetensors")
    save_file(tensors, file)
    write_sealed(path.with_suffix(".json"), {"tensors": file_checksum(file), "state": packed}, key)


def read_packed(path: Path, home: Home, key: str) -> Any:
    """Read the state that `write_packed` wrote.

    Raises:
        ValueError: If a file is damaged, or belongs to a different run.
    """
    sealed = read_sealed(path.with_suffix(".json"), key)
    file = path.with_suffix(".safetensors")
    if file_checksum(file) != sealed["tensors"]:
        raise ValueError(f"{file.name}: the checksum does not match")
    return _unpack(sealed["state"], load_file(file), home)


def _pack(value: object, tensors: dict[str, Tensor]) -> object:
    if isinstance(value, DTensor):
        whole = {"shape": list(value.shape), "stride": list(value.stride())}
        return {"tensor": _store(value.to_local(), tensors), **whole}
    if isinstance(value, Tensor):
        return {"tensor": _store(value, tensors), "device": str(value.device)}
    if isinstance(value, dict):
        # As pairs, because keys of an optimizer's state are integers and JSON keys are strings.
        return {"dict": [[key, _pack(item, tensors)] for key, item in value.items()]}
    if isinstance(value, (list, tuple)):
        kind = "list" if isinstance(value, list) else "tuple"
        return {kind: [_pack(item, tensors) for item in value]}
    if value is None or isinstance(value, (str, int, float, bool)):
        return value
    raise ValueError(f"A checkpoint cannot contain a {type(value).__name__}: {value!r:.40}.")


def _store(tensor: Tensor, tensors: dict[str, Tensor]) -> str:
    name = f"{len(tensors):06d}"
    stored = tensor.detach().cpu().contiguous()
    taken = {other.untyped_storage().data_ptr() for other in tensors.values()}
    # safetensors rejects tensors that share memory.
    tensors[name] = stored.clone() if stored.untyped_storage().data_ptr() in taken else stored
    return name


def _unpack(value: Any, tensors: dict[str, Tensor], home: Home) -> Any:
    if not isinstance(value, dict):
        return value
    if "tensor" in value:
        return home.put(tensors[value["tensor"]], value)
    if "dict" in value:
        return {key: _unpack(item, tensors, home) for key, item in value["dict"]}
    kind = list if "list" in value else tuple
    return kind(_unpack(item, tensors, home) for item in value[kind.__name__])
