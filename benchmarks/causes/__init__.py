"""Causes: what the engine answers on labelled and recorded data."""
