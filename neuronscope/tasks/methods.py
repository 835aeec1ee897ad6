"""Methods from their names and plain settings, with errors that name the setting."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Annotated, Any, TypeVar, cast, get_args, get_type_hints

from pydantic import BeforeValidator, TypeAdapter, ValidationError

from neuronscope._discover import method_class

T = TypeVar("T")

SEED = "seed"
"""The setting of methods that a task or study fills in."""

Choice = str | dict[str, Any]
"""The name of a method, or a table of its name and settings."""

MAY_BE_NONE = BeforeValidator(lambda value: None if value == "none" else value)
"""TOML has no null value."""

ALL, NONE = "all", "none"

OptionalChoice = Annotated[Choice | None, MAY_BE_NONE]
"""A method, or none."""


def made(family: str, choice: Choice | T | None, base: type[T], seed: int | None) -> T | None:
    """A method of a family with its settings; None if none was chosen.

    Args:
        choice: The method, or its name or table.
        seed: The seed to fill in if the method has a `seed` that was not set.

    Raises:
        ValueError: If the method or a setting does not exist.
    """
    if choice is None or isinstance(choice, base):
        return choice
    given = cast(Choice, choice)
    settings, kind = _settings_of(given), _class_of(family, given, base)
    if seed is not None and SEED in {item.name for item in fields(kind)}:
        settings = {SEED: seed} | settings
    return cast(T, built(kind, settings))


def several(
    family: str,
    choices: Any,
    base: type[T],
    seed: int | None,
    usual: Callable[[], Sequence[T]] | None = None,
) -> tuple[T, ...]:
    """Methods of a family, in the order given; default methods keep their own order.

    Args:
        choices: One or several methods, as `made` takes them; or `none`; or, if there are default
            methods, `all`, optionally with methods that replace those of the same name.
        usual: Returns the methods that `all` means.

    Raises:
        ValueError: If a method or setting does not exist, or `none` is combined with others.
    """
    alone = isinstance(choices, (str, Mapping, base))
    chosen = [choices] if alone else list(choices)
    if NONE in chosen:
        if len(chosen) > 1:
            raise ValueError(f"{NONE!r} cannot be combined with other methods, got {len(chosen)}.")
        return ()
    every = [] if usual is None else [_seeded(method, seed) for method in usual()]
    methods: list[T] = []
    for choice in chosen:
        if choice == ALL and usual is not None:
            continue
        method = made(family, choice, base, seed)
        if method is not None and method not in methods:
            methods.append(method)
    if ALL in chosen:
        named = [file_of(method) for method in methods]
        methods += [method for method in every if file_of(method) not in named]
    places = {file_of(method): place for place, method in enumerate(every)}
    return tuple(sorted(methods, key=lambda method: places.get(file_of(method), len(places))))


def file_of(method: object) -> str:
    """A method's name, which is the name of its file."""
    return type(method).__module__.rpartition(".")[2]


def _seeded(method: T, seed: int | None) -> T:
    settings = fields(method) if is_dataclass(method) else ()
    if seed is None or SEED not in {item.name for item in settings}:
        return method
    return replace(cast(Any, method), seed=seed)


def located(family: str, choice: Choice, base: type, folder: Path) -> Choice:
    """A method with the relative paths among its settings resolved against a folder.

    These are the settings whose type is a path, including defaults.

    Raises:
        ValueError: If the method does not exist.
    """
    settings, kind = _settings_of(choice), _class_of(family, choice, base)
    hints = get_type_hints(kind)
    given = {item.name: settings.get(item.name, item.default) for item in fields(kind)}
    files = {
        name: str(folder / value)
        for name, value in given.items()
        if Path in (hints[name], *get_args(hints[name])) and isinstance(value, str | Path)
    }
    return {"name": name_of(choice)} | settings | files if files else choice


def built(kind: type, settings: Mapping[str, Any]) -> Any:
    """A dataclass from plain values, each converted to the type of its field."""
    hints = get_type_hints(kind)
    known = [item.name for item in fields(kind)]
    values = {}
    for name, value in settings.items():
        if name not in known:
            raise ValueError(f"no setting {name!r}: expected one of {', '.join(known)}")
        try:
            values[name] = TypeAdapter(hints[name]).validate_python(value)
        except ValidationError as error:
            raise ValueError(f"{name}: {'; '.join(flaws_of(error))}") from error
    return kind(**values)


def name_of(choice: Choice) -> str:
    """The method's name.

    Raises:
        ValueError: If a table has no name.
    """
    if isinstance(choice, str):
        return choice
    if not isinstance(choice.get("name"), str):
        raise ValueError(f"expected a table with a name, got {choice!r}")
    return choice["name"]


def flaws_of(error: ValidationError) -> list[str]:
    """One line for each error, with its place."""
    flaws = []
    for one in error.errors(include_url=False):
        place = ".".join(str(part) for part in one["loc"])
        message = one["msg"].removeprefix("Value error, ")
        flaws.append(f"{place}: {message}" if place else message)
    return flaws


def _settings_of(choice: Choice) -> dict[str, Any]:
    return {} if isinstance(choice, str) else {k: v for k, v in choice.items() if k != "name"}


def _class_of(family: str, choice: Choice, base: type) -> type[Any]:
    kind = method_class(family, name_of(choice).replace("-", "_"), base)
    assert is_dataclass(kind), "a method is a frozen dataclass"
    return cast(type, kind)
