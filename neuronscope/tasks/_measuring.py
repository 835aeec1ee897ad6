"""Settings shared by the tasks that record models."""

from dataclasses import dataclass
from typing import Literal

from neuronscope.models.sites import PAPER_SITES, SITES, check_sites
from neuronscope.tasks._task import PromptForm


@dataclass(frozen=True, kw_only=True)
class Measuring:
    """What is recorded of a model, apart from the attribution method."""

    target: Literal["log-odds", "log-prob", "prob", "margin"] = "log-odds"
    """Score of the answer that is attributed to neurons. prob, the answer's probability, is the
    target of arXiv 2509.22263; its gradient vanishes as the answer becomes unlikely."""

    reduction: Literal["mean", "sum"] = "mean"
    """How the target is aggregated over the tokens of an answer. prob is always the product of the
    tokens' probabilities."""

    sites: tuple[str, ...] = ("mlp.post",)
    """Sites to record: mlp.post mlp.gate mlp.up mlp.down attn.q attn.k attn.v attn.o; or paper,
    for the seven of arXiv 2509.22263."""

    form: PromptForm = "completion"
    """Prompt format of the facts."""

    memory: float = 2.0
    """GiB of memory that a pass may use in addition to the model."""

    @property
    def chosen_sites(self) -> tuple[str, ...]:
        """The names of the recorded sites.

        Raises:
            ValueError: If a site does not exist.
        """
        sites = PAPER_SITES if tuple(self.sites) == ("paper",) else tuple(self.sites)
        check_sites(sites, SITES, "neuronscope")
        return sites
