"""THINKS: frames in, findings out. Only the jobs touch storage."""
