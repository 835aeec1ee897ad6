"""The findings of all views as the page lists them, and their agreement with the verdict."""

from collections.abc import Callable
from dataclasses import dataclass

from neuronscope.analysis.diagnosis import Diagnosis
from neuronscope.analysis.verdict import Verdict
from neuronscope.report.numbers import Interval, estimated, estimated_share, number, spaced
from neuronscope.report.sentences import reading_sentence

ATTRIBUTIONS = "attributions"
"""The name, in a verdict, of what the attributions suggest."""

FORMATS: dict[str, Callable[[float, Interval], str]] = dict.fromkeys(
    (
        "low_rank_restoration",
        "weight_restoration",
        "silencing",
        "relearning_probe",
        "logit_lens",
        "linear_probe",
    ),
    estimated_share,
)
"""Views whose value is a share, written in percent."""


@dataclass(frozen=True)
class View:
    """The finding of one view."""

    name: str
    word: str
    """Its own verdict; empty if it localizes an effect without interpreting it."""

    figure: str
    """The value that the verdict rests on, with its interval."""

    meaning: str
    why: str


@dataclass(frozen=True)
class Group:
    """Views with the same relation to the verdict."""

    name: str
    views: tuple[View, ...]


def views_of(diagnosis: Diagnosis) -> dict[str, View]:
    """The finding of every view, the attributions last."""
    views = {
        found.view: View(
            spaced(found.view),
            found.word or "",
            FORMATS.get(found.view, estimated)(found.value, found.ci95),
            found.meaning,
            found.why,
        )
        for found in diagnosis.findings
    }
    views[ATTRIBUTIONS] = View(
        ATTRIBUTIONS,
        diagnosis.reading,
        f"{number(diagnosis.d_plus_sum)}, {number(diagnosis.d_minus_sum)}",
        f"positive influence lost and negative influence gained, in {diagnosis.unit}",
        reading_sentence(diagnosis),
    )
    return views


def groups(views: dict[str, View], verdict: Verdict) -> tuple[Group, ...]:
    """All views, grouped by whether they agree with the verdict, disagree, or do not decide."""
    differ = tuple(name for name in views if name in verdict.differ)
    agree = tuple(name for name in views if name in verdict.agree)
    silent = tuple(name for name in views if name not in (*agree, *differ))
    titles = {
        f"Agree: {verdict.word}": agree,
        "Disagree": differ,
        "Cannot tell, or only localize": silent,
    }
    return tuple(
        Group(title, tuple(views[name] for name in names))
        for title, names in titles.items()
        if names
    )
