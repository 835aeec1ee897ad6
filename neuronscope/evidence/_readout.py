"""The neurons that the largest directions of a change read, and the tokens that they promote.

A direction u σ vᵀ that writes to the residual stream reads neurons (v) and writes u. Its sign is
arbitrary; it is chosen so that the mean input of the matrix, at the positions that predict the
forgotten answers, has a positive projection on v. Then u is what restoring the direction adds at
these positions; through the weights of the final norm and the unembedding it promotes some tokens
and suppresses others.
"""

from collections.abc import Sequence
from dataclasses import replace

import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from neuronscope.evidence._base import Case
from neuronscope.evidence._low_rank import WRITERS, Directions, Matrix
from neuronscope.models.direct_logit_effect import largest_tokens, promoted
from neuronscope.models.hook_points import HookFunction, HookPoint, hooked
from neuronscope.models.hooked_model import HookedModel
from neuronscope.models.passes import answer_logits, frozen
from neuronscope.models.targets import Answers

NAMED = 5
"""Number of neurons, and of tokens, that describe a direction."""

COLUMNS = (
    "module", "layer", "expert", "direction", "singular_value", "share", "site", "neurons",
    "promoted", "suppressed",
)  # fmt: skip

ROUNDING = 1e-12
"""Share of a change's energy up to which a direction counts as rounding error."""

Inputs = dict[tuple[str, int], Float[Tensor, "..."]]
"""The mean input of the matrices of each module and layer."""


def readout(
    case: Case,
    model: HookedModel,
    whole: Sequence[Matrix],
    found: Sequence[Directions],
    shown: int,
) -> pd.DataFrame:
    """One row for each of the largest directions that write to the residual stream.

    `module`, `layer`, `expert` (-1 in a dense model), `direction` (of its matrix, from 0),
    `singular_value`, `share` (of the matrix's ‖D‖²), `site` and `neurons` (those that the direction
    reads most), `promoted` and `suppressed` (tokens, by the effect of restoring the direction).

    Args:
        model: The model whose final norm and unembedding map directions to tokens.
        whole: All matrices.
        found: The directions of each matrix.
        shown: Number of directions.
    """
    inputs = mean_inputs(case)
    largest = sorted(
        (
            (-size, at, index)
            for at, matrix in enumerate(whole)
            if matrix.module in WRITERS
            for index, size in enumerate(found[at].sizes.tolist())
            if size**2 > ROUNDING * found[at].energy
        )
    )[:shown]
    rows = []
    for size, at, index in largest:
        matrix, directions = whole[at], found[at]
        write, read = directions.writes[:, index], directions.reads[:, index]
        effect = promoted(model, (write * _sign(matrix, read, inputs))[None])[0]
        place = (matrix.module, matrix.layer, matrix.expert, index)
        strength = (-size, size**2 / directions.energy)
        read_by = (matrix.site, _neurons(matrix, read))
        rows.append((*place, *strength, *read_by, _tokens(model, effect), _tokens(model, -effect)))
    return pd.DataFrame(rows, columns=list(COLUMNS))


def mean_inputs(case: Case) -> Inputs:
    """The mean input of the matrices that write to the residual stream, by module and layer.

    It is the mean in the unlearned model over the positions that predict the forgotten answers. In
    a mixture of experts, the neurons of all experts are concatenated.
    """
    model = case.after
    hook_points = {"mlp.down": model.hook_points_at("mlp.post")}
    if "attn.o" in model.sites:
        hook_points["attn.o"] = tuple(
            replace(hook_point, side="input") for hook_point in model.hook_points_at("attn.o")
        )
    sums: Inputs = {}
    count = 0
    for _, batch in case.batches(case.forgotten):
        answers = Answers.of(batch)

        def adding(module: str, hook_point: HookPoint, answers: Answers = answers) -> HookFunction:
            def add(neurons: Tensor) -> Tensor:
                at = answers.to(neurons.device)
                total = neurons[at.row, at.position].double().sum(dim=0).cpu()
                sums[module, hook_point.layer] = sums.get((module, hook_point.layer), 0) + total
                return neurons

            return add

        hooks = [
            (hook_point, adding(module, hook_point))
            for module, at in hook_points.items()
            for hook_point in at
        ]
        tokens = batch.tokens[:, :-1]
        with frozen(model), torch.no_grad(), hooked(hooks, tokens.shape[1]):
            answer_logits(model, tokens, answers)
        count += len(answers.row)
    return {place: total / count for place, total in sums.items()}


def _sign(matrix: Matrix, read: Float[Tensor, " read"], inputs: Inputs) -> float:
    mean = inputs[matrix.module, matrix.layer]
    if matrix.expert >= 0:
        mean = mean[matrix.neurons]
    return 1.0 if float(mean @ read.double().cpu()) >= 0 else -1.0


def _neurons(matrix: Matrix, read: Float[Tensor, " read"]) -> str:
    """The neurons that a direction reads most, by the sum of squares of their entries."""
    owners, place = matrix.neurons.unique(return_inverse=True)
    square = torch.zeros(len(owners), dtype=torch.float64)
    square = square.index_add(0, place, read.double().cpu().square())
    top = square.topk(min(NAMED, len(owners))).indices
    return ", ".join(map(str, owners[top].tolist()))


def _tokens(model: HookedModel, effect: Float[Tensor, " vocab"]) -> str:
    """The tokens with the largest effect, quoted."""
    return ", ".join(map(repr, largest_tokens(model, effect, NAMED)))
