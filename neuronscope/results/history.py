"""The history of a training run: a table with one row per step."""

import pandas as pd

Row = dict[str, float]
"""The numbers of one step, by column."""


def columns_of(names: tuple[str, str] = ("forget", "retain")) -> tuple[str, ...]:
    """The columns of every history. Step 0 is the model before training.

    | column | what it is |
    |---|---|
    | `step` | number of updates made |
    | `loss_<term>`, `loss` | the objective's terms at this step, before its update; their sum L |
    | `penalty`, `strength` | the regularizer's penalty R, and its weight λ |
    | `gradient_norm`, `penalty_norm` | ‖∇L‖ and ‖λ∇R‖, before clipping |
    | `cosine` | cosine of the angle between ∇L and ∇R |
    | `update_norm` | ‖θ − θ0‖ after the update |
    | `learning_rate` | learning rate of the update |
    | `asked_forget`, `asked_retain` | number of evaluated facts |
    | `answered_forget`, `answered_retain` | number answered by greedy decoding; `_rate`: share |
    | `log_odds_forget` | mean log-odds of the answers to be forgotten, nats per token |
    | `..._watched` | in fine-tuning: the same for watched facts, which are not trained on |
    | `..._taught` | in fine-tuning: the same for the facts trained on |
    | `seconds`, `evaluation_seconds` | duration of step and evaluation |
    | `peak_memory` | peak memory so far, in bytes: of the model's GPU; on a CPU, of the process |

    The regularizer's metrics and the stop rule's scores are added as further columns. NaN means not
    measured.

    Args:
        names: The names of the evaluated sets of facts in the columns.
    """
    targets, others = names
    return (
        "step", "loss", "penalty", "strength", "gradient_norm", "penalty_norm", "cosine",
        "update_norm", "learning_rate", f"asked_{targets}", f"answered_{targets}",
        f"answered_{targets}_rate", f"asked_{others}", f"answered_{others}",
        f"answered_{others}_rate", f"log_odds_{targets}", "seconds", "evaluation_seconds",
        "peak_memory",
    )  # fmt: skip


def history_table(rows: list[Row], names: tuple[str, str] = ("forget", "retain")) -> pd.DataFrame:
    """The rows as one table, the objective's terms first."""
    always = columns_of(names)
    found = dict.fromkeys(name for row in rows for name in row)
    terms = [name for name in found if name.startswith("loss_")]
    others = [name for name in found if name not in always and name not in terms]
    columns = ["step", *terms, *always[1:], *others]
    table = pd.DataFrame(rows, columns=columns, dtype="float64")
    return table.astype({"step": "int64"})
