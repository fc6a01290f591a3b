"""The fabric, read where no exporter does: adapters, Ethernet NICs, switch ports, and what is cabled to what."""
