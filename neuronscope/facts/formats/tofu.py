"""TOFU (Maini et al., arXiv 2401.06121): question-answer pairs about fictitious authors.

Reads the benchmark's files, their Parquet versions, and extensions that use the same field names.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from neuronscope.facts.documents import Document, Row
from neuronscope.facts.fact import Fact, Placed, quoted
from neuronscope.facts.formats._base import FactFormat, Reading, left_out

SPLIT_OF = {
    "forget": "forget",
    "retain": "retain",
    "holdout": "test",
    "real_authors": "utility",
    "world_facts": "utility",
}
FIELDS = (
    "id",
    "question",
    "answer",
    "paraphrased_question",
    "paraphrased_answer",
    "perturbed_answer",
    "options",
    "subject",
    "split",
)
_OPTION = re.compile(r"option_?\d+")


@dataclass(frozen=True)
class Tofu(FactFormat):
    """Perturbed answers and wrong options become distractors."""

    expects: ClassVar[str] = "question, answer"

    def claims(self, document: Document) -> bool:
        """Whether the rows have questions but no choices."""
        names = document.field_names
        return "question" in names and "choices" not in names and "prompt" not in names

    def read(self, document: Document) -> Reading:
        """One fact per question.

        The split is a row's `split`, or follows from the name of the file or else of its folder;
        `forget` if neither names a subset.
        """
        path = document.path
        subset = _subset(path)
        split = SPLIT_OF[subset[0]] if subset else "forget"
        stem = subset[1] if subset else path.stem
        placed = tuple(
            Placed(row.split(split), _fact(row, f"{stem}-{n:04}"), row.place)
            for n, row in enumerate(document.rows)
        )
        options = [name for name in document.field_names if _OPTION.fullmatch(name)]
        notes = left_out(path, document.rows, (*FIELDS, *options))
        if not subset and "split" not in document.field_names:
            notes += (
                f"{quoted(path.name)}: the name indicates no split: all facts are in 'forget'.",
            )
        return Reading(placed, notes)


def _subset(path: Path) -> tuple[str, str] | None:
    """The subset that the file's name, or else its folder's, starts with; and the whole name."""
    for name in (path.stem, path.parent.name):
        for subset in SPLIT_OF:
            if name.startswith(subset):
                return subset, name
    return None


def _fact(row: Row, numbered: str) -> Fact:
    question, answer = row.text("question"), row.text("answer")
    options = [*row.texts("options")]
    for name in sorted(row.fields):
        if _OPTION.fullmatch(name):
            options += row.texts(name)
    wrong = [option for option in options if option.strip() != answer.strip()]
    paraphrases = [text for text in row.texts("paraphrased_question") if text != question]
    reworded = [text for text in row.texts("paraphrased_answer") if text != answer]
    return Fact(
        id=row.optional_text("id") or numbered,
        prompt=question,
        answer=answer,
        distractors=tuple(dict.fromkeys([*row.texts("perturbed_answer"), *wrong])),
        paraphrases=tuple(dict.fromkeys(paraphrases)),
        subject=row.optional_text("subject"),
        paraphrased_answers=tuple(dict.fromkeys(reworded)),
    )
