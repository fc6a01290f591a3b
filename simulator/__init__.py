"""PRETENDS: an inference cloud with seeded faults, heard only over the wire."""
