"""The form of committed notebooks; nbmake tests that they run."""

import ast
import json
from pathlib import Path

import pytest

NOTEBOOKS = sorted(Path(__file__).parents[1].joinpath("notebooks").glob("*.ipynb"))


def test_there_are_notebooks():
    assert NOTEBOOKS


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebooks_are_short_and_committed_with_outputs(path):
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    assert len(cells) <= 15
    assert [cell["execution_count"] for cell in code] == list(range(1, len(code) + 1))
    kinds = [type(node) for cell in code for node in ast.walk(ast.parse("".join(cell["source"])))]
    assert not {ast.FunctionDef, ast.ClassDef, ast.Lambda} & set(kinds)
    outputs = [output for cell in code for output in cell["outputs"]]
    assert not [output for output in outputs if output.get("name") == "stderr"]
    assert not [output for output in outputs if output["output_type"] == "error"]
    figures = [output for output in outputs if "Plotly.newPlot" in str(output.get("data"))]
    assert len(figures) >= 2
