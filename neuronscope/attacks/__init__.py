"""How the forgotten is brought back."""
