"""How a diagnosis is displayed: the verdict first, then the result of each view."""

from collections.abc import Sequence

from neuronscope.analysis.verdict import Verdict
from neuronscope.display import html_card, html_table, percent, with_interval
from neuronscope.results.findings import Finding

Interval = tuple[float, float]


def headline(
    verdict: Verdict | None, reading: str, share: float, interval: Interval
) -> tuple[str, str]:
    """The verdict, or else what the attributions suggest, and the corresponding hidden share."""
    if verdict is None:
        return f"attributions suggest: {reading} (no verdict)", percent(share, interval)
    return f"verdict: {verdict.word}", percent(verdict.hidden_share, verdict.hidden_share_ci95)


def diagnosis_card(
    head: tuple[str, str],
    why: str,
    outcome: Sequence[tuple[str, str]],
    attributions: tuple[str, float, Interval],
    findings: Sequence[Finding],
    warnings: Sequence[str],
) -> str:
    """A diagnosis as HTML.

    Args:
        head: From `headline`.
        why: What the deciding view found, in one sentence; may be empty.
        outcome: What became of the answers, as names and values.
        attributions: What they suggest, their hidden share, and its interval.
        findings: What the views found.
        warnings: The limitations of the diagnosis.
    """
    word, share = head
    reading, reading_share, interval = attributions
    views = [("attributions", reading, percent(reading_share, interval), "hidden share")] + [
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
        html_table(("", ""), [("hidden share", share), *outcome]),
        html_table(("view", "suggests", "value", "meaning"), views),
        html_table(("", ""), [("note", warning) for warning in warnings]),
    )
