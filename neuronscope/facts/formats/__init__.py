"""File formats of facts; one file per format."""
