"""Figures are drawn from tables, and a diagnosis holds the tables that belong to it."""

from typing import Literal

import pandas as pd

from neuronscope.analysis.diagnosis import Diagnosis

Diagnosed = pd.DataFrame | Diagnosis
"""A table, or the diagnosis that it is in."""

UNIT = "nats"
"""The unit of a table that comes without one."""


def table_and_unit(
    source: Diagnosed,
    table: Literal["neurons", "layers", "curve", "modules"],
    unit: str | None,
) -> tuple[pd.DataFrame, str]:
    """The table to draw and the unit of its numbers.

    Args:
        source: The table itself, or a diagnosis with it.
        table: Which of the diagnosis' tables it is.
        unit: The unit; if not given, the diagnosis', and of a lone table nats.
    """
    if isinstance(source, Diagnosis):
        return vars(source)[table], unit or source.unit
    return source, unit or UNIT
