"""The shared settings of regularizers on negative influence."""

from abc import abstractmethod
from dataclasses import dataclass
from typing import Literal

from jaxtyping import Float
from torch import Tensor
from torch.distributed.tensor import DTensor

from neuronscope.facts.fact import FactSet
from neuronscope.models.hooked_model import HookedModel
from neuronscope.models.sites import PAPER_SITES, SITES, check_sites
from neuronscope.models.targets import Target
from neuronscope.objectives import TrainingState
from neuronscope.regularizers._base import Memory, Regularizer
from neuronscope.regularizers._chosen import CHOSEN, Chosen
from neuronscope.regularizers._weights import START, copied

Order = Literal["exact", "finite-difference", "frozen-gradient"]

_TARGETS = {
    "prob": Target("prob"),
    "log-prob": Target("log_prob", "sum"),
    "log-odds": Target("log_odds"),
}


@dataclass(frozen=True)
class NegativeInfluence(Regularizer):
    """A penalty on changes of negative attributions: R = Σ 1[A_t < 0](A_t − A_a)²."""

    anchor: Literal["previous", "reference", "ema"] = "previous"
    """What to compare an attribution with: its value at the previous step, on the facts of that
    step (as in the paper; slow growth is hardly penalized); its value in the original model, on the
    same facts (one more pass per step, and a copy of the trained weights); or its exponential
    moving average over steps."""

    decay: float = 0.9
    """Weight of the old value in the moving average. 0 is the same as the anchor 'previous'."""

    one_sided: bool = False
    """Penalize only growth of negative influence, by relu(A_anchor - A)^2; the paper also penalizes
    its decrease."""

    target: Literal["prob", "log-prob", "log-odds"] = "prob"
    """What to attribute: the probability of the answer (as in the paper; the penalty decreases with
    its square while the model forgets), its log-probability summed over tokens, or the mean
    log-odds of its tokens."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.decay < 1:
            raise ValueError(f"Expected decay of 0 or more and below 1, got {self.decay}.")

    @property
    def explained(self) -> Target:
        """The target."""
        return _TARGETS[self.target]

    def start(self, training: TrainingState, facts: FactSet) -> Memory:
        del facts
        return dict(copied(training.model, START)) if self.anchor == "reference" else {}

    def next(
        self, before: Float[Tensor, "*axes"] | None, now: Float[Tensor, "*axes"]
    ) -> Float[Tensor, "*axes"]:
        """The next anchor: the attribution itself, or the updated moving average."""
        if before is None or self.anchor == "previous":
            return now
        return self.decay * before + (1 - self.decay) * now


@dataclass(frozen=True)
class NeuronInfluence(NegativeInfluence):
    """The penalty on negative influence with neurons as units."""

    order: Order = "exact"
    """How to differentiate the penalty. exact makes two backward passes through the same graph
    (slow attention kernel, most memory, not with sharded models). finite-difference makes two
    ordinary passes with neurons scaled up and down, and needs single precision, where it was within
    0.4 % of exact. frozen-gradient treats the gradient of the target as constant: cheap, but its
    cosine with the exact gradient was 0.6 at mlp.post and 0.2 at the paper's sites, and its norm 7
    to 27 times too small (SmolLM2-135M)."""

    sites: tuple[str, ...] = ("mlp.post",)
    """Sites of the neurons: mlp.post mlp.gate mlp.up mlp.down attn.q attn.k attn.v attn.o;
    or paper, for the seven sites of arXiv 2509.22263."""

    reduce: Literal["batch-sum", "per-item"] = "batch-sum"
    """Square the change of the attribution summed over the batch (the paper's Algorithm 1; facts
    may cancel), or the change of each fact separately (its Eq. 6; needs the anchor 'reference',
    since the previous step had different facts)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.reduce == "per-item" and self.anchor != "reference":
            raise ValueError(
                "reduce='per-item' compares each fact with itself, but the anchor "
                f"{self.anchor!r} is computed on different facts; use anchor='reference', or "
                "reduce='batch-sum'."
            )
        check_sites(self.places, SITES, "neuronscope")

    @property
    def places(self) -> tuple[str, ...]:
        """The sites, by name."""
        return PAPER_SITES if self.sites == ("paper",) else self.sites

    @abstractmethod
    def chosen(self, model: HookedModel) -> Chosen | None:
        """The penalized neurons; None for all.

        Raises:
            FileNotFoundError, ValueError: If the settings do not fit the model.
        """

    def check(self, model: HookedModel) -> None:
        _check_neurons(self, model)
        self.chosen(model)

    def start(self, training: TrainingState, facts: FactSet) -> Memory:
        # Checked again, because sharding happens after loading.
        _check_neurons(self, training.model)
        chosen, device = self.chosen(training.model) or {}, training.model.device
        return super().start(training, facts) | {
            CHOSEN + site: mask.to(device) for site, mask in chosen.items()
        }


def _check_neurons(rule: NeuronInfluence, model: HookedModel) -> None:
    """Raise if the penalty cannot be computed for this model.

    Raises:
        ValueError: If the model lacks a site, if its attention kernel cannot be differentiated
            twice, or if it is sharded and the order makes two backward passes through one graph.
    """
    check_sites(rule.places, model.sites, type(model.hf).__name__)
    if rule.order == "finite-difference":
        return
    # FSDP2 frees a layer's weights after one backward pass and does not gather them for a second.
    if any(isinstance(parameter, DTensor) for parameter in model.hf.parameters()):
        raise ValueError(
            f"order={rule.order!r} makes two backward passes through one graph, which sharded "
            "models do not support; use order='finite-difference'."
        )
    kernel = model.hf.config._attn_implementation
    if rule.order == "exact" and kernel not in ("sdpa", "eager"):
        raise ValueError(
            f"order='exact' differentiates twice, which the attention kernel {kernel!r} does not "
            "support; load the model with sdpa or eager, or use order='finite-difference'."
        )
