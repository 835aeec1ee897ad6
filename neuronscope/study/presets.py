"""Predefined studies, for any model and facts."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from neuronscope.facts.loading import load_facts
from neuronscope.facts.shipped import shipped
from neuronscope.study.config import Study
from neuronscope.study.loading import read_study, study_of

DIFFERENCE = "gradient-difference"

NEURONS = {
    "name": "ssiuu-neurons",
    "anchor": "reference",
    "one_sided": True,
    "target": "log-odds",
    "relative": 1.0,
}
"""SSIUU with the exact gradient of its penalty, scaled relative to the objective's gradient."""

RANDOM = NEURONS | {"name": "random-neurons", "count": 256}
"""The same penalty with the same gradient norm, on a few random neurons."""

GRID = [1e-6, 5e-6, 1e-5]
"""Learning rates of the attacks, as in arXiv 2509.22263."""

DEEP = -4.0
"""Log-odds, in nats, at which methods are compared; low enough to forget nearly all facts."""

TOKENS_A_WORD, SPARE = 2, 4
"""The length of generated answers: tokens per word of the longest answer, and some to spare. Longer
texts take time and inflate ROUGE-L."""


def quick(model: str, facts: Path) -> Study:
    """Gradient difference and SSIUU on neurons, one seed, one attack: a first check."""
    return study_of(
        {
            "model": model,
            "facts": facts,
            "training": {"evaluate_every": 2},
            "methods": [
                {"name": "gradient difference", "objective": DIFFERENCE},
                {"name": "SSIUU (neurons)", "objective": DIFFERENCE, "regularizer": NEURONS},
            ],
            "attacks": [_relearning([1e-5], [0], steps=30)],
        }
    )


def demo() -> Study:
    """The bundled model forgets where 16 people live; a run takes seconds."""
    return study_of(
        {
            "model": str(shipped("demo") / "before"),
            "facts": str(shipped("demo") / "facts.jsonl"),
            "training": {
                "learning_rate": 2e-4,
                "forget_batch": 16,
                "retain_batch": 16,
                "micro_batch": 16,
                "evaluate_every": 5,
            },
            "methods": [
                {"name": "gradient difference", "objective": DIFFERENCE},
                {"name": "SSIUU (neurons)", "objective": DIFFERENCE, "regularizer": NEURONS},
            ],
            "attacks": [_relearning([1e-4, 3e-4], [0, 1], count=4, steps=40)],
        }
    )


def controls(model: str, facts: Path) -> Study:
    """SSIUU and its controls, three seeds, at matched accuracy, log-odds and update norm.

    All methods are gradient difference, with one of several penalties or with none. Each penalty's
    gradient is scaled to the norm of the objective's gradient. There are two exceptions: the
    paper's SSIUU uses its own λ, and the distance to the reference is scaled to half that norm,
    because at the full norm it undoes every step and nothing is forgotten. At half the norm it
    still converges before the log-odds reach −4, so it is left out of the comparison at those
    log-odds.
    """
    added: dict[str, Any] = {
        "nothing added": None,
        "SSIUU (paper)": "ssiuu",
        "SSIUU (neurons)": NEURONS,
        "distance to reference": {"name": "l2-to-reference", "relative": 0.5},
        "damping": {"name": "damping", "relative": 1.0},
        "random neurons": RANDOM,
        "EWC": {"name": "ewc", "relative": 1.0},
    }
    deep = f"at log-odds {DEEP:g}"
    methods = [
        {
            "name": f"{name}, {stopped}",
            "objective": DIFFERENCE,
            "regularizer": regularizer,
            "stop": stop,
            "control": not name.startswith("SSIUU"),
        }
        for stopped, stop in (
            ("at no answer", "forget-accuracy"),
            (deep, {"name": "log-odds", "level": DEEP}),
        )
        for name, regularizer in added.items()
        if (name, stopped) != ("distance to reference", deep)
    ]
    methods.append(
        {
            "name": "nothing added, as far as SSIUU (neurons)",
            "objective": DIFFERENCE,
            "stop": {"name": "update-norm", "match": "SSIUU (neurons), at no answer"},
            "control": True,
        }
    )
    return study_of(
        {
            "model": model,
            "facts": facts,
            "seeds": [0, 1, 2],
            # One step can change the log-odds by half a nat, too much for a match.
            "training": {"evaluate_every": 1},
            "methods": methods,
            "attacks": [_relearning([1e-5], [0], steps=30, evaluate_every=6)],
            "diagnosing": None,
        }
    )


