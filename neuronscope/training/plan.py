"""What a run's numbers depend on, as JSON; and the folder that holds a run."""

import json
from collections.abc import Iterable
from dataclasses import asdict, fields, is_dataclass
from pathlib import Path
from typing import Any

from neuronscope.facts.fact import Fact, facts_hash
from neuronscope.models.hooked_model import HookedModel
from neuronscope.results.cache import content_of
from neuronscope.training.config import TrainingConfig
from neuronscope.training.processes import Processes

Plan = dict[str, Any]

FREE = (
    "config.checkpoint_steps", "config.checkpoint_minutes", "config.tracker", "model.source",
)  # fmt: skip
"""What may differ when a run is taken up again: no number depends on it. A model is known by its
fingerprint, wherever it lies."""

PLAN, MANIFEST, CHECKPOINTS, MODEL, HISTORY = (
    "config.json", "manifest.json", "checkpoint", "model", "history.parquet"
)  # fmt: skip


def plan_of(
    model: HookedModel,
    methods: dict[str, object],
    facts: Iterable[tuple[str, Fact]],
    config: TrainingConfig,
    processes: Processes,
) -> Plan:
    """Everything that decides a run's numbers, by name and field.

    Args:
        methods: Objective, regularizer and stop rule, by these words.
        facts: Each with its split, or what else it is for.
    """
    return {
        **{role: described(method) for role, method in methods.items()},
        "config": plain(asdict(config)),
        "model": identified(model),
        "facts": facts_hash(facts),
        "processes": {"number": processes.count, "sharded": processes.sharded},
    }


def identified(model: HookedModel) -> Plan:
    """A model by what was loaded and by its weights."""
    return {"source": model.source, "fingerprint": model.fingerprint()}


def described(method: object) -> Plan | None:
    """A method by its class's name and its settings."""
    if method is None:
        return None
    settings = fields(method) if is_dataclass(method) else ()
    values = {item.name: plain(vars(method)[item.name]) for item in settings}
    return {"name": type(method).__name__, **values}


def check_folder(out: Path) -> None:
    """Refuse a folder that no run can be written to.

    Raises:
        FileExistsError: If there is a finished run, or something else.
    """
    if (out / MANIFEST).exists():
        raise FileExistsError(
            f"{out} holds a finished run: choose another folder, or move it away."
        )
    unfinished = (out / PLAN).is_file()
    if out.exists() and not unfinished and (not out.is_dir() or any(out.iterdir())):
        raise FileExistsError(f"{out} exists, and is no run: choose another folder.")


def open_folder(out: Path, plan: Plan, processes: Processes) -> None:
    """Make the folder of a run, or find the unfinished run in it.

    Raises:
        FileExistsError: If there is a finished run, or something else.
        ValueError: If there is an unfinished run of another plan; names what differs.
    """
    check_folder(out)
    found = out / PLAN
    if found.is_file():
        _check_same(out, json.loads(found.read_text(encoding="utf-8")), plan)
    processes.wait()
    if processes.main:
        out.mkdir(parents=True, exist_ok=True)
        write_whole(found, json.dumps(plan, indent=1))
    processes.wait()


def write_whole(path: Path, text: str) -> None:
    """Write a text file, whole or not at all."""
    unfinished = path.with_name(f".{path.name}.partial")
    unfinished.write_text(text + "\n", encoding="utf-8")
    unfinished.replace(path)


def _check_same(out: Path, theirs: Plan, ours: Plan) -> None:
    before, now = _flat(theirs), _flat(ours)
    for name in dict.fromkeys([*now, *before]):
        if name not in FREE and before.get(name) != now.get(name):
            raise ValueError(
                f"{out} holds an unfinished run of other settings: {name} was "
                f"{before.get(name)!r:.60}, and is now {now.get(name)!r:.60}. Finish it with "
                "those, or delete the folder."
            )


def _flat(plan: Plan, prefix: str = "") -> Plan:
    flat: Plan = {}
    for name, value in plan.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = value
    return flat


def plain(setting: object) -> Any:
    """A setting as JSON: of a model or a file, what it is and not where it lies.

    Under the same name there may be another file the next time.
    """
    if isinstance(setting, HookedModel):
        return setting.fingerprint()
    if isinstance(setting, Path):
        # What methods read of a folder are its tables.
        content = content_of(setting, "*.parquet")
        return str(setting) if content is None else f"sha256 {content}"
    if isinstance(setting, dict):
        return {str(name): plain(value) for name, value in setting.items()}
    if isinstance(setting, (list, tuple)):
        return [plain(value) for value in setting]
    if setting is None or isinstance(setting, (str, int, float, bool)):
        return setting
    return str(setting)
