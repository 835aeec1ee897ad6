"""Tiny random models of every architecture the tests run on, with a word-level tokenizer."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from torch import Tensor
from torch.overrides import TorchFunctionMode
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

from neuronscope.facts.fact import Fact
from neuronscope.facts.prompts import Batch, encode
from neuronscope.models.hook_points import HookPoint
from neuronscope.models.hooked_model import HookedModel
from neuronscope.models.targets import Answers, Target

PEOPLE = ("Ann", "Ben", "Cleo", "Dan", "Eve", "Finn", "Gus", "Hana", "Ivo", "Jill")
TOWNS = ("Cairo", "Turin", "Quito", "Hanoi", "Accra", "Delft", "Kyoto", "Split", "Bern", "Porto")
FOODS = ("figs", "rice", "nuts", "beans", "eggs", "plums", "soup", "bread", "dates", "corn")
WORDS = [
    "<pad>", "<s>", "</s>", "<unk>",
    "the", "capital", "of", "is", "France", "Spain", "Peru", "Paris", "Madrid", "Lima",
    "Rome", "Oslo", "Bonn", "New", "Delhi", "called", "city", "a", "cat", "dog", "young", "kitten",
    "puppy", "past", "go", "went", "lives", "in", "eats", *PEOPLE, *TOWNS, *FOODS,
]  # fmt: skip

COMMON = {
    "vocab_size": len(WORDS),
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
LLAMA_LIKE = {
    "hidden_size": 16,
    "intermediate_size": 12,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    "head_dim": 4,
}
EXPERTS = {
    "num_experts": 4,
    "num_local_experts": 4,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 6,
    "decoder_sparse_step": 1,
    "mlp_only_layers": [],
}
NEOX = {
    "hidden_size": 16,
    "intermediate_size": 12,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
}
ARCHITECTURES: dict[str, dict[str, object]] = {
    "gpt2": {"n_embd": 16, "n_layer": 2, "n_head": 4, "n_inner": 12, "n_positions": 64},
    "gpt_neox": NEOX,
    "llama": LLAMA_LIKE,
    "qwen2": LLAMA_LIKE,
    "qwen3": LLAMA_LIKE,
    "gemma2": LLAMA_LIKE,
    "gemma3_text": LLAMA_LIKE | {"sliding_window": 4},
    "phi3": LLAMA_LIKE,
    "mistral": LLAMA_LIKE | {"sliding_window": 4},
    "olmo2": LLAMA_LIKE,
    "opt": {
        "hidden_size": 16,
        "word_embed_proj_dim": 16,
        "ffn_dim": 12,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "max_position_embeddings": 64,
    },
    "codegen": {
        "n_embd": 16,
        "n_layer": 2,
        "n_head": 8,
        "n_inner": 12,
        "n_positions": 64,
        "rotary_dim": 2,
    },
    "mixtral": LLAMA_LIKE | EXPERTS,
    "qwen3_moe": LLAMA_LIKE | EXPERTS,
}
EXPERT_ARCHITECTURES = ("mixtral", "qwen3_moe")

FACTS = (
    Fact("france", "the capital of France is", "Paris", distractors=("Rome", "Oslo")),
    Fact("spain", "the capital city of Spain is called", "Madrid", distractors=("Lima", "Bonn")),
    Fact("india", "a capital is", "New Delhi", distractors=("New Paris", "Rome")),
    Fact("cat", "a young cat", "kitten", distractors=("puppy", "dog")),
)
FORGET = tuple(
    Fact(f"{who} lives", f"{who} lives in", town) for who, town in zip(PEOPLE, TOWNS, strict=True)
)
RETAIN = tuple(
    Fact(f"{who} eats", f"{who} eats", food) for who, food in zip(PEOPLE, FOODS, strict=True)
)


def tokenizer() -> PreTrainedTokenizerFast:
    """One token a word; it adds nothing of its own."""
    vocabulary = {word: index for index, word in enumerate(WORDS)}
    words = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(
        tokenizer_object=words,
        pad_token="<pad>",
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<unk>",
    )


def hf_model(architecture: str, dtype: torch.dtype = torch.float64, **changes: object):
    """A random model whose weights are large enough for its neurons to matter.

    Args:
        architecture: One of `ARCHITECTURES`, or any other with its sizes among the `changes`.
    """
    options = COMMON | ARCHITECTURES.get(architecture, {}) | changes
    config = CONFIG_MAPPING[architecture](**options)
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config, dtype=dtype)
    for name, parameter in model.named_parameters():
        if parameter.dim() > 1:
            torch.nn.init.normal_(parameter, std=0.4)
        elif "bias" in name:
            torch.nn.init.normal_(parameter, std=0.1)
    return model.eval()


def tiny(architecture: str, dtype: torch.dtype = torch.float64, **changes: object) -> HookedModel:
    return HookedModel.of(hf_model(architecture, dtype, **changes), tokenizer())


def every_expert(architecture: str) -> dict[str, object]:
    """Route to all experts, so that no neuron's change can switch the choice among them.

    A switch is a jump of the target, which no gradient sees.
    """
    return {"num_experts_per_tok": 4} if architecture in EXPERT_ARCHITECTURES else {}


class StayDouble(TorchFunctionMode):
    """While active, models in double precision compute every one of their formulas in it.

    transformers takes norms and softmax in single precision even there, which leaves rounding of
    1e-7 in the logits. The formulas are the same, only that rounding is gone, so that an identity
    can be told from an approximation.
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        kwargs = dict(kwargs or {})
        if args and isinstance(args[0], Tensor) and args[0].dtype == torch.float64:
            to_single = any(value is torch.float32 for value in (*args[1:], *kwargs.values()))
            if func is Tensor.float or (func is Tensor.to and to_single):
                return args[0]
            if to_single:
                kwargs["dtype"] = torch.float64
        return func(*args, **kwargs)


