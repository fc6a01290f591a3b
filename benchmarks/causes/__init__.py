"""Causes: what the engine answers on labelled and recorded data, beside what others would say."""
