"""The relearning probe distinguishes hidden from erased facts in models with known truth."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny import ARCHITECTURES, FORGET, tiny

from neuronscope.evidence._base import Case
from neuronscope.evidence.relearning_probe import RelearningProbe, corrected, placebo
from neuronscope.facts.fact import Fact, FactSet
from neuronscope.models.hooked_model import HookedModel
from neuronscope.models.targets import Target
from neuronscope.organisms.organism import erased, hidden, mixed, untouched
from neuronscope.organisms.training import OrganismTraining


def probe(organism):
    return RelearningProbe()(Case(organism.before, organism.after, organism.facts, Target()))


@pytest.fixture(scope="module")
def training():
    return OrganismTraining(0, gated=True)


@pytest.mark.parametrize(("strength", "spread"), [(1.5, 1), (3.0, 10), (2.0, 100)])
def test_suppressed_answers_are_hidden(training, strength, spread):
    finding = probe(hidden(training, strength, spread))
    assert finding.word == "hidden" and finding.value == pytest.approx(1, abs=0.1)
    assert finding.figures["placebo_most"] < 0.6 and finding.ci95[0] > 0.5


def test_facts_that_were_never_learned_are_relearned_no_sooner_than_new_ones(training):
    finding = probe(erased(training))
    assert finding.word == "erased" and finding.value < 0.2
    # Learning is possible: at the largest distance, some true and some wrong answers are given.
    curve = finding.tables["curve"]
    assert (curve.loc[curve["distance"] == curve["distance"].max(), "answered"] > 0).any()


@pytest.mark.slow
@pytest.mark.parametrize("share", [0.25, 0.5, 0.75])
def test_the_hidden_share_of_a_mixture_is_estimated(training, share):
    finding = probe(mixed(training, share))
    assert finding.word == "mixed"
    assert finding.value == pytest.approx(share, abs=0.15)
    assert finding.ci95[0] <= share <= finding.ci95[1]


def test_without_forgotten_facts_nothing_is_probed(training):
    finding = probe(untouched(training))
    assert finding.word == "not forgotten" and np.isnan(finding.value) and not finding.tables


def test_placebos_are_wrong_permutations_of_the_answers():
    facts = FORGET
    for seed in range(20):
        wrong = placebo(facts, seed)
        assert all(a.answer != b.answer for a, b in zip(facts, wrong, strict=True))
        assert sorted(f.answer for f in wrong) == sorted(f.answer for f in facts)
        assert [f.prompt for f in wrong] == [f.prompt for f in facts]
    assert placebo(facts, 3) == placebo(facts, 3) != placebo(facts, 4)


def test_facts_with_a_common_answer_have_no_placebo():
    with pytest.raises(ValueError, match="only 1 different answers"):
        placebo([Fact(str(k), f"is {k}", "yes") for k in range(4)], 0)


def test_shares_are_corrected_by_abbotts_formula():
    # 12 of 16 with 4 of 16 by chance: (0.75 − 0.25) / 0.75; all answers with all by chance: 0.
    np.testing.assert_allclose(corrected(np.array([0.75, 1.0]), np.array([0.25, 1.0])), [2 / 3, 0])


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_models_are_unchanged_and_findings_are_deterministic(architecture):
    before = tiny(architecture, dtype=torch.float32)
    batch = [Fact(f.id, f.prompt, f.answer) for f in FORGET]
    # The model's own completions are its facts; negating the head makes it forget all of them.
    said = _said(before, batch)
    hf = copy.deepcopy(before.hf)
    with torch.no_grad():
        for parameter in list(hf.parameters())[-3:]:
            parameter.neg_()
    after = HookedModel.of(hf, before.tokenizer)
    case = Case(before, after, FactSet(forget=tuple(said)), Target())
    prints = before.fingerprint(), after.fingerprint()
    view = RelearningProbe(distances=(1e-3, 2e-3), placebos=2)
    try:
        first = view(case)
    except ValueError as error:
        assert "permutation" in str(error)
    else:
        again = view(replace(case))
        assert first.value == again.value or np.isnan(first.value)
    assert (before.fingerprint(), after.fingerprint()) == prints
    assert all(p.grad is None for p in after.hf.parameters())


def _said(model, facts):
    """The facts, with the model's completions as their answers."""
    case = Case(model, model, FactSet(forget=tuple(facts)), Target())
    known = []
    for places, batch in case.batches():
        with torch.no_grad():
            logits = model.hf(batch.tokens[:, :-1]).logits
        for row, place in enumerate(places):
            top = int(logits[row, int(batch.prompt_lengths[row]) - 1].argmax())
            known.append(replace(facts[place], answer=model.tokenizer.decode([top])))
    return known


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"distances": ()}, "ascend"),
        ({"distances": (2e-3, 1e-3)}, "ascend"),
        ({"placebos": 1}, "two"),
    ],
)
def test_invalid_settings_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        RelearningProbe(**settings)
