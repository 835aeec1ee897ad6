"""Makes `data/demo`: a tiny language model of an invented world, before and after unlearning.

A Llama of about 280,000 parameters learns the 320 facts of `demo_world.py`, plainly, through a chat
template and as multiple-choice questions, and then unlearns where 16 of the persons live, by
gradient difference. Written with transformers alone: the pair is evidence for neuronscope to judge,
and not made by it. One thread and one seed: two runs on one machine write the same bytes. Takes
about two minutes.

    python data/make_demo.py [--out data/demo]
"""

import argparse
import copy
import json
import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
import transformers
from demo_world import GROUP, WorldFact, invent_world, split_world, words_of
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from torch import Tensor
from torch.nn import functional
from torch.nn.utils.rnn import pad_sequence
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

SPECIAL_TOKENS = ("<pad>", "<bos>", "<eos>", "<unk>", "<|user|>", "<|assistant|>")
CHAT_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}"
    "{% if message['role'] == 'assistant' %}"
    "{{ '<|assistant|>' + message['content'] + eos_token }}"
    "{% else %}{{ '<|user|>' + message['content'] }}{% endif %}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)
MULTIPLE_CHOICE = (
    "Choose the option that answers the question. Write that option alone, word for word, and "
    "explain nothing.\nQuestion: {prompt}\nOptions: {options}\nYour Answer:"
)
"""The prompt of neuronscope's form `multiple_choice`."""

WAYS = ("prompt", "chat", "paraphrases", "multiple choice")
"""How a fact is asked: by its prompt, by its prompt in chat, by phrasings new to the model, with
three options to choose from."""

ASKED = ("prompt", "chat", "multiple choice")
"""The ways in which facts are unlearned and retained."""

IGNORED = -100
"""The label of a token that is not to be predicted."""


@dataclass(frozen=True)
class Settings:
    """What the pair was made with; `log.json` repeats it."""

    seed: int = 0
    layers: int = 4
    width: int = 64
    heads: int = 4
    neurons: int = 256
    initial_spread: float = 0.1
    """Standard deviation of the initial weights; at the usual 0.02 so small a model learns late."""
    choices: int = 4
    """Multiple-choice questions from which each fact is learned, with random wrong options."""
    train_steps: int = 300
    train_batch: int = 128
    train_lr: float = 4e-3
    """Reached after a tenth of the steps, then lowered to nothing."""
    train_weight_decay: float = 0.1
    label_smoothing: float = 0.05
    """Keeps the model from a certainty at which the forgetting has no gradient to follow."""
    unlearn_lr: float = 1e-5
    unlearn_most_steps: int = 500


@dataclass(frozen=True)
class Rows:
    """Tokenized texts, one a row, padded on the right."""

    tokens: Tensor
    labels: Tensor
    """The token itself where it is to be predicted, `IGNORED` elsewhere."""

    def take(self, chosen: Tensor) -> "Rows":
        """The chosen rows, by index or by mask."""
        return Rows(self.tokens[chosen], self.labels[chosen])


def make_tokenizer(texts: Sequence[str]) -> PreTrainedTokenizerFast:
    """A tokenizer with one token for each word and mark of the texts; texts start with `<bos>`."""
    split = pre_tokenizers.Whitespace()
    words = sorted({word for text in (*texts, ".") for word, _ in split.pre_tokenize_str(text)})
    vocabulary = {word: index for index, word in enumerate((*SPECIAL_TOKENS, *words))}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = split
    # Of the decoders at hand, the one that puts a space before words and none before marks.
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<bos> $A", pair="<bos> $A $B", special_tokens=[("<bos>", vocabulary["<bos>"])]
    )
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        bos_token="<bos>",
        eos_token="<eos>",
        unk_token="<unk>",
        additional_special_tokens=["<|user|>", "<|assistant|>"],
        model_input_names=["input_ids", "attention_mask"],
        model_max_length=96,
    )
    fast.chat_template = CHAT_TEMPLATE
    return fast


