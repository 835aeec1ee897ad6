"""What happened inside, asked of both models; one file = one view."""
