"""The table of a run: a row for each step."""

import resource
import sys

import pandas as pd
import torch

Row = dict[str, float]


def columns_of(names: tuple[str, str]) -> tuple[str, ...]:
    """The columns that every history has; beside them, terms, figures and scores.

    Args:
        names: As in `Roles`.
    """
    targets, others = names
    return (
        "step", "loss", "penalty", "strength", "gradient_norm", "penalty_norm", "cosine",
        "update_norm", "learning_rate", f"asked_{targets}", f"answered_{targets}",
        f"answered_{targets}_rate", f"asked_{others}", f"answered_{others}",
        f"answered_{others}_rate", f"log_odds_{targets}", "seconds", "evaluation_seconds",
        "peak_memory",
    )  # fmt: skip


def table_of(rows: list[Row], names: tuple[str, str]) -> pd.DataFrame:
    """The rows as one table, the objective's terms first."""
    always = columns_of(names)
    found = dict.fromkeys(name for row in rows for name in row)
    terms = [name for name in found if name.startswith("loss_")]
    others = [name for name in found if name not in always and name not in terms]
    table = pd.DataFrame(rows, columns=["step", *terms, *always[1:], *others], dtype="float64")
    return table.astype({"step": "int64"})


def peak_memory(device: torch.device) -> int:
    """Bytes used at most so far: of a GPU if the model is on one, else of the process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
