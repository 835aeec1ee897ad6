"""Random neurons: SSIUU's penalty on neurons that are drawn at random.

A control for `ssiuu_neurons` with `scores`: does it matter *which* neurons are penalized, or only
how many? Neurons are drawn once. With `scores`, as many are drawn per layer as the diagnosis calls
spurious, preferably others; without, they are spread evenly over the layers.
"""

from dataclasses import dataclass
from pathlib import Path

from neuronscope.models.hooked_model import HookedModel
from neuronscope.objectives import Step
from neuronscope.regularizers._base import Memory, Penalty
from neuronscope.regularizers._chosen import Chosen, drawn, spread_evenly, spurious_neurons
from neuronscope.regularizers._neuron import neuron_penalty
from neuronscope.regularizers._settings import NeuronInfluence


@dataclass(frozen=True)
class RandomNeurons(NeuronInfluence):
    """SSIUU's penalty on random neurons. A control: does it matter which neurons are penalized?"""

    count: int = 100
    """Number of neurons, distributed evenly over layers and sites. Ignored with scores."""

    scores: Path | None = None
    """An earlier diagnosis (its folder, or its neurons.parquet). Draw as many neurons per layer as
    it calls spurious, avoiding these as long as the layer has others."""

    seed: int = 0
    """Seed for drawing the neurons."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.count < 1:
            raise ValueError(f"Expected count of 1 or more, got {self.count}.")

    def chosen(self, model: HookedModel) -> Chosen:
        if self.scores is None:
            return drawn(spread_evenly(self.count, model, self.places), model, None, self.seed)
        spurious = spurious_neurons(self.scores, model, self.places)
        counts = {site: mask.sum(dim=1).tolist() for site, mask in spurious.items()}
        return drawn(counts, model, spurious, self.seed)

    def __call__(self, step: Step, memory: Memory) -> tuple[Penalty, Memory]:
        return neuron_penalty(self, step, memory)
