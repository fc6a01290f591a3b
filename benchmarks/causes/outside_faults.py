"""Faults, each with its physics: what it does to the requests, and what the site's exporters show of it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from benchmarks.causes.outside_requests import Floats, World
from benchmarks.causes.outside_site import Machine, Replica
from benchmarks.causes.outside_telemetry import Shown
from domain.cause import CauseKind
from domain.entity import Entity, EntityKind


@dataclass(frozen=True, slots=True)
class Truth:
    """What is at fault; `also` are other names of it that are fair too (a GPU for its pod, a port of a leaf)."""

    entity: Entity
    also: tuple[Entity, ...] = ()
    flavour: str = ""


@dataclass(slots=True)
class Scene:
    """Where a fault is played: `share` (0-1, a value a second) says how far it has come."""

    world: World
    shown: Shown
    begins_s: float
    ends_s: float
    share: Floats
    strength: float
    flavour: int
    names: dict[str, str] = field(default_factory=dict)

    @property
    def random(self) -> np.random.Generator:
        """The randomness of the whole incident."""
        return self.world.random

    def early(self, seconds: float) -> Floats:
        """The share, that much sooner: what a cause shows before it is felt."""
        return np.concatenate([self.share[int(seconds) :], np.zeros(int(seconds))])

    def step(self) -> Floats:
        """1 from the beginning to the end, without a ramp."""
        seconds = np.arange(self.world.seconds)
        return ((seconds >= self.begins_s) & (seconds < self.ends_s)).astype(float)

    def since(self) -> Floats:
        """1 from the beginning on, for what nobody resets."""
        return (np.arange(self.world.seconds) >= self.begins_s).astype(float)

    def any_replica(self) -> Replica:
        """A replica, by chance."""
        replicas = self.world.site.replicas
        return replicas[int(self.random.integers(len(replicas)))]

    def slow(self, replica: Replica, prefill: float, decode: float) -> None:
        """Make its stages longer by these ratios (1 is no change), more with more strength."""
        influence = self.world.influences[replica.name]
        influence.prefill_ratio *= 1 + (prefill - 1) * self.strength * self.share
        influence.decode_ratio *= 1 + (decode - 1) * self.strength * self.share

    def on(self, machine: Machine) -> list[Replica]:
        """The replicas of a machine."""
        return [replica for replica in self.world.site.replicas if replica.node == machine.name]


def _gpu(name: str) -> Entity:
    return Entity(EntityKind.GPU, name)


def _replica(replica: Replica) -> Entity:
    return Entity(EntityKind.REPLICA, replica.name)


def _node(name: str) -> Entity:
    return Entity(EntityKind.NODE, name)


def _service(name: str) -> Entity:
    return Entity(EntityKind.SERVICE, name)


def _memory_pressure(scene: Scene) -> Truth:
    """Sessions pile up on one engine: its KV cache is full, it preempts and computes again."""
    sick = scene.any_replica()
    influence = scene.world.influences[sick.name]
    influence.slots_ratio *= 1 - min(0.75, 0.45 * scene.strength) * scene.share
    scene.slow(sick, 1.25, 1.5)
    scene.shown.sign(sick.name, "kv_usage", "blend", 0.985, scene.early(20))
    scene.shown.sign(sick.name, "preemptions", "add", 0.5 * scene.strength, scene.early(8))
    scene.shown.sign(sick.name, "cache_hits", "scale", 0.5, scene.share)
    return Truth(_replica(sick), tuple(map(_gpu, sick.gpus)))


def _memory_contention(scene: Scene) -> Truth:
    """A batch job on one GPU takes the memory that the engine needs for activations: allocations fail."""
    sick = scene.any_replica()
    gpu = sick.gpus[0]
    influence = scene.world.influences[sick.name]
    scene.slow(sick, 2.0, 1.7)
    influence.error_ratio += 0.1 * scene.strength * scene.share
    scene.shown.sign(gpu, "FB_USED", "add", scene.world.site.make.gpu_memory_mib * 0.098, scene.early(45))
    scene.shown.sign(gpu, "DRAM_ACTIVE", "add", 0.12, scene.share)
    scene.shown.sign(gpu, "GPU_UTIL", "blend", 97, scene.share)
    if scene.flavour:
        scene.shown.sign(gpu, "XID_ERRORS", "blend", 31, scene.since())
    return Truth(_gpu(gpu))


def _compute_contention(scene: Scene) -> Truth:
    """Somebody's process runs kernels on one GPU: the engine gets its SMs half of the time."""
    sick = scene.any_replica()
    gpu = sick.gpus[int(scene.random.integers(2))]
    scene.slow(sick, 2.2, 2.0)
    for measure, value in (("GPU_UTIL", 100.0), ("GR_ENGINE_ACTIVE", 0.985), ("SM_ACTIVE", 0.93)):
        scene.shown.sign(gpu, measure, "blend", value, scene.early(5))
    scene.shown.sign(gpu, "PIPE_TENSOR_ACTIVE", "scale", 0.8, scene.share)
    scene.shown.sign(gpu, "FB_USED", "add", 1450, scene.early(5))
    scene.shown.sign(gpu, "POWER_USAGE", "scale", 1.12, scene.share)
    scene.shown.sign(gpu, "GPU_TEMP", "add", 5, scene.share)
    return Truth(_gpu(gpu))


