"""Documents that promise something, of OpenSLO and of Sloth and Pyrra: read, checked, and made objectives of."""
