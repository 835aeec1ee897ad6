"""Greedy continuations with Hugging Face's `generate`.

A batch starts from the tokens up to the end of its shortest prompt, and the remaining tokens of
longer prompts are forced instead of generated. Nothing is padded, so a continuation does not depend
on the rest of the batch, however a model treats positions and masks.
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
"""Maximum number of prompts in a batch."""


def answers_given(
    model: HookedModel, facts: Sequence[Fact], form: str, max_new_tokens: int
) -> list[str]:
    """The model's greedy answers, up to the first special token.

    The prompts' tokens are the same as under teacher forcing.

    Args:
        max_new_tokens: Maximum number of tokens per answer; fewer if the model's context is full.

    Raises:
        ValueError: If a fact cannot be encoded, or a prompt fills the model's context.
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
    """The greedy continuation of each prompt.

    Args:
        budgets: Number of tokens to add to each prompt; fewer if the model's context is full.
        stop: Tokens that end a continuation and are cut off; if empty, nothing ends it early.

    Raises:
        ValueError: If a prompt fills the model's context.
    """
    # Missing from the configuration of models without a maximum length.
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
    """Tokens that no answer contains: the tokenizer's special tokens and the model's end tokens.

    The token for unknown words represents a part of the text, so it is not included unless it
    also begins, ends or pads texts, as in GPT-2.
    """
    tokenizer = model.tokenizer
    framing = (tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id)
    special = {
        token
        for token in tokenizer.all_special_ids
        if token != tokenizer.unk_token_id or token in framing
    }
    end = model.hf.generation_config.eos_token_id  # an instruction-tuned model may have several
    ends = end if isinstance(end, list) else [] if end is None else [end]
    return frozenset(special | set(ends))


@dataclass(frozen=True)
class _Row:
    """A prompt, and the number of tokens to add."""

    prompt: tuple[int, ...]
    budget: int

    @property
    def end(self) -> int:
        """Maximum length of the prompt with its continuation."""
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
    """Raises if logits are NaN; changes nothing."""

    def __init__(self, model: HookedModel) -> None:
        self.model = model

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        del input_ids
        check_numbers(self.model, scores)
        return scores


class _Prompted(LogitsProcessor):
    """Forces the prompt's next token, as long as there is one."""

    def __init__(self, rows: Sequence[_Row]) -> None:
        self.rows = rows

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        place = input_ids.shape[1]
        forced = [
            (n, row.prompt[place]) for n, row in enumerate(self.rows) if place < len(row.prompt)
        ]
        if not forced:
            return scores
        scores = scores.clone()
        numbers, tokens = (list(column) for column in zip(*forced, strict=True))
        scores[numbers] = -torch.inf
        scores[numbers, tokens] = 0.0
        return scores


class _Ended(StoppingCriteria):
    """Ends a row at its first stop token after the prompt, or at its maximum length.

    Tokens generated after the end, while other rows continue, are cut off later. The stop tokens of
    `GenerationConfig` would also end a row at a stop token within its prompt.
    """

    def __init__(self, rows: Sequence[_Row], stop: frozenset[int]) -> None:
        self.rows = rows
        self.stop = stop

    # Transformers annotates the result as BoolTensor, which a tensor on a GPU is not.
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
    """While active, ignore the checkpoint's generation config.

    It may set sampling, a repetition penalty or a minimum length.
    """
    saved = hf.generation_config
    hf.generation_config = GenerationConfig()
    try:
        yield
    finally:
        hf.generation_config = saved


def _groups(rows: Sequence[_Row]) -> Iterator[list[int]]:
    """Indices of each batch's rows: at most `LARGEST_BATCH`, with prompts of similar length.

    Waiting for a longer prompt costs one step per token; another batch costs as many steps as it
    generates tokens.
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
