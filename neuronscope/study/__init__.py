"""Whole experiments from one frozen config: unlearn, score, attack, diagnose, compare."""
