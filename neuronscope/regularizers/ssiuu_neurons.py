"""SSIUU on neurons: the penalty of arXiv 2509.22263 with its true gradient.

R is that of `ssiuu`, with neurons at some sites instead of scalar parameters as units. The
attribution of neuron i with activations h_ik at positions k is A_i = Σ_k h_ik · ∂F/∂h_ik (Eq. 1,
summed over positions), and ∇R = Σ_i v_i ∇A_i with v = 2 · 1[A_t < 0] · (A_t − A_anchor), without
omitting any term.
"""

from dataclasses import dataclass
from pathlib import Path

from neuronscope.models.hooked_model import HookedModel
from neuronscope.objectives import Step
from neuronscope.regularizers._base import Memory, Penalty
from neuronscope.regularizers._chosen import Chosen, spurious_neurons
from neuronscope.regularizers._neuron import neuron_penalty
from neuronscope.regularizers._settings import NeuronInfluence


@dataclass(frozen=True)
class SSIUUNeurons(NeuronInfluence):
    """Penalize changes in negative influence of neurons, so that knowledge is erased."""

    strength: float = 1e-3
    """The factor λ of the penalty. No good value is known; set `relative` instead."""

    scores: Path | None = None
    """An earlier diagnosis (its folder, or its neurons.parquet). Penalize only the neurons that it
    calls spurious; by default, all neurons."""

    def chosen(self, model: HookedModel) -> Chosen | None:
        return None if self.scores is None else spurious_neurons(self.scores, model, self.places)

    def __call__(self, step: Step, memory: Memory) -> tuple[Penalty, Memory]:
        return neuron_penalty(self, step, memory)
