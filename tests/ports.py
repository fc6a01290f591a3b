"""Ports for servers that are told their port beforehand, or that come back to the one they had."""

import random
import socket

# Below what Linux gives to outgoing connections (from 32,768): a port that the system itself chose may belong to some
# connection of another test before the server has taken it, or while the server is away.
RESERVED = range(20_000, 32_000)
_CHOICE = random.SystemRandom()  # hypothesis seeds the shared generator: all workers would draw the same


def free_port() -> int:
    """A port of loopback that nobody has, of TCP or of UDP."""
    while True:
        port = _CHOICE.choice(RESERVED)
        try:
            with socket.create_server(("127.0.0.1", port)), socket.socket(type=socket.SOCK_DGRAM) as datagrams:
                datagrams.bind(("127.0.0.1", port))
                return port
        except OSError:  # taken: another one
            continue
