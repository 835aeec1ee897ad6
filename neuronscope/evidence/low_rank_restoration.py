"""Low-rank restoration: how small a part of the weight difference recovers the answers.

With D = θ_before − θ_after, the following are added to the unlearned model:

- the first r singular directions of D in every matrix of the decoder layers (`_low_rank.py`), up to
  full rank; embeddings, unembedding and vectors are unchanged;
- as a control, random directions with the same singular values;
- α · D in all parameters, which interpolates linearly towards the original model;
- all of D in one kind of module only, or in one block of layers only.

All of D in all parameters always recovers the answers. The evidence of hiding is that many answers
return together at a rank too small to store them: a matrix of rank r writes at most r linearly
independent outputs.
"""

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pandas as pd

from neuronscope.evidence._base import Case, Evidence, Progress, no_progress
from neuronscope.evidence._forgotten import ALMOST_NONE, ENOUGH, undecided, without_value
from neuronscope.evidence._low_rank import matrices
from neuronscope.evidence._readout import readout
from neuronscope.evidence._undoing import Row, Undoing
from neuronscope.models.interventions import check_same_shapes
from neuronscope.results.findings import ITSELF, Figure, Finding, Word

FACTS_PER_DIRECTION = 4
"""A rank is too small to store the forgotten facts if there are at least this many facts per
direction; chosen because a matrix that stores facts needs a direction for each."""

SMALL_RANK = 4
"""The largest rank that can count as too small, however many facts there are. It was measured: up
to rank 4, checkpoints whose answers a relearning attack recovers regain more than half of them, and
one that resists the attack regains none; at rank 8, the latter also regains more than half."""

MEANING = (
    "share of the forgotten answers recovered by adding {} of the weight difference to every matrix"
)


@dataclass(frozen=True)
class LowRankRestoration(Evidence):
    """Answers recovered by the best rank-r part of the weight difference in every matrix."""

    ranks: tuple[int, ...] = (1, 2, 4, 8, 16)
    """Numbers of directions to restore per matrix, ascending from 1; full rank is added at the end.
    """

    alphas: tuple[float, ...] = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
    """Interpolation coefficients towards the original model, ascending to 1."""

    draws: int = 3
    """Number of random controls per rank."""

    blocks: int = 6
    """Number of blocks of layers that are restored separately."""

    shown: int = 40
    """Number of directions to describe by neurons and tokens: the largest that write to the
    residual stream."""

    seed: int = 0
    """Seed of the random controls and of the randomized decomposition."""

    def __post_init__(self) -> None:
        if self.ranks[:1] != (1,) or any(a >= b for a, b in pairwise(self.ranks)):
            raise ValueError(f"Expected ranks that ascend from 1, got {self.ranks}.")
        if self.alphas[-1:] != (1,) or any(a >= b for a, b in pairwise((0, *self.alphas))):
            raise ValueError(f"Expected alphas that ascend from above 0 to 1, got {self.alphas}.")
        if min(self.draws, self.blocks, self.shown) < 1:
            raise ValueError(
                "Expected draws, blocks and shown of 1 or more, got "
                f"{self.draws}, {self.blocks} and {self.shown}."
            )

    def __call__(self, case: Case, progress: Progress = no_progress) -> Finding:
        check_same_shapes(case.before, case.after)
        no_word = undecided(case)
        facts = int(case.forgotten.sum())
        if not facts:
            verdict: tuple[Word, str] = no_word or ("cannot tell", "No fact was forgotten.")
            meaning = MEANING.format("a low-rank part")
            return without_value("low_rank_restoration", meaning, verdict)
        whole = matrices(case.after)
        full = max(matrix.rank(case.after.hf.get_parameter(matrix.parameter)) for matrix in whole)
        tried = [rank for rank in self.ranks if rank < full]
        blocks = np.array_split(range(case.after.n_layers), min(self.blocks, case.after.n_layers))
        kinds = len({matrix.module for matrix in whole}) + 1
        passes = 2 + len(tried) * (1 + self.draws) + len(self.alphas) + kinds + len(blocks)
        step = _counter(progress, len(whole) + passes)
        undoing = Undoing(case, whole, self.ranks[-1], self.seed, step)
        tables = {
            "ranks": self._ranks(undoing, tried, full),
            "interpolation": self._interpolation(undoing),
            "parts": _parts(undoing, [block.tolist() for block in blocks]),
            "directions": readout(case, undoing.model, whole, undoing.found, self.shown),
        }
        return _finding(tables, rank_too_small(tried, facts), undoing.outside, no_word)

    def _ranks(self, undoing: Undoing, tried: Sequence[int], full: int) -> pd.DataFrame:
        """The results of the leading directions and of random ones, for each rank."""
        rows = undoing.rows({"control": ITSELF, "rank": 0, "energy": 0.0}, undoing.nothing)
        for control in range(ITSELF, self.draws):
            itself = control == ITSELF
            found = undoing.found if itself else undoing.random(1000 * self.seed + control)
            for rank in tried:
                keys = {"control": control, "rank": rank, "energy": undoing.energy_at(rank)}
                rows += undoing.rows(keys, undoing.low_rank(found, rank))
        keys = {"control": ITSELF, "rank": full, "energy": 1.0}
        rows += undoing.rows(keys, undoing.whole_matrices(range(len(undoing.whole))))
        return pd.DataFrame(rows).sort_values(["control", "rank"], kind="stable", ignore_index=True)

    def _interpolation(self, undoing: Undoing) -> pd.DataFrame:
        """The results of interpolating towards the original model."""
        rows = undoing.rows({"alpha": 0.0}, undoing.nothing)
        for alpha in self.alphas:
            rows += undoing.rows({"alpha": alpha}, undoing.interpolated(alpha))
        return pd.DataFrame(rows)


