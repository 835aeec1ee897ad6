"""The logit lens: what the model would answer after each layer.

The residual stream after a layer, at the positions that predict the answer's tokens, passes through
the model's final norm and head. An answer is *readable* there if its token has a larger logit than
that of a distractor, at the first token where the two differ (arXiv 2509.22263, Fig. 4, with every
distractor instead of a random one). Chance is 1/2 for a pair.

| unlearned model | label |
|---|---|
| above chance | still readable |
| at chance, original model above chance | consistent with erased |
| at chance, original model not above chance | never readable |
| below chance | over-unlearned: the suppression itself reveals the answer |

A readable answer is present. An answer that is not readable may still be present: if the layer that
writes it also suppresses it, the lens sees nothing.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from neuronscope.analysis.statistics import wilson_interval
from neuronscope.evidence._base import Case, Evidence, Progress, no_progress
from neuronscope.evidence._forgotten import undecided
from neuronscope.evidence._readable import (
    compared,
    figures_before,
    forgotten_or_all,
    share_interval,
    too_few,
    with_distractors,
    without_distractors,
)
from neuronscope.evidence._states import states_at, tail
from neuronscope.facts.prompts import Encoded
from neuronscope.models.hooked_model import HookedModel
from neuronscope.models.passes import frozen
from neuronscope.models.targets import Answers
from neuronscope.results.findings import Finding

CHANCE = 0.5
"""The answer wins half of the pairs by chance."""

MODELS = ("before", "after")


@dataclass(frozen=True)
class LogitLens(Evidence):
    """How often the answer has a larger logit than its distractors after each layer."""

    def __call__(self, case: Case, progress: Progress = no_progress) -> Finding:
        chosen = with_distractors(case)
        layers = case.before.n_layers
        if layers != case.after.n_layers:
            raise ValueError(
                f"The logit lens needs models with equal numbers of layers, got {layers} before "
                f"and {case.after.n_layers} after unlearning."
            )
        steps = 2 * len(case.batches())
        won = {
            name: _won(case, model, lambda done, k=k: progress(done + k * steps // 2, steps))
            for k, (name, model) in enumerate(zip(MODELS, (case.before, case.after), strict=True))
        }
        return _finding(case, chosen, won)


def _won(
    case: Case, model: HookedModel, progress: Callable[[int], None]
) -> Float[np.ndarray, "layer fact"]:
    """The share of each fact's pairs that the answer wins; NaN for facts without distractors."""
    shares = np.full((model.n_layers, len(case.labelled)), np.nan)
    with frozen(model), torch.no_grad():
        for done, (places, batch) in enumerate(case.batches(), start=1):
            answers = contested(Answers.of(batch).to(model.device))
            if len(answers.row):
                tokens = batch.tokens[:, :-1].to(model.device)
                reader, last = tail(model, answers.token), model.n_layers - 1
                for layer, state in enumerate(states_at(model, tokens, answers)):
                    logits = reader.resumed(last, state)
                    shares[layer, places] = pairs_won(logits, answers).cpu()
            progress(done)
    return shares


def contested(answers: Answers) -> Answers:
    """The answer tokens at which a distractor first differs."""
    differs = (answers.rivals >= 0).any(dim=-1)
    return Answers(
        answers.row[differs],
        answers.position[differs],
        answers.token[differs],
        answers.rivals[differs],
        answers.rows,
    )


def pairs_won(logits: Float[Tensor, "token vocab"], answers: Answers) -> Float[Tensor, " batch"]:
    """The share of each row's pairs in which the answer has the larger logit.

    A tie, which is common in half precision, counts as half won. NaN in rows without distractors.
    """
    answers = answers.to(logits.device)
    there = (answers.rivals >= 0).double()
    ahead = logits.gather(-1, answers.token[:, None]) - logits.gather(
        -1, answers.rivals.clamp(min=0)
    )
    won = (ahead.sign().double() + 1) / 2 * there
    summed = torch.zeros(2, answers.rows, dtype=torch.float64, device=logits.device)
    summed.index_add_(1, answers.row, torch.stack([won.sum(-1), there.sum(-1)]))
    return summed[0] / summed[1]


