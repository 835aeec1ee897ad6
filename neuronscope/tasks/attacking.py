"""What the command does that attacks a model: check, load, attack, write.

Whatever can be wrong with the input is found before a model is loaded, where it can be.
"""

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

import pandas as pd

from neuronscope._discover import method_class
from neuronscope.attacks import Attack, Rows, recovery
from neuronscope.facts.fact import facts_hash
from neuronscope.facts.loading import load_facts
from neuronscope.models.loading import load_model
from neuronscope.results.attack_table import ATTACKED_CHECKPOINT, REST
from neuronscope.results.cache import MANIFEST, check_free, open_shelf, whole, write_json
from neuronscope.tasks.checking import tokenizers_of
from neuronscope.tasks.manifest import describe
from neuronscope.tasks.options import ModelOptions
from neuronscope.tasks.progress import bar
from neuronscope.training.plan import described, identified


@dataclass(frozen=True, eq=False)
class Attacked:
    """What an attack brought back."""

    table: pd.DataFrame
    """A row per model, run, look and split; columns as in `attacks/_table.py`."""

    recovery: pd.DataFrame
    """A row per model, variant and split; columns as in `attacks/_recovery.py`."""

    @property
    def readings(self) -> list[str]:
        """What may be said of the attacked checkpoint, in a sentence for each variant."""
        table = self.recovery
        rows = table.loc[(table["model"] == ATTACKED_CHECKPOINT) & (table["split"] == REST)]
        return [
            f"{row['variant']}: {row['reading']}" if row["variant"] else row["reading"]
            for row in rows.to_dict("records")
        ]


def attack_checkpoint(
    source: str,
    name: str,
    settings: Mapping[str, Any],
    facts: Path,
    out: Path,
    controls: Mapping[str, str],
    form: str,
    asked: str,
    loading: ModelOptions,
) -> Attacked:
    """Attack a checkpoint and its controls, and write both tables and a manifest to `out`.

    Interrupted, the same call goes on after the last finished run, to the same numbers.

    Args:
        name: The attack, by its file's name.
        settings: Its fields; those not given are its own defaults.
        controls: Sources of other models by name: `original`, `never_knew`.
        form: How a fact is taught.
        asked: How it is asked.

    Raises:
        ValueError, FileNotFoundError, FileExistsError: What is wrong with the input, in one line.
    """
    began = time.time()
    # What method_class returns is never abstract, which its type cannot say.
    attack = cast(Callable[..., Attack], method_class("attacks", name, Attack))(**settings)
    check_free(out)
    given = load_facts(facts)
    sources = {ATTACKED_CHECKPOINT: source, **controls}
    attack.check(given, tokenizers_of(sources.values(), loading), form, asked)
    models = {role: load_model(one, **asdict(loading)) for role, one in sources.items()}
    plan = {
        "attack": {"file": name, **(described(attack) or {})},
        "models": {role: identified(model) for role, model in models.items()},
        "facts": {"source": str(facts), "hash": facts_hash(given)},
        "form": form,
        "asked": asked,
        "loading": asdict(loading),
    }
    shelf = open_shelf(out.resolve(), plan)
    with bar(name.replace("_", " ")) as progress:
        attacked = models.pop(ATTACKED_CHECKPOINT)
        table = attack(attacked, given, models, form, asked, progress, _Kept(shelf))
    found = Attacked(table, recovery(table))
    with whole(shelf, out.resolve()) as folder:
        found.table.to_parquet(folder / "attack.parquet", index=False)
        found.recovery.to_parquet(folder / "recovery.parquet", index=False)
        write_json(folder / MANIFEST, describe(began) | plan)
    return found


@dataclass(frozen=True)
class _Kept:
    """Rows of finished runs, each in a file of its own."""

    folder: Path

    def __call__(self, number: int, make: Callable[[], Rows]) -> Rows:
        """The rows of a run: from its file, or made and written there."""
        path = self.folder / f"run-{number:04}.json"
        if path.is_file():
            return json.loads(path.read_text(encoding="utf-8"))
        rows = make()
        unfinished = path.with_suffix(".new")
        # Python's JSON has NaN, and every digit of a number.
        unfinished.write_text(json.dumps(rows, ensure_ascii=False), encoding="utf-8")
        unfinished.replace(path)
        return rows
