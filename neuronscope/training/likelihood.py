"""The loss of fine-tuning: the negative log-likelihood of the answers.

The facts to fine-tune on form the retain split of the run; there is no forget split.
"""

from dataclasses import dataclass, replace

import torch
from transformers import PreTrainedTokenizerBase

from neuronscope.facts.fact import FactSet
from neuronscope.facts.prompts import Batch
from neuronscope.models.passes import answer_logits
from neuronscope.models.targets import Answers, Target
from neuronscope.objectives import Objective, Portion, Terms, TrainingState


@dataclass(frozen=True)
class AnswerLikelihood(Objective):
    """−Σ log p of the answer tokens, divided by their number in the step."""

    end: bool = False
    """Append the end-of-text token to each answer."""

    @property
    def needs_retain(self) -> bool:
        return True

    def forget(self, training: TrainingState, portion: Portion) -> Terms:
        """No terms, since fine-tuning has no facts to forget."""
        del training, portion
        return {}

    def retain(self, training: TrainingState, portion: Portion) -> Terms:
        batch, count = portion.batch, portion.step_tokens
        if self.end:
            batch, count = _ended(batch, training.model.tokenizer), count + portion.step_facts
        answers = Answers.of(batch)
        logits = answer_logits(training.model, batch.tokens[:, :-1], answers)
        log_probs = Target("log_prob", "sum")(logits, answers)
        return {"nll": -log_probs.sum() / count}

    def check(self, facts: FactSet) -> None:
        if not facts.retain:
            raise ValueError("Expected at least one fact to fine-tune on, got none.")


def check_end(tokenizer: PreTrainedTokenizerBase) -> None:
    """Raise if the tokenizer has no end-of-text token.

    Raises:
        ValueError: If it has none.
    """
    if tokenizer.eos_token_id is None:
        raise ValueError(
            "The tokenizer has no end-of-text token (eos_token); fine-tune without teach_end."
        )


def _ended(batch: Batch, tokenizer: PreTrainedTokenizerBase) -> Batch:
    """The batch with the end-of-text token after each answer."""
    tokens = torch.cat([batch.tokens, batch.tokens[:, :1]], dim=1)
    rows = torch.arange(len(tokens), device=tokens.device)
    end = tokenizer.eos_token_id
    assert isinstance(end, int), "checked by check_end"
    tokens[rows, batch.lengths] = end
    return replace(batch, tokens=tokens, lengths=batch.lengths + 1)
