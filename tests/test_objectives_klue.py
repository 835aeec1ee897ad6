"""KLUE: which neurons may change, and which facts are still trained on."""

from dataclasses import replace

import pytest
import torch
from objectives_example import gradients, objective_of, portion_of, training_state_of
from tiny import FACTS, FORGET, RETAIN, WORDS, batch_of
from torch.testing import assert_close

from neuronscope.attribution.gradient_x_activation import GradientXActivation
from neuronscope.facts.fact import FactSet
from neuronscope.models.targets import Target
from neuronscope.objectives._knowledge_neurons import (
    facts_with_other_answers,
    influence,
    knowledge_scores,
    largest,
    weight_masks,
)
from neuronscope.objectives._passes import fact_log_probs, logits_at_answers
from neuronscope.objectives.klue import klue

SPLITS = FactSet(forget=FORGET[:3], retain=RETAIN[:4])
PROB = Target("prob")


def scores_of(training, facts, penalty=10.0, others=5, seed=0):
    return knowledge_scores(training, facts, PROB, penalty, others, seed)


def mlp_inputs(model, tokens):
    """The inputs of the last layer's MLP at every position."""
    kept = []
    mlp = model.hf.transformer.h[-1].mlp
    hook = mlp.register_forward_hook(lambda module, args, output: kept.append(args[0].detach()))
    with torch.no_grad():
        model.hf(input_ids=tokens)
    hook.remove()
    return kept[0]


def with_two_planted_neurons():
    """A model whose last layer has neuron 3, storing the fact, and 5, favouring its answer.

    Both write the answer's unembedding; 3 is active on this fact's prompt only, 5 everywhere.
    """
    training = training_state_of("gpt2", moved=0.0, n_embd=48, n_inner=10)
    facts = FactSet(forget=FORGET[:1], retain=RETAIN[:6])
    batch = training.asked((*facts.forget, *facts.retain))
    inputs = mlp_inputs(training.model, batch.tokens[:, :-1])
    target = torch.full(inputs.shape[:2], -4.0, dtype=torch.float64)
    target[0, -1] = 4.0
    direction = torch.linalg.lstsq(inputs.flatten(0, 1), target.flatten()[:, None]).solution[:, 0]
    head = training.model.hf.get_output_embeddings().weight
    answer = head[WORDS.index(FORGET[0].answer)] - head.mean(dim=0)
    mlp = training.model.hf.transformer.h[-1].mlp
    with torch.no_grad():
        mlp.c_fc.weight[:, 3], mlp.c_fc.bias[3] = direction, 0.0
        mlp.c_fc.weight[:, 5], mlp.c_fc.bias[5] = 0.0, 4.0
        mlp.c_proj.weight[[3, 5]] = 0.3 * answer
        # The other neurons write little, so that these two dominate.
        mlp.c_proj.weight[[0, 1, 2, 4, 6, 7, 8, 9]] *= 0.1
    return training, facts


def test_the_neuron_that_stores_the_fact_is_chosen_over_the_one_that_favours_the_answer():
    training, facts = with_two_planted_neurons()
    unpenalized = scores_of(training, facts, penalty=0.0)[-1]
    assert set(unpenalized.topk(2).indices.tolist()) == {3, 5}
    scores = scores_of(training, facts)
    assert divmod(int(scores.argmax()), scores.shape[1]) == (1, 3)
    # Its influence on the answer is the same after every prompt, and is penalized tenfold.
    assert int(scores[-1].argmin()) == 5
    masks = objective_of("klue", share=1 / scores.numel()).where(training, facts)
    assert set(masks) == {
        f"transformer.h.1.mlp.{name}" for name in ("c_fc.weight", "c_fc.bias", "c_proj.weight")
    }
    assert masks["transformer.h.1.mlp.c_fc.weight"].sum(dim=0).nonzero().flatten().tolist() == [3]
    assert masks["transformer.h.1.mlp.c_fc.bias"].nonzero().flatten().tolist() == [3]
    assert masks["transformer.h.1.mlp.c_proj.weight"].sum(dim=1).nonzero().flatten().tolist() == [3]


def test_the_score_is_influence_minus_superficial_influence():
    training = training_state_of()
    facts = FactSet(forget=FORGET[:3], retain=RETAIN[:2])
    found = scores_of(training, facts, penalty=2.0, others=100)
    expected = torch.zeros_like(found)
    for fact in facts.forget:
        pool = [other for other in (*facts.retain, *facts.forget) if other is not fact]
        own = influence(training.model, batch_of([fact]), PROB)[0]
        after = [
            influence(training.model, batch_of([replace(other, answer=fact.answer)]), PROB)[0]
            for other in pool
        ]
        expected += own - 2.0 * sum(one.clamp(min=0) for one in after) / len(pool)
    # Batch sizes differ (1 and 8), and transformers computes norms in single precision.
    assert_close(found, expected / 3, rtol=0, atol=1e-7)
    assert expected.abs().max() > 1e-4


