"""Where neurons live. A *neuron* is one coordinate of a site.

| site | what it is |
|---|---|
| `mlp.post` (default) | what the down-projection reads: `act(gate) * up`; plain: `act(up)` |
| `mlp.gate`, `mlp.up`, `mlp.down` | outputs of the MLP's projections |
| `attn.q`, `attn.k`, `attn.v`, `attn.o` | outputs of attention's projections, before rotation |

In a plain MLP there is no `mlp.gate`. In a mixture of experts the neurons of `mlp.post` are those
of every expert, side by side: neuron `expert * width + index`, silent where the router does not go.
"""

from collections.abc import Sequence

SITES = (
    "mlp.post",
    "mlp.gate",
    "mlp.up",
    "mlp.down",
    "attn.q",
    "attn.k",
    "attn.v",
    "attn.o",
)

PAPER_SITES = ("attn.q", "attn.k", "attn.v", "attn.o", "mlp.gate", "mlp.up", "mlp.down")
"""The seven sites of arXiv 2509.22263: the outputs of every linear map in a block."""


def check_sites(wanted: Sequence[str], present: Sequence[str], model: str) -> None:
    """Refuse sites that do not exist, or that this model does not have.

    Raises:
        ValueError: Naming the site, and those that can be asked for.
    """
    if not wanted:
        raise ValueError(f"Expected at least one site; this model has {', '.join(present)}.")
    for site in wanted:
        if site not in SITES:
            raise ValueError(f"Unknown site {site!r}: expected one of {', '.join(SITES)}.")
        if site not in present:
            raise ValueError(
                f"{model} has no neurons at {site!r}: it has them at {', '.join(present)}."
            )
    if len(set(wanted)) != len(wanted):
        raise ValueError(f"Each site can be asked for once, got {', '.join(wanted)}.")
