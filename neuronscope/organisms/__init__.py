"""Model organisms: pairs of small models with known hidden and erased facts."""

from neuronscope.organisms.organism import (
    Organism,
    collapsed,
    erased,
    hidden,
    mixed,
    organism_grid,
    untouched,
)
from neuronscope.organisms.planting import plant
from neuronscope.organisms.training import OrganismTraining

__all__ = [
    "Organism",
    "OrganismTraining",
    "collapsed",
    "erased",
    "hidden",
    "mixed",
    "organism_grid",
    "plant",
    "untouched",
]
