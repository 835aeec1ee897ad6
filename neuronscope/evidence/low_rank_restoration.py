"""Low-rank restoration: how little of the change, undone, brings the answers back.

D = θ_before − θ_after is the change, undone. Into the model after are put

- of every matrix of the decoder layers, its first r singular directions (`_low_rank.py`), up to
  all of them; embeddings, unembedding and vectors stay as they are;
- as a control, random directions with the same singular values;
- a step α · D of all parameters, on the straight way back to the model before;
- all of D in one kind of module, or in one block of layers, alone.

All of D always brings the answers back. What tells hiding from erasing is whether many of them
return together at a rank too small to hold them: a matrix of rank r tells r inputs apart at most.
"""

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pandas as pd

from neuronscope.evidence._base import Case, Evidence, Progress, no_progress
from neuronscope.evidence._forgotten import ALMOST_NONE, ENOUGH, undecided
from neuronscope.evidence._low_rank import matrices
from neuronscope.evidence._readout import readout
from neuronscope.evidence._undoing import Row, Undoing
from neuronscope.models.interventions import check_same_shapes
from neuronscope.results.findings import ITSELF, Figure, Finding, Word

FACTS_PER_DIRECTION = 4
"""A rank is too small to hold the forgotten facts if there are so many of them to each direction;
reasoned: as a memory of facts, a matrix needs a direction for each."""

SMALL_RANK = 4
"""Larger ranks are never too small, however many the facts; measured: up to rank 4, checkpoints
whose answers a relearning attack brings back give more than half of them back, and one that resists
it gives none, but over half at rank 8."""

MEANING = "share of the forgotten answers that return with {} of every matrix's change"


@dataclass(frozen=True)
class LowRankRestoration(Evidence):
    """Answers that come back with the leading directions of every matrix's change."""

    ranks: tuple[int, ...] = (1, 2, 4, 8, 16)
    """Directions put back in each matrix, ascending from 1; all of every matrix comes last."""

    alphas: tuple[float, ...] = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
    """Steps on the straight way back, ascending to 1."""

    draws: int = 3
    """Random draws beside each rank."""

    blocks: int = 6
    """Blocks of layers that are restored alone."""

    shown: int = 40
    """Directions that are read out: the largest that write to the residual stream."""

    seed: int = 0
    """Seed of the draws, and of the decomposition."""

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
            return _nothing(*(no_word or ("cannot tell", "No answer was forgotten.")))
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
            "straight_way": self._straight_way(undoing),
            "parts": _parts(undoing, [block.tolist() for block in blocks]),
            "directions": readout(case, undoing.model, whole, undoing.found, self.shown),
        }
        return _finding(tables, rank_too_small(tried, facts), undoing.outside, no_word)

    def _ranks(self, undoing: Undoing, tried: Sequence[int], full: int) -> pd.DataFrame:
        """Each rank's leading directions, and random ones beside them."""
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

    def _straight_way(self, undoing: Undoing) -> pd.DataFrame:
        """Each step on the straight way back."""
        rows = undoing.rows({"alpha": 0.0}, undoing.nothing)
        for alpha in self.alphas:
            rows += undoing.rows({"alpha": alpha}, undoing.straight(alpha))
        return pd.DataFrame(rows)


def _parts(undoing: Undoing, blocks: Sequence[Sequence[int]]) -> pd.DataFrame:
    """All of the change of one kind of module, of what is in none, of one block of layers."""
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
    """The largest of the ranks that is too small to hold so many facts; 1 if none is."""
    limit = min(facts // FACTS_PER_DIRECTION, SMALL_RANK)
    return max((rank for rank in ranks if rank <= limit), default=1)


def alpha_of_half(straight_way: pd.DataFrame) -> float:
    """The step at which half of the forgotten answers are back, interpolated; NaN if none does."""
    way = straight_way.loc[straight_way["split"] == "forget", :]
    shares, alphas = way["share"].to_numpy(), way["alpha"].to_numpy()
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
        "alpha_half": alpha_of_half(tables["straight_way"]),
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
        meaning=MEANING.format(f"rank {small}"),
        why=why,
        figures=figures,
        tables=tables,
        warnings=tuple(_warnings(word, last)),
    )


def _word(own: pd.DataFrame, small: int, random: float) -> tuple[Word, str]:
    """The word, and one sentence for it.

    Args:
        own: The forgotten answers against the rank of the change itself.
        small: The rank that is too small to hold them.
        random: Largest share that random directions bring back at that rank.
    """
    at, all_of_it = own.loc[[small]].iloc[0], own.iloc[-1]
    start = (
        f"Rank {small} of every matrix's change, too little to hold the facts, brings back "
        f"{at['answered']} of {at['total']} answers"
    )
    if random > ALMOST_NONE:
        return "cannot tell", f"{start}, but random directions of that size up to {random:.0%} too."
    if at["share"] >= ENOUGH:
        return "hidden", f"{start}; random directions of that size at most {random:.0%}."
    if at["answered"]:
        return "mixed", f"{start}: some, but fewer than half."
    if all_of_it["share"] >= ENOUGH:
        return "erased", f"{start}; all of it brings back {all_of_it['answered']}."
    return "cannot tell", f"{start}, and all of it no more than {all_of_it['answered']}."


def _warnings(word: Word, all_of_it: pd.Series) -> Iterator[str]:
    if all_of_it["share"] < ENOUGH:
        yield (
            f"All of every matrix brings back {all_of_it['answered']} of {all_of_it['total']} "
            "answers: ranks leave embeddings, norms and biases alone, and they are needed here."
        )
    if word == "erased":
        yield (
            "What is suppressed deeply takes more of the change to bring back, too: compare "
            "checkpoints whose answers score alike after unlearning."
        )


def _nothing(word: Word, why: str) -> Finding:
    """Where no answer was forgotten, none can return."""
    nan = math.nan
    meaning = MEANING.format("a small rank")
    return Finding("low_rank_restoration", word, nan, (nan, nan), meaning, why)


def _counter(progress: Progress, total: int) -> Callable[[], None]:
    done = itertools.count(1)
    return lambda: progress(next(done), total)
