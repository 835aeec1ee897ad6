"""Numbers and names as text, for the pages."""

from collections.abc import Iterable
from math import isnan

import numpy as np

from neuronscope.analysis.statistics import wilson_interval
from neuronscope.report.over_seeds import Rate

Number = int | float | np.integer
"""A number in a table."""

Interval = tuple[float, float]
"""Lower and upper bound; NaN where there is no interval."""

_RAISED = str.maketrans("0123456789-", "⁰¹²³⁴⁵⁶⁷⁸⁹⁻")


def number(value: float) -> str:
    """Three significant digits; a dash for NaN."""
    if isnan(value):
        return "–"
    if abs(value) >= 1000:
        return f"{value:,.0f}".replace("-", "−")
    digits, _, exponent = f"{value:#.3g}".partition("e")
    power = "·10" + str(int(exponent)).translate(_RAISED) if exponent else ""
    return "0" if value == 0 else digits.rstrip(".").replace("-", "−") + power


def interval(bounds: Interval) -> str:
    """Both bounds in brackets; empty for NaN."""
    return "" if isnan(sum(bounds)) else f"[{number(bounds[0])}, {number(bounds[1])}]"


def estimated(value: float, ci95: Interval) -> str:
    """A number with its interval."""
    return f"{number(value)} {interval(ci95)}".rstrip()


def share(value: float) -> str:
    """A share in percent; a dash for NaN."""
    if isnan(value):
        return "–"
    digits = 0 if abs(value) >= 0.1 or value == 0 else 2
    return f"{100 * value:.{digits}f}\u00a0%".replace("-", "−")


def estimated_share(value: float, ci95: Interval) -> str:
    """A share in percent with its interval."""
    known = not isnan(sum(ci95))
    return share(value) + (f" [{share(ci95[0])}, {share(ci95[1])}]" if known else "")


def whole_percent(value: Number) -> str:
    """A share in whole percent; a dash for NaN."""
    return "–" if isnan(value) else f"{100 * value:.0f}\u00a0%".replace("-", "−")


def percent_range(low: Number, high: Number) -> str:
    """The interval of a share in whole percent, as in `6–32 %`."""
    return f"{100 * low:.0f}–{100 * high:.0f}\u00a0%"


def points(value: Number) -> str:
    """A difference of shares in percentage points, with its sign."""
    return f"{100 * value:+.0f}".replace("-", "−").replace("+0", "0")


def count(hits: int, total: int) -> str:
    """`hits` of `total`, with the 95 % Wilson interval of the rate."""
    return f"{hits} of {total} [{percent_range(*wilson_interval(hits, total))}]"


def amount(value: Number) -> str:
    """A count, or a mean of counts with one decimal."""
    return f"{value:,.1f}".removesuffix(".0")


def span(values: Iterable[Number]) -> str:
    """Counts from the smallest to the largest, as in `3` or `2 to 4`."""
    known = list(values)
    least, most = min(known), max(known)
    return amount(least) if least == most else f"{amount(least)} to {amount(most)}"


def rate_text(rate: Rate) -> str:
    """A count of answers with the Wilson interval of its share."""
    return f"{amount(rate.correct)} of {amount(rate.n)} [{percent_range(*rate.interval)}]"


def p_text(p: Number) -> str:
    """A p-value, as in `p = 0.03`."""
    return "p < 0.001" if p < 0.001 else f"p = {p:.2g}"


def spaced(name: object) -> str:
    """The name of a method, view or target in a sentence."""
    return str(name).replace("_", " ")


def attack_name(attack: object, variant: object) -> str:
    """The displayed name of an attack, with its variant in parentheses."""
    return f"{spaced(attack)} ({variant})" if variant else spaced(attack)


def called(method: object) -> str:
    """A method's name in the study, in quotation marks if it contains a comma."""
    name = str(method)
    return f"“{name}”" if "," in name else name


def listed(names: Iterable[str], word: str = "and") -> str:
    """Names in a sentence: `a, b and c`."""
    *first, last = names
    return f"{', '.join(first)} {word} {last}" if first else last
