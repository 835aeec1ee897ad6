"""What two recordings say about unlearning: pure functions from recordings to tidy tables."""
