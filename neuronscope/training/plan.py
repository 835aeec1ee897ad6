"""Everything that determines the numbers of a run, and the run's folder."""

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
"""Settings that do not affect the numbers, and may differ when a run is resumed."""

MODEL, HISTORY = "model", "history.parquet"
"""Files of a finished run, in addition to task and manifest."""


def plan_of(
    model: HookedModel,
    methods: dict[str, object],
    facts: Iterable[tuple[str, Fact]],
    config: TrainingConfig,
    processes: Processes,
) -> Plan:
    """Everything that determines the numbers of a run, by name.

    Args:
        methods: Objective, regularizer and stop rule, by role.
        facts: The facts, each with its split or its role in the run.
    """
    return {
        **{role: described(method) for role, method in methods.items()},
        "config": deciding(config),
        "model": model.fingerprint(),
        "facts": facts_hash(facts),
        "processes": {"number": processes.count, "sharded": processes.sharded},
    }


def deciding(config: TrainingConfig) -> Plan:
    """The settings that determine the numbers of a run."""
    return {name: plain(value) for name, value in vars(config).items() if name not in FREE_SETTINGS}


def identified(model: HookedModel) -> Plan:
    """The source of a model and the fingerprint of its weights."""
    return {"source": model.source, "fingerprint": model.fingerprint()}


def open_run(folder: Path, plan: Plan, processes: Processes) -> Workspace:
    """Start a run in a folder, or resume the unfinished run there; the main process writes.

    Raises:
        FileExistsError: If the folder contains a finished run, or files that belong to no run.
        ValueError: If it contains an unfinished run with a different plan; the message names the
            difference.
    """
    # Every process checks, so that none waits for one that raised an error.
    check_result(folder, plan)
    processes.wait()
    if processes.main:
        open_result(folder, plan)
    processes.wait()
    return Workspace(folder, key_of(plan))
