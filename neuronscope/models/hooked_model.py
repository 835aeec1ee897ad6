"""A language model whose neurons can be read and changed.

Hooks are set on the plain Hugging Face modules, because a TransformerLens bridge changes the model
that it wraps (names, attention kernel), and for some architectures it holds copies of the matrices,
which training would update instead of the originals. `HookedModel.bridge` is therefore a view of a
clone that shares every parameter.
"""

import copy
import hashlib
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from neuronscope.display import html_card, html_table, shortened
from neuronscope.models.hook_points import HookPoint, decoder_layers, place_hook_points
from neuronscope.models.moe import ExpertNeurons
from neuronscope.models.sites import SITES, check_sites
from neuronscope.models.targets import Answers

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge


@dataclass(frozen=True, eq=False)
class HookedModel:
    """A causal language model, its tokenizer, and the locations of its neurons."""

    hf: PreTrainedModel
    """The plain Hugging Face model: its classes, names and `save_pretrained` are untouched."""

    tokenizer: PreTrainedTokenizerBase

    hook_points: tuple[HookPoint, ...]
    """One per site and layer."""

    source: str
    """What was loaded, as the user named it."""

    notes: tuple[str, ...] = ()
    """Caveats about the model: a merged adapter, de-quantized weights."""

    wrapper: nn.Module | None = None
    """The module to call instead of `hf`, if training has wrapped it."""

    @staticmethod
    def of(
        hf: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        source: str | None = None,
        notes: tuple[str, ...] = (),
    ) -> "HookedModel":
        """Wrap a model that is already in memory, and locate its neurons.

        Raises:
            ValueError: If they cannot be located; the message says why.
        """
        return HookedModel(hf, tokenizer, place_hook_points(hf), source or type(hf).__name__, notes)

    @staticmethod
    def of_bridge(
        bridge: "TransformerBridge", tokenizer: PreTrainedTokenizerBase | None = None
    ) -> "HookedModel":
        """The plain model inside a TransformerLens bridge; every parameter stays shared.

        Args:
            tokenizer: The model's tokenizer, needed if the bridge has none.

        Raises:
            ValueError: If there is no tokenizer, or if the bridge's logits differ from those of the
                model inside it, because weights were folded or copies of them were trained.
        """
        tokenizer = tokenizer or bridge.tokenizer
        if tokenizer is None:
            raise ValueError("This bridge has no tokenizer: pass the model's `tokenizer`.")
        hf = _plain(bridge.original_model)
        probe = torch.arange(3, 11, device=next(hf.parameters()).device)[None]
        mask = torch.ones_like(probe)
        with torch.no_grad():
            theirs = bridge(probe, attention_mask=mask, use_cache=False)
            ours = hf(probe, attention_mask=mask, use_cache=False).logits
        if not torch.allclose(theirs, ours, rtol=1e-3, atol=1e-3 * float(ours.abs().max())):
            raise ValueError(
                f"The bridge's logits differ from those of the {type(hf).__name__} inside it by up "
                f"to {float((theirs - ours).abs().max()):.1e}: weights were folded (compatibility "
                "mode), or copies of them were trained. Load the checkpoint itself."
            )
        return HookedModel.of(hf, tokenizer, bridge.cfg.model_name, ("taken from a bridge",))

    def __repr__(self) -> str:
        notes = f", {shortened('; '.join(self.notes), 120)}" if self.notes else ""
        return f"HookedModel({shortened(self.source)!r}, {self._size}{notes})"

    def _repr_html_(self) -> str:
        rows = [
            ("architecture", f"{type(self.hf).__name__}, {self._size}"),
            ("parameters", f"{sum(p.numel() for p in self.hf.parameters()):,}"),
            ("device", str(self.device)),
            ("sites", ", ".join(self.sites)),
            *(("note", note) for note in self.notes),
        ]
        return html_card(f"Model {self.source}", "", html_table(("", ""), rows))

    @property
    def _size(self) -> str:
        width = self.hook_points_at("mlp.post")[0].width
        return f"{self.n_layers} layers x {width:,} neurons, {self.dtype}".replace("torch.", "")

    @property
    def sites(self) -> tuple[str, ...]:
        """The sites that this model has in every layer."""
        present = {hook_point.site for hook_point in self.hook_points}
        return tuple(site for site in SITES if site in present)

    def hook_points_at(self, site: str) -> tuple[HookPoint, ...]:
        """The hook points of one site, by layer.

        Raises:
            ValueError: If the model has no such site.
        """
        check_sites((site,), self.sites, type(self.hf).__name__)
        return tuple(hook_point for hook_point in self.hook_points if hook_point.site == site)

    @property
    def n_layers(self) -> int:
        """Number of decoder layers."""
        return len(decoder_layers(self.hf))

    @property
    def experts(self) -> int:
        """Experts per layer at `mlp.post`; 0 in a dense model."""
        module = self.hook_points_at("mlp.post")[0].module
        return module.experts if isinstance(module, ExpertNeurons) else 0

    @property
    def vocabulary(self) -> int:
        """Number of tokens that the model has logits for."""
        head = self.hf.get_output_embeddings()
        assert head is not None, "a causal language model has a head"
        return head.get_parameter("weight").shape[0]

    @property
    def device(self) -> torch.device:
        """The device of the token embeddings."""
        return self.hf.get_input_embeddings().get_parameter("weight").device

    @property
    def dtype(self) -> torch.dtype:
        """Precision of the parameters."""
        return self.hf.dtype

    @cached_property
    def saved_bytes(self) -> float:
        """Bytes that autograd keeps per position and layer with frozen parameters (measured)."""
        length, total = 16, 0
        weights = {p.untyped_storage().data_ptr() for p in self.hf.parameters()}

        def count(tensor: Tensor) -> Tensor:
            nonlocal total
            if tensor.untyped_storage().data_ptr() not in weights:
                total += tensor.numel() * tensor.element_size()
            return tensor

        tokens = torch.zeros(1, length, dtype=torch.long, device=self.device)
        mask = torch.ones_like(tokens)
        # The first access may be inside `torch.no_grad()`.
        with torch.enable_grad(), frozen(self), differentiable_embeddings(self):
            with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
                hidden = self.hf.base_model(
                    tokens, attention_mask=mask, use_cache=False
                ).last_hidden_state
            del hidden
        return total / length / self.n_layers

    def fingerprint(self) -> str:
        """SHA-256 of all saved parameters and buffers, by name: identifies the model."""
        digest = hashlib.sha256()
        for name, tensor in sorted(self.hf.state_dict().items()):
            flat = tensor.detach().cpu().contiguous().view(-1)
            digest.update(f"{name}{tuple(tensor.shape)}{tensor.dtype}".encode())
            digest.update(flat.view(torch.uint8).numpy())
        return digest.hexdigest()

    @property
    def bridgeable(self) -> bool:
        """Whether TransformerLens supports this architecture."""
        from transformer_lens.factories.architecture_adapter_factory import (
            SUPPORTED_ARCHITECTURES,
        )

        return type(self.hf).__name__ in SUPPORTED_ARCHITECTURES

    @cached_property
    def bridge(self) -> "TransformerBridge":
        """A TransformerLens bridge on the same parameters, with its hook points, caches and lenses.

        It is a copy of the modules that shares every parameter, so that neither the names nor the
        attention kernel of `hf` change. For GPT-NeoX, BLOOM and Falcon the bridge copies query, key
        and value: after training `hf`, create a new `HookedModel` to bridge the new weights.
        """
        from transformer_lens.model_bridge.sources._bridge_builder import build_bridge_from_module

        clone = copy.deepcopy(self.hf, {id(p): p for p in self.hf.parameters()})
        # The bridge loads a second tokenizer by the name of this one, which must be a directory.
        name = self.tokenizer.name_or_path
        named = bool(name) and Path(name).is_dir()
        return build_bridge_from_module(
            clone,
            type(self.hf).__name__,
            hf_config=clone.config,
            tokenizer=self.tokenizer if named else None,
            model_name=self.source,
        )


def _plain(module: nn.Module) -> Any:
    """A copy of a bridged module tree without the bridge's wrappers, sharing every parameter."""
    wrapped = module._modules.get("_original_component")
    if wrapped is not None:
        return _plain(wrapped)
    plain = copy.copy(module)
    plain._modules = {
        name: None if child is None else _plain(child) for name, child in module._modules.items()
    }
    plain._forward_hooks, plain._forward_pre_hooks = OrderedDict(), OrderedDict()
    return plain


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
        answers: Called when the forward pass reaches the unembedding: hooks of earlier modules may
            add rows.
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
