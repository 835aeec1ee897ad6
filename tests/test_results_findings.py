"""Findings load as they were saved, or raise an error."""

import math
import re

import numpy as np
import pandas as pd
import pytest
from jaxtyping import TypeCheckError

from neuronscope.results.findings import Finding


def example(**changes):
    values = {
        "view": "low_rank_restoration",
        "word": "hidden",
        "value": 0.75,
        "ci95": (0.5, math.nan),
        "meaning": "share of answers",
        "why": "Because <script>.",
        "figures": {"rank": 2, "alpha": math.nan, "name": "é", "none": None},
        "tables": {"ranks": pd.DataFrame({"rank": [1, 2], "share": [0.1, np.nan]})},
        "warnings": ("one", "two"),
    }
    return Finding(**(values | changes))


def test_a_finding_loads_as_it_was_saved(tmp_path):
    finding = example()
    finding.save(tmp_path / "low_rank_restoration", "a")
    loaded = Finding.load(tmp_path / "low_rank_restoration", "a")
    assert (loaded.view, loaded.word, loaded.value, loaded.meaning, loaded.why) == (
        finding.view, finding.word, finding.value, finding.meaning, finding.why,
    )  # fmt: skip
    assert (
        loaded.ci95[0] == 0.5 and math.isnan(loaded.ci95[1]) and loaded.warnings == ("one", "two")
    )
    assert loaded.figures == {"rank": 2, "alpha": None, "name": "é", "none": None}
    pd.testing.assert_frame_equal(loaded.tables["ranks"], finding.tables["ranks"])
    assert [path.name for path in tmp_path.iterdir()] == ["low_rank_restoration"]


def test_a_finding_with_another_identity_is_rejected(tmp_path):
    example().save(tmp_path / "low_rank_restoration", "a")
    with pytest.raises(ValueError, match="models, facts or settings"):
        Finding.load(tmp_path / "low_rank_restoration", "b")
    with pytest.raises(FileExistsError):
        example().save(tmp_path / "low_rank_restoration", "b")


@pytest.mark.parametrize("damage", ["finding.json", "ranks.parquet"])
def test_a_damaged_finding_is_rejected_by_name(tmp_path, damage):
    example().save(tmp_path / "low_rank_restoration", "a")
    path = tmp_path / "low_rank_restoration" / damage
    whole = path.read_bytes()
    flipped = whole[:-40] + bytes([whole[-40] ^ 1]) + whole[-39:]
    for content in (whole[:-5], flipped, b"", None):
        path.unlink()
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(ValueError, match=re.escape(str(path))):
            Finding.load(tmp_path / "low_rank_restoration", "a")
        path.write_bytes(whole)
    assert Finding.load(tmp_path / "low_rank_restoration", "a").word == "hidden"


def test_unknown_verdicts_are_rejected():
    # With runtime type checks, as in these tests, the type is rejected first.
    with pytest.raises((ValueError, TypeCheckError), match="perhaps"):
        example(word="perhaps")
    assert example(word=None).word is None
