"""Small pieces of HTML: escaped, without external resources, in the page's colours."""

import math
from collections.abc import Sequence
from html import escape

CARD = "border-left:3px solid currentColor;padding:.2em .9em;margin:.4em 0;max-width:60em"
CELL = "text-align:left;padding:.15em .9em .15em 0;vertical-align:top"


def html_card(title: str, text: str = "", *parts: str) -> str:
    """A title, a sentence below it, and further parts.

    Args:
        title: Plain text.
        text: Plain text.
        parts: HTML, e.g. tables.
    """
    line = f"<div>{escape(text)}</div>" if text else ""
    return f'<div style="{CARD}"><div><b>{escape(title)}</b></div>{line}{"".join(parts)}</div>'


def html_table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A table whose cells are plain text; empty if there are no rows."""
    if not rows:
        return ""

    def line(cells: Sequence[object], tag: str) -> str:
        return "".join(f'<{tag} style="{CELL}">{escape(str(cell))}</{tag}>' for cell in cells)

    top = f"<thead><tr>{line(head, 'th')}</tr></thead>" if any(head) else ""
    body = "".join(f"<tr>{line(row, 'td')}</tr>" for row in rows)
    return f'<table style="margin:.4em 0">{top}<tbody>{body}</tbody></table>'


def shortened(text: str, most: int = 60) -> str:
    """Text on one line, truncated with an ellipsis."""
    line = " ".join(text.split())
    return line if len(line) <= most else line[: most - 1] + "…"


def shown_number(value: float) -> str:
    """A number to three digits; a dash for NaN."""
    return "–" if math.isnan(value) else f"{value:.3g}"


def percent(share: float, interval: tuple[float, float] = (math.nan, math.nan)) -> str:
    """A share in percent, with its 95 % interval if there is one."""
    if math.isnan(share):
        return "–"
    text = f"{100 * share:.0f} %"
    low, high = interval
    if math.isnan(low) or math.isnan(high):
        return text
    return f"{text} (95 % interval {100 * low:.0f} % to {100 * high:.0f} %)"


def with_interval(value: float, interval: tuple[float, float]) -> str:
    """A number to three digits, with its 95 % interval if there is one."""
    low, high = interval
    if math.isnan(low) or math.isnan(high):
        return shown_number(value)
    return f"{value:.3g} (95 % interval {low:.3g} to {high:.3g})"
