"""HEARS: bytes from the wire become rows in the store."""
