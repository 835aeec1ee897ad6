"""The sites of neurons. A *neuron* is one coordinate of a site.

| site | what it is |
|---|---|
| `mlp.post` (default) | input of the down-projection: `act(gate) * up`; plain MLP: `act(up)` |
| `mlp.gate`, `mlp.up`, `mlp.down` | outputs of the MLP's projections |
| `attn.q`, `attn.k`, `attn.v`, `attn.o` | outputs of attention's projections, before rotation |

A plain MLP has no `mlp.gate`. In a mixture of experts, `mlp.post` concatenates the neurons of all
experts: neuron `expert * width + index`, zero for tokens that are not routed to the expert.
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
    """Check that sites exist and that this model has them.

    Raises:
        ValueError: If one does not; the message names it and the valid ones.
    """
    if not wanted:
        raise ValueError(f"Expected at least one site; this model has {', '.join(present)}.")
    for site in wanted:
        if site not in SITES:
            raise ValueError(f"Unknown site {site!r}: expected one of {', '.join(SITES)}.")
        if site not in present:
            raise ValueError(f"{model} has no neurons at {site!r}, only at {', '.join(present)}.")
    if len(set(wanted)) != len(wanted):
        raise ValueError(f"Expected each site only once, got {', '.join(wanted)}.")
