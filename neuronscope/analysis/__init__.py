"""Compare recordings from before and after unlearning: pure functions from results to tables."""
