"""The residual stream after each decoder layer: recorded, replaced, and decoded to logits.

A forward pass whose layer outputs were recorded can be resumed after any layer: earlier layers do
not run again but return their recorded outputs. Nothing after the last layer is reimplemented:
states are decoded by replacing the output of the last layer, so that the model's own final norm,
head and any other operations (projections, scales, caps) apply.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from neuronscope.facts.prompts import Batch, Encoded
from neuronscope.models.hook_points import decoder_layers
from neuronscope.models.hooked_model import HookedModel
from neuronscope.models.passes import answer_logits
from neuronscope.models.targets import Answers

Output = Tensor | tuple[object, ...]
"""The output of a decoder layer: the residual stream, alone or as the first entry of a tuple."""


@dataclass(frozen=True, eq=False)
class Pass:
    """A forward pass that can be resumed after any layer."""

    model: HookedModel

    tokens: Int[Tensor, "batch pos"]

    places: Answers
    """The positions where logits are computed and states replaced."""

    outputs: tuple[Output, ...]
    """The output of each layer."""

    logits: Float[Tensor, "token vocab"]

    @staticmethod
    def of(model: HookedModel, tokens: Int[Tensor, "batch pos"], places: Answers) -> "Pass":
        """Run the model."""
        outputs: list[Output] = []
        with torch.no_grad(), _watched(model, outputs.append):
            logits = answer_logits(model, tokens, places)
        return Pass(model, tokens, places, tuple(outputs), logits)

    @staticmethod
    def of_answers(model: HookedModel, encoded: Sequence[Encoded]) -> "Pass":
        """Run the model on facts; the places are the positions that predict the answers."""
        batch = Batch.of(encoded, model.device)
        return Pass.of(model, batch.tokens[:, :-1], Answers.of(batch))

    def resumed(
        self, layer: int, states: Float[Tensor, "token residual"]
    ) -> Float[Tensor, "token vocab"]:
        """The logits with the residual stream after a layer replaced by `states` at the places."""
        stream = _stream(self.outputs[layer]).clone()
        places = self.places.to(stream.device)
        stream[places.row, places.position] = states.to(stream)
        old = self.outputs[layer]
        new = stream if isinstance(old, Tensor) else (stream, *old[1:])
        blocks = decoder_layers(self.model.hf)
        with torch.no_grad(), ExitStack() as replaced:
            for block, output in zip(blocks, (*self.outputs[:layer], new), strict=False):
                replaced.enter_context(_returning(block, output))
            return answer_logits(self.model, self.tokens, self.places)


def states_at(
    model: HookedModel, tokens: Int[Tensor, "batch pos"], places: Answers
) -> Float[Tensor, "layer token residual"]:
    """The residual stream after every layer, at the given places."""
    kept: list[Tensor] = []

    def keep(output: Output) -> None:
        stream = _stream(output)
        at = places.to(stream.device)
        kept.append(stream[at.row, at.position].to(model.device))

    with torch.no_grad(), _watched(model, keep):
        answer_logits(model, tokens, places)
    return torch.stack(kept)


def tail(model: HookedModel, tokens: Int[Tensor, " token"]) -> Pass:
    """A pass over single tokens, to be resumed after the last layer with arbitrary states.

    Args:
        tokens: Any tokens, one for each state.
    """
    return Pass.of(model, tokens[:, None], ends([1] * len(tokens), model.device))


def ends(lengths: Sequence[int], device: torch.device) -> Answers:
    """The last position of each row, as places without a target token."""
    row = torch.arange(len(lengths), device=device)
    return Answers(
        row=row,
        position=torch.tensor(lengths, device=device) - 1,
        token=torch.zeros_like(row),
        rivals=torch.zeros(len(row), 0, dtype=torch.long, device=device),
        rows=len(row),
    )


@contextmanager
def _watched(model: HookedModel, receive: Callable[[Output], None]) -> Iterator[None]:
    """While active, call `receive` with the output of each decoder layer."""

    def pass_on(module: nn.Module, args: tuple[object, ...], output: Output) -> None:
        del module, args
        receive(output)

    with ExitStack() as hooks:
        for block in decoder_layers(model.hf):
            hooks.callback(block.register_forward_hook(pass_on).remove)
        yield


@contextmanager
def _returning(block: nn.Module, output: Output) -> Iterator[None]:
    """While active, a decoder layer does not run and returns `output`."""
    # A hook would replace the output only after the layer has run. If accelerate spreads a model
    # over devices, it sets a `forward` on the instance, which must be restored.
    own = vars(block).get("forward")
    block.forward = lambda *_, **__: output
    try:
        yield
    finally:
        del block.forward
        if own is not None:
            block.forward = own


def _stream(output: Output) -> Tensor:
    stream = output if isinstance(output, Tensor) else output[0]
    assert isinstance(stream, Tensor), "a decoder layer returns the residual stream first"
    return stream
