"""What causal findings add to a diagnosis: a column for its neurons, and entries in its JSON."""

from collections.abc import Sequence
from dataclasses import asdict

import numpy as np
import pandas as pd

from neuronscope.analysis.verdict import Verdict
from neuronscope.results.findings import ITSELF, Finding


def with_causal_share(neurons: pd.DataFrame, findings: Sequence[Finding]) -> pd.DataFrame:
    """Add the column `causal_share` to a diagnosis's neurons, given a weight path.

    This is the signed share of the drop due to the change of the neuron's own weights; NaN at sites
    whose neurons have no weights.
    """
    found = next((finding for finding in findings if finding.view == "weight_path"), None)
    if found is None:
        return neurons
    keys = ["site", "layer", "neuron"]
    paths = found.tables["neurons"]
    shares = paths[keys].assign(causal_share=paths["contribution"] / found.value)
    return neurons.merge(shares, on=keys, how="left")


def causal_json(verdict: Verdict, findings: Sequence[Finding]) -> dict[str, object]:
    """Entries for a diagnosis's JSON, from the views that were run.

    `verdict` is the label, `weighing` the whole verdict, and `views` the verdict and value of each
    view. `weight_restoration`, `minimal_set`, `low_rank_restoration` and `weight_path` follow.
    """
    views = {finding.view: finding for finding in findings}
    content: dict[str, object] = {
        "verdict": verdict.word,
        "weighing": asdict(verdict),
        "views": {name: _view(finding) for name, finding in views.items()},
    }
    if "weight_restoration" in views and "curves" in views["weight_restoration"].tables:
        content["weight_restoration"] = _weight_restoration(views["weight_restoration"])
        content["minimal_set"] = _minimal_set(views["weight_restoration"])
    if "low_rank_restoration" in views and "ranks" in views["low_rank_restoration"].tables:
        content["low_rank_restoration"] = _low_rank_restoration(views["low_rank_restoration"])
    if "weight_path" in views:
        content["weight_path"] = _weight_path(views["weight_path"])
    return content


def _view(finding: Finding) -> dict[str, object]:
    return {
        "word": finding.word,
        "value": finding.value,
        "ci95": finding.ci95,
        "meaning": finding.meaning,
        "why": finding.why,
        "figures": dict(finding.figures),
    }


def _weight_restoration(finding: Finding) -> dict[str, object]:
    """By ranking: recovery at each size, that of random neurons, and the causal score."""
    curves = finding.tables["curves"]
    scores = finding.tables["scores"].set_index("ranking")
    content: dict[str, object] = {}
    for ranking in scores.index:
        rows = curves.loc[curves["ranking"] == ranking]
        own = rows.loc[rows["control"] == ITSELF].sort_values("size")
        random = rows.loc[rows["control"] != ITSELF]
        by_size = random.groupby("size").agg(
            low=("low", "min"), high=("high", "max"), answered=("answered", "max")
        )
        score = scores.loc[ranking]
        content[str(ranking)] = {
            "sizes": own["size"].tolist(),
            "recovered_target": own["recovered"].tolist(),
            "ci95": own[["low", "high"]].to_numpy().tolist(),
            "recovered_answers": own["answered"].tolist(),
            "random": {
                "sizes": by_size.index.tolist(),
                "ci95": by_size[["low", "high"]].to_numpy().tolist(),
                "most_answers": by_size["answered"].tolist(),
            },
            "causal_score": float(score["causal_score"]),
            "causal_score_ci95": [float(score["low"]), float(score["high"])],
            "beats_random": bool(score["beats_random"]),
        }
    return content


def _minimal_set(finding: Finding) -> dict[str, object] | None:
    """The smallest set found that recovers half of the answers; None if there is none."""
    chosen = finding.tables["minimal_set"]
    if chosen.empty:
        return None
    return {
        "size": len(chosen),
        "share": finding.value,
        "ranking": finding.figures["minimal_ranking"],
        "answered": finding.figures["minimal_answered"],
        "random_most": finding.figures["minimal_random_most"],
        "neurons": chosen[["site", "layer", "neuron"]].to_numpy().tolist(),
    }


def _low_rank_restoration(finding: Finding) -> list[dict[str, object]]:
    """By rank of the restored change: target, answers, and the most answers of any random draw."""
    ranks = finding.tables["ranks"]
    forgotten = ranks.loc[ranks["split"] == "forget"]
    random = forgotten.loc[forgotten["control"] != ITSELF].groupby("rank")["answered"].max()
    rows = []
    for row in forgotten.loc[forgotten["control"] == ITSELF].to_dict("records"):
        most = random.get(row["rank"])
        rows.append(
            {
                "rank": int(row["rank"]),
                "target": row["target"],
                "answers": int(row["answered"]),
                "of": int(row["total"]),
                "ci95": [row["share_low"], row["share_high"]],
                "random_answers": None if most is None else int(most),
            }
        )
    return rows


def _weight_path(finding: Finding) -> dict[str, object]:
    """The drop, the sum of contributions (total, by module, by layer), and their difference.

    Layer -1 stands for parameters outside all layers.
    """
    modules = finding.tables["modules"]
    return {
        "total": finding.figures["total"],
        "drop": finding.figures["drop"],
        "missing": finding.figures["missing"],
        "nodes": finding.figures["nodes"],
        "modules": {
            name: float(modules.loc[modules["module"] == name, "contribution"].sum())
            for name in modules["module"].unique()
        },
        "layers": {
            str(layer): float(modules.loc[modules["layer"] == layer, "contribution"].sum())
            for layer in sorted(modules["layer"].unique())
        },
        "largest_neuron_share": float(
            np.abs(finding.tables["neurons"]["contribution"]).max() / abs(finding.value)
        ),
    }
