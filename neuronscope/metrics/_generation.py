"""Greedy continuations, through `generate` of Hugging Face.

Prompts that are passed together begin together, and nothing is padded, so a continuation does not
depend on its batch mates, whatever a model does with positions and masks: all are read up to the
end of the shortest, and what is left of a longer one takes the place of what the model would write.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor
from transformers import (
    GenerationConfig,
    LogitsProcessor,
    LogitsProcessorList,
    PreTrainedModel,
    StoppingCriteria,
    StoppingCriteriaList,
)

from neuronscope.facts.fact import Fact
from neuronscope.models.answers import answers_of, check_numbers
from neuronscope.models.hooked_model import HookedModel

LARGEST_BATCH = 32
"""Prompts in a pass at most."""


def answers_given(
    model: HookedModel, facts: Sequence[Fact], form: str, max_new_tokens: int
) -> list[str]:
    """What the model answers: greedy, up to its first special token.

    The prompt's tokens are those before which an answer is teacher-forced.

    Args:
        max_new_tokens: Tokens of an answer at most; fewer where the model's context ends.

    Raises:
        ValueError: As `encode`, or if a prompt fills the model's context.
    """
    prompts = [one.tokens[: one.prompt_length] for one in answers_of(model, facts, form)]
    budgets = [max_new_tokens] * len(prompts)
    given = continuations(model, prompts, budgets, stop_tokens(model))
    return [
        str(
            model.tokenizer.decode(
                list(tokens), skip_special_tokens=True, clean_up_tokenization_spaces=False
            )
        ).strip()
        for tokens in given
    ]


def continuations(
    model: HookedModel,
    prompts: Sequence[tuple[int, ...]],
    budgets: Sequence[int],
    stop: frozenset[int],
) -> list[tuple[int, ...]]:
    """The most likely next tokens, one by one, after each prompt.

    Args:
        budgets: Tokens to add, per prompt; fewer where the model's context ends.
        stop: Tokens that end a continuation; they are cut off. None of them: nothing ends it.

    Raises:
        ValueError: If a prompt fills the model's context.
    """
    # Absent from configurations of models without a longest text.
    context = getattr(model.hf.config, "max_position_embeddings", None)
    longest = max(len(prompt) for prompt in prompts)
    if context is not None and longest >= context:
        raise ValueError(
            f"A prompt of {longest} tokens leaves no room in the model's context of {context}; "
            "shorten the prompt."
        )
    rows = [
        _Row(prompt, budget if context is None else min(budget, context - len(prompt)))
        for prompt, budget in zip(prompts, budgets, strict=True)
    ]
    kept: dict[int, tuple[int, ...]] = {}
    for group in _groups(rows):
        kept |= zip(group, _greedy(model, [rows[i] for i in group], stop), strict=True)
    return [kept[i] for i in range(len(prompts))]


def stop_tokens(model: HookedModel) -> frozenset[int]:
    """What no answer holds: the tokenizer's special tokens, and what ends the model's texts.

    The token for unknown words is none of them, unless it is also one that begins, ends or pads
    texts, as GPT-2's is: it stands for a part of the text.
    """
    words = model.tokenizer
    framing = (words.bos_token_id, words.eos_token_id, words.pad_token_id)
    special = {
        token for token in words.all_special_ids if token != words.unk_token_id or token in framing
    }
    end = model.hf.generation_config.eos_token_id  # an instruction-tuned model may have several
    ends = end if isinstance(end, list) else [] if end is None else [end]
    return frozenset(special | set(ends))


@dataclass(frozen=True)
class _Row:
    """A prompt, and how many tokens are to be added."""

    prompt: tuple[int, ...]
    budget: int

    @property
    def end(self) -> int:
        """How long it becomes at most."""
        return len(self.prompt) + self.budget


def _greedy(
    model: HookedModel, rows: Sequence[_Row], stop: frozenset[int]
) -> list[tuple[int, ...]]:
    shortest = min(len(row.prompt) for row in rows)
    tokens = torch.tensor([row.prompt[:shortest] for row in rows], device=model.device)
    settings = GenerationConfig(
        max_new_tokens=max(row.end for row in rows) - shortest, do_sample=False, num_beams=1
    )
    with _own_settings(model.hf):
        grown = cast(Any, model.hf).generate(
            tokens,
            attention_mask=torch.ones_like(tokens),
            generation_config=settings,
            logits_processor=LogitsProcessorList([_Checked(model), _Prompted(rows)]),
            stopping_criteria=StoppingCriteriaList([_Ended(rows, stop)]),
        )
    return [
        _before_first(whole[len(row.prompt) : row.end], stop)
        for row, whole in zip(rows, grown.tolist(), strict=True)
    ]


class _Checked(LogitsProcessor):
    """Refuses logits that are not numbers, and changes nothing."""

    def __init__(self, model: HookedModel) -> None:
        self.model = model

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        del input_ids
        check_numbers(self.model, scores)
        return scores


class _Prompted(LogitsProcessor):
    """Leaves no choice but the prompt's next token, as long as there is one."""

    def __init__(self, rows: Sequence[_Row]) -> None:
        self.rows = rows

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        place = input_ids.shape[1]
        given = [
            (n, row.prompt[place]) for n, row in enumerate(self.rows) if place < len(row.prompt)
        ]
        if not given:
            return scores
        scores = scores.clone()
        numbers, tokens = (list(column) for column in zip(*given, strict=True))
        scores[numbers] = -torch.inf
        scores[numbers, tokens] = 0.0
        return scores


class _Ended(StoppingCriteria):
    """A row has ended where it has a stop token behind its prompt, or as much as it may have.

    What is written behind the end, while others go on, is cut off. The settings' own stop tokens
    would end a row at one within its prompt.
    """

    def __init__(self, rows: Sequence[_Row], stop: frozenset[int]) -> None:
        self.rows = rows
        self.stop = stop

    # Transformers calls what it returns a BoolTensor, which one on a GPU is not.
    def __call__(self, input_ids: Tensor, scores: Any, **kwargs: Any) -> Any:
        del scores, kwargs
        length = input_ids.shape[1]
        ended = [
            length >= row.end or (length > len(row.prompt) and last in self.stop)
            for row, last in zip(self.rows, input_ids[:, -1].tolist(), strict=True)
        ]
        return torch.tensor(ended, device=input_ids.device)


@contextmanager
def _own_settings(hf: PreTrainedModel) -> Iterator[None]:
    """While active, a checkpoint's wishes do not fill in what the settings leave open.

    It may ask for sampling, for penalties on repeated words, for a shortest answer.
    """
    wishes = hf.generation_config
    hf.generation_config = GenerationConfig()
    try:
        yield
    finally:
        hf.generation_config = wishes


def _groups(rows: Sequence[_Row]) -> Iterator[list[int]]:
    """Places of rows that are passed together: not too many, and none that waits too long.

    To wait for a longer prompt costs a step a token, to begin anew as many steps as are written.
    """
    group: list[int] = []
    for i in sorted(range(len(rows)), key=lambda i: len(rows[i].prompt)):
        if group:
            wait = len(rows[i].prompt) - len(rows[group[0]].prompt)
            most = max(rows[j].budget for j in group)
            if len(group) == LARGEST_BATCH or wait > most:
                yield group
                group = []
        group.append(i)
    yield group


def _before_first(tokens: Sequence[int], stop: frozenset[int]) -> tuple[int, ...]:
    end = next((at for at, token in enumerate(tokens) if token in stop), len(tokens))
    return tuple(tokens[:end])
