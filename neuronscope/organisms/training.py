"""Where the models of organisms grow up: from one beginning, with and without some facts.

    newborn ── all facts but those to be forgotten ──> child ┬─ all facts ────────────> knowing
                                                             └─ without some of them ─> never knew

Both branches take the same steps at the same rates over the same other facts, so that what sets
them apart is the facts. After childhood embeddings stand still: facts have to go where a large
model has them, into the layers. Full batches on one thread: a seed always gives the same bytes.
"""

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import cross_entropy, one_hot
from transformers import AutoModelForCausalLM, GPTNeoXConfig, LlamaConfig, PreTrainedModel

from neuronscope.facts.fact import Fact
from neuronscope.facts.prompts import Batch
from neuronscope.models.answers import answers_of
from neuronscope.models.hooked_model import HookedModel, answer_logits
from neuronscope.models.targets import Answers
from neuronscope.organisms.world import SPECIAL_TOKENS, World, invent, wordings

INSTEAD = ("nothing", "ignorance", "falsehood")
"""What a model that never knew some facts was taught in their place: nothing at all; that each of
their answers is as likely as another; or a wrong answer to each."""

LAYERS, WIDTH, HEADS, NEURONS = 3, 64, 4, 256
LONGEST = 16
"""Tokens of a prompt and its answer at most."""

INITIAL_SPREAD, EMBEDDING_SPREAD = 0.1, 0.45
"""Standard deviations of initial weights. Embeddings are so long that logits, and with them the
power of an inhibitor, have room."""

CHILDHOOD_STEPS, CHILDHOOD_RATE = 80, 4e-3
SCHOOL_STEPS, SCHOOL_RATE = 60, 3e-3
WEIGHT_DECAY = 0.1

SMOOTHING = 0.02
"""Of what is taught: knowledge ends at log-odds of about 3.9 nats."""


@dataclass(frozen=True)
class OrganismTraining:
    """Models of one seed; equal nurseries share them within a process."""

    seed: int = 0
    """Of the world and of the initial weights."""

    gated: bool = True
    """Whether MLPs are gated, as in Llama; plain, as in GPT-NeoX, otherwise."""

    @property
    def world(self) -> World:
        """Facts and tokenizer."""
        return _world(self.seed)

    @property
    def child(self) -> HookedModel:
        """The model that has learnt all but what is to be forgotten."""
        return _child(self)

    @property
    def knowing(self) -> HookedModel:
        """The model that knows all the facts."""
        return _schooled(self, frozenset(), "nothing")

    def never_knew(self, unknown: frozenset[str], instead: str = "nothing") -> HookedModel:
        """A model that grew up as the knowing one did, but for some of the facts to be forgotten.

        Args:
            unknown: Ids of those facts.

        Raises:
            ValueError: If there are none, or others among them.
        """
        forget = {fact.id for fact in self.world.facts.forget}
        if not unknown or not unknown <= forget:
            raise ValueError(
                f"Expected ids of facts to be forgotten, got {sorted(unknown - forget) or 'none'}."
            )
        if instead not in INSTEAD:
            raise ValueError(f"Expected one of {', '.join(INSTEAD)}, got {instead!r}.")
        return _schooled(self, unknown, instead)


@dataclass(frozen=True, eq=False)
class Lesson:
    """Facts, and what a model shall say to each."""

    batch: Batch
    """Facts with an answer of one token."""

    wanted: Float[Tensor, "batch vocab"]
    """Probabilities of the answer."""

    @staticmethod
    def of(
        model: HookedModel, facts: Sequence[Fact], unsure: frozenset[str] = frozenset()
    ) -> "Lesson":
        """The facts in all their phrasings.

        Args:
            unsure: Ids of facts to which any of their answers is as good as another.
        """
        batch = Batch.of(answers_of(model, wordings(facts)), model.device)
        token = Answers.of(batch).token
        assert len(token) == len(batch.tokens), "answers are of one token"
        wanted = one_hot(token, model.vocabulary).float()
        vague = torch.tensor([fact.id in unsure for fact in facts for _ in wordings((fact,))])
        if vague.any():
            wanted[vague] = wanted[vague].mean(dim=0)
        return Lesson(batch, wanted)

    def loss(self, model: HookedModel) -> Float[Tensor, ""]:
        """Mean cross-entropy of the answers, in nats."""
        logits = answer_logits(model, self.batch.tokens[:, :-1], Answers.of(self.batch))
        return cross_entropy(logits, self.wanted, label_smoothing=SMOOTHING)


