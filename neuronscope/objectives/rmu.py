"""RMU: steer the hidden states of the forget set towards a random direction.

Li et al. (WMDP), arXiv 2403.03218.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from neuronscope.facts.fact import FactSet
from neuronscope.facts.prompts import Batch
from neuronscope.models.hooked_model import HookedModel
from neuronscope.models.neuron_weights import neuron_weights
from neuronscope.objectives._base import Objective
from neuronscope.objectives._passes import hidden_states
from neuronscope.objectives._retain import FROM_REFERENCE, RetainTerm, retain_loss
from neuronscope.objectives._settings import check_not_negative, check_positive
from neuronscope.objectives._training_state import Gradients, Portion, Terms, TrainingState


@dataclass(frozen=True)
class RMU(Objective):
    """Push a layer's hidden states towards a random vector; keep those of the retain set unchanged.

    L = γ · mean_x mean_t MSE(h(x, t), c·u) + α · mean_x mean_t MSE(h(x, t), h_ref(x, t)) (arXiv
    2403.03218; MSE is a mean over the width, as in the authors' code and in OpenUnlearning). u is
    drawn uniformly from [0, 1]^width and normalized. Only the down-projections of a few layers are
    trained.
    """

    forget_weight: float = 1.0
    """Weight of the forget term (gamma). The authors and OpenUnlearning: 1."""

    retain_weight: float = 100.0
    """Weight of the retain term (alpha). The authors' code: 100; arXiv 2509.22263 searched 20 to
    300; OpenUnlearning: 1. At 0 the retain set is not used."""

    retain_term: Literal["hidden", "nll", "kl", "kl_openunlearning", "none"] = "hidden"
    """Retain term: hidden keeps the hidden states close to those of the original model, as in the
    paper; nll trains on the answers; kl keeps the distribution over all tokens close to that of the
    original model where the answers are predicted (kl_openunlearning: at every position); none."""

    steering: float = 20.0
    """Norm c of the vector that hidden states are pushed towards. The authors' code and arXiv
    2509.22263: 20; OpenUnlearning's runs: 2."""

    layer: int | None = None
    """The layer, counted from 0, whose output is pushed. The authors and arXiv 2509.22263: 7, of
    Zephyr's 32. By default the last layer of the first quarter: 7 of 32, 6 of 28, 0 of 4 or
    fewer."""

    trained_layers: int = 3
    """Number of trained layers: `layer` and those just below it. The authors: 3 (5, 6 and 7)."""

    seed: int = 0
    """Seed of the random vector."""

    parity: Literal["corrected", "openunlearning"] = "corrected"
    """Positions of the forget and hidden terms: corrected, those that predict the answer's tokens;
    openunlearning, those of the answer's tokens themselves; there, each fact's sum is divided by
    the length of every answer in the batch, and all these quotients are averaged."""

    def __post_init__(self) -> None:
        check_positive("forget_weight", self.forget_weight)
        check_not_negative("retain_weight", self.retain_weight)
        check_positive("steering", self.steering)
        if self.layer is not None and self.layer < 0:
            raise ValueError(f"Expected a layer of 0 or more, got {self.layer}.")
        if self.trained_layers < 1:
            raise ValueError(f"Expected 1 or more trained_layers, got {self.trained_layers}.")

    @property
    def needs_retain(self) -> bool:
        return self.retain_weight > 0 and self.retain_term != "none"

    @property
    def needs_reference(self) -> bool:
        return self.needs_retain and self.retain_term in ("hidden", *FROM_REFERENCE)

    def forget(self, training: TrainingState, portion: Portion) -> Terms:
        hidden = self._hidden(training.model, portion.batch)
        target = self.steering * control_vector(hidden.shape[-1], self.seed).to(hidden)
        return {"forget": self.forget_weight * self._error(hidden, target, portion)}

    def retain(self, training: TrainingState, portion: Portion) -> Terms:
        if not self.needs_retain:
            return {}
        if self.retain_term != "hidden":
            term: RetainTerm = self.retain_term
            return {"retain": self.retain_weight * retain_loss(term, training, portion)}
        hidden = self._hidden(training.model, portion.batch)
        with torch.no_grad():
            before = self._hidden(training.before(), portion.batch)
        return {"retain": self.retain_weight * self._error(hidden, before.to(hidden), portion)}

    def where(self, training: TrainingState, facts: FactSet) -> Gradients:
        """Masks of the down-projections that are trained.

        Raises:
            ValueError: If the model has no such layer.
        """
        del facts
        layer = self._layer(training.model)
        return {
            own.parameter: torch.ones_like(training.model.hf.get_parameter(own.parameter))
            for own in neuron_weights(training.model)
            if own.module == "mlp.down" and layer - self.trained_layers < own.layer <= layer
        }

    def _layer(self, model: HookedModel) -> int:
        if self.layer is None:
            return max(model.n_layers // 4 - 1, 0)
        if self.layer >= model.n_layers:
            raise ValueError(
                f"Expected a layer below {model.n_layers}, the number of layers of {model.source}, "
                f"got {self.layer}."
            )
        return self.layer

    def _hidden(self, model: HookedModel, batch: Batch) -> Float[Tensor, "batch pos width"]:
        return hidden_states(model, batch.tokens, self._layer(model))

    def _error(
        self,
        hidden: Float[Tensor, "batch pos width"],
        target: Float[Tensor, "*axes width"],
        portion: Portion,
    ) -> Float[Tensor, ""]:
        at_answer = portion.batch.answer_mask.to(hidden.device)
        if self.parity == "openunlearning":
            share = len(portion.facts) / portion.step_facts
            return share * rmu_openunlearning(hidden, target, at_answer)
        # A position predicts the next token; roll is safe because no answer begins a row.
        return rmu(hidden, target, at_answer.roll(-1, dims=1)).sum() / portion.step_facts


def control_vector(width: int, seed: int) -> Float[Tensor, " width"]:
    """A unit vector, uniform on [0, 1] before normalization; float64, the same on all devices."""
    drawn = torch.rand(width, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return drawn / drawn.norm()


def rmu(
    hidden: Float[Tensor, "batch pos width"],
    target: Float[Tensor, "*axes width"],
    marked: Bool[Tensor, "batch pos"],
) -> Float[Tensor, " batch"]:
    """Squared distance per coordinate, averaged over each fact's marked positions."""
    return _errors(hidden, target, marked) / marked.sum(dim=1)


def rmu_openunlearning(
    hidden: Float[Tensor, "batch pos width"],
    target: Float[Tensor, "*axes width"],
    marked: Bool[Tensor, "batch pos"],
) -> Float[Tensor, ""]:
    """`compute_activation_loss` of OpenUnlearning's `src/trainer/unlearn/rmu.py`.

    Its counts of positions form a column, so broadcasting divides the sum of each fact by the count
    of every fact: the result is the mean of the sums times the mean of the inverse counts.
    """
    return (_errors(hidden, target, marked) / marked.sum(dim=1, keepdim=True)).mean()


def _errors(
    hidden: Float[Tensor, "batch pos width"],
    target: Float[Tensor, "*axes width"],
    marked: Bool[Tensor, "batch pos"],
) -> Float[Tensor, " batch"]:
    return (hidden - target).square().mean(dim=-1).masked_fill(~marked, 0.0).sum(dim=1)
