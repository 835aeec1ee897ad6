"""Hiding facts by planting inhibitors in a copy of a model, without any other change."""

import copy
from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Bool, Float

from neuronscope.facts.fact import FactSet
from neuronscope.models.answers import answers_of, measure
from neuronscope.models.hooked_model import HookedModel
from neuronscope.organisms.inhibitors import (
    SITES,
    WRITES,
    LayerInhibitors,
    choose,
    input_directions,
    overwrite,
    overwrite_inputs,
    suppressing_directions,
)
from neuronscope.organisms.inputs import LabelledTokens, weights_of

Planted = dict[str, Bool[np.ndarray, "layer neuron"]]
"""Which neurons are inhibitors, by site."""

MARGIN = 1.0
"""A strength of 1 lowers the answers' log-odds to this many nats below zero."""

FEWEST_KNOWN = 0.9
"""Minimum share of facts that must be answered if none is lost: 15 of 16."""

MOST_LEFT = 0.25
"""Maximum share of lost facts that may still be answered: 4 of 16."""

FIRST_AMOUNT, DOUBLINGS, HALVINGS, ROUNDS = 1e-2, 24, 7, 10
"""Settings of the search for the output weights of inhibitors."""

TOLERANCE = 0.1
"""Maximum difference in nats between a fact's score and its level."""


def plant(
    model: HookedModel,
    facts: FactSet,
    strength: float,
    spread: int,
    where: str = "mlp",
    seed: int = 0,
) -> tuple[HookedModel, Planted]:
    """A copy of a model in which inhibitors hide facts, and the locations of the inhibitors.

    A single inhibitor is in the last layer and suppresses all facts; several are divided among the
    last two layers and among the facts. Their output weights are found by bisection. Nothing else
    changes: with their original weights (`interventions.weights_from`) the copy equals the model.

    Args:
        facts: `forget` are the facts to hide, in all phrasings; all others must remain known.
        strength: The decrease of the mean log-odds of the facts, as a multiple of the difference
            between their current value and -`MARGIN`: at 1 they become -`MARGIN`. All facts fall to
            a similar level; the more inhibitors, the more similar.
        spread: Number of inhibitors.
        seed: Seed of the choice of neurons and of the assignment of facts to groups.

    Raises:
        ValueError: If the settings are out of range, the model has routed experts or attention
            values that belong to no neuron, the facts to hide are not known, there are no other
            facts, the log-odds do not fall far enough with any output weights, more than
            `MOST_LEFT` of the answers are still given, or other answers are lost.
    """
    _check(model, facts, strength, spread, where)
    known = _known(model, facts)
    rng = np.random.default_rng(seed)
    groups = rng.permutation(np.arange(len(facts.forget)) % min(spread, len(facts.forget)))
    count = int(groups.max()) + 1
    inputs = LabelledTokens.of(model, facts)
    chosen = choose(model, inputs, spread, count, where, rng)
    hf = copy.deepcopy(model.hf)
    after = HookedModel.of(hf, model.tokenizer, f"{model.source}, inhibited", model.notes)
    outputs = suppressing_directions(model, facts, groups)
    encoded = answers_of(model, facts.forget)
    total = np.bincount(np.concatenate([inhibitors.groups for inhibitors in chosen]))
    done = np.zeros(count)
    for inhibitors in chosen:
        # The inputs of a later layer are measured with the earlier inhibitors in place.
        directions = input_directions(after, inputs, inhibitors, groups, where)
        overwrite_inputs(after, inhibitors, where, directions)
        of_layer = np.bincount(inhibitors.groups, minlength=count)
        done += of_layer

        def scores(
            amounts: Float[np.ndarray, " fact"], inhibitors: LayerInhibitors = inhibitors
        ) -> Float[np.ndarray, " fact"]:
            rows = torch.zeros(count, outputs.shape[1], dtype=torch.float64)
            scaled = torch.from_numpy(amounts)[:, None] * outputs
            rows.index_add_(0, torch.from_numpy(groups), scaled)
            overwrite(after, inhibitors, WRITES[where], rows[inhibitors.groups])
            return measure(after, encoded).score

        levels = known - strength * (known + MARGIN) * done / total
        _search(scores, levels[groups], of_layer[groups] > 0)
    _check_planted(model, after, facts)
    planted = np.zeros((model.n_layers, model.hook_points_at(SITES[where])[0].width), dtype=bool)
    for inhibitors in chosen:
        planted[inhibitors.layer, inhibitors.neurons.numpy()] = True
    return after, {SITES[where]: planted}


