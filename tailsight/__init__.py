"""WIRES: command line, settings, scheduler; puts the other packages together."""
