"""neuronscope's format: rows with a prompt and an answer, as described in data/README.md."""

from dataclasses import dataclass
from typing import ClassVar

from neuronscope.facts.documents import Document, Row
from neuronscope.facts.fact import Fact, Placed, quoted
from neuronscope.facts.formats._base import FactFormat, Reading, left_out

FIELDS = (
    "id",
    "prompt",
    "answer",
    "distractors",
    "paraphrases",
    "subject",
    "relation",
    "paraphrased_answers",
    "split",
)


@dataclass(frozen=True)
class PromptAnswer(FactFormat):
    """The fields of `Fact`, and `split`."""

    expects: ClassVar[str] = "prompt, answer"

    def claims(self, document: Document) -> bool:
        """Whether any row has a prompt."""
        return "prompt" in document.field_names

    def read(self, document: Document) -> Reading:
        """One fact per row; rows without a split go to `forget`."""
        placed = tuple(
            Placed(row.split("forget"), _fact(row, f"{document.path.stem}-{n:04}"), row.place)
            for n, row in enumerate(document.rows)
        )
        notes = left_out(document.path, document.rows, FIELDS)
        if "split" not in document.field_names:
            notes += (
                f"{quoted(document.path.name)}: no row names a split: all facts are in 'forget'.",
            )
        return Reading(placed, notes)


def _fact(row: Row, numbered: str) -> Fact:
    return Fact(
        id=row.optional_text("id") or numbered,
        prompt=row.text("prompt"),
        answer=row.text("answer"),
        distractors=row.texts("distractors"),
        paraphrases=row.texts("paraphrases"),
        subject=row.optional_text("subject"),
        relation=row.optional_text("relation"),
        paraphrased_answers=row.texts("paraphrased_answers"),
    )
