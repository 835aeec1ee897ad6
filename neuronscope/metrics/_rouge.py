"""ROUGE-L: the longest common subsequence of two texts' words.

Lin 2004, "ROUGE: A package for automatic evaluation of summaries"; by the package rouge-score, with
its stemmer.
"""

import math
from functools import cache
from typing import Any, Literal

RougePart = Literal["recall", "f1"]


def rouge_l_score(expected: str, given: str, part: RougePart) -> float:
    """Longest common subsequence over the expected words, or its F1; from 0 to 1.

    NaN if no word of the expected text is left: only a-z and 0-9 make words.
    """
    words, scorer = _scorer()
    if not words.tokenize(expected):
        return math.nan
    score = scorer.score(expected, given)["rougeL"]
    return float(score.recall if part == "recall" else score.fmeasure)


@cache
def _scorer() -> tuple[Any, Any]:
    # Its import takes longer than that of this package.
    from rouge_score.rouge_scorer import RougeScorer
    from rouge_score.tokenizers import DefaultTokenizer

    words = DefaultTokenizer(use_stemmer=True)
    return words, RougeScorer(["rougeL"], tokenizer=words)