def _throttled(scene: Scene) -> tuple[Truth, list[str]]:
    """One GPU, or all of a node: the replicas on them slow down, each as its slowest GPU."""
    sick = scene.any_replica()
    if scene.flavour == 0:
        scene.slow(sick, 1.9, 1.7)
        return Truth(_gpu(sick.gpus[0])), [sick.gpus[0]]
    machine = scene.world.site.machine(sick.node)
    for replica in scene.on(machine):
        scene.slow(replica, 1.9, 1.7)
    return Truth(_node(machine.name), tuple(map(_gpu, machine.gpus)), "node"), list(machine.gpus)


def _thermal(scene: Scene) -> Truth:
    """Cooling fails: temperature first, then the clock goes down and the power with it."""
    truth, gpus = _throttled(scene)
    clock_mhz = scene.world.site.make.clock_mhz
    for gpu in gpus:
        scene.shown.sign(gpu, "GPU_TEMP", "add", 24, scene.early(45))
        scene.shown.sign(gpu, "MEMORY_TEMP", "add", 22, scene.early(45))
        scene.shown.sign(gpu, "SM_CLOCK", "blend", clock_mhz * 0.55, scene.share)
        scene.shown.sign(gpu, "POWER_USAGE", "scale", 0.72, scene.share)
        scene.shown.sign(gpu, "CLOCKS_EVENT_REASONS", "blend", 0x60 if scene.flavour else 0x20, scene.step())
        scene.shown.sign(gpu, "THERMAL_VIOLATION", "add", 5.5e8, scene.share)
    return truth


def _power(scene: Scene) -> Truth:
    """A power brake or a lowered cap: clock and power go down together, the temperature too."""
    truth, gpus = _throttled(scene)
    make = scene.world.site.make
    for gpu in gpus:
        scene.shown.sign(gpu, "SM_CLOCK", "blend", make.clock_mhz * 0.58, scene.share)
        scene.shown.sign(gpu, "POWER_USAGE", "at_most", make.power_limit_watts * 0.42, scene.share)
        scene.shown.sign(gpu, "GPU_TEMP", "add", -5, scene.share)
        scene.shown.sign(gpu, "CLOCKS_EVENT_REASONS", "blend", 0x80 if scene.flavour else 0x4, scene.step())
        scene.shown.sign(gpu, "POWER_VIOLATION", "add", 6e8, scene.share)
        if not scene.flavour:
            scene.shown.sign(gpu, "POWER_MGMT_LIMIT", "scale", 0.43, scene.step())
    return truth


