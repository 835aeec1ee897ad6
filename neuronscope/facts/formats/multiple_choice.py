"""Multiple-choice questions: {question, choices, answer}, as in MMLU and WMDP."""

from dataclasses import dataclass
from typing import ClassVar

from neuronscope.facts.documents import Document, Row, kind
from neuronscope.facts.fact import Fact, quoted
from neuronscope.facts.formats._base import FactFormat, Reading, by_row

FIELDS = ("id", "question", "choices", "answer", "subject", "relation", "split")


@dataclass(frozen=True)
class MultipleChoice(FactFormat):
    """The answer is one of the choices, given by its index (from 0) or its text."""

    expects: ClassVar[str] = "question, choices, answer"

    def claims(self, document: Document) -> bool:
        """Whether the rows have questions and choices."""
        names = document.field_names
        return "question" in names and "choices" in names and "prompt" not in names

    def read(self, document: Document) -> Reading:
        """One fact per question; the wrong choices are its distractors."""
        return by_row(document, _fact, FIELDS)


def _fact(row: Row, numbered: str) -> Fact:
    choices = row.texts("choices")
    index = _answer_index(row, choices)
    return Fact(
        id=row.optional_text("id") or numbered,
        prompt=row.text("question"),
        answer=choices[index],
        distractors=choices[:index] + choices[index + 1 :],
        subject=row.optional_text("subject"),
        relation=row.optional_text("relation"),
    )


def _answer_index(row: Row, choices: tuple[str, ...]) -> int:
    answer = row.fields.get("answer")
    if len(choices) < 2:
        raise ValueError(f"{row.place}: expected at least two choices, got {len(choices)}.")
    if isinstance(answer, str):
        if answer not in choices:
            raise ValueError(f"{row.place}: the answer {quoted(answer)} is not one of the choices.")
        return choices.index(answer)
    if isinstance(answer, bool) or not isinstance(answer, int):
        raise ValueError(
            f"{row.place}: expected 'answer' as the index or text of a choice, got {kind(answer)}."
        )
    if not 0 <= answer < len(choices):
        raise ValueError(f"{row.place}: the answer's index must be from 0 to {len(choices) - 1}.")
    return answer
