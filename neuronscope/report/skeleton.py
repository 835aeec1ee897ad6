"""What all pages are made with: templates, colours, scripts, and a file that is whole or not there.

Everything is inside the page. What others wrote (names, facts, sentences) comes out escaped.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from neuronscope.plots import look
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
"""The page's colours by their name in the style sheet."""


def render(template: str, **content: Any) -> str:
    """A page as text: everything inside, nothing to load.

    Args:
        template: A file in this folder that extends `skeleton.html.j2`.
        content: What it names.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(FOLDER),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(template).render(
        font=Markup(look.FONT),
        colours=COLOURS,
        dark=look.DARK,
        style=asset("page.css"),
        script=asset("page.js"),
        plotly=Markup(get_plotlyjs()),
        **content,
    )


def asset(name: str) -> Markup:
    """A style sheet or script of this folder, to stand inside the page."""
    return Markup((FOLDER / name).read_text(encoding="utf-8"))


def write_page(path: str | Path, rendered: Callable[[], str]) -> None:
    """Write a page to `path`; an older file there is replaced only once the new one is complete.

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