def _gpu_fault(scene: Scene) -> Truth:
    """Contained ECC errors that crash the engine again and again, or a GPU that falls off the bus."""
    sick = scene.any_replica()
    gpu = sick.gpus[0]
    influence = scene.world.influences[sick.name]
    if scene.flavour == 0:
        influence.error_ratio += np.minimum(0.9, 0.3 * scene.strength) * scene.share
        scene.slow(sick, 1.4, 1.2)
        scene.shown.sign(gpu, "ECC_SBE_VOL_TOTAL", "add", 0.4, scene.early(900))
        scene.shown.sign(gpu, "ECC_SBE_VOL_TOTAL", "add", 3.0, scene.share)
        scene.shown.sign(gpu, "ECC_DBE_VOL_TOTAL", "add", 0.02, scene.share)
        scene.shown.sign(gpu, "UNCORRECTABLE_REMAPPED_ROWS", "add", 0.01, scene.share)
        scene.shown.sign(gpu, "XID_ERRORS", "blend", 94, scene.since())
        return Truth(_gpu(gpu), (), "ecc")
    # Off the bus: its series end, the process dies; until the balancer knows, requests to it fail.
    scene.world.crashes[sick.name] = scene.begins_s
    seconds = np.arange(scene.world.seconds)
    influence.error_ratio += ((seconds >= scene.begins_s) & (seconds < scene.begins_s + 45)) * 1.0
    influence.weight *= seconds < scene.begins_s + 45
    scene.world.traffic.rate_ratio *= 1 + 0.06 * (scene.strength - 1) * scene.share
    scene.shown.gone[gpu] = (scene.begins_s, np.inf)
    return Truth(_gpu(gpu), (), "off the bus")


def _pcie(scene: Scene) -> Truth:
    """The link trains down: all that goes between host and GPU takes longer."""
    sick = scene.any_replica()
    gpu = sick.gpus[0]
    scene.slow(sick, 3.2, 1.35)
    scene.shown.sign(gpu, "PCIE_LINK_GEN", "blend", 1, scene.step())
    if scene.flavour:
        scene.shown.sign(gpu, "PCIE_LINK_WIDTH", "blend", 4, scene.step())
    scene.shown.sign(gpu, "PCIE_REPLAY_COUNTER", "add", 4, scene.early(60))
    scene.shown.sign(gpu, "PCIE_RX_BYTES", "scale", 0.35, scene.share)
    scene.shown.sign(gpu, "PCIE_TX_BYTES", "scale", 0.4, scene.share)
    scene.shown.sign(gpu, "PIPE_TENSOR_ACTIVE", "scale", 0.8, scene.share)
    return Truth(_gpu(gpu))


def _nvlink(scene: Scene) -> Truth:
    """One lane between the two GPUs of a replica errs: all-reduce waits for replays on both."""
    sick = scene.any_replica()
    first, second = sick.gpus
    scene.slow(sick, 2.0, 2.1)
    scene.shown.sign(first, "NVLINK_CRC_FLIT_ERROR_COUNT_TOTAL", "add", 250, scene.early(60))
    scene.shown.sign(first, "NVLINK_REPLAY_ERROR_COUNT_TOTAL", "add", 40, scene.early(30))
    scene.shown.sign(first, "NVLINK_RECOVERY_ERROR_COUNT_TOTAL", "add", 0.1, scene.share)
    scene.shown.sign(first, "XID_ERRORS", "blend", 74, scene.since())
    for gpu in (first, second):
        for measure in ("NVLINK_TX_BYTES", "NVLINK_RX_BYTES", "NVLINK_BANDWIDTH_TOTAL"):
            scene.shown.sign(gpu, measure, "scale", 0.55, scene.share)
        scene.shown.sign(gpu, "PIPE_TENSOR_ACTIVE", "scale", 0.85, scene.share)
        scene.shown.sign(gpu, "GPU_UTIL", "blend", 99, scene.share)
    return Truth(_gpu(first), (_gpu(second),))


def _port(scene: Scene) -> tuple[Machine, str, Truth]:
    """The first fabric port of a serving machine, with the other names of the same cable."""
    machine = scene.world.site.machine(scene.any_replica().node)
    name = f"{machine.name}/{machine.ports[0]}"
    also = [
        Entity(EntityKind.PORT, f"{machine.name}/ens1f0np0"),
        Entity(EntityKind.PORT, f"{machine.name}/ens1f0np0/1"),
    ]
    if scene.world.site.topology:
        peer = scene.world.site.topology["nodes"][machine.name]["ports"][machine.ports[0]]
        far = f"{peer['switch']}/{peer['switch_port']}"
        also += [Entity(EntityKind.PORT, far)]
        also += [
            Entity(EntityKind.LINK, f"{a}{by}{b}")
            for a, b in ((name, far), (far, name))
            for by in (" - ", "-", "--", " <-> ", "<->", ",", " ", "|", " -- ")
        ]
    return machine, name, Truth(Entity(EntityKind.PORT, name), tuple(also))


