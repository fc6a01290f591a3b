"""Documents that promise something: read, checked, and made objectives of."""
