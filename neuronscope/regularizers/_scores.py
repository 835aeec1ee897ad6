"""The attributed target for the facts of a step."""

import torch
from jaxtyping import Float
from torch import Tensor

from neuronscope.models.hooked_model import HookedModel
from neuronscope.models.passes import answer_logits
from neuronscope.models.targets import Answers, Target
from neuronscope.objectives import Portion, Step


def scores_of(model: HookedModel, portion: Portion, target: Target) -> Float[Tensor, " batch"]:
    """The target of each fact, from one forward pass."""
    answers = Answers.of(portion.batch)
    return target(answer_logits(model, portion.batch.tokens[:, :-1], answers), answers)


def mean_over_step(step: Step, sums: dict[Portion, Float[Tensor, ""]]) -> float:
    """Mean target over the facts of the step.

    Args:
        sums: The sum of the target over each portion of this process.
    """
    device = step.training.model.device
    own = torch.zeros((), device=device)
    for portion in step.forget:
        own = own + sums[portion].detach().to(device)
    count = own.new_tensor(sum(len(portion.facts) for portion in step.forget))
    total, facts = step.total(torch.stack([own, count])).tolist()
    return total / facts
