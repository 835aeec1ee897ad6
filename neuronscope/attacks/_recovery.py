"""What the tables of attacks say: how much came back, at which budget, and beside the controls.

Pure functions of tables. Parts of the facts (folds) are disjoint, so their counts add up. Seeds
repeat the attack on the same facts, so they are averaged, and intervals are those of one seed's
number of facts. The maximum over a grid of steps and learning rates of a noisy rate is biased
upwards: it means something beside the same maximum of a control.
"""

from collections.abc import Iterator
from math import isnan, nan
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float

from neuronscope.analysis.statistics import wilson_interval
from neuronscope.results.attack_table import (
    ATTACKED,
    ATTACKED_CHECKPOINT,
    NEVER_KNEW,
    ORIGINAL,
    REST,
    UNRELATED,
)

FAILED = "the attack failed"

RISE = 0.1
"""Nats per token by which log-odds of unrelated answers rise, at least, where they were learnt."""

_RUN = ["attack", "model", "variant", "split", "lr", "seed"]
_GROUP = ["attack", "model", "variant", "split"]

_UNTOLD = ["all_at_once", "score_before", "score_most"]
"""What is known of a group for what is said of others."""

Row = dict[str, Any]


def curves(table: pd.DataFrame) -> pd.DataFrame:
    """What is answered at each budget, averaged over seeds.

    Args:
        table: Of one attack or of several, one below the other.

    Returns:
        One row per attack, model, variant, split, learning rate and step: `budget`, `seeds`,
        `correct` and `n` (means over seeds), `share`, `low`, `high`, `score`.

    Raises:
        ValueError: If the table is no attack's.
    """
    rows = []
    for row, here in _grouped(_looks(table), [*_GROUP, "lr", "step"]):
        correct, n = float(here["correct"].mean()), float(here["n"].mean())
        low, high = _interval(correct, n)
        rows.append(
            row
            | {"budget": float(here["budget"].iloc[0]), "seeds": len(here)}
            | {"correct": correct, "n": n, "share": correct / n, "low": low, "high": high}
            | {"score": float(here["score"].mean())}
        )
    return pd.DataFrame(rows)


def recovery(table: pd.DataFrame) -> pd.DataFrame:
    """How much each attack brought back.

    Args:
        table: Of one attack or of several, one below the other.

    Returns:
        One row per attack, model, variant and split. Shares are means over seeds, `correct` and `n`
        likewise.

        | column | what it is |
        |---|---|
        | `seeds`, `n` | draws; facts asked in each |
        | `before_correct`, `before` | answered before the attack; as a share |
        | `maximum_correct`, `maximum`, `maximum_low`, `maximum_high` | the most over the grid |
        | `maximum_budget` | where, at the median seed |
        | `final_correct`, `final`, `final_low`, `final_high` | at the end of the largest budget |
        | `area` | mean height of the curve over the budget, over all learning rates |
        | `attacked_correct`, `attacked_n` | most attacked facts answered at once; NaN if none are |
        | `learnt` | whether all were, in every seed; of unrelated ones: if they rose by `RISE` |
        | `maximum_original`, `maximum_never_knew` | the controls' maxima; NaN without |
        | `recovered` | of the rest: (maximum − never_knew) / (original − never_knew), of maxima |
        | `reason` | why `recovered` is NaN |
        | `reading` | what may be said of it, in a sentence |
        | `note` | what a reader must know of how it was made |

    Raises:
        ValueError: If the table is no attack's.
    """
    found = [row | _most(here) for row, here in _grouped(_looks(table), _GROUP)]
    by_key = {tuple(row[name] for name in _GROUP): row for row in found}
    notes = table.groupby(_GROUP, dropna=False)["note"].agg(_together).to_dict()
    rows = []
    for row in found:
        taught = by_key.get((row["attack"], row["model"], row["variant"], ATTACKED))
        ends = {
            control: by_key.get((row["attack"], control, row["variant"], row["split"]))
            for control in (ORIGINAL, NEVER_KNEW)
        }
        maxima = {name: nan if end is None else end["maximum"] for name, end in ends.items()}
        recovered, reason = nan, f"facts of split {row['split']!r} are not to be brought back"
        if row["split"] == REST:
            recovered, reason = placed(row["maximum"], maxima[ORIGINAL], maxima[NEVER_KNEW])
        rows.append(
            row
            | {"attacked_correct": nan if taught is None else taught["maximum_correct"]}
            | {"attacked_n": nan if taught is None else taught["n"]}
            | {"learnt": None if taught is None else _learnt(taught)}
            | {f"maximum_{name}": share for name, share in maxima.items()}
            | {"recovered": recovered, "reason": reason}
            | {"reading": _reading(row, taught, maxima[NEVER_KNEW])}
            | {"note": notes[tuple(row[name] for name in _GROUP)]}
        )
    return pd.DataFrame(rows).drop(columns=_UNTOLD)


