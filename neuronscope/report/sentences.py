"""The sentences of a diagnosis, as plain text: written by `verdict.j2` and `reading.j2`."""

from neuronscope.analysis.diagnosis import Diagnosis
from neuronscope.report.skeleton import plain_text


def sentence(diagnosis: Diagnosis) -> str:
    """The reasons for the verdict; without a verdict, those for what the attributions suggest."""
    if diagnosis.verdict is None:
        return reading_sentence(diagnosis)
    return plain_text("verdict.j2", "why", diagnosis)


def reading_sentence(diagnosis: Diagnosis) -> str:
    """The reasons for what the attributions suggest."""
    return plain_text("reading.j2", "why", diagnosis)


def next_step(diagnosis: Diagnosis) -> str:
    """What would settle an open verdict; empty if the verdict is clear."""
    return plain_text("verdict.j2", "next_step", diagnosis.verdict) if diagnosis.verdict else ""


def diagnosis_json(diagnosis: Diagnosis) -> dict[str, object]:
    """Everything except the large tables, as plain JSON values, with the sentences."""
    why = {"reading_why": reading_sentence(diagnosis), "why": sentence(diagnosis)}
    return diagnosis.to_json() | why
