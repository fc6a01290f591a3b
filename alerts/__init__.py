"""SPEAKS UP: a verdict becomes at most one page."""
