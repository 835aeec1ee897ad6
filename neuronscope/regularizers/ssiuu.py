"""SSIUU: suppress spurious unlearning neurons. arXiv 2509.22263, Eq. 3, 6-14 and Algorithm 1.

At each step t, with F the probability of the answer and the sum over the step's forget facts:

    A_t = Σ φ ⊙ ∂F/∂φ                       attribution of every unit
    I⁻  = { i : A_t,i < 0 }                  units with negative influence on the answers
    R   = Σ_{i ∈ I⁻} (A_{t−1,i} − A_t,i)²    0 at the first step; A_{t−1} is constant

and λ∇R is added to the gradient of the objective. The units of the paper's R are scalar parameters,
and ∂F/∂φ is treated as constant (Eq. 13). With v = 2 · 1[A_t < 0] · (A_t − A_{t−1}), this keeps the
first of the two terms of

    ∇R = v ⊙ ∂F/∂φ + H (v ⊙ φ)              H the Hessian of F

The first term is by far the smaller one: on SmolLM2-135M its norm was 0.3 to 1.3 % of that of ∇R,
and its cosine with ∇R was -0.2 (probability) or 0.2 (log-probability). With the probability, a
descent step along it therefore increased R. `ssiuu_neurons` uses the true gradient of R.

R is retrospective: A_t and A_{t−1} are both known before the step. Hence ∇R reverses the effect of
the last update, and slow growth is hardly penalized: growth by G in T equal steps costs G²/T.
"""

from dataclasses import dataclass

from neuronscope.objectives import Step
from neuronscope.regularizers._base import Memory, Penalty
from neuronscope.regularizers._parameter import parameter_penalty
from neuronscope.regularizers._settings import NegativeInfluence


@dataclass(frozen=True)
class SSIUU(NegativeInfluence):
    """Penalize changes in negative influence of parameters, so that knowledge is erased.

    As in the paper, the gradient of the penalty omits the curvature of the target. On SmolLM2-135M
    this omits 99 % of the gradient, so that the penalty may fail to decrease; `ssiuu_neurons` uses
    the true gradient.
    """

    strength: float = 1e-3
    """The factor λ of the penalty. The default is the paper's value for FaithUn (1e-4 for TOFU)
    with `target` prob and `anchor` previous; the penalty grows with the square of the batch size.
    For other settings no good value is known; set `relative` instead."""

    @property
    def wants_log_prob_gradient(self) -> bool:
        return self.target == "log-prob"

    def __call__(self, step: Step, memory: Memory) -> tuple[Penalty, Memory]:
        return parameter_penalty(self, step, memory)
