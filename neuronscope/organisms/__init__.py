"""Small models with a planted answer to "erased or hidden?"."""

from neuronscope.organisms.nursery import Nursery
from neuronscope.organisms.organism import (
    Organism,
    collapsed,
    erased,
    hidden,
    litter,
    mixed,
    untouched,
)
from neuronscope.organisms.planting import plant

__all__ = [
    "Nursery",
    "Organism",
    "collapsed",
    "erased",
    "hidden",
    "litter",
    "mixed",
    "plant",
    "untouched",
]
