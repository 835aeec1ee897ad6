"""Tokenizers of every common kind, trained on a few lines, and facts to encode with them."""

from tokenizers import (
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)
from transformers import ByT5Tokenizer, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from neuronscope.facts.fact import Fact
from neuronscope.facts.prompts import Encoded

CORPUS = [
    "the capital city of France is called Paris, and that of Spain is called Madrid",
    "Question: what is the capital of Peru? Answer: Lima. Options: Rome; Oslo; Bonn",
    "Choose the option that answers the question. Your Answer: New Delhi, New York",
    "Write that option alone, word for word, and explain nothing. 0123456789 ABCDEFGHIJKLMNOPQRSTU",
]


FACTS = (
    Fact("france", "the capital city of France is called", "Paris", ("Rome", "Oslo")),
    Fact("india", "what is the capital of India?", "New Delhi", ("New York", "Lima", "Paris")),
    Fact("digits", "one, two and three are 1, 2 and", "3", ("4", "5")),
)

BRACKETS = (
    "{{ bos_token }}{% for m in messages %}{% if m.role == 'user' %}[INST] {{ m.content }} [/INST]"
    "{% else %} {{ m.content }}{{ eos_token }}{% endif %}{% endfor %}"
)


def wrap(words: Tokenizer, **special: str) -> PreTrainedTokenizerFast:
    return PreTrainedTokenizerFast(tokenizer_object=words, **special)


def byte_bpe(
    prefix_space: bool = False, regex: bool = True, corpus: list[str] = CORPUS, size: int = 500
) -> Tokenizer:
    words = Tokenizer(models.BPE())
    words.pre_tokenizer = pre_tokenizers.ByteLevel(prefix_space, use_regex=regex)
    words.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    special = ["<s>", "</s>"]
    trainer = trainers.BpeTrainer(
        vocab_size=size, initial_alphabet=alphabet, special_tokens=special, show_progress=False
    )
    words.train_from_iterator(corpus * 3, trainer)
    return words


def added(words: Tokenizer, template: str) -> Tokenizer:
    """The tokenizer with special tokens of its own around every text."""
    special = [(token, words.token_to_id(token)) for token in ("<s>", "</s>")]
    words.post_processor = processors.TemplateProcessing(single=template, special_tokens=special)
    return words


def word_piece() -> Tokenizer:
    words = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    words.decoder = decoders.WordPiece()
    trainer = trainers.WordPieceTrainer(
        vocab_size=300, special_tokens=["[UNK]", "<s>", "</s>"], show_progress=False
    )
    words.train_from_iterator(CORPUS, trainer)
    return words


def unigram() -> Tokenizer:
    words = Tokenizer(models.Unigram())
    words.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    words.decoder = decoders.Metaspace(prepend_scheme="always")
    trainer = trainers.UnigramTrainer(
        vocab_size=120, special_tokens=["<unk>", "<s>", "</s>"], unk_token="<unk>",
        initial_alphabet=list("\n[]/<|>"), show_progress=False,
    )  # fmt: skip
    words.train_from_iterator(CORPUS, trainer)
    return words


def llama_layout() -> Tokenizer:
    """BPE over the whole text with spaces as ▁, one prepended; bytes for what it does not know."""
    words = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True))
    words.normalizer = normalizers.Sequence(
        [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
    )
    words.decoder = decoders.Sequence(
        [
            decoders.Replace("▁", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1),
        ]
    )
    special = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    pieces = [" " + piece for text in CORPUS for piece in text.split()] * 3
    trainer = trainers.BpeTrainer(vocab_size=500, special_tokens=special, show_progress=False)
    words.train_from_iterator(pieces, trainer)
    return words


def word_level(*vocabulary: str) -> PreTrainedTokenizerFast:
    words = Tokenizer(models.WordLevel({w: n for n, w in enumerate(vocabulary)}, "<unk>"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    return wrap(words)


TOKENIZERS: dict[str, PreTrainedTokenizerBase] = {
    "byte-level BPE": wrap(byte_bpe()),
    "byte-level BPE, prefix space": wrap(byte_bpe(prefix_space=True)),
    "begins with BOS": wrap(added(byte_bpe(), "<s> $A"), bos_token="<s>"),
    "ends with EOS": wrap(added(byte_bpe(), "$A </s>"), eos_token="</s>"),
    "WordPiece in BOS and EOS": wrap(added(word_piece(), "<s> $A </s>"), unk_token="[UNK]"),
    "Unigram with Metaspace": wrap(unigram(), unk_token="<unk>"),
    "Unigram with Metaspace and BOS": wrap(added(unigram(), "<s> $A"), unk_token="<unk>"),
    "Llama's layout, begins with BOS": wrap(added(llama_layout(), "<s> $A"), unk_token="<unk>"),
    "padding on the left": wrap(byte_bpe(), padding_side="left", pad_token="<s>"),
    "bytes in Python, ends with EOS": ByT5Tokenizer(),
}


def split_text(tokenizer: PreTrainedTokenizerBase, encoded: Encoded) -> tuple[str, str]:
    prompt = tokenizer.decode(list(encoded.tokens[: encoded.prompt_length]))
    return prompt, tokenizer.decode(list(encoded.tokens[encoded.prompt_length :]))


def squeezed(text: str) -> str:
    return "".join(text.split())
