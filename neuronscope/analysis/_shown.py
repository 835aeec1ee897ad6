"""How a diagnosis is displayed: the verdict first, then the result of each view."""

from collections.abc import Sequence

from neuronscope.analysis.verdict import Verdict
from neuronscope.display import html_card, html_table, percent, with_interval
from neuronscope.results.findings import Finding

SUMS = "ΣD⁺ and ΣD⁻"
"""The name of the sums that decide what the attributions suggest."""


def headline(verdict: Verdict | None, reading: str, sums: str) -> tuple[str, str, str]:
    """The headline, and the name and value of the quantity that decides it.

    The headline is the verdict or, without one, what the attributions suggest.
    """
    if verdict is None:
        return f"attributions suggest: {reading} (no verdict)", SUMS, sums
    share = percent(verdict.hidden_share, verdict.hidden_share_ci95)
    return f"verdict: {verdict.word}", "hidden share", share


def diagnosis_card(
    head: tuple[str, str, str],
    why: str,
    outcome: Sequence[tuple[str, str]],
    attributions: tuple[str, str],
    findings: Sequence[Finding],
    warnings: Sequence[str],
) -> str:
    """A diagnosis as HTML.

    Args:
        head: From `headline`.
        why: What the deciding view found, in one sentence; may be empty.
        outcome: What became of the answers, as names and values.
        attributions: What the attributions suggest, and the sums that decide it.
        findings: What the views found.
        warnings: The limitations of the diagnosis.
    """
    word, name, value = head
    views = [("attributions", *attributions, SUMS)] + [
        (
            found.view.replace("_", " "),
            found.word or "–",
            with_interval(found.value, found.ci95),
            found.meaning,
        )
        for found in findings
    ]
    return html_card(
        word[0].upper() + word[1:],
        why,
        html_table(("", ""), [(name, value), *outcome]),
        html_table(("view", "suggests", "value", "meaning"), views),
        html_table(("", ""), [("note", warning) for warning in warnings]),
    )
