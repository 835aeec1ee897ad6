"""Recordings, in memory and on disk. Needs no model.

A `Recording` contains the activations and attributions of one model's neurons on a set of facts.
Influence is signed: positive influence raises the target.
"""

from dataclasses import asdict, dataclass, fields
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float

from neuronscope.display import html_card, html_table, shortened, shown_number
from neuronscope.results.arrays import read_arrays, save_arrays
from neuronscope.results.cache import written_whole
from neuronscope.results.site_recording import SiteMeans, SiteRecording
from neuronscope.results.validation import check_finite, check_shapes, from_json

__all__ = ["Provenance", "Recording", "SiteMeans", "SiteRecording"]

FORMAT = 1
"""Version of the file format; other versions are rejected."""

PER_FACT = ("score", "probability", "answered")
"""The arrays of a recording that do not belong to a site."""

UNMEASURED = ("total", "total_gain", "positive", "positive_gain", "negative")
"""The arrays that are NaN for neurons that an ablation did not measure."""


@dataclass(frozen=True)
class Provenance:
    """Inputs and settings of a recording, without a time: identical runs give identical files."""

    model: str
    """The model as the user named it."""

    model_hash: str
    """Digest of the weights, independent of their location."""

    facts_hash: str
    """Digest of the recorded facts and their splits."""

    attribution: str
    """The method's file name, e.g. `integrated_gradients`."""

    settings: dict[str, str | int | float | bool | None]
    """The method's hyper-parameters."""

    target: str
    """The attributed quantity: `log_odds`, `log_prob`, `prob` or `margin`."""

    unit: str
    """The target's unit, e.g. `nats` or `probability`."""

    prompt_form: str
    """The prompt form of the facts."""

    dtype: str
    """Precision of the model."""

    versions: dict[str, str]
    """Versions of the packages that affect the numbers."""

    notes: tuple[str, ...] = ()
    """Caveats about the model: a merged adapter, de-quantized weights."""

    experts: int = 0
    """Experts per layer at `mlp.post`, whose neurons are numbered by expert; 0 for dense models."""


