"""Entities: the things a cause can be pinned on, named as the outside names them."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

_UUID_BEGINNING = len("GPU-5fd4f087")


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
    """Where a GPU is: its node, and its number there (that of `nvidia-smi -i`); each None where that is not known."""

    node: str | None = None
    index: int | None = None


def gpu_text(name: str, place: GpuPlace) -> str:
    """A GPU as people look for it, who go by node and number; of its UUID the beginning tells it from others then.

    >>> gpu_text("GPU-5fd4f087-86f3-7a43-b711-4771313afc50/7", GpuPlace("gpu-07-03", 2))
    'GPU 2 on gpu-07-03 (GPU-5fd4f087…/7)'
    >>> gpu_text("GPU-7c", GpuPlace("gpu-07-03", 2))
    'GPU 2 on gpu-07-03 (GPU-7c)'
    >>> gpu_text("GPU-7c", GpuPlace("gpu-07-03"))
    'GPU-7c on gpu-07-03'
    >>> gpu_text("GPU-7c", GpuPlace())
    'GPU-7c'
    """
    if place.node is None:
        return name
    if place.index is None:
        return f"{name} on {place.node}"
    uuid, slash, instance = name.partition("/")
    short = uuid if len(uuid) <= _UUID_BEGINNING + 1 else f"{uuid[:_UUID_BEGINNING]}…"
    return f"GPU {place.index} on {place.node} ({short}{slash}{instance})"


def names_text(names: Sequence[str], most: int) -> str:
    """Names in their order, and how many more there are than `most`.

    >>> names_text(["chat-1", "chat-2", "chat-3"], 2)
    'chat-1, chat-2 and 1 more'
    """
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more} more" if more > 0 else "")
