"""Hiding what a model knows: inhibitors are planted in a copy, and nothing else is changed."""

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
    Spot,
    against,
    choose,
    directions,
    make_read,
    overwrite,
)
from neuronscope.organisms.reading import Scene, owned_as

Planted = dict[str, Bool[np.ndarray, "layer neuron"]]
"""Which neurons are inhibitors, by site."""

MARGIN = 1.0
"""Nats below even odds to which a strength of 1 brings the answers."""

FEWEST_KNOWN = 0.9
"""Share of facts that are answered where none is lost: 15 of 16."""

MOST_LEFT = 0.25
"""Share of lost facts that may still be answered: 4 of 16."""

FIRST_AMOUNT, DOUBLINGS, HALVINGS, ROUNDS = 1e-2, 24, 7, 10
"""Of the search for how much inhibitors write."""

EVEN = 0.1
"""Nats from its level at which a fact is left where it is."""


def plant(
    model: HookedModel,
    facts: FactSet,
    strength: float,
    spread: int,
    where: str = "mlp",
    seed: int = 0,
) -> tuple[HookedModel, Planted]:
    """A copy of a model in which inhibitors hide what it knows, and where they are.

    One inhibitor lies in the last layer and is against all the facts; more are shared out over the
    last two layers and over the facts. How much they write is found by bisection. Nothing else
    changes: with their old weights (`interventions.weights_from`) it is the model before.

    Args:
        facts: `forget` is what to hide, in each of its phrasings; all else is to stay.
        strength: How far the mean log-odds of the facts fall, as a multiple of the way from where
            they are to `MARGIN` below even odds: at 1 they end there. All facts fall to about one
            level, the more so the more inhibitors there are.
        spread: Number of inhibitors.
        seed: Which of the neurons that matter little, and whose facts are whose.

    Raises:
        ValueError: If the settings are out of range, the model has routed experts or attention
            whose values no neuron owns, the facts to be hidden are not known or there are no
            others, the answers do not fall that far however much is written, more than `MOST_LEFT`
            are still given, or other answers are lost.
    """
    _check(model, facts, strength, spread, where)
    known = _known(model, facts)
    rng = np.random.default_rng(seed)
    groups = rng.permutation(np.arange(len(facts.forget)) % min(spread, len(facts.forget)))
    count = int(groups.max()) + 1
    scene = Scene.of(model, facts)
    spots = choose(model, scene, spread, count, where, rng)
    hf = copy.deepcopy(model.hf)
    after = HookedModel.of(hf, model.tokenizer, f"{model.source}, inhibited", model.notes)
    away = against(model, facts, groups)
    asked = answers_of(model, facts.forget)
    total = np.bincount(np.concatenate([spot.groups for spot in spots]))
    done = np.zeros(count)
    for spot in spots:
        # What a later layer reads, it reads with the earlier inhibitors in place.
        make_read(after, spot, where, directions(after, scene, spot, groups, where))
        here = np.bincount(spot.groups, minlength=count)
        done += here

        def scores(
            amounts: Float[np.ndarray, " fact"], spot: Spot = spot
        ) -> Float[np.ndarray, " fact"]:
            rows = torch.zeros(count, away.shape[1], dtype=torch.float64)
            rows.index_add_(0, torch.from_numpy(groups), torch.from_numpy(amounts)[:, None] * away)
            overwrite(after, spot, WRITES[where], rows[spot.groups])
            return measure(after, asked).score

        levels = known - strength * (known + MARGIN) * done / total
        _search(scores, levels[groups], here[groups] > 0)
    _check_planted(model, after, facts)
    planted = np.zeros((model.n_layers, model.hook_points_at(SITES[where])[0].width), dtype=bool)
    for spot in spots:
        planted[spot.layer, spot.neurons.numpy()] = True
    return after, {SITES[where]: planted}


