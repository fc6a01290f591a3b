"""Entities: the things a cause can be pinned on, named as the outside names them."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum


class EntityKind(StrEnum):
    """Every kind of thing that can carry a signal or a cause."""

    SERVICE = "service"
    TENANT = "tenant"
    VERSION = "version"
    REPLICA = "replica"
    GPU = "gpu"
    NODE = "node"
    PORT = "port"
    LINK = "link"
    SWITCH = "switch"


@dataclass(frozen=True, slots=True, order=True)
class Entity:
    """One thing. A GPU is named by its UUID (`UUID/instance` for MIG), a port `node/device/port`."""

    kind: EntityKind
    name: str

    def __str__(self) -> str:
        return f"{self.kind} {self.name}"


def names_text(names: Sequence[str], most: int) -> str:
    """Names in their order, and how many more there are than `most`.

    >>> names_text(["chat-1", "chat-2", "chat-3"], 2)
    'chat-1, chat-2 and 1 more'
    """
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more} more" if more > 0 else "")
