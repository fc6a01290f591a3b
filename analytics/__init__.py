"""THINKS: frames in, findings out. Only jobs.py touches storage."""
