"""OpenUnlearning's variants, compared with its formulas (`src/trainer`), retyped here.

Also tests that the corrected variants differ, and where the two agree.
"""

import pytest
import torch
from objectives_example import objective_of, portion_of, training_state_of
from tiny import FACTS, FORGET
from torch.nn.functional import cross_entropy, kl_div, log_softmax, logsigmoid, mse_loss, softmax
from torch.testing import assert_close

from neuronscope.objectives.rmu import control_vector, rmu, rmu_openunlearning
from neuronscope.objectives.undial import undial, undial_openunlearning

WIDE = {"vocab_size": 128}
"""A vocabulary large enough that the label -100 is an index."""


def logits_and_labels(training, facts):
    batch = training.asked(facts)
    labels = batch.tokens.where(batch.answer_mask, -100)
    with torch.no_grad():
        found = [
            model.hf(input_ids=batch.tokens).logits for model in (training.model, training.before())
        ]
    return *found, labels


def batch_nll(logits, labels):
    flat = logits[:, :-1].transpose(1, 2)
    return cross_entropy(flat, labels[:, 1:], ignore_index=-100, reduction="none").sum(dim=1)


def theirs_undial(logits, reference, labels, beta):
    total, count = 0.0, 0
    for row in range(labels.shape[0]):
        for position in range(labels.shape[1] - 1):
            teacher = reference[row, position].clone()
            teacher[labels[row, position + 1]] -= beta
            training = log_softmax(logits[row, position], dim=-1)
            total = total - (softmax(teacher, dim=-1) * training).sum()
            count += 1
    return total / count


def test_undial():
    training = training_state_of(**WIDE)
    logits, reference, labels = logits_and_labels(training, FACTS)
    assert (labels == -100).any(dim=1).all()
    expected = theirs_undial(logits, reference, labels, 10.0)
    assert_close(undial_openunlearning(logits, reference, labels, 10.0), expected)
    portion = portion_of(training, FACTS)
    found = objective_of("undial", parity="openunlearning").forget(training, portion)["forget"]
    assert_close(found, expected)
    corrected = objective_of("undial").forget(training, portion)["forget"]
    assert abs(corrected - expected) > 1e-3


def test_undial_equals_the_corrected_one_if_every_token_belongs_to_an_answer():
    torch.manual_seed(0)
    logits, reference = torch.randn(2, 3, 5, 128, dtype=torch.float64)
    labels = torch.randint(128, (3, 5))
    rows = logits[:, :-1].flatten(0, 1), reference[:, :-1].flatten(0, 1)
    corrected = undial(*rows, labels[:, 1:].flatten(), 10.0).mean()
    assert_close(undial_openunlearning(logits, reference, labels, 10.0), corrected)
    labels[:, 2] = -100
    assert abs(undial_openunlearning(logits, reference, labels, 10.0) - corrected) > 1e-3


def test_undial_refuses_a_vocabulary_that_is_too_small():
    training = training_state_of()
    with pytest.raises(ValueError, match=r"at least 100 tokens, got \d\d"):
        objective_of("undial", parity="openunlearning").forget(
            training, portion_of(training, FACTS)
        )


@pytest.mark.parametrize(
    "objective",
    [
        objective_of("kl_retain", parity="openunlearning"),
        objective_of("gradient_difference", retain_term="kl_openunlearning"),
    ],
)
def test_kl(objective):
    training = training_state_of()
    logits, reference, _ = logits_and_labels(training, FACTS)
    now, before = (log_softmax(one, dim=-1).flatten(0, 1) for one in (logits, reference))
    expected = kl_div(now, before, reduction="batchmean", log_target=True)
    portion = portion_of(training, FACTS)
    found = objective.retain(training, portion)["retain"]
    assert_close(found, expected)
    corrected = objective_of("kl_retain").retain(training, portion)["retain"]
    assert abs(corrected - expected) > 1e-3


