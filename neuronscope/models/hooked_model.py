"""A language model whose neurons can be read and changed."""

import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import torch
from torch import nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from neuronscope.display import html_card, html_table, shortened
from neuronscope.models import bridging
from neuronscope.models.hook_points import HookPoint, decoder_layers, place_hook_points
from neuronscope.models.moe import ExpertNeurons
from neuronscope.models.sites import SITES, check_sites

if TYPE_CHECKING:
    from neuronscope.models.bridging import TransformerBridge


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
        hf = bridging.model_inside(bridge)
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
        return bridging.supported(self.hf)

    @cached_property
    def bridge(self) -> "TransformerBridge":
        """A TransformerLens bridge on the same parameters, with its hook points, caches and lenses.

        It is a copy of the modules that shares every parameter, so that neither the names nor the
        attention kernel of `hf` change. For GPT-NeoX, BLOOM and Falcon the bridge copies query, key
        and value: after training `hf`, create a new `HookedModel` to bridge the new weights.
        """
        return bridging.bridge(self.hf, self.tokenizer, self.source)
