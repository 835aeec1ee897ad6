"""Paired tests between the methods of a study: which differences are significant."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pandas as pd

from neuronscope.analysis.statistics import holm
from neuronscope.results.study_tables import StudyTables

SSIUU = "ssiuu"
"""Prefix of the names of regularizers that guide unlearning by attribution."""

ALPHA = 0.05
"""Family-wise error rate of the comparisons of recovered answers, and of those of kept answers."""


@dataclass(frozen=True)
class Differences:
    """The comparisons of one kind."""

    total: int
    found: tuple[dict[str, Any], ...]
    """The significant ones, as rows of the table of comparisons."""

    single: bool = False
    """Whether only one run of each method was compared, so that other runs may differ."""

    @property
    def more(self) -> dict[str, int]:
        """In how many significant comparisons each method has the larger share."""
        names = [row["method" if row["difference"] > 0 else "other"] for row in self.found]
        return {name: names.count(name) for name in dict.fromkeys(names)}


@dataclass(frozen=True)
class Guided:
    """A method guided by attribution, compared with the controls that have its objective."""

    method: str
    controls: tuple[str, ...]
    comparisons: int
    better: int
    """Comparisons in which significantly less was recovered after it."""

    worse: int
    """Comparisons in which significantly more was recovered after it."""

    beaten: tuple[str, ...]
    """Controls after which significantly more was recovered."""

    @property
    def unbeaten(self) -> tuple[str, ...]:
        """The other controls."""
        return tuple(name for name in self.controls if name not in self.beaten)


def kind_of(made: object) -> str:
    """The name of an objective or regularizer without its settings in parentheses."""
    return "" if made is None or made != made else str(made).split(" (")[0].replace("_", "-")


def adjusted(comparisons: pd.DataFrame) -> pd.DataFrame:
    """The comparisons with a column `holm`: p-values adjusted for their number."""
    if comparisons.empty:
        return comparisons
    return comparisons.assign(holm=holm(comparisons["p"].to_numpy(dtype=float)))


def guided(study: StudyTables, tested: pd.DataFrame) -> Iterator[Guided]:
    """Compare each method that uses SSIUU with its controls."""
    made = {
        str(row["method"]): (kind_of(row["objective"]), kind_of(row["regularizer"]))
        for row in study.runs.to_dict("records")
    }
    for name, (objective, regularizer) in made.items():
        if not regularizer.startswith(SSIUU):
            continue
        controls = [c for c, (o, r) in made.items() if o == objective and not r.startswith(SSIUU)]
        faced = _against(tested, name, controls)
        sure = faced.loc[faced["holm"] < ALPHA] if len(faced) else faced
        better = sure.loc[sure["gain"] > 0, "control"].tolist() if len(sure) else []
        yield Guided(
            name,
            controls=tuple(dict.fromkeys(faced["control"])) if len(faced) else (),
            comparisons=len(faced),
            better=len(better),
            worse=int((sure["gain"] < 0).sum()) if len(sure) else 0,
            beaten=tuple(dict.fromkeys(better)),
        )


def _against(tested: pd.DataFrame, name: str, controls: list[str]) -> pd.DataFrame:
    """A method's comparisons with its controls: `control`, `gain` (less was recovered), `holm`."""
    parts = []
    for own, other, sign in (("method", "other", -1), ("other", "method", 1)):
        if len(tested):
            rows = tested.loc[(tested[own] == name) & tested[other].isin(controls)]
            parts.append(rows.assign(control=rows[other], gain=sign * rows["difference"]))
    return pd.concat(parts) if parts else pd.DataFrame()


def differing(tested: pd.DataFrame) -> Differences:
    """The adjusted comparisons, and the significant ones."""
    if tested.empty:
        return Differences(0, ())
    found = tested.loc[tested["holm"] < ALPHA].to_dict("records")
    rows = tuple({str(k): v for k, v in row.items()} for row in found)
    return Differences(len(tested), rows, bool((tested["runs"] == 1).any()))


def sparing(study: StudyTables) -> Differences:
    """The comparisons of kept answers, and the significant ones."""
    return differing(adjusted(study.retention))
