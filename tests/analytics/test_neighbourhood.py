"""Which replicas stand behind each GPU, node, port and switch."""

from typing import Any

from analytics.neighbourhood import attributed, gpu_indices, neighbourhood
from domain.entity import Entity, EntityKind
from domain.topology import Topology, topology_from_document
from tests.analytics.frames import at, requests, series

PLACED = [
    {"time": at(1), "replica": "chat-1", "node": "gpu-1"},
    {"time": at(1), "replica": "chat-2", "node": "gpu-1"},
    {"time": at(1), "replica": "chat-3", "node": "gpu-2"},
]


def carried(rows: list[dict[str, Any]], metrics: list[dict[str, Any]], topology: Topology | None = None) -> Any:
    found = neighbourhood("chat", requests(rows), series(metrics), topology or Topology()).replicas_of
    return {f"{entity.kind}:{entity.name}": set(replicas) for entity, replicas in found.items()}


def test_a_gpu_carries_the_replica_that_its_labels_name() -> None:
    found = carried(PLACED, [{"metric": "m", "gpu": "GPU-1", "node": "gpu-1", "replica": "chat-1"}])
    assert found["gpu:GPU-1"] == {"chat-1"}


def test_a_gpu_without_a_known_replica_carries_all_of_its_node() -> None:
    metrics = [
        {"metric": "m", "gpu": "GPU-1", "node": "gpu-1"},
        {"metric": "m", "gpu": "GPU-9", "node": "gpu-1", "replica": "somebody-else"},
    ]
    found = carried(PLACED, metrics)
    assert found["gpu:GPU-1"] == {"chat-1", "chat-2"}


def test_beside_a_service_are_the_other_gpus_of_its_own_nodes() -> None:
    metrics = [
        {"metric": "m", "gpu": "GPU-1", "node": "gpu-1", "replica": "chat-1"},
        {"metric": "m", "gpu": "GPU-9", "node": "gpu-1", "replica": "somebody-else"},
        {"metric": "m", "gpu": "GPU-7", "node": "not-of-this-service"},
    ]
    found = neighbourhood("chat", requests(PLACED), series(metrics), Topology())
    assert found.beside == {Entity(EntityKind.GPU, "GPU-9")}


def test_the_number_of_a_gpu_is_that_of_its_series_where_they_tell_one_and_no_other() -> None:
    told = [
        ("GPU-1", ["llama", "2"]), ("GPU-1", ["", "2"]), ("GPU-1/7", ["", "2"]),
        ("GPU-2", ["", ""]), ("GPU-3", ["", "0"]), ("GPU-3", ["", ""]), ("GPU-4", ["", "nvidia4"]),
        ("GPU-5", ["", "4"]), ("GPU-5", ["", "5"]), (None, ["", "6"]),
    ]  # fmt: skip
    found = gpu_indices(series([{"metric": "m", "gpu": gpu, "labels": labels} for gpu, labels in told]))
    assert {gpu.name: index for gpu, index in found.items()} == {"GPU-1": 2, "GPU-1/7": 2, "GPU-3": 0}
    assert gpu_indices(series([])) == {}


def test_a_port_carries_the_replicas_of_its_node_and_so_does_the_switch_port_it_leads_to() -> None:
    wiring = topology_from_document({"nodes": {"gpu-2": {"ports": {"mlx5_0/1": {"switch": "leaf", "switch_port": 3}}}}})
    found = carried(PLACED, [{"metric": "m", "node": "gpu-1", "port": "mlx5_0/1"}], wiring)
    assert found["port:gpu-1/mlx5_0/1"] == {"chat-1", "chat-2"}
    assert found["port:gpu-2/mlx5_0/1"] == {"chat-3"}
    assert found["port:leaf/3"] == {"chat-3"}


def test_a_port_knows_the_other_end_of_its_cable() -> None:
    wiring = topology_from_document(
        {
            "nodes": {"gpu-2": {"ports": {"mlx5_0/1": {"switch": "leaf", "switch_port": 3}}}},
            "switches": {"leaf": {"uplinks": {"30": {"switch": "spine", "switch_port": 7}}}},
        }
    )
    found = neighbourhood("chat", requests(PLACED), series([]), wiring).peers
    ends = [("gpu-2/mlx5_0/1", "leaf/3"), ("leaf/30", "spine/7")]
    named = {one.name: other.name for one, other in found.items()}
    assert named == dict(ends) | {far: near for near, far in ends}


def test_an_engine_without_a_pod_label_is_the_replica_it_is_called_after_or_the_only_one() -> None:
    waiting, started = "vllm:num_requests_waiting", "process_start_time_seconds"

    def whose(placed: list[dict[str, Any]], *told: tuple[str, str]) -> list[str | None]:
        rows = [{"metric": metric, "instance": instance, "node": "x"} for metric, instance in told]
        return attributed(series(rows), requests(placed), [waiting, started])["replica"].to_list()

    unnamed, named, other = "10.0.0.7:8000", "chat-3:8000", "10.0.0.8:8000"
    alone = PLACED[2:]
    assert whose(alone, (waiting, unnamed), (started, unnamed)) == ["chat-3", "chat-3"]
    assert whose(alone, (waiting, unnamed), (started, "10.0.0.9:9100")) == ["chat-3", None], "an exporter is no engine"
    assert whose(alone, (waiting, unnamed), (waiting, other)) == [None, None], "one of them is another service's"
    assert whose(alone, (waiting, unnamed), (waiting, named)) == [None, "chat-3"], "its own is known by its name"
    assert whose(PLACED, (waiting, unnamed), (waiting, named)) == [None, "chat-3"], "with several nobody knows"


def test_a_switch_carries_the_replicas_of_every_node_below_it_and_so_do_its_uplinks() -> None:
    wiring = topology_from_document(
        {
            "nodes": {
                node: {"ports": {"mlx5_0/1": {"switch": "leaf", "switch_port": number}}}
                for number, node in enumerate(("gpu-1", "gpu-2"), start=1)
            },
            "switches": {"leaf": {"uplinks": {33: {"switch": "spine", "switch_port": 7}}}},
        }
    )
    found = carried(PLACED, [], wiring)
    everybody = {"chat-1", "chat-2", "chat-3"}
    assert [found[name] for name in ("switch:leaf", "switch:spine", "port:leaf/33", "port:spine/7")] == [everybody] * 4
    assert found["port:leaf/2"] == {"chat-3"}