def by_learning_rate(table: pd.DataFrame) -> pd.DataFrame:
    """How much came back at each learning rate by itself.

    Args:
        table: Of one attack or of several, one below the other.

    Returns:
        One row per attack, model, variant, split and learning rate, with the columns of `recovery`
        from `seeds` to `area`. A maximum is over the steps at that rate alone: no larger than the
        one over the whole grid, which is the largest of them where there is one seed.

    Raises:
        ValueError: If the table is no attack's.
    """
    rows = [row | _most(here) for row, here in _grouped(_looks(table), [*_GROUP, "lr"])]
    return pd.DataFrame(rows).drop(columns=_UNTOLD)


def placed(share: float, original: float, never_knew: float) -> tuple[float, str]:
    """Where a share stands between those of two controls: 0 never knew, 1 never forgot.

    Returns:
        The place, and an empty reason; or NaN, and the reason.
    """
    missing = [n for n, v in ((ORIGINAL, original), (NEVER_KNEW, never_knew)) if isnan(v)]
    if missing:
        return nan, f"not attacked likewise: {' and '.join(missing)}"
    if original <= never_knew:
        return nan, (
            f"the original answers no more under this attack ({original:.0%}) than the model that "
            f"never knew ({never_knew:.0%})"
        )
    return (share - never_knew) / (original - never_knew), ""


def _grouped(table: pd.DataFrame, names: list[str]) -> Iterator[tuple[Row, pd.DataFrame]]:
    """The groups of rows that agree in some columns, in the order in which they come."""
    for keys, here in table.groupby(names, dropna=False, sort=False):
        assert isinstance(keys, tuple), "a list of names groups by tuples"
        yield dict(zip(names, keys, strict=True)), here


def _looks(table: pd.DataFrame) -> pd.DataFrame:
    """One row per run, split and step, folds put together.

    Raises:
        ValueError: If the table is no attack's.
    """
    needed = {*_RUN, "fold", "step", "budget", "correct", "n", "score", "note"}
    missing = sorted(needed - set(table.columns))
    if missing or table.empty:
        what = f"it lacks {', '.join(missing)}" if missing else "it is empty"
        raise ValueError(f"Expected the table of an attack, but {what}.")
    weighed = table.assign(score=table["score"] * table["n"], folds=1)
    groups = weighed.groupby([*_RUN, "step", "budget"], dropna=False, sort=False)
    looks = pd.DataFrame(groups[["correct", "n", "score", "folds"]].sum()).reset_index()
    # A fold that ended early would make the later looks those of other facts.
    most = looks.groupby(_RUN, dropna=False)["folds"].transform("max")
    looks = looks.loc[looks["folds"] == most]
    return looks.assign(score=looks["score"] / looks["n"]).sort_values("step", kind="stable")


