"""What determines a task's numbers, field by field, as plain values."""

import json
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from neuronscope.facts.fact import facts_hash
from neuronscope.results.cache import content_of, described, plain
from neuronscope.tasks._facts import read_facts
from neuronscope.tasks._task import Facts, Loading, Marker, Method, Methods, Model, Settings
from neuronscope.tasks.methods import SEED, built, made, several


def decided(value: Any, marker: Marker | None, seed: int | None) -> Any:
    """A plain value that represents a field in the task's identity.

    Args:
        marker: The field's marker, if it has one.
        seed: The seed to fill in for methods whose `seed` was not set.
    """
    match marker:
        case Model():
            return _model(value)
        case Facts():
            return facts_hash(read_facts(value))
        case Method():
            return described(made(marker.family, value, _base(marker), seed))
        case Methods() if value is not None:
            return [described(method) for method in methods_of(value, marker, seed)]
        case Settings():
            from neuronscope.training.plan import deciding

            return deciding(settings_of(value, marker))
    if isinstance(value, Loading):
        return {"base": _model(value.base), "dtype": value.dtype}
    return plain(value)


def methods_of(value: Any, marker: Methods, seed: int | None) -> tuple[Any, ...]:
    """The methods in a field."""
    usual = vars(import_module(f"neuronscope.{marker.family}")).get(marker.usual)
    return several(marker.family, value, _base(marker), seed, usual)


def settings_of(value: Any, marker: Settings) -> Any:
    """The field's dataclass instance: as given, built from a mapping, or with all defaults."""
    kind = vars(import_module(f"neuronscope.{marker.module.replace('/', '.')}"))[marker.name]
    return value if isinstance(value, kind) else built(kind, value or {})


def method_seed(values: Mapping[str, Any], markers: Mapping[str, Marker]) -> int | None:
    """The seed to fill in for methods whose `seed` was not set; None to leave their default."""
    for name, marker in markers.items():
        if isinstance(marker, Settings):
            return getattr(settings_of(values[name], marker), SEED)
    return values.get(SEED)


def _base(marker: Method | Methods) -> type[Any]:
    return vars(import_module(f"neuronscope.{marker.family}"))[marker.base]


def _model(model: Any) -> Any:
    """A model identified by its weights or files, or by its name on the hub.

    An adapter is identified by its base model as well.
    """
    if not isinstance(model, str | Path):
        return plain(model)
    own = content_of(Path(model)) or f"hub {model}"
    config = Path(model) / "adapter_config.json"
    if not config.is_file():
        return own
    base = json.loads(config.read_text(encoding="utf-8")).get("base_model_name_or_path")
    return f"{own} on {_model(str(base))}"
