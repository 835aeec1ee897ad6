"""Trackers receive the rows of the history; unavailable trackers are rejected."""

import pytest
from accelerate.tracking import GeneralTracker, register_tracker_class
from tiny import FORGET, tiny

from neuronscope.facts.fact import FactSet
from neuronscope.objectives.gradient_ascent import GradientAscent
from neuronscope.training import TrainingConfig, unlearn

FACTS = FactSet(forget=tuple(FORGET))
LOGGED = []


class Notebook(GeneralTracker):
    """Stores what it receives."""

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
        LOGGED.append((self.run_name, step, values))


def test_every_step_is_logged_as_in_the_history(tmp_path):
    register_tracker_class(Notebook)
    config = TrainingConfig(steps=3, tracker="notebook", evaluate_every=2)
    run = unlearn(tiny("llama"), GradientAscent(), FACTS, config=config, out=tmp_path / "run")
    assert [(name, step) for name, step, _ in LOGGED] == [("run", step) for step in range(4)]
    for _, step, values in LOGGED:
        row = run.history.set_index("step").loc[step].dropna()
        assert {name: values[name] for name in row.index} == row.to_dict()


@pytest.mark.parametrize(
    ("name", "message"),
    [("carrier_pigeon", "'carrier_pigeon'"), ("swanlab", "'swanlab' is not installed")],
)
def test_an_unavailable_tracker_is_refused(name, message):
    with pytest.raises(ValueError, match=message):
        unlearn(tiny("llama"), GradientAscent(), FACTS, config=TrainingConfig(tracker=name))
