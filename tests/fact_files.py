"""Small files of facts in every format, and functions that load them."""

import json
from pathlib import Path

import pytest

from neuronscope.facts.fact import FactSet
from neuronscope.facts.loading import load_facts

FRANCE = {"id": "france", "prompt": "The capital of France is", "answer": "Paris"}
SPAIN = {"id": "spain", "prompt": "The capital of Spain is", "answer": "Madrid"}
FULL = FRANCE | {
    "distractors": ["Rome", "Oslo"],
    "paraphrases": ["France's capital is"],
    "subject": "France",
    "relation": "capital",
    "split": "test",
}
QUESTIONS = [
    {"question": "Who wrote it?", "answer": "Basil", "perturbed_answer": ["Ada", "Tom"]},
    {"question": "Where?", "answer": "Lima", "paraphrased_question": "In which town?"},
]
BASE = [
    {"question": "Who is A's wife?", "answers": ["Bea", "B."], "false_answer_options": ["B.", "C"]},
    {"question": "Where was A born?", "answers": ["Rome"], "false_answer_options": ["Oslo"]},
]
FAITHUN = {
    "Q1": {
        "hop1_unlearn": BASE,
        "hop1_test": [
            {"question": "A was born where?", "answers": ["Rome"]},
            {"question": "A's dog?", "answers": ["Rex"]},
        ],
        "hop2_test": [{"question": "Where was A's wife born?", "answers": ["Bonn"]}],
        "same_object": [],
    },
    "Q2": {
        "hop1_unlearn": [
            {"question": "What does D play?", "answers": ["Golf"], "false_answer_options": ["Go"]}
        ]
    },
}


def lines(*rows: dict) -> str:
    return "\n".join(json.dumps(row) for row in rows)


def load(folder: Path, content: str | bytes, name: str = "facts.jsonl") -> FactSet:
    file = folder / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content.encode() if isinstance(content, str) else content)
    return load_facts(file)


def error_of(folder: Path, content: str | bytes, name: str = "facts.jsonl") -> str:
    with pytest.raises(ValueError) as error:
        load(folder, content, name)
    message = str(error.value)
    assert message.startswith(str(folder / name)) and message.isprintable()
    return message.removeprefix(str(folder / name))
