"""Metrics of forgetting, retention and utility: one metric per file."""

from neuronscope.metrics._answers import Span, guessing, spanned
from neuronscope.metrics._base import Metric
from neuronscope.metrics._harness import Harness, open_harness
from neuronscope.metrics._retention import answers
from neuronscope.metrics._rouge import rouge_l_score
from neuronscope.metrics._score import Score, table_of

__all__ = [
    "Harness",
    "Metric",
    "Score",
    "Span",
    "answers",
    "guessing",
    "open_harness",
    "rouge_l_score",
    "spanned",
    "table_of",
]
