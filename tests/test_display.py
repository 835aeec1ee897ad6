import logging
import warnings

import pytest
from tiny import tiny
from transformers.utils import logging as hf_logging

from neuronscope.display import _progress, html_card, html_table, quiet, showing_progress
from neuronscope.models.loading import load_model, save_model


@pytest.fixture
def lines(monkeypatch):
    """The lines of progress in a log, without a minimum time between lines."""
    monkeypatch.setattr(_progress, "LOG_SECONDS", 0.0)
    written = []
    monkeypatch.setattr(_progress, "say", written.append)
    return written


def test_a_log_has_one_line_per_step_and_none_after_the_last(lines):
    with showing_progress("work") as show:
        for done in range(1, 4):
            show(done, 3)
    assert [line.split(",")[0] for line in lines] == [f"work: {k} of 3" for k in (1, 2, 3)]
    assert "left" in lines[0] and "left" not in lines[-1]


def test_a_new_note_is_shown_at_once(monkeypatch, lines):
    monkeypatch.setattr(_progress, "LOG_SECONDS", 1e9)
    with showing_progress("work") as show:
        for done, note in enumerate(("", "first", "first", "second", "second")):
            show(done, 100, note)
    assert [line.rpartition("; ")[2] for line in lines] == ["first", "second"]


def test_progress_can_be_turned_off(capfd):
    with showing_progress("work", wanted=False) as show:
        show(1, 1)
    printed = capfd.readouterr()
    assert printed.out == printed.err == ""


def test_a_notebook_gets_one_updated_text_and_nothing_on_standard_error(tmp_path):
    nbformat = pytest.importorskip("nbformat")
    nbclient = pytest.importorskip("nbclient")
    code = (
        "from neuronscope.display import _progress, showing_progress\n"
        "_progress.NOTEBOOK_SECONDS = 0\n"
        "with showing_progress('work') as show:\n"
        "    for done in range(4):\n"
        "        show(done + 1, 4)\n"
    )
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code)])
    nbclient.NotebookClient(notebook, kernel_name="python3").execute()
    (output,) = notebook.cells[0].outputs
    assert output.output_type == "display_data"
    assert output.data == {"text/plain": "work: 4 of 4"}


def test_loading_and_saving_models_print_nothing(tmp_path, capfd):
    save_model(tiny("llama"), tmp_path / "model")
    load_model(tmp_path / "model")
    printed = capfd.readouterr()
    assert printed.out == printed.err == ""


def test_the_settings_of_other_packages_are_restored():
    from tqdm.auto import tqdm

    kept = hf_logging.get_verbosity(), tqdm.__init__, list(warnings.filters)
    with pytest.raises(KeyError), quiet():
        assert logging.getLogger("transformers").level == logging.ERROR
        assert list(tqdm(range(3))) == [0, 1, 2]
        raise KeyError
    assert (hf_logging.get_verbosity(), tqdm.__init__, list(warnings.filters)) == kept


def test_html_is_escaped_everywhere():
    bad = "<script>"
    made = html_card(bad, bad, html_table([bad], [[bad, 1]]))
    assert bad not in made and made.count("&lt;script&gt;") == 4