def paper(model: str, facts: Path) -> Study:
    """Baselines, attacks and scores of arXiv 2509.22263, for any model and facts.

    Tables 1 and 2 correspond to the comparison of methods with their scores; `neuronscope score
    --tasks` computes the paper's utility score. Figures 3 to 5 (variation, lens, modules) are in
    the report of each run, Figure 6 is in the section on neurons changed by an attack, and Figure 7
    in those on strengths and learning rates. Recovery counts all facts of the forget set; the paper
    counts those that were not answered before the attack.

    Raises:
        FileNotFoundError, ValueError: As `load_facts`.
    """
    seeds = [0, 1, 2]
    known = load_facts(facts)
    longest = max(len(fact.answer.split()) for _, fact in known)
    metrics: list[Any] = [{"name": "rouge-l", "max_new_tokens": SPARE + TOKENS_A_WORD * longest}]
    if all(fact.distractors for fact in known.forget):
        metrics.append("multiple-choice-generation")
    objectives: dict[str, Any] = {
        "GA": "gradient-ascent",
        "GD": DIFFERENCE,
        "DPO": "dpo",
        "NPO": "npo",
        "RMU": "rmu",
        "KLUE": "klue",
    }
    methods = [{"name": name, "objective": made} for name, made in objectives.items()]
    methods += [
        {"name": f"SSIUU {strength:g}", "objective": DIFFERENCE, "regularizer": ssiuu}
        for strength in (1e-4, 1e-3, 1e-2, 1.0)
        for ssiuu in [{"name": "ssiuu", "strength": strength}]
    ]
    return study_of(
        {
            "model": model,
            "facts": facts,
            "seeds": seeds,
            "training": {"evaluate_every": 2},
            "methods": methods,
            "metrics": metrics,
            "attacks": [
                *(_relearning(GRID, seeds, share=share) for share in (0.1, 0.3)),
                {"name": "relearn-benign", "learning_rates": [1e-7, 1e-6, 1e-5], "seeds": seeds},
            ],
            "diagnosing": {
                "method": {"target": "prob", "sites": ["paper"]},
                "views": ["relearning_probe", "logit_lens"],
                "after_attack": "relearn-forget 1",
            },
        }
    )


def _relearning(rates: list[float], seeds: list[int], **more: Any) -> dict[str, Any]:
    return {"name": "relearn-forget", "learning_rates": rates, "seeds": seeds, **more}


PRESETS: dict[str, Callable[[str, Path], Study]] = {
    "quick": quick,
    "controls": controls,
    "paper": paper,
}


def chosen_study(
    config: Path | None,
    preset: str | None,
    model: str | None,
    facts: Path | None,
    never_knew: str | None,
) -> Study:
    """The study described by a file, or a preset with its models and facts.

    Raises:
        FileNotFoundError, ValueError: If neither or both are given, or either is invalid.
    """
    if config is not None:
        if any(given is not None for given in (preset, model, facts, never_knew)):
            raise ValueError(
                "Expected either the TOML file of a study, or --preset, --model, --facts and "
                "--never-knew, not both."
            )
        return read_study(config)
    if preset is None or model is None or facts is None:
        raise ValueError(
            "Expected the TOML file of a study, or --preset with --model and --facts; presets: "
            f"{', '.join(PRESETS)}."
        )
    if preset not in PRESETS:
        raise ValueError(f"No preset {preset!r}: expected one of {', '.join(PRESETS)}.")
    return replace(PRESETS[preset](model, facts), never_knew=never_knew)