def chance_of_all(encoded: Encoded) -> float:
    """The probability of beating all distractors if the tokens compared are equally likely."""
    steps = [step for step, _ in encoded.rivals]
    return float(np.prod([1 / (1 + steps.count(step)) for step in set(steps)]))


def _finding(
    case: Case,
    chosen: Bool[np.ndarray, " fact"],
    won: dict[str, Float[np.ndarray, "layer fact"]],
) -> Finding:
    about = forgotten_or_all(case, chosen & case.forget)
    read = {name: read_at_best(won["before"][:, about], won[name][:, about]) for name in MODELS}
    word, reason = (
        undecided(case)
        or too_few(case.forgotten & chosen, "have distractors")
        or compared(read["before"], read["after"], CHANCE)
    )
    value, (low, high) = float(read["after"].mean()), share_interval(read["after"])
    best = int(won["before"][:, about].mean(axis=1).argmax())
    table = _table(case, chosen, won)
    labels = table.loc[(table["facts"] == "forget") & (table["model"] == "after"), "label"]
    left_out = int((case.forget & ~chosen).sum())
    return Finding(
        view="logit_lens",
        word=word,
        value=value,
        ci95=(low, high),
        meaning="share of (answer, distractor) pairs in which the answer has the larger logit in "
        "the unlearned model, after the layer where this share is largest in the original model",
        why=f"Decoded after layer {best}, the answer has a larger logit than the distractor in "
        f"{value:.0%} of pairs in the unlearned model (95 % interval {low:.0%} to {high:.0%}; "
        f"original model: {read['before'].mean():.0%}; chance: {CHANCE:.0%}). {reason}",
        figures={
            "layer": best,
            "chance": CHANCE,
            **figures_before(read["before"]),
            "facts": int(about.sum()),
            "left_out": left_out,
            **{f"layers {label}": int((labels == label).sum()) for label in LABELS},
        },
        tables={"layers": table},
        warnings=without_distractors(left_out),
    )


def read_at_best(
    before: Float[np.ndarray, "layer fact"], shares: Float[np.ndarray, "layer fact"]
) -> Float[np.ndarray, " fact"]:
    """Each fact's share after the layer that is best for the *other* facts in the original model.

    The layer is chosen without the fact itself, because the maximum over layers would otherwise be
    biased upwards. The first of several best layers is chosen.
    """
    others = before.sum(axis=1, keepdims=True) - before
    # Equal sums of thirds may differ in their last digits.
    return shares[np.argmax(np.round(others, 9), axis=0), np.arange(shares.shape[1])]


LABELS = ("still readable", "consistent with erased", "never readable", "over-unlearned")
"""Labels of the unlearned model's layers."""


def _table(
    case: Case,
    chosen: Bool[np.ndarray, " fact"],
    won: dict[str, Float[np.ndarray, "layer fact"]],
) -> pd.DataFrame:
    """One row per kind of facts, model and layer.

    Columns: `facts` (forget, other), `model`, `layer`, `count` (number of facts), `pairs` (mean
    share of pairs won), `all` (share of facts that win all pairs), both also with `_low`, `_high`
    and `_chance`, and `label`, which is empty for the original model.
    """
    rows = []
    for kind, mask in (("forget", chosen & case.forget), ("other", chosen & ~case.forget)):
        encoded = [case.labelled[fact][1] for fact in np.flatnonzero(mask)]
        of_all = float(np.mean([chance_of_all(one) for one in encoded])) if encoded else np.nan
        above: list[bool] = []
        for name in MODELS if encoded else ():
            for layer, shares in enumerate(won[name][:, mask]):
                low, high = share_interval(shares)
                every = int((shares == 1).sum())
                rates = (shares.mean(), low, high, CHANCE, every / len(shares))
                label = ""
                if name == "before":
                    above.append(low > CHANCE)
                elif low > CHANCE or high < CHANCE:
                    label = LABELS[0] if low > CHANCE else LABELS[3]
                else:
                    label = LABELS[1] if above[layer] else LABELS[2]
                of_every = wilson_interval(every, len(shares))
                rows.append((kind, name, layer, len(shares), *rates, *of_every, of_all, label))
    columns = ["facts", "model", "layer", "count", "pairs", "pairs_low", "pairs_high"]
    columns += ["pairs_chance", "all", "all_low", "all_high", "all_chance", "label"]
    return pd.DataFrame(rows, columns=columns)
