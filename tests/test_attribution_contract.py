"""The contract of all attribution methods; new files in the folder are tested automatically."""

import copy
from dataclasses import dataclass

import pytest
import torch
from tiny import (
    FACTS,
    FORGET,
    RETAIN,
    StayDouble,
    batch_of,
    scores_of,
    tiny,
    tokenizer,
)
from torch.testing import assert_close

from neuronscope._discover import method_class, method_names
from neuronscope.attribution._base import Attribution
from neuronscope.attribution.conductance import Conductance
from neuronscope.attribution.integrated_gradients import IntegratedGradients
from neuronscope.facts.prompts import Batch, encode
from neuronscope.models.hooked_model import HookedModel
from neuronscope.models.targets import Target

METHODS = method_names("attribution")
MLP = ("mlp.post",)
SITES = ("mlp.post", "attn.k")
EIGHT = (*FACTS, *FORGET[:2], *RETAIN[:2])
"""Facts of three to seven tokens, one of them with an answer of two."""

KEPT = tuple(("retain", fact) for fact in RETAIN[2:5])
"""Facts that the baseline may be measured on."""

FEW_BYTES = 150_000
"""Memory for a batch of four and a few copies of a row."""

every_method = pytest.mark.parametrize("name", METHODS)
some_architectures = pytest.mark.parametrize(
    "architecture", ["gpt2", "llama", "gemma3_text", "mixtral"]
)


def plain(name):
    return method_class("attribution", name, Attribution)()


def method_of(name, model):
    """A method, prepared on a model."""
    return plain(name).prepared(model, KEPT, SITES, "completion")


def tables(found):
    """All results of a method, by site and field."""
    return {
        (site, field): table for site, here in found.items() for field, table in vars(here).items()
    }


def assert_same(found, expected, atol=1e-9):
    assert tables(found).keys() == tables(expected).keys()
    for key, table in tables(found).items():
        assert_close(table, tables(expected)[key], rtol=0, atol=atol)


def hooks_on(model):
    """The number of hooks of any kind on the modules."""
    kinds = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    return sum(len(vars(module)[kind]) for module in model.hf.modules() for kind in kinds)


def state_of(model):
    """Everything that a pass could change."""
    return (
        hooks_on(model),
        [module.training for module in model.hf.modules()],
        [parameter.requires_grad for parameter in model.hf.parameters()],
        [parameter.grad for parameter in model.hf.parameters()],
        torch.is_grad_enabled(),
    )


def half_frozen(architecture):
    """A model that is partly in training mode and partly frozen."""
    model = tiny(architecture)
    modules, parameters = list(model.hf.modules()), list(model.hf.parameters())
    for index, module in enumerate(modules):
        module.training = index % 2 == 0
    for index, parameter in enumerate(parameters):
        parameter.requires_grad_(index % 3 == 0)
    return model


@every_method
@some_architectures
def test_every_method_gives_finite_values_and_leaves_the_model_unchanged(name, architecture):
    model, batch = half_frozen(architecture), batch_of(FACTS)
    weights = copy.deepcopy(model.hf.state_dict())
    before = state_of(model)
    found = method_of(name, model)(model, batch, SITES, Target())
    assert list(found) == list(SITES)
    for site, here in found.items():
        shape = (len(FACTS), model.n_layers, model.hook_points_at(site)[0].width)
        for table in (here.total, here.positive, here.negative, here.activation):
            assert table.shape == shape and table.isfinite().all() and table.abs().max() > 0
        for table in (here.baseline_score, here.explained, here.nodes):
            assert table.shape == shape[:2] and table.isfinite().all()
        assert (here.positive >= here.negative).all()
        assert_close(here.explained, here.total.sum(dim=-1))
        assert not any(table.requires_grad for table in vars(here).values())
    assert state_of(model) == before
    for key, tensor in model.hf.state_dict().items():
        assert torch.equal(tensor, weights[key])
    again = method_of(name, model)(model, batch, SITES, Target())
    assert all(torch.equal(table, tables(found)[key]) for key, table in tables(again).items())


@dataclass(frozen=True)
class Fails(Target):
    """A target that raises at one of its calls, and counts the hooks at that moment."""

    model: HookedModel | None = None
    at: int = 1
    calls: tuple[list[int], ...] = ([],)

    def __call__(self, logits, answers):
        assert self.model is not None
        self.calls[0].append(hooks_on(self.model))
        if len(self.calls[0]) == self.at:
            raise InterruptedError("in the middle of a pass")
        return super().__call__(logits, answers)


@every_method
@pytest.mark.parametrize("architecture", ["gpt2", "mixtral"])
@pytest.mark.parametrize("at", [1, 2, 3])
def test_the_model_is_unchanged_after_an_exception(name, architecture, at):
    model = half_frozen(architecture)
    before = state_of(model)
    target = Fails(model=model, at=at, calls=([],))
    with pytest.raises(InterruptedError):
        method_of(name, model)(model, batch_of(FACTS), SITES, target, memory=1)
    assert len(target.calls[0]) == at
    assert max(target.calls[0]) > before[0] == 0
    assert state_of(model) == before


@pytest.mark.parametrize("positions", ["all", "answer", "last"])
def test_the_model_is_unchanged_after_a_baseline_that_fails(positions):
    def fails(model, length, hook_point):
        raise InterruptedError("no baseline")

    model = half_frozen("llama")
    before = state_of(model)
    method = IntegratedGradients(positions=positions).starting_at(fails)
    with pytest.raises(InterruptedError):
        method(model, batch_of(FACTS), SITES, Target())
    assert state_of(model) == before


