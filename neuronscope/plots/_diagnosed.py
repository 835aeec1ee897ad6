"""Lets figures accept either a table or a diagnosis, which holds several tables."""

from typing import Literal

import pandas as pd

from neuronscope.analysis.diagnosis import Diagnosis

Diagnosed = pd.DataFrame | Diagnosis
"""A table, or a diagnosis that contains it."""

UNIT = "nats"
"""The default unit of a table."""


def table_and_unit(
    source: Diagnosed,
    table: Literal["neurons", "layers", "curve", "modules"],
    unit: str | None,
) -> tuple[pd.DataFrame, str]:
    """The table to draw and the unit of its numbers.

    Args:
        source: The table itself, or a diagnosis that contains it.
        table: The name of the table in the diagnosis.
        unit: The unit; by default that of the diagnosis, or nats for a table.
    """
    if isinstance(source, Diagnosis):
        return vars(source)[table], unit or source.unit
    return source, unit or UNIT