def _check(model: HookedModel, facts: FactSet, strength: float, spread: int, where: str) -> None:
    """Raise if the settings do not fit the model's architecture or the facts."""
    if not strength > 0 or spread < 1:
        raise ValueError(
            f"Expected a strength above 0 and a spread of at least 1, got {strength} and {spread}."
        )
    if where not in SITES:
        raise ValueError(f"Expected where to be {' or '.join(SITES)}, got {where!r}.")
    if model.experts:
        raise ValueError(
            "Inhibitors need a dense model: neurons of routed experts do not process every token."
        )
    if not all(weights_of(model, layer, WRITES[where]) for layer in range(model.n_layers)):
        raise ValueError(f"Neurons of {where} in {type(model.hf).__name__} own no weights.")
    room = model.hook_points_at(SITES[where])[0].width // 2 * min(2, model.n_layers)
    if spread > room:
        raise ValueError(
            f"Expected a spread of at most {room} at {SITES[where]}, half of the neurons of the "
            f"last two layers, got {spread}."
        )
    others = len(list(facts)) - len(facts.forget)
    if not facts.forget or not others:
        raise ValueError(
            "Expected facts to hide, of split 'forget', and facts of other splits that must "
            f"remain, got {len(facts.forget)} and {others}."
        )


def _known(model: HookedModel, facts: FactSet) -> float:
    """Mean log-odds of the facts to hide; raises if they are not known."""
    measured = measure(model, answers_of(model, facts.forget))
    if measured.answered.mean() < FEWEST_KNOWN or measured.score.mean() <= -MARGIN:
        raise ValueError(
            f"Only known facts can be hidden: {model.source} answers {measured.answered.sum()} of "
            f"{len(facts.forget)} facts, with mean log-odds of {measured.score.mean():.1f} nats."
        )
    return float(measured.score.mean())


def _search(
    scores: Callable[[Float[np.ndarray, " fact"]], Float[np.ndarray, " fact"]],
    levels: Float[np.ndarray, " fact"],
    present: Bool[np.ndarray, " fact"],
) -> None:
    """Find the amount of suppression of each fact that lowers its score to its level.

    The mean score reaches the mean level. Suppressing one fact also affects the others, so a single
    inhibitor cannot bring all facts exactly to their levels; amounts are adjusted until the scores
    are close enough, for at most `ROUNDS` rounds.

    Args:
        present: Which facts are suppressed by an inhibitor of the layer.

    Raises:
        ValueError: If the scores do not fall far enough.
    """
    start = scores(np.zeros(len(levels)))
    amounts = _scale(scores, levels, present, FIRST_AMOUNT * present)
    for _ in range(ROUNDS):
        now = scores(amounts)
        if np.abs(now - levels)[present].max() < TOLERANCE:
            break
        fell = np.maximum(start - now, 1e-6)
        amounts = amounts * ((start - levels) / fell).clip(0.5, 2.0)
        amounts = _scale(scores, levels, present, amounts)
    scores(amounts)


def _scale(
    scores: Callable[[Float[np.ndarray, " fact"]], Float[np.ndarray, " fact"]],
    levels: Float[np.ndarray, " fact"],
    present: Bool[np.ndarray, " fact"],
    amounts: Float[np.ndarray, " fact"],
) -> Float[np.ndarray, " fact"]:
    """The amounts, scaled by bisection so that the mean score equals the mean level."""

    def excess(scale: float) -> float:
        return float((scores(scale * amounts) - levels)[present].mean())

    low, high = 0.0, 1.0
    for _ in range(DOUBLINGS):
        if excess(high) <= 0:
            break
        low, high = high, 2 * high
    if excess(high) > 0:
        raise ValueError(
            f"The answers' mean log-odds do not fall to {levels[present].mean():.1f} but only to "
            f"{levels[present].mean() + excess(high):.1f}: use a lower strength or a larger spread."
        )
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if excess(middle) > 0 else (low, middle)
    return high * amounts


def _check_planted(before: HookedModel, after: HookedModel, facts: FactSet) -> None:
    """Raise if too many of the hidden facts are still answered, or too few of the others."""
    left = measure(after, answers_of(after, facts.forget)).answered
    if left.mean() > MOST_LEFT:
        raise ValueError(
            f"{left.sum()} of {len(left)} facts are still answered: use a higher strength."
        )
    others = answers_of(before, [fact for split, fact in facts if split != "forget"])
    known, kept = (measure(model, others).answered for model in (before, after))
    if (known & kept).sum() < FEWEST_KNOWN * known.sum():
        raise ValueError(
            f"Only {(known & kept).sum()} of {known.sum()} other facts are still answered, because "
            "the inhibitors cannot separate the facts to hide from them: use a lower strength or a "
            "larger spread."
        )
