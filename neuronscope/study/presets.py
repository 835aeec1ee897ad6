"""Studies that are ready made: give them a model and facts."""

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
"""SSIUU with the true gradient of its penalty, at a strength that means the same on every model."""

RANDOM = NEURONS | {"name": "random-neurons", "count": 256}
"""The same penalty on a few neurons that were drawn at random, at the same length."""

GRID = [1e-6, 5e-6, 1e-5]
"""Learning rates of the attacks: those of arXiv 2509.22263."""


DEEP = -4.0
"""Log-odds, in nats, at which methods are compared: so low that each has forgotten nearly all."""

TOKENS_A_WORD, SPARE = 2, 4
"""Room for what a model writes where it is asked: a multiple of the longest answer's words, and
some more. What it writes beyond costs time and earns marks from ROUGE-L that are not due."""


def quick(model: str, facts: Path) -> Study:
    """Gradient difference and SSIUU on neurons, one seed, one attack: does it work here at all?"""
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
    """The embedded model, made to forget where 16 persons live: seconds a run."""
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
    """SSIUU against its controls, three seeds: at matched accuracy, log-odds and update norm.

    All add to gradient difference. The controls' penalties are as long as SSIUU's on neurons,
    relative to the objective's gradient; the paper's mode has its own λ. The distance to the
    reference is half as long, because at the same length it takes every step back and nothing is
    forgotten; even so it comes to rest before the log-odds are deep, and is left out there.
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
            # A look at every step, because a step can cost half a nat where a match is wanted.
            "training": {"evaluate_every": 1},
            "methods": methods,
            "attacks": [_relearning([1e-5], [0], steps=30, evaluate_every=6)],
            "diagnosing": None,
        }
    )


def paper(model: str, facts: Path) -> Study:
    """Baselines, attacks and scores of arXiv 2509.22263, for any model and facts.

    Tables 1 and 2 are the methods side by side, with their scores; the paper's utility score is
    had by `neuronscope score --tasks`. Figures 3 to 5 (variation, lens, modules) stand on each
    run's own page, 6 under what an attack moved, 7 under strengths and learning rates. Recovery is
    that of all forgotten facts; the paper counts those that were not answered before.

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
    """The study of a file, or a preset with models and facts.

    Raises:
        FileNotFoundError, ValueError: What is wrong with the input, in one line.
    """
    if config is not None:
        if any(given is not None for given in (preset, model, facts, never_knew)):
            raise ValueError(
                "A study's file says everything: give either it, or --preset, --model, --facts and "
                "--never-knew."
            )
        return read_study(config)
    if preset is None or model is None or facts is None:
        raise ValueError(
            "Expected a study's TOML file, or --preset with --model and --facts: presets are "
            f"{', '.join(PRESETS)}."
        )
    if preset not in PRESETS:
        raise ValueError(f"No preset {preset!r}: there are {', '.join(PRESETS)}.")
    return replace(PRESETS[preset](model, facts), never_knew=never_knew)
