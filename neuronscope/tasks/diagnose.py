"""Diagnose whether an unlearned model's knowledge was erased or only hidden."""

from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Annotated, Any

from neuronscope.analysis.diagnosis import Diagnosis, compare
from neuronscope.display import say
from neuronscope.facts.fact import Fact, FactSet
from neuronscope.results.cache import write_json, write_table
from neuronscope.results.comparison import Comparison
from neuronscope.results.recording import Recording
from neuronscope.tasks._deciding import methods_of
from neuronscope.tasks._facts import choose_facts, read_facts, with_neutral_facts
from neuronscope.tasks._measuring import Measuring
from neuronscope.tasks._task import Facts, Loading, Method, Methods, Model, Recorded, Task, runs

REPORT = "report.html"
"""The report in a result's folder."""

VIEWS = Methods("evidence", "Evidence", usual="default_views")


@dataclass(frozen=True)
class Diagnose(Measuring, Task[Diagnosis]):
    """Compare a model before and after unlearning: was the knowledge erased, or only hidden?"""

    before: Annotated[Any, Model()]
    """Model before unlearning: HF directory, hub id, adapter directory, or .gguf file."""

    after: Annotated[Any, Model()]
    """Model after unlearning."""

    facts: Annotated[Any, Facts()]
    """File or folder of facts; `neuronscope list facts/formats` lists the formats."""

    attribution: Annotated[Any, Method("attribution", "Attribution")] = "integrated-gradients"
    """Attribution method."""

    views: Annotated[Any, VIEWS] = "all"
    """Causal views to compute: names, all, or none. The verdict rests on the relearning
    probe. Views require that both models have the same shapes."""

    split: str = "forget"
    """Split to diagnose."""

    null_facts: int | None = None
    """Number of control facts, which show which changes are not specific to the forget set. They
    are drawn from the other
    splits, first from facts of the same relation (default: all of that relation, up to the number
    of facts to diagnose, and up to 8 others)."""

    seed: int = 0
    """Seed for drawing control facts and for methods that sample."""

    before_recording: Annotated[Any, Recorded()] = None
    """Path of a recording of the model before unlearning with these settings (default: record
    it)."""

    after_recording: Annotated[Any, Recorded()] = None
    """Path of a recording of the model after unlearning (default: record it)."""

    loading: Loading = field(default_factory=Loading)

    def check(self) -> None:
        from neuronscope.tasks._recording import attribution_of, check_recording

        methods_of(self.views, VIEWS, self.seed)
        attribution = attribution_of(self.attribution, self.seed)
        if not attribution.every_neuron:
            raise ValueError(
                "A diagnosis needs every neuron, but this attribution measures only a sample of "
                "them: use another attribution, or record the sample with the task Record."
            )
        facts = self._diagnosed_facts()
        check_recording(facts, attribution, self, self.loading, [self.before, self.after])

    def _perform(self, folder: Path | None) -> Any:
        if folder is None:
            return self._diagnosed(None)
        with self._writing(folder):
            return self._diagnosed(folder)

    def decides(self) -> dict[str, Any]:
        """As for every task, but without the recordings.

        The models, facts and settings determine them.
        """
        named = Task.decides(self).items()
        return {k: v for k, v in named if k not in ("before_recording", "after_recording")}

    def _diagnosed_facts(self) -> FactSet:
        """The facts to diagnose and the control facts."""
        return choose_facts(read_facts(self.facts), self.split, self.null_facts, self.seed)

    def _facts_and_neutral(self, before: Any) -> tuple[FactSet, tuple[Fact, ...] | None]:
        """The facts to diagnose with their controls, as `with_neutral_facts` returns them."""
        chosen = self._diagnosed_facts()
        facts, neutral = with_neutral_facts(chosen, before, self.form, self.null_facts)
        if neutral is not None and self.before_recording is not None:
            # A recording made without neutral facts is compared without them.
            recorded = Recording.load(self.before_recording).fact_ids
            if tuple(recorded) != tuple(fact.id for _, fact in facts):
                return chosen, None
        return facts, neutral

    def _diagnosed(self, folder: Path | None) -> Diagnosis:
        from neuronscope.tasks._models import loaded
        from neuronscope.tasks._recording import attribution_of, recorded

        attribution = attribution_of(self.attribution, self.seed)
        views = methods_of(self.views, VIEWS, self.seed)
        first = loaded(self.before, self.loading)
        facts, neutral = self._facts_and_neutral(first)
        # Views need both models at once; without them, one is in memory at a time.
        last = loaded(self.after, self.loading) if views else None
        causes = _Causes.of(self, views, first, last, facts, folder and folder / "evidence")
        out = folder and folder / "before.safetensors"
        known = self.before_recording
        before = recorded(first, facts, attribution, self, out=out, known=known, neutral=neutral)
        if last is None:
            del first
            last = loaded(self.after, self.loading)
        out = folder and folder / "after.safetensors"
        known = self.after_recording
        after = recorded(last, facts, attribution, self, out=out, known=known, neutral=neutral)
        comparison = Comparison(before, after)
        diagnosis = causes.added(compare(before, after), comparison)
        if folder is not None:
            _write(diagnosis, comparison, last, folder)
        return diagnosis


@dataclass(frozen=True, eq=False)
class _Causes:
    """The causal evidence of a diagnosis, some of it known before anything is recorded."""

    case: Any
    views: tuple[Any, ...]
    """The views that are yet to run."""
    known: tuple[tuple[Any, ...], tuple[str, ...]]
    """The findings of the deciding views, and a sentence for each that was left out."""
    impossible: str
    """Why no view can run; empty if they can."""
    kept: Path | None

    @staticmethod
    def of(
        task: Diagnose,
        views: tuple[Any, ...],
        first: Any,
        last: Any,
        facts: FactSet,
        kept: Path | None,
    ) -> "_Causes":
        """Run the deciding views, and show their findings immediately."""
        from neuronscope.evidence import Case, ask_views
        from neuronscope.models.interventions import check_same_shapes
        from neuronscope.tasks._recording import target_of

        if not views:
            return _Causes(None, (), ((), ()), "", kept)
        try:
            check_same_shapes(first, last)
        except ValueError as error:
            return _Causes(None, (), ((), ()), f"No causal view was computed: {error}", kept)
        case = Case(first, last, facts, target_of(task), task.form)
        deciding = [view for view in views if view.decides]
        known = ask_views(case, deciding, kept, progress=True)
        for finding in known[0]:
            say(f"{finding.title}. {finding.why}")
        rest = tuple(view for view in views if not view.decides)
        return _Causes(case, rest, known, "", kept)

    def added(self, diagnosis: Diagnosis, comparison: Comparison) -> Diagnosis:
        """The diagnosis with the findings of all views."""
        from neuronscope.evidence import ask

        if self.impossible:
            return diagnosis.with_note(self.impossible)
        if self.case is None:
            return diagnosis
        findings, left_out = self.known
        if self.views:
            more = ask(self.case, self.views, comparison, diagnosis.neurons, self.kept)
            findings, left_out = findings + more[0], left_out + more[1]
        return diagnosis.with_findings(findings, left_out)


def _write(diagnosis: Diagnosis, comparison: Comparison, last: Any, folder: Path) -> None:
    """Write the files of a diagnosis, except for its recordings and findings."""
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
