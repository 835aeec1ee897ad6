"""When unlearning is done: one file, one rule."""
