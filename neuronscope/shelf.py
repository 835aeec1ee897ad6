"""A folder beside a result under way, where its finished parts lie until all are there.

A part is computed once: the same command after an interruption finds it on the shelf.
"""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

MANIFEST = "manifest.json"
"""A folder that holds it holds a whole result."""


def check_free(out: Path) -> None:
    """Refuse a folder for a result that holds something already.

    Raises:
        FileExistsError: If there is a finished result, or something else.
    """
    if (out / MANIFEST).exists():
        raise FileExistsError(f"{out} holds a finished result: choose another --out.")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise FileExistsError(f"{out} exists, and is no empty folder: choose another --out.")


def open_shelf(out: Path, plan: dict[str, object]) -> Path:
    """The folder `NAME.partial` beside `out`; made, or found from an earlier call.

    Args:
        plan: Everything that the parts depend on, as plain JSON values.

    Raises:
        ValueError: If its parts are those of another plan.
    """
    shelf = out.with_name(out.name + ".partial")
    described = shelf / "plan.json"
    text = json.dumps(plan, indent=1, sort_keys=True)
    if described.is_file() and described.read_text(encoding="utf-8") != text:
        raise ValueError(
            f"{shelf} holds an unfinished result of another model, facts or settings: "
            "finish it with those, or delete the folder."
        )
    shelf.mkdir(parents=True, exist_ok=True)
    unfinished = shelf / "plan.json.new"
    unfinished.write_text(text, encoding="utf-8")
    unfinished.replace(described)
    return shelf


@contextmanager
def whole(shelf: Path, out: Path) -> Iterator[Path]:
    """A new folder to be filled: it becomes `out` at the end, and the shelf is taken away.

    If filling it fails, `out` is not there, and the shelf is as it was.
    """
    result = shelf / "result"
    shutil.rmtree(result, ignore_errors=True)
    result.mkdir()
    yield result
    result.replace(out)
    shutil.rmtree(shelf)
