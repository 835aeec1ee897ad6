"""The diagnosis: what unlearning did to the knowledge, from two recordings and causal tests."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace

import numpy as np
import pandas as pd

from neuronscope.analysis._shown import diagnosis_card, headline
from neuronscope.analysis.causal_tables import causal_json, with_causal_share
from neuronscope.analysis.caveats import caveats
from neuronscope.analysis.completeness import completeness_by_layer, count_unconverged
from neuronscope.analysis.decomposition import decompose
from neuronscope.analysis.influence_variation import (
    cumulative_curve,
    influence_variation,
    module_map,
    sum_of_largest,
)
from neuronscope.analysis.outcome import Counts, fact_table, outcome
from neuronscope.analysis.reading import Reading, read
from neuronscope.analysis.spurious import find_spurious
from neuronscope.analysis.verdict import Verdict, weigh
from neuronscope.display import with_interval
from neuronscope.results.comparison import Comparison
from neuronscope.results.findings import Finding
from neuronscope.results.recording import Provenance, Recording


@dataclass(frozen=True)
class Diagnosis:
    """Whether knowledge was erased or hidden, with the numbers and tables behind the answer.

    `reading` is what the attributions suggest; `verdict` combines all causal evidence. Unless
    stated otherwise, numbers are means over the forget set, in the target's unit.
    """

    n_facts: int
    """Number of facts in the forget set."""

    n_null: int
    """Number of facts in other splits."""

    target: str
    """The attributed quantity, e.g. `log_odds`."""

    unit: str
    """The target's unit."""

    attribution: str
    """Name of the attribution method."""

    sites: tuple[str, ...]
    """The recorded sites."""

    score_before: float
    """Mean target before."""

    score_after: float
    """Mean target after."""

    answered_before: int
    """Facts answered by greedy decoding before."""

    answered_after: int
    """Facts answered by greedy decoding after."""

    probability_before: float
    """Mean probability of the whole answer before."""

    probability_after: float
    """Mean probability of the whole answer after."""

    drop: float
    """Score before − score after."""

    drop_ci95: tuple[float, float]
    """95 % interval of the drop over facts; NaN with fewer than two facts."""

    d_plus_sum: float
    """ΣD⁺ over all recorded neurons: positive influence lost. Noise between facts inflates it."""

    d_minus_sum: float
    """ΣD⁻ over all recorded neurons: negative influence gained. Noise between facts inflates it."""

    d_plus_at_100: float
    """D⁺ summed over the 100 neurons where it is largest."""

    d_minus_at_100: float
    """D⁻ summed over the 100 neurons where it is largest."""

    n_spurious: int | None
    """Number of spurious unlearning neurons; None if they could not be tested."""

    completeness_error: float
    """Largest |score − baseline score − explained| in either recording."""

    completeness_by_layer: pd.DataFrame
    """The same per `site` and `layer`, `before` and `after`."""

    unconverged: int
    """Attributions (recording, site, fact, layer) beyond the method's tolerance; 0 without one."""

    reading: Reading
    """What the attributions suggest: `hidden`, `erased`, `mixed` or `not forgotten`."""

    neurons: pd.DataFrame
    """One row per neuron: `site`, `layer`, `neuron` (`expert` for mixtures), `before`, `after`,
    `d_plus`, `d_minus`, `p`, `q`, `spurious`; with a weight path also `causal_share`, the share of
    the drop due to the change of the neuron's own weights."""

    layers: pd.DataFrame
    """One row per `site` and `layer`: `drop`, `positive_lost`, `negative_gained`, `elsewhere`,
    `remainder`, each with `_low` and `_high`."""

    curve: pd.DataFrame
    """Cumulative D⁺ and D⁻: `m`, `d_plus`, `d_minus`."""

    modules: pd.DataFrame
    """Mean of the 100 largest values per `site` and `layer`: `d_plus`, `d_minus`."""

    facts: pd.DataFrame
    """One row per recorded fact: `fact`, `split`, and score, probability and answered, each
    `_before` and `_after`."""

    warnings: tuple[str, ...]
    """Limitations of this diagnosis, one sentence each."""

    provenance_before: Provenance
    """Provenance of the recording before."""

    provenance_after: Provenance
    """Provenance of the recording after."""

    findings: tuple[Finding, ...] = ()
    """The findings of the causal views; empty if none was run."""

    verdict: Verdict | None = None
    """What became of the knowledge, from all views; None if none was run."""

    def __repr__(self) -> str:
        word, name, value = headline(self.verdict, self.reading, self._sums())
        return (
            f"Diagnosis({word}; {name} {value}; {self.n_facts} facts, "
            f"{self.answered_before} answered before, {self.answered_after} after; "
            f"{', '.join(self.sites)})"
        )

    def _repr_html_(self) -> str:
        """The verdict with the hidden share, then each view's finding, and the attributions.

        Without causal views, what the attributions suggest, labelled as such.
        """
        scores = f"{self.score_before:.3g} → {self.score_after:.3g} {self.unit}"
        outcome = [
            ("answers given", f"{self.answered_before} → {self.answered_after} of {self.n_facts}"),
            (f"mean {self.target}", scores),
            ("drop", with_interval(self.drop, self.drop_ci95)),
        ]
        head = headline(self.verdict, self.reading, self._sums())
        reading = (self.reading, self._sums())
        probe = self.finding("relearning_probe")
        why = "" if probe is None else probe.why
        return diagnosis_card(head, why, outcome, reading, self.findings, self.warnings)

    def _sums(self) -> str:
        return f"{self.d_plus_sum:.3g} and {self.d_minus_sum:.3g} {self.unit}"

    @property
    def counts(self) -> Counts:
        """How many answers were known before, and how many of these are still given."""
        return Counts.of(self.facts)

    def finding(self, view: str) -> Finding | None:
        """The finding of one view; None if it was not run."""
        return next((found for found in self.findings if found.view == view), None)

    def with_findings(
        self, findings: Sequence[Finding], left_out: Sequence[str] = ()
    ) -> "Diagnosis":
        """Add causal evidence: findings, a verdict, and the causal share of each neuron.

        Args:
            findings: The findings of the views.
            left_out: A warning for each view that could not be run.
        """
        own = tuple(
            f"{found.view.replace('_', ' ').capitalize()}: {warning}"
            for found in findings
            for warning in found.warnings
        )
        return replace(
            self,
            findings=tuple(findings),
            verdict=weigh(self.facts, self.reading, findings),
            neurons=with_causal_share(self.neurons, findings),
            warnings=(*self.warnings, *own, *left_out),
        )

    def with_note(self, note: str) -> "Diagnosis":
        """Add a warning."""
        return replace(self, warnings=(*self.warnings, note))

    def to_json(self) -> dict[str, object]:
        """Everything except the large tables, as plain JSON values.

        NaN becomes None. `report.diagnosis_json` adds the sentences.
        """
        left_out = ("neurons", "curve", "modules", "facts", "findings", "verdict")
        content = {
            field.name: vars(self)[field.name]
            for field in fields(self)
            if field.name not in left_out
        }
        causes = causal_json(self.verdict, self.findings) if self.verdict else {}
        return {name: _plain(value) for name, value in (content | causes).items()}


