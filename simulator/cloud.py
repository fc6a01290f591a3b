"""The simulated cloud: nodes, GPUs, ports, services, replicas and tenants as frozen nouns."""

import random
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from domain.topology import Node as TopologyNode
from domain.topology import Switch, SwitchPort, Topology, topology_to_document
from simulator.physics import (
    LARGE_MODELS,
    LLAMA_8B_BF16_TP1,
    LLAMA_70B_FP8_TP4,
    LLAMA_70B_FP8_TP8,
    SMALL_MODELS,
    ServedModel,
)
from simulator.workload import ASSIST_WORKLOAD, CHAT_WORKLOAD, Workload

GPUS_PER_NODE = 8
DRIVER_VERSION = "580.95.05"
GPU_MODEL_NAME = "NVIDIA H100 80GB HBM3"
# Bus ids of the eight SXM sockets of an HGX H100 board, as dcgm-exporter prints them.
PCI_BUS_IDS = tuple(f"00000000:{bus:02X}:00.0" for bus in (0x18, 0x29, 0x3A, 0x4B, 0x5C, 0x6D, 0x7E, 0x8F))
SPINES = ("spine-1", "spine-2")
PORT_DEVICES = ("mlx5_0", "mlx5_1")
FIRST_UPLINK = 33  # a 64-port leaf: 1-32 to nodes, 33-64 to spines
NODES_PER_RACK = 2
CPU_NODES = ("cpu-01-01", "cpu-01-02")

TENANT_NAMES = (
    "northwind",
    "acme-legal",
    "bluebird",
    "helios-bank",
    "papertrail",
    "quantica",
    "riverside",
    "sandpiper",
    "tessera",
    "umbra-games",
    "verdant",
    "wayfarer",
)


@dataclass(frozen=True, slots=True)
class Gpu:
    """One GPU; `ordinal` counts over the cloud, `index` within its node."""

    ordinal: int
    node: str
    index: int
    uuid: str

    @property
    def pci_bus_id(self) -> str:
        """As dcgm-exporter prints it."""
        return PCI_BUS_IDS[self.index]


@dataclass(frozen=True, slots=True)
class Port:
    """One port of a NIC, cabled to a leaf switch; `ordinal` counts over the cloud."""

    ordinal: int
    node: str
    device: str
    number: str
    peer: SwitchPort

    @property
    def name(self) -> str:
        """`node/device/port`."""
        return f"{self.node}/{self.device}/{self.number}"


@dataclass(frozen=True, slots=True)
class Service:
    """One served model behind one name.

    `max_sequences` is vLLM's `--max-num-seqs`: low, as operators set it who hold a time-per-token target.
    """

    name: str
    namespace: str
    version: str
    model: ServedModel
    workload: Workload
    max_sequences: int

    @property
    def replica_requests_per_s(self) -> float:
        """Requests per second that one replica can finish, all sequences busy."""
        prompt, output = self.workload.prompt.mean, self.workload.output.mean
        steps = self.model.steps
        token_ms = steps.time_per_output_token_ms(self.max_sequences, prompt, output)
        return self.max_sequences / ((steps.prefill_ms(prompt, 0.0) + output * token_ms) / 1000)

    def released(self, ahead: int) -> str:
        """The version so many releases after the one it runs."""
        *leading, patch = self.version.split(".")
        return ".".join([*leading, str(int(patch) + ahead)])


@dataclass(frozen=True, slots=True)
class Replica:
    """One engine process on one tensor-parallel group of GPUs, fetching KV blocks over one port."""

    ordinal: int
    pod: str
    service: Service
    node: str
    gpus: tuple[Gpu, ...]
    port: Port
    instance_id: str


@dataclass(frozen=True, slots=True)
class FabricPort:
    """One port of a leaf switch; `node_port` is the ordinal of the NIC port it is cabled to, None for an uplink."""

    ordinal: int
    switch: str
    number: int
    node_port: int | None

    @property
    def name(self) -> str:
        """`switch/port`."""
        return f"{self.switch}/{self.number}"


@dataclass(frozen=True, slots=True)
class Instance:
    """One process of an upstream service, on a node without GPUs."""

    pod: str
    node: str
    instance_id: str


@dataclass(frozen=True, slots=True)
class Upstream:
    """A service that every request calls before generation; `usual_s` is the median of how long that takes."""

    name: str
    namespace: str
    version: str
    path: str
    usual_s: float
    instances: tuple[Instance, ...]