def _most(here: pd.DataFrame) -> Row:
    """Maximum, end and area of one group's runs; means over seeds."""
    tops, ends, starts, areas = [], [], [], []
    for _, of_seed in _grouped(here, ["seed"]):
        share = (of_seed["correct"] / of_seed["n"]).to_numpy()
        tops.append(of_seed.iloc[int(share.argmax())])
        ends.append(of_seed.iloc[int(of_seed["budget"].to_numpy().argmax())])
        starts.append(of_seed.iloc[int(of_seed["step"].to_numpy().argmin())])
        for _, run in _grouped(of_seed, ["lr"]):
            height = (run["correct"] / run["n"]).to_numpy(dtype=np.float64)
            areas.append(_mean_height(run["budget"].to_numpy(dtype=np.float64), height))
    n = float(np.mean([one["n"] for one in tops]))
    correct = {
        name: float(np.mean([one["correct"] for one in ones]))
        for name, ones in (("before", starts), ("maximum", tops), ("final", ends))
    }
    intervals = {name: _interval(value, n) for name, value in correct.items()}
    return {
        "seeds": len(tops),
        "n": n,
        "before_correct": correct["before"],
        "before": correct["before"] / n,
        "maximum_correct": correct["maximum"],
        "maximum": correct["maximum"] / n,
        "maximum_low": intervals["maximum"][0],
        "maximum_high": intervals["maximum"][1],
        "maximum_budget": float(np.median([one["budget"] for one in tops])),
        "final_correct": correct["final"],
        "final": correct["final"] / n,
        "final_low": intervals["final"][0],
        "final_high": intervals["final"][1],
        "area": float(np.mean(areas)),
        "all_at_once": all(one["correct"] == one["n"] for one in tops),
        "score_before": float(np.mean([one["score"] for one in starts])),
        "score_most": float(here.groupby("seed")["score"].max().mean()),
    }


def _learnt(taught: Row) -> bool:
    if taught["attack"] == UNRELATED:
        return taught["score_most"] >= taught["score_before"] + RISE
    return taught["all_at_once"]


def _together(notes: pd.Series) -> str:
    return " ".join(note for note in dict.fromkeys(notes) if note)


def _interval(correct: float, n: float) -> tuple[float, float]:
    """Wilson's, of counts that may be means over seeds, to the nearest whole."""
    return wilson_interval(round(correct), round(n))


def _mean_height(budget: Float[np.ndarray, " look"], height: Float[np.ndarray, " look"]) -> float:
    """Area under a curve by the trapezoid rule, divided by its length."""
    length = budget[-1] - budget[0]
    if length == 0:
        return float(height.mean())
    return float(((height[1:] + height[:-1]) / 2 * np.diff(budget)).sum() / length)


def _reading(row: Row, taught: Row | None, never_knew: float) -> str:
    """What may be said of a row; never that a model is robust."""
    if row["split"] != REST:
        return ""
    most = f"{row['maximum_correct']:.3g} of {row['n']:.3g} answers at most"
    before = f"{row['before_correct']:.3g} before"
    if row["before_correct"] == row["n"]:
        return f"all {row['n']:.3g} answers were given before the attack."
    came_back = row["maximum"] > row["before"]
    own = "" if taught is None else _lesson(taught)
    unlearnt = taught is not None and not _learnt(taught)
    if not came_back and unlearnt:
        return (
            f"{FAILED}: {own}, and nothing else came back; it says nothing about the model. Take "
            "more steps or a higher learning rate."
        )
    said = f"{most}, {before}" if came_back else f"nothing came back ({most}, {before})"
    if unlearnt:
        said += f"; only {own}, so that a longer attack may bring back more"
    if row["model"] == ATTACKED_CHECKPOINT and isnan(never_knew):
        said += "; without a model that never knew, chance and guessing are not told apart"
    return said + "."


def _lesson(taught: Row) -> str:
    """How much was learnt of what the attack taught."""
    if taught["attack"] == UNRELATED:
        return (
            f"the instructions' log-odds went from {taught['score_before']:.2f} to "
            f"{taught['score_most']:.2f} at most"
        )
    counts = f"{taught['maximum_correct']:.3g} of {taught['n']:.3g}"
    return f"{counts} attacked facts answered at most"
