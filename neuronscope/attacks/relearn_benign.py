"""Relearning from unrelated instructions: the "benign" attack of arXiv 2509.22263.

The paper fine-tunes on 1,000 items of Alpaca, which have nothing to do with the forgotten. If plain
further training brings answers back, they were never far away. The package's own sixty instructions
are a small stand-in: for a study, give a file of more. They are put to the model as facts are, not
in Alpaca's own prompt, and their answers are seldom given word for word: that none of the attacked
is answered is no failure here, as long as their log-odds rise by a tenth of a nat.
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
    """Teach unrelated instructions, and ask the forgotten facts."""

    learning_rates: tuple[float, ...] = (1e-7, 1e-6, 1e-5)
    """Step sizes, each a run of its own. The grid of arXiv 2509.22263."""

    steps: int = 120
    """Updates of each run, the same for all so that budgets are equal. With the own instructions
    and batches of 8, sixteen times through all of them."""

    epochs: int = 1
    """Times through the instructions at least: where they are many, runs are longer than
    `steps`."""

    batch: int = 8
    """Instructions in each step; all of them where there are fewer."""

    evaluate_every: int = 10
    """Steps between two looks."""

    data: Path | None = None
    """Instructions, as a file in Alpaca's format (instruction, input, output) or in that of
    Self-Instruct's seed tasks; if not given, the package's own sixty."""

    items: int = 1000
    """Instructions that are taken at most, drawn by the seed. arXiv 2509.22263 takes 1,000."""

    longest: int = 256
    """Tokens that an instruction and its output may have; longer ones are left out, and counted in
    the note."""

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
        note = f"{left_out} instructions left out: no output, or not to be put into tokens."
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
        """The instructions that can be put into tokens, and are short enough."""
        path = self.data or OWN
        every = load_instructions(path).facts
        fit = tuple(fact for fact in every if self._fits(fact, tokenizer, form))
        if len(fit) < FEWEST:
            raise ValueError(
                f"{path}: {len(fit)} of {len(every)} instructions can be put into {self.longest} "
                f"of the tokenizer's tokens, expected {FEWEST} or more; give others, or raise "
                "longest."
            )
        return fit

    def _fits(self, fact: Fact, tokenizer: PreTrainedTokenizerBase, form: str) -> bool:
        try:
            encoded = encode(fact, tokenizer, form)
        except ValueError:
            return False
        return len(encoded.tokens) <= self.longest
