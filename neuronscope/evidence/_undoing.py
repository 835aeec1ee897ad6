"""Undoing parts of the weight change in a copy of the unlearned model, and evaluating the copy."""

import math
from collections.abc import Callable, Iterable, Sequence

import numpy as np
import torch
from jaxtyping import Bool
from torch import Tensor

from neuronscope.analysis.statistics import mean_interval, wilson_interval
from neuronscope.evidence._base import Case, working_copy
from neuronscope.evidence._low_rank import Directions, Matrix, leading, random_like
from neuronscope.models.answers import Measured
from neuronscope.models.hooked_model import HookedModel
from neuronscope.models.neuron_weights import layer_of

Row = dict[str, str | int | float]
"""One row of a table."""


class Undoing:
    """A copy of the unlearned model; each method undoes one part of the change in it.

    Each method starts from the unlearned weights. The models of the case are not modified, and no
    second copy is made.
    """

    def __init__(
        self,
        case: Case,
        whole: Sequence[Matrix],
        rank: int,
        seed: int,
        step: Callable[[], None],
    ):
        self.case, self.whole, self.step = case, whole, step
        self.strata = strata(case)
        self.evaluated = np.any(list(self.strata.values()), axis=0)
        self.model = working_copy(case.after)
        self.found = [self._leading(matrix, rank, seed) for matrix in whole]
        with torch.no_grad():
            self.energies = {
                name: float((self._before(name) - own).square().sum(dtype=torch.float64))
                for name, own in self.model.hf.named_parameters()
            }
        self.nothing = self._evaluate()

    @property
    def outside(self) -> float:
        """Share of ‖D‖² outside the matrices."""
        return 1.0 - self.energy_of(range(len(self.whole)))

    def energy_of(self, chosen: Iterable[int]) -> float:
        """Share of ‖D‖² in the matrices with the given indices; NaN without a change."""
        return self._share(sum(self.found[at].energy for at in chosen))

    def energy_at(self, rank: int) -> float:
        """Share of the matrices' ‖D‖² in their first `rank` directions; NaN without a change."""
        held = sum(float(d.sizes[:rank].double().square().sum()) for d in self.found)
        energy = sum(d.energy for d in self.found)
        return held / energy if energy else math.nan

    def random(self, seed: int) -> list[Directions]:
        """Random directions with the singular values of the change."""
        generator = torch.Generator().manual_seed(seed)
        return [random_like(directions, generator) for directions in self.found]

    @torch.no_grad()
    def low_rank(self, directions: Sequence[Directions], rank: int) -> Measured:
        """Add the first `rank` directions to every matrix."""
        self._reset()
        for matrix, some in zip(self.whole, directions, strict=True):
            own = self.model.hf.get_parameter(matrix.parameter)
            matrix.put(own, matrix.of(own) + some.part(rank))
        return self._evaluate()

    @torch.no_grad()
    def whole_matrices(self, chosen: Iterable[int]) -> Measured:
        """Restore the matrices with the given indices."""
        self._reset()
        for at in chosen:
            matrix = self.whole[at]
            own = self.model.hf.get_parameter(matrix.parameter)
            matrix.put(own, matrix.of(self._before(matrix.parameter)))
        return self._evaluate()

    @torch.no_grad()
    def everything_else(self) -> Measured:
        """Restore everything outside the matrices."""
        self._move(1.0)
        for matrix in self.whole:
            own = self.model.hf.get_parameter(matrix.parameter)
            matrix.put(own, matrix.of(self._after(matrix.parameter)))
        return self._evaluate()

    @torch.no_grad()
    def layers(self, chosen: Sequence[int]) -> tuple[Measured, float]:
        """Restore some layers; also return their share of ‖D‖²."""
        self._reset()
        names = [name for name in self.energies if layer_of(self.model, name) in chosen]
        for name in names:
            self.model.hf.get_parameter(name).copy_(self._before(name))
        return self._evaluate(), self._share(sum(self.energies[name] for name in names))

    @torch.no_grad()
    def interpolated(self, alpha: float) -> Measured:
        """Interpolate all parameters towards the original model."""
        self._move(alpha)
        return self._evaluate()

    def rows(self, keys: Row, measured: Measured) -> list[Row]:
        """One row for each split: the mean target and the number of answers.

        The mean has a 95 % interval over facts, the share of answers a Wilson interval.
        """
        found = []
        for split, mask in self.strata.items():
            scores, answers = measured.score[mask], int(measured.answered[mask].sum())
            low, high = mean_interval(scores)
            least, most = wilson_interval(answers, len(scores))
            found.append(
                keys
                | {"split": split, "target": float(scores.mean())}
                | {"low": float(low), "high": float(high)}
                | {"answered": answers, "total": len(scores), "share": answers / len(scores)}
                | {"share_low": least, "share_high": most}
            )
        return found

    def _evaluate(self) -> Measured:
        measured = self.case.measure(self.model, self.evaluated)
        self.step()
        return measured

    def _leading(self, matrix: Matrix, rank: int, seed: int) -> Directions:
        after, before = self._after(matrix.parameter), self._before(matrix.parameter)
        found = leading(matrix.of(before) - matrix.of(after), rank, seed)
        self.step()
        return found

    def _share(self, energy: float) -> float:
        total = sum(self.energies.values())
        return energy / total if total else math.nan

    def _reset(self) -> None:
        for name, own in self.model.hf.named_parameters():
            own.copy_(self._after(name))

    def _move(self, alpha: float) -> None:
        for name, own in self.model.hf.named_parameters():
            own.copy_(torch.lerp(self._after(name), self._before(name), alpha))

    def _before(self, name: str) -> Tensor:
        return self._of(self.case.before, name)

    def _after(self, name: str) -> Tensor:
        return self._of(self.case.after, name)

    def _of(self, model: HookedModel, name: str) -> Tensor:
        return model.hf.get_parameter(name).detach().to(self.model.hf.get_parameter(name))


def strata(case: Case) -> dict[str, Bool[np.ndarray, " fact"]]:
    """The facts on which restoration is evaluated, by split.

    These are the forgotten facts of the forget set, and the facts of the other splits that the
    original model answers.
    """
    masks = {"forget": case.forgotten}
    splits = np.array([split for split, _ in case.labelled])
    for split in dict.fromkeys(splits[~case.forget].tolist()):
        mask = (splits == split) & case.at_first.answered
        if mask.any():
            masks[split] = mask
    return masks
