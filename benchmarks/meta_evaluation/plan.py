"""The planned checkpoints: methods with their strengths, relations, depths and seeds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

RELATIONS = ["capital", "adj_antonym", "landmark_in_country"]
"""Relations of which SmolLM2-135M answers enough facts, with enough different answers."""

DEPTHS = (None, -3.0, -6.0, -12.0)
"""Training ends when no fact is answered and the mean log-odds are at or below one of these; with
None, as soon as no fact is answered."""


@dataclass(frozen=True)
class Recipe:
    """How to unlearn."""

    objective: Mapping[str, Any]
    regularizer: Mapping[str, Any] | None = None
    learning_rate: float = 5e-6
    lora_rank: int | None = None


def recipe(name: str, /, **settings: Any) -> Recipe:
    """A recipe without regularizer."""
    rate = settings.pop("learning_rate", 5e-6)
    return Recipe({"name": name} | settings, None, rate)


def with_penalty(name: str, /, **settings: Any) -> Recipe:
    """Gradient difference with a regularizer."""
    return Recipe({"name": "gradient-difference"}, {"name": name} | settings)


NEURONS = {"anchor": "reference", "one_sided": True, "target": "log-odds"}

METHODS: dict[str, tuple[Recipe, Recipe]] = {
    "gradient-ascent": (
        recipe("gradient-ascent", learning_rate=3e-6), recipe("gradient-ascent"),
    ),
    "gradient-difference": (
        recipe("gradient-difference"), recipe("gradient-difference", retain_weight=4.0),
    ),
    "kl-retain": (recipe("kl-retain"), recipe("kl-retain", retain_weight=10.0)),
    "npo": (recipe("npo"), recipe("npo", beta=0.5)),
    "simnpo": (
        recipe("simnpo", learning_rate=1e-5, forget_weight=1.0),
        recipe("simnpo", forget_weight=1.0, beta=1.0),
    ),
    "dpo": (recipe("dpo"), recipe("dpo", beta=0.5)),
    "idk": (recipe("idk", learning_rate=1e-5), recipe("idk", retain_weight=0.0)),
    "rmu": (
        recipe("rmu", learning_rate=3e-5), recipe("rmu", learning_rate=3e-5, steering=100.0),
    ),
    "undial": (recipe("undial"), recipe("undial", beta=30.0, retain_weight=1.0)),
    "wga": (recipe("wga"), recipe("wga", beta=0.5)),
    "klue": (recipe("klue", learning_rate=1e-5), recipe("klue", learning_rate=1e-5, share=0.3)),
    "ssiuu": (with_penalty("ssiuu"), with_penalty("ssiuu", relative=1.0)),
    "ssiuu-neurons": (
        with_penalty("ssiuu-neurons", relative=1.0, **NEURONS),
        with_penalty("ssiuu-neurons", relative=0.3, **NEURONS),
    ),
    "ewc": (with_penalty("ewc", relative=1.0), with_penalty("ewc", relative=0.3)),
    "l2-to-reference": (
        with_penalty("l2-to-reference", relative=0.5),
        with_penalty("l2-to-reference", relative=0.25),
    ),
    "lora": (
        Recipe({"name": "gradient-difference"}, None, 1e-4, 8),
        Recipe({"name": "npo"}, None, 1e-4, 32),
    ),
}  # fmt: skip
"""Two strengths of each method, which alternate."""


@dataclass(frozen=True)
class Checkpoint:
    """One row of the table: everything that its weights depend on, besides model and facts."""

    method: str
    recipe: Recipe
    relation: str
    depth: float | None
    seed: int

    @property
    def name(self) -> str:
        depth = "answers" if self.depth is None else f"{self.depth:g}"
        return f"{self.method}_{self.relation}_{depth}_{self.seed}"


def planned(relations: Sequence[str], rounds: int) -> list[Checkpoint]:
    """All checkpoints; each round has every method once, and all depths and relations."""
    return [
        Checkpoint(
            method,
            strengths[turn % len(strengths)],
            relations[(place + turn) % len(relations)],
            DEPTHS[(place + turn) % len(DEPTHS)],
            turn,
        )
        for turn in range(rounds)
        for place, (method, strengths) in enumerate(METHODS.items())
    ]
