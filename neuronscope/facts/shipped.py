"""Data shipped with the package: a demo pair of models, instructions, and neutral facts."""

from pathlib import Path

_PACKAGE = Path(__file__).parents[1]


def shipped(name: str) -> Path:
    """The folder `data/NAME` of the source tree, or its copy in an installed package."""
    installed = _PACKAGE / f"{name}_data"
    return installed if installed.is_dir() else _PACKAGE.parent / "data" / name
