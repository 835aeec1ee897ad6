"""Greedy continuations, through `generate` of Hugging Face.

Only prompts of one length are passed together: nothing is padded, so a continuation does not depend
on its batch mates, whatever a model does with positions and masks.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import groupby
from typing import Any, cast

import torch
from torch import Tensor
from transformers import (
    GenerationConfig,
    LogitsProcessor,
    LogitsProcessorList,
    PreTrainedModel,
)

from neuronscope.facts import Fact
from neuronscope.metrics._answers import answers_of, check_numbers
from neuronscope.models import HookedModel

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
    kept: dict[int, tuple[int, ...]] = {}
    for group in _of_one_length(prompts):
        length = len(prompts[group[0]])
        room = max(budgets[i] for i in group)
        room = room if context is None else min(room, context - length)
        added = _greedy(model, [prompts[i] for i in group], room, stop)
        for i, tokens in zip(group, added, strict=True):
            kept[i] = _before_first(tokens[: budgets[i]], stop)
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


def _greedy(
    model: HookedModel, prompts: list[tuple[int, ...]], count: int, stop: frozenset[int]
) -> list[list[int]]:
    tokens = torch.tensor(prompts, device=model.device)
    settings = GenerationConfig(
        max_new_tokens=count,
        do_sample=False,
        num_beams=1,
        eos_token_id=sorted(stop) or None,
        pad_token_id=min(stop, default=None),  # where a row has ended, and is cut off
    )
    with _own_settings(model.hf):
        grown = cast(Any, model.hf).generate(
            tokens,
            attention_mask=torch.ones_like(tokens),
            generation_config=settings,
            logits_processor=LogitsProcessorList([_Checked(model)]),
        )
    return grown[:, tokens.shape[1] :].tolist()


class _Checked(LogitsProcessor):
    """Refuses logits that are not numbers, and changes nothing."""

    def __init__(self, model: HookedModel) -> None:
        self.model = model

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        del input_ids
        check_numbers(self.model, scores)
        return scores


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


def _of_one_length(prompts: Sequence[tuple[int, ...]]) -> Iterator[list[int]]:
    order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))
    for _, places in groupby(order, key=lambda i: len(prompts[i])):
        alike = list(places)
        for start in range(0, len(alike), LARGEST_BATCH):
            yield alike[start : start + LARGEST_BATCH]


def _before_first(tokens: list[int], stop: frozenset[int]) -> tuple[int, ...]:
    end = next((at for at, token in enumerate(tokens) if token in stop), len(tokens))
    return tuple(tokens[:end])
