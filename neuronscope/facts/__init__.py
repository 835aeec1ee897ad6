"""What a model has to forget: facts, their files, and their tokens."""
