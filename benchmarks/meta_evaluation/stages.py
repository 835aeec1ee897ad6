"""The stages of a checkpoint: it is made, attacked and scored, and each result is kept at once."""

import math
import random
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from plan import Checkpoint
from scores import KINDS, measured

import neuronscope as ns
from neuronscope.facts.fact import Fact, FactSet
from neuronscope.models.answers import answers_of, measure
from neuronscope.models.hooked_model import HookedModel
from neuronscope.results.cache import read_json, write_json
from neuronscope.stopping import StopRule

FORGET, ATTACKED = 16, 4
"""Facts to forget, and how many of these the attack trains on."""

KEPT = 24
"""Facts of the same relation, and as many others, in each of the splits `retain` and `test`."""

RATES, GRID_RATES, GRID_DRAWS = (1e-5, 3e-5), (5e-6, 1e-5, 3e-5, 1e-4), (0, 1, 2)
GRID_CHECKPOINTS = 8

MOST_STEPS = 40
FIRST_ATTACK, LONGEST_ATTACK = 16, 320

TRIES = 3
"""A run that leaves answers is repeated at three times the learning rate, up to this often."""


@dataclass(frozen=True)
class Depth(StopRule):
    """Stop when no fact is answered and the mean log-odds are low enough."""

    level: float | None

    def score(self, model: HookedModel, facts: FactSet, form: str) -> dict[str, float]:
        measured = measure(model, answers_of(model, facts.forget, form))
        return {"left": float(measured.answered.sum()), "depth": float(measured.score.mean())}

    def __call__(self, scores: Mapping[str, float], norm: float) -> str | None:
        del norm
        deep = self.level is None or scores["depth"] <= self.level
        if scores["left"] > 0 or not deep:
            return None
        return f"No fact is answered, and the log-odds are {scores['depth']:.3f}."


@dataclass(frozen=True)
class Bench:
    """The model, the facts that it answers, and where results are."""

    model: HookedModel
    known: tuple[Fact, ...]
    work: Path
    results: Path

    @staticmethod
    def of(source: str, files: Sequence[Path], work: Path, results: Path) -> "Bench":
        """Load the model, and find the facts that it answers, whose ids are kept."""
        model = ns.load_model(source)
        facts = {(f.prompt, f.answer): f for file in files for _, f in ns.load_facts(file)}
        kept = results / "known.json"
        if not kept.exists():
            given = measure(model, answers_of(model, list(facts.values()))).answered
            results.mkdir(parents=True, exist_ok=True)
            write_json(kept, [f.id for f, yes in zip(facts.values(), given, strict=True) if yes])
        ids = set(read_json(kept))
        return Bench(model, tuple(f for f in facts.values() if f.id in ids), work, results)

    def facts(self, one: Checkpoint) -> FactSet:
        """Facts with different answers to forget, and others, with other answers, to keep."""
        chance = random.Random(one.seed)
        order = chance.sample(self.known, len(self.known))
        by_answer = {f.answer: f for f in order if f.relation == one.relation}
        forget = tuple(by_answer.values())[:FORGET]
        gone = {f.answer.casefold() for f in forget}
        rest = [f for f in order if f.answer.casefold() not in gone]
        near = [f for f in rest if f.relation == one.relation][: 2 * KEPT]
        far = [f for f in rest if f.relation != one.relation][: 2 * KEPT]
        return FactSet(forget, (*near[::2], *far[::2]), (*near[1::2], *far[1::2]))

    def row(self, one: Checkpoint) -> dict[str, Any]:
        """What is known about a checkpoint so far."""
        path = self.results / f"{one.name}.json"
        return read_json(path) if path.exists() else {}

    def keep(self, one: Checkpoint, **more: Any) -> None:
        """Add to what is known."""
        write_json(self.results / f"{one.name}.json", self.row(one) | more)

    def load(self, one: Checkpoint) -> HookedModel:
        """The unlearned model; made again if its folder is missing."""
        folder = self.work / "models" / one.name
        if not folder.exists():
            made = make(self, one)
            # The row is that of the model that was attacked, perhaps on another machine.
            self.keep(one, **({"make": made} | self.row(one)))
        return ns.load_model(folder)


