"""The table that every attack returns: its columns, and the names in it."""

from collections.abc import Sequence

import pandas as pd

ATTACKED_CHECKPOINT = "attacked checkpoint"
"""In the column `model`, the one under judgement; all others are controls."""

ORIGINAL, NEVER_KNEW = "original", "never_knew"
"""The controls between which recovery is placed: the model before unlearning, the most that can
come back; and a model that never saw the facts, what any model learns from the attack."""

ATTACKED, REST, RETAIN = "attacked", "rest", "retain"
"""In the column `split`: what the attack teaches; the facts to be forgotten that it does not; and
facts that unlearning was to keep."""

UNRELATED = "relearn_benign"
"""In the column `attack`, the one whose lessons have nothing to do with the forgotten: they need
not be answered word for word, as long as their log-odds rise."""

RANDOM = "random"
"""In the column `variant`, what an attack does at random beside what it chooses: a control."""

COLUMNS = (
    "attack", "model", "variant", "lr", "seed", "fold", "epoch", "step", "budget", "split",
    "correct", "n", "score", "low", "high", "facts", "answered", "note",
)  # fmt: skip
"""One row per model, run, look and split.

| column | what it is |
|---|---|
| `attack` | the name of its file |
| `model` | `attacked checkpoint`, or a control's name |
| `variant` | what else sets runs apart: the share attacked, the bits, which neurons |
| `lr` | learning rate; NaN where nothing is trained |
| `seed`, `fold` | of the draw; which part of the facts is the rest, 0 without parts |
| `epoch`, `step` | passes over the attacked facts; updates made, 0 being before the attack |
| `budget` | step × lr; of other attacks, what their files say; 0 before the attack |
| `correct`, `n` | facts that greedy decoding answers, and of how many |
| `score` | mean log-odds of the answers, nats per token |
| `low`, `high` | 95 % Wilson interval of correct / n |
| `facts`, `answered` | lists of ids: the facts that were asked, those of them that are answered |
| `note` | what a reader must know |
"""


def table_of(rows: Sequence[dict[str, object]]) -> pd.DataFrame:
    """The rows as a table."""
    return pd.DataFrame(rows, columns=list(COLUMNS))
