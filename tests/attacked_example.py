"""An attack's table whose answers are counted by hand, for the figures of attacks."""

import json
import re

import numpy as np
import pandas as pd

from neuronscope.plots import _look
from neuronscope.plots._look import untitled

NASTY = "<script>alert(1)</script> & co"
SHOWN = "&lt;script&gt;alert(1)&lt;/script&gt; &amp; co"
"""A name that a page could take for markup, and how it is written so that it is read as it is."""

COUNTS = {
    ("attacked checkpoint", "rest"): [0, 4, 6],
    ("attacked checkpoint", "attacked"): [0, 1, 2],
    ("attacked checkpoint", "retain"): [10, 9, 8],
    ("original", "rest"): [8, 8, 8],
    ("original", "attacked"): [2, 2, 2],
    ("never_knew", "rest"): [0, 1, 1],
    ("never_knew", "attacked"): [0, 2, 2],
}
TOTALS = {"rest": 8, "attacked": 2, "retain": 10}
STEPS = [0, 10, 20]


def attack_table(lrs=(1e-5,), attack="relearn_forget", variant="2 of 10 facts", **changed):
    """Three looks at each model; `changed` are other counts, as `attacked_checkpoint_rest`."""
    rows = []
    for (model, split), counts in COUNTS.items():
        counts = changed.get(f"{model}_{split}".replace(" ", "_"), counts)
        for lr in lrs:
            for step, correct in zip(STEPS, counts, strict=True):
                budget = step / 100 if np.isnan(lr) else step * lr
                rows.append(
                    {"attack": attack, "model": model, "variant": variant, "lr": lr, "seed": 0}
                    | {"fold": 0, "step": step, "budget": budget, "split": split}
                    | {"correct": correct, "n": TOTALS[split], "score": 0.0, "note": ""}
                )
    return pd.DataFrame(rows)


def study(analysis, **methods):
    """What an analysis says of several methods' tables, one below the other."""
    found = [analysis(table).assign(method=name) for name, table in methods.items()]
    return pd.concat(found, ignore_index=True)


def colours(figure):
    """Every colour of a figure's own, written out in full."""
    return set(re.findall(r'"(#[0-9a-f]{6})"', json.dumps(untitled(figure)[2], default=str)))


def check_look(figure):
    """What holds for every figure: the common look, dark twins, no markup but plotly's own."""
    same = {vars(_look)[name] for name in ("ERASED", "HIDDEN", "ELSEWHERE", "BEFORE", "AFTER")}
    assert figure.layout.template == _look.TEMPLATE and figure.layout.width is None
    assert figure.layout.title.text and figure.layout.title.subtitle.text
    assert colours(figure) - same - set(_look.SERIES) <= set(_look.DARK)
    assert "<script" not in figure.to_json()
