import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import pytest
import torch
from tiny import FORGET, RETAIN, StayDouble, tiny, tokenizer
from training_example import (
    FACTS,
    LOSS,
    Drag,
    config,
    distance,
    model,
    same,
    untimed,
    weights,
)

from neuronscope.facts.fact import FactSet
from neuronscope.models.answers import answers_of, measure
from neuronscope.objectives._training_state import TrainingState
from neuronscope.objectives.gradient_ascent import GradientAscent
from neuronscope.objectives.gradient_difference import GradientDifference
from neuronscope.objectives.klue import KLUE
from neuronscope.objectives.npo import NPO
from neuronscope.objectives.rmu import RMU
from neuronscope.regularizers.ssiuu import SSIUU
from neuronscope.stopping._base import StopRule
from neuronscope.stopping.log_odds import LogOdds
from neuronscope.stopping.update_norm import UpdateNorm
from neuronscope.training import TrainingConfig, finetune, unlearn
from neuronscope.training.sampling import batches


def plain_nll(hf, facts, end=()):
    """Cross-entropy of the answers over all logits, computed without the package's code."""
    words, total, count = tokenizer(), 0.0, 0
    for fact in facts:
        prompt, answer = words(fact.prompt)["input_ids"], words(fact.answer)["input_ids"]
        answer = [*answer, *end]
        logits = hf(torch.tensor([prompt + answer])).logits[0, len(prompt) - 1 : -1]
        total = total + torch.nn.functional.cross_entropy(
            logits, torch.tensor(answer), reduction="sum"
        )
        count += len(answer)
    return total / count


def plain_loop(config, clip):
    hf = model().hf
    optimizer = torch.optim.AdamW(hf.parameters(), config.learning_rate, weight_decay=0.0)
    forget = batches(FORGET, config.forget_batch, config.seed, "forget")
    retain = batches(RETAIN, config.retain_batch, config.seed, "retain")
    for _ in range(config.steps):
        optimizer.zero_grad()
        (plain_nll(hf, next(retain)) - plain_nll(hf, next(forget))).backward()
        torch.nn.utils.clip_grad_norm_(hf.parameters(), clip)
        optimizer.step()
    return dict(hf.named_parameters())


@pytest.mark.parametrize("clip", [1.0, 0.01])
def test_equals_a_plain_loop(clip):
    settings = config(clip=clip)
    with StayDouble():
        run, plain = unlearn(model(), LOSS, FACTS, config=settings), plain_loop(settings, clip)
    ours = weights(run.model)
    assert max(float((ours[n] - p.detach()).abs().max()) for n, p in plain.items()) < 1e-12
    assert distance(run.model, model()) > 1e-3


@pytest.mark.parametrize("regularizer", [None, Drag(), SSIUU(strength=10.0)])
def test_portions_add_up(regularizer):
    with StayDouble():
        runs = [
            unlearn(model(), LOSS, FACTS, regularizer, config=config(micro_batch=size, steps=4))
            for size in (4, 3, 1)
        ]
    for other in runs[1:]:
        assert distance(runs[0].model, other.model) < 1e-12
        pd.testing.assert_frame_equal(untimed(runs[0].history), untimed(other.history), atol=1e-10)


def test_gradient_checkpointing_changes_nothing():
    # OPT drops parts of its layers at random in training mode.
    for architecture in ("llama", "opt"):
        given = tiny(architecture)
        runs = [
            unlearn(given, LOSS, FACTS, config=config(gradient_checkpointing=c, steps=3))
            for c in (False, True)
        ]
        assert distance(runs[0].model, runs[1].model) < 1e-12
        assert not runs[1].model.hf.training and not runs[1].model.hf.is_gradient_checkpointing


def test_the_given_model_is_not_changed():
    given = model()
    before, fingerprint = weights(given), given.fingerprint()
    given.hf.get_input_embeddings().requires_grad_(False)
    for settings in (config(), config(lora_rank=2)):
        run = unlearn(given, NPO(), FACTS, Drag(), config=settings)
        assert not same(run.model, given)
        assert given.fingerprint() == fingerprint
        assert all(torch.equal(p, before[name]) for name, p in given.hf.named_parameters())
        for name, parameter in given.hf.named_parameters():
            assert parameter.grad is None and parameter.requires_grad == ("embed" not in name)
        assert not given.hf.training and run.model.wrapper is None


