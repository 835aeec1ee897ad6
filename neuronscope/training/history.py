"""The table of a run: a row for each step."""

import resource
import sys

import pandas as pd
import torch

Row = dict[str, float]

COLUMNS = (
    "step", "loss", "penalty", "strength", "gradient_norm", "penalty_norm", "cosine",
    "update_norm", "learning_rate", "asked_forget", "answered_forget", "answered_forget_rate",
    "asked_retain", "answered_retain", "answered_retain_rate", "log_odds_forget", "seconds",
    "evaluation_seconds", "peak_memory",
)  # fmt: skip
"""The columns that every history has; beside them, terms, figures and scores."""


def table_of(rows: list[Row]) -> pd.DataFrame:
    """The rows as one table, the objective's terms first."""
    found = dict.fromkeys(name for row in rows for name in row)
    terms = [name for name in found if name.startswith("loss_")]
    others = [name for name in found if name not in COLUMNS and name not in terms]
    columns = ["step", *terms, *COLUMNS[1:], *others]
    table = pd.DataFrame(rows, columns=columns, dtype="float64")
    return table.astype({"step": "int64"})


def peak_memory(device: torch.device) -> int:
    """Bytes used at most so far: of a GPU if the model is on one, else of the process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
