"""The results that are written to disk, as plain tables and values. Needs no model."""
