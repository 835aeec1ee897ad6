"""Adding a file to a family adds a method; nothing else has to change.

The files are written into a copy of the package, so that they do not affect other tests.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import new_methods
import pytest

import neuronscope

HEAD = '"""A method that a test wrote."""\n\nfrom dataclasses import dataclass\n\n'
METHOD = """from pathlib import Path

from neuronscope.{module} import {name}


@dataclass(frozen=True)
class WrittenByATest({name}):
    \"\"\"A method that a test wrote.\"\"\"

    knob: int = 7
    \"\"\"A setting that no other method has.\"\"\"

    file: Path | None = None
    \"\"\"A file that no other method reads.\"\"\"
"""
PARENTS = {
    "attribution": ("attribution.gradient_x_activation", "GradientXActivation"),
    "evidence": ("evidence.logit_lens", "LogitLens"),
    "objectives": ("objectives.gradient_difference", "GradientDifference"),
    "regularizers": ("regularizers.l2_to_reference", "L2ToReference"),
    "stopping": ("stopping.log_odds", "LogOdds"),
    "attacks": ("attacks.noise", "Noise"),
    "metrics": ("metrics.answer_accuracy", "AnswerAccuracy"),
}
FORMAT = '''from typing import ClassVar

from neuronscope.facts.documents import Document
from neuronscope.facts.fact import Fact, Placed
from neuronscope.facts.formats._base import FactFormat, Reading


@dataclass(frozen=True)
class WrittenByATest(FactFormat):
    """Facts as a test writes them."""

    expects: ClassVar[str] = "riddle, solution"

    def claims(self, document: Document) -> bool:
        return "riddle" in document.field_names

    def read(self, document: Document) -> Reading:
        """One fact per riddle."""
        return Reading(
            tuple(
                Placed("forget", Fact(f"riddle {n}", row.text("riddle"), row.text("solution")), "")
                for n, row in enumerate(document.rows)
            )
        )
'''
PLOT = """import pandas as pd
import plotly.graph_objects as go


def written_by_a_test(table: pd.DataFrame) -> go.Figure:
    \"\"\"One figure.\"\"\"
    return go.Figure(go.Bar(y=table["value"]))
"""


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """What a process finds in a copy of the package with one more file in each family."""
    folder = tmp_path_factory.mktemp("copy")
    package = folder / "neuronscope"
    shutil.copytree(Path(neuronscope.__file__).parent, package)
    for family, (module, name) in PARENTS.items():
        file = package / family / f"{new_methods.NAME}.py"
        file.write_text(HEAD + METHOD.format(module=module, name=name), encoding="utf-8")
    (package / "facts" / "formats" / f"{new_methods.NAME}.py").write_text(HEAD + FORMAT)
    (package / "plots" / f"{new_methods.NAME}.py").write_text(HEAD + PLOT)
    facts = folder / "riddles.jsonl"
    facts.write_text('{"riddle": "What is it?", "solution": "A file"}\n')
    done = subprocess.run(
        [sys.executable, new_methods.__file__, str(facts)],
        env=os.environ | {"PYTHONPATH": str(folder), "COLUMNS": "200"},
        capture_output=True,
        text=True,
        check=False,
        cwd=folder,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("family", [*PARENTS, "facts/formats", "plots"])
def test_a_new_file_is_found_imported_and_listed(found, family):
    assert found[family]["named"] and found[family]["listed"]
    assert found[family]["class"] in ("WrittenByATest", f"neuronscope.plots.{new_methods.NAME}")


@pytest.mark.parametrize("family", PARENTS)
def test_a_new_method_can_be_chosen_on_the_command_line_with_its_own_flag(found, family):
    assert found[family]["command line"] == 9


@pytest.mark.parametrize("family", PARENTS)
def test_a_new_method_can_be_chosen_in_a_study_with_its_own_setting(found, family):
    assert found[family]["study"] == 9


@pytest.mark.parametrize("family", PARENTS)
def test_a_file_named_in_a_study_is_relative_to_the_study(found, family):
    assert found[family]["file"] == "there/own.json"


def test_facts_are_read_in_a_new_format(found):
    assert found["facts/formats"]["read"] == ["riddle 0"]
