"""Common knowledge, recorded when every fact is to be forgotten."""

from dataclasses import replace

import torch
from tiny import RETAIN, batch_of, tiny

from neuronscope.facts.loading import load_facts
from neuronscope.facts.shipped import shipped
from neuronscope.models import neutral_facts as module
from neuronscope.models.neutral_facts import neutral_facts
from neuronscope.models.passes import answer_logits
from neuronscope.models.targets import Answers, answered

FACTS = load_facts(shipped("neutral") / "facts.jsonl")


def test_the_shipped_facts_are_of_many_relations_and_have_two_distractors():
    facts = FACTS.utility
    assert [split for split, _ in FACTS] == ["utility"] * 40
    assert [fact.id for fact in facts] == [f"neutral-{number:03d}" for number in range(1, 41)]
    assert len({fact.relation for fact in facts}) >= 8
    assert len({fact.relation for fact in facts[:8]}) == 8
    assert len({(fact.relation, fact.subject) for fact in facts}) == 40
    for fact in facts:
        assert len(fact.distractors) == 2 and fact.subject and fact.subject in fact.prompt
        assert "capital" not in fact.prompt


def test_they_are_the_first_that_greedy_decoding_gives(monkeypatch):
    model = tiny("llama")
    batch = batch_of(RETAIN)
    with torch.no_grad():
        answers = Answers.of(batch)
        logits = answer_logits(model, batch.tokens[:, :-1], answers)
    first = [logits.argmax(-1)[answers.row == row][0] for row in range(len(RETAIN))]
    facts = [
        replace(fact, answer=model.tokenizer.decode(token))
        for fact, token in zip(RETAIN, first, strict=True)
    ]
    strange = replace(facts[0], id="strange", answer="\u2603")
    monkeypatch.setattr(module, "_shipped", lambda: (strange, RETAIN[0], *facts[1:]))
    known = batch_of(facts[1:])
    with torch.no_grad():
        answers = Answers.of(known)
        given = answered(answer_logits(model, known.tokens[:, :-1], answers), answers)
    expected = [fact for fact, right in zip(facts[1:], given.tolist(), strict=True) if right]
    assert len(expected) > 1
    assert neutral_facts(model, most=100) == tuple(expected)
    assert neutral_facts(model, most=1) == (expected[0],)
