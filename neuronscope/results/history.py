"""The history of a training run: a table with a row for each step."""

import pandas as pd

Row = dict[str, float]
"""One step's figures, by column."""


def columns_of(names: tuple[str, str] = ("forget", "retain")) -> tuple[str, ...]:
    """The columns that every history has. Step 0 is the model before.

    | column | what it is |
    |---|---|
    | `step` | number of updates made |
    | `loss_<term>`, `loss` | the objective's terms at this step, before its update; their sum L |
    | `penalty`, `strength` | the regularizer's R, and the λ in front of it |
    | `gradient_norm`, `penalty_norm` | ‖∇L‖ and ‖λ∇R‖, before clipping |
    | `cosine` | of the angle between ∇L and ∇R |
    | `update_norm` | ‖θ − θ0‖ after the update |
    | `learning_rate` | of the update |
    | `asked_forget`, `asked_retain` | facts that were evaluated |
    | `answered_forget`, `answered_retain` | those that greedy decoding answers; `_rate`: share |
    | `log_odds_forget` | mean log-odds of the answers to forget, nats per token |
    | `..._watched`, `..._taught` | the same of a fine-tuning run: facts not trained on, facts trained on |
    | `seconds`, `evaluation_seconds` | duration of step and evaluation |
    | `peak_memory` | largest number of bytes so far: of the GPU, or of the process without one |

    Beside them stand the regularizer's own figures and the stop rule's scores. NaN: not measured.

    Args:
        names: What the columns call the facts whose answers are counted.
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
