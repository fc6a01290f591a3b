"""Sites of three makes: who serves, on what, and how it is seen. Nothing here comes from Tailsight's own simulator."""

from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

Style = Literal["A", "B", "C"]
STYLES: tuple[Style, ...] = ("A", "B", "C")


@dataclass(frozen=True, slots=True)
class Machine:
    """A node with its GPUs (UUIDs) and fabric ports (`device/port`); `leaf` is the switch that they hang on."""

    name: str
    address: str
    gpus: tuple[str, ...]
    ports: tuple[str, ...]
    leaf: str


@dataclass(frozen=True, slots=True)
class Replica:
    """One engine pod on GPUs of one machine; `begins_s` and `ends_s` are seconds from the beginning of the site."""

    name: str
    node: str
    gpus: tuple[str, ...]
    version: str
    begins_s: float = 0.0
    ends_s: float = np.inf


@dataclass(frozen=True, slots=True)
class Make:
    """What the makes of site differ in, beside their parts."""

    scrape_s: int
    gpu_scrape_s: int
    slots: int
    """Requests that one engine runs at a time."""
    output_tokens_median: float
    routing: Literal["round_robin", "random", "least_of_two"]
    gpu_memory_mib: float
    clock_mhz: float
    power_limit_watts: float
    port_bytes_per_s: float
    roce: bool


MAKES: dict[Style, Make] = {
    "A": Make(15, 30, 4, 110, "least_of_two", 81559, 1980, 700, 50e9, roce=False),
    "B": Make(30, 30, 6, 110, "round_robin", 46068, 2520, 350, 25e9, roce=True),
    "C": Make(10, 10, 4, 160, "random", 81920, 1410, 400, 25e9, roce=False),
}


@dataclass(slots=True)
class Site:
    """One site: its parts and its habits."""

    style: Style
    seed: int
    make: Make
    service: str
    model: str
    namespace: str
    version: str
    machines: list[Machine]
    replicas: list[Replica]
    tenants: list[str]
    tenant_weights: "np.ndarray[Any, np.dtype[np.float64]]"
    load_ratio: float
    """Share of the slots that is busy on a usual day."""
    topology: dict[str, Any] | None
    callees: tuple[str, ...] = ()
    """Services that each request calls before the engine answers."""
    stages_told: bool = True
    names_exporter_pod: bool = False
    """Does the GPU exporter call itself by its pod's name instead of the node's?"""
    suffixes: list[str] = field(default_factory=list)

    def machine(self, name: str) -> Machine:
        """The machine of that name."""
        return next(machine for machine in self.machines if machine.name == name)

    def pod_name(self, random: np.random.Generator) -> str:
        """A fresh name of a pod of the engine."""
        letters = np.array(list("bcdfghjklmnpqrstvwxz2456789"))
        return f"{self.service}-{''.join(random.choice(letters, 5))}"


def make_site(style: Style, seed: int, random: np.random.Generator, *, busy: bool) -> Site:
    """A site of that make; `busy` ones run with little to spare, so that a lost replica is felt."""
    machines, topology = _machines(style, random)
    service = {"A": "chat", "B": "llm-api", "C": "llm-engine"}[style]
    tenants = [
        f"{style.lower()}-{name}" for name in ("acme", "globex", "initech", "umbrella", "hooli", "stark", "wayne")
    ]
    weights = random.dirichlet(np.full(len(tenants), 4.0))
    site = Site(
        style=style,
        seed=seed,
        make=MAKES[style],
        service=service,
        model={"A": "llama-3.3-70b", "B": "qwen2.5-14b", "C": "mistral-small-24b"}[style],
        namespace={"A": "inference", "B": "default", "C": "ml-prod"}[style],
        version={"A": "1.14.2", "B": "v3", "C": "2026.11.0"}[style],
        machines=machines,
        replicas=[],
        tenants=tenants,
        tenant_weights=weights,
        load_ratio=random.uniform(0.68, 0.74) if busy else random.uniform(0.42, 0.55),
        topology=topology,
        callees={"A": ("guardrail",), "B": ("rag-index",), "C": ("embedder", "vector-db")}[style],
        stages_told=style != "B" or seed % 2 == 0,
        names_exporter_pod=style == "B" and seed % 2 == 1,
    )
    for machine in machines[:-1]:  # the last one stands idle
        for first in range(0, len(machine.gpus), 2):
            site.replicas.append(
                Replica(site.pod_name(random), machine.name, machine.gpus[first : first + 2], site.version)
            )
    return site


def _machines(style: Style, random: np.random.Generator) -> tuple[list[Machine], dict[str, Any] | None]:
    count = {"A": int(random.integers(3, 6)), "B": int(random.integers(3, 5)), "C": int(random.integers(4, 6))}[style]
    gpus_a_node = 4 if style == "A" else 2
    machines = []
    for index in range(count):
        rack = index // 2 + 1
        name = {"A": f"gpu-{rack:02d}-{index % 2 + 1:02d}", "B": f"worker{index + 1}", "C": f"ip-10-8-{index}-17"}[
            style
        ]
        machines.append(
            Machine(
                name=name,
                address=f"10.{4 + 'ABC'.index(style)}.{index}.17",
                gpus=tuple(_uuid(random) for _ in range(gpus_a_node)),
                ports=("mlx5_0/1", "mlx5_1/1") if style == "A" else ("mlx5_0/1",),
                leaf=f"leaf-{rack:02d}" if style == "A" else "",
            )
        )
    return machines, _topology(machines) if style == "A" else None


def _topology(machines: list[Machine]) -> dict[str, Any]:
    leaves = sorted({machine.leaf for machine in machines})
    ports_used = dict.fromkeys(leaves, 0)
    nodes: dict[str, Any] = {}
    for machine in machines:
        ports: dict[str, Any] = {}
        for port in machine.ports:
            ports_used[machine.leaf] += 1
            ports[port] = {"switch": machine.leaf, "switch_port": ports_used[machine.leaf]}
        nodes[machine.name] = {"rack": machine.leaf.replace("leaf", "r"), "gpus": list(machine.gpus), "ports": ports}
    switches: dict[str, Any] = {"spine-01": {"tier": "spine", "uplinks": {}}}
    for index, leaf in enumerate(leaves):
        switches[leaf] = {"tier": "leaf", "uplinks": {33: {"switch": "spine-01", "switch_port": index + 1}}}
    return {"nodes": nodes, "switches": switches}


def _uuid(random: np.random.Generator) -> str:
    digits = bytes(random.integers(0, 256, 16, dtype=np.uint8)).hex()
    return f"GPU-{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"