def _saturation(scene: Scene) -> Truth:
    """A neighbour copies checkpoints over the node's port: KV transfers of the engines there share what is left."""
    machine, port, truth = _port(scene)
    for replica in scene.on(machine):
        scene.slow(replica, 3.5, 1.1)
    full = scene.world.site.make.port_bytes_per_s
    scene.shown.sign(port, "received" if scene.flavour else "sent", "blend", full * 0.975, scene.early(6))
    scene.shown.sign(port, "sent" if scene.flavour else "received", "add", full * 0.02, scene.early(6))
    scene.shown.sign(port, "wait", "add", 4e5, scene.share)
    scene.shown.sign(port, "marked", "add", 40, scene.share)
    return truth


def _congestion(scene: Scene) -> Truth:
    """Credits or pauses hold the senders back though the links are not full: a leaf (A) or an incast on one port."""
    machine, port, truth = _port(scene)
    site = scene.world.site
    if site.style == "A":
        hit = [other for other in site.machines if other.leaf == machine.leaf]
        ports = [f"{other.name}/{name}" for other in hit for name in other.ports]
        truth = Truth(
            Entity(EntityKind.SWITCH, machine.leaf), tuple(Entity(EntityKind.PORT, name) for name in ports), "leaf"
        )
    else:
        hit, ports = [machine], [port]
    for other in hit:
        for replica in scene.on(other):
            scene.slow(replica, 4.0, 1.15)
    for name in ports:
        # Port ticks are bytes / 8: a third of the time with data and no credit.
        scene.shown.sign(name, "wait", "add", site.make.port_bytes_per_s / 8 * 0.33, scene.early(6))
        scene.shown.sign(name, "sent", "scale", 0.75, scene.share)
        scene.shown.sign(name, "discards", "add", 2, scene.share)
        for measure, value in (("held", 900.0), ("marked", 2500.0), ("sent_cnp", 1800.0), ("handled_cnp", 2100.0)):
            scene.shown.sign(name, measure, "add", value, scene.early(4))
    return truth


def _link_fault(scene: Scene) -> Truth:
    """A bad cable: symbol errors for minutes, then recoveries, flaps and transfers that are sent again."""
    machine, port, truth = _port(scene)
    for replica in scene.on(machine):
        scene.slow(replica, 1.6, 1.05)
        scene.world.influences[replica.name].stall_ratio += min(0.5, 0.15 * scene.strength) * scene.share
    scene.shown.sign(port, "symbols", "add", 2, scene.early(240))
    scene.shown.sign(port, "symbols", "add", 60, scene.share)
    scene.shown.sign(port, "symbol_errors_phy", "add", 60, scene.early(60))
    scene.shown.sign(port, "receive_errors", "add", 12, scene.share)
    scene.shown.sign(port, "recovered", "add", 0.06, scene.share)
    scene.shown.sign(port, "downed", "add", 0.012, scene.share)
    scene.shown.sign(port, "carrier_changes", "add", 0.02, scene.share)
    for measure, value in (
        ("crc_errors", 25.0), ("out_of_sequence", 30.0), ("sequence_errors", 30.0), ("ack_timeouts", 2.0),
        ("adaptive_retransmits", 15.0),
    ):  # fmt: skip
        scene.shown.sign(port, measure, "add", value, scene.share)
    if scene.flavour:
        scene.shown.sign(port, "speed", "scale", 0.5, scene.step())
    return truth


def _straggler(scene: Scene) -> Truth:
    """One replica is slow and nothing tells why, or the router sends it most of the traffic."""
    sick = scene.any_replica()
    if scene.flavour:
        scene.world.influences[sick.name].weight *= 1 + 1.6 * scene.strength * scene.share
    else:
        scene.slow(sick, 2.1, 2.1)
    return Truth(_replica(sick), tuple(map(_gpu, sick.gpus)), "unfair share" if scene.flavour else "slow")


def _surge(scene: Scene) -> Truth:
    """Everybody asks more."""
    scene.world.traffic.rate_ratio *= 1 + 0.95 * scene.strength * scene.share
    site = scene.world.site
    return Truth(_service(site.service), (_service("gateway"),) if site.style == "C" else ())


