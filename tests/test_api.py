"""What a person finds behind `ns.`: complete, cheap to import, and short when it shows itself."""

import importlib.util
import subprocess
import sys
from collections import Counter

import pandas as pd
import pytest
from tiny import FORGET, RETAIN, tiny

import neuronscope as ns
from neuronscope._discover import method_class, method_classes, method_names
from neuronscope.attacks import Attack
from neuronscope.attribution import Attribution, record
from neuronscope.evidence import Evidence
from neuronscope.metrics import Metric
from neuronscope.objectives import Objective
from neuronscope.regularizers import Regularizer
from neuronscope.stopping import StopRule

BASES = {
    "attribution": Attribution,
    "evidence": Evidence,
    "objectives": Objective,
    "regularizers": Regularizer,
    "stopping": StopRule,
    "attacks": Attack,
    "metrics": Metric,
}
METHODS = [(family, name) for family in BASES for name in method_names(family)]
TASKS = ("attack", "diagnose", "finetune", "record", "score", "unlearn")
FACTS = ns.FactSet(forget=FORGET[:3], retain=RETAIN[:2])


def missing(name):
    return name in TASKS and importlib.util.find_spec(f"neuronscope.tasks.{name}") is None


def in_a_new_process(code):
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_importing_the_package_is_fast_and_imports_no_torch_nor_does_dir():
    code = (
        "import sys, time; start = time.perf_counter(); import neuronscope as ns; "
        "print(time.perf_counter() - start); dir(ns); "
        "print(any(name in sys.modules for name in ('torch', 'numpy', 'pandas', 'plotly')))"
    )
    runs = [in_a_new_process(code) for _ in range(3)]
    assert min(float(seconds) for seconds, _ in runs) < 0.1
    assert {heavy for _, heavy in runs} == {"False"}


@pytest.mark.parametrize("name", [name for name in dir(ns) if not name.startswith("_")])
def test_every_name_can_be_had(name):
    if missing(name):
        pytest.skip(f"needs neuronscope.tasks.{name}")
    assert getattr(ns, name) is getattr(ns, name)


def test_dir_has_every_public_name():
    assert set(ns.__all__) <= set(dir(ns))
    with pytest.raises(AttributeError, match="nothing"):
        _ = ns.nothing


@pytest.mark.parametrize(("family", "name"), METHODS)
def test_every_method_is_found_by_the_name_of_its_class(family, name):
    found = method_class(family, name, BASES[family])
    assert found.__name__ in dir(ns) and getattr(ns, found.__name__) is found


def test_no_name_is_taken_twice():
    names = [name for name, _ in method_classes(ns.FAMILIES)] + ns.__all__
    assert [name for name, count in Counter(names).items() if count > 1] == []
    assert set(ns.FAMILIES) == set(BASES)


def test_every_figure_is_a_function_of_plots_also_after_its_file_was_imported():
    for name in method_names("plots"):
        importlib.import_module(f"neuronscope.plots.{name}")
        assert callable(getattr(ns.plots, name)) and name in dir(ns.plots)


def test_a_fact_is_found_by_its_id():
    assert FACTS[RETAIN[1].id] is RETAIN[1]
    with pytest.raises(KeyError, match="no-such-fact"):
        _ = FACTS["no-such-fact"]


def test_log_odds_are_those_of_a_recording():
    model = tiny("llama")
    recording = record(model, FACTS, ns.GradientXActivation(), progress=False)
    table = ns.log_odds(model, FACTS)
    assert list(table.columns) == ["fact", "split", "log_odds", "answered"]
    assert tuple(table["fact"]) == recording.fact_ids and tuple(table["split"]) == recording.splits
    assert table["log_odds"].to_numpy() == pytest.approx(recording.score, rel=1e-5)
    assert list(table["answered"]) == list(recording.answered)
    alone = ns.log_odds(model, FACTS.forget)
    pd.testing.assert_frame_equal(alone, table.iloc[:3], check_exact=False, rtol=1e-5)
