"""One script a claim: each prints a readable table, and its figures as JSON on the last line."""
