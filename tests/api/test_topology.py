"""The topology is told as YAML or JSON, and what is told wrong is named by its path."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from api.problems import Problem
from api.topology import parse_topology
from domain.topology import topology_from_document
from storage.store import Store
from storage.topology import write_topology
from tests.api.clock import NOW

YAML = b"""
nodes:
  gpu-07-03: {rack: r07, gpus: [GPU-1f], ports: {mlx5_0/1: {switch: leaf-07a, switch_port: 3}, mlx5_1/1: null}}
switches: {leaf-07a: {tier: leaf, uplinks: {33: {switch: spine-1, switch_port: 7}}}}
"""
DOCUMENT = {
    "nodes": {
        "gpu-07-03": {
            "rack": "r07",
            "gpus": ["GPU-1f"],
            "ports": {"mlx5_0/1": {"switch": "leaf-07a", "switch_port": 3}, "mlx5_1/1": None},
        }
    },
    "switches": {"leaf-07a": {"tier": "leaf", "uplinks": {"33": {"switch": "spine-1", "switch_port": 7}}}},
}


def test_a_topology_that_nobody_told_is_empty(ask: Any, clean_store: Store) -> None:
    assert ask.get("/api/v1/topology").json() == {"nodes": {}, "switches": {}}


@pytest.mark.parametrize(
    ("media_type", "body"),
    [("application/yaml", YAML), ("application/json", json.dumps(DOCUMENT).encode()), ("text/plain", YAML)],
)
def test_what_is_told_is_what_is_read(ask: Any, clean_store: Store, media_type: str, body: bytes) -> None:
    told = ask("PUT", "/api/v1/topology", content=body, headers={"Content-Type": media_type})

    assert told.status_code == 200, told.text
    assert told.json() == DOCUMENT
    assert ask.get("/api/v1/topology").json() == DOCUMENT


def test_a_second_telling_replaces_the_first(make_asker: Any, clean_store: Store) -> None:
    make_asker()("PUT", "/api/v1/topology", content=YAML)
    later = make_asker(now=lambda: NOW + timedelta(seconds=1))
    later("PUT", "/api/v1/topology", content=b"nodes: {a: {}}")

    assert later.get("/api/v1/topology").json() == {
        "nodes": {"a": {"rack": None, "gpus": [], "ports": {}}},
        "switches": {},
    }


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"nodes: {a: {gpus: 3}}", "nodes.a.gpus is 3; expected a list of GPU UUIDs"),
        (b"nodes: {a: {gpu: []}}", "nodes.a has unknown keys gpu; valid are gpus, ports, rack"),
        (b"nodes: []", "nodes is []; expected a mapping"),
        (b"- a", "topology is ['a']; expected a mapping"),
        (b"nodes: {a: {ports: {p: {switch: s, switch_port: .inf}}}}", "expected a port number"),
        (b"nodes: [", "is neither YAML nor JSON: while parsing a flow node"),
        (b"nodes: {a: {rack: 2026-13-45}}", "holds a value that cannot be read: month must be in 1..12"),
        (b"\x00", "is neither YAML nor JSON"),
        (b"nodes: \xff", "can't decode byte 0xff"),
        (b"!!python/object/apply:os.system [ls]", "could not determine a constructor"),
        (b"x: &x [1]\ny: *x", "the alias *x is not read"),
        (b"[" * 100_000, "more than 10 levels deep"),
        (b"a: b\n---\nc: d", "expected a single document"),
    ],
)
def test_a_topology_that_cannot_be_read_says_where_and_why(body: bytes, said: str) -> None:
    with pytest.raises(Problem) as raised:
        parse_topology(body)

    (error,) = raised.value.errors
    assert raised.value.status_code == 422
    assert error.field == "body"
    assert said in error.detail


def test_an_empty_body_is_an_empty_topology() -> None:
    assert parse_topology(b"") == parse_topology(b"{}")


def test_what_was_discovered_completes_what_was_told_and_outlives_it(ask: Any, clean_store: Store) -> None:
    discovered = topology_from_document(
        {"nodes": {"gpu-9": {"ports": {"mlx5_0/1": {"switch": "s", "switch_port": 1}}}}}
    )
    write_topology(clean_store, discovered, datetime.now(UTC), discovered=True)
    ask("PUT", "/api/v1/topology", content=b"nodes: {gpu-9: {rack: r9}, gpu-8: {}}")
    both = ask.get("/api/v1/topology").json()
    assert both["nodes"]["gpu-9"] == {
        "rack": "r9",
        "gpus": [],
        "ports": {"mlx5_0/1": {"switch": "s", "switch_port": 1}},
    }
    ask("PUT", "/api/v1/topology", content=b"{}")
    left = ask.get("/api/v1/topology").json()
    assert left["nodes"].keys() == {"gpu-9"}
    assert left["nodes"]["gpu-9"]["rack"] is None


def test_a_refused_topology_leaves_the_old_one(ask: Any, clean_store: Store) -> None:
    ask("PUT", "/api/v1/topology", content=YAML)

    assert ask("PUT", "/api/v1/topology", content=b"nodes: 3").status_code == 422
    assert ask.get("/api/v1/topology").json() == DOCUMENT