@dataclass(frozen=True)
class Cloud:
    """Everything that stands in the racks and runs on it. Ordinals are positions in the tuples.

    `scrape_step_s` is how often this site scrapes, `noise_ratio` how much its sensors scatter (1: as usual).
    """

    gpus: tuple[Gpu, ...]
    ports: tuple[Port, ...]
    services: tuple[Service, ...]
    replicas: tuple[Replica, ...]
    tenants: tuple[str, ...]
    racks: tuple[tuple[str, str], ...]
    upstreams: tuple[Upstream, ...]
    scrape_step_s: float = 15.0
    noise_ratio: float = 1.0

    @property
    def nodes(self) -> tuple[str, ...]:
        """Names of the nodes with GPUs, in order."""
        return tuple(node for node, _ in self.racks)

    @cached_property
    def leaves(self) -> tuple[str, ...]:
        """The leaf switches, one a rack."""
        return tuple(dict.fromkeys(_leaf_of(rack) for _, rack in self.racks))

    @cached_property
    def fabric_ports(self) -> tuple[FabricPort, ...]:
        """Every cabled port of the leaves: first those to nodes, then the uplinks."""
        ends: list[tuple[str, int, int | None]] = []
        for leaf in self.leaves:
            below = [port for port in self.ports if port.peer.switch == leaf]
            ends += [(leaf, port.peer.port, port.ordinal) for port in below]
            ends += [(leaf, FIRST_UPLINK + spine, None) for spine in range(len(SPINES))]
        return tuple(FabricPort(ordinal, *end) for ordinal, end in enumerate(ends))

    def below(self, leaf: str) -> tuple[Port, ...]:
        """The NIC ports cabled to a leaf."""
        return tuple(port for port in self.ports if port.peer.switch == leaf)

    def replicas_of(self, service: str) -> tuple[Replica, ...]:
        """The replicas of one service, in order."""
        return tuple(replica for replica in self.replicas if replica.service.name == service)

    def gpus_of(self, node: str) -> tuple[Gpu, ...]:
        """The GPUs of one node, in order."""
        return tuple(gpu for gpu in self.gpus if gpu.node == node)

    def ports_of(self, node: str) -> tuple[Port, ...]:
        """The NIC ports of one node, in order."""
        return tuple(port for port in self.ports if port.node == node)

    @cached_property
    def replica_by_gpu(self) -> dict[int, Replica]:
        """GPU ordinal → the replica that runs on it; an unallocated GPU is absent."""
        return {gpu.ordinal: replica for replica in self.replicas for gpu in replica.gpus}

    def topology(self) -> Topology:
        """The wiring, as an operator would write it down."""
        nodes = {
            node: TopologyNode(
                node,
                rack,
                tuple(gpu.uuid for gpu in self.gpus_of(node)),
                {f"{port.device}/{port.number}": port.peer for port in self.ports_of(node)},
            )
            for node, rack in self.racks
        }
        leaves = {
            leaf: Switch(
                leaf,
                "leaf",
                {FIRST_UPLINK + s: SwitchPort(spine, leaf_number) for s, spine in enumerate(SPINES)},
            )
            for leaf_number, leaf in enumerate(self.leaves, start=1)
        }
        return Topology(nodes, leaves | {spine: Switch(spine, "spine") for spine in SPINES})

    def topology_document(self) -> dict[str, Any]:
        """The topology file (JSON- and YAML-ready)."""
        return topology_to_document(self.topology())


CHAT_REQUESTS_PER_S = 1.2
ASSIST_REQUESTS_PER_S = 1.5
LARGE_CLOUD_SERVICES = ("chat", "agents", "code", "search")
SCRAPE_STEPS_S = (5.0, 10.0, 15.0, 30.0)


