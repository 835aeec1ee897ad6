"""SSIUU: suppress spurious unlearning neurons. arXiv 2509.22263, Eq. 3, 6-14 and Algorithm 1.

At each step t, with F the answer's probability and the sum over the step's forget facts:

    A_t = Σ φ ⊙ ∂F/∂φ                       attribution of every unit
    I⁻  = { i : A_t,i < 0 }                  units that push against the answers
    R   = Σ_{i ∈ I⁻} (A_{t−1,i} − A_t,i)²    0 at the first step; A_{t−1} is a constant

and λ∇R joins the objective's gradient. The paper's R is that of scalar parameters, with ∂F/∂φ taken
as constant (Eq. 13). With v = 2 · 1[A_t < 0] · (A_t − A_{t−1}) that keeps one of two terms,

    ∇R = v ⊙ ∂F/∂φ + H (v ⊙ φ)              H the Hessian of F

and by far the smaller: on SmolLM2-135M it was 0.3 to 1.3 % as long as the whole, at a cosine of
-0.2 (probability) or 0.2 (log-probability), so that with the probability it raised R instead of
lowering it. The unit `neuron` has R's true gradient.

R looks back: both A_t and A_{t−1} are known before the step, so that ∇R undoes what the last update
did, and slow growth is nearly free: G in T equal steps costs G²/T.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from neuronscope.facts.fact import FactSet
from neuronscope.models.hooked_model import HookedModel
from neuronscope.objectives import Step, TrainingState
from neuronscope.regularizers._base import Penalty, State
from neuronscope.regularizers._chosen import spurious_neurons
from neuronscope.regularizers._neuron import CHOSEN, neuron_penalty
from neuronscope.regularizers._parameter import parameter_penalty
from neuronscope.regularizers._settings import NegativeInfluence, check_neurons


@dataclass(frozen=True)
class SSIUU(NegativeInfluence):
    """A price on negative influence that changes, so that knowledge is erased and not hidden."""

    strength: float = 1e-3
    """λ. The default is the paper's on FaithUn (1e-4 on TOFU), for parameters, the probability and
    the previous step; with batch-sum it grows with the square of the batch. For anything else none
    is known: set --relative instead."""

    unit: Literal["parameter", "neuron"] = "parameter"
    """What has an attribution: each scalar parameter (the paper's; its gradient leaves out the
    target's curvature, which was 99 % of it on SmolLM2-135M, so that it need not lower the
    penalty), or each neuron at the sites."""

    scores: Path | None = None
    """Neurons only: an earlier diagnosis (its folder, or its neurons.parquet). Only the neurons
    that it calls spurious are charged."""

    def __post_init__(self) -> None:
        super().__post_init__()
        plain = {"order": "exact", "sites": ("mlp.post",), "reduce": "batch-sum", "scores": None}
        for name, value in plain.items() if self.unit == "parameter" else ():
            if vars(self)[name] != value:
                raise ValueError(f"--{name} is of neurons: use it with --unit neuron.")

    @property
    def wants_log_prob_gradient(self) -> bool:
        return self.unit == "parameter" and self.target == "log-prob"

    def check(self, model: HookedModel) -> None:
        if self.unit == "parameter":
            return
        check_neurons(self, model)
        if self.scores is not None:
            spurious_neurons(self.scores, model, self.places)

    def start(self, training: TrainingState, facts: FactSet) -> State:
        if self.unit == "neuron":
            # Again: sharding comes after loading.
            check_neurons(self, training.model)
        state = super().start(training, facts)
        if self.scores is None:
            return state
        chosen = spurious_neurons(self.scores, training.model, self.places)
        device = training.model.device
        return state | {CHOSEN + site: mask.to(device) for site, mask in chosen.items()}

    def __call__(self, step: Step, state: State) -> tuple[Penalty, State]:
        penalty = parameter_penalty if self.unit == "parameter" else neuron_penalty
        return penalty(self, step, state)
