"""Recordings: checked on creation, equal after a round trip, rejected when damaged."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import save_file
from synthetic_recordings import make_recording, random_influence, reduce

from neuronscope.results import arrays as results_arrays
from neuronscope.results.recording import Recording


def recorded(seed=0, **changes):
    splits = ["forget", "forget", "retain", "test"]
    return make_recording(random_influence(seed), splits, residual=0.25, **changes)


def same(first, second):
    arrays = [
        {(None, name): vars(recording)[name] for name in ("score", "probability", "answered")}
        | {(site, name): array for site in recording.sites
           for name, array in vars(recording.sites[site]).items()}
        for recording in (first, second)
    ]  # fmt: skip
    assert arrays[0].keys() == arrays[1].keys()
    for place, array in arrays[0].items():
        assert array.dtype == arrays[1][place].dtype
        np.testing.assert_array_equal(array, arrays[1][place])
    assert list(first.sites) == list(second.sites)
    assert first.fact_ids == second.fact_ids and first.splits == second.splits
    assert first.provenance == second.provenance


@pytest.mark.parametrize("form", [lambda r: r, reduce], ids=["by fact", "means"])
@pytest.mark.parametrize("joint", [False, True])
def test_a_recording_loads_as_it_was_saved(form, joint, tmp_path):
    recording = form(
        recorded(joint=joint, sites=("mlp.up", "attn.q"), notes=("merged α",), experts=5)
    )
    recording.save(tmp_path / "a.safetensors")
    same(recording, Recording.load(str(tmp_path / "a.safetensors")))


def test_single_precision_stays_single(tmp_path):
    recording = recorded()
    site = recording.sites["mlp.post"]
    single = {name: array.astype(np.float32) for name, array in vars(site).items()}
    recording = replace(recording, sites={"mlp.post": type(site)(**single)})
    recording.save(tmp_path / "a.safetensors")
    same(recording, Recording.load(tmp_path / "a.safetensors"))


def test_strided_views_are_saved_by_value(tmp_path):
    recording = recorded()
    site = recording.sites["mlp.post"]
    strided = {name: np.repeat(array, 2, axis=-1)[..., ::2] for name, array in vars(site).items()}
    assert not strided["total"].flags.c_contiguous
    view = replace(recording, sites={"mlp.post": type(site)(**strided)})
    view.save(tmp_path / "a.safetensors")
    same(recording, Recording.load(tmp_path / "a.safetensors"))


def test_the_same_recording_gives_the_same_bytes_in_every_process(tmp_path):
    here = Path(__file__).parent
    program = (
        f"import sys; sys.path[:0] = [{str(here)!r}, {str(here.parent)!r}]; "
        "from test_results import recorded; "
        "recorded(sites=('mlp.up', 'attn.q')).save(sys.argv[1])"
    )
    paths = [tmp_path / f"{number}.safetensors" for number in range(3)]
    for seed, path in enumerate(paths):
        command = [sys.executable, "-c", program, str(path)]
        subprocess.run(command, check=True, env=os.environ | {"PYTHONHASHSEED": str(seed)})
    reference, *others = (path.read_bytes() for path in paths)
    assert all(other == reference for other in others)
    recorded(seed=1).save(tmp_path / "other.safetensors")
    assert (tmp_path / "other.safetensors").read_bytes() != reference


def test_a_file_is_overwritten_only_on_request(tmp_path):
    path = tmp_path / "a.safetensors"
    recorded(seed=0).save(path)
    with pytest.raises(FileExistsError, match=r"a\.safetensors' exists already"):
        recorded(seed=1).save(path)
    same(recorded(seed=0), Recording.load(path))
    recorded(seed=1).save(path, overwrite=True)
    same(recorded(seed=1), Recording.load(path))
    assert os.listdir(tmp_path) == ["a.safetensors"]


def test_an_interrupted_save_leaves_only_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "a.safetensors"
    recorded(seed=0).save(path)

    def fill_the_disk(arrays, partial, metadata):
        partial.write_bytes(b"half")
        raise OSError("no space left")

    monkeypatch.setattr(results_arrays, "save_file", fill_the_disk)
    with pytest.raises(OSError, match="no space left"):
        recorded(seed=1).save(path, overwrite=True)
    assert os.listdir(tmp_path) == ["a.safetensors"]
    same(recorded(seed=0), Recording.load(path))


def test_an_invalid_path_is_rejected_before_writing(tmp_path):
    with pytest.raises(ValueError, match=r"ends in \.safetensors"):
        recorded().save(tmp_path / "a.npz")
    with pytest.raises(FileNotFoundError, match="create it first"):
        recorded().save(tmp_path / "missing" / "a.safetensors")
    with pytest.raises(FileNotFoundError, match="is not a file"):
        Recording.load(tmp_path / "missing.safetensors")
    with pytest.raises(FileNotFoundError, match="is not a file"):
        Recording.load(tmp_path)


# Damage to the bytes of a file ---------------------------------------------------------------


def header_length(data):
    return int.from_bytes(data[:8], "little")


def edit_header(data, old, new):
    """The file with `old` replaced by `new` in its header, with its length updated."""
    header = data[8 : 8 + header_length(data)]
    assert old in header
    header = header.replace(old, new, 1).rstrip()
    header += b" " * (-len(header) % 8)
    return len(header).to_bytes(8, "little") + header + data[8 + header_length(data) :]


BYTES = {
    "empty": lambda data: b"",
    "cut within the length": lambda data: data[:5],
    "cut after the length": lambda data: data[:8],
    "cut within the header": lambda data: data[:200],
    "cut after the header": lambda data: data[: 8 + header_length(data)],
    "cut within the tensors": lambda data: data[: -len(data) // 4],
    "cut by one byte": lambda data: data[:-1],
    "one byte too many": lambda data: data + b"\0",
    "not safetensors": lambda data: b"PK\x03\x04 some other file, longer than eight bytes",
    "a huge header length": lambda data: b"\xff" * 8 + data[8:],
    "a header that is not JSON": lambda data: data[:8] + b"\xff" + data[9:],
    "metadata under another key": lambda data: edit_header(data, b'"neuronscope"', b'"another"'),
    "no metadata": lambda data: edit_header(data, b'"__metadata__"', b'"__metadata_"'),
    "metadata not JSON": lambda data: edit_header(data, b'"{\\"format\\"', b'"[\\"format\\"'),
    "metadata a list": lambda data: _with_metadata(data, "[1]"),
    "another version": lambda data: edit_header(data, b'\\"format\\": 1', b'\\"format\\": 2'),
    "another model's name": lambda data: edit_header(data, b"a model", b"b model"),
    "a fact renamed": lambda data: edit_header(data, b"fact-0", b"fact-7"),
    "a tensor renamed": lambda data: edit_header(data, b'"score"', b'"scare"'),
    "the checksum changed": lambda data: edit_header(data, b'sha256\\": \\"', b'sha256\\": \\"0'),
    "the first tensor byte flipped": lambda data: _flip(data, 8 + header_length(data)),
    "the last tensor byte flipped": lambda data: _flip(data, len(data) - 1),
}  # fmt: skip


def _flip(data, place):
    return data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]


def _with_metadata(data, text):
    header = json.loads(data[8 : 8 + header_length(data)])
    header["__metadata__"] = {"neuronscope": text}
    encoded = json.dumps(header).encode()
    return len(encoded).to_bytes(8, "little") + encoded + data[8 + header_length(data) :]


@pytest.mark.parametrize("damage", BYTES.values(), ids=BYTES)
def test_damaged_bytes_raise_one_line_that_names_the_file(damage, tmp_path):
    path = tmp_path / "a.safetensors"
    recorded().save(path)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(ValueError) as caught:
        Recording.load(path)
    assert str(caught.value).startswith(f"{path}: ") and "\n" not in str(caught.value)


def test_a_flipped_byte_is_always_detected(tmp_path):
    path = tmp_path / "a.safetensors"
    recorded().save(path)
    data = path.read_bytes()
    refused = 0
    for place in range(0, len(data), 7):
        path.write_bytes(_flip(data, place))
        try:
            same(recorded(), Recording.load(path))
        except ValueError:
            refused += 1
    assert refused >= len(range(0, len(data), 7)) - 1  # a padding blank may go unnoticed


# Wrong content in an intact file -----------------------------------------------------------


def drop(name):
    return lambda arrays, text: arrays.pop(name)


def cast(name, dtype):
    return lambda arrays, text: arrays.update({name: arrays[name].astype(dtype)})


def shape(name, change):
    return lambda arrays, text: arrays.update({name: change(arrays[name])})


def put(name, value):
    def change(arrays, text):
        arrays[name] = arrays[name].copy()
        arrays[name].flat[3] = value

    return change


def describe(**changes):
    return lambda arrays, text: text.update(changes)


def forget_field(name):
    return lambda arrays, text: text.pop(name)


def provenance(**changes):
    return lambda arrays, text: text["provenance"].update(changes)


CONTENT = {
    "tensor missing": (drop("mlp.post.total"), "missing tensor 'mlp.post.total'"),
    "score missing": (drop("score"), "missing tensor 'score'"),
    "unknown tensor": (
        lambda arrays, text: arrays.update(extra=np.zeros(2)), "unknown tensor 'extra'"
    ),
    "half precision": (cast("mlp.post.total", np.float16), "tensor 'mlp.post.total': .* got F16"),
    "whole numbers": (cast("score", np.int64), "tensor 'score': .* got I64"),
    "answers as floats": (cast("answered", np.float32), "answered: expected bool, got float32"),
    "scores as bools": (cast("score", bool), "score: expected float32 or float64, got bool"),
    "a fact too few": (
        shape("mlp.post.positive", lambda a: a[:3]), "mlp.post.positive: expected 4 along fact"
    ),
    "a layer too few": (
        shape("mlp.post.negative", lambda a: a[:, :1]), "mlp.post.negative: expected 2 along layer"
    ),
    "a neuron too few": (
        shape("mlp.post.activation", lambda a: a[..., :4]), "mlp.post.activation: expected 5 along"
    ),
    "an axis too few": (
        shape("mlp.post.total", lambda a: a[0]), r"mlp.post.total: expected axes \(fact, layer"
    ),
    "three groups for two layers": (
        lambda arrays, text: arrays.update(
            {f"mlp.post.{name}": np.zeros((4, 3))
             for name in ("baseline_score", "explained", "nodes")}
        ),
        r"mlp.post.baseline_score: expected 1 group or 2",
    ),
    "groups that differ": (
        shape("mlp.post.nodes", lambda a: a[:, :1]), "mlp.post.nodes: expected 2 along group"
    ),
    "no neurons": (shape("mlp.post.total", lambda a: a[..., :0]), "mlp.post.total: expected axes"),
    "scores for fewer facts": (shape("score", lambda a: a[:2]), "score: expected 4 along fact"),
    "NaN in total": (put("mlp.post.total", np.nan), r"mlp.post.total: nan at \[0, 0, 3\]"),
    "NaN in a score": (put("score", np.nan), r"score: nan at \[3\]"),
    "infinite": (put("mlp.post.explained", np.inf), r"mlp.post.explained: inf at \[1, 1\]"),
    "format missing": (forget_field("format"), "format: expected version 1, got None"),
    "format newer": (describe(format=2), "format: expected version 1, got 2"),
    "fact ids missing": (forget_field("fact_ids"), "metadata: missing 'fact_ids'"),
    "unknown field": (describe(colour="red"), "metadata: unknown 'colour'"),
    "per_fact a word": (describe(per_fact="yes"), "metadata.per_fact: expected bool, got 'yes'"),
    "facts as numbers": (describe(fact_ids=[1, 2, 3, 4]), "metadata.fact_ids: expected"),
    "means claimed": (describe(per_fact=False), "missing tensor 'mlp.post.positive_gain'"),
    "a fact id too many": (describe(fact_ids=list("abcde")), "score: expected 5 along fact"),
    "a fact twice": (describe(fact_ids=list("abca")), "fact_ids: the same fact occurs twice"),
    "a split too few": (describe(splits=["forget"]), "splits: expected one for each of 4"),
    "no facts": (describe(fact_ids=[]), "score: expected 0 along fact"),
    "provenance a list": (describe(provenance=[]), "metadata.provenance: expected"),
    "unit missing": (
        lambda arrays, text: text["provenance"].pop("unit"), "provenance: missing 'unit'"
    ),
    "unknown provenance": (provenance(clock="12:00"), "provenance: unknown 'clock'"),
    "target a number": (provenance(target=3), "provenance.target: expected str, got 3"),
    "settings a list": (provenance(settings=[1]), "provenance.settings: expected"),
    "a setting a list": (provenance(settings={"steps": [1]}), "provenance.settings: expected"),
    "experts true": (provenance(experts=True), "provenance.experts: expected int, got True"),
    "notes a word": (provenance(notes="merged"), "provenance.notes: expected"),
}  # fmt: skip


@pytest.mark.parametrize("damage", CONTENT.values(), ids=CONTENT)
def test_wrong_content_raises_one_line_that_names_the_place(damage, tmp_path):
    change, message = damage
    path = tmp_path / "a.safetensors"
    recorded().save(path)
    arrays, description = results_arrays.read_arrays(path)
    change(arrays, description)
    if any(array.dtype.name in ("float16", "int64") for array in arrays.values()):
        text = json.dumps(description)
        save_file(arrays, path, metadata={"neuronscope": text})
    else:
        results_arrays.save_arrays(path, arrays, description)
    with pytest.raises(ValueError, match=message) as caught:
        Recording.load(path)
    assert str(caught.value).startswith(f"{path}: ") and "\n" not in str(caught.value)


def test_only_an_ablation_may_leave_neurons_unmeasured(tmp_path):
    influence = random_influence(0)
    influence[:, :, 1, 2:] = np.nan
    score = np.zeros(4)
    with pytest.raises(ValueError, match=r"mlp.post.total: nan at \[0, 1, 2\]"):
        make_recording(influence, score=score)
    site = make_recording(random_influence(0), score=score).sites["mlp.post"]
    gaps = {"total": influence.sum(1), "positive": influence.max(1), "negative": influence.min(1)}
    ablation = make_recording(random_influence(0), score=score, attribution="ablation")
    ablation = replace(ablation, sites={"mlp.post": replace(site, **gaps)})
    for number, form in enumerate((ablation, reduce(ablation))):
        form.save(tmp_path / f"{number}.safetensors")
        same(form, Recording.load(tmp_path / f"{number}.safetensors"))
    for wrong in ({"activation": influence.sum(1)}, {"total": influence.sum(1) * np.inf}):
        with pytest.raises(ValueError, match="expected a number"):
            replace(ablation, sites={"mlp.post": replace(site, **wrong)})


# What a recording reports about itself ----------------------------------------------------------


def test_means_are_those_of_the_facts_of_one_split():
    recording = recorded()
    site = recording.sites["mlp.post"]
    means = recording.means("mlp.post", "forget")
    np.testing.assert_allclose(means.total, site.total[:2].mean(axis=0))
    np.testing.assert_allclose(means.total_gain, np.maximum(site.total[:2], 0).mean(axis=0))
    np.testing.assert_allclose(means.positive, site.positive[:2].mean(axis=0))
    np.testing.assert_allclose(means.positive_gain, np.maximum(site.positive[:2], 0).mean(axis=0))
    np.testing.assert_allclose(means.negative, site.negative[:2].mean(axis=0))
    np.testing.assert_array_equal(means.explained, site.explained[:2])
    with pytest.raises(ValueError, match="No fact of split 'utility' was recorded"):
        recording.means("mlp.post", "utility")


def test_means_of_mixed_splits_are_not_used_as_means_of_one():
    mixed, pure = reduce(recorded()), reduce(make_recording(random_influence(0)))
    assert recorded().per_fact and not mixed.per_fact
    with pytest.raises(ValueError, match="mix the splits"):
        mixed.means("mlp.post")
    assert pure.means("mlp.post") is pure.sites["mlp.post"]


@pytest.mark.parametrize("joint", [False, True])
def test_the_completeness_error_is_the_residual(joint):
    recording = recorded(joint=joint)
    error = recording.completeness_error("mlp.post")
    np.testing.assert_allclose(error, np.full((4, 1 if joint else 2), 0.25), atol=1e-14)


def test_the_metadata_is_a_single_entry_since_several_would_be_in_random_order(tmp_path):
    recorded().save(tmp_path / "a.safetensors")
    with safe_open(tmp_path / "a.safetensors", framework="numpy") as file:
        assert list(file.metadata()) == ["neuronscope"]
