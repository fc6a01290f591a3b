"""NAMES: frozen nouns with units. Standard library only."""
