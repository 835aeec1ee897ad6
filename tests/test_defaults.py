"""Python, the command line and studies have the same defaults."""

from dataclasses import MISSING, Field, fields
from pathlib import Path

import pytest
import tyro
from method_families import FAMILIES, METHODS

from neuronscope._discover import method_class
from neuronscope.cli import TASKS, commands_for
from neuronscope.cli.command import task_of
from neuronscope.cli.settings import settings_in
from neuronscope.study.config import Diagnosing, Method
from neuronscope.tasks.diagnose import VIEWS, Diagnose
from neuronscope.tasks.methods import made, several
from neuronscope.tasks.record import Record
from neuronscope.tasks.unlearn import Unlearn
from neuronscope.training import TrainingConfig

GIVEN = {
    "diagnose": ("--before", "b", "--after", "a", "--facts", "f", "--out", "o"),
    "record": ("m", "--facts", "f", "--out", "o"),
    "unlearn": ("m", "npo", "--facts", "f", "--out", "o"),
    "finetune": ("m", "--facts", "f", "--out", "o"),
    "score": ("m", "--facts", "f", "--out", "o"),
    "attack": ("m", "noise", "--facts", "f", "--out", "o"),
    "convert": ("m", "o"),
}


def task_from(command, *more):
    """The task described by a command line."""
    arguments = [command, *GIVEN[command], *more]
    parsed = tyro.extras.subcommand_cli_from_dict(
        commands_for(arguments), args=arguments, config=(tyro.conf.OmitArgPrefixes,)
    )
    return task_of(parsed.command, vars(parsed))


@pytest.mark.parametrize(("family", "name"), METHODS)
def test_a_method_has_the_same_defaults_everywhere(family, name):
    kind = method_class(family, name, FAMILIES[family])
    in_python = {f.name: f.default for f in fields(kind) if f.default is not MISSING}
    as_flags = {s.name: s.default for s in settings_in(f"{family}/{name}")}
    assert as_flags == in_python
    if all(f.default is not MISSING for f in fields(kind)):
        assert made(family, name.replace("_", "-"), FAMILIES[family], None) == kind()


@pytest.mark.parametrize("command", TASKS)
def test_a_tasks_defaults_are_the_same_on_the_command_line(command):
    task = task_from(command)
    for item in fields(task):
        default = item.default if item.default_factory is MISSING else item.default_factory()
        if default is not MISSING:
            value = vars(task)[item.name]
            # The command line gives several methods as a list.
            assert value in (default, [default]), item.name


@pytest.mark.parametrize("command", ["unlearn", "finetune"])
def test_training_settings_have_one_default(command):
    flags = {setting.name: setting.default for setting in settings_in("training/config")}
    assert not any(isinstance(value, Field) for value in flags.values())
    assert flags == {item.name: item.default for item in fields(TrainingConfig)}
    assert task_from(command).training is None
    assert task_from(command, "--steps", "7").training == {"steps": 7}


def test_studies_have_the_defaults_of_their_tasks():
    record = Diagnosing().recording("m", Path("f"), "completion")
    alone = Record("m", Path("f"), split="all")
    for name in ("per_fact", "target", "reduction", "sites", "memory"):
        assert vars(record)[name] == vars(alone)[name]
    attribution = FAMILIES["attribution"]
    assert made("attribution", record.attribution, attribution, None) == made(
        "attribution", Diagnose("b", "a", "f").attribution, attribution, None
    )
    assert Method("x", "npo").stop == Unlearn("m", "f", "npo").stop
    assert Method("x", "npo").regularizer == Unlearn("m", "f", "npo").regularizer
    # Studies compute only the view that the verdict rests on.
    views = several(VIEWS.family, Diagnosing().views, FAMILIES["evidence"], None)
    assert [type(view).__name__ for view in views] == ["RelearningProbe"]
