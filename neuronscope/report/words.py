"""What the page says in plain words."""

import shlex

from neuronscope.analysis.diagnosis import Diagnosis
from neuronscope.analysis.spurious import FALSE_DISCOVERIES

READINGS = {
    "hidden": "The hidden share (below) is at least two thirds: most of what changed is negative "
    "influence gained. Neurons push against answers that other neurons still support.",
    "erased": "It is at most one third: most of what changed is positive influence lost. The "
    "neurons that supported the answers no longer do.",
    "mixed": "It lies between: both happened.",
    "not forgotten": "Most of the facts are still answered: there is little to explain.",
}
"""Every reading, and what it says."""

VERDICTS = {
    "hidden": "The forgotten answers come back on a way too short to learn wrong ones: they are "
    "still in there.",
    "erased": "They are learnt again like wrong answers, and nothing finds them inside.",
    "mixed": "Some of them come back in this way, and some do not.",
    "not forgotten": "Most of the answers are still given: there is little to explain.",
    "collapsed": "Answers that were not to be forgotten are gone as well: the model is damaged in "
    "general.",
    "cannot tell": "There are too few facts, what came back may be chance, or views contradict an "
    "erasure.",
}
"""Every word of a verdict, and what it says."""

_TARGETS = {
    "log_odds": "The answer's logit minus the log-sum-exp of all other tokens': 0 is even odds.",
    "log_prob": "The logarithm of the answer's probability.",
    "prob": "The probability of the answer. Every influence on it fades as it nears 0, so that "
    "strong hiding can read as erasing.",
    "margin": "The answer's logit minus that of the given wrong answers: 0 is a tie.",
}

_UNITS = {
    "nats": "A nat is the unit of natural logarithms: one nat less divides the odds by 2.7.",
    "nats per token": "A nat is the unit of natural logarithms: one nat less divides the odds by "
    "2.7; here averaged over the answer's tokens.",
    "probability": "The unit is probability itself, from 0 to 1.",
}


def score_meaning(target: str, unit: str) -> str:
    """What the score is, and what one unit of it is."""
    return f"{_TARGETS[target]} {_UNITS[unit]}"


def spurious_meaning(diagnosis: Diagnosis) -> str:
    """What was counted as a spurious unlearning neuron, and how that was tested."""
    if diagnosis.n_spurious is None:
        why = "hold only means over facts" if diagnosis.n_null else "have no other facts"
        return (
            f"Not tested: the recordings {why}, so nothing tells a change meant for the forgotten "
            "facts from one that met all facts."
        )
    return (
        "Neurons whose negative influence grew more on the forgotten facts than on the "
        f"{diagnosis.n_null} others (one-sided Mann–Whitney test over facts, false discoveries "
        f"among them held to {100 * FALSE_DISCOVERIES:.0f} %: q), and by more than an equal share "
        "of the drop."
    )


def neurons_meaning(diagnosis: Diagnosis, shown: int, total: int) -> str:
    """Which neurons the table lists."""
    if diagnosis.n_spurious:
        return (
            f"The {shown} of {total:,} spurious neurons whose negative influence grew most. "
            "Silence or restore these first: if they hide the answers, the answers return."
        )
    why = "could be tested" if diagnosis.n_spurious is None else "passed the test"
    return (
        f"No neuron {why} as spurious. These are the {shown} of {total:,} neurons whose "
        "negative influence grew most, marked or not."
    )


def neurons_units(diagnosis: Diagnosis) -> str:
    """What the columns of the table of neurons are."""
    text = (
        f"Largest D⁻ first. Influence before, after, D⁻ and D⁺ in {diagnosis.unit}; layers and "
        "neurons count from 0. "
    )
    if "causal_share" in diagnosis.neurons.columns:
        text += (
            "The causal share is how much of the drop runs through the change of the neuron's own "
            "weights (weight path), below 0 if that change worked against the forgetting. "
        )
    return text + "Click a heading to sort."


def completeness_meaning(attribution: str) -> str:
    """What the completeness error is for this method."""
    if attribution == "integrated_gradients":
        return (
            "Integrated gradients must add up: a layer's influences sum to the score minus the "
            "score with that layer at its baseline. The completeness error is what is missing."
        )
    return (
        f"This method ({attribution}) does not promise to add up. Its completeness error is how "
        "far the sum of a layer's influences is from the exact effect of setting that layer to "
        "its baseline: large errors mean that single influences are rough estimates."
    )


def flagged_meaning(diagnosis: Diagnosis) -> str:
    """How many cells miss the method's tolerance."""
    if "tolerance" not in diagnosis.provenance_before.settings:
        return (
            "The method sets itself no tolerance, so no cell is flagged, however large its error."
        )
    if diagnosis.unconverged == 0:
        return "No cell (a fact in a layer of one model) is flagged: all are within the tolerance."
    return (
        f"{diagnosis.unconverged:,} flagged: that many cells (a fact in a layer of one model) miss "
        "the method's tolerance. Do not read their layers finely, or record with more steps."
    )


def reproducing_command(diagnosis: Diagnosis) -> str:
    """The shell command of such a diagnosis; what is not in the recordings stands in capitals."""
    before, after = diagnosis.provenance_before, diagnosis.provenance_after
    options = {
        "before": before.model,
        "after": after.model,
        "facts": "FACTS",
        "out": "FOLDER",
        "attribution": diagnosis.attribution.replace("_", "-"),
        "target": diagnosis.target.replace("_", "-"),
        "form": before.prompt_form,
        "dtype": before.dtype,
    }
    words = ["neuronscope", "diagnose"]
    for name, value in options.items():
        words += [f"--{name}", value]
    return shlex.join([*words, "--sites", *diagnosis.sites])
