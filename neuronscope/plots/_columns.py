"""Checks tables before they are drawn."""

from collections.abc import Sequence

import pandas as pd


def require(table: pd.DataFrame, needed: Sequence[str], what: str) -> None:
    """Check that a table has the needed columns and at least one row.

    Raises:
        ValueError: If columns are missing or the table is empty.
    """
    missing = [name for name in needed if name not in table.columns]
    if missing:
        raise ValueError(
            f"Expected {what} with columns {', '.join(needed)}; it lacks {', '.join(missing)}."
        )
    if table.empty:
        raise ValueError(f"Expected {what}, but it has no rows.")
