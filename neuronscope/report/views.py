"""The verdict in plain words, and who agrees: every view's own word, figure and sentence."""

from collections.abc import Callable
from dataclasses import dataclass

from neuronscope.analysis.diagnosis import Diagnosis
from neuronscope.analysis.verdict import Verdict
from neuronscope.report.estimates import percent
from neuronscope.report.tables import interval, number

ATTRIBUTIONS = "attributions"
"""What a verdict calls the reading."""


def _plainly(value: float, ci95: tuple[float, float]) -> str:
    return f"{number(value)} {interval(ci95)}".rstrip()


Wording = Callable[[float, tuple[float, float]], str]

VIEWS: dict[str, tuple[str, Wording]] = {
    "low_rank_restoration": ("low-rank restoration", percent),
    "weight_restoration": ("weight restoration", percent),
    "silencing": ("silencing", percent),
    "relearning_probe": ("relearning probe", percent),
    "weight_path": ("weight path", _plainly),
    "logit_lens": ("logit lens", percent),
    "linear_probe": ("linear probe", percent),
    "depth_score": ("depth score", _plainly),
    "exactness": ("exactness of the scores", _plainly),
}
"""What a reader calls a view, and how its figure is written: shares in percent."""


@dataclass(frozen=True)
class View:
    """What one view says."""

    name: str
    word: str
    """Its own word; empty if it says only where."""

    figure: str
    """The figure that the word rests on, with its interval."""

    meaning: str
    why: str


@dataclass(frozen=True)
class Group:
    """Views that stand to the verdict alike."""

    name: str
    views: tuple[View, ...]


def view_name(view: str) -> str:
    """What a reader calls it."""
    return VIEWS[view][0] if view in VIEWS else view.replace("_", " ")


def views(diagnosis: Diagnosis) -> dict[str, View]:
    """What every view says, the attributions' reading last."""
    said = {
        found.view: View(
            view_name(found.view),
            found.word or "",
            VIEWS.get(found.view, ("", _plainly))[1](found.value, found.ci95),
            found.meaning,
            found.why,
        )
        for found in diagnosis.findings
    }
    said[ATTRIBUTIONS] = View(
        ATTRIBUTIONS,
        diagnosis.reading,
        percent(diagnosis.hidden_share, diagnosis.hidden_share_ci95),
        "share of the neurons' change that is negative influence gained",
        diagnosis.reading_why,
    )
    return said


def groups(said: dict[str, View], verdict: Verdict) -> tuple[Group, ...]:
    """The views by whether they agree with the verdict, differ, or are silent; none is left out."""
    differ = tuple(name for name in said if name in verdict.differ)
    agree = tuple(name for name in said if name in verdict.agree)
    silent = tuple(name for name in said if name not in (*agree, *differ))
    titles = {
        f"Agree: {verdict.word}": agree,
        "Say something else": differ,
        "Cannot tell, or say only where": silent,
    }
    return tuple(
        Group(title, tuple(said[name] for name in names))
        for title, names in titles.items()
        if names
    )
