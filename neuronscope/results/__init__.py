"""Results on disk, as plain tables and values. Needs no model."""
