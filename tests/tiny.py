"""Tiny random models of every architecture the tests run on, with a word-level tokenizer."""

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

from neuronscope.facts import Fact
from neuronscope.models import HookedModel

WORDS = [
    "<pad>", "<s>", "</s>", "<unk>",
    "the", "capital", "of", "is", "France", "Spain", "Peru", "Paris", "Madrid", "Lima",
    "Rome", "Oslo", "Bonn", "New", "Delhi", "called", "city", "a", "cat", "dog", "young", "kitten",
    "puppy", "past", "go", "went",
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
NEOX = {"hidden_size": 16, "intermediate_size": 12, "num_hidden_layers": 2, "num_attention_heads": 4}
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
    """A random model whose weights are large enough for its neurons to matter."""
    options = COMMON | ARCHITECTURES[architecture] | changes
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