def _mix(scene: Scene) -> Truth:
    """One tenant sends documents instead of questions, or all of the service's answers grow."""
    site, traffic = scene.world.site, scene.world.traffic
    if scene.flavour == 0:
        tenant = site.tenants[int(np.argmax(site.tenant_weights))]
        traffic.prompt_ratio[tenant] = 1 + 8 * scene.strength * scene.share
        traffic.output_ratio[tenant] = 1 + 0.5 * scene.strength * scene.share
        return Truth(Entity(EntityKind.TENANT, tenant), (), "tenant")
    for tenant in site.tenants:
        traffic.prompt_ratio[tenant] = 1 + 2.0 * scene.strength * scene.share
        traffic.output_ratio[tenant] = 1 + 0.9 * scene.strength * scene.share
    return Truth(_service(site.service), (_service("gateway"),) if site.style == "C" else (), "all")


def _cold_start(scene: Scene) -> Truth:
    """A new pod loads its model, then gets its full share with an empty cache and kernels to compile."""
    site = scene.world.site
    idle = site.machines[-1]
    fresh = Replica(site.pod_name(scene.random), idle.name, idle.gpus[:2], site.version, scene.begins_s)
    scene.world.add(fresh)
    scene.world.traffic.rate_ratio *= 1 + 0.2 * scene.early(180)  # why it was scaled up
    influence = scene.world.influences[fresh.name]
    seconds = np.arange(scene.world.seconds)
    warms_s = (scene.ends_s - scene.begins_s) / 1.5
    cold = scene.step() * np.exp(-np.maximum(0, seconds - scene.begins_s) / warms_s)
    influence.prefill_ratio *= 1 + 14 * scene.strength * cold
    influence.decode_ratio *= 1 + 0.9 * scene.strength * cold
    loading = ((seconds >= scene.begins_s - 100) & (seconds < scene.begins_s)).astype(float)
    for gpu in fresh.gpus:
        climb = np.clip((seconds - scene.begins_s + 100) / 90, 0, 1) * loading
        scene.shown.sign(gpu, "FB_USED", "add", site.make.gpu_memory_mib * 0.87, climb)
        scene.shown.sign(gpu, "PCIE_RX_BYTES", "add", 4e9, loading)
    scene.shown.sign(idle.name, "disk_read_bytes", "add", 1.8e9, loading)
    scene.shown.sign(idle.name, "disk_io_time_seconds", "add", 0.85, loading)
    scene.shown.sign(fresh.name, "cache_hits", "scale", 0.15, scene.share)
    return Truth(_replica(fresh), (), "scale-up")


def _capacity_loss(scene: Scene) -> Truth:
    """Replicas go in good order (a drain, an eviction) and do not come back until the end; the rest queue."""
    site = scene.world.site
    count = max(1, round(len(site.replicas) * min(0.6, 0.3 * scene.strength)))
    going = [site.replicas[int(i)] for i in scene.random.choice(len(site.replicas), count, replace=False)]
    for replica in going:
        _end(scene, replica, scene.begins_s + float(scene.random.uniform(0, 15)))
        back = Replica(site.pod_name(scene.random), replica.node, replica.gpus, replica.version, scene.ends_s)
        scene.world.add(back)
    if scene.flavour:
        for machine in site.machines:  # with its node, when nobody is left there
            if scene.on(machine) and all(r.ends_s < np.inf or r.begins_s > 0 for r in scene.on(machine)):
                scene.shown.gone[machine.name] = (scene.begins_s + 20, scene.ends_s - 30)
    return Truth(_service(site.service), (), f"{count} of {len(going) + len(site.replicas) - 2 * count}")


