"""Running a model: without gradients of its parameters, and with logits only where needed."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from jaxtyping import Float, Int
from torch import Tensor, nn

from neuronscope.models.hooked_model import HookedModel
from neuronscope.models.targets import Answers


@contextmanager
def frozen(model: HookedModel) -> Iterator[None]:
    """While active, the model is in evaluation mode and its parameters require no gradient."""
    modes = [(module, module.training) for module in model.hf.modules()]
    wanted = [(p, p.requires_grad) for p in model.hf.parameters()]
    model.hf.eval().requires_grad_(False)
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training
        for parameter, requires_grad in wanted:
            parameter.requires_grad_(requires_grad)


@contextmanager
def differentiable_embeddings(model: HookedModel) -> Iterator[None]:
    """While active, gradients start at the token embeddings, even if all parameters are frozen."""

    def start(module: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> Tensor:
        del module, args
        return output.detach().requires_grad_()

    hook = model.hf.get_input_embeddings().register_forward_hook(start)
    try:
        yield
    finally:
        hook.remove()


@contextmanager
def only_answers(model: HookedModel, answers: Callable[[], Answers]) -> Iterator[None]:
    """While active, logits are computed only at the positions that predict an answer's tokens.

    The model's logits are then `[1, token, vocab]`.

    Args:
        answers: Called only when the forward pass reaches the unembedding, because hooks of earlier
            modules may have added rows to the batch.
    """

    def gather(module: nn.Module, args: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        del module
        placed = answers().to(args[0].device)
        return (args[0][placed.row, placed.position][None], *args[1:])

    head = model.hf.get_output_embeddings()
    assert head is not None, "a causal language model has a head"
    hook = head.register_forward_pre_hook(gather)
    try:
        yield
    finally:
        hook.remove()


def answer_logits(
    model: HookedModel, tokens: Int[Tensor, "batch pos"], answers: Answers
) -> Float[Tensor, "token vocab"]:
    """Logits at the positions that predict the answers' tokens.

    Args:
        tokens: Right-padded; causal attention does not see later positions, so no mask is needed.
    """
    with only_answers(model, lambda: answers):
        return (model.wrapper or model.hf)(input_ids=tokens, use_cache=False).logits[0]
