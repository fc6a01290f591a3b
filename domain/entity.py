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


@dataclass(frozen=True, slots=True)
class GpuPlace:
    """Where a GPU is: its node, its number there (that of `nvidia-smi -i`), and the replica that it serves.

    Each is None where it is not known; so is the replica where several share the GPU.
    """

    node: str | None = None
    index: int | None = None
    replica: str | None = None


def gpu_text(name: str, place: GpuPlace) -> str:
    """A GPU as people look for it, who go by node and number; by its UUID where these are not known.

    >>> gpu_text("GPU-5fd4f087-86f3-7a43-b711-4771313afc50/7", GpuPlace("gpu-07-03", 2))
    'GPU 2 MIG 7 of gpu-07-03'
    >>> gpu_text("GPU-7c", GpuPlace("gpu-07-03", 2, "chat-5"))
    'GPU 2 of gpu-07-03 (chat-5)'
    >>> gpu_text("GPU-7c", GpuPlace("gpu-07-03"))
    'GPU-7c of gpu-07-03'
    >>> gpu_text("GPU-7c", GpuPlace())
    'GPU-7c'
    """
    if place.node is None:
        return name
    serving = f" ({place.replica})" if place.replica else ""
    if place.index is None:
        return f"{name} of {place.node}{serving}"
    _, _, instance = name.partition("/")
    return f"GPU {place.index}{f' MIG {instance}' if instance else ''} of {place.node}{serving}"


def entity_text(entity: Entity, gpu: GpuPlace | None) -> str:
    """What people call a thing: a GPU by its place, all else by its name.

    >>> entity_text(Entity(EntityKind.NODE, "gpu-07-03"), None)
    'gpu-07-03'
    """
    return entity.name if gpu is None else gpu_text(entity.name, gpu)


def names_text(names: Sequence[str], most: int) -> str:
    """Names in their order, and how many more there are than `most`.

    >>> names_text(["chat-1", "chat-2", "chat-3"], 2)
    'chat-1, chat-2 and 1 more'
    """
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more} more" if more > 0 else "")
