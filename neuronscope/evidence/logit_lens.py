"""The logit lens: what each layer would answer, were it the last.

The residual stream after a layer, where the answer's tokens are predicted, goes through the model's
own final norm and head. An answer is *readable* there if its token has a larger logit than that of
a distractor, at the first token where the two differ (arXiv 2509.22263, Fig. 4, with every
distractor instead of a random one). Chance is 1/2 for a pair.

| after | means |
|---|---|
| above chance | still readable |
| within chance, above it before | consistent with erased |
| within chance, and no more before | never readable |
| below chance | over-unlearned: the answer is pushed down, which itself gives it away |

What is readable is there. What is not may still be: something that pushes the answer down as early
as the layer that writes it leaves nothing for the lens.
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
    judged,
    share_interval,
    too_few,
    with_distractors,
    without_distractors,
)
from neuronscope.evidence._states import states_at, tail
from neuronscope.facts.prompts import Encoded
from neuronscope.models.hooked_model import HookedModel, frozen
from neuronscope.models.targets import Answers
from neuronscope.results.findings import Finding

CHANCE = 0.5
"""Of two tokens, one is larger."""

MODELS = ("before", "after")


@dataclass(frozen=True)
class LogitLens(Evidence):
    """How often each layer reads the answer rather than its distractors."""

    def __call__(self, case: Case, progress: Progress = no_progress) -> Finding:
        asked = with_distractors(case)
        layers = case.before.n_layers
        if layers != case.after.n_layers:
            raise ValueError(
                f"The lens compares layer by layer: the model before has {layers}, the model after "
                f"{case.after.n_layers}."
            )
        steps = 2 * len(case.batches())
        won = {
            name: _won(case, model, lambda done, k=k: progress(done + k * steps // 2, steps))
            for k, (name, model) in enumerate(zip(MODELS, (case.before, case.after), strict=True))
        }
        return _finding(case, asked, won)


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
    """The tokens at which a distractor departs."""
    here = (answers.rivals >= 0).any(dim=-1)
    return Answers(
        answers.row[here],
        answers.position[here],
        answers.token[here],
        answers.rivals[here],
        answers.rows,
    )


def pairs_won(logits: Float[Tensor, "token vocab"], answers: Answers) -> Float[Tensor, " batch"]:
    """The share of each row's pairs in which the answer has the larger logit.

    A tie, which half precision has many of, is half won. NaN in rows without distractors.
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
    """How often the answer beats all distractors if at each token any of the rivals may lead."""
    steps = [step for step, _ in encoded.rivals]
    return float(np.prod([1 / (1 + steps.count(step)) for step in set(steps)]))


def _finding(
    case: Case,
    asked: Bool[np.ndarray, " fact"],
    won: dict[str, Float[np.ndarray, "layer fact"]],
) -> Finding:
    about = judged(case, asked & case.forget)
    read = {name: read_at_best(won["before"][:, about], won[name][:, about]) for name in MODELS}
    word, reason = (
        undecided(case)
        or too_few(case.forgotten & asked, "have distractors")
        or compared(read["before"], read["after"], CHANCE)
    )
    value, (low, high) = float(read["after"].mean()), share_interval(read["after"])
    best = int(won["before"][:, about].mean(axis=1).argmax())
    table = _table(case, asked, won)
    labels = table.loc[(table["facts"] == "forget") & (table["model"] == "after"), "label"]
    left_out = int((case.forget & ~asked).sum())
    return Finding(
        view="logit_lens",
        word=word,
        value=value,
        ci95=(low, high),
        meaning="share of (answer, distractor) pairs that the model after reads right, in the "
        "layer that reads them best in the model before",
        why=f"Read after layer {best}, the answers beat their distractors in {value:.0%} of pairs "
        f"({low:.0%} to {high:.0%}; {read['before'].mean():.0%} before, chance {CHANCE:.0%}). "
        f"{reason}",
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
    """Each fact's share in the first of the layers that read the *other* facts best before.

    Were a fact to help choose the layer it is judged at, the best of many layers would look better
    than it is.
    """
    others = before.sum(axis=1, keepdims=True) - before
    # Sums of thirds differ in their last digits where they are equal.
    return shares[np.argmax(np.round(others, 9), axis=0), np.arange(shares.shape[1])]


LABELS = ("still readable", "consistent with erased", "never readable", "over-unlearned")
"""What a layer of the model after shows."""


def _table(
    case: Case,
    asked: Bool[np.ndarray, " fact"],
    won: dict[str, Float[np.ndarray, "layer fact"]],
) -> pd.DataFrame:
    """One row per kind of facts, model and layer.

    Columns: `facts` (forget, other), `model`, `layer`, `count` (facts), `pairs` (mean share of
    pairs won), `all` (share of facts that win all pairs), for both `_low`, `_high` and `_chance`,
    and `label`, which is empty for the model before.
    """
    rows = []
    for kind, chosen in (("forget", asked & case.forget), ("other", asked & ~case.forget)):
        encoded = [case.labelled[fact][1] for fact in np.flatnonzero(chosen)]
        of_all = float(np.mean([chance_of_all(one) for one in encoded])) if encoded else np.nan
        above: list[bool] = []
        for name in MODELS if encoded else ():
            for layer, shares in enumerate(won[name][:, chosen]):
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
