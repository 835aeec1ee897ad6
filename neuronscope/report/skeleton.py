"""What all pages share: templates, filters, colours, scripts, and writing the file atomically.

Every page is a single file. Text from outside (names, facts, sentences) is escaped.
"""

import math
import re
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from neuronscope.analysis.spurious import FAMILY_WISE_ERROR
from neuronscope.analysis.verdict import FEWEST
from neuronscope.plots import look
from neuronscope.report import numbers
from neuronscope.results.cache import written_whole

FOLDER = Path(__file__).parent

COLOURS = {
    "paper": look.PAPER,
    "card": look.CARD,
    "ink": look.INK,
    "muted": look.MUTED,
    "line": look.GRID,
    "erased": look.ERASED,
    "hidden": look.HIDDEN,
    "remainder": look.REMAINDER,
    "before": look.BEFORE,
    "after": look.AFTER,
}
"""The page's colours, by their names in the style sheet."""

FILTERS: dict[str, Callable[..., Any]] = {
    "amount": numbers.amount,
    "called": numbers.called,
    "listed": numbers.listed,
    "number": numbers.number,
    "p_value": numbers.p_text,
    "points": numbers.points,
    "rate": numbers.rate_text,
    "share": numbers.share,
    "spaced": numbers.spaced,
    "span": numbers.span,
}
"""Filters with which templates format numbers and names."""

THRESHOLDS = {
    "FAMILY_WISE_ERROR": FAMILY_WISE_ERROR,
    "FEWEST": FEWEST,
}
"""Constants of the analysis that the templates name."""


@cache
def _templates() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(FOLDER / "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= FILTERS
    environment.tests["nan"] = math.isnan
    environment.globals |= THRESHOLDS
    return environment


def render(template: str, **content: Any) -> str:
    """Render a page that contains everything it needs.

    Args:
        template: A file in `templates/` that extends `skeleton.html.j2`.
        content: The template's variables.
    """
    return (
        _templates()
        .get_template(template)
        .render(
            font=Markup(look.FONT),
            colours=COLOURS,
            dark=look.DARK,
            style=asset("page.css"),
            script=asset("page.js"),
            plotly=Markup(get_plotlyjs()),
            **content,
        )
    )


def plain_text(template: str, macro: str, *arguments: object) -> str:
    """The plain text that a macro of a template produces.

    Args:
        template: A file in `templates/`.
        macro: Name of the macro.
        arguments: The macro's arguments.
    """
    written = getattr(_templates().get_template(template).module, macro)(*arguments)
    return re.sub(r"[ \n]+", " ", Markup(written).unescape()).strip()


def asset(name: str) -> Markup:
    """A style sheet or script from `assets/`, to be embedded in a page."""
    return Markup((FOLDER / "assets" / name).read_text(encoding="utf-8"))


def write_page(path: str | Path, rendered: Callable[[], str]) -> None:
    """Write a page to `path`; an existing file is replaced only by a complete one.

    Raises:
        FileNotFoundError: If the folder of `path` does not exist; nothing is rendered then.
    """
    path = Path(path)
    if not path.parent.is_dir():
        raise FileNotFoundError(
            f"No folder {path.parent} to write {path.name} to: create it first."
        )
    text = rendered()
    with written_whole(path) as unfinished:
        unfinished.write_text(text, encoding="utf-8")