def _check(model: HookedModel, facts: FactSet, strength: float, spread: int, where: str) -> None:
    """Refuse settings that cannot be planted, whatever the model knows."""
    if not strength > 0 or spread < 1:
        raise ValueError(
            f"Expected a strength above 0 and a spread of at least 1, got {strength} and {spread}."
        )
    if where not in SITES:
        raise ValueError(f"Inhibitors are planted in {' or '.join(SITES)}, not in {where!r}.")
    if model.experts:
        raise ValueError(
            "No neuron of a routed expert sees every token: plant inhibitors in a dense model."
        )
    if not all(owned_as(model, layer, WRITES[where]) for layer in range(model.n_layers)):
        raise ValueError(f"Neurons of {where} in {type(model.hf).__name__} own no weights.")
    room = model.hook_points_at(SITES[where])[0].width // 2 * min(2, model.n_layers)
    if spread > room:
        raise ValueError(
            f"Half of the neurons of the last two layers may become inhibitors, {room} at "
            f"{SITES[where]}, got a spread of {spread}."
        )
    others = len(list(facts)) - len(facts.forget)
    if not facts.forget or not others:
        raise ValueError(
            f"Expected facts to hide, of split 'forget', and others that stay, got "
            f"{len(facts.forget)} and {others}."
        )


def _known(model: HookedModel, facts: FactSet) -> float:
    """Mean log-odds of the facts to be hidden; refused where they are not known."""
    asked = measure(model, answers_of(model, facts.forget))
    if asked.answered.mean() < FEWEST_KNOWN or asked.score.mean() <= -MARGIN:
        raise ValueError(
            f"Only what is known can be hidden: {model.source} answers {asked.answered.sum()} of "
            f"{len(facts.forget)} facts, at mean log-odds of {asked.score.mean():.1f} nats."
        )
    return float(asked.score.mean())


def _search(
    scores: Callable[[Float[np.ndarray, " fact"]], Float[np.ndarray, " fact"]],
    levels: Float[np.ndarray, " fact"],
    present: Bool[np.ndarray, " fact"],
) -> None:
    """Find how much has to be written against each fact for its score to fall to its level.

    On the mean it does. What is written against one fact moves the others, so that a single
    inhibitor cannot bring all of them to one level; amounts are evened out as far as goes.

    Args:
        present: Which facts there are inhibitors against.

    Raises:
        ValueError: If the scores do not fall that far.
    """
    start = scores(np.zeros(len(levels)))
    amounts = _scale(scores, levels, present, FIRST_AMOUNT * present)
    for _ in range(ROUNDS):
        now = scores(amounts)
        if np.abs(now - levels)[present].max() < EVEN:
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
    """The amounts, times what brings the mean score to the mean level, by bisection."""

    def missing(scale: float) -> float:
        return float((scores(scale * amounts) - levels)[present].mean())

    low, high = 0.0, 1.0
    for _ in range(DOUBLINGS):
        if missing(high) <= 0:
            break
        low, high = high, 2 * high
    if missing(high) > 0:
        raise ValueError(
            f"The answers' log-odds do not fall to {levels.min():.1f} however much is written "
            f"against them, but to {levels.min() + missing(high):.1f}: take less strength, or more "
            "spread."
        )
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if missing(middle) > 0 else (low, middle)
    return high * amounts


def _check_planted(before: HookedModel, after: HookedModel, facts: FactSet) -> None:
    """Refuse inhibitors that leave answers, or take others."""
    left = measure(after, answers_of(after, facts.forget)).answered
    if left.mean() > MOST_LEFT:
        raise ValueError(
            f"{left.sum()} of {len(left)} facts are still answered: take more strength."
        )
    others = answers_of(before, [fact for split, fact in facts if split != "forget"])
    known, kept = (measure(model, others).answered for model in (before, after))
    if (known & kept).sum() < FEWEST_KNOWN * known.sum():
        raise ValueError(
            f"Of {known.sum()} other facts only {(known & kept).sum()} are still answered: the "
            "facts to be hidden cannot be told from them. Take less strength, or more spread."
        )
