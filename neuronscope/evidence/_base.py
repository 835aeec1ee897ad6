"""What every view of the evidence has in common: the case it is asked about, and how to measure."""

import copy
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float

from neuronscope.display import Progress, no_progress
from neuronscope.facts.fact import FactSet, facts_hash
from neuronscope.facts.prompts import Batch, Encoded, encode
from neuronscope.models.answers import Measured, batches_of, measure
from neuronscope.models.hooked_model import HookedModel
from neuronscope.models.targets import Target
from neuronscope.results.cache import described, key_of
from neuronscope.results.findings import Finding


@dataclass(frozen=True, eq=False)
class Case:
    """A model before and after unlearning, and the facts about which they are asked."""

    before: HookedModel
    after: HookedModel
    facts: FactSet
    target: Target
    form: str = "completion"
    """How a fact is put to the models, one of `neuronscope.facts.prompts.PROMPT_FORMS`."""

    rankings: Mapping[str, Float[np.ndarray, "layer neuron"]] | None = None
    """Scores of the neurons at `mlp.post` from other sources, by name; largest first."""

    @cached_property
    def labelled(self) -> tuple[tuple[str, Encoded], ...]:
        """Every fact as tokens, with its split."""
        words = self.after.tokenizer
        return tuple((split, encode(fact, words, self.form)) for split, fact in self.facts)

    @property
    def encoded(self) -> list[Encoded]:
        """Every fact as tokens."""
        return [encoded for _, encoded in self.labelled]

    @cached_property
    def forget(self) -> Bool[np.ndarray, " fact"]:
        """Which facts were to be forgotten."""
        return np.array([split == "forget" for split, _ in self.labelled])

    @cached_property
    def at_first(self) -> Measured:
        """What the model before makes of the facts."""
        return self.measure(self.before)

    @cached_property
    def at_last(self) -> Measured:
        """What the model after makes of them."""
        return self.measure(self.after)

    @cached_property
    def forgotten(self) -> Bool[np.ndarray, " fact"]:
        """The facts that can come back: answered before, not answered after, to be forgotten."""
        return self.forget & self.at_first.answered & ~self.at_last.answered

    def table(self) -> pd.DataFrame:
        """One row per fact, as in a diagnosis: `fact`, `split`, `answered_before`, `_after`."""
        return pd.DataFrame(
            {
                "fact": [fact.id for _, fact in self.facts],
                "split": [split for split, _ in self.facts],
                "answered_before": self.at_first.answered,
                "answered_after": self.at_last.answered,
            }
        )

    @cached_property
    def identity(self) -> str:
        """What any finding about the case depends on, besides the view's own settings."""
        parts = {
            "before": self.before,
            "after": self.after,
            "facts": facts_hash(self.facts),
            "target": self.target,
            "form": self.form,
        }
        return key_of(parts)

    def batches(
        self, asked: Bool[np.ndarray, " fact"] | None = None
    ) -> list[tuple[list[int], Batch]]:
        """The facts in batches of like length, each with the places of its facts in the case.

        Args:
            asked: Only these facts.
        """
        return list(batches_of(self.after, self.encoded, asked))

    def measure(
        self, model: HookedModel, asked: Bool[np.ndarray, " fact"] | None = None
    ) -> Measured:
        """What a model makes of the facts, as it is now.

        Args:
            asked: Only of these facts; the others' scores are NaN, and count as not answered.
        """
        return measure(model, self.encoded, self.target, asked)


class Evidence(ABC):
    """A view: hyper-parameters, and what it finds in a case."""

    by_default: ClassVar[bool] = True
    """Whether a diagnosis asks this view where none is named."""

    decides: ClassVar[bool] = False
    """Whether the verdict rests on this view; it runs first."""

    needs_rankings: ClassVar[bool] = False
    """Whether the case's rankings of neurons are read; such views run last."""

    @abstractmethod
    def __call__(self, case: Case, progress: Progress = no_progress) -> Finding:
        """Ask the two models.

        Args:
            progress: Called after each step.

        Raises:
            ValueError: If the view cannot be had of these models or facts, with the reason.
        """

    def rankings(self, finding: Finding) -> dict[str, Float[np.ndarray, "layer neuron"]]:
        """The rankings of neurons, by name, that a finding gives to the views after it."""
        del finding
        return {}

    def identity(self, case: Case) -> str:
        """The key of everything that the finding depends on."""
        rankings = case.rankings if self.needs_rankings else None
        return key_of({"case": case.identity, "view": described(self), "rankings": rankings})


def working_copy(model: HookedModel) -> HookedModel:
    """A copy whose weights can be moved, with gradients.

    At least in single precision: half precision would round small moves away.
    """
    hf = copy.deepcopy(model.hf)
    if hf.dtype not in (torch.float32, torch.float64):
        hf = hf.float()
    return HookedModel.of(hf.eval().requires_grad_(True), model.tokenizer, model.source)
