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
lowering it. `ssiuu_neurons` has R's true gradient.

R looks back: both A_t and A_{t−1} are known before the step, so that ∇R undoes what the last update
did, and slow growth is nearly free: G in T equal steps costs G²/T.
"""

from dataclasses import dataclass

from neuronscope.objectives import Step
from neuronscope.regularizers._base import Memory, Penalty
from neuronscope.regularizers._parameter import parameter_penalty
from neuronscope.regularizers._settings import NegativeInfluence


@dataclass(frozen=True)
class SSIUU(NegativeInfluence):
    """A price on negative influence of parameters that changes, so that knowledge is erased.

    The penalty's gradient leaves out the target's curvature, as the paper's does. That was 99 % of
    it on SmolLM2-135M, so that the penalty need not fall: `ssiuu_neurons` has the true gradient.
    """

    strength: float = 1e-3
    """λ. The default is the paper's on FaithUn (1e-4 on TOFU), for the probability and the
    previous step; it grows with the square of the batch. For anything else none is known: set
    relative instead."""

    @property
    def wants_log_prob_gradient(self) -> bool:
        return self.target == "log-prob"

    def __call__(self, step: Step, memory: Memory) -> tuple[Penalty, Memory]:
        return parameter_penalty(self, step, memory)
