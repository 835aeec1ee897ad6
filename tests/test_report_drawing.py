"""Figures as files, and the errors if they cannot be drawn."""

import importlib.util

import pytest
from diagnosis_example import example_diagnosis
from findings_example import causal_diagnosis
from study_example import METHODS, SEEDS, example_study
from test_report import EVIL, Page

from neuronscope.report.drawing import (
    WIDTH,
    check_can_draw,
    diagnosis_figures,
    figures_of_study,
    write_figures,
)
from neuronscope.report.page import render_report
from neuronscope.report.study_page import render_study_report

STARTS = {"svg": b"<svg", "pdf": b"%PDF-", "png": b"\x89PNG\r\n"}


def on_page(page):
    return {tag["id"] for name, tag in Page(page).tags if name == "figure"}


@pytest.mark.parametrize("made", [example_diagnosis, causal_diagnosis])
def test_the_figures_are_those_of_the_page(made):
    names = [figure.name for figure in diagnosis_figures(made())]
    assert len(set(names)) == len(names) and set(names) == on_page(render_report(made()))


def test_a_studys_figures_are_those_of_its_page():
    names = [figure.name for figure in figures_of_study(example_study())]
    assert len(set(names)) == len(names) == 5 + (1 + 2 * len(SEEDS)) * len(METHODS)
    assert set(names) == on_page(render_study_report(example_study()))


@pytest.fixture
def without_kaleido(monkeypatch):
    find = importlib.util.find_spec

    def other(name, package=None):
        return None if name == "kaleido" else find(name, package)

    monkeypatch.setattr(importlib.util, "find_spec", other)


def test_without_kaleido_the_error_names_the_package_and_nothing_is_written(
    tmp_path, without_kaleido
):
    with pytest.raises(ValueError, match=r"kaleido.*pip install 'neuronscope\[export\]'"):
        write_figures((), tmp_path / "figures", "svg")
    assert not (tmp_path / "figures").exists()


def test_the_command_fails_before_anything_is_computed(tmp_path, without_kaleido, run):
    options = ("--before", "nowhere", "--after", "nowhere", "--facts", "none", "--out", tmp_path)
    code, _, error = run("diagnose", *options, "--figures", "pdf")
    assert code == 2 and "the package kaleido" in error


@pytest.mark.browser
@pytest.mark.parametrize("kind", STARTS)
def test_each_figure_is_drawn_whole_with_its_caption_beside_it(tmp_path, kind):
    check_can_draw()
    study = example_study(rename=lambda name: f"{name} {EVIL}")
    figures = (*diagnosis_figures(example_diagnosis())[:2], figures_of_study(study)[0])
    written = write_figures(figures, tmp_path / "new" / "figures", kind)
    assert [path.name for path in written] == [f"{figure.name}.{kind}" for figure in figures]
    for path, figure in zip(written, figures, strict=True):
        content = path.read_bytes()
        assert content.startswith(STARTS[kind]) and len(content) > 2000
        if kind == "svg":
            assert f'width="{WIDTH}" height="{figure.height}"'.encode() in content
            assert b"<script" not in content
        if kind == "png":
            size = [int.from_bytes(content[at : at + 4], "big") for at in (16, 20)]
            assert size == [2 * WIDTH, 2 * figure.height]
    captions = (tmp_path / "new" / "figures" / "captions.txt").read_text(encoding="utf-8")
    assert all(f"{path.name}: " in captions for path in written) and figures[0].note in captions
