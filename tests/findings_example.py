"""Plausible findings of all views for the example diagnosis, with all their tables."""

import dataclasses
import math

import numpy as np
import pandas as pd
from diagnosis_example import FORGET, INHIBITOR, RETAIN, example_diagnosis

from neuronscope.analysis.causal_tables import with_causal_share
from neuronscope.analysis.diagnosis import Diagnosis
from neuronscope.analysis.outcome import Counts
from neuronscope.analysis.statistics import wilson_interval
from neuronscope.analysis.verdict import Verdict
from neuronscope.results.findings import Finding

NOTHING = (math.nan, math.nan)

MODULES = {"mlp.gate": 0.2, "mlp.up": 0.2, "mlp.down": 0.3, "attn.q": 0.05, "attn.k": 0.05}
MODULES |= {"attn.v": 0.05, "attn.o": 0.1, "norm": 0.03}
"""Shares of the drop that run through each module's change; embeddings have the rest."""

VERDICT = Verdict(
    word="hidden",
    reason="relearning probe",
    counts=Counts(known=FORGET, still=0, others=RETAIN, kept=RETAIN),
    hidden_share=0.77,
    hidden_share_ci95=(0.5, 0.9),
    agree=(
        "attributions",
        "low_rank_restoration",
        "weight_restoration",
        "relearning_probe",
        "logit_lens",
    ),
    differ=("depth_score",),
    silent=("weight_path", "silencing", "linear_probe", "exactness"),
)


def causal_diagnosis(without: tuple[str, ...] = (), layers: int = 2) -> Diagnosis:
    """The example diagnosis with its causes tested, by all views but some.

    Args:
        without: Views that were left out.
        layers: Of the tables that have any; the neurons are those of the two recorded layers.
    """
    diagnosis = example_diagnosis()
    findings = tuple(f for f in example_findings(diagnosis, layers) if f.view not in without)
    neurons = with_causal_share(diagnosis.neurons, findings)
    return dataclasses.replace(diagnosis, findings=findings, verdict=VERDICT, neurons=neurons)


def changed(finding: Finding, table: str, **columns: object) -> Finding:
    """The finding with other columns in one of its tables."""
    tables = dict(finding.tables) | {table: finding.tables[table].assign(**columns)}
    return dataclasses.replace(finding, tables=tables)


def example_findings(diagnosis: Diagnosis, layers: int = 2) -> tuple[Finding, ...]:
    """One finding of each view."""
    return (
        _weight_path(diagnosis, layers),
        _low_rank_restoration(layers),
        _silencing(),
        _weight_restoration(),
        _relearning_probe(),
        _lens(layers),
        _probe(),
        _depth_score(layers),
        _exactness(),
    )


def _weight_path(diagnosis: Diagnosis, layers: int) -> Finding:
    draw = np.random.default_rng(0)
    rows = [
        (module, layer, share * diagnosis.drop, 1.0)
        for module, whole in MODULES.items()
        for layer, share in enumerate(whole * draw.dirichlet(np.ones(layers)))
    ]
    rows += [("embedding", -1, 0.03 * diagnosis.drop, 1.0), ("norm", -1, -0.01 * diagnosis.drop, 1)]
    modules = pd.DataFrame(rows, columns=["module", "layer", "contribution", "norm"])
    total = float(modules["contribution"].sum())
    neurons = diagnosis.neurons[["site", "layer", "neuron"]].assign(contribution=1e-4, norm=1.0)
    planted = (neurons["layer"] == INHIBITOR[0]) & (neurons["neuron"] == INHIBITOR[1])
    neurons.loc[planted, "contribution"] = 0.5 * total
    return Finding(
        view="weight_path",
        word=None,
        value=total,
        ci95=NOTHING,
        meaning="sum of all weights' contributions to the drop",
        why="Most of the drop runs through mlp.down.",
        figures={"drop": total + 1e-9, "total": total, "missing": 1e-9, "nodes": 8},
        tables={"modules": modules, "neurons": neurons},
    )


def _answers(answered: int, total: int = FORGET, split: str = "forget") -> dict[str, object]:
    low, high = wilson_interval(answered, total)
    target = 2 * answered / total - 1
    counts = {"split": split, "answered": answered, "total": total, "share": answered / total}
    return counts | {"share_low": low, "share_high": high} | _spread(target, "target")


