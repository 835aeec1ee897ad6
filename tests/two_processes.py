"""Train in several processes started together, and save the result of each.

First with data parallelism, then with a sharded model. Usage: two_processes.py OUT RUN...
"""

import sys
from contextlib import suppress
from pathlib import Path

import torch
from accelerate import Accelerator, DistributedType, FullyShardedDataParallelPlugin
from accelerate.state import AcceleratorState, PartialState
from safetensors.torch import save_file
from tiny import FORGET, RETAIN, StayDouble
from training_example import LEFT, RUNS, Interrupted, model

from neuronscope.facts.fact import FactSet
from neuronscope.training import Run, unlearn


def shard() -> None:
    """Enable FSDP2, which Accelerate enables only with GPUs."""
    accelerator = Accelerator(mixed_precision="no")
    state = AcceleratorState._shared_state
    state["fsdp_plugin"] = FullyShardedDataParallelPlugin(
        fsdp_version=2,
        auto_wrap_policy="transformer_based_wrap",
        transformer_cls_names_to_wrap=["LlamaDecoderLayer"],
        cpu_ram_efficient_loading=False,
    )
    state["distributed_type"] = DistributedType.FSDP
    PartialState._shared_state["distributed_type"] = DistributedType.FSDP
    assert accelerator.is_fsdp2


def train_all(out: Path, names: list[str]) -> None:
    out.mkdir(exist_ok=True)
    for name in names:
        with StayDouble():
            keep(out / name, unlearn(model(), out=out / name, **RUNS[name]()))
    # Interrupted in the fifth step, and resumed from the fourth.
    LEFT[0] = 10
    with StayDouble(), suppress(Interrupted):
        unlearn(model(), out=out / "again", **RUNS["fragile"]())
    files = sorted(path.name for path in (out / "again" / "pieces" / "step-000004").iterdir())
    Accelerator().wait_for_everyone()
    with StayDouble():
        keep(out / "again", unlearn(model(), out=out / "again", **RUNS["fragile"]()))
    (out / "files").write_text(" ".join(files))
    try:
        unlearn(model(), **RUNS["npo"]() | {"facts": FactSet(forget=FORGET, retain=RETAIN[:1])})
    except ValueError as error:
        (out / f"refused-{PartialState().process_index}").write_text(str(error))


def keep(run_folder: Path, run: Run) -> None:
    """Save the result of this process next to the run's folder."""
    name = f"{run_folder.name}-{PartialState().process_index}"
    run.history.to_parquet(run_folder.with_name(f"{name}.parquet"))
    weights = {n: p.detach().clone() for n, p in run.model.hf.named_parameters()}
    save_file(weights, run_folder.with_name(f"{name}.safetensors"), {"stopped": run.stopped})


if __name__ == "__main__":
    folder, everything = Path(sys.argv[1]), sys.argv[2:]
    train_all(folder / "shared", everything)
    shard()
    # Adapters need the complete base model.
    train_all(folder / "sharded", [name for name in everything if name != "adapters"])
    torch.distributed.destroy_process_group()
