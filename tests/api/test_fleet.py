"""GPUs, ports, replicas and releases over the API, of a simulated half hour."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from analytics.knowledge import shipped_knowledge
from simulator.fill import fill
from simulator.run import Simulation
from storage.store import Store
from storage.topology import write_topology
from tests.api.clock import NOW
from tests.emptied import empty

START = NOW - timedelta(minutes=30)


@pytest.fixture(scope="module")
def cloud(store: Store) -> Iterator[Any]:
    empty(store)
    simulation = Simulation(7, START)
    write_topology(store, simulation.cloud.topology(), START)
    fill(store, simulation, START, NOW, calls_one_in=1000)
    yield simulation.cloud
    empty(store)


def test_gpus_are_listed_with_what_they_told_last(ask: Any, cloud: Any) -> None:
    answer = ask.get("/api/v1/gpus", limit=1000).json()

    assert [one["gpu"] for one in answer["gpus"]] == sorted(gpu.uuid for gpu in cloud.gpus)
    served = next(one for one in answer["gpus"] if one["replica"] == "chat-0")
    assert served["gpu_model"] == "NVIDIA H100 80GB HBM3"
    assert served["node"] == cloud.replicas[0].gpus[0].node
    assert 20 < served["readings"]["gpu_temperature"] < 95
    assert answer["signals"]["gpu_temperature"] == {"title": "GPU temperature", "unit": "°C"}
    assert served["pool"] == "serving"


def test_readings_bear_the_titles_of_a_site(make_asker: Any, cloud: Any) -> None:
    shipped = shipped_knowledge()
    ours = replace(shipped.signals["gpu_temperature"], title="Die temperature")
    asker = make_asker(knowledge=replace(shipped, signals={**shipped.signals, "gpu_temperature": ours}))
    assert asker.get("/api/v1/gpus").json()["signals"]["gpu_temperature"]["title"] == "Die temperature"


def test_gpus_of_a_node_come_in_pages(ask: Any, cloud: Any) -> None:
    node = cloud.gpus[0].node
    first = ask.get("/api/v1/gpus", node=node, limit=5).json()
    rest = ask.get("/api/v1/gpus", node=node, limit=5, cursor=first["next_cursor"]).json()

    assert [len(page["gpus"]) for page in (first, rest)] == [5, 3]
    assert {one["node"] for page in (first, rest) for one in page["gpus"]} == {node}


def test_a_gpu_that_told_nothing_of_late_is_on_no_list(ask: Any, cloud: Any) -> None:
    later = (NOW + timedelta(hours=1)).isoformat()
    assert ask.get("/api/v1/gpus", at=later).json()["gpus"] == []


def test_ports_are_listed_with_the_other_end_of_their_cable(ask: Any, cloud: Any) -> None:
    answer = ask.get("/api/v1/links", limit=1000).json()

    links = {one["port"]: one for one in answer["links"]}
    port = cloud.ports[0]
    assert links[port.name]["peer"] == f"{port.peer.switch}/{port.peer.port}"
    assert links[port.name]["readings"]["symbol_errors"] == 0
    assert links[links[port.name]["peer"]]["peer"] == port.name


def test_replicas_are_told_by_their_load(ask: Any, cloud: Any) -> None:
    question = {"service": "chat", "from_": START.isoformat(), "to": NOW.isoformat()}
    answer = ask.get("/api/v1/imbalance", **question).json()

    loads = [one["load_ratio"] for one in answer["replicas"]]
    assert len(loads) == len(cloud.replicas_of("chat"))
    assert sum(loads) / len(loads) == pytest.approx(1.0)
    assert answer["imbalance_ratio"] == pytest.approx(max(loads) - 1)
    nobody = ask.get("/api/v1/imbalance", **(question | {"service": "absent"})).json()
    assert (nobody["imbalance_ratio"], nobody["replicas"]) == (None, [])


def test_releases_are_compared_side_by_side(ask: Any, cloud: Any, insert_requests: Any) -> None:
    seconds = [60.0 + number for number in range(200)]
    for version, latency_ms in (("1.0", 100.0), ("1.1", 180.0)):
        spread = [latency_ms + number % 17 for number in range(200)]
        insert_requests("compared", seconds, version=version, latency_ms=spread)

    answer = ask.get("/api/v1/releases/compare", service="compared", a="1.0", b="1.1").json()

    median = next(one for one in answer["differences"] if (one["measure"], one["quantile"]) == ("latency_ms", 0.5))
    assert median["verdict"] == "slower"
    assert median["low_ms"] < 80 < median["high_ms"]
    assert answer["errors"]["verdict"] == "same"
    assert ask.get("/api/v1/releases/compare", service="compared", a="1.0").status_code == 422


def test_the_scaling_signal_tells_what_the_engines_bear(ask: Any, cloud: Any) -> None:
    answer = ask.get("/api/v1/scaling/llama-3.1-70b/serving")

    assert answer.status_code == 200
    found = answer.json()
    assert found["replicas"] == len(cloud.replicas_of("chat"))
    assert 1 <= found["desired_replicas"] <= 2 * found["replicas"]
    assert 0 <= found["data_age_s"] <= 60


def test_old_data_scales_nothing(make_asker: Any, cloud: Any) -> None:
    late = make_asker(now=lambda: NOW + timedelta(minutes=5)).get("/api/v1/scaling/llama-3.1-70b/serving")

    assert late.status_code == 503
    assert late.json()["error"] == "stale"
    assert 240 <= late.json()["data_age_s"] <= 330


def test_a_model_that_nobody_serves_is_not_found_and_those_there_are_are_named(ask: Any, cloud: Any) -> None:
    answer = ask.get("/api/v1/scaling/gpt-9/serving")

    assert answer.status_code == 404
    assert "llama-3.1-70b/serving" in answer.json()["detail"]
