"""Models: loading and saving, their neurons, the targets explained, and the answers given."""
