"""Training the models of organisms, with and without some facts, from a common start.

    initialized ── all facts except the forget set ──> pretrained ┬─ all facts ────> knowing
                                                                  └─ without some ─> never knew

Both branches use the same steps and learning rates on the same other facts, so they differ only in
the omitted facts. Embeddings are frozen after pretraining, so that the facts of the forget set are
stored in the layers, as in a large model. Training uses full batches on one thread, so a seed
always gives identical bytes.
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
from neuronscope.models.hooked_model import HookedModel
from neuronscope.models.passes import answer_logits
from neuronscope.models.targets import Answers
from neuronscope.organisms.world import SPECIAL_TOKENS, World, invent, wordings

INSTEAD = ("nothing", "ignorance", "falsehood")
"""What a model is trained on in place of the facts that it never learns: nothing; a uniform
distribution over their answers; or a wrong answer to each."""

LAYERS, WIDTH, HEADS, NEURONS = 3, 64, 4, 256
LONGEST = 16
"""Maximum number of tokens of a prompt with its answer."""

INITIAL_SPREAD, EMBEDDING_SPREAD = 0.1, 0.45
"""Standard deviations of initial weights. Embeddings are large so that logits, and thus the effects
of inhibitors, can be large."""

PRETRAINING_STEPS, PRETRAINING_RATE = 80, 4e-3
FINETUNING_STEPS, FINETUNING_RATE = 60, 3e-3
WEIGHT_DECAY = 0.1

SMOOTHING = 0.02
"""Label smoothing, with which log-odds of known facts reach about 3.9 nats."""


@dataclass(frozen=True)
class OrganismTraining:
    """The models of one seed; equal trainings share their models within a process."""

    seed: int = 0
    """Seed of the world and of the initial weights."""

    gated: bool = True
    """Whether MLPs are gated, as in Llama, or plain, as in GPT-NeoX."""

    @property
    def world(self) -> World:
        """The facts and the tokenizer."""
        return _world(self.seed)

    @property
    def pretrained(self) -> HookedModel:
        """The model trained on all facts except the forget set."""
        return _pretrained(self)

    @property
    def knowing(self) -> HookedModel:
        """The model trained on all facts."""
        return _finetuned(self, frozenset(), "nothing")

    def never_knew(self, unknown: frozenset[str], instead: str = "nothing") -> HookedModel:
        """A model trained like the knowing one, but without some facts of the forget set.

        Args:
            unknown: Ids of the omitted facts.
            instead: What the model is trained on in their place, one of `INSTEAD`.

        Raises:
            ValueError: If no id is given, or one is not in the forget set.
        """
        forget = {fact.id for fact in self.world.facts.forget}
        if not unknown or not unknown <= forget:
            raise ValueError(
                f"Expected ids of the forget set, got {sorted(unknown - forget) or 'none'}."
            )
        if instead not in INSTEAD:
            raise ValueError(f"Expected one of {', '.join(INSTEAD)}, got {instead!r}.")
        return _finetuned(self, unknown, instead)


@dataclass(frozen=True, eq=False)
class TrainingSet:
    """Facts, and the answer probabilities to train towards."""

    batch: Batch
    """The facts, each with an answer of one token."""

    wanted: Float[Tensor, "batch vocab"]
    """Target probabilities of the answer token."""

    @staticmethod
    def of(
        model: HookedModel, facts: Sequence[Fact], unsure: frozenset[str] = frozenset()
    ) -> "TrainingSet":
        """The facts in all their phrasings.

        Args:
            unsure: Ids of facts whose targets are uniform over the answers of all these facts.
        """
        batch = Batch.of(answers_of(model, wordings(facts)), model.device)
        token = Answers.of(batch).token
        assert len(token) == len(batch.tokens), "answers have one token"
        wanted = one_hot(token, model.vocabulary).float()
        vague = torch.tensor([fact.id in unsure for fact in facts for _ in wordings((fact,))])
        if vague.any():
            wanted[vague] = wanted[vague].mean(dim=0)
        return TrainingSet(batch, wanted)

    def loss(self, model: HookedModel) -> Float[Tensor, ""]:
        """Mean cross-entropy of the answers, in nats."""
        logits = answer_logits(model, self.batch.tokens[:, :-1], Answers.of(self.batch))
        return cross_entropy(logits, self.wanted, label_smoothing=SMOOTHING)


@contextmanager
def one_thread() -> Iterator[None]:
    """While active, use one thread, so that sums have the same order on every machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def copied(model: HookedModel, source: str) -> HookedModel:
    """A copy of a model, with its own weights."""
    return HookedModel.of(copy.deepcopy(model.hf), model.tokenizer, source, model.notes)


@cache
def _world(seed: int) -> World:
    return invent(seed)


@cache
def _pretrained(training: OrganismTraining) -> HookedModel:
    facts = training.world.facts
    kind = "gated" if training.gated else "plain"
    with one_thread():
        model = HookedModel.of(
            _initialized(training), training.world.tokenizer, f"{kind} {training.seed}"
        )
        others = TrainingSet.of(model, facts.retain + facts.test)
        train(model, others, PRETRAINING_STEPS, PRETRAINING_RATE)
    return model


def _initialized(training: OrganismTraining) -> PreTrainedModel:
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
def _finetuned(training: OrganismTraining, unknown: frozenset[str], instead: str) -> HookedModel:
    omitted = f"without {len(unknown)} facts ({instead} instead)" if unknown else "knowing"
    with one_thread():
        model = copied(training.pretrained, f"{training.pretrained.source}, {omitted}")
        embeddings = model.hf.get_input_embeddings().get_parameter("weight")
        embeddings.requires_grad_(False)
        facts = _finetuning_set(training, unknown, instead)
        train(model, facts, FINETUNING_STEPS, FINETUNING_RATE)
        embeddings.requires_grad_(True)
    return model


def _finetuning_set(
    training: OrganismTraining, unknown: frozenset[str], instead: str
) -> TrainingSet:
    """All facts, of which the unknown ones are omitted or changed."""
    facts = training.world.facts
    known = tuple(fact for fact in facts.forget if fact.id not in unknown)
    others = tuple(fact for fact in facts.forget if fact.id in unknown)
    if instead == "ignorance":
        known += others
    if instead == "falsehood":
        known += tuple(replace(fact, answer=fact.distractors[0], distractors=()) for fact in others)
    unsure = unknown if instead == "ignorance" else frozenset()
    return TrainingSet.of(training.pretrained, known + facts.retain + facts.test, unsure)


def train(model: HookedModel, facts: TrainingSet, steps: int, rate: float) -> None:
    """Train the parameters of a model that require gradients, in place."""
    trained = [p for p in model.hf.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, rate, (0.9, 0.95), weight_decay=WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, steps, pct_start=0.1)
    for _ in range(steps):
        optimizer.zero_grad()
        facts.loss(model).backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        schedule.step()
    optimizer.zero_grad()