def _parts(undoing: Undoing, blocks: Sequence[Sequence[int]]) -> pd.DataFrame:
    """The results of restoring one kind of matrix, everything else, or one block of layers."""
    rows: list[Row] = []
    for module in dict.fromkeys(matrix.module for matrix in undoing.whole):
        chosen = [at for at, matrix in enumerate(undoing.whole) if matrix.module == module]
        keys: Row = {"kind": "module", "part": module, "energy": undoing.energy_of(chosen)}
        rows += undoing.rows(keys, undoing.whole_matrices(chosen))
    keys = {"kind": "module", "part": "everything else", "energy": undoing.outside}
    rows += undoing.rows(keys, undoing.everything_else())
    for block in blocks:
        measured, energy = undoing.layers(block)
        keys = {"kind": "layers", "part": f"{block[0]} to {block[-1]}", "energy": energy}
        rows += undoing.rows(keys, measured)
    return pd.DataFrame(rows)


def rank_too_small(ranks: Sequence[int], facts: int) -> int:
    """The largest of the ranks that is too small to store this many facts; 1 if none is."""
    limit = min(facts // FACTS_PER_DIRECTION, SMALL_RANK)
    return max((rank for rank in ranks if rank <= limit), default=1)


def alpha_of_half(interpolation: pd.DataFrame) -> float:
    """The α at which half of the forgotten answers are recovered, interpolated; NaN if never."""
    forgotten = interpolation.loc[interpolation["split"] == "forget", :]
    shares, alphas = forgotten["share"].to_numpy(), forgotten["alpha"].to_numpy()
    (enough,) = np.nonzero(shares >= ENOUGH)
    if not len(enough):
        return math.nan
    at = enough[0]
    near = slice(max(at - 1, 0), at + 1)
    return float(np.interp(ENOUGH, shares[near], alphas[near]))


def _finding(
    tables: dict[str, pd.DataFrame], small: int, outside: float, no_word: tuple[Word, str] | None
) -> Finding:
    ranks = tables["ranks"]
    forgotten, itself = ranks["split"] == "forget", ranks["control"] == ITSELF
    own = ranks.loc[forgotten & itself, :].set_index("rank")
    others = ranks.loc[forgotten & ~itself & (ranks["rank"] == small), "share"]
    most = float(max(others, default=np.nan))
    at, first, last = own.loc[[small]].iloc[0], own.iloc[0], own.iloc[-1]
    enough = own.index[own["share"] >= ENOUGH]
    word, why = no_word or _word(own, small, most)
    figures: dict[str, Figure] = {
        "rank": small,
        "returned": int(at["answered"]),
        "forgotten": int(at["total"]),
        "rank_one": float(own.loc[[1], "share"].iloc[0]),
        "rank_half": int(enough[0]) if len(enough) else None,
        "alpha_half": alpha_of_half(tables["interpolation"]),
        "random": most,
        "all_of_every_matrix": float(last["share"]),
        "full_rank": int(own.index[-1]),
        "target_returned": float(at["target"] - first["target"]),
        "energy": float(at["energy"]),
        "energy_outside": outside,
    }
    return Finding(
        view="low_rank_restoration",
        word=word,
        value=float(at["share"]),
        ci95=(float(at["share_low"]), float(at["share_high"])),
        meaning=MEANING.format(f"the best rank-{small} part"),
        why=why,
        figures=figures,
        tables=tables,
        warnings=tuple(_warnings(word, last)),
    )


def _word(own: pd.DataFrame, small: int, random: float) -> tuple[Word, str]:
    """The verdict, with its reason.

    Args:
        own: The forgotten answers against the rank of the weight difference.
        small: The rank that is too small to store them.
        random: The largest share that random directions recover at that rank.
    """
    at, full = own.loc[[small]].iloc[0], own.iloc[-1]
    start = (
        f"Adding to every matrix the best rank-{small} part of the weight difference recovers "
        f"{at['answered']} of {at['total']} forgotten answers"
    )
    if random > ALMOST_NONE:
        return "cannot tell", (
            f"{start}, but random directions of the same size recover up to {random:.0%}."
        )
    if at["share"] >= ENOUGH:
        return (
            "hidden",
            f"{start}; random directions of the same size recover at most {random:.0%}.",
        )
    if at["answered"]:
        return "mixed", f"{start}, which is fewer than half."
    if full["share"] >= ENOUGH:
        return "erased", f"{start}; restoring all matrices recovers {full['answered']}."
    return (
        "cannot tell",
        f"{start}, and even restoring all matrices recovers only {full['answered']}.",
    )


def _warnings(word: Word, full: pd.Series) -> Iterator[str]:
    if full["share"] < ENOUGH:
        yield (
            f"Restoring all matrices recovers only {full['answered']} of {full['total']} forgotten "
            "answers: embeddings, norms and biases, which are not restored here, are needed too."
        )
    if word == "erased":
        yield (
            "Hidden answers can be missed: if they are strongly suppressed, they need as large a "
            "part of the weight difference as erased ones. Compare only checkpoints whose answers "
            "have similar scores after unlearning."
        )
    if word in ("hidden", "mixed"):
        yield (
            "A low-rank change can also restore answers that are gone, so this result cannot "
            "contradict an erasure."
        )


def _counter(progress: Progress, total: int) -> Callable[[], None]:
    done = itertools.count(1)
    return lambda: progress(next(done), total)
