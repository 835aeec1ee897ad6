"""Compare a generated answer with the expected one."""

import re
import unicodedata
from collections.abc import Sequence

_ARTICLES = ("a", "an", "the")


def same_answer(given: str, expected: str) -> bool:
    """Whether two texts are equal up to case, punctuation, articles and whitespace.

    The comparison of SQuAD (Rajpurkar et al., arXiv 1606.05250). In a text that consists only of
    articles and punctuation, these count.
    """
    return (_words(given) or _folded(given)) == (_words(expected) or _folded(expected))


def begins_with(given: str, expected: str) -> bool:
    """Whether a text starts with the words of the expected one, compared as in `same_answer`."""
    wanted = _words(expected)
    if not wanted:
        return _folded(given).startswith(_folded(expected))
    return _words(given)[: len(wanted)] == wanted


def first_lines(given: str, expected: str) -> str:
    """The first lines of a text, as many as the expected one has; the rest is ignored."""
    count = len(expected.strip().splitlines())
    return "\n".join(given.strip().splitlines()[:count])


def first_option(given: str, options: Sequence[str]) -> int | None:
    """Index of the option that a text names first, in whole words; None if it names none.

    If two start at the same place, the longer one counts. Case and whitespace do not matter.
    """
    text = _folded(given)
    found = []
    for place, option in enumerate(options):
        wanted = _folded(option)
        match = re.search(rf"(?<!\w){re.escape(wanted)}(?!\w)", text)
        if match is not None:
            found.append((match.start(), -len(wanted), place))
    return min(found)[-1] if found else None


def _folded(text: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def _words(text: str) -> list[str]:
    bare = "".join(c for c in _folded(text) if not unicodedata.category(c).startswith("P"))
    return [word for word in bare.split() if word not in _ARTICLES]
