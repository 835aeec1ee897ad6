"""Compare a model before and after unlearning: was the knowledge erased, or only hidden?"""

from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Annotated, Any

from neuronscope.analysis.diagnosis import Diagnosis, compare
from neuronscope.facts.fact import Fact, FactSet
from neuronscope.results.cache import write_json, write_table
from neuronscope.results.comparison import Comparison
from neuronscope.tasks._deciding import methods_of
from neuronscope.tasks._facts import choose_facts, null_count, only, read_facts
from neuronscope.tasks._measuring import Measuring
from neuronscope.tasks._task import Facts, Loading, Method, Methods, Model, Recorded, Task, runs

REPORT = "report.html"
"""The page in the folder of a result."""

VIEWS = Methods("evidence", "Evidence", usual="default_views")


@dataclass(frozen=True)
class Diagnose(Measuring, Task[Diagnosis]):
    """Was it erased, or only hidden? Compare a model before and after unlearning."""

    before: Annotated[Any, Model()]
    """The model before unlearning: HF directory, hub id, adapter directory, or .gguf file."""

    after: Annotated[Any, Model()]
    """The model after unlearning."""

    facts: Annotated[Any, Facts()]
    """The facts: a file or folder, in any format that `neuronscope list facts/formats` names."""

    attribution: Annotated[Any, Method("attribution", "Attribution")] = "integrated-gradients"
    """How influence is measured."""

    views: Annotated[Any, VIEWS] = "all"
    """Which causal views are computed, by name; all, or none. The verdict rests on the relearning
    probe. Views are computed where both models have the same shapes."""

    split: str = "forget"
    """The split under judgement."""

    null_facts: int | None = None
    """How many facts that were not to be forgotten show what happens by chance (default: as many
    as are under judgement, at most 8)."""

    seed: int = 0
    """Seed of the choice of those facts, and of the methods that draw at random."""

    before_recording: Annotated[Any, Recorded()] = None
    """A recording of the model before unlearning with these settings (default: it is made)."""

    after_recording: Annotated[Any, Recorded()] = None
    """A recording of the model after unlearning, likewise (default: it is made)."""

    loading: Loading = field(default_factory=Loading)

    def check(self) -> None:
        from neuronscope.tasks._recording import attribution_of, check_recording

        methods_of(self.views, VIEWS, self.seed)
        attribution = attribution_of(self.attribution, self.seed)
        if not attribution.every_neuron:
            raise ValueError(
                "A diagnosis needs every neuron, and the chosen attribution measures a sample of "
                "them: use another attribution, or record the sample with the task Record."
            )
        facts = self._judged()
        check_recording(facts, attribution, self, self.loading, [self.before, self.after])

    def _perform(self, folder: Path | None) -> Any:
        if folder is None:
            return self._diagnosed(None)
        with self._writing(folder):
            return self._diagnosed(folder)

    def decides(self) -> dict[str, Any]:
        """As for every task; a recording is decided by the model that was recorded."""
        named = Task.decides(self).items()
        return {k: v for k, v in named if k not in ("before_recording", "after_recording")}

    def _judged(self) -> FactSet:
        """The facts under judgement, and those that show what happens by chance."""
        return choose_facts(read_facts(self.facts), self.split, self.null_facts, self.seed)

    def _diagnosed(self, folder: Path | None) -> Diagnosis:
        from neuronscope.tasks._models import loaded
        from neuronscope.tasks._recording import attribution_of, recorded

        attribution = attribution_of(self.attribution, self.seed)
        # One model at a time: the one before is not kept.
        model = loaded(self.before, self.loading)
        facts, neutral = self._judged(), None
        if self.before_recording is None and all(split == "forget" for split, _ in facts):
            facts, neutral = null_facts_for(facts, model, self.form, self.null_facts)
        out = folder and folder / "before.safetensors"
        known = self.before_recording
        before = recorded(model, facts, attribution, self, out=out, known=known, neutral=neutral)
        del model
        last = loaded(self.after, self.loading)
        out = folder and folder / "after.safetensors"
        known = self.after_recording
        after = recorded(last, facts, attribution, self, out=out, known=known, neutral=neutral)
        diagnosis = self._with_causes(
            compare(before, after), Comparison(before, after), last, facts, folder
        )
        if folder is not None:
            _write(diagnosis, Comparison(before, after), last, folder)
        return diagnosis

    def _with_causes(
        self,
        diagnosis: Diagnosis,
        comparison: Comparison,
        last: Any,
        facts: FactSet,
        folder: Path | None,
    ) -> Diagnosis:
        """The diagnosis with its causes tested, on both models at once."""
        from neuronscope.evidence import Case, ask
        from neuronscope.models.interventions import check_same_shapes
        from neuronscope.tasks._models import loaded
        from neuronscope.tasks._recording import target_of

        views = methods_of(self.views, VIEWS, self.seed)
        if not views:
            return diagnosis
        first = loaded(self.before, self.loading)
        try:
            check_same_shapes(first, last)
        except ValueError as error:
            return diagnosis.with_note(f"The causes were not tested: {error}")
        case = Case(first, last, facts, target_of(self), self.form)
        kept = folder and folder / "evidence"
        return diagnosis.with_findings(*ask(case, views, comparison, diagnosis.neurons, kept))


def null_facts_for(
    facts: FactSet, before: Any, form: str, null_facts: int | None
) -> tuple[FactSet, tuple[Fact, ...]]:
    """Facts that are all to be forgotten, with neutral ones that show what happens by chance.

    Args:
        before: The loaded model before unlearning, which answers the neutral facts.
        null_facts: How many neutral facts, as `Diagnose` has it.

    Returns:
        The facts with the neutral ones as utility facts, and all neutral facts: the baseline of
        both models, even where none is recorded.
    """
    from neuronscope.models.neutral_facts import neutral_facts

    neutral = neutral_facts(before, form)
    others = neutral[: null_count(facts.forget, null_facts)]
    # Instruction-tuned models answer them as completions even where they do not in other forms.
    return only(facts, {"forget": facts.forget, "utility": others}), (
        neutral or neutral_facts(before)
    )


def _write(diagnosis: Diagnosis, comparison: Comparison, last: Any, folder: Path) -> None:
    """The files of a diagnosis, besides its recordings and findings."""
    from neuronscope.models.direct_logit_effect import neuron_tokens
    from neuronscope.report import diagnosis_json, write_report
    from neuronscope.report.explorer import explorer_with_tokens

    write_table(folder / "neurons.parquet", diagnosis.neurons)
    seen = explorer_with_tokens(
        comparison.before, comparison.after, diagnosis.neurons, partial(neuron_tokens, last)
    )
    write_report(diagnosis, folder / REPORT, explorer=seen)
    write_json(folder / "diagnosis.json", diagnosis_json(diagnosis))


diagnose = runs(Diagnose)
