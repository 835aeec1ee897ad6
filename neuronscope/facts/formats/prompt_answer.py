"""neuronscope's format: rows with a prompt and an answer, as described in data/README.md."""

from dataclasses import dataclass
from typing import ClassVar

from neuronscope.facts.documents import Document, Row
from neuronscope.facts.fact import Fact
from neuronscope.facts.formats._base import FactFormat, Reading, by_row

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
        return by_row(document, _fact, FIELDS)


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
