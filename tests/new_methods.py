"""Run on a copy of the package in which every family has one more file.

Prints, by family, how the file can be used, as JSON; `test_families.py` writes the files and runs
this script.
"""

import contextlib
import io
import json
import sys
from importlib import import_module
from pathlib import Path

import tyro
from method_families import FAMILIES

from neuronscope import cli
from neuronscope._discover import method_class, method_names
from neuronscope.cli.command import task_of
from neuronscope.facts.formats._base import FactFormat
from neuronscope.facts.loading import load_facts
from neuronscope.study.loading import from_folder, study_of
from neuronscope.tasks.methods import made, several

NAME, FLAG = "written_by_a_test", "written-by-a-test"
BASES = FAMILIES | {"facts/formats": FactFormat}
FILES = ("--facts", "facts.jsonl", "--out", "out")
LINES = {
    "attribution": ("record", "m", "--attribution", FLAG, "--knob", "9"),
    "evidence": (
        "diagnose", "--before", "m", "--after", "m", "--views", FLAG, f"--{FLAG}.knob", "9",
    ),
    "objectives": ("unlearn", "m", FLAG, "--knob", "9"),
    "regularizers": ("unlearn", "m", "npo", "--regularizer", FLAG, "--knob", "9"),
    "stopping": ("unlearn", "m", "npo", "--stop", FLAG, "--knob", "9"),
    "attacks": ("attack", "m", FLAG, "--knob", "9"),
    "metrics": ("score", "m", "--metrics", FLAG, f"--{FLAG}.knob", "9"),
}  # fmt: skip
FIELDS = {
    "attribution": "attribution", "evidence": "views", "objectives": "objective",
    "regularizers": "regularizer", "stopping": "stop", "attacks": "attack", "metrics": "metrics",
}  # fmt: skip


def from_command_line(family):
    arguments = [*LINES[family], *FILES]
    command = tyro.extras.subcommand_cli_from_dict(
        cli.commands_for(arguments), args=arguments, config=(tyro.conf.OmitArgPrefixes,)
    )
    choice = vars(task_of(command.command, vars(command)))[FIELDS[family]]
    if family in ("evidence", "metrics"):
        (method,) = several(family, choice, BASES[family], None)
        return method.knob
    return made(family, choice, BASES[family], None).knob


def from_study(family, folder):
    settings = {"name": FLAG, "knob": 9, "file": "own.json"}
    method = {"name": "one", "objective": "npo"}
    plain = {"model": "m", "facts": "facts.jsonl", "methods": [method]}
    if family in ("objectives", "regularizers", "stopping"):
        method[FIELDS[family]] = settings
    elif family in ("attribution", "evidence"):
        given = settings if family == "attribution" else [settings]
        plain["diagnosing"] = {FIELDS[family]: given}
    else:
        plain[family] = [settings]
    study = from_folder(study_of(plain), folder)
    if family in ("objectives", "regularizers", "stopping"):
        return vars(study.methods[0].made(0))[FIELDS[family]]
    if family in ("attribution", "evidence"):
        (method,) = several(family, vars(study.diagnosing)[FIELDS[family]], BASES[family], None)
        return method
    return (study.attack if family == "attacks" else study.metric)(vars(study)[family][0])


def listed(family):
    said = io.StringIO()
    sys.argv = ["neuronscope", "list", family]
    with contextlib.redirect_stdout(said):
        cli.main()
    return NAME in said.getvalue()


def found_in(family):
    found = {"named": NAME in method_names(family), "listed": listed(family)}
    if family in BASES:
        found["class"] = method_class(family, NAME, BASES[family]).__name__
    else:
        found["class"] = import_module(f"neuronscope.{family}.{NAME}").__name__
    if family in LINES:
        method = from_study(family, Path("there"))
        found |= {"command line": from_command_line(family), "study": method.knob}
        found["file"] = str(method.file)
    return found


def main(file):
    families = (*BASES, "plots")
    found = {family: found_in(family) for family in families}
    found["facts/formats"]["read"] = [fact.id for fact in load_facts(file).forget]
    sys.stdout.write(json.dumps(found))


if __name__ == "__main__":
    main(sys.argv[1])
