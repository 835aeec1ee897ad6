"""The columns of a table of scores."""

COLUMNS = (
    "metric", "split", "value", "low", "high", "n", "count", "unit", "chance", "direction",
    "reason",
)  # fmt: skip
"""One row per score.

| column | what it is |
|---|---|
| `metric` | the name of its file, with the variant where there are several |
| `split` | of the facts that were scored |
| `value` | the score; NaN where it is undefined |
| `low`, `high` | 95 % interval over facts; NaN where there is none |
| `n`, `count` | facts that the value rests on; of a rate, how many of them, else missing |
| `unit` | of the value |
| `chance` | the value of a model that knows nothing of the facts; NaN where unknown |
| `direction` | which values are more forgotten, or more useful |
| `reason` | why the value, or that of some facts, is undefined |
"""