def _spread(value: float, name: str) -> dict[str, float]:
    return {name: value, "low": value - 0.2, "high": value + 0.2}


def _low_rank_restoration(layers: int) -> Finding:
    keys = [
        (-1, rank, back) for rank, back in zip((0, 1, 2, 4, 12), (0, 11, 14, 16, 16), strict=True)
    ]
    keys += [(control, rank, control) for control in (0, 1) for rank in (1, 2, 4)]
    ranks = [
        {"control": control, "rank": rank, "energy": rank / 12} | answers
        for control, rank, back in keys
        for answers in (_answers(back), _answers(RETAIN, RETAIN, "retain"))
    ]
    interpolation = [
        {"alpha": alpha} | answers
        for alpha in (0.0, 0.25, 0.5, 0.75, 1.0)
        for answers in (_answers(int(alpha * FORGET)), _answers(RETAIN, RETAIN, "retain"))
    ]
    alone = (("module", "mlp.down", 4), ("module", "everything else", 0), ("layers", "0 to 1", 16))
    parts = [
        {"kind": kind, "part": part, "energy": 0.25} | _answers(back) for kind, part, back in alone
    ]
    directions = [
        {"module": "mlp.down", "layer": layer, "direction": 0, "expert": -1, "share": 0.4}
        | {"singular_value": 1 / (layer + 1), "site": "mlp.post", "neurons": "3, 5, 8"}
        | {"promoted": "' Paris', ' Rome'", "suppressed": "' the', '\\n'"}
        for layer in range(layers)
    ]
    tables = {
        "ranks": ranks,
        "interpolation": interpolation,
        "parts": parts,
        "directions": directions,
    }
    return Finding(
        view="low_rank_restoration",
        word="hidden",
        value=11 / FORGET,
        ci95=wilson_interval(11, FORGET),
        meaning="share of the forgotten answers that return with rank 1 of every matrix's change",
        why="Rank 1 of every matrix's change, too little to hold the facts, brings back 11 of 16 "
        "answers; random directions of that size at most 6%.",
        figures={"rank": 1, "returned": 11, "forgotten": FORGET},
        tables={name: pd.DataFrame(rows) for name, rows in tables.items()},
    )


def _curve(ranking: str, control: int, answered: dict[int, int]) -> list[dict[str, object]]:
    return [
        {"ranking": ranking, "control": control, "size": size, "answered": back, "total": FORGET}
        | _spread(back / 8, "recovered")
        for size, back in answered.items()
    ]


def _silencing() -> Finding:
    curves = _curve("negative influence", -1, {1: 3, 3: 5, 10: 2})
    curves += _curve("negative influence", 0, {1: 0, 3: 0, 10: 1})
    curves += _curve("negative influence", 1, {1: 0, 3: 1, 10: 0})
    table = pd.concat(
        [
            pd.DataFrame(curves).assign(chosen_on="other facts"),
            pd.DataFrame(_curve("d_minus", -1, {1: 9, 3: 9, 10: 9})).assign(chosen_on="elsewhere"),
        ],
        ignore_index=True,
    )
    return Finding(
        view="silencing",
        word="cannot tell",
        value=5 / FORGET,
        ci95=wilson_interval(5, FORGET),
        meaning="largest share of the forgotten answers that come back when few neurons, chosen on "
        "other facts, are silenced",
        why="Silencing 3 suspected inhibitors, chosen on other facts, brings 5 of 16 answers back.",
        figures={"forgotten": FORGET, "answered": 5, "silenced": 3, "random_most": 1},
        tables={"curves": table},
    )


