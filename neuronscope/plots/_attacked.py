"""Shared by the figures of attacks: checking tables, naming lines and panels.

The tables of several methods may be concatenated, with a column `method`. The line of an attacked
checkpoint is then named after its method. A control that is identical for all methods is drawn
once; one that differs carries the method in its name.
"""

from collections.abc import Sequence
from math import isnan

import pandas as pd

from neuronscope.plots._names import wrapped
from neuronscope.results.attack_table import ATTACKED_CHECKPOINT

TITLE = 56
"""Maximum width of a panel title on a narrow page, in characters."""


def of_split(table: pd.DataFrame, split: str, what: str) -> pd.DataFrame:
    """The rows of one split.

    Raises:
        ValueError: If the table has no rows of this split.
    """
    rows = table.loc[table["split"] == split, :]
    if rows.empty:
        raise ValueError(
            f"Expected {what} with rows of split {split!r}, got only the splits "
            f"{', '.join(map(repr, table['split'].unique()))}."
        )
    return rows


def with_lines(table: pd.DataFrame, keys: Sequence[str]) -> pd.DataFrame:
    """Add the columns `line` (the name of the row's line) and `control` (whether it is a control).

    Methods come first, then controls; a control shared by all methods appears once.

    Args:
        table: Has `model` and, if there are several methods, `method`.
        keys: The columns that, together with the line, identify a row.

    Raises:
        ValueError: If two rows have the same line and keys.
    """
    own = table["model"] == ATTACKED_CHECKPOINT
    attacked, controls = table.loc[own, :], table.loc[~own, :]
    if "method" in table.columns:
        parts = [attacked.assign(line=attacked["method"].astype(str), control=False)]
        parts += [_control(str(n), rows, keys) for n, rows in controls.groupby("model", sort=False)]
    else:
        parts = [attacked.assign(line=ATTACKED_CHECKPOINT, control=False)]
        parts += [controls.assign(line=controls["model"], control=True)]
    lines = pd.concat([part for part in parts if len(part)], ignore_index=True)
    twice = lines.loc[lines.duplicated(["line", *keys]), :]
    if len(twice):
        where = ", ".join(f"{name} {twice[name].iloc[0]}" for name in keys)
        raise ValueError(
            f"Expected one row per line, got two for {twice['line'].iloc[0]!r}, {where}: average "
            "over runs, or add a column 'method' that distinguishes them."
        )
    return lines


def _control(name: str, rows: pd.DataFrame, keys: Sequence[str]) -> pd.DataFrame:
    """A control's rows if there are several methods; merged if these share them."""
    shared = rows.drop(columns="method").drop_duplicates()
    if not shared.duplicated(keys).any():
        return shared.assign(line=name, control=True)
    return rows.assign(line=name + " (" + rows["method"].astype(str) + ")", control=True)


def panels(lines: pd.DataFrame, *, by_lr: bool = False) -> list[tuple[str, pd.DataFrame]]:
    """Title and rows of each panel; titles name the attack, its variant and its learning rate.

    Args:
        by_lr: Whether to draw one panel per learning rate.
    """
    drawn = []
    keys = ["attack", "variant", "lr"] if by_lr else ["attack", "variant"]
    for _, rows in lines.groupby(keys, sort=False, dropna=False):
        first = rows.iloc[0]
        title = str(first["attack"]).replace("_", " ")
        title += f" ({first['variant']})" if first["variant"] else ""
        title += f", learning rate {first['lr']:g}" if by_lr and not isnan(first["lr"]) else ""
        drawn.append((wrapped(title, TITLE), rows))
    return drawn
