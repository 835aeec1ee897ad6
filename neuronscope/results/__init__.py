"""Everything that is written to disk, as plain tables and values. Needs no model."""
