"""Tables are checked before they are drawn."""

from collections.abc import Sequence

import pandas as pd


def require(table: pd.DataFrame, needed: Sequence[str], what: str) -> None:
    """See that a table has its columns, and a row.

    Raises:
        ValueError: If it has not.
    """
    missing = [name for name in needed if name not in table.columns]
    if missing:
        raise ValueError(
            f"Expected {what} with columns {', '.join(needed)}; it lacks {', '.join(missing)}."
        )
    if table.empty:
        raise ValueError(f"Expected {what}, but it has no rows.")