@pytest.mark.parametrize("regularizer", [Drag(strength=0.0), SSIUU(strength=0.0)])
def test_strength_0_is_the_bare_objective(regularizer):
    bare = unlearn(model(), LOSS, FACTS, config=config())
    run = unlearn(model(), LOSS, FACTS, regularizer, config=config())
    assert same(bare.model, run.model)
    assert run.history["penalty"][1:].notna().all() and (run.history["penalty_norm"][1:] == 0).all()
    shared = [c for c in untimed(bare.history) if bare.history[c].notna().any()]
    pd.testing.assert_frame_equal(bare.history[shared], run.history[shared])
    other = unlearn(model(), LOSS, FACTS, replace(regularizer, strength=0.5), config=config())
    assert not same(bare.model, other.model)


def test_a_relative_strength_sets_the_norm_of_the_penalty_gradient():
    run = unlearn(model(), LOSS, FACTS, Drag(relative=0.3), config=config())
    history = run.history[1:]
    np.testing.assert_allclose(history["penalty_norm"], 0.3 * history["gradient_norm"], rtol=1e-12)
    assert history["strength"].nunique() == len(history)
    assert (history["cosine"].abs() <= 1).all()


def test_the_log_prob_gradient_of_the_objective_equals_that_of_a_separate_pass():
    """SSIUU takes the gradient from the objective if possible, here with two portions per step."""
    settings = config(micro_batch=2)

    @dataclass(frozen=True)
    class Hidden(GradientDifference):
        def log_prob_weight(self, portion):
            return None

    rule = SSIUU(strength=10.0, target="log-prob")
    assert rule.wants_log_prob_gradient
    with StayDouble():
        given = unlearn(model(), GradientDifference(forget_weight=0.7), FACTS, rule, None, settings)
        passed = unlearn(model(), Hidden(forget_weight=0.7), FACTS, rule, None, settings)
    assert given.history["penalty"].max() > 0
    assert distance(given.model, passed.model) < 1e-10


@pytest.mark.parametrize("objective", [RMU(), KLUE(share=0.2)], ids=["rmu", "klue"])
@pytest.mark.parametrize("optimizer", ["adamw_torch", "adafactor"])
def test_only_weights_that_the_objective_allows_change(objective, optimizer):
    given = model()
    masks = {}

    @dataclass(frozen=True)
    class Watched(type(objective)):
        def where(self, training, facts):
            masks.update(super().where(training, facts))
            return dict(masks)

    # Weight decay and penalty would change every entry.
    settings = config(weight_decay=0.1, optimizer=optimizer, steps=3)
    watched = Watched(**vars(objective))
    run = unlearn(given, watched, FACTS, Drag(), config=settings)
    before, changed = weights(given), 0
    for name, parameter in run.model.hf.named_parameters():
        moved = parameter.detach() != before[name]
        allowed = masks.get(name, torch.zeros_like(before[name])).bool()
        assert not (moved & ~allowed).any()
        changed += int(moved.sum())
    assert changed > 0


@dataclass(frozen=True)
class Breaking(GradientAscent):
    """One term is not finite from the third step on."""

    how: str = "term"

    def forget(self, training, portion):
        (loss,) = super().forget(training, portion).values()
        moved = training.model.hf.get_output_embeddings().weight.detach()
        STEPS.add(float(moved.sum()))
        if len(STEPS) < 3:
            return {"fine": loss, "bad": 0 * loss}
        if self.how == "term":
            return {"fine": loss, "bad": 0 * loss / 0}
        # √(x − x) is 0 with an infinite slope.
        return {"fine": loss, "bad": (loss - loss.detach()).abs().sqrt()}


STEPS: set[float] = set()


@pytest.mark.parametrize("how", ["term", "gradient"])
def test_a_loss_that_is_not_finite_ends_the_run_with_the_last_good_weights(how, tmp_path):
    STEPS.clear()
    run = unlearn(model(), Breaking(how=how), FACTS, config=config(), out=tmp_path / "run")
    assert (
        run.stopped.startswith("At step 3 ")
        and {"term": "bad", "gradient": "norm"}[how] in run.stopped
    )
    assert (tmp_path / "run" / "model").is_dir()
    good = unlearn(model(), GradientAscent(), FACTS, config=config(steps=2))
    assert same(run.model, good.model)
    assert list(run.history["step"]) == [0, 1, 2, 3]


