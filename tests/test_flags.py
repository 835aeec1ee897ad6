"""Flags are read from a method's file; they are what its class says when it is imported."""

import subprocess
import sys
import typing
from dataclasses import fields

import pytest
from tyro.conf import arg

from neuronscope._discover import method_class, method_names
from neuronscope.attacks._base import Attack
from neuronscope.cli.attacking import Attack as AttackCommand
from neuronscope.cli.attacking import attack_for
from neuronscope.cli.flags import flags_of, summary
from neuronscope.cli.training import Unlearn
from neuronscope.objectives._base import Objective
from neuronscope.regularizers._base import Regularizer
from neuronscope.stopping._base import StopRule
from neuronscope.tasks.options import ModelOptions

UNLEARNING = {"objectives": Objective, "regularizers": Regularizer, "stopping": StopRule}
FAMILIES = UNLEARNING | {"attacks": Attack}
METHODS = [(family, name) for family in FAMILIES for name in method_names(family)]
SHARED = {"seed"}


def names(family, method):
    return {item.name for item in fields(flags_of(f"{family}/{method}"))}


@pytest.mark.parametrize(("family", "name"), METHODS)
def test_flags_are_the_fields_of_the_class(family, name):
    flags = flags_of(f"{family}/{name}")
    real = method_class(family, name, FAMILIES[family])
    assert flags.__name__ == real.__name__ and flags.__doc__.split() == real.__doc__.split()
    assert [(f.name, f.default) for f in fields(flags)] == [
        (f.name, f.default) for f in fields(real)
    ]
    assert typing.get_type_hints(flags) == {
        name: kind
        for name, kind in typing.get_type_hints(real).items()
        if typing.get_origin(kind) is not typing.ClassVar
    }


@pytest.mark.parametrize(("family", "name"), METHODS)
def test_every_flag_is_explained(family, name):
    hints = typing.get_type_hints(flags_of(f"{family}/{name}"), include_extras=True)
    for setting, kind in hints.items():
        (told,) = kind.__metadata__
        assert isinstance(told, type(arg())) and len(told.help) > 10, setting
    assert summary(f"{family}/{name}").endswith(".")


def test_no_two_families_share_a_flag():
    """A command line has them side by side, beside those of every run."""
    own = {item.name for kind in (Unlearn, ModelOptions) for item in fields(kind)}
    own |= {item.name for item in fields(flags_of("training/config"))}
    assert "facts" in own and "steps" in own
    together = [method for method in METHODS if method[0] in UNLEARNING]
    for first, one in together:
        assert names(first, one) & own <= SHARED, one
        for second, other in together:
            if first < second:
                assert names(first, one) & names(second, other) <= SHARED, (one, other)


def test_no_attacks_flag_is_the_commands():
    own = {item.name for kind in (AttackCommand, ModelOptions) for item in fields(kind)}
    assert {"facts", "original", "dtype"} <= own
    for name in method_names("attacks"):
        assert names("attacks", name) and not names("attacks", name) & own, name


MODEL_CALLED_NOISE = {
    ("attack", "noise", "quantize", "--facts", "f"): "quantize",
    ("attack", "--facts", "f", "noise", "quantize"): "quantize",
    ("attack", "noise", "quantize", "--out", "noise"): "quantize",
    ("attack", "model", "--allow-pickle", "relearn-forget"): "relearn_forget",
    ("attack", "model"): None,
}


@pytest.mark.parametrize("arguments", MODEL_CALLED_NOISE)
def test_flags_are_those_of_the_attack_and_not_of_a_model_with_its_name(arguments):
    own = {item.name for item in fields(AttackCommand)}
    found = {item.name for item in fields(attack_for(("neuronscope", *arguments)))} - own
    assert found == {MODEL_CALLED_NOISE[arguments]} - {None}


def test_reading_flags_imports_no_torch():
    code = (
        "import sys; from neuronscope.cli.flags import flags_of; flags_of('objectives/npo'); "
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
    imported = code.replace("flags_of('objectives/npo')", "import neuronscope.objectives.npo")
    assert subprocess.run([sys.executable, "-c", imported], check=False).returncode == 1
