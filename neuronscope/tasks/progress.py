"""How far a command is, and the time left."""

from neuronscope.display import showing_progress as bar

__all__ = ["bar"]
