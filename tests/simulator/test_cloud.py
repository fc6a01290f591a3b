from domain.topology import topology_from_document
from simulator.cloud import build_cloud, build_large_cloud


def test_the_same_seed_builds_the_same_cloud_and_another_seed_other_gpus() -> None:
    assert build_cloud(7) == build_cloud(7)
    assert {gpu.uuid for gpu in build_cloud(7).gpus}.isdisjoint(gpu.uuid for gpu in build_cloud(8).gpus)


def test_every_replica_owns_its_gpus_alone_on_its_own_node() -> None:
    cloud = build_cloud(1)
    owned = [gpu for replica in cloud.replicas for gpu in replica.gpus]
    assert len(owned) == len(set(owned)) == 6 * 4 + 4
    assert all(gpu.node == replica.node == replica.port.node for replica in cloud.replicas for gpu in replica.gpus)


def test_each_half_of_a_chat_node_has_its_own_port() -> None:
    cloud = build_cloud(1)
    ports = [replica.port.name for replica in cloud.replicas_of("chat")]
    assert ports == [f"{node}/mlx5_{n}/1" for node in ("gpu-01-01", "gpu-01-02", "gpu-02-01") for n in (0, 1)]
    assert [replica.port.device for replica in cloud.replicas_of("assist")] == ["mlx5_0"] * 2 + ["mlx5_1"] * 2


def test_ordinals_are_positions() -> None:
    cloud = build_cloud(1)
    for things in (cloud.gpus, cloud.ports, cloud.replicas):
        assert [thing.ordinal for thing in things] == list(range(len(things)))


def test_the_topology_document_reads_back_as_the_topology() -> None:
    cloud = build_cloud(1)
    topology = topology_from_document(cloud.topology_document())
    assert topology == cloud.topology()
    assert topology.nodes["gpu-01-02"].rack == "r01"
    assert topology.nodes["gpu-02-01"].ports["mlx5_0/1"].switch == "leaf-02"  # type: ignore[union-attr]
    assert {peer.switch for peer in topology.switches["leaf-01"].uplinks.values()} == {"spine-1", "spine-2"}


def test_no_two_cables_end_in_one_switch_port() -> None:
    ends = [(port.peer.switch, port.peer.port) for port in build_cloud(1).ports]
    assert len(ends) == len(set(ends))


def test_varied_clouds_differ_in_size_models_load_and_scraping() -> None:
    clouds = [build_cloud(seed, varied=True) for seed in range(40)]
    assert clouds[5] == build_cloud(5, varied=True)
    assert {len(cloud.nodes) for cloud in clouds} == {2, 3, 4, 5, 6}
    assert all(2 <= len(cloud.replicas) <= 12 for cloud in clouds)
    assert {cloud.scrape_step_s for cloud in clouds} == {5.0, 10.0, 15.0, 30.0}
    models = {(s.model.name, s.model.tensor_parallel, s.model.bytes_per_weight) for c in clouds for s in c.services}
    assert len(models) == 6
    loads = [
        service.workload.requests_per_s / (service.replica_requests_per_s * len(cloud.replicas_of(service.name)))
        for cloud in clouds
        for service in cloud.services
    ]
    assert min(loads) < 0.15
    assert max(loads) > 0.3


def test_in_varied_clouds_too_every_gpu_and_every_cable_is_used_once() -> None:
    for seed in range(40):
        cloud = build_cloud(seed, varied=True)
        owned = [gpu for replica in cloud.replicas for gpu in replica.gpus]
        assert len(owned) == len(set(owned))
        assert all(gpu.node == r.node == r.port.node for r in cloud.replicas for gpu in r.gpus)
        assert all(len(replica.gpus) == replica.service.model.tensor_parallel for replica in cloud.replicas)
        ends = [(port.switch, port.number) for port in cloud.fabric_ports]
        assert len(ends) == len(set(ends))
        assert topology_from_document(cloud.topology_document()) == cloud.topology()


def test_a_large_cloud_has_one_replica_a_node_and_shares_the_nodes_out_among_its_services() -> None:
    cloud = build_large_cloud(1)
    assert len(cloud.gpus) == 512
    assert [replica.node for replica in cloud.replicas] == list(cloud.nodes)
    assert {len(cloud.replicas_of(service.name)) for service in cloud.services} == {16}
    assert set(cloud.replica_by_gpu) == {gpu.ordinal for gpu in cloud.gpus}
