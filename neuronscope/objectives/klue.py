"""KLUE: gradient difference on knowledge neurons only, until each fact is forgotten.

Yang et al. (FaithUn), arXiv 2502.19207. From the paper: neurons are selected by attribution, with a
penalty for influence on the same answers in other contexts; only these neurons are updated, and
only on facts that are not yet forgotten. From arXiv 2509.22263: gradient difference on 10 % of FFN
neurons, α = 10, N = 5. Our interpretation, as no code was published: the exact form of the score;
neurons at `mlp.post`, ranked over all layers together; the prompts of other facts in the forget and
retain sets as other contexts; a fact is forgotten once greedy decoding no longer gives its answer;
the tokens of forgotten facts still count in the loss's denominator.
"""

from dataclasses import dataclass
from typing import Literal

from jaxtyping import Float
from torch import Tensor

from neuronscope.facts.fact import FactSet, quoted
from neuronscope.models.targets import Target, answered
from neuronscope.objectives._base import check_splits
from neuronscope.objectives._knowledge_neurons import (
    facts_with_other_answers,
    knowledge_scores,
    largest,
    weight_masks,
)
from neuronscope.objectives._passes import SUMMED, logits_at_answers
from neuronscope.objectives._retain import RetainingObjective, check_weights
from neuronscope.objectives._settings import check_not_negative
from neuronscope.objectives._training_state import Gradients, Portion, Terms, TrainingState
from neuronscope.objectives.gradient_ascent import gradient_ascent


@dataclass(frozen=True)
class KLUE(RetainingObjective):
    """Gradient difference on the neurons that store the facts, until each fact is forgotten.

    L = γ · Σ_x 1[x still answered] · log P(y|x) / tokens + α · L_r, on the weights of the neurons i
    with the largest mean_x [A_i(x, y) − α_s · mean_j max(0, A_i(x_j, y))], A_i = max_k h_{i,k} ·
    ∂F/∂h_{i,k} (after arXiv 2502.19207; the exact form of the score is our interpretation).
    """

    share: float = 0.1
    """Share of MLP neurons, over all layers, that may change. arXiv 2509.22263: 0.1."""

    superficial_weight: float = 10.0
    """Penalty weight of a neuron's influence on the same answers after other prompts (the paper's
    alpha). arXiv 2509.22263: 10."""

    others: int = 5
    """Number of other facts' prompts per answer (the paper's N). arXiv 2509.22263: 5."""

    attribution_target: Literal["prob", "log_prob", "log_odds"] = "prob"
    """Target of the influence. The papers use prob, the answer's probability, whose gradient
    vanishes for unlikely answers; the gradients of the other targets do not."""

    seed: int = 0
    """Seed for drawing the other prompts."""

    def __post_init__(self) -> None:
        check_weights(self)
        check_not_negative("superficial_weight", self.superficial_weight)
        if not 0 < self.share <= 1:
            raise ValueError(f"Expected a share above 0 and up to 1, got {self.share}.")
        if self.others < 1:
            raise ValueError(f"Expected 1 or more others, got {self.others}.")

    def forget(self, training: TrainingState, portion: Portion) -> Terms:
        logits, answers = logits_at_answers(training.model, portion.batch)
        known = answered(logits.detach(), answers)
        loss = klue(SUMMED(logits, answers), known, portion.step_tokens)
        return {"forget": self.forget_weight * loss}

    def where(self, training: TrainingState, facts: FactSet) -> Gradients:
        """Masks of the chosen neurons' weights."""
        scores = knowledge_scores(
            training,
            facts,
            Target(self.attribution_target),
            self.superficial_weight,
            self.others,
            self.seed,
        )
        return weight_masks(training.model, largest(scores, self.share))

    def check(self, facts: FactSet) -> None:
        check_splits(facts, self.needs_retain)
        alone = next(
            (fact for fact in facts.forget if not facts_with_other_answers(fact, facts)), None
        )
        if alone is not None and self.superficial_weight > 0:
            raise ValueError(
                f"Fact {quoted(alone.id)}: expected another fact with a different answer, to "
                "measure superficial influence: add some, or set superficial_weight to 0."
            )


def klue(
    log_probs: Float[Tensor, " batch"], known: Float[Tensor, " batch"], tokens: int
) -> Float[Tensor, ""]:
    """Gradient ascent on the facts that are still known (1.0), ignoring the others (0.0)."""
    return gradient_ascent(log_probs * known, tokens)
