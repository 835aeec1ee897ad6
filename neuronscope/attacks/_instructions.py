"""Read files of instructions and responses that are unrelated to the forgotten facts."""

from dataclasses import dataclass
from pathlib import Path

from neuronscope.facts.documents import Document, Row, kind, printable, read_document
from neuronscope.facts.fact import Fact
from neuronscope.facts.shipped import shipped

OWN = shipped("benign") / "instructions.jsonl"
"""Sixty short pairs written for this package."""


@dataclass(frozen=True)
class Instructions:
    """Instructions as facts: instruction and input form the prompt, the output is the answer."""

    facts: tuple[Fact, ...]

    empty: int
    """Number of rows left out because they have no output."""


def load_instructions(path: Path) -> Instructions:
    """Read a file of instructions.

    The format is that of Alpaca (`instruction`, `input`, `output`; a JSON list or JSON lines) or
    that of Self-Instruct's seed tasks (`instruction`, and `instances` with `input` and `output`).

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it has neither format (the message names the line), or no output at all.
    """
    if not path.is_file():
        raise FileNotFoundError(f"Expected a file of instructions at {printable(path)}.")
    document = read_document(path)
    pairs = [pair for row in document.rows for pair in _pairs(document, row)]
    facts = tuple(
        Fact(f"{path.stem}-{number:04}", prompt, answer)
        for number, (prompt, answer) in enumerate(pairs)
        if answer.strip()
    )
    if not facts:
        raise ValueError(f"{printable(path)}: no instruction has an output; give another file.")
    return Instructions(facts, len(pairs) - len(facts))


def _pairs(document: Document, row: Row) -> list[tuple[str, str]]:
    """Prompts and answers of a row."""
    instruction = row.text("instruction")
    if not instruction.strip():
        raise ValueError(f"{row.place}: the instruction is empty.")
    if "instances" not in document.field_names:
        return [_pair(instruction, row)]
    instances = row.fields.get("instances")
    if not isinstance(instances, list):
        raise ValueError(f"{row.place}: expected 'instances' as a list, got {kind(instances)}.")
    pairs = []
    for instance in instances:
        if not isinstance(instance, dict):
            raise ValueError(
                f"{row.place}: expected an object in 'instances', got {kind(instance)}."
            )
        pairs.append(_pair(instruction, Row(row.place, instance)))
    return pairs


def _pair(instruction: str, row: Row) -> tuple[str, str]:
    more = row.optional_text("input")
    prompt = instruction.strip() if more is None else f"{instruction.strip()}\n{more.strip()}"
    return prompt, row.text("output").strip()
