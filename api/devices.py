"""GPUs and ports as they are now: what each told last, and what it belongs to."""

from collections.abc import Iterable
from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field

from analytics.jobs.devices import DeviceReading, device_readings
from api.context import Given
from api.paging import page_after, page_items
from api.times import Moment
from domain.entity import EntityKind
from domain.topology import Topology
from storage.topology import read_topology

router = APIRouter(prefix="/api/v1", tags=["fleet"])


class DevicesQuestion(BaseModel):
    """Which devices, and when."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    at: Moment | None = Field(None, description="RFC 3339; now when not given", examples=["2026-11-23T03:00:00Z"])
    node: str | None = Field(None, description="only those of this node or switch", examples=["gpu-07-03"])
    limit: int | None = Field(None, ge=1, description="most items in one page")
    cursor: str | None = Field(None, description="the `next_cursor` of the page before")


class SignalDocument(BaseModel):
    """What a reading means."""

    title: str
    unit: str


class GpuDocument(BaseModel):
    """One GPU or MIG slice. A reading is null when it was not told within the last ten minutes."""

    gpu: str
    node: str | None
    gpu_model: str | None
    pool: str | None
    replica: str | None = Field(description="what runs on it; null when nothing does, or nobody says")
    readings: dict[str, float | None]


class LinkDocument(BaseModel):
    """One port of a node or switch, and where its cable leads."""

    port: str
    node: str | None = Field(description="the node or switch that it belongs to")
    peer: str | None = Field(description="the port at the other end; null when that is not known")
    readings: dict[str, float | None]


class GpusAnswer(BaseModel):
    """A page of GPUs, by name."""

    at: Moment
    signals: dict[str, SignalDocument]
    gpus: list[GpuDocument]
    next_cursor: str | None = Field(description="null on the last page")


class LinksAnswer(BaseModel):
    """A page of ports, by name."""

    at: Moment
    signals: dict[str, SignalDocument]
    links: list[LinkDocument]
    next_cursor: str | None = Field(description="null on the last page")


_GPUS_EXAMPLE = {
    "at": "2026-11-23T03:00:00Z",
    "signals": {"gpu_temperature": {"title": "GPU temperature", "unit": "°C"}},
    "gpus": [
        {
            "gpu": "GPU-1f5e0c6a-9a1b-4c55-8d1f-2f8f0f0d7a11",
            "node": "gpu-07-03",
            "gpu_model": "NVIDIA H100 80GB HBM3",
            "pool": "serving",
            "replica": "chat-3",
            "readings": {"gpu_temperature": 64.0},
        }
    ],
    "next_cursor": None,
}
_LINKS_EXAMPLE = {
    "at": "2026-11-23T03:00:00Z",
    "signals": {"symbol_errors": {"title": "Symbol errors", "unit": "1/s"}},
    "links": [
        {
            "port": "gpu-07-03/mlx5_0/1",
            "node": "gpu-07-03",
            "peer": "leaf-07a/3",
            "readings": {"symbol_errors": 0.0},
        }
    ],
    "next_cursor": None,
}


@router.get(
    "/gpus",
    summary="GPUs, and what each told last",
    response_model=GpusAnswer,
    responses={200: {"content": {"application/json": {"example": _GPUS_EXAMPLE}}}},
)
def list_gpus(given: Given, question: Annotated[DevicesQuestion, Query()]) -> dict[str, Any]:
    """Every GPU heard of in the last ten minutes: node, model, pool, replica and its latest readings."""
    page, told = _page(given, question, EntityKind.GPU)
    gpus = [
        {
            "gpu": one.entity.name,
            "node": one.node,
            "gpu_model": one.gpu_model,
            "pool": one.pool,
            "replica": one.replica,
            "readings": one.values,
        }
        for one in page
    ]
    return told | {"gpus": gpus}


@router.get(
    "/links",
    summary="Ports of the fabric, and what each told last",
    response_model=LinksAnswer,
    responses={200: {"content": {"application/json": {"example": _LINKS_EXAMPLE}}}},
)
def list_links(given: Given, question: Annotated[DevicesQuestion, Query()]) -> dict[str, Any]:
    """Every port of a node or switch heard of in the last ten minutes: where its cable leads, its latest readings."""
    page, told = _page(given, question, EntityKind.PORT)
    topology = read_topology(given.store)
    links = [
        {
            "port": one.entity.name,
            "node": one.node,
            "peer": _peer(topology, one.entity.name),
            "readings": one.values,
        }
        for one in page
    ]
    return told | {"links": links}


def _page(given: Given, question: DevicesQuestion, kind: EntityKind) -> tuple[Iterable[DeviceReading], dict[str, Any]]:
    at = question.at or given.now()
    found = device_readings(given.store, kind, at, given.knowledge)
    if question.node is not None:
        found = [one for one in found if one.node == question.node]
    limit = page_items(question.limit, given.settings)
    page, next_cursor = page_after(found, lambda one: one.entity.name, question.cursor, limit)
    names = {name for one in page for name in one.values}
    signals = {
        name: {"title": signal.title, "unit": signal.unit}
        for name, signal in given.knowledge.signals.items()
        if name in names
    }
    return page, {"at": at, "signals": signals, "next_cursor": next_cursor}


def _peer(topology: Topology, port: str) -> str | None:
    """The other end of a port's cable."""
    node, _, name = port.partition("/")
    if node in topology.nodes:
        peer = topology.nodes[node].ports.get(name)
        return None if peer is None else f"{peer.switch}/{peer.port}"
    switch = topology.switches.get(node)
    if switch is None or not name.isdigit():
        return None
    uplink = switch.uplinks.get(int(name))
    if uplink is not None:
        return f"{uplink.switch}/{uplink.port}"
    return next(
        (
            f"{other.name}/{own}"
            for other in topology.nodes.values()
            for own, peer in other.ports.items()
            if peer is not None and (peer.switch, peer.port) == (node, int(name))
        ),
        None,
    )
