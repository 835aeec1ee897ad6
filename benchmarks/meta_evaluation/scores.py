"""The scores of an unlearned model that need no attack, each with its cost.

A score is computed from the models before and after unlearning and the facts; `relearning_probe`
and `logit_lens`, among others, are the views of `neuronscope/evidence`. With t from 0 (after) to 1
(before), the remaining ones are

    barrier           max_t [ L(θ_t) − (1 − t) L(θ_0) − t L(θ_1) ]    θ_t on the straight line
    cka_shift         1 − mean_l ‖X_lᵀY_l‖² / (‖X_lᵀX_l‖ ‖Y_lᵀY_l‖)    linear CKA
    weight_path_100   share of the positive contributions that is due to the 100 largest neurons

with L the cross-entropy of the answers to be forgotten, and X and Y the centred residual streams of
the two models after layer l, at the positions that predict these answers
(Kornblith et al., arXiv 1905.00414).
"""

import copy
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

import neuronscope as ns
from neuronscope.analysis.influence_variation import influence_variation, sum_of_largest
from neuronscope.evidence import Case
from neuronscope.facts.fact import FactSet
from neuronscope.models.hook_points import decoder_layers
from neuronscope.models.hooked_model import HookedModel
from neuronscope.models.targets import Answers
from neuronscope.results.comparison import Comparison
from neuronscope.results.findings import Finding

POINTS = 11
"""Points of the straight line, both ends included."""

Scores = tuple[dict[str, float], dict[str, Any]]
"""Scores by name, and the figures of a view."""


@dataclass(frozen=True)
class Measured:
    """Scores that are computed together, and what they cost."""

    scores: dict[str, float]

    seconds: float
    """Processor time."""

    forward: int
    """Facts in forward passes, over both models; a pass of a part of the layers counts as one."""

    backward: int
    """Facts in backward passes."""

    figures: dict[str, Any]
    """The figures of the view, if it is one; or why nothing could be measured."""


def measured(name: str, before: HookedModel, after: HookedModel, facts: FactSet) -> Measured:
    """Compute the scores of one kind."""
    # Only the linear probe trains on other facts.
    used = facts if name == "linear_probe" else FactSet(facts.forget)
    with counted(before, after) as passes:
        start = time.process_time()
        try:
            scores, figures = KINDS[name](Case(before, after, used, ns.Target()))
        except ValueError as error:
            scores, figures = {}, {"error": str(error)}
        seconds = time.process_time() - start
    return Measured(scores, round(seconds, 2), passes["forward"], passes["backward"], figures)


def of_view(name: str, read: Callable[[Finding], float]) -> Callable[[Case], Scores]:
    """A function that examines a case with a view and reads one number from the finding."""

    def scores(case: Case) -> Scores:
        view = getattr(ns, "".join(part.capitalize() for part in name.split("_")))
        if view.needs_rankings:
            path = ns.WeightPath()
            case = replace(case, rankings=path.rankings(path(case)))
        finding = view()(case)
        low, high = finding.ci95
        return {name: read(finding)}, dict(finding.figures) | {
            "word": finding.word,
            "low": low,
            "high": high,
        }

    return scores


def value(finding: Finding) -> float:
    """The value that the view's verdict rests on."""
    return finding.value


def share_restored(finding: Finding) -> float:
    """The smallest share of neurons whose weights recover half of the answers; 1 if none does."""
    return 1.0 if np.isnan(finding.value) else finding.value


def change(case: Case) -> Scores:
    """Log-odds of the answers after unlearning, and ‖Δθ‖."""
    before = dict(case.before.hf.named_parameters())
    squares = [
        float((parameter.detach() - before[name].detach()).double().square().sum())
        for name, parameter in case.after.hf.named_parameters()
    ]
    return {"log_odds": float(case.at_last.score.mean()), "norm": sum(squares) ** 0.5}, {}