def _bad_release(scene: Scene) -> Truth:
    """Some pods are replaced by pods of a new version, on the same GPUs; it is slow, or it fails."""
    site = scene.world.site
    version = {"A": "1.15.0", "B": "v4", "C": "2026.11.1-rc2"}[site.style]
    count = max(1, len(site.replicas) // 3)
    for replica in list(site.replicas)[:count]:
        _end(scene, replica, scene.begins_s)
        fresh = Replica(site.pod_name(scene.random), replica.node, replica.gpus, version, scene.begins_s, scene.ends_s)
        back = Replica(site.pod_name(scene.random), replica.node, replica.gpus, replica.version, scene.ends_s)
        scene.world.add(fresh)
        scene.world.add(back)
        influence = scene.world.influences[fresh.name]
        if scene.flavour:
            influence.error_ratio += min(0.8, 0.14 * scene.strength) * scene.step()
        else:
            influence.prefill_ratio *= 1 + 1.1 * scene.strength * scene.step()
            influence.decode_ratio *= 1 + 1.0 * scene.strength * scene.step()
    return Truth(Entity(EntityKind.VERSION, version), (), "fails" if scene.flavour else "slow")


def _end(scene: Scene, replica: Replica, at_s: float) -> None:
    replicas = scene.world.site.replicas
    replicas[replicas.index(replica)] = replace(replica, ends_s=at_s)


def _host(scene: Scene) -> Truth:
    """Something else takes the node's processors, or its memory and disk: requests wait before the engine sees them."""
    machine = scene.world.site.machine(scene.any_replica().node)
    for replica in scene.on(machine):
        influence = scene.world.influences[replica.name]
        influence.tokenise_s += 0.9 * scene.strength * scene.share
        influence.decode_ratio *= 1 + 0.2 * scene.strength * scene.share
        for gpu in replica.gpus:
            scene.shown.sign(gpu, "GPU_UTIL", "scale", 0.75, scene.share)
    name = machine.name
    if scene.flavour == 0:
        scene.shown.sign(name, "cpu", "blend", 0.95, scene.early(8))
        scene.shown.sign(name, "runnable", "blend", 130, scene.early(8))
        scene.shown.sign(name, "pressure_cpu", "add", 0.65, scene.early(5))
        return Truth(_node(name), (), "cpu")
    scene.shown.sign(name, "iowait", "add", 0.45, scene.early(8))
    scene.shown.sign(name, "runnable", "add", 45, scene.early(8))
    scene.shown.sign(name, "pressure_io", "add", 0.6, scene.early(5))
    scene.shown.sign(name, "pressure_memory", "add", 0.35, scene.early(5))
    scene.shown.sign(name, "memory_free", "blend", 1.2e10, scene.early(60))
    scene.shown.sign(name, "disk_io_time_seconds", "add", 0.95, scene.early(8))
    scene.shown.sign(name, "disk_read_bytes", "add", 2.2e9, scene.early(8))
    return Truth(_node(name), (), "memory and disk")


def _upstream(scene: Scene) -> Truth:
    """A called service takes many times as long, and now and then fails."""
    site = scene.world.site
    name = site.callees[int(scene.random.integers(len(site.callees)))]
    scene.world.traffic.callee_ratio[name] = 1 + 70 * scene.strength * scene.share
    if scene.flavour:
        scene.world.traffic.callee_error_ratio[name] = 0.05 * scene.share
    return Truth(_service(name))


def _unknown(scene: Scene) -> Truth:
    """Requests hang for seconds, anywhere, and nothing that is measured moves."""
    scene.world.traffic.hang_s = 2.5 * scene.strength * scene.share
    scene.world.traffic.hang_ratio = 0.2
    return Truth(_service(scene.world.site.service), (_service("gateway"),) if scene.world.site.style == "C" else ())


FAULTS: Mapping[str, Callable[[Scene], Truth]] = {
    CauseKind.GPU_MEMORY_PRESSURE: _memory_pressure,
    CauseKind.GPU_MEMORY_CONTENTION: _memory_contention,
    CauseKind.GPU_COMPUTE_CONTENTION: _compute_contention,
    CauseKind.GPU_THERMAL_THROTTLE: _thermal,
    CauseKind.GPU_POWER_THROTTLE: _power,
    CauseKind.GPU_FAULT: _gpu_fault,
    CauseKind.PCIE_DEGRADED: _pcie,
    CauseKind.NVLINK_FAULT: _nvlink,
    CauseKind.NETWORK_SATURATION: _saturation,
    CauseKind.NETWORK_CONGESTION: _congestion,
    CauseKind.NETWORK_LINK_FAULT: _link_fault,
    CauseKind.STRAGGLER: _straggler,
    CauseKind.TRAFFIC_SURGE: _surge,
    CauseKind.PROMPT_MIX_SHIFT: _mix,
    CauseKind.COLD_START: _cold_start,
    CauseKind.CAPACITY_LOSS: _capacity_loss,
    CauseKind.BAD_RELEASE: _bad_release,
    CauseKind.HOST_CONTENTION: _host,
    CauseKind.UPSTREAM_DEPENDENCY: _upstream,
    CauseKind.UNKNOWN: _unknown,
}
"""What each kind does; each returns what is at fault."""
