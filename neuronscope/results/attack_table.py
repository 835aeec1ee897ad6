"""The table that every attack returns: its columns and their values."""

from collections.abc import Sequence

import pandas as pd

ATTACKED_CHECKPOINT = "attacked checkpoint"
"""In the column `model`: the evaluated model; all others are controls."""

ORIGINAL, NEVER_KNEW = "original", "never_knew"
"""The controls that bound recovery: the model before unlearning gives the maximum; a model that
never learned the facts shows what any model learns from the attack."""

ATTACKED, REST, RETAIN = "attacked", "rest", "retain"
"""In the column `split`: facts that the attack trains on; other facts to be forgotten; facts to be
kept."""

UNRELATED = "relearn_benign"
"""In the column `attack`: the attack that fine-tunes on data unrelated to the forgotten facts. The
model need not answer these verbatim, as long as their log-odds rise."""

RANDOM = "random"
"""In the column `variant`: the random control of an attack that selects something."""

COLUMNS = (
    "attack", "model", "variant", "lr", "seed", "fold", "epoch", "step", "budget", "split",
    "correct", "n", "score", "low", "high", "facts", "answered", "note",
)  # fmt: skip
"""One row per model, run, evaluation and split.

| column | what it is |
|---|---|
| `attack` | its file name |
| `model` | `attacked checkpoint`, or a control's name |
| `variant` | further differences between runs: the share attacked, the bits, the neurons |
| `lr` | learning rate; NaN without training |
| `seed`, `fold` | seed of the split; the part of the facts that is held out, 0 without parts |
| `epoch`, `step` | passes over the attacked facts; updates, 0 before the attack |
| `budget` | step × lr; other attacks define it in their files; 0 before the attack |
| `correct`, `n` | facts that greedy decoding answers, and the number of facts |
| `score` | mean log-odds of the answers, nats per token |
| `low`, `high` | 95 % Wilson interval of correct / n |
| `facts`, `answered` | lists of ids: the evaluated facts, and those that are answered |
| `note` | a caveat |
"""


def table_of(rows: Sequence[dict[str, object]]) -> pd.DataFrame:
    """The rows as a table."""
    return pd.DataFrame(rows, columns=list(COLUMNS))