def build_cloud(
    seed: int,
    *,
    chat_requests_per_s: float = CHAT_REQUESTS_PER_S,
    assist_requests_per_s: float = ASSIST_REQUESTS_PER_S,
    varied: bool = False,
) -> Cloud:
    """Four nodes of eight H100s: six replicas of a 70B on three of them, four of an 8B on the last.

    The same seed gives the same identities (GPU UUIDs, instance ids). With `varied` the seed also chooses the
    number of nodes (2-6) and replicas (2-12), the models, the load, how often is scraped and how noisy sensors are;
    the two rates are then not used.
    """
    chat = Service(
        name="chat",
        namespace="serving",
        version="0.11.2",
        model=LLAMA_70B_FP8_TP4,
        workload=CHAT_WORKLOAD.at(chat_requests_per_s),
        max_sequences=7,
    )
    assist = Service(
        name="assist",
        namespace="serving",
        version="0.11.2",
        model=LLAMA_8B_BF16_TP1,
        workload=ASSIST_WORKLOAD.at(assist_requests_per_s),
        max_sequences=6,
    )
    if not varied:
        return _placed(seed, nodes_count=4, served=_first_and_last(4, ((chat, 6), (assist, 4))))
    choice = random.Random(f"varied-{seed}")
    nodes_count = choice.randint(2, 6)
    room = (nodes_count - 1) * GPUS_PER_NODE
    chat = replace(chat, model=choice.choice([m for m in LARGE_MODELS if room // m.tensor_parallel >= 2]))
    chat_count = choice.randint(2, min(8, room // chat.model.tensor_parallel))
    assist = replace(assist, model=choice.choice(SMALL_MODELS), max_sequences=choice.choice((6, 8, 12)))
    assist_count = choice.randint(0 if chat_count >= 4 else 2, 4)
    served = [(_loaded(chat, chat_count, choice.uniform(0.15, 0.35)), chat_count)]
    if assist_count:
        served.append((_loaded(assist, assist_count, choice.uniform(0.1, 0.35)), assist_count))
    return _placed(
        seed,
        nodes_count=nodes_count,
        served=_first_and_last(nodes_count, served),
        scrape_step_s=choice.choice(SCRAPE_STEPS_S),
        noise_ratio=choice.uniform(0.5, 3.0),
    )


def build_large_cloud(
    seed: int, *, nodes_count: int = 64, load_ratio: float = 0.25, scrape_step_s: float = 30.0
) -> Cloud:
    """Nodes of eight H100s, each one replica of a 70B, a quarter of them a service; 64 nodes are 512 GPUs.

    Args:
        seed: of the identities.
        nodes_count: at least one a service.
        load_ratio: the mean rate of requests, as a share of what the replicas can serve.
        scrape_step_s: how often is scraped.
    """
    served, first_node = [], 0
    for number, name in enumerate(LARGE_CLOUD_SERVICES):
        end = (number + 1) * nodes_count // len(LARGE_CLOUD_SERVICES)
        service = Service(name, "serving", "0.11.2", LLAMA_70B_FP8_TP8, CHAT_WORKLOAD, max_sequences=7)
        served.append((_loaded(service, end - first_node, load_ratio), end - first_node, first_node))
        first_node = end
    return _placed(seed, nodes_count=nodes_count, served=served, scrape_step_s=scrape_step_s)


def _first_and_last(nodes_count: int, served: Sequence[tuple[Service, int]]) -> list[tuple[Service, int, int]]:
    """The services of a small cloud with their first nodes: the first and, if there is another one, the last."""
    return [(service, count, 0 if number == 0 else nodes_count - 1) for number, (service, count) in enumerate(served)]


def _loaded(service: Service, replicas_count: int, load_ratio: float) -> Service:
    """The service at a mean rate that is such a share of what its replicas can serve."""
    requests_per_s = load_ratio * replicas_count * service.replica_requests_per_s
    return replace(service, workload=service.workload.at(requests_per_s))


def _placed(
    seed: int,
    *,
    nodes_count: int,
    served: Sequence[tuple[Service, int, int]],
    scrape_step_s: float = 15.0,
    noise_ratio: float = 1.0,
) -> Cloud:
    """Services on nodes: so many replicas of each, from a node of its own on."""
    randomness = random.Random(f"cloud-{seed}")
    racks = tuple(
        (
            f"gpu-{1 + number // NODES_PER_RACK:02}-{1 + number % NODES_PER_RACK:02}",
            f"r{1 + number // NODES_PER_RACK:02}",
        )
        for number in range(nodes_count)
    )
    gpus = tuple(
        Gpu(position * GPUS_PER_NODE + index, node, index, f"GPU-{_uuid(randomness)}")
        for position, (node, _) in enumerate(racks)
        for index in range(GPUS_PER_NODE)
    )
    ports = tuple(
        Port(
            position * len(PORT_DEVICES) + number,
            node,
            device,
            "1",
            SwitchPort(_leaf_of(rack), 1 + (position % NODES_PER_RACK) * len(PORT_DEVICES) + number),
        )
        for position, (node, rack) in enumerate(racks)
        for number, device in enumerate(PORT_DEVICES)
    )
    replicas: list[Replica] = []
    for service, count, first_node in served:
        first_gpu = first_node * GPUS_PER_NODE
        size = service.model.tensor_parallel
        for position in range(count):
            group = gpus[first_gpu + position * size : first_gpu + (position + 1) * size]
            half = _half(position, size, count)
            port = ports[len(PORT_DEVICES) * (group[0].ordinal // GPUS_PER_NODE) + half]
            instance_id = str(_uuid(randomness))
            pod = f"{service.name}-{position}"
            replicas.append(Replica(len(replicas), pod, service, group[0].node, group, port, instance_id))
    upstream_seeds = random.Random(f"upstreams-{seed}")
    instances = tuple(
        Instance(f"retriever-{number}", CPU_NODES[number % len(CPU_NODES)], str(_uuid(upstream_seeds)))
        for number in range(3)
    )
    retriever = Upstream("retriever", "retrieval", "2.4.0", "/v1/search", 0.03, instances)
    services = tuple(service for service, _, _ in served)
    return Cloud(gpus, ports, services, tuple(replicas), TENANT_NAMES, racks, (retriever,), scrape_step_s, noise_ratio)


def _half(position: int, size: int, count: int) -> int:
    """Which of its node's two ports a replica uses: that of its half of the GPUs, or the halves of a small group."""
    if size >= GPUS_PER_NODE:
        return position % 2
    if size == 1 and count <= GPUS_PER_NODE // 2:
        return min(2 * position // max(count, 2), 1)
    return position * size % GPUS_PER_NODE // (GPUS_PER_NODE // 2)


def _leaf_of(rack: str) -> str:
    return f"leaf-{rack.removeprefix('r')}"


def _uuid(randomness: random.Random) -> uuid.UUID:
    return uuid.UUID(int=randomness.getrandbits(128), version=4)
