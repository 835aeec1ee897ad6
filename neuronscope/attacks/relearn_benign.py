"""Relearning from unrelated instructions: the "benign" attack of arXiv 2509.22263.

The paper fine-tunes on 1,000 items of Alpaca, which are unrelated to the forgotten facts. If such
training recovers answers, the facts were hidden rather than erased. The package includes only sixty
instructions; for a study, provide a larger file. Instructions are prompted in the same form as
facts, not with Alpaca's template. Models rarely reproduce the responses to instructions verbatim,
so these count as learned if their log-odds rise by a tenth of a nat per token.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from transformers import PreTrainedTokenizerBase

from neuronscope.attacks._base import Scene, Trial
from neuronscope.attacks._instructions import OWN, load_instructions
from neuronscope.attacks._relearning import FEWEST, Relearning
from neuronscope.facts.fact import Fact, FactSet
from neuronscope.facts.prompts import encode


@dataclass(frozen=True)
class RelearnBenign(Relearning):
    """Fine-tune on unrelated instructions, and evaluate the forgotten facts."""

    learning_rates: tuple[float, ...] = (1e-7, 1e-6, 1e-5)
    """Learning rates, with a separate run for each. The grid of arXiv 2509.22263."""

    steps: int = 120
    """Updates per run, equal for all runs so that their budgets are equal. With the included
    instructions and batches of 8, the default amounts to sixteen epochs."""

    epochs: int = 1
    """Smallest number of epochs over the instructions: with many instructions, a run takes more
    than `steps` updates."""

    batch: int = 8
    """Instructions per step; all of them if there are fewer."""

    evaluate_every: int = 10
    """Evaluate every this many steps."""

    data: Path | None = None
    """File of instructions in Alpaca's format (instruction, input, output) or in that of
    Self-Instruct's seed tasks; by default, the sixty instructions included in the package."""

    items: int = 1000
    """Train on at most this many instructions, drawn at random. arXiv 2509.22263 uses 1,000."""

    longest: int = 256
    """Largest number of tokens of an instruction with its output; longer ones are left out, and
    counted in the note."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("items", "longest"):
            if vars(self)[name] < 1:
                raise ValueError(f"Expected {name} of 1 or more, got {vars(self)[name]}.")

    def check_own(
        self, facts: FactSet, tokenizers: Sequence[PreTrainedTokenizerBase], form: str
    ) -> None:
        del facts
        for tokenizer in tokenizers:
            self._fitting(tokenizer, form)

    def trials(self, scene: Scene) -> list[Trial]:
        path = self.data or OWN
        read = load_instructions(path)
        fit = self._fitting(scene.model.tokenizer, scene.form)
        left_out = read.empty + len(read.facts) - len(fit)
        note = f"{left_out} instructions left out: without output, too long or not encodable."
        trials = []
        for lr in self.learning_rates:
            for seed in self.seeds:
                taught = tuple(random.Random(seed).sample(fit, min(self.items, len(fit))))
                variant = f"{len(taught)} instructions of {path.name}"
                trials.append(
                    Trial(scene.pool, taught, variant, lr, seed, note=note if left_out else "")
                )
        return trials

    def _fitting(self, tokenizer: PreTrainedTokenizerBase, form: str) -> tuple[Fact, ...]:
        """The instructions that can be encoded and are short enough."""
        path = self.data or OWN
        every = load_instructions(path).facts
        fit = tuple(fact for fact in every if self._fits(fact, tokenizer, form))
        if len(fit) < FEWEST:
            raise ValueError(
                f"{path}: {len(fit)} of {len(every)} instructions can be encoded with at most "
                f"{self.longest} tokens, expected {FEWEST} or more; give a different file as "
                "`data`, or increase `longest`."
            )
        return fit

    def _fits(self, fact: Fact, tokenizer: PreTrainedTokenizerBase, form: str) -> bool:
        try:
            encoded = encode(fact, tokenizer, form)
        except ValueError:
            return False
        return len(encoded.tokens) <= self.longest
