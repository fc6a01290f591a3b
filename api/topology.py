"""The wiring of the fleet: told once, read by everyone who looks for causes."""

from typing import Annotated, Any

import yaml
from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel, Field

from api.context import Given
from api.problems import invalid_field
from domain.topology import Topology, TopologyError, topology_from_document, topology_to_document
from storage.topology import read_topology, write_topology

router = APIRouter(prefix="/api/v1/topology", tags=["topology"])

_DEPTH_MAX = 10  # a topology is six deep; the loader recurses


class SwitchPortDocument(BaseModel):
    """One port of one switch."""

    switch: str
    switch_port: int


class NodeDocument(BaseModel):
    """A machine."""

    rack: str | None = None
    gpus: list[str] = Field(default_factory=list, description="UUIDs")
    ports: dict[str, SwitchPortDocument | None] = Field(
        default_factory=dict, description="`device/port` and where its cable leads; null when that is not known"
    )


class SwitchDocument(BaseModel):
    """A switch."""

    tier: str | None = Field(None, description="leaf, spine, …")
    uplinks: dict[int, SwitchPortDocument] = Field(
        default_factory=dict, description="own port, and where its cable leads"
    )


class TopologyDocument(BaseModel):
    """All nodes and switches known."""

    nodes: dict[str, NodeDocument] = Field(default_factory=dict)
    switches: dict[str, SwitchDocument] = Field(default_factory=dict)


_EXAMPLE = {
    "nodes": {
        "gpu-07-03": {
            "rack": "r07",
            "gpus": ["GPU-1f5e0c6a-9a1b-4c55-8d1f-2f8f0f0d7a11"],
            "ports": {"mlx5_0/1": {"switch": "leaf-07a", "switch_port": 3}},
        }
    },
    "switches": {"leaf-07a": {"tier": "leaf", "uplinks": {"33": {"switch": "spine-1", "switch_port": 7}}}},
}
_YAML_EXAMPLE = """\
nodes:    {gpu-07-03: {rack: r07, gpus: [GPU-1f5e0c6a], ports: {mlx5_0/1: {switch: leaf-07a, switch_port: 3}}}}
switches: {leaf-07a: {tier: leaf, uplinks: {33: {switch: spine-1, switch_port: 7}}}}
"""
_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "application/yaml": {"schema": {"type": "string"}, "example": _YAML_EXAMPLE},
            "application/json": {
                "schema": {"$ref": "#/components/schemas/TopologyDocument"},
                "example": _EXAMPLE,
            },
        },
    }
}


async def _body(request: Request) -> bytes:
    return await request.body()


@router.get(
    "",
    summary="The wiring of the fleet",
    response_model=TopologyDocument,
    responses={200: {"content": {"application/json": {"example": _EXAMPLE}}}},
)
def get_topology(given: Given) -> dict[str, Any]:
    """Nodes with their GPUs and ports, and switches with their uplinks: as told, completed by what was discovered."""
    return topology_to_document(read_topology(given.store))


@router.put(
    "",
    summary="Tell the wiring of the fleet",
    response_model=TopologyDocument,
    responses={200: {"content": {"application/json": {"example": _EXAMPLE}}}},
    openapi_extra=_BODY,
)
def put_topology(given: Given, body: Annotated[bytes, Depends(_body)]) -> dict[str, Any]:
    """Replace the wiring by the YAML (or JSON, which is YAML) of the body; answers what was understood."""
    topology = parse_topology(body)
    write_topology(given.store, topology, given.now())
    return topology_to_document(topology)


def parse_topology(body: bytes) -> Topology:
    """Read a topology from YAML or JSON.

    Raises:
        Problem: naming the path in the document, or the line, of the fault.
    """
    try:
        text = body.decode()
        _check_shape(text)
        # No objects are made, only data; the C loader reads a megabyte in about a second.
        document = yaml.load(text, Loader=yaml.CSafeLoader)
        return topology_from_document(document)
    except TopologyError as error:
        raise invalid_field("body", str(error)) from None
    except yaml.YAMLError as error:
        raise invalid_field("body", f"is neither YAML nor JSON: {' '.join(str(error).split())}") from None
    except ValueError as error:  # no UTF-8, or a date that there is not
        raise invalid_field("body", f"holds a value that cannot be read: {error}") from None


def _check_shape(text: str) -> None:
    """Refuse what a small body could blow up with: nesting without end, and aliases of aliases."""
    depth = 0
    for event in yaml.parse(text, Loader=yaml.CSafeLoader):
        if isinstance(event, yaml.AliasEvent):
            raise TopologyError(f"the alias *{event.anchor} is not read; write out what it stands for")
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > _DEPTH_MAX:
            raise TopologyError(f"the document is more than {_DEPTH_MAX} levels deep; a topology has six")
