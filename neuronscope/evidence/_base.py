"""The parts common to all views: the case that they examine, and the evaluation of a model."""

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
    """A model before and after unlearning, and the facts on which both are evaluated."""

    before: HookedModel
    after: HookedModel
    facts: FactSet
    target: Target
    form: str = "completion"
    """The prompt form, one of `neuronscope.facts.prompts.PROMPT_FORMS`."""

    rankings: Mapping[str, Float[np.ndarray, "layer neuron"]] | None = None
    """Scores of the neurons at `mlp.post` from other sources, by name; larger scores rank first."""

    @cached_property
    def labelled(self) -> tuple[tuple[str, Encoded], ...]:
        """Every fact as tokens, with its split."""
        tokenizer = self.after.tokenizer
        return tuple((split, encode(fact, tokenizer, self.form)) for split, fact in self.facts)

    @property
    def encoded(self) -> list[Encoded]:
        """Every fact as tokens."""
        return [encoded for _, encoded in self.labelled]

    @cached_property
    def forget(self) -> Bool[np.ndarray, " fact"]:
        """Which facts are in the forget set."""
        return np.array([split == "forget" for split, _ in self.labelled])

    @cached_property
    def at_first(self) -> Measured:
        """The original model's answers and scores."""
        return self.measure(self.before)

    @cached_property
    def at_last(self) -> Measured:
        """The unlearned model's answers and scores."""
        return self.measure(self.after)

    @cached_property
    def forgotten(self) -> Bool[np.ndarray, " fact"]:
        """The facts of the forget set that were answered before unlearning, and not after."""
        return self.forget & self.at_first.answered & ~self.at_last.answered

    def table(self) -> pd.DataFrame:
        """One row per fact: `fact`, `split`, `relation`, `answered_before`, `answered_after`."""
        return pd.DataFrame(
            {
                "fact": [fact.id for _, fact in self.facts],
                "split": [split for split, _ in self.facts],
                "relation": [fact.relation for _, fact in self.facts],
                "answered_before": self.at_first.answered,
                "answered_after": self.at_last.answered,
            }
        )

    @cached_property
    def identity(self) -> str:
        """The key of everything that a finding depends on, apart from the view's settings."""
        parts = {
            "before": self.before,
            "after": self.after,
            "facts": facts_hash(self.facts),
            "target": self.target,
            "form": self.form,
        }
        return key_of(parts)

    def batches(
        self, chosen: Bool[np.ndarray, " fact"] | None = None
    ) -> list[tuple[list[int], Batch]]:
        """The facts in batches of similar length, each with the indices of its facts in the case.

        Args:
            chosen: Only these facts.
        """
        return list(batches_of(self.after, self.encoded, chosen))

    def measure(
        self, model: HookedModel, chosen: Bool[np.ndarray, " fact"] | None = None
    ) -> Measured:
        """The answers and scores of a model with its current weights.

        Args:
            chosen: Measure only these facts; the scores of the others are NaN, and they count as
                not answered.
        """
        return measure(model, self.encoded, self.target, chosen)


class Evidence(ABC):
    """A view: its settings, and a call that examines a case."""

    by_default: ClassVar[bool] = True
    """Whether a diagnosis runs this view if none is named."""

    decides: ClassVar[bool] = False
    """Whether the verdict rests on this view; such views run first."""

    needs_rankings: ClassVar[bool] = False
    """Whether the view uses the case's rankings of neurons; such views run last."""

    @abstractmethod
    def __call__(self, case: Case, progress: Progress = no_progress) -> Finding:
        """Examine the two models.

        Args:
            progress: Called after each step.

        Raises:
            ValueError: If the view cannot be computed for these models or facts; the message says
                why.
        """

    def rankings(self, finding: Finding) -> dict[str, Float[np.ndarray, "layer neuron"]]:
        """The rankings of neurons, by name, that a finding provides to later views."""
        del finding
        return {}

    def identity(self, case: Case) -> str:
        """The key of everything that the finding depends on."""
        rankings = case.rankings if self.needs_rankings else None
        return key_of({"case": case.identity, "view": described(self), "rankings": rankings})


def working_copy(model: HookedModel) -> HookedModel:
    """A trainable copy of a model.

    It has at least single precision: half precision would round small weight changes away.
    """
    hf = copy.deepcopy(model.hf)
    # A model may mix precisions: its `dtype` is only that of the first parameter.
    if any(p.dtype not in (torch.float32, torch.float64) for p in hf.parameters()):
        hf = hf.float()
    return HookedModel.of(hf.eval().requires_grad_(True), model.tokenizer, model.source)
