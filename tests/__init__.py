"""Tests mirror the code; contract/, scenarios/ and browser/ cross it."""
