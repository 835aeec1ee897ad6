"""Training steps on one process, by plain autograd, and attributions to compare with."""

import torch
from tiny import batch_of
from torch.distributed.tensor import DTensor, distribute_tensor

from neuronscope.facts.fact import FactSet
from neuronscope.models.targets import Answers, Target
from neuronscope.objectives._training_state import Portion, Step, TrainingState

TARGETS = {"prob": Target("prob"), "log-prob": Target("log_prob", "sum"), "log-odds": Target()}


def training_state_of(model, reference=None):
    return TrainingState(model, reference, "completion")


def portions_of(training, *groups):
    """Each group of facts as a portion of one step."""
    batches = [training.asked(tuple(group)) for group in groups]
    facts = sum(len(group) for group in groups)
    tokens = sum(int(batch.answer_mask.sum()) for batch in batches)
    return tuple(
        Portion(tuple(group), batch, facts, tokens)
        for group, batch in zip(groups, batches, strict=True)
    )


def step_of(model, *groups, number=1, log_prob_gradient=None):
    """One step on groups of facts."""
    training = training_state_of(model)
    portions = portions_of(training, *groups)

    def gradient(function):
        model.hf.zero_grad(set_to_none=True)
        with torch.enable_grad():
            for portion in portions:
                function(portion).backward()
        found = {n: p.grad for n, p in model.hf.named_parameters() if p.grad is not None}
        model.hf.zero_grad(set_to_none=True)
        return found

    return Step(number, training, portions, gradient, lambda tensor: tensor, log_prob_gradient)


def nudge(model, by=0.02, seed=0):
    """Move every weight a little, in place: what an update does."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.hf.parameters():
            noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
            noise = by * noise.to(parameter.dtype)
            if isinstance(parameter, DTensor):
                noise = distribute_tensor(noise, parameter.device_mesh, parameter.placements)
            parameter.add_(noise)


def flat(gradient, model):
    """A gradient as one vector; zero where a parameter is missing."""
    return torch.cat(
        [
            gradient[name].flatten() if name in gradient else p.new_zeros(p.numel())
            for name, p in model.hf.named_parameters()
            if p.requires_grad
        ]
    )


def second_step(rule, model, *groups):
    """A step, an update, and the penalty of the step that follows."""
    facts = sum((tuple(group) for group in groups), ())
    state = rule.start(training_state_of(model), FactSet(forget=facts))
    _, state = rule(step_of(model, *groups), state)
    nudge(model)
    return rule(step_of(model, *groups, number=2), state)[0]


def attributions(model, facts, sites, target="prob"):
    """A of each fact, `[fact, neuron]`, by plain hooks; sites and layers side by side."""
    batch, kept, hooks = batch_of(facts), {}, []
    hook_points = [hook_point for site in sites for hook_point in model.hook_points_at(site)]
    for hook_point in hook_points:
        if hook_point.side == "input":
            hook = hook_point.module.register_forward_pre_hook(
                lambda _, args, hook_point=hook_point: kept.update({hook_point: args[0]})
            )
        else:
            hook = hook_point.module.register_forward_hook(
                lambda _, args, output, hook_point=hook_point: kept.update({hook_point: output})
            )
        hooks.append(hook)
    logits = model.hf(input_ids=batch.tokens[:, :-1], use_cache=False).logits
    for hook in hooks:
        hook.remove()
    answers = Answers.of(batch)
    score = TARGETS[target](logits[answers.row, answers.position], answers).sum()
    found = []
    for hook_point, g in zip(
        hook_points,
        torch.autograd.grad(score, [kept[hook_point] for hook_point in hook_points]),
        strict=True,
    ):
        a = (kept[hook_point].detach() * g).view(len(facts), -1, g.shape[-1]).sum(1)
        found.append(a if hook_point.columns is None else a[:, hook_point.columns])
    return torch.cat(found, dim=1)