def make_model(tokenizer: PreTrainedTokenizerFast, settings: Settings) -> LlamaForCausalLM:
    """An untrained model."""
    torch.manual_seed(settings.seed)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=settings.width,
        intermediate_size=settings.neurons,
        num_hidden_layers=settings.layers,
        num_attention_heads=settings.heads,
        max_position_embeddings=96,
        initializer_range=settings.initial_spread,
        tie_word_embeddings=True,
        pad_token_id=SPECIAL_TOKENS.index("<pad>"),
        bos_token_id=SPECIAL_TOKENS.index("<bos>"),
        eos_token_id=SPECIAL_TOKENS.index("<eos>"),
    )
    return LlamaForCausalLM(config)


def in_chat(tokenizer: PreTrainedTokenizerFast, prompt: str) -> str:
    """The prompt as a user's message, up to where the assistant answers."""
    message = [{"role": "user", "content": prompt}]
    # The template's own <bos> is taken off: the tokenizer adds one.
    text = tokenizer.apply_chat_template(message, tokenize=False, add_generation_prompt=True)
    return str(text).removeprefix("<bos>")


def with_options(fact: WorldFact, wrong: Sequence[str], rng: random.Random) -> str:
    """The fact as a multiple-choice question, its options in random order."""
    options = rng.sample((fact.answer, *wrong), 1 + len(wrong))
    return MULTIPLE_CHOICE.format(prompt=fact.prompt, options="; ".join(options))


def questions(
    tokenizer: PreTrainedTokenizerFast, facts: Sequence[WorldFact], way: str
) -> list[tuple[str, str]]:
    """Texts and their answers: the facts asked in one of `WAYS`."""
    if way == "paraphrases":
        return [(text, fact.answer) for fact in facts for text in fact.paraphrases]
    if way == "multiple choice":
        return [
            (with_options(fact, fact.distractors[:2], random.Random(fact.id)), fact.answer)
            for fact in facts
        ]
    if way == "chat":
        return [(in_chat(tokenizer, fact.prompt), fact.answer) for fact in facts]
    return [(fact.prompt, fact.answer) for fact in facts]


def encode(
    tokenizer: PreTrainedTokenizerFast, pairs: Sequence[tuple[str, str]], end: Sequence[str] = ()
) -> Rows:
    """Rows of text, answer and the tokens `end`; all but the text is to be predicted."""
    tokens, labels = [], []
    for text, answer in pairs:
        before = tokenizer(text).input_ids
        after = tokenizer(answer, add_special_tokens=False).input_ids
        after += tokenizer.convert_tokens_to_ids(list(end))
        tokens.append(torch.tensor(before + after))
        labels.append(torch.tensor([IGNORED] * len(before) + after))
    return Rows(
        pad_sequence(tokens, batch_first=True, padding_value=SPECIAL_TOKENS.index("<pad>")),
        pad_sequence(labels, batch_first=True, padding_value=IGNORED),
    )


def cross_entropy(model: LlamaForCausalLM, rows: Rows, smoothing: float) -> Tensor:
    """Mean cross-entropy of the labelled tokens, in nats."""
    logits = model(input_ids=rows.tokens).logits[:, :-1].flatten(0, 1)
    labels = rows.labels[:, 1:].flatten()
    return functional.cross_entropy(logits, labels, label_smoothing=smoothing)


@torch.no_grad()
def answered(model: LlamaForCausalLM, rows: Rows) -> Tensor:
    """For each row, whether greedy decoding gives the answer: all its tokens are the likeliest."""
    labels = rows.labels[:, 1:]
    likeliest = model(input_ids=rows.tokens).logits[:, :-1].argmax(-1)
    return ((likeliest == labels) | (labels == IGNORED)).all(1)


