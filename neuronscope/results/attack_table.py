"""The table that every attack returns: its columns, and the names that occur in it."""

from collections.abc import Sequence

import pandas as pd

ATTACKED_CHECKPOINT = "attacked checkpoint"
"""In the column `model`: the model under attack; all other models are controls."""

ORIGINAL, NEVER_KNEW = "original", "never_knew"
"""The controls that define the ends of the recovery scale: the model before unlearning, which marks
full recovery; and a model that never learned the facts, which shows what any model learns from the
attack."""

ATTACKED, REST, RETAIN = "attacked", "rest", "retain"
"""In the column `split`: facts that the attack trains on; the held-out facts of the forget set; and
facts that unlearning should retain."""

UNRELATED = "relearn_benign"
"""In the column `attack`, the attack that trains on instructions unrelated to the forgotten facts.
These count as learned if the log-odds of their answers rise, even without verbatim answers."""

RANDOM = "random"
"""In the column `variant`: neurons chosen at random, as a control for the ranked neurons."""

COLUMNS = (
    "attack", "model", "variant", "lr", "seed", "fold", "epoch", "step", "budget", "split",
    "correct", "n", "score", "low", "high", "facts", "answered", "note",
)  # fmt: skip
"""One row per model, run, evaluation and split.

| column | meaning |
|---|---|
| `attack` | name of the attack's module |
| `model` | `attacked checkpoint`, or the name of a control |
| `variant` | what else distinguishes runs: share of facts attacked, bits, choice of neurons |
| `lr` | learning rate; NaN for attacks without training |
| `seed`, `fold` | random seed; index of the held-out part, 0 if the facts are not divided |
| `epoch`, `step` | epochs over the attacked facts; number of updates, 0 before the attack |
| `budget` | step × lr; for other attacks, see their modules; 0 before the attack |
| `correct`, `n` | number of facts answered by greedy decoding; number of facts evaluated |
| `score` | mean log-odds of the answers, nats per token |
| `low`, `high` | 95 % Wilson interval of correct / n |
| `facts`, `answered` | ids of the facts that were evaluated; ids of those that were answered |
| `note` | caveats |
"""


def table_of(rows: Sequence[dict[str, object]]) -> pd.DataFrame:
    """Make a table of the rows."""
    return pd.DataFrame(rows, columns=list(COLUMNS))
