"""Facts: their splits, file formats and tokenization."""
