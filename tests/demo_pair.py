"""The shipped demo pair, for tests."""

from pathlib import Path

from neuronscope.facts.fact import FactSet
from neuronscope.facts.loading import load_facts
from neuronscope.facts.shipped import shipped

DATA = shipped("demo")
BEFORE, AFTER, FACTS = DATA / "before", DATA / "after", DATA / "facts.jsonl"


def few_facts(forget: int = 4, retain: int = 4) -> FactSet:
    everything = load_facts(FACTS)
    return FactSet(forget=everything.forget[:forget], retain=everything.retain[:retain])


def write_facts(path: Path, forget: int = 4, retain: int = 4) -> Path:
    """A facts file of the first lines of each split."""
    lines = FACTS.read_text(encoding="utf-8").splitlines()
    chosen = [line for line in lines if '"split": "forget"' in line][:forget]
    chosen += [line for line in lines if '"split": "retain"' in line][:retain]
    path.write_text("\n".join(chosen) + "\n", encoding="utf-8")
    return path
