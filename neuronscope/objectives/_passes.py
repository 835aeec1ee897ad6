"""One forward pass over a batch of facts, returning log-probabilities, logits or hidden states.

Half-precision results are converted to single precision, because losses subtract large numbers.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from neuronscope.facts.prompts import Batch
from neuronscope.models.hook_points import decoder_layers
from neuronscope.models.hooked_model import HookedModel
from neuronscope.models.passes import answer_logits, only_answers
from neuronscope.models.targets import Answers, Target, log_prob

SUMMED = Target("log_prob", "sum")


def logits_at_answers(
    model: HookedModel, batch: Batch
) -> tuple[Float[Tensor, "token vocab"], Answers]:
    """The logits that predict the answers' tokens, and the positions of these tokens."""
    answers = Answers.of(batch)
    logits = raised(answer_logits(model, batch.tokens[:, :-1], answers))
    return logits, answers.to(logits.device)


def token_log_probs(model: HookedModel, batch: Batch) -> Float[Tensor, " token"]:
    """The log-probability of each answer token, in nats."""
    logits, answers = logits_at_answers(model, batch)
    return log_prob(logits, answers.token)


def fact_log_probs(model: HookedModel, batch: Batch) -> Float[Tensor, " batch"]:
    """The log-probability of each fact's answer, in nats: the sum over its tokens."""
    return SUMMED(*logits_at_answers(model, batch))


def log_ratios(model: HookedModel, reference: HookedModel, batch: Batch) -> Float[Tensor, " batch"]:
    """The log-ratios log P(y|x) − log P_ref(y|x), in nats; the reference receives no gradient."""
    with torch.no_grad():
        before = fact_log_probs(reference, batch)
    now = fact_log_probs(model, batch)
    return now - before.to(now)


def answer_lengths(batch: Batch) -> Int[Tensor, " batch"]:
    """Number of tokens of each answer."""
    return batch.lengths - batch.prompt_lengths


def all_logits(
    model: HookedModel, tokens: Int[Tensor, "batch pos"]
) -> Float[Tensor, "batch pos vocab"]:
    """The logits at every position, including padding."""
    return raised((model.wrapper or model.hf)(input_ids=tokens, use_cache=False).logits)


def hidden_states(
    model: HookedModel, tokens: Int[Tensor, "batch pos"], layer: int
) -> Float[Tensor, "batch pos width"]:
    """The output of a decoder layer.

    No gradient flows through the layers above, and no logits are computed.
    """
    kept: list[Tensor] = []
    none = torch.empty(0, dtype=torch.long, device=tokens.device)
    no_answers = Answers(none, none, none, none[:, None], 0)
    with (
        only_answers(model, lambda: no_answers),
        _output_kept(decoder_layers(model.hf)[layer], kept),
    ):
        (model.wrapper or model.hf)(input_ids=tokens, use_cache=False)
    return raised(kept[0])


def raised(values: Float[Tensor, "*axes"]) -> Float[Tensor, "*axes"]:
    """Convert half precision to single precision; leave double precision."""
    return values if values.dtype == torch.float64 else values.float()


@contextmanager
def _output_kept(layer: nn.Module, kept: list[Tensor]) -> Iterator[None]:
    """While active, append the layer's output to `kept` and pass it on detached."""

    def keep(
        module: nn.Module, args: tuple[object, ...], output: Tensor | tuple[Tensor, ...]
    ) -> Tensor | tuple[Tensor, ...]:
        del module, args
        if isinstance(output, Tensor):
            kept.append(output)
            return output.detach()
        kept.append(output[0])
        return (output[0].detach(), *output[1:])

    hook = layer.register_forward_hook(keep)
    try:
        yield
    finally:
        hook.remove()
