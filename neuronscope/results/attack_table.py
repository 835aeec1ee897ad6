"""The table that every attack returns: its columns, and the names that it uses."""

from collections.abc import Sequence

import pandas as pd

ATTACKED_CHECKPOINT = "attacked checkpoint"
"""In the column `model`: the unlearned model that is tested; all others are controls."""

ORIGINAL, NEVER_KNEW = "original", "never_knew"
"""The controls that bound recovery: the original model, before unlearning, shows the maximum that
can be recovered; a model that never learned the facts shows what any model learns from the
attack."""

ATTACKED, REST, RETAIN = "attacked", "rest", "retain"
"""In the column `split`: the facts that the attack trains on; the held-out facts of the forget set;
and facts that unlearning was meant to retain."""

UNRELATED = "relearn_benign"
"""In the column `attack`: the attack that trains on data unrelated to the forgotten facts. The
model need not learn its answers word for word, as long as their log-odds rise."""

RANDOM = "random"
"""In the column `variant`: a control in which the attack's choice is replaced by a random one."""

COLUMNS = (
    "attack", "model", "variant", "lr", "seed", "fold", "epoch", "step", "budget", "split",
    "correct", "n", "score", "low", "high", "facts", "answered", "note",
)  # fmt: skip
"""One row per model, run, evaluation and split.

| column | what it is |
|---|---|
| `attack` | the name of its file |
| `model` | `attacked checkpoint`, or a control's name |
| `variant` | what else distinguishes runs: the share attacked, the bits, which neurons |
| `lr` | learning rate; NaN if nothing is trained |
| `seed`, `fold` | seed of the random draw; which part of the facts is held out, 0 without folds |
| `epoch`, `step` | passes over the attacked facts; updates made, 0 before the attack |
| `budget` | step × lr, or as the attack's file defines it; 0 before the attack |
| `correct`, `n` | number of facts that greedy decoding answers; number of facts |
| `score` | mean log-odds of the answers, nats per token |
| `low`, `high` | 95 % Wilson interval of correct / n |
| `facts`, `answered` | lists of ids: the evaluated facts, and those that are answered |
| `note` | a caveat, or nothing |
"""


def table_of(rows: Sequence[dict[str, object]]) -> pd.DataFrame:
    """The rows as a table."""
    return pd.DataFrame(rows, columns=list(COLUMNS))
