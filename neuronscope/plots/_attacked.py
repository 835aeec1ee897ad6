"""What the figures of attacks share: checked tables, and what their lines and panels are called.

Several methods' tables may stand below each other, told apart by a column `method`. The attacked
checkpoint is then called by its method. A control that is the same for all methods is drawn once;
one that is not is named with the method beside it.
"""

from collections.abc import Sequence
from math import isnan

import pandas as pd

from neuronscope.plots._names import wrapped
from neuronscope.results.attack_table import ATTACKED_CHECKPOINT

TITLE = 56
"""Characters of a panel's title for which a narrow page has room."""


def of_split(table: pd.DataFrame, split: str, what: str) -> pd.DataFrame:
    """The rows of one split.

    Raises:
        ValueError: If there are none.
    """
    rows = table.loc[table["split"] == split, :]
    if rows.empty:
        raise ValueError(
            f"Expected {what} with rows of split {split!r}; it has those of "
            f"{', '.join(map(repr, table['split'].unique()))}."
        )
    return rows


def with_lines(table: pd.DataFrame, keys: Sequence[str]) -> pd.DataFrame:
    """The table with `line`, what a row's line is called, and `control`: whether it is one.

    Methods come first, controls after them; a control that all methods share is there once.

    Args:
        table: With `model` and, if there are several methods, `method`.
        keys: The other columns that tell rows apart.

    Raises:
        ValueError: If two rows are of the same line and keys.
    """
    own = table["model"] == ATTACKED_CHECKPOINT
    judged, controls = table.loc[own, :], table.loc[~own, :]
    if "method" in table.columns:
        parts = [judged.assign(line=judged["method"].astype(str), control=False)]
        parts += [_control(str(n), rows, keys) for n, rows in controls.groupby("model", sort=False)]
    else:
        parts = [judged.assign(line=ATTACKED_CHECKPOINT, control=False)]
        parts += [controls.assign(line=controls["model"], control=True)]
    lines = pd.concat([part for part in parts if len(part)], ignore_index=True)
    twice = lines.loc[lines.duplicated(["line", *keys]), :]
    if len(twice):
        where = ", ".join(f"{name} {twice[name].iloc[0]}" for name in keys)
        raise ValueError(
            f"Expected one row per line, got two for {twice['line'].iloc[0]!r}, {where}: average "
            "over runs, or tell them apart by a column 'method'."
        )
    return lines


def _control(name: str, rows: pd.DataFrame, keys: Sequence[str]) -> pd.DataFrame:
    """A control's rows beside several methods."""
    shared = rows.drop(columns="method").drop_duplicates()
    if not shared.duplicated(keys).any():
        return shared.assign(line=name, control=True)
    return rows.assign(line=name + " (" + rows["method"].astype(str) + ")", control=True)


def panels(lines: pd.DataFrame, *, by_lr: bool = False) -> list[tuple[str, pd.DataFrame]]:
    """Rows of each panel, and what it is called: an attack, what sets it apart, its learning rate.

    Args:
        by_lr: Whether each learning rate has a panel of its own.
    """
    found = []
    keys = ["attack", "variant", "lr"] if by_lr else ["attack", "variant"]
    for _, rows in lines.groupby(keys, sort=False, dropna=False):
        first = rows.iloc[0]
        title = str(first["attack"]).replace("_", " ")
        title += f" ({first['variant']})" if first["variant"] else ""
        title += f", learning rate {first['lr']:g}" if by_lr and not isnan(first["lr"]) else ""
        found.append((wrapped(title, TITLE), rows))
    return found
