"""What is added to an objective: SSIUU and its controls, one file each."""