@dataclass(frozen=True)
class Recording:
    """One model's recording on a set of facts. Shapes and finiteness are checked on creation."""

    sites: dict[str, SiteRecording] | dict[str, SiteMeans]
    """The recorded sites, either all per fact or all averaged over facts."""

    fact_ids: tuple[str, ...]
    """The facts, in the order of every `fact` axis."""

    splits: tuple[str, ...]
    """The split of each fact: `forget`, or a split of facts not to be forgotten."""

    score: Float[np.ndarray, " fact"]
    """The target, per fact."""

    probability: Float[np.ndarray, " fact"]
    """Probability of the whole answer: the product over its tokens."""

    answered: Bool[np.ndarray, " fact"]
    """Whether greedy decoding produces the answer."""

    provenance: Provenance
    """The inputs and settings of the recording."""

    relations: tuple[str | None, ...] = ()
    """The relation of each fact, None for facts without one; empty if it was not recorded."""

    def __post_init__(self) -> None:
        if not self.fact_ids or not self.sites:
            raise ValueError("a recording needs at least one fact and one site")
        if len(set(self.fact_ids)) < len(self.fact_ids):
            raise ValueError("fact_ids: the same fact occurs twice")
        if len(self.splits) != len(self.fact_ids):
            raise ValueError(
                f"splits: expected one for each of {len(self.fact_ids)} facts, "
                f"got {len(self.splits)}"
            )
        if self.relations and len(self.relations) != len(self.fact_ids):
            raise ValueError(
                f"relations: expected one for each of {len(self.fact_ids)} facts, "
                f"got {len(self.relations)}"
            )
        if len({type(site) for site in self.sites.values()}) > 1:
            raise ValueError("sites: some are recorded per fact and some as means")
        facts = {"fact": len(self.fact_ids)}
        per_fact = {name: vars(self)[name] for name in PER_FACT}
        check_shapes(Recording, per_fact, facts)
        check_finite(per_fact)
        nan_allowed = UNMEASURED if self.provenance.attribution == "ablation" else ()
        for name, site in self.sites.items():
            check_shapes(type(site), vars(site), facts, f"{name}.")
            check_finite(vars(site), nan_allowed, f"{name}.")

    def __repr__(self) -> str:
        origin = self.provenance
        return (
            f"Recording({shortened(origin.model)!r}, {len(self.fact_ids)} facts, "
            f"{', '.join(self.sites)}, {origin.attribution} of {origin.target}, "
            f"completeness error {shown_number(max(map(self._largest_error, self.sites)))})"
        )

    def _repr_html_(self) -> str:
        """The method, the scores by split, and the completeness error by site."""
        origin = self.provenance
        of_splits = [
            (
                split,
                int(rows.sum()),
                int(self.answered[rows].sum()),
                shown_number(float(self.score[rows].mean())),
            )
            for split in dict.fromkeys(self.splits)
            for rows in [self.in_split(split)]
        ]
        of_sites = [
            (
                name,
                " x ".join(map(str, site.total.shape[-2:])),
                shown_number(self._largest_error(name)),
            )
            for name, site in self.sites.items()
        ]
        return html_card(
            f"Recording of {origin.model}",
            f"{origin.attribution} of {origin.target} ({origin.unit}), {origin.dtype}, prompt form "
            f"{origin.prompt_form}. {' '.join(origin.notes)}",
            html_table(("split", "facts", "answered", f"mean {origin.target}"), of_splits),
            html_table(("site", "layers x neurons", "completeness error"), of_sites),
        )

    def _largest_error(self, site: str) -> float:
        return float(np.abs(self.completeness_error(site)).max())

    @property
    def per_fact(self) -> bool:
        """Whether neurons are recorded per fact; otherwise only as means over facts."""
        return isinstance(next(iter(self.sites.values())), SiteRecording)

    def in_split(self, split: str) -> Bool[np.ndarray, " fact"]:
        """A mask of the facts that belong to `split`."""
        return np.array([name == split for name in self.splits])

    def means(self, site: str, split: str = "forget") -> SiteMeans:
        """The neurons of `site`, averaged over the facts of `split`.

        Raises:
            ValueError: If the split has no facts, or if the recording contains only means that
                include other splits.
        """
        rows = self.in_split(split)
        if not rows.any():
            raise ValueError(
                f"No fact of split {split!r} was recorded, only facts of "
                f"{sorted(set(self.splits))}."
            )
        recorded = self.sites[site]
        if isinstance(recorded, SiteRecording):
            return recorded.means(rows)
        if not rows.all():
            raise ValueError(
                f"The recorded means mix the splits {sorted(set(self.splits))}, so there are none "
                f"for {split!r} alone; record only that split, or record per fact."
            )
        return recorded

    def completeness_error(self, site: str) -> Float[np.ndarray, "fact group"]:
        """The completeness error: score − baseline score − explained.

        In the target's unit; zero for an exact method.
        """
        recorded = self.sites[site]
        score = self.score[:, None].astype(np.float64)
        return score - recorded.baseline_score.astype(np.float64) - recorded.explained

    def save(self, path: str | Path, overwrite: bool = False) -> None:
        """Write to `path`, a `.safetensors` file, atomically and with reproducible bytes.

        Raises:
            ValueError: If the name does not end in `.safetensors`.
            FileExistsError: If the file exists and `overwrite` is false.
            FileNotFoundError: If the folder does not exist.
        """
        path = Path(path)
        if path.suffix != ".safetensors":
            raise ValueError(f"Expected a file name that ends in .safetensors, got '{path}'.")
        if not path.parent.is_dir():
            raise FileNotFoundError(f"The folder of '{path}' does not exist; create it first.")
        if path.is_dir() or (path.exists() and not overwrite):
            raise FileExistsError(
                f"'{path}' exists already; choose another name, or set `overwrite`."
            )
        arrays = {name: vars(self)[name] for name in PER_FACT}
        for name, site in self.sites.items():
            arrays |= {f"{name}.{field}": array for field, array in vars(site).items()}
        description: dict[str, object] = {
            "format": FORMAT,
            "per_fact": self.per_fact,
            "sites": list(self.sites),
            "fact_ids": list(self.fact_ids),
            "splits": list(self.splits),
            "relations": list(self.relations),
            "provenance": asdict(self.provenance),
        }
        with written_whole(path) as unfinished:
            save_arrays(unfinished, arrays, description)

    @classmethod
    def load(cls, path: str | Path) -> "Recording":
        """Load the recording that was saved to `path`.

        Raises:
            FileNotFoundError: If there is no such file.
            ValueError: If the file is damaged, has a different version, or is not a recording; the
                message names the faulty entry.
        """
        arrays, description = read_arrays(Path(path))
        try:
            return _assemble(arrays, description)
        except ValueError as error:
            raise ValueError(f"{path}: {error}.") from error


@dataclass(frozen=True)
class _Description:
    """The contents of a file in addition to its arrays."""

    format: int
    per_fact: bool
    sites: tuple[str, ...]
    fact_ids: tuple[str, ...]
    splits: tuple[str, ...]
    provenance: dict[str, object]
    relations: tuple[str | None, ...] = ()


def _assemble(arrays: dict[str, np.ndarray], stored: dict[str, object]) -> Recording:
    """Build a recording from a file's arrays and description, and check them."""
    if stored.get("format") != FORMAT:
        raise ValueError(
            f"format: expected version {FORMAT}, got {stored.get('format')!r}; "
            "record again, or use the version of neuronscope that wrote it"
        )
    description = from_json(_Description, stored, "metadata")
    kind = SiteRecording if description.per_fact else SiteMeans
    names = {f"{site}.{field.name}" for site in description.sites for field in fields(kind)}
    names |= set(PER_FACT)
    for problem, culprits in (("missing", names - set(arrays)), ("unknown", set(arrays) - names)):
        if culprits:
            raise ValueError(f"{problem} tensor '{min(culprits)}'")
    facts = {"fact": len(description.fact_ids)}
    per_fact = {name: arrays[name] for name in PER_FACT}
    check_shapes(Recording, per_fact, facts)
    sites = {}
    for site in description.sites:
        of_site = {field.name: arrays[f"{site}.{field.name}"] for field in fields(kind)}
        check_shapes(kind, of_site, facts, f"{site}.")
        sites[site] = kind(**of_site)
    return Recording(
        sites=sites,
        fact_ids=description.fact_ids,
        splits=description.splits,
        provenance=from_json(Provenance, description.provenance, "provenance"),
        relations=description.relations,
        **per_fact,
    )
