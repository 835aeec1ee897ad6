"""Where the embedded pair lies: a tiny language model before and after unlearning."""

from itertools import count
from pathlib import Path

_INSTALLED = Path(__file__).parent / "demo_data"
_IN_SOURCES = Path(__file__).parent.parent / "data" / "demo"

DATA = _INSTALLED if _INSTALLED.is_dir() else _IN_SOURCES
"""Holds `before/`, `after/` and `facts.jsonl`."""


def new_folder() -> Path:
    """A folder for a demo's result that does not exist yet."""
    names = (f"neuronscope-demo-{number}" for number in count(2))
    first = Path("neuronscope-demo")
    return first if not first.exists() else next(p for p in map(Path, names) if not p.exists())
