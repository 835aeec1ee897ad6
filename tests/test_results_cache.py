"""Results are written atomically, identified by what determines them, resumed or rejected."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from neuronscope.results.cache import (
    check_folder,
    check_result,
    content_of,
    described,
    is_finished,
    key_of,
    open_pieces,
    open_result,
    plain,
    read_json,
    read_sealed,
    write_json,
    write_sealed,
    write_table,
    written_whole,
)

SETTINGS = {"method": {"name": "NPO", "beta": 0.1}, "facts": "abc", "stop": None}


class Broken(Exception):
    pass


@dataclass(frozen=True)
class Method:
    beta: float = 0.1
    file: Path | None = None


class Model:
    """An object identified by its content."""

    def __init__(self, weights):
        self.weights = weights

    def fingerprint(self):
        return f"weights {self.weights}"


def must_not_run():
    raise AssertionError("the piece is there and must not be made again")


# Files


def files(folder):
    return {path.name: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_failure_leaves_only_the_old_file(tmp_path):
    path = tmp_path / "table.json"
    write_json(path, [1])
    before = files(tmp_path)
    with pytest.raises(Broken), written_whole(path) as unfinished:
        unfinished.write_text("half")
        raise Broken
    with pytest.raises(ValueError):
        write_json(path, [float("nan")])
    assert files(tmp_path) == before and read_json(path) == [1]


def test_a_failure_leaves_no_folder(tmp_path):
    with pytest.raises(Broken), written_whole(tmp_path / "model") as unfinished:
        unfinished.mkdir()
        (unfinished / "weights").write_text("half")
        raise Broken
    assert list(tmp_path.iterdir()) == []


def test_a_result_appears_under_its_name_only_at_the_end(tmp_path):
    path = tmp_path / "model"
    with written_whole(path) as unfinished:
        (unfinished / "deep").mkdir(parents=True)
        (unfinished / "deep" / "weights").write_text("all")
        assert not path.exists()
    assert files(tmp_path) == {"weights": b"all"} and list(tmp_path.iterdir()) == [path]


def test_a_folder_is_not_overwritten(tmp_path):
    with written_whole(tmp_path / "model") as unfinished:
        unfinished.mkdir()
        (unfinished / "weights").write_text("old")
    with pytest.raises(OSError), written_whole(tmp_path / "model") as unfinished:
        unfinished.mkdir()
        (unfinished / "weights").write_text("new")
    assert files(tmp_path) == {"weights": b"old"}
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_a_table_loads_as_it_was_saved(tmp_path):
    table = pd.DataFrame({"step": [0, 1], "loss": [0.1, np.nan]})
    write_table(tmp_path / "history.parquet", table)
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "history.parquet"), table)


def test_a_damaged_file_is_named(tmp_path):
    path = tmp_path / "task.json"
    path.write_text('{"a": ')
    with pytest.raises(ValueError, match=str(path)):
        read_json(path)


# What decides a result


def test_a_file_is_identified_by_its_content_and_not_its_path(tmp_path):
    for folder, text in (("one", "same"), ("two", "same"), ("three", "other")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "neurons.parquet").write_text(text)
    one, two, three = (tmp_path / name for name in ("one", "two", "three"))
    for name in (".", "neurons.parquet"):
        assert plain(one / name) == plain(two / name) != plain(three / name)
        first, second = (described(Method(file=folder / name)) for folder in (one, two))
        assert first == second != described(Method(file=three / name))
    assert content_of(tmp_path / "nowhere") is None
    assert plain(tmp_path / "nowhere") == str(tmp_path / "nowhere")


def test_a_model_is_identified_by_its_weights():
    assert plain(Model(1)) == plain(Model(1)) != plain(Model(2))
    keys = {
        key_of({"model": Model(weights), "seed": seed}) for weights in (1, 2) for seed in (1, 2)
    }
    assert len(keys) == 4


def test_an_array_is_identified_by_values_shape_and_type():
    values = np.arange(6.0).reshape(2, 3)
    assert plain(values) == plain(np.asfortranarray(values)) == plain(values.copy())
    others = (values + 1, values.T, values.reshape(3, 2), values.astype("float32"))
    assert len({plain(array) for array in (values, *others)}) == 5


def test_the_order_of_settings_does_not_matter_and_plain_values_stay_plain():
    assert key_of(SETTINGS) == key_of(dict(reversed(SETTINGS.items()))) == key_of(plain(SETTINGS))
    settings = {"method": Method(), "sizes": (1, 2), "none": None}
    assert plain(plain(settings)) == plain(settings) == json.loads(json.dumps(plain(settings)))
    assert plain(settings)["method"] == {"name": "Method", "beta": 0.1, "file": None}


# Results under way


def test_the_same_settings_resume(tmp_path):
    values = {"values": [0.1, float("nan")], "pair": (1, "é"), 10: None, 9: True}
    arrays = {"score": np.arange(6.0).reshape(2, 3), "answered": np.array([True, False])}
    first = open_result(tmp_path / "out", SETTINGS)
    made = first.json("scores", lambda: values)
    first.arrays("batch", lambda: arrays)
    again = open_result(tmp_path / "out", dict(reversed(SETTINGS.items())))
    assert again == first
    assert repr(again.json("scores", must_not_run)) == repr(made)
    for name, array in again.arrays("batch", must_not_run).items():
        np.testing.assert_array_equal(array, arrays[name])


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"method": {"name": "NPO", "beta": 0.2}}, r"method\.beta was 0\.1 and is now 0\.2"),
        ({"facts": "abd"}, "facts was 'abc'"),
        ({"stop": {"name": "Norm"}}, r"stop\.name was None"),
        ({"seed": 1}, "seed was None and is now 1"),
    ],
)
def test_different_settings_are_rejected_by_name(tmp_path, changes, named):
    result, file = tmp_path / "out", tmp_path / "recording.safetensors"
    open_result(result, SETTINGS).json("scores", lambda: 1)
    open_pieces(file, SETTINGS).json("scores", lambda: 1)
    before = files(tmp_path)
    for attempt in (
        lambda: open_result(result, SETTINGS | changes),
        lambda: check_result(result, SETTINGS | changes),
        lambda: open_pieces(file, SETTINGS | changes),
    ):
        with pytest.raises(ValueError, match=named):
            attempt()
    assert files(tmp_path) == before


def make(workspace, name):
    """A piece of each kind, and the calls that read it."""
    workspace.json(name, lambda: {"value": 0.5, "text": "some words that are long enough"})
    workspace.arrays(name, lambda: {"score": np.arange(9.0)})
    return {".json": workspace.json, ".safetensors": workspace.arrays}


@pytest.mark.parametrize("kind", [".json", ".safetensors"])
def test_a_piece_with_another_key_is_rejected(tmp_path, kind):
    ours, theirs = (open_result(tmp_path / n, {"seed": n}) for n in ("ours", "theirs"))
    read = make(ours, "first")[kind]
    make(ours, "second")
    make(theirs, "first")
    place = tmp_path / "ours" / "pieces" / f"first{kind}"
    own = place.read_bytes()
    for other in (tmp_path / "theirs" / "pieces" / place.name, place.with_stem("second")):
        place.write_bytes(other.read_bytes())
        with pytest.raises(ValueError, match=str(place)):
            read("first", must_not_run)
    place.write_bytes(own)
    read("first", must_not_run)


@pytest.mark.parametrize("kind", [".json", ".safetensors"])
def test_a_flipped_byte_in_a_piece_is_always_detected(tmp_path, kind):
    workspace = open_result(tmp_path / "out", SETTINGS)
    read = make(workspace, "piece")[kind]
    place = tmp_path / "out" / "pieces" / f"piece{kind}"
    whole, right = place.read_bytes(), repr(read("piece", must_not_run))
    refused = 0
    for index in range(len(whole)):
        place.write_bytes(whole[:index] + bytes([whole[index] ^ 1]) + whole[index + 1 :])
        try:
            assert repr(read("piece", must_not_run)) == right
        except ValueError as error:
            assert str(place) in str(error)
            refused += 1
    # Between the values of a file there may be blanks.
    assert refused > 0.8 * len(whole)


def test_a_sealed_file_is_read_only_with_its_key(tmp_path):
    write_sealed(tmp_path / "a.json", {"value": 1}, "key")
    assert read_sealed(tmp_path / "a.json", "key") == {"value": 1}
    with pytest.raises(ValueError, match="models, facts or settings"):
        read_sealed(tmp_path / "a.json", "another key")


def test_finishing_removes_the_pieces_and_locks_the_folder(tmp_path):
    out = tmp_path / "out"
    workspace = open_result(out, SETTINGS)
    make(workspace, "piece")
    make(open_pieces(out / "recording.safetensors", SETTINGS), "piece")
    assert not is_finished(out)
    workspace.finish({"seconds": 1.5, "file": tmp_path / "nowhere"})
    assert is_finished(out) and set(files(out)) == {"task.json", "manifest.json"}
    assert not (out / "pieces").exists()
    before = files(out)
    for attempt in (
        lambda: check_folder(out),
        lambda: check_result(out, SETTINGS),
        lambda: open_result(out, SETTINGS),
    ):
        with pytest.raises(FileExistsError, match=str(out)):
            attempt()
    assert files(out) == before


def test_a_folder_with_other_files_is_rejected(tmp_path):
    (tmp_path / "thesis.tex").write_text("all of it")
    for place in (tmp_path, tmp_path / "thesis.tex"):
        with pytest.raises(FileExistsError):
            open_result(place, SETTINGS)
    assert files(tmp_path) == {"thesis.tex": b"all of it"}
    (tmp_path / "empty").mkdir()
    open_result(tmp_path / "empty", SETTINGS)
    open_result(tmp_path / "a" / "new" / "one", SETTINGS)


def test_pieces_without_a_description_are_not_used(tmp_path):
    file = tmp_path / "recording.safetensors"
    workspace = open_pieces(file, SETTINGS)
    workspace.json("scores", lambda: 1)
    (workspace.folder / "task.json").unlink()
    assert open_pieces(file, SETTINGS).json("scores", lambda: 2) == 2
    open_pieces(file, SETTINGS).delete()
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_process_was_writing_is_in_nobodys_way(tmp_path):
    folder = tmp_path / "result"
    folder.mkdir()
    (folder / ".task.json.4242").write_text("half")
    open_result(folder, SETTINGS)
    assert list(files(folder)) == ["task.json"]
    (folder / "deep" / ".model.4242").mkdir(parents=True)
    (folder / "deep" / ".model.4242" / "weights").write_text("half")
    open_result(folder, SETTINGS)
    assert list(files(folder)) == ["task.json"]
    (tmp_path / ".notes.1").write_text("somebody's")
    with pytest.raises(FileExistsError):
        open_result(tmp_path, SETTINGS)
