"""Two comparable recordings, from before and after unlearning."""

from collections.abc import Iterator
from dataclasses import dataclass

from neuronscope.results.recording import Recording


@dataclass(frozen=True)
class Comparison:
    """Recordings of two models on the same facts with the same settings, checked on creation.

    Raises:
        ValueError: If facts, method, target, prompt form or neurons differ.
    """

    before: Recording
    """The original model."""

    after: Recording
    """The unlearned model."""

    def __post_init__(self) -> None:
        for what, before, after, advice in _aspects(self.before, self.after):
            if before != after:
                raise ValueError(
                    f"Both recordings must have the same {what}, got {before!r:.80} before and "
                    f"{after!r:.80} after; {advice}."
                )


def _aspects(before: Recording, after: Recording) -> Iterator[tuple[str, object, object, str]]:
    """Properties that must agree, with both values and advice; root causes come first."""
    ours, theirs = before.provenance, after.provenance
    facts = "record both with the same facts and splits"
    yield "number of facts", len(before.fact_ids), len(after.fact_ids), facts
    for number in range(min(len(before.fact_ids), len(after.fact_ids))):
        yield f"fact {number}", before.fact_ids[number], after.fact_ids[number], facts
        name = f"split of fact '{before.fact_ids[number]}'"
        yield name, before.splits[number], after.splits[number], facts
    yield "facts (by hash)", ours.facts_hash, theirs.facts_hash, facts
    for what in ("attribution", "target", "unit", "prompt_form"):
        name = what.replace("_", " ")
        advice = f"record both with the same {name}"
        yield name, vars(ours)[what], vars(theirs)[what], advice
    for name in sorted(ours.settings | theirs.settings):
        advice = "record both with the same settings of the attribution method"
        value = ours.settings.get(name, "nothing"), theirs.settings.get(name, "nothing")
        yield f"setting '{name}'", *value, advice
    sites = "record both at the same sites"
    yield "sites", sorted(before.sites), sorted(after.sites), sites
    reduced = "record both per fact, or both as means"
    yield "form (per fact)", before.per_fact, after.per_fact, reduced
    model = "the two models must have the same architecture"
    yield "number of experts", ours.experts, theirs.experts, model
    for site in before.sites:
        shapes = [
            {field: array.shape for field, array in vars(recording.sites[site]).items()}
            for recording in (before, after)
        ]
        for field in shapes[0]:
            yield f"shape of {site}.{field}", shapes[0][field], shapes[1][field], model