@pytest.mark.parametrize(
    ("name", "half"), [("undial", "forget"), ("kl_retain", "retain"), ("rmu", "forget")]
)
def test_a_mean_over_positions_is_divided_into_portions_by_facts(name, half):
    training = training_state_of(**WIDE)
    loss = getattr(objective_of(name, parity="openunlearning", retain_weight=1.0), half)
    alike, cut = FORGET[:4], (FORGET[:1], FORGET[1:4])
    assert training.asked(alike).lengths.unique().numel() == 1
    parts = [sum(loss(training, portion_of(training, facts, alike)).values()) for facts in cut]
    assert_close(sum(parts), sum(loss(training, portion_of(training, alike)).values()))


def theirs_rmu(states, wanted, mask):
    error = mse_loss(states, wanted, reduction="none") * mask[..., None].expand_as(states)
    total = error.mean(dim=2).sum(dim=1)
    return (total / mask.sum(dim=-1, keepdim=True)).mean()


@pytest.mark.parametrize("half", ["forget", "retain"])
def test_rmu(half):
    training = training_state_of()
    batch = training.asked(FACTS)
    ours, before = (
        model.hf(input_ids=batch.tokens, output_hidden_states=True).hidden_states[1].detach()
        for model in (training.model, training.before())
    )
    wanted = (
        before if half == "retain" else 20.0 * control_vector(ours.shape[-1], 0).expand_as(ours)
    )
    expected = theirs_rmu(ours, wanted, batch.answer_mask)
    portion = portion_of(training, FACTS)
    objective = objective_of("rmu", parity="openunlearning", retain_weight=1.0)
    assert_close(getattr(objective, half)(training, portion)[half], expected)
    corrected = getattr(objective_of("rmu", retain_weight=1.0), half)(training, portion)[half]
    assert abs(corrected - expected) > 1e-3


def test_rmu_equals_the_corrected_one_if_answers_are_equally_long():
    torch.manual_seed(0)
    hidden, wanted = torch.randn(2, 3, 4, 5, dtype=torch.float64)
    marked = torch.tensor([[False, True, True, False], [True, True, False, False]] * 2)[:3]
    assert_close(rmu_openunlearning(hidden, wanted, marked), rmu(hidden, wanted, marked).mean())
    marked[0, 0] = True
    other = rmu(hidden, wanted, marked).mean()
    assert abs(rmu_openunlearning(hidden, wanted, marked) - other) > 1e-3


@pytest.mark.parametrize("settings", [{"beta": 0.1}, {"beta": 1.0}])
def test_npo_matches_openunlearning(settings):
    training = training_state_of()
    logits, reference, labels = logits_and_labels(training, FACTS)
    ratio = 0.0 - -(batch_nll(logits, labels) - batch_nll(reference, labels))
    expected = -2 / settings["beta"] * logsigmoid(settings["beta"] * ratio).mean()
    found = objective_of("npo", **settings).forget(training, portion_of(training, FACTS))
    assert_close(found["forget"], expected)


def test_simnpo_matches_openunlearning():
    training = training_state_of()
    logits, _, labels = logits_and_labels(training, FACTS)
    cost = batch_nll(logits, labels) / (labels != -100).sum(dim=-1) - 0.25
    expected = 0.125 * -logsigmoid(4.5 * cost).mean() * 2 / 4.5
    found = objective_of("simnpo", delta=0.25).forget(training, portion_of(training, FACTS))
    assert_close(found["forget"], expected)


def test_wga_matches_openunlearning():
    training = training_state_of()
    logits, _, labels = logits_and_labels(training, FACTS)
    shifted = labels[:, 1:].flatten()
    loss = cross_entropy(logits[:, :-1].flatten(0, 1), shifted, ignore_index=-100, reduction="none")
    expected = -((-loss).exp() ** 0.5 * loss)[shifted != -100].mean()
    found = objective_of("wga", beta=0.5).forget(training, portion_of(training, FACTS))
    assert_close(found["forget"], expected)
