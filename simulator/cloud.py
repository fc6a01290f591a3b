"""The simulated cloud: nodes, GPUs, ports, services, replicas and tenants as frozen nouns."""

import random
import uuid
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from domain.topology import Node as TopologyNode
from domain.topology import Switch, SwitchPort, Topology, topology_to_document
from simulator.physics import LLAMA_8B_BF16_TP1, LLAMA_70B_FP8_TP4, ServedModel
from simulator.workload import ASSIST_WORKLOAD, CHAT_WORKLOAD, Workload

GPUS_PER_NODE = 8
DRIVER_VERSION = "580.95.05"
GPU_MODEL_NAME = "NVIDIA H100 80GB HBM3"
# Bus ids of the eight SXM sockets of an HGX H100 board, as dcgm-exporter prints them.
PCI_BUS_IDS = tuple(f"00000000:{bus:02X}:00.0" for bus in (0x18, 0x29, 0x3A, 0x4B, 0x5C, 0x6D, 0x7E, 0x8F))
NODE_RACKS = {"gpu-01-01": "r01", "gpu-01-02": "r01", "gpu-02-01": "r02", "gpu-02-02": "r02"}
RACK_LEAVES = {"r01": "leaf-01", "r02": "leaf-02"}
SPINES = ("spine-1", "spine-2")
PORT_DEVICES = ("mlx5_0", "mlx5_1")
FIRST_UPLINK = 33  # a 64-port leaf: 1-32 to nodes, 33-64 to spines

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


@dataclass(frozen=True)
class Cloud:
    """Everything that stands in the racks and runs on it. Ordinals are positions in the tuples."""

    gpus: tuple[Gpu, ...]
    ports: tuple[Port, ...]
    services: tuple[Service, ...]
    replicas: tuple[Replica, ...]
    tenants: tuple[str, ...]

    @property
    def nodes(self) -> tuple[str, ...]:
        """Node names, in order."""
        return tuple(NODE_RACKS)

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
            for node, rack in NODE_RACKS.items()
        }
        leaves = {
            leaf: Switch(
                leaf,
                "leaf",
                {FIRST_UPLINK + s: SwitchPort(spine, leaf_number) for s, spine in enumerate(SPINES)},
            )
            for leaf_number, leaf in enumerate(RACK_LEAVES.values(), start=1)
        }
        return Topology(nodes, leaves | {spine: Switch(spine, "spine") for spine in SPINES})

    def topology_document(self) -> dict[str, Any]:
        """The topology file (JSON- and YAML-ready)."""
        return topology_to_document(self.topology())


CHAT_REQUESTS_PER_S = 1.2
ASSIST_REQUESTS_PER_S = 1.5


def build_cloud(
    seed: int,
    *,
    chat_requests_per_s: float = CHAT_REQUESTS_PER_S,
    assist_requests_per_s: float = ASSIST_REQUESTS_PER_S,
) -> Cloud:
    """Four nodes of eight H100s: six replicas of a 70B on three of them, four of an 8B on the last.

    The same seed gives the same identities (GPU UUIDs, instance ids).
    """
    randomness = random.Random(f"cloud-{seed}")
    gpus = tuple(
        Gpu(position * GPUS_PER_NODE + index, node, index, f"GPU-{_uuid(randomness)}")
        for position, node in enumerate(NODE_RACKS)
        for index in range(GPUS_PER_NODE)
    )
    ports = tuple(
        Port(
            position * len(PORT_DEVICES) + number,
            node,
            device,
            "1",
            SwitchPort(RACK_LEAVES[rack], 1 + (position % 2) * len(PORT_DEVICES) + number),
        )
        for position, (node, rack) in enumerate(NODE_RACKS.items())
        for number, device in enumerate(PORT_DEVICES)
    )
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
    groups = [
        (chat, gpus[first : first + 4], ports[2 * (first // GPUS_PER_NODE) + first // 4 % 2])
        for first in range(0, 3 * GPUS_PER_NODE, 4)
    ]
    groups += [(assist, gpus[24 + n : 25 + n], ports[6 + n // 2]) for n in range(4)]
    replicas = tuple(
        Replica(
            ordinal=ordinal,
            pod=f"{service.name}-{ordinal if service is chat else ordinal - 6}",
            service=service,
            node=group[0].node,
            gpus=group,
            port=port,
            instance_id=str(_uuid(randomness)),
        )
        for ordinal, (service, group, port) in enumerate(groups)
    )
    return Cloud(gpus, ports, (chat, assist), replicas, TENANT_NAMES)


def _uuid(randomness: random.Random) -> uuid.UUID:
    return uuid.UUID(int=randomness.getrandbits(128), version=4)
