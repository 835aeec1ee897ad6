"""The causal views' tables as rows of the page; nothing where a view was left out."""

import pandas as pd

from neuronscope.report.estimates import Estimate, counted, estimate, on_scale
from neuronscope.report.tables import Cell, Table, number, share, sortable
from neuronscope.results.findings import ITSELF, Finding

TOP_DIRECTIONS = 20
"""Most directions in the page's table."""

OWN = "other facts"
"""In the column `chosen_on`: what was silenced was chosen without the facts it was tried on."""


def table(finding: Finding | None, name: str) -> pd.DataFrame | None:
    """A finding's table; None if there is none, or nothing in it."""
    found = None if finding is None else finding.tables.get(name)
    return None if found is None or found.empty else found


def figure(finding: Finding | None, name: str) -> int | None:
    """A finding's whole number; None if there is none."""
    found = None if finding is None else finding.figures.get(name)
    return found if isinstance(found, int) else None


def ranking_name(ranking: str) -> str:
    """What a reader calls a ranking of the neurons."""
    return "D⁻" if ranking == "d_minus" else ranking.replace("_", " ")


def ranking_table(weight_restoration: Finding | None, name: str) -> pd.DataFrame | None:
    """A table of rankings under the names that a reader calls them.

    A ranking that two sources spell in two ways was measured twice, and stands here once.
    """
    found = table(weight_restoration, name)
    if found is None:
        return None
    named = found.assign(ranking=found["ranking"].map(ranking_name))
    return named.drop_duplicates([key for key in ("ranking", "control", "size") if key in named])


def scores(weight_restoration: Finding | None) -> tuple[Estimate, ...]:
    """How well each ranking finds what brings the answers back, best first."""
    found = ranking_table(weight_restoration, "scores")
    if found is None:
        return ()
    return on_scale(
        [
            estimate(
                row["ranking"],
                row["causal_score"],
                (row["low"], row["high"]),
                "yes" if row["beats_random"] else "no",
                row["chance"],
            )
            for row in found.to_dict("records")
        ]
    )


def minimal_set(weight_restoration: Finding | None) -> tuple[Estimate, ...]:
    """What the smallest set of neurons brings back, and as many random ones."""
    size, back = (
        figure(weight_restoration, "minimal_neurons"),
        figure(weight_restoration, "minimal_answered"),
    )
    random, total = (
        figure(weight_restoration, "minimal_random_most"),
        figure(weight_restoration, "forgotten"),
    )
    if size is None or back is None or random is None or not total:
        return ()
    return on_scale(
        [
            counted(f"this set ({size:,})", back, total),
            counted(f"random, matched ({size:,}; best draw)", random, total),
        ],
        most=1.0,
    )


def minimal_places(weight_restoration: Finding | None) -> str:
    """In which layers most of the smallest set lies."""
    found = table(weight_restoration, "minimal_set")
    if found is None:
        return ""
    counts = found["layer"].value_counts()
    most = ", ".join(f"{layer} ({count:,})" for layer, count in counts.head(3).items())
    if len(counts) == 1:
        return f"It lies in layer {counts.index[0]}."
    return f"It lies in {len(counts)} layers; most of it in layers {most}."


def silenced(silencing: Finding | None) -> tuple[Estimate, ...]:
    """What comes back when suspects are silenced, by their number, and with random neurons."""
    found = table(silencing, "curves")
    if found is None:
        return ()
    own = found.loc[found["chosen_on"] == OWN]
    random = own.loc[own["control"] != ITSELF].groupby("size")["answered"].max()
    return on_scale(
        [
            counted(
                f"{row['size']:,}",
                row["answered"],
                row["total"],
                f"at most {random[row['size']]}" if row["size"] in random.index else "–",
            )
            for row in own.loc[own["control"] == ITSELF].to_dict("records")
        ],
        most=1.0,
    )


def learnt_again(relearning_probe: Finding | None) -> tuple[Estimate, ...]:
    """Answers relearned by distance in weight space, and the share of wrong answers."""
    found = table(relearning_probe, "curve")
    if found is None:
        return ()
    wrong = found.loc[found["control"] != ITSELF].groupby("distance")["share"].mean()
    return on_scale(
        [
            counted(
                number(row["distance"]),
                row["answered"],
                row["total"],
                share(wrong[row["distance"]]),
            )
            for row in found.loc[found["control"] == ITSELF].to_dict("records")
        ],
        most=1.0,
    )


def certificate(path: Finding | None, unit: str) -> str:
    """How exactly the weight path adds up; empty where there is none."""
    if path is None:
        return ""
    total, drop, missing, nodes = (
        path.figures[name] for name in ("total", "drop", "missing", "nodes")
    )
    assert isinstance(total, float) and isinstance(drop, float) and isinstance(missing, float)
    of_drop = f", {number(100 * abs(missing / drop))} % of the drop" if drop else ""
    return (
        f"Every weight of the model has its contribution: together {number(total)} {unit}. "
        f"Measured directly, the drop is {number(drop)} {unit}. Missing: {number(missing)} {unit}"
        f"{of_drop}, with {nodes} nodes on the path."
    )


def parts(low_rank_restoration: Finding | None) -> tuple[Estimate, ...]:
    """What comes back with all of the change of one part, and how much of the change that is."""
    found = table(low_rank_restoration, "parts")
    if found is None:
        return ()
    return on_scale(
        [
            counted(
                f"layers {row['part']}" if row["kind"] == "layers" else row["part"],
                row["answered"],
                row["total"],
                share(row["energy"]),
            )
            for row in found.loc[found["split"] == "forget"].to_dict("records")
        ],
        most=1.0,
    )


def directions(low_rank_restoration: Finding | None) -> Table | None:
    """The largest directions of the change that write to the residual stream."""
    found = table(low_rank_restoration, "directions")
    if found is None:
        return None
    columns = {"module": "module", "layer": "layer"}
    if (found["expert"] >= 0).any():
        columns["expert"] = "expert"
    columns |= {"direction": "direction", "singular_value": "singular value", "share": "share"}
    columns |= {"neurons": "neurons", "promoted": "promoted", "suppressed": "suppressed"}
    shown = sortable(
        found.loc[:, list(columns)].head(TOP_DIRECTIONS), tuple(columns.values()), len(found)
    )
    at = shown.header.index("share")
    rows = [
        (*row[:at], Cell(share(float(row[at].key)), row[at].key), *row[at + 1 :])
        for row in shown.rows
    ]
    return Table(shown.header, tuple(rows), shown.total)


def methods(exactness: Finding | None) -> tuple[Estimate, ...]:
    """How well each attribution ranks neurons, against the exact effect of silencing them."""
    found = table(exactness, "methods")
    if found is None:
        return ()
    ordered = found.sort_values("correlation", ascending=False, kind="stable")
    return on_scale(
        [
            estimate(
                row["method"].replace("_", " "),
                row["correlation"],
                (row["low"], row["high"]),
                f"{row['neurons']:,}",
            )
            for row in ordered.to_dict("records")
        ],
        most=1.0,
    )
