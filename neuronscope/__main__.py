"""Entry point of `python -m neuronscope`."""

from neuronscope.cli import main

main()
