"""Runtime of integrated gradients over all layers, compared with Captum on the same model.

    python benchmarks/integrated_gradients.py MODEL --facts FACTS [--count 2] [--layers 4]

Captum processes one layer at a time; it is timed on `--layers` layers spread evenly over the model,
and the time is scaled to all layers. Both interpolate every position from the same baseline prompt
with the same nodes; the largest difference between their scores is printed with the times. The
floor is the time of the forward and backward passes from each layer to the output, measured with
plain passes over the same number of rows.
"""

import argparse
import time
from collections.abc import Callable
from typing import TypeVar

import numpy as np
import torch
from captum.attr import LayerIntegratedGradients

import neuronscope as ns
from neuronscope.attribution.integrated_gradients import IntegratedGradients
from neuronscope.facts.prompts import Batch, encode
from neuronscope.models.hooked_model import HookedModel
from neuronscope.models.passes import differentiable_embeddings, frozen
from neuronscope.models.targets import Answers, Target

T = TypeVar("T")


def main() -> None:
    """Time both on the same facts and print the ratios."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("--facts", required=True)
    parser.add_argument("--count", type=int, default=2, help="number of facts")
    parser.add_argument(
        "--layers", type=int, default=4, help="number of layers on which Captum is timed"
    )
    parser.add_argument("--steps", type=int, default=8)
    args = parser.parse_args()

    model = ns.load_model(args.model)
    facts = [fact for _, fact in ns.load_facts(args.facts)][: args.count]
    encoded = [encode(fact, model.tokenizer, "completion") for fact in facts]
    batches = [Batch.of([one], model.device) for one in encoded]
    method = IntegratedGradients(
        steps=args.steps,
        max_steps=args.steps,
        baseline="reference",
        reference=facts[-1].prompt,
    )
    layers = np.linspace(0, model.n_layers - 1, args.layers).round().astype(int)

    our_time, our_scores = timed(
        lambda: [method(model, batch, ("mlp.post",), Target())["mlp.post"] for batch in batches]
    )
    captum_time, captum_scores = timed(
        lambda: [[captum(model, b, method, int(layer)) for layer in layers] for b in batches]
    )
    captum_time *= model.n_layers / len(layers)
    floor, _ = timed(lambda: [passes(model, batch, args.steps) for batch in batches])
    difference = max(
        float((ours.total[0, int(layer)] - theirs).abs().max())
        for ours, of_fact in zip(our_scores, captum_scores, strict=True)
        for layer, theirs in zip(layers, of_fact, strict=True)
    )
    print(f"{len(facts)} facts, {model.n_layers} layers, {args.steps} nodes")
    print(f"neuronscope  {our_time:8.2f} s")
    print(f"captum       {captum_time:8.2f} s   {captum_time / our_time:.2f} times as long")
    print(f"floor        {floor:8.2f} s   neuronscope takes {our_time / floor:.2f} times as long")
    print(f"largest difference between scores of a neuron: {difference:.1e} nats per token")


def timed(run: Callable[[], T]) -> tuple[float, T]:
    """The duration of `run` in seconds, and its result."""
    start = time.perf_counter()
    result = run()
    return time.perf_counter() - start, result


def captum(
    model: HookedModel, batch: Batch, method: IntegratedGradients, layer: int
) -> torch.Tensor:
    """Captum's scores for one layer, summed over positions."""
    tokens, answers = batch.tokens[:, :-1], Answers.of(batch)
    length = tokens.shape[1]
    prompt = model.tokenizer(method.reference).input_ids
    reference = torch.tensor([(prompt + prompt[-1:] * length)[:length]], device=model.device)
    rows = torch.zeros(method.steps, dtype=torch.long, device=model.device)

    def score(ids: torch.Tensor) -> torch.Tensor:
        logits = model.hf(input_ids=ids, use_cache=False).logits
        repeated = answers.take(rows[: len(ids)])
        return Target()(logits[repeated.row, repeated.position], repeated)

    with frozen(model):
        scores = LayerIntegratedGradients(
            score, model.hook_points_at("mlp.post")[layer].module
        ).attribute(
            tokens,
            baselines=reference,
            n_steps=method.steps,
            method="gausslegendre",
            attribute_to_layer_input=True,
        )
    return scores[0].sum(dim=0)


def passes(model: HookedModel, batch: Batch, steps: int) -> None:
    """Run as many forward and backward passes as the branches of all layers amount to."""
    tokens = batch.tokens[:, :-1]
    # The branch of layer l runs L − l layers; summed over layers, that is (L + 1) / 2 full passes.
    rows = max(1, round(steps * (model.n_layers + 1) / 2))
    with frozen(model), differentiable_embeddings(model), torch.enable_grad():
        hidden = model.hf.base_model(tokens.repeat(rows, 1), use_cache=False).last_hidden_state
        hidden.sum().backward()


if __name__ == "__main__":
    main()
