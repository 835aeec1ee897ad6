"""The tables of what is still answered, and the names in them."""

USES = ("forget", "retain", "test")
"""In the column `use`, the splits."""

NEIGHBOURS, SAME_SUBJECT, ELSE = "neighbours", "same subject", "everything else"
"""In the column `stratum`, facts to be kept. A fact that shares the relation of a forgotten one and
the subject of another is a neighbour."""

UNKNOWN = "relation or subject not given"
"""Facts that may belong to any of these."""

TRAINED, PARAPHRASED, ANY = "trained prompt", "a paraphrase", "any prompt"
"""In the column `stratum`, facts to be forgotten: the same facts under several prompts. Those that
have paraphrases are answered under one of these, or under one of all prompts."""

STRATA = (TRAINED, PARAPHRASED, ANY, NEIGHBOURS, SAME_SUBJECT, ELSE, UNKNOWN)

NOT_FORGOTTEN = "answered under the trained prompt"
THERE_ONLY = "forgotten under the trained prompt only"
EVERYWHERE = "forgotten under every prompt"
UNTRIED = "forgotten under the trained prompt, and no paraphrase to ask"

KEYS = ("fact", "use", "stratum")
"""A row of the answers: a fact's id, its split, and its stratum. A fact to be forgotten has a row
for each of its strata."""

ANSWERS = (*KEYS, "answered")
"""Whether a model answers each fact."""

COUNTED = ("stratum", "use", "correct", "n", "low", "high")
"""Facts of each stratum and use that are answered, and of how many, with the 95 % Wilson interval
of the share."""

COMPARED = ("stratum", "use", "n", "first", "second", "lost", "gained", "p")
"""Facts of each stratum and use that each of two models answers, that the first or the second
answers alone, and McNemar's exact test."""

DEPTHS = ("fact", "forgotten")
"""How deeply each fact is forgotten: `NOT_FORGOTTEN`, `THERE_ONLY`, `EVERYWHERE` or `UNTRIED`."""