@pytest.mark.parametrize("architecture", ["gpt2", "llama", "phi3", "mixtral"])
@pytest.mark.parametrize("target", ["prob", "log_odds"])
def test_influence_is_the_largest_gradient_x_activation_at_any_position(architecture, target):
    model = training_state_of(architecture).model
    batch = batch_of(FACTS)
    expected = GradientXActivation()(model, batch, ("mlp.post",), Target(target))
    assert torch.equal(influence(model, batch, Target(target)), expected["mlp.post"].positive)


@pytest.mark.parametrize(("share", "count"), [(0.1, 2), (0.5, 12), (1.0, 24), (0.001, 1)])
def test_the_given_share_is_chosen_over_all_layers(share, count):
    training = training_state_of()
    scores = scores_of(training, SPLITS)
    chosen = largest(scores, share)
    assert int(chosen.sum()) == count
    if count < 24:
        assert scores[chosen].min() > scores[~chosen].max()
    masks = objective_of("klue", share=share).where(training, SPLITS)
    columns = [masks[name].all(dim=0).sum() for name in masks if "down_proj" in name]
    assert sum(columns) == count


def test_a_mask_covers_the_input_and_output_weights_of_the_chosen_neurons():
    training = training_state_of()
    chosen = torch.zeros(2, 12, dtype=torch.bool)
    chosen[1, [2, 7]] = True
    masks = weight_masks(training.model, chosen)
    mlp = "model.layers.1.mlp"
    assert set(masks) == {f"{mlp}.{part}_proj.weight" for part in ("gate", "up", "down")}
    rows = torch.zeros(12, 16, dtype=torch.float64)
    rows[[2, 7]] = 1
    assert torch.equal(masks[f"{mlp}.gate_proj.weight"], rows)
    assert torch.equal(masks[f"{mlp}.up_proj.weight"], rows)
    assert torch.equal(masks[f"{mlp}.down_proj.weight"], rows.T)


def test_gate_and_up_are_marked_where_they_share_a_matrix():
    training = training_state_of("phi3")
    chosen = torch.zeros(2, 12, dtype=torch.bool)
    chosen[0, 4] = True
    masks = weight_masks(training.model, chosen)
    both = masks["model.layers.0.mlp.gate_up_proj.weight"]
    assert both.all(dim=1).nonzero().flatten().tolist() == [4, 16] and both.sum() == 2 * 16


def test_other_prompts_are_those_of_facts_with_another_answer():
    same = replace(RETAIN[0], answer="Cairo")
    facts = FactSet(forget=FORGET[:2], retain=(same, RETAIN[1]))
    assert facts_with_other_answers(FORGET[0], facts) == [RETAIN[1], FORGET[1]]
    with pytest.raises(ValueError, match=r"'Ann lives': .*different answer"):
        objective_of("klue").check(FactSet(forget=FORGET[:1], retain=(same,)))
    objective_of("klue", superficial_weight=0.0).check(FactSet(forget=FORGET[:1], retain=(same,)))
    objective_of("klue").check(facts)


def test_other_prompts_are_drawn_from_the_seed():
    training = training_state_of()
    facts = FactSet(forget=FORGET[:2], retain=RETAIN[:8])
    first = scores_of(training, facts, others=2)
    assert torch.equal(first, scores_of(training, facts, others=2))
    assert not torch.equal(first, scores_of(training, facts, others=2, seed=1))


def test_forgotten_facts_add_nothing_to_the_loss():
    log_probs = torch.tensor([-1.0, -6.0, -2.0], requires_grad=True)
    loss = klue(log_probs, torch.tensor([1.0, 0.0, 1.0]), 4)
    assert loss == -0.75
    assert_close(torch.autograd.grad(loss, log_probs)[0], torch.tensor([0.25, 0.0, 0.25]))


def test_only_facts_that_are_still_answered_are_unlearned():
    training = training_state_of()
    logits, _ = logits_at_answers(training.model, training.asked(FORGET[:2]))
    answer = WORDS[int(logits[0].argmax())]
    assert answer not in (FORGET[0].answer, "<unk>")
    facts = (replace(FORGET[0], answer=answer), *FORGET[1:3])
    portion = portion_of(training, facts)
    objective = objective_of("klue")
    terms = objective.forget(training, portion)
    known = fact_log_probs(training.model, training.asked(facts[:1]))
    assert_close(terms["forget"], known.sum() / 3)
    assert any(gradient.any() for gradient in gradients(training, terms).values())
    forgotten = objective.forget(training, portion_of(training, facts[1:], facts))
    assert forgotten["forget"] == 0
    assert not any(gradient.any() for gradient in gradients(training, forgotten).values())
