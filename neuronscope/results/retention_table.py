"""Columns and names of the tables that show which facts are still answered."""

USES = ("forget", "retain", "test")
"""In the column `use`: the splits."""

NEIGHBOURS, SAME_SUBJECT, ELSE = "neighbours", "same subject", "everything else"
"""In the column `stratum`: facts to be kept. A fact that shares the relation of one forgotten fact
and the subject of another is a neighbour."""

UNKNOWN = "relation or subject not given"
"""In the column `stratum`: facts to be kept whose stratum is unknown, because they, or some
forgotten facts, lack a relation or a subject."""

TRAINED, PARAPHRASED, ANY = "trained prompt", "a paraphrase", "any prompt"
"""In the column `stratum`: facts to be forgotten, with the trained prompt, with paraphrases, and
with both. The last two contain only facts with paraphrases; a fact counts as answered there if the
model answers at least one of the prompts."""

STRATA = (TRAINED, PARAPHRASED, ANY, NEIGHBOURS, SAME_SUBJECT, ELSE, UNKNOWN)

NOT_FORGOTTEN = "answered under the trained prompt"
THERE_ONLY = "forgotten under the trained prompt only"
EVERYWHERE = "forgotten under every prompt"
UNTRIED = "forgotten under the trained prompt; no paraphrase to test"

KEYS = ("fact", "use", "stratum")
"""The keys of a row of answers: a fact's id, its split, and its stratum. A fact to be forgotten has
a row for each of its strata."""

ANSWERS = (*KEYS, "answered")
"""Whether a model answers each fact."""

COUNTED = ("stratum", "use", "correct", "n", "low", "high")
"""By stratum and use: number of answered facts, number of facts, and the 95 % Wilson interval of
the share."""

COMPARED = ("stratum", "use", "n", "first", "second", "lost", "gained", "p")
"""By stratum and use: number of facts, the number that each of two models answers, the numbers that
only the first or only the second answers, and the p-value of McNemar's exact test."""

DEPTHS = ("fact", "forgotten")
"""How deeply each fact is forgotten: `NOT_FORGOTTEN`, `THERE_ONLY`, `EVERYWHERE` or `UNTRIED`."""
