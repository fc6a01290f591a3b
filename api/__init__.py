"""ANSWERS: the HTTP API, one file a resource."""
