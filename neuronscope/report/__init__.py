"""Self-contained HTML pages of a diagnosis and of a study, and the sentences in them."""

from neuronscope.report.page import write_report
from neuronscope.report.sentences import diagnosis_json, reading_sentence, sentence
from neuronscope.report.study_page import write_study_report

__all__ = [
    "diagnosis_json",
    "reading_sentence",
    "sentence",
    "write_report",
    "write_study_report",
]