def influence(case: Case) -> Scores:
    """D⁻ and D⁺ of the neurons at `mlp.post`, from gradient x activation on the log-odds."""
    before, after = (
        ns.record(model=model, facts=case.facts, attribution="gradient-x-activation")
        for model in (case.before, case.after)
    )
    neurons = influence_variation(Comparison(before, after))
    lost, gained = neurons["d_plus"].to_numpy(), neurons["d_minus"].to_numpy()
    return {
        "d_minus_share": float(gained.sum() / (lost.sum() + gained.sum())),
        "d_minus_at_100": sum_of_largest(gained),
        "d_plus_at_100": sum_of_largest(lost),
    }, {}


def weight_path(case: Case) -> Scores:
    """How few neurons the drop of the log-odds is due to."""
    neurons: pd.DataFrame = ns.WeightPath()(case).tables["neurons"]
    positive = neurons["contribution"].clip(lower=0).to_numpy()
    return {"weight_path_100": sum_of_largest(positive) / float(positive.sum())}, {}


def barrier(case: Case) -> Scores:
    """How far the loss on the straight line exceeds its linear interpolation."""
    case = replace(case, target=ns.Target("log_prob"))
    between = HookedModel.of(copy.deepcopy(case.after.hf), case.after.tokenizer, "between")
    after = dict(case.after.hf.named_parameters())
    before = dict(case.before.hf.named_parameters())
    losses, shares = [], np.linspace(0, 1, POINTS)
    for share in shares:
        with torch.no_grad():
            for name, parameter in between.hf.named_parameters():
                parameter.copy_(torch.lerp(after[name], before[name], float(share)))
        losses.append(-float(case.measure(between).score.mean()))
    line = (1 - shares) * losses[0] + shares * losses[-1]
    return {"barrier": float((losses - line).max())}, {}


def cka_shift(case: Case) -> Scores:
    """How much the residual streams differ, up to rotation and scale; mean over layers."""
    pairs = zip(states(case, case.before), states(case, case.after), strict=True)
    return {"cka_shift": 1 - float(np.mean([linear_cka(x, y) for x, y in pairs]))}, {}


def states(case: Case, model: HookedModel) -> Float[np.ndarray, "layer token residual"]:
    """The residual stream after every layer, at the positions that predict the answers."""
    found = []
    for _, batch in case.batches():
        with torch.no_grad():
            tokens = batch.tokens[:, :-1]
            layers = model.hf(input_ids=tokens, output_hidden_states=True).hidden_states[1:]
        at = Answers.of(batch)
        found.append(torch.stack([layer[at.row, at.position] for layer in layers]))
    return torch.cat(found, dim=1).double().cpu().numpy()


def linear_cka(
    x: Float[np.ndarray, "token residual"], y: Float[np.ndarray, "token residual"]
) -> float:
    """Linear centred kernel alignment: 1 if the two agree up to rotation, shift and scale."""
    x, y = x - x.mean(axis=0), y - y.mean(axis=0)
    across, own, other = (np.linalg.norm(a.T @ b) for a, b in ((x, y), (x, x), (y, y)))
    return float(across**2 / (own * other))


KINDS: dict[str, Callable[[Case], Scores]] = {
    "change": change,
    "relearning_probe": of_view("relearning_probe", value),
    "influence": influence,
    "weight_path": weight_path,
    "weight_restoration": of_view("weight_restoration", share_restored),
    "silencing": of_view("silencing", value),
    "low_rank_restoration": of_view("low_rank_restoration", value),
    "depth_score": of_view("depth_score", value),
    "logit_lens": of_view("logit_lens", value),
    "linear_probe": of_view("linear_probe", value),
    "barrier": barrier,
    "cka_shift": cka_shift,
}
"""The scores, by what is computed together."""


@contextmanager
def counted(*models: HookedModel) -> Iterator[dict[str, int]]:
    """Count the facts that pass the last layer of the models and of copies made meanwhile."""
    counts = {"forward": 0, "backward": 0}

    def pass_by(module: torch.nn.Module, args: tuple[Tensor, ...], output: Any) -> None:
        del module, args
        stream = output if isinstance(output, Tensor) else output[0]
        rows = len(stream)
        counts["forward"] += rows
        if stream.requires_grad:
            stream.register_hook(lambda _: counts.update(backward=counts["backward"] + rows))

    with ExitStack() as hooks:
        for model in models:
            hooks.callback(decoder_layers(model.hf)[-1].register_forward_hook(pass_by).remove)
        yield counts
