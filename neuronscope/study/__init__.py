"""The whole experiment from one frozen config: unlearn, score, attack, diagnose, compare."""
