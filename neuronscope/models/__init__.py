"""Models: loading, saving, neurons, attribution targets and answers."""
