"""How forgetting, retention and utility are scored: one file, one metric."""
