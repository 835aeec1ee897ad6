"""One figure per file: tables in, a plotly figure out, neither shown nor saved. Needs no model."""
