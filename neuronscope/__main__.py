"""`python -m neuronscope`, for launchers that start modules."""

from neuronscope.cli import main

main()
