"""ROUGE-L: the longest common subsequence of two texts' words.

Lin 2004, "ROUGE: A package for automatic evaluation of summaries"; computed with the package
rouge-score and its stemmer.
"""

import math
from functools import cache
from typing import Any, Literal

RougePart = Literal["recall", "f1"]


def rouge_l_score(expected: str, given: str, part: RougePart) -> float:
    """ROUGE-L recall (share of the expected words in the common subsequence) or F1, from 0 to 1.

    NaN if the expected text has no words; only a-z and 0-9 form words.
    """
    words, scorer = _scorer()
    if not words.tokenize(expected):
        return math.nan
    score = scorer.score(expected, given)["rougeL"]
    return float(score.recall if part == "recall" else score.fmeasure)


@cache
def _scorer() -> tuple[Any, Any]:
    # Imported late, because it takes longer than importing this package.
    from rouge_score.rouge_scorer import RougeScorer
    from rouge_score.tokenizers import DefaultTokenizer

    words = DefaultTokenizer(use_stemmer=True)
    return words, RougeScorer(["rougeL"], tokenizer=words)
