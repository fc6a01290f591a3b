"""SUMS UP: what happened, for people to read."""