def make(bench: Bench, one: Checkpoint) -> dict[str, Any]:
    """Unlearn and save the model; return what it answers."""
    facts, start = bench.facts(one), time.perf_counter()
    run = unlearned(bench, one, one.recipe.learning_rate)
    for attempt in range(1, TRIES):
        if not run.history["left"].iloc[-1]:
            break
        run = unlearned(bench, one, one.recipe.learning_rate * 3**attempt)
    folder = bench.work / "models" / one.name
    # A call that was interrupted here may have left the model, or a part of it.
    for left in (folder, *folder.parent.glob(f".{one.name}.*")):
        shutil.rmtree(left, ignore_errors=True)
    ns.save_model(run.model, folder)
    counts = {
        split: measure(run.model, answers_of(run.model, facts.split(split)))
        for split in ("forget", "retain", "test")
    }
    return {
        "learning_rate": run.config.learning_rate,
        "steps": int(run.history["step"].max()),
        "stopped": run.stopped,
        "log_odds_after": float(counts["forget"].score.mean()),
        "update_norm": float(run.history["update_norm"].iloc[-1]),
        "forget": [fact.id for fact in facts.forget],
        "fingerprint": run.model.fingerprint(),
        "seconds": round(time.perf_counter() - start, 1),
        **{f"{split}_answered": int(one.answered.sum()) for split, one in counts.items()},
        **{f"{split}_of": len(one.answered) for split, one in counts.items()},
    }


def unlearned(bench: Bench, one: Checkpoint, rate: float) -> ns.Run:
    """Unlearn with this learning rate."""
    config = ns.TrainingConfig(
        steps=MOST_STEPS,
        learning_rate=rate,
        lora_rank=one.recipe.lora_rank,
        evaluate_every=1,
        evaluate_facts=0,
        seed=one.seed,
    )
    recipe = one.recipe
    penalty = None if recipe.regularizer is None else dict(recipe.regularizer)
    return ns.unlearn(
        model=bench.model,
        facts=bench.facts(one),
        objective=dict(recipe.objective),
        regularizer=penalty,
        stop=Depth(one.depth),
        training=config,
    )


def relearned(
    bench: Bench, one: Checkpoint, model: HookedModel, rate: float, draw: int, steps: int
) -> dict[str, Any]:
    """One run of the attack, until the attacked facts are answered and twice that long.

    Args:
        steps: How long to try at first; a longer run begins with the same steps.
    """
    while True:
        method = ns.RelearnForget(
            count=ATTACKED, learning_rates=(rate,), seeds=(draw,), steps=steps, epochs=0,
            batch=ATTACKED, evaluate_every=1, retain_facts=0,
        )  # fmt: skip
        table = ns.attack(model, bench.facts(one), method).table
        taught, rest = (table.loc[table["split"] == name] for name in ("attacked", "rest"))
        there = taught.loc[taught["correct"] == taught["n"], "step"]
        answered_at = int(there.min()) if len(there) else None
        last = steps if answered_at is None else max(2 * answered_at, 2)
        if last <= steps and (answered_at is not None or steps >= LONGEST_ATTACK):
            break
        steps = 2 * steps if answered_at is None else last
    taught, rest = (part.loc[part["step"] <= last] for part in (taught, rest))
    return {
        "learning_rate": rate,
        "draw": draw,
        "answered_at": answered_at,
        "attacked": taught["correct"].tolist(),
        "rest": rest["correct"].tolist(),
        "rest_of": int(rest["n"].iloc[0]),
        "rest_log_odds": rest["score"].round(3).tolist(),
    }


def attack(
    bench: Bench, one: Checkpoint, rates: Sequence[float], draws: Sequence[int]
) -> dict[str, Any]:
    """The runs of the attack, and the recovery: the most held-out facts that are answered."""
    start, model = time.perf_counter(), bench.load(one)
    runs: list[dict[str, Any]] = []
    for draw in draws:
        steps, before = FIRST_ATTACK, max(rates)
        # The highest rate first: a lower one takes about as many steps more as it is lower.
        for rate in sorted(rates, reverse=True):
            first = min(math.ceil(steps * before / rate), LONGEST_ATTACK)
            run = relearned(bench, one, model, rate, draw, first)
            runs.append(run)
            steps, before = 2 * (run["answered_at"] or LONGEST_ATTACK // 2), rate
    by_draw = [[run for run in runs if run["draw"] == draw] for draw in draws]
    return {
        "recovered": sum(max(max(run["rest"]) for run in group) for group in by_draw),
        "answered_before": sum(group[0]["rest"][0] for group in by_draw),
        "of": sum(group[0]["rest_of"] for group in by_draw),
        "seconds": round(time.perf_counter() - start, 1),
        "runs": runs,
    }


def score(bench: Bench, one: Checkpoint, again: Sequence[str]) -> None:
    """Compute the scores that are missing, and those that are to be computed again."""
    path = bench.results / f"{one.name}.scores.json"
    row = read_json(path) if path.exists() else {}
    wanted = [kind for kind in KINDS if kind in again or kind not in row]
    if not wanted:
        return
    model, facts = bench.load(one), bench.facts(one)
    row["fingerprint"] = model.fingerprint()
    for kind in wanted:
        row[kind] = asdict(measured(kind, bench.model, model, facts))
        write_json(path, _plain(row))


def _plain(value: Any) -> Any:
    """The same with None for NaN, which JSON does not have."""
    if isinstance(value, dict):
        return {key: _plain(entry) for key, entry in value.items()}
    return None if isinstance(value, float) and math.isnan(value) else value
