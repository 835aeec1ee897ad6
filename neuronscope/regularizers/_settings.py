"""What regularizers on negative influence have in common."""

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
    """A price on the change of attributions that are below zero: R = Σ 1[A_t < 0](A_t − A_a)²."""

    anchor: Literal["previous", "reference", "ema"] = "previous"
    """What an attribution is held against: its value at the previous step, on that step's facts
    (the paper's; slow growth costs almost nothing); its value in the model before, on the same
    facts (one pass more at each step, and a copy of the trained weights); or an exponential moving
    average over steps."""

    decay: float = 0.9
    """Of the moving average: the share that a step keeps of it. 0 is the anchor 'previous'."""

    one_sided: bool = False
    """Charge only negative influence that grew, by relu(A_anchor - A)^2; the paper also charges
    what shrank."""

    target: Literal["prob", "log-prob", "log-odds"] = "prob"
    """What is attributed: the answer's probability (the paper's; the penalty fades as its square
    while the model forgets), its log-probability summed over tokens, or the log-odds of its tokens
    averaged."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.decay < 1:
            raise ValueError(f"Expected a decay of 0 or more and below 1, got {self.decay}.")

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
        """The next anchor: the attribution itself, or the moving average with it."""
        if before is None or self.anchor == "previous":
            return now
        return self.decay * before + (1 - self.decay) * now


@dataclass(frozen=True)
class NeuronInfluence(NegativeInfluence):
    """The same price, where the attributions are those of neurons."""

    order: Order = "exact"
    """How the penalty is differentiated. exact passes backward twice through one
    graph (slow attention kernel, most memory, not with sharded models). finite-difference takes
    two ordinary passes with neurons scaled up and down, and wants single precision, where it was
    within 0.4 % of exact. frozen-gradient takes the target's gradient as constant: cheap, but its
    cosine with the exact one was 0.6 at mlp.post and 0.2 at the paper's sites, and it was 7 to 27
    times too short (SmolLM2-135M)."""

    sites: tuple[str, ...] = ("mlp.post",)
    """Where the neurons are: mlp.post mlp.gate mlp.up mlp.down attn.q attn.k attn.v attn.o;
    or paper, for the seven of arXiv 2509.22263."""

    reduce: Literal["batch-sum", "per-item"] = "batch-sum"
    """Square the change of an attribution that is summed over the batch (the paper's
    Algorithm 1; facts may cancel), or each fact's own change (its Eq. 6; needs the anchor
    'reference', since the previous step had other facts)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.reduce == "per-item" and self.anchor != "reference":
            raise ValueError(
                f"per-item compares each fact with itself, and the anchor {self.anchor!r} has seen "
                "other facts: use anchor='reference', or reduce='batch-sum'."
            )
        check_sites(self.places, SITES, "neuronscope")

    @property
    def places(self) -> tuple[str, ...]:
        """The sites, by name."""
        return PAPER_SITES if self.sites == ("paper",) else self.sites

    @abstractmethod
    def chosen(self, model: HookedModel) -> Chosen | None:
        """The neurons that are charged; None if all are.

        Raises:
            FileNotFoundError, ValueError: If the settings do not suit the model.
        """

    def check(self, model: HookedModel) -> None:
        _check_neurons(self, model)
        self.chosen(model)

    def start(self, training: TrainingState, facts: FactSet) -> Memory:
        # Again: sharding comes after loading.
        _check_neurons(self, training.model)
        chosen, device = self.chosen(training.model) or {}, training.model.device
        return super().start(training, facts) | {
            CHOSEN + site: mask.to(device) for site, mask in chosen.items()
        }


def _check_neurons(rule: NeuronInfluence, model: HookedModel) -> None:
    """Refuse a model whose neurons the penalty cannot be had of.

    Raises:
        ValueError: If it lacks a site, its attention kernel's gradient has no gradient, or it is
            sharded and the order passes backward twice through one graph.
    """
    check_sites(rule.places, model.sites, type(model.hf).__name__)
    if rule.order == "finite-difference":
        return
    # FSDP2 frees a layer's weights after one backward pass, and does not gather them for another.
    if any(isinstance(parameter, DTensor) for parameter in model.hf.parameters()):
        raise ValueError(
            f"The order {rule.order!r} passes backward twice through one graph, which a sharded "
            "model cannot: use order='finite-difference'."
        )
    kernel = model.hf.config._attn_implementation
    if rule.order == "exact" and kernel not in ("sdpa", "eager"):
        raise ValueError(
            f"The order 'exact' passes backward twice, which the attention kernel {kernel!r} "
            "cannot: load the model with sdpa or eager, or use order='finite-difference'."
        )
