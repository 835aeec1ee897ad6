"""How much each neuron moves the target: one file, one method."""
