"""Flags read from a method's file agree with its imported class."""

import subprocess
import sys
import typing
from dataclasses import fields

import pytest
from method_families import FAMILIES, METHODS

from neuronscope._discover import method_class, method_names
from neuronscope.cli import TASKS, commands_for
from neuronscope.cli.settings import settings_in, summary, title_of
from neuronscope.cli.wording import in_flags
from neuronscope.models.hooked_model import HookedModel


@pytest.mark.parametrize(("family", "name"), METHODS)
def test_flags_are_the_fields_of_the_class(family, name):
    module = f"{family}/{name}"
    real = method_class(family, name, FAMILIES[family])
    called, text = title_of(module)
    assert called == real.__name__ and text.split() == real.__doc__.split()
    assert [(s.name, s.default) for s in settings_in(module)] == [
        (f.name, f.default) for f in fields(real)
    ]
    assert {s.name: s.kind for s in settings_in(module)} == {
        name: object | None if kind == HookedModel | None else kind
        for name, kind in typing.get_type_hints(real).items()
        if typing.get_origin(kind) is not typing.ClassVar
    }


@pytest.mark.parametrize("module", [f"{f}/{n}" for f, n in METHODS] + ["training/config"])
def test_every_flag_is_explained(module):
    for setting in settings_in(module):
        assert len(setting.text) > 10, setting.name
    assert summary(module).endswith(".") or summary(module).endswith("?")


@pytest.mark.parametrize("command", TASKS)
def test_every_field_of_a_task_is_explained(command):
    settings = settings_in(TASKS[command].module)
    assert {setting.name for setting in settings if len(setting.text) < 10} <= {"loading"}


@pytest.mark.parametrize("command", TASKS)
def test_the_help_states_every_default(run, command, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    code, said, _ = run(command, "--help")
    assert code == 0 and "None" not in said and "INT" not in said and "STR" not in said


def test_no_two_methods_of_a_command_line_share_a_flag():
    """A flag whose name is taken gets the method's name as a prefix."""
    arguments = ["unlearn", "m", "klue", "--regularizer", "ewc", "--stop", "rouge-mismatched"]
    parts = fields(commands_for(arguments)["unlearn"])
    assert {"klue", "ewc", "rouge_mismatched", "training", "loading"} <= {p.name for p in parts}
    found = [f.name for p in parts if p.name != p.name.lower() for f in fields(p.type)]
    assert len(found) == len(set(found)) and "seed" not in found


ERRORS = {
    "Expected `max_steps` of `steps` or more, got steps=4, max_steps=2.":
        "Expected --max-steps of --steps or more, got --steps=4, --max-steps=2.",
    "Expected memory of more than 0 GiB.": "Expected --memory of more than 0 GiB.",
    "The `order` of steps is not that.": "The --order of steps is not that.",
    "a/max_steps.json has steps.": "a/max_steps.json has steps.",
}  # fmt: skip


@pytest.mark.parametrize("text", ERRORS)
def test_errors_name_flags_and_leave_other_words_unchanged(text):
    names = ("steps", "max_steps", "memory", "order")
    assert in_flags(text, {n: f"--{n.replace('_', '-')}" for n in names}) == ERRORS[text]


MODEL_CALLED_NOISE = {
    ("attack", "noise", "quantize", "--facts", "f"): "quantize",
    ("attack", "--facts", "f", "noise", "quantize"): "quantize",
    ("attack", "noise", "quantize", "--out", "noise"): "quantize",
    ("attack", "model", "--allow-pickle", "relearn-forget"): "relearn_forget",
    ("attack", "model"): None,
}


@pytest.mark.parametrize("arguments", MODEL_CALLED_NOISE)
def test_flags_are_those_of_the_attack_and_not_of_a_model_with_its_name(arguments):
    parts = {item.name for item in fields(commands_for(arguments)["attack"])}
    assert parts & set(method_names("attacks")) == {MODEL_CALLED_NOISE[arguments]} - {None}


def test_reading_flags_imports_no_torch():
    code = (
        "import sys; from neuronscope.cli.settings import settings_in; "
        "settings_in('objectives/npo'); "
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
    imported = code.replace("settings_in('objectives/npo')", "import neuronscope.objectives.npo")
    assert subprocess.run([sys.executable, "-c", imported], check=False).returncode == 1
