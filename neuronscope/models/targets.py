"""Attribution targets: one number per fact, from the logits that predict its answer.

| target | per answer token | over tokens |
|---|---|---|
| `log_odds` (default) | answer's logit minus the log-sum-exp of all others, nats | mean or sum |
| `log_prob` | log-probability of the answer's token, nats | mean or sum |
| `prob` (arXiv 2509.22263, Eq. 1) | probability of the answer's token | product |
| `margin` | answer's logit minus the log-sum-exp of the distractors', nats | mean or sum |

A distractor counts at the token where it diverges from the answer. Every attribution of `prob` is
proportional to the probability, so it vanishes for *all* neurons as the answer is suppressed, and
strong suppression looks like erasure; `log_odds` does not have this limitation.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from neuronscope.facts.prompts import Batch

TargetName = Literal["log_odds", "log_prob", "prob", "margin"]


@dataclass(frozen=True)
class Answers:
    """The answer tokens of several rows as one flat list, ordered by row and position."""

    row: Int[Tensor, " token"]
    """The row that the token belongs to."""
    position: Int[Tensor, " token"]
    """The position whose logits predict the token."""
    token: Int[Tensor, " token"]
    rivals: Int[Tensor, "token rival"]
    """Tokens of the distractors that diverge from the answer at this token; padded with -1."""
    rows: int

    @staticmethod
    def of(batch: Batch) -> "Answers":
        """The answers of a batch."""
        row, position = batch.answer_mask.nonzero(as_tuple=True)
        step = position - batch.prompt_lengths[row]
        count = max((len(rivals) for rivals in batch.rivals), default=0)
        rivals = torch.full((len(row), count), -1, device=row.device)
        for index, (r, s) in enumerate(zip(row.tolist(), step.tolist(), strict=True)):
            own = [token for at, token in batch.rivals[r] if at == s]
            rivals[index, : len(own)] = torch.tensor(own, dtype=torch.long, device=row.device)
        token = batch.tokens[row, position]
        return Answers(row, position - 1, token, rivals, len(batch.tokens))

    def to(self, device: torch.device) -> "Answers":
        """A copy on the given device, where a distributed model may have put its logits."""
        if device == self.row.device:
            return self
        return Answers(
            self.row.to(device),
            self.position.to(device),
            self.token.to(device),
            self.rivals.to(device),
            self.rows,
        )

    def take(self, rows: Int[Tensor, " batch"]) -> "Answers":
        """The answers of a selection of rows, which may repeat or reorder them."""
        counts = torch.bincount(self.row, minlength=self.rows)
        starts = counts.cumsum(0) - counts
        new_row = torch.arange(len(rows), device=rows.device).repeat_interleave(counts[rows])
        first = (counts[rows].cumsum(0) - counts[rows])[new_row]
        pick = starts[rows][new_row] + torch.arange(len(new_row), device=rows.device) - first
        return Answers(new_row, self.position[pick], self.token[pick], self.rivals[pick], len(rows))


@dataclass(frozen=True)
class Target:
    """A number to explain, computed from the logits of the answer's tokens."""

    name: TargetName = "log_odds"
    """The target: log_odds, log_prob, prob (as in the paper), or margin over distractors."""

    reduction: Literal["mean", "sum"] = "mean"
    """How the values of an answer's tokens are combined; prob is always their product."""

    @property
    def unit(self) -> str:
        """Unit of the target, and of every influence on it."""
        if self.name == "prob":
            return "probability"
        return "nats" if self.reduction == "sum" else "nats per token"

    def check(self, batch: Batch, names: tuple[str, ...]) -> None:
        """Check that the target is defined for every fact.

        Raises:
            ValueError: If the target is the margin and a fact has no distractors.
        """
        bare = [n for n, rivals in zip(names, batch.rivals, strict=True) if not rivals]
        if self.name == "margin" and bare:
            raise ValueError(
                f"The margin needs distractors, and fact {bare[0]!r} has none "
                f"({len(bare)} such facts): add distractors, or use the target log_odds."
            )

    def __call__(
        self, logits: Float[Tensor, "token vocab"], answers: Answers
    ) -> Float[Tensor, " batch"]:
        """The target of each row.

        Args:
            logits: One row per answer token; half precision is first converted to single.
            answers: The fact and token that each row of logits belongs to.
        """
        logits = logits if logits.dtype == torch.float64 else logits.float()
        answers = answers.to(logits.device)
        if self.name == "margin":
            scores, kept = margin(logits, answers)
        else:
            scores = (log_odds if self.name == "log_odds" else log_prob)(logits, answers.token)
            kept = torch.ones_like(scores)
        summed = scores.new_zeros(answers.rows).index_add(0, answers.row, scores * kept)
        if self.name == "prob":
            return summed.exp()
        if self.reduction == "sum":
            return summed
        return summed / kept.new_zeros(answers.rows).index_add(0, answers.row, kept)


def log_prob(
    logits: Float[Tensor, "token vocab"], token: Int[Tensor, " token"]
) -> Float[Tensor, " token"]:
    """Log-probability of `token`, in nats."""
    return _at(logits, token) - logits.logsumexp(dim=-1)


def log_odds(
    logits: Float[Tensor, "token vocab"], token: Int[Tensor, " token"]
) -> Float[Tensor, " token"]:
    """Logit of `token` minus the log-sum-exp of all others: log p/(1 − p), in nats.

    Computed without p, so that it stays exact where p rounds to 0 or 1.
    """
    others = logits.scatter(-1, token[:, None], float("-inf"))
    return _at(logits, token) - others.logsumexp(dim=-1)


def margin(
    logits: Float[Tensor, "token vocab"], answers: Answers
) -> tuple[Float[Tensor, " token"], Float[Tensor, " token"]]:
    """Logit of the answer minus the log-sum-exp of the distractors that diverge at that token.

    Returns:
        The margin in nats, zero at tokens where no distractor diverges; and 1.0 at tokens where one
        does, 0.0 elsewhere.
    """
    rivals = logits.gather(-1, answers.rivals.clamp(min=0))
    rivals = rivals.masked_fill(answers.rivals < 0, float("-inf"))
    contested = (answers.rivals >= 0).any(dim=-1)
    against = rivals[contested].logsumexp(dim=-1)
    scores = logits.new_zeros(len(logits))
    scores[contested] = _at(logits, answers.token)[contested] - against
    return scores, contested.to(logits.dtype)


def answered(logits: Float[Tensor, "token vocab"], answers: Answers) -> Float[Tensor, " batch"]:
    """1.0 where greedy decoding produces the answer, i.e. each of its tokens is the most likely."""
    answers = answers.to(logits.device)
    wrong = (logits.argmax(dim=-1) != answers.token).to(torch.float32)
    return (wrong.new_zeros(answers.rows).index_add(0, answers.row, wrong) == 0).float()


def _at(
    logits: Float[Tensor, "token vocab"], token: Int[Tensor, " token"]
) -> Float[Tensor, " token"]:
    return logits.gather(-1, token[:, None]).squeeze(-1)
