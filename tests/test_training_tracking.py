"""A tracker is told what the history says; one that is not there is refused."""

import pytest
from accelerate.tracking import GeneralTracker, register_tracker_class
from tiny import FORGET, tiny

from neuronscope.facts.fact import FactSet
from neuronscope.objectives.gradient_ascent import GradientAscent
from neuronscope.training import TrainingConfig, unlearn

FACTS = FactSet(forget=tuple(FORGET))
TOLD = []


class Notebook(GeneralTracker):
    """Remembers what it is told."""

    name = "notebook"
    requires_logging_directory = False

    def __init__(self, run_name, **settings):
        super().__init__()
        self.run_name = run_name

    @property
    def tracker(self):
        return None

    def store_init_configuration(self, values):
        pass

    def log(self, values, step=None, **settings):
        TOLD.append((self.run_name, step, values))


def test_every_step_is_told_as_the_history_has_it(tmp_path):
    register_tracker_class(Notebook)
    config = TrainingConfig(steps=3, tracker="notebook", evaluate_every=2)
    run = unlearn(tiny("llama"), GradientAscent(), FACTS, config=config, out=tmp_path / "run")
    assert [(name, step) for name, step, _ in TOLD] == [("run", step) for step in range(4)]
    for _, step, values in TOLD:
        row = run.history.set_index("step").loc[step].dropna()
        assert {name: values[name] for name in row.index} == row.to_dict()


@pytest.mark.parametrize(
    ("name", "message"),
    [("carrier_pigeon", "no tracker 'carrier_pigeon'"), ("swanlab", "'swanlab' is not installed")],
)
def test_a_tracker_that_is_not_there_is_refused(name, message):
    with pytest.raises(ValueError, match=message):
        unlearn(tiny("llama"), GradientAscent(), FACTS, config=TrainingConfig(tracker=name))