def compare(before: Recording, after: Recording) -> Diagnosis:
    """Compare recordings from before and after unlearning.

    Raises:
        ValueError: If the recordings are not comparable, contain no fact of split `forget`, or
            were made by ablating selected neurons.
    """
    if "ablation" in (before.provenance.attribution, after.provenance.attribution):
        raise ValueError(
            "A diagnosis needs every neuron, but ablation measures only a selection. Record with "
            "another method, and use ablation to validate it (analysis/agreement.py)."
        )
    comparison = Comparison(before, after)
    facts = fact_table(comparison)
    result = outcome(facts)
    neurons = influence_variation(comparison)
    d_plus, d_minus = neurons["d_plus"].to_numpy(), neurons["d_minus"].to_numpy()
    lost, gained = float(d_plus.sum()), float(d_minus.sum())
    test = find_spurious(comparison, d_minus, result.drop)
    completeness, unconverged = completeness_by_layer(comparison), count_unconverged(comparison)
    n_facts = before.splits.count("forget")
    return Diagnosis(
        n_facts=n_facts,
        n_null=len(facts) - n_facts,
        target=before.provenance.target,
        unit=before.provenance.unit,
        attribution=before.provenance.attribution,
        sites=tuple(before.sites),
        score_before=result.score_before,
        score_after=result.score_after,
        answered_before=result.answered_before,
        answered_after=result.answered_after,
        probability_before=result.probability_before,
        probability_after=result.probability_after,
        drop=result.drop,
        drop_ci95=result.drop_ci95,
        d_plus_sum=lost,
        d_minus_sum=gained,
        d_plus_at_100=sum_of_largest(d_plus),
        d_minus_at_100=sum_of_largest(d_minus),
        n_spurious=None if np.isnan(test.p).all() else int(test.spurious.sum()),
        completeness_error=float(completeness[["before", "after"]].to_numpy().max()),
        completeness_by_layer=completeness,
        unconverged=unconverged,
        reading=read(result, lost, gained),
        neurons=neurons.assign(p=test.p, q=test.q, spurious=test.spurious),
        layers=decompose(comparison),
        curve=cumulative_curve(neurons),
        modules=module_map(neurons),
        facts=facts,
        warnings=caveats(comparison, result, unconverged) + test.warnings,
        provenance_before=before.provenance,
        provenance_after=after.provenance,
    )


def _plain(value: object) -> object:
    """A value as plain JSON: NaN becomes None, a table a list of its rows."""
    if isinstance(value, pd.DataFrame):
        return [_plain(row) for row in value.to_dict("records")]
    if isinstance(value, Provenance):
        return _plain(asdict(value))
    if isinstance(value, dict):
        return {str(name): _plain(entry) for name, entry in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(entry) for entry in value]
    return None if isinstance(value, float) and np.isnan(value) else value