def test_a_penalty_that_is_not_finite_ends_the_run():
    @dataclass(frozen=True)
    class Wild(Drag):
        def __call__(self, step, state):
            penalty, later = super().__call__(step, state)
            wild = {name: part * math.inf for name, part in penalty.gradient.items()}
            return (replace(penalty, gradient=wild) if step.number == 2 else penalty), later

    run = unlearn(model(), LOSS, FACTS, Wild(), config=config())
    good = unlearn(model(), LOSS, FACTS, Drag(), config=config(steps=1))
    assert run.stopped.startswith("At step 2 ") and "penalty's gradient" in run.stopped
    assert same(run.model, good.model)


BROKEN = {"learning_rate": 1e300, "weight_decay": 1e300, "evaluate_every": 1}
"""Settings with which the first update, by overflow, makes weights infinite or NaN."""


def test_logits_that_are_not_numbers_end_the_run(tmp_path):
    settings = config(**BROKEN)
    run = unlearn(model(), LOSS, FACTS, config=settings, out=tmp_path / "run")
    assert run.stopped.startswith("At step 1 ") and "NaN" in run.stopped
    assert list(run.history["step"]) == [0, 1]
    assert list(run.history["answered_forget"].notna()) == [True, False]
    assert (tmp_path / "run" / "manifest.json").is_file()
    last = unlearn(model(), LOSS, FACTS, config=replace(settings, steps=1))
    assert last.stopped == run.stopped
    adapters = config(**BROKEN, lora_rank=2)
    adapted = unlearn(model(), LOSS, FACTS, config=adapters, out=tmp_path / "adapters")
    assert "NaN" in adapted.stopped


def test_logits_that_are_not_numbers_end_a_run_that_only_a_stop_rule_or_callback_evaluates():
    settings = config(**BROKEN, evaluate_facts=0)
    given, seen = model(), []

    def callback(step, model):
        measure(model, answers_of(model, FORGET))
        seen.append(step)

    run = finetune(given, RETAIN[:4], settings, callback=callback)
    assert run.stopped.startswith("At step 1 ") and seen == [0]
    ruled = unlearn(given, LOSS, FACTS, None, LogOdds(level=-1e9), settings)
    assert ruled.stopped.startswith("At step 1 ") and "NaN" in ruled.stopped


def test_a_model_whose_logits_are_not_numbers_is_refused():
    broken = model()
    with torch.no_grad():
        broken.hf.get_output_embeddings().weight[:] = math.nan
    with pytest.raises(ValueError, match="NaN"):
        unlearn(broken, LOSS, FACTS, config=config())


@dataclass(frozen=True)
class Rate(StopRule):
    at: int = 2

    def score(self, model, facts, form):
        return {"weight": float(model.hf.get_output_embeddings().weight.detach().abs().sum())}

    def __call__(self, scores: Mapping[str, float], norm: float) -> str | None:
        return f"Moved by {norm}." if norm > 0 and scores["weight"] > 0 else None


def test_a_stop_rule_with_scores_applies_at_evaluations():
    run = unlearn(model(), LOSS, FACTS, stop=Rate(), config=config(evaluate_every=4))
    assert run.stopped.startswith("Moved by") and list(run.history["step"]) == list(range(5))
    assert list(run.history["weight"].notna()) == [True, False, False, False, True]
    assert list(run.history["answered_forget"].notna()) == [True, False, False, False, True]


def test_the_update_norm_is_the_distance_from_the_original_model():
    given = model()
    run = unlearn(given, LOSS, FACTS, config=config())
    before = weights(given)
    moved = math.sqrt(
        sum(float((p - before[n]).square().sum()) for n, p in weights(run.model).items())
    )
    assert math.isclose(run.history["update_norm"].iloc[-1], moved, rel_tol=1e-12)
    target = run.history["update_norm"][4]
    stopped = unlearn(
        given, LOSS, FACTS, stop=UpdateNorm(norm=target), config=config(evaluate_every=5)
    )
    assert stopped.history["step"].iloc[-1] == 4 and "update norm" in stopped.stopped


def test_finetuning_learns_and_watching_changes_nothing():
    run = finetune(model(), RETAIN[:4], config(steps=60), watched=FORGET[:3])
    history = run.history
    assert history["answered_taught"].iloc[0] < 4 == history["answered_taught"].iloc[-1]
    assert history["answered_watched"].notna().any() and history["loss_nll"].iloc[-1] < 0.5
    assert not [name for name in history if name.endswith(("_forget", "_retain"))]
    alone = finetune(model(), RETAIN[:4], config(steps=60))
    assert same(run.model, alone.model) and alone.history["answered_watched"].isna().all()


