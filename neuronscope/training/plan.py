"""What decides a run's numbers, and the folder that holds the run."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from neuronscope.facts.fact import Fact, facts_hash
from neuronscope.models.hooked_model import HookedModel
from neuronscope.results.cache import Workspace, check_result, described, key_of, open_result, plain
from neuronscope.training.config import TrainingConfig
from neuronscope.training.processes import Processes

Plan = dict[str, Any]

FREE_SETTINGS = ("checkpoint_steps", "checkpoint_minutes", "tracker")
"""Settings that no number depends on. They may differ when a run is resumed."""

MODEL, HISTORY = "model", "history.parquet"
"""What a finished run leaves in its folder, beside task and manifest."""


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
        "config": deciding(config),
        "model": model.fingerprint(),
        "facts": facts_hash(facts),
        "processes": {"number": processes.count, "sharded": processes.sharded},
    }


def deciding(config: TrainingConfig) -> Plan:
    """The settings that decide a run's numbers."""
    return {name: plain(value) for name, value in vars(config).items() if name not in FREE_SETTINGS}


def identified(model: HookedModel) -> Plan:
    """A model by what was loaded and by its weights."""
    return {"source": model.source, "fingerprint": model.fingerprint()}


def open_run(folder: Path, plan: Plan, processes: Processes) -> Workspace:
    """Begin a run in a folder, or find the unfinished one there; the main process writes.

    Raises:
        FileExistsError: If there is a finished run, or something else.
        ValueError: If there is an unfinished run of another plan; names what differs.
    """
    # In every process, so that none waits for one that has refused.
    check_result(folder, plan)
    processes.wait()
    if processes.main:
        open_result(folder, plan)
    processes.wait()
    return Workspace(folder, key_of(plan))