def _weight_restoration() -> Finding:
    sizes = (1, 2, 6, 24)
    backs = {"weight_path": (8, 12, 15, 16), "d_minus": (0, 2, 6, 16)}
    curves = []
    for ranking, answered in backs.items():
        curves += _curve(ranking, -1, dict(zip(sizes, answered, strict=True)))
        for control in (0, 1):
            random = (0, control, 4, 16)
            curves += _curve(ranking, control, dict(zip(sizes, random, strict=True)))
    names = ["ranking", "causal_score", "low", "high", "chance", "beats_random", "sizes_apart"]
    scores = [
        ("weight_path", 0.7, 0.5, 0.9, 0.1, True, 3),
        ("d_minus", -0.05, -0.2, 0.1, 0.1, False, 0),
    ]
    layer, neuron = INHIBITOR
    return Finding(
        view="weight_restoration",
        word="hidden",
        value=1 / 24,
        ci95=NOTHING,
        meaning="share of the neurons at mlp.post whose own weights bring half of the answers back",
        why="The own weights of 1 of 24 neurons (4.17%, ranked by weight_path) bring 8 of 16 "
        "answers back, those of as many matched random neurons 0 (median draw): too few to hold so "
        "many different answers.",
        figures={
            "neurons": 24,
            "forgotten": FORGET,
            "minimal_neurons": 1,
            "minimal_ranking": "weight_path",
            "minimal_answered": 8,
            "minimal_random_most": 1,
        },
        tables={
            "curves": pd.DataFrame(curves),
            "scores": pd.DataFrame(scores, columns=names),
            "minimal_set": pd.DataFrame([{"site": "mlp.post", "layer": layer, "neuron": neuron}]),
        },
    )


def _relearning_probe() -> Finding:
    taught = {-1: (0, 6, 13), 0: (0, 0, 4), 1: (0, 0, 2)}
    curve = [
        {"control": control, "distance": distance, "answered": back, "total": FORGET}
        | {"share": back / FORGET, "low": back / FORGET - 0.1, "high": back / FORGET + 0.1}
        for control, backs in taught.items()
        for distance, back in zip((0.0, 1e-4, 1e-3), backs, strict=True)
    ]
    return Finding(
        view="relearning_probe",
        word="hidden",
        value=0.77,
        ci95=(0.5, 0.9),
        meaning="share of the forgotten answers relearned at a distance at which placebos are not",
        why="13 of 16 forgotten answers return after moving the weights by 0.1 % of their norm.",
        tables={"curve": pd.DataFrame(curve)},
    )


def _lens(layers: int) -> Finding:
    rows = []
    for kind, count in (("forget", FORGET), ("other", RETAIN)):
        for model in ("before", "after"):
            for layer in range(layers):
                right = 0.5 + 0.4 * layer / max(layers - 1, 1)
                right -= 0.1 * (model == "after" and kind == "forget")
                row = {"facts": kind, "model": model, "layer": layer, "count": count}
                for name, value, chance in (("pairs", right, 0.5), ("all", right - 0.2, 0.25)):
                    row |= {name: value, f"{name}_low": value - 0.1, f"{name}_high": value + 0.1}
                    row[f"{name}_chance"] = chance
                rows.append(row | {"label": "" if model == "before" else "still readable"})
    return Finding(
        view="logit_lens",
        word="hidden",
        value=0.8,
        ci95=(0.6, 0.9),
        meaning="share of (answer, distractor) pairs that the model after reads right",
        why="Read after layer 1, the answers beat their distractors in 80% of pairs.",
        figures={"layer": 1, "chance": 0.5},
        tables={"layers": pd.DataFrame(rows)},
    )


def _probe() -> Finding:
    return Finding(
        view="linear_probe",
        word="cannot tell",
        value=math.nan,
        ci95=NOTHING,
        meaning="share of facts whose answer a linear probe of the model after scores highest",
        why="No probe was taught. Only 3 facts that were not to be forgotten have distractors.",
        figures={"training_facts": 3},
    )


def _depth_score(layers: int) -> Finding:
    rows = [
        {"source": source, "layer": layer, "threshold": 0.05, "facts": FORGET}
        | _spread(scale * layer / layers, "loss")
        for source, scale in (("another subject", 2.0), ("after", 1.6))
        for layer in range(layers)
    ]
    return Finding(
        view="depth_score",
        word="erased",
        value=0.8,
        ci95=(0.7, 0.9),
        meaning="variant of the unlearning depth score (0: intact; 1: erased)",
        why="In the states between the layers, 80% of what the reference lacks is gone.",
        tables={"layers": pd.DataFrame(rows)},
    )


def _exactness() -> Finding:
    rows = [("gradient_x_activation", 0.62, 0.5, 0.7, 300), ("conductance", 0.91, 0.88, 0.94, 300)]
    columns = ["method", "correlation", "low", "high", "neurons"]
    return Finding(
        view="exactness",
        word=None,
        value=0.91,
        ci95=(0.88, 0.94),
        meaning="rank correlation of the best gradient method with the exact effect",
        why="Of 300 neurons silenced one by one on 6 facts, conductance ranks best.",
        tables={"methods": pd.DataFrame(rows, columns=columns)},
    )
