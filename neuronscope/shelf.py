"""A folder beside a result under way, where its finished parts lie until all are there.

A part is computed once: the same command after an interruption finds it on the shelf.
"""

import json
from pathlib import Path


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
            f"{shelf} holds an unfinished recording of another model, facts or settings: "
            "finish it with those, or delete the folder."
        )
    shelf.mkdir(parents=True, exist_ok=True)
    unfinished = shelf / "plan.json.new"
    unfinished.write_text(text, encoding="utf-8")
    unfinished.replace(described)
    return shelf
