"""The residual stream after each decoder layer: kept, replaced, and read out as logits.

A pass whose layers' outputs are kept can be taken up again behind any of them: the layers before do
not run, they say what they said. Nothing that follows the last layer is rebuilt. States are read
out by putting them in place of what it says, so that the final norm, the head, and whatever a model
has between or behind them (projections, scales, caps) are its own.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from neuronscope.facts.prompts import Batch, Encoded
from neuronscope.models.hook_points import decoder_layers
from neuronscope.models.hooked_model import HookedModel, answer_logits
from neuronscope.models.targets import Answers

Output = Tensor | tuple[object, ...]
"""What a decoder layer returns: the stream, alone or before other things."""


@dataclass(frozen=True, eq=False)
class Pass:
    """A forward pass that can be taken up again behind any layer."""

    model: HookedModel

    tokens: Int[Tensor, "batch pos"]

    places: Answers
    """Where logits are computed, and states replaced."""

    outputs: tuple[Output, ...]
    """What each layer said."""

    logits: Float[Tensor, "token vocab"]

    @staticmethod
    def of(model: HookedModel, tokens: Int[Tensor, "batch pos"], places: Answers) -> "Pass":
        """Run the model."""
        outputs: list[Output] = []
        with torch.no_grad(), _watched(model, outputs.append):
            logits = answer_logits(model, tokens, places)
        return Pass(model, tokens, places, tuple(outputs), logits)

    @staticmethod
    def of_answers(model: HookedModel, asked: Sequence[Encoded]) -> "Pass":
        """Run the model on facts; the places are those that predict the answers."""
        batch = Batch.of(asked, model.device)
        return Pass.of(model, batch.tokens[:, :-1], Answers.of(batch))

    def resumed(
        self, layer: int, states: Float[Tensor, "token residual"]
    ) -> Float[Tensor, "token vocab"]:
        """The logits if the residual stream after a layer were `states` at the places."""
        stream = _stream(self.outputs[layer]).clone()
        here = self.places.to(stream.device)
        stream[here.row, here.position] = states.to(stream)
        old = self.outputs[layer]
        new = stream if isinstance(old, Tensor) else (stream, *old[1:])
        blocks = decoder_layers(self.model.hf)
        with torch.no_grad(), ExitStack() as said:
            for block, output in zip(blocks, (*self.outputs[:layer], new), strict=False):
                said.enter_context(_saying(block, output))
            return answer_logits(self.model, self.tokens, self.places)


def states_at(
    model: HookedModel, tokens: Int[Tensor, "batch pos"], places: Answers
) -> Float[Tensor, "layer token residual"]:
    """The residual stream after every layer, at some places alone."""
    kept: list[Tensor] = []

    def keep(output: Output) -> None:
        stream = _stream(output)
        here = places.to(stream.device)
        kept.append(stream[here.row, here.position].to(model.device))

    with torch.no_grad(), _watched(model, keep):
        answer_logits(model, tokens, places)
    return torch.stack(kept)


def tail(model: HookedModel, tokens: Int[Tensor, " token"]) -> Pass:
    """A pass over lone tokens, to be resumed after the last layer with any states in their place.

    Args:
        tokens: Which, does not matter.
    """
    return Pass.of(model, tokens[:, None], ends([1] * len(tokens), model.device))


def ends(lengths: Sequence[int], device: torch.device) -> Answers:
    """The last position of each row: places that predict nothing in particular."""
    row = torch.arange(len(lengths), device=device)
    return Answers(
        row=row,
        position=torch.tensor(lengths, device=device) - 1,
        token=torch.zeros_like(row),
        rivals=torch.zeros(len(row), 0, dtype=torch.long, device=device),
        rows=len(row),
    )


@contextmanager
def _watched(model: HookedModel, see: Callable[[Output], None]) -> Iterator[None]:
    """While active, `see` is shown what each decoder layer says."""

    def show(module: nn.Module, args: tuple[object, ...], output: Output) -> None:
        del module, args
        see(output)

    with ExitStack() as hooks:
        for block in decoder_layers(model.hf):
            hooks.callback(block.register_forward_hook(show).remove)
        yield


@contextmanager
def _saying(block: nn.Module, output: Output) -> Iterator[None]:
    """While active, a decoder layer does not run and says this."""
    # A hook could only replace what the layer has computed. Where accelerate spreads a model over
    # devices, the instance has a forward of its own.
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