@every_method
@pytest.mark.parametrize("architecture", ["gpt2", "gemma3_text", "mixtral"])
def test_results_do_not_depend_on_the_batch(name, architecture):
    model = tiny(architecture)
    method = method_of(name, model)
    with StayDouble():
        together = tables(method(model, batch_of(EIGHT), MLP, Target()))
        alone = [tables(method(model, batch_of([fact]), MLP, Target())) for fact in EIGHT]
    for key, table in together.items():
        assert_close(table, torch.cat([one[key] for one in alone]), rtol=0, atol=1e-9)
    lengths = {len(batch_of([fact]).tokens[0]) for fact in EIGHT}
    assert len(lengths) > 2


@dataclass(frozen=True)
class Counts(Target):
    """A target that counts its calls, which are the model's passes."""

    calls: tuple[list[int], ...] = ([],)

    def __call__(self, logits, answers):
        self.calls[0].append(1)
        return super().__call__(logits, answers)


@every_method
@pytest.mark.parametrize("architecture", ["gpt2", "llama"])
def test_the_order_of_facts_and_the_memory_change_nothing(name, architecture):
    model = tiny(architecture)
    order = torch.tensor([2, 0, 3, 1])
    shuffled = batch_of([FACTS[i] for i in order.tolist()])
    roomy, narrow = Counts(calls=([],)), Counts(calls=([],))
    with StayDouble():
        expected = tables(method_of(name, model)(model, batch_of(FACTS), MLP, roomy))
        found = tables(method_of(name, model)(model, shuffled, MLP, narrow, FEW_BYTES))
    for key, table in expected.items():
        assert_close(found[key], table[order], rtol=0, atol=1e-9)
    assert len(narrow.calls[0]) > len(roomy.calls[0])


@pytest.mark.parametrize(("positions", "path"), [("answer", "per_layer"), ("last", "joint")])
def test_batch_and_memory_change_nothing_if_few_positions_move(positions, path):
    model = tiny("gemma3_text")
    facts = (FACTS[0], *FACTS[2:])
    assert batch_of(facts).prompt_lengths.tolist() == [5, 3, 3]
    method = IntegratedGradients(positions=positions, path=path, tolerance=1e-2, baseline="zero")
    with StayDouble():
        together = tables(method(model, batch_of(facts), MLP, Target()))
        alone = [
            tables(method(model, batch_of([fact]), MLP, Target(), FEW_BYTES)) for fact in facts
        ]
    for key, table in together.items():
        assert_close(table, torch.cat([one[key] for one in alone]), rtol=0, atol=1e-9)


@every_method
def test_in_single_precision_batch_and_memory_change_little(name):
    model = tiny("llama", torch.float32)
    method = method_of(name, model)
    together = tables(method(model, batch_of(EIGHT), MLP, Target()))
    alone = [tables(method(model, batch_of([fact]), MLP, Target(), FEW_BYTES)) for fact in EIGHT]
    for key, table in together.items():
        assert table.dtype == torch.float32
        few = 1e-5 * float(table.abs().max())
        assert_close(table, torch.cat([one[key] for one in alone]), rtol=0, atol=few)


@pytest.mark.parametrize("form", ["completion", "question_answer"])
def test_the_tokenizers_padding_side_changes_nothing(form):
    reference = "the dog of Peru"
    methods = (
        IntegratedGradients(baseline="reference", reference=reference),
        Conductance(baseline="reference", reference=reference),
    )
    found = []
    for side in ("right", "left"):
        words = tokenizer()
        words.padding_side = side
        model = HookedModel.of(tiny("llama").hf, words)
        batch = Batch.of([encode(fact, words, form) for fact in EIGHT], "cpu")
        found.append([method(model, batch, SITES, Target()) for method in methods])
    for right, left in zip(*found, strict=True):
        assert_same(left, right, atol=0.0)


@every_method
def test_dropout_of_a_model_in_training_mode_has_no_effect(name):
    model, batch = tiny("gpt2"), batch_of(FACTS)
    expected = method_of(name, model)(model, batch, SITES, Target())
    model.hf.train()
    with torch.no_grad():
        noisy = [scores_of(model, batch) for _ in range(2)]
    assert not torch.equal(*noisy)
    assert_same(method_of(name, model)(model, batch, SITES, Target()), expected, atol=0.0)


@every_method
def test_results_do_not_depend_on_the_callers_gradient_mode(name):
    model = tiny("llama")
    expected = method_of(name, model)(model, batch_of(FACTS), SITES, Target())
    with torch.no_grad():
        found = method_of(name, model)(model, batch_of(FACTS), SITES, Target())
    assert_same(found, expected, atol=0.0)


def test_settings_are_plain_values_and_include_the_baseline():
    method = IntegratedGradients(tolerance=0.5, baseline="reference", reference="the cat")
    told = method.settings()
    assert told["steps"] == 4 and told["tolerance"] == 0.5 and told["path"] == "per_layer"
    assert told["baseline"] == "reference: the cat" and "reference" not in told
    for name in METHODS:
        for method in (plain(name), method_of(name, tiny("llama"))):
            assert list(method.settings()) == list(plain(name).settings())
            for value in method.settings().values():
                assert isinstance(value, str | int | float | None)