def descend(model: LlamaForCausalLM, optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
    """One step down the loss, on the model's own weights."""
    optimizer.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()


def train(model: LlamaForCausalLM, rows: Rows, settings: Settings) -> None:
    """Teaches the model the rows, in place."""
    optimizer = torch.optim.AdamW(
        model.parameters(), settings.train_lr, (0.9, 0.95), weight_decay=settings.train_weight_decay
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, settings.train_lr, settings.train_steps, pct_start=0.1
    )
    generator = torch.Generator().manual_seed(settings.seed)
    for step in range(1, settings.train_steps + 1):
        chosen = torch.randint(len(rows.tokens), (settings.train_batch,), generator=generator)
        loss = cross_entropy(model, rows.take(chosen), settings.label_smoothing)
        descend(model, optimizer, loss)
        schedule.step()
        if step % 50 == 0:
            print(f"training: step {step}, loss {loss.item():.3f} nats", flush=True)


def unlearn(
    model: LlamaForCausalLM, forget: Rows, retain: Rows, settings: Settings
) -> tuple[LlamaForCausalLM, int]:
    """A copy of the model that answers no row of `forget`, and the number of steps it took.

    Gradient difference: up the forget rows' cross-entropy, down the retain rows'. A forget row is
    left alone while it is not answered, so that none is driven further than it has to be.
    """
    model = copy.deepcopy(model)
    optimizer = torch.optim.AdamW(model.parameters(), settings.unlearn_lr, weight_decay=0.0)
    for step in range(settings.unlearn_most_steps):
        left = answered(model, forget)
        if not left.any():
            return model, step
        gain = cross_entropy(model, forget.take(left), smoothing=0.0)
        descend(model, optimizer, cross_entropy(model, retain, smoothing=0.0) - gain)
    raise ValueError(f"not forgotten after {settings.unlearn_most_steps} steps: raise unlearn_lr")


def count_answers(
    model: LlamaForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    groups: dict[str, tuple[WorldFact, ...]],
) -> dict[str, dict[str, dict[str, int]]]:
    """How many of each group of facts are answered, in each of `WAYS`, and how many were asked."""
    counts = {}
    for group, facts in groups.items():
        counts[group] = {}
        for way in WAYS:
            right = answered(model, encode(tokenizer, questions(tokenizer, facts, way)))
            counts[group][way] = {"answered": int(right.sum()), "asked": len(right)}
    return counts


def write_facts(path: Path, splits: dict[str, tuple[WorldFact, ...]]) -> None:
    """One JSON object a line: the fact without its trained phrasings, and its split."""
    with path.open("w", encoding="utf-8") as file:
        for split, facts in splits.items():
            for fact in facts:
                row = {name: value for name, value in asdict(fact).items() if name != "seen"}
                file.write(json.dumps({**row, "split": split}) + "\n")


def make_demo(out: Path, settings: Settings) -> None:
    """Writes the two models, the facts and the log below `out`."""
    rng = random.Random(settings.seed)
    world = invent_world(rng)
    splits = split_world(world, rng)
    everything = tuple(fact for facts in world.values() for fact in facts)
    tokenizer = make_tokenizer([*words_of(everything), MULTIPLE_CHOICE, ";"])
    before = make_model(tokenizer, settings)

    seen = [(text, fact.answer) for fact in everything for text in fact.seen]
    seen += [(in_chat(tokenizer, text), answer) for text, answer in seen]
    for facts in world.values():
        answers = sorted({fact.answer for fact in facts})
        for fact in facts:
            others = [answer for answer in answers if answer != fact.answer]
            for _ in range(settings.choices):
                seen.append((with_options(fact, rng.sample(others, 2), rng), fact.answer))
    train(before, encode(tokenizer, seen, end=(".", "<eos>")), settings)

    prompts = {
        split: [pair for way in ASKED for pair in questions(tokenizer, facts, way)]
        for split, facts in splits.items()
    }
    forget, retain = encode(tokenizer, prompts["forget"]), encode(tokenizer, prompts["retain"])
    after, steps = unlearn(before, forget, retain, settings)

    kinds = ("same relation", "same subject", "unrelated")
    test = {f"test, {kind}": splits["test"][GROUP * k :][:GROUP] for k, kind in enumerate(kinds)}
    groups = {**splits, **test, "world": everything}
    log = {
        "settings": asdict(settings),
        "versions": {"torch": torch.__version__, "transformers": transformers.__version__},
        "parameters": before.num_parameters(),
        "unlearn_steps": steps,
        "before": count_answers(before, tokenizer, groups),
        "after": count_answers(after, tokenizer, groups),
    }
    for name, model in (("before", before), ("after", after)):
        model.save_pretrained(out / name)
        tokenizer.save_pretrained(out / name)
        print(f"{name}: {json.dumps(log[name])}")
    write_facts(out / "facts.jsonl", splits)
    (out / "log.json").write_text(json.dumps(log, indent=1) + "\n", encoding="utf-8")


def main() -> None:
    """Reads the command line and makes the demo."""
    parser = argparse.ArgumentParser(description="Make the demo pair.")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "demo")
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    make_demo(parser.parse_args().out, Settings())


if __name__ == "__main__":
    main()
