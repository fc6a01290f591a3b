"""REMEMBERS: the only package that speaks SQL."""