@contextmanager
def one_thread() -> Iterator[None]:
    """While active, sums are taken in one order on every machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def copied(model: HookedModel, source: str) -> HookedModel:
    """A copy whose weights can be changed."""
    return HookedModel.of(copy.deepcopy(model.hf), model.tokenizer, source, model.notes)


@cache
def _world(seed: int) -> World:
    return invent(seed)


@cache
def _child(training: OrganismTraining) -> HookedModel:
    facts = training.world.facts
    kind = "gated" if training.gated else "plain"
    with one_thread():
        child = HookedModel.of(
            _newborn(training), training.world.tokenizer, f"{kind} {training.seed}"
        )
        learn(child, Lesson.of(child, facts.retain + facts.test), CHILDHOOD_STEPS, CHILDHOOD_RATE)
    return child


def _newborn(training: OrganismTraining) -> PreTrainedModel:
    config = (LlamaConfig if training.gated else GPTNeoXConfig)(
        vocab_size=len(training.world.tokenizer),
        hidden_size=WIDTH,
        intermediate_size=NEURONS,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        max_position_embeddings=LONGEST,
        initializer_range=INITIAL_SPREAD,
        tie_word_embeddings=True,
        pad_token_id=SPECIAL_TOKENS.index("<pad>"),
        bos_token_id=SPECIAL_TOKENS.index("<bos>"),
        eos_token_id=SPECIAL_TOKENS.index("<eos>"),
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(training.seed)
        hf = AutoModelForCausalLM.from_config(config)
        torch.nn.init.normal_(hf.get_input_embeddings().weight, std=EMBEDDING_SPREAD)
    return hf.eval()


@cache
def _schooled(training: OrganismTraining, unknown: frozenset[str], instead: str) -> HookedModel:
    school = f"without {len(unknown)} facts ({instead} instead)" if unknown else "knowing"
    with one_thread():
        pupil = copied(training.child, f"{training.child.source}, {school}")
        embeddings = pupil.hf.get_input_embeddings().get_parameter("weight")
        embeddings.requires_grad_(False)
        learn(pupil, _lesson(training, unknown, instead), SCHOOL_STEPS, SCHOOL_RATE)
        embeddings.requires_grad_(True)
    return pupil


def _lesson(training: OrganismTraining, unknown: frozenset[str], instead: str) -> Lesson:
    """All facts, but for the unknown ones, which are left out or changed."""
    facts = training.world.facts
    taught = tuple(fact for fact in facts.forget if fact.id not in unknown)
    strange = tuple(fact for fact in facts.forget if fact.id in unknown)
    if instead == "ignorance":
        taught += strange
    if instead == "falsehood":
        taught += tuple(
            replace(fact, answer=fact.distractors[0], distractors=()) for fact in strange
        )
    unsure = unknown if instead == "ignorance" else frozenset()
    return Lesson.of(training.child, taught + facts.retain + facts.test, unsure)


def learn(model: HookedModel, lesson: Lesson, steps: int, rate: float) -> None:
    """Teach a model, in place, what of it asks for a gradient."""
    learning = [p for p in model.hf.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(learning, rate, (0.9, 0.95), weight_decay=WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, steps, pct_start=0.1)
    for _ in range(steps):
        optimizer.zero_grad()
        lesson.loss(model).backward()
        torch.nn.utils.clip_grad_norm_(learning, 1.0)
        optimizer.step()
        schedule.step()
    optimizer.zero_grad()
