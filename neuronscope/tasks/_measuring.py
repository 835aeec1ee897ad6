"""How influence is measured, by tasks that record models."""

from dataclasses import dataclass
from typing import Literal

from neuronscope.models.sites import PAPER_SITES, SITES, check_sites
from neuronscope.tasks._task import PromptForm


@dataclass(frozen=True, kw_only=True)
class Measuring:
    """The settings of tasks that record models, besides the attribution method."""

    target: Literal["log-odds", "log-prob", "prob", "margin"] = "log-odds"
    """What is explained. prob is that of arXiv 2509.22263; it fades for all neurons as the answer
    does."""

    reduction: Literal["mean", "sum"] = "mean"
    """How the target is put together over an answer's tokens; prob is always the product."""

    sites: tuple[str, ...] = ("mlp.post",)
    """Where the neurons are: mlp.post mlp.gate mlp.up mlp.down attn.q attn.k attn.v attn.o; or
    paper, for the seven of arXiv 2509.22263."""

    form: PromptForm = "completion"
    """How a fact is put to the model."""

    memory: float = 2.0
    """GiB that a pass may use beyond the model's own."""

    @property
    def chosen_sites(self) -> tuple[str, ...]:
        """The sites by their names.

        Raises:
            ValueError: If there is no such site.
        """
        sites = PAPER_SITES if tuple(self.sites) == ("paper",) else tuple(self.sites)
        check_sites(sites, SITES, "neuronscope")
        return sites