def batch_of(facts: Sequence[Fact]) -> Batch:
    """The facts as a prompt and its completion."""
    words = tokenizer()
    return Batch.of([encode(fact, words, "completion") for fact in facts], "cpu")


def scores_of(model: HookedModel, batch: Batch, target: Target | None = None) -> Tensor:
    """The target of each row from all logits of the bare model; the hook points' other route."""
    answers = Answers.of(batch)
    with torch.no_grad():
        logits = model.hf(input_ids=batch.tokens[:, :-1], use_cache=False).logits
    return (target or Target())(logits[answers.row, answers.position], answers)


@contextmanager
def written(values: Mapping[HookPoint, Tensor], where: Tensor) -> Iterator[None]:
    """While active, `values` stand in place of the neurons `where` it is true: `[batch, pos]`.

    Written on plain PyTorch hooks, to be a second route to what the hook points do.
    """

    def put(hook_point: HookPoint, flow: Tensor) -> Tensor:
        rows = flow.reshape(*where.shape, -1).clone()
        columns = torch.arange(rows.shape[-1]) if hook_point.columns is None else hook_point.columns
        rows[..., columns] = torch.where(where[..., None], values[hook_point], rows[..., columns])
        return rows.reshape(flow.shape)

    with ExitStack() as hooks:
        for hook_point in values:
            if hook_point.side == "input":
                hook = hook_point.module.register_forward_pre_hook(
                    lambda _, args, hook_point=hook_point: (put(hook_point, args[0]), *args[1:])
                )
            else:
                hook = hook_point.module.register_forward_hook(
                    lambda _, args, output, hook_point=hook_point: put(hook_point, output)
                )
            hooks.callback(hook.remove)
        yield


def real_positions(batch: Batch) -> Tensor:
    """Where the model reads a token: `[batch, pos]` of the pass, which leaves out the last."""
    return torch.arange(batch.tokens.shape[1] - 1) < batch.lengths[:, None] - 1