def test_a_callback_sees_the_model_at_every_evaluation():
    seen = {}
    settings = config(steps=5, evaluate_every=2)
    run = finetune(
        model(), RETAIN[:4], settings, callback=lambda step, m: seen.update({step: weights(m)})
    )
    assert list(seen) == [0, 2, 4, 5]
    ended = weights(run.model)
    assert all(torch.equal(value, ended[name]) for name, value in seen[5].items())
    assert any(not torch.equal(value, ended[name]) for name, value in seen[4].items())


def test_the_end_of_the_text_is_learned_with_teach_end():
    given, settings = model(), config(steps=60)
    end = given.tokenizer.eos_token_id
    silent = finetune(given, RETAIN[:4], settings)
    taught = finetune(given, RETAIN[:4], settings, teach_end=True)
    for run, last in ((silent, []), (taught, [end])):
        expected = float(plain_nll(given.hf, RETAIN[:4], last).detach())
        assert math.isclose(run.history["loss_nll"].iloc[1], expected, rel_tol=1e-10)
    batch = TrainingState(given, None, "completion").asked(RETAIN[:4])
    rows = [
        row[:length]
        for row, length in zip(batch.tokens.tolist(), batch.lengths.tolist(), strict=True)
    ]
    ended = [
        [int(run.model.hf(torch.tensor([row])).logits[0, -1].argmax()) == end for row in rows]
        for run in (silent, taught)
    ]
    assert ended == [[False] * 4, [True] * 4]


def test_teach_end_needs_an_end_of_text_token():
    given = tiny("llama")
    given.tokenizer.eos_token = None
    with pytest.raises(ValueError, match="eos_token"):
        finetune(given, RETAIN[:4], teach_end=True)


def test_unlearning_forgets_what_was_learned():
    known = finetune(model(), FORGET + RETAIN, config(steps=150, retain_batch=8)).model
    run = unlearn(known, LOSS, FACTS, config=config(steps=40))
    first, last = run.history.iloc[0], run.history.iloc[-1]
    assert first["answered_forget"] == 10 and last["answered_forget"] == 0
    assert last["log_odds_forget"] < first["log_odds_forget"]


def test_bfloat16_passes_leave_parameters_in_single_precision():
    given = tiny("llama", torch.float32)
    full = unlearn(given, NPO(), FACTS, Drag(), config=config())
    half = unlearn(given, NPO(), FACTS, Drag(), config=config(precision="bf16"))
    assert half.model.dtype == torch.float32
    assert 0 < distance(full.model, half.model) < 0.02
    first = half.history.iloc[1]
    # Model and reference compute alike: at the first step NPO's term is −(2/β) log ½.
    assert math.isclose(first["loss_forget"], 20 * math.log(2), rel_tol=1e-6)
    loaded = tiny("llama", torch.bfloat16)
    assert unlearn(loaded, LOSS, FACTS, config=config(steps=1)).model.dtype == torch.float32


@pytest.mark.parametrize("name", ["sgd", "adafactor", "adagrad"])
def test_optimizers_and_schedules_have_their_names_in_transformers(name):
    settings = config(optimizer=name, schedule="linear", warmup_steps=2)
    run = unlearn(model(), LOSS, FACTS, config=settings)
    rates = run.history["learning_rate"][1:]
    assert list(rates[:2]) == [0.0, rates.max() / 2] and not same(run.model, model())


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"optimizer": "adamski"}, "adamski"),
        ({"schedule": "upward"}, "upward"),
        ({"schedule": "reduce_lr_on_plateau"}, "reduce_lr_on_plateau"),
    ],
)
def test_unknown_names_are_refused(changes, words):
    with pytest.raises(ValueError, match=words):
        unlearn(model(), LOSS, FACTS, config=config(**changes))


@pytest.mark.parametrize(
    "changes",
    [{"steps": 0}, {"lora_rank": 0}, {"learning_rate": 0.0}, {"clip": -1.0}, {"form": "song"}],
)
def test_settings_out_of_range_are_refused(changes):
    with pytest.raises(ValueError, match=f"Expected .?{next(iter(changes))}"):
        TrainingConfig(**changes)


def test_facts_that_cannot_be_trained_on_are_refused():
    with pytest.raises(ValueError, match="no fact of split 'forget'"):
        unlearn(model(), LOSS, FactSet(retain=RETAIN))
    with pytest.raises(ValueError, match="at least one fact"):
        finetune(model(), ())
    strange = replace(FORGET[0], answer="Zanzibar")
    with pytest.raises(ValueError, match="survive"):
        unlearn(model(), GradientAscent(), FactSet(forget=(strange,)))
