"""The columns of a table of scores."""

COLUMNS = (
    "metric", "split", "value", "low", "high", "n", "count", "unit", "chance", "direction",
    "reason",
)  # fmt: skip
"""One row per score.

| column | what it is |
|---|---|
| `metric` | the name of the metric's file, with the variant if there are several |
| `split` | split of the scored facts |
| `value` | the score; NaN if undefined |
| `low`, `high` | 95 % interval over facts; NaN if there is none |
| `n`, `count` | number of facts; a rate's numerator, missing for other scores |
| `unit` | unit of the value |
| `chance` | the value of a model that knows nothing about the facts; NaN if unknown |
| `direction` | which values mean more forgotten, or more useful |
| `reason` | why the value, or the value of some facts, is undefined |
"""
