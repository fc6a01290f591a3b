"""What each fault shows in sensors beside what follows from the requests: one table of signs.

A queue, a busy GPU or a full cache need no sign: they follow from what the engine did. A temperature, an error
counter or a neighbour's traffic do.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from domain.cause import CauseKind
from domain.entity import EntityKind
from simulator.cloud import Cloud
from simulator.faults import GPU_FAULT_VARIANTS, HEATED_SHARE, RECOVERY_S, Fault, Harmless, hit_replicas
from simulator.physics import FRAMEBUFFER_MIB, FRAMEBUFFER_RESERVED_MIB, PORT_BYTES_PER_SECOND

Floats = NDArray[np.float64]

SM_CLOCK_BUSY_MHZ = 1980.0  # H100 SXM boost clock, which a process that holds the GPU keeps
POWER_LIMIT_WATTS = 700.0  # H100 SXM
FRAMEBUFFER_LEFT_MIB = 60.0  # what a background job leaves free before it runs into allocation failures
CUDA_CONTEXT_MIB = 420.0  # a process that computes and keeps almost nothing
WAIT_TICKS_PER_S = 6.25e9  # PortXmitWait at 400 Gb/s: one tick per 8 bytes that could have gone
HOST_MEMORY_BYTES = 2.0e12
THROTTLED_NS_PER_S = 0.92e9  # of each second, while the clock is held down
SHOWN_LEVEL = 0.05  # of a fault, from which on what is either so or not so is so
SUBSTEPS = 8  # how finely a level is averaged over the time between two scrapes

# Bits of DCGM_FI_DEV_CLOCKS_EVENT_REASONS.
GPU_IDLE, SOFTWARE_POWER_CAP, HARDWARE_SLOWDOWN = 0x1, 0x4, 0x8
SOFTWARE_THERMAL, HARDWARE_THERMAL, POWER_BRAKE = 0x20, 0x40, 0x80

XID_MESSAGES: Mapping[int, str] = {
    0: "No Error",
    13: "Graphics Engine Exception",
    48: "Double Bit ECC Error",
    63: "ECC page retirement or row remapping recording event",
    74: "NVLINK Error",
    79: "GPU has fallen off the bus",
    92: "High single-bit ECC error rate",
    94: "Contained ECC error",
    95: "Uncontained ECC error",
    119: "GSP RPC timeout",
}


class Place(StrEnum):
    """Whose sensors show it."""

    GPU = "gpu"  # the GPUs that the entity is or carries
    GROUP = "group"  # all GPUs of all replicas that are hit
    PORT = "port"  # NIC ports: the entity, or all below a switch that it is
    FABRIC = "fabric"  # ports of the leaf: the entity, or all of a switch that it is
    HOST = "host"  # the nodes that it is, or of the replicas that are hit


class Act(StrEnum):
    """How a reading moves while a fault is developed."""

    AT_LEAST = "at_least"
    AT_MOST = "at_most"
    TOWARDS = "towards"
    ADD = "add"
    SCALE = "scale"
    GROW = "grow"  # a counter, by so much a second
    ONCE = "once"  # a counter, by so much when it begins
    BITS = "bits"
    SHOW = "show"  # exactly that, at each moment that it lasts
    KEEP = "keep"  # exactly that, from its beginning on


Amount = Callable[[Fault], float]


@dataclass(frozen=True, slots=True)
class Sign:
    """A reading (a field of the readings of its place), how it moves and how far, and after which share of the ramp."""

    place: Place
    reading: str
    act: Act
    amount: float | Amount
    after: float = 0.0

    def size(self, fault: Fault) -> float:
        """How far it moves for that fault."""
        return self.amount(fault) if callable(self.amount) else self.amount


def _xid(fault: Fault) -> float:
    return float(GPU_FAULT_VARIANTS[fault.variant])


def _clock(fault: Fault) -> float:
    return SM_CLOCK_BUSY_MHZ / fault.strength


def _limit(fault: Fault) -> float:
    """The power limit that brings the clock down that far: power goes with more than the clock (voltage too)."""
    return float(5 * round(max(POWER_LIMIT_WATTS / fault.strength**0.8, 150.0) / 5))


def _power_share(fault: Fault) -> float:
    return float(fault.strength**-0.6)


def _link_generation(fault: Fault) -> float:
    return float(fault.variant.removeprefix("gen").partition("_")[0])


def _link_width(fault: Fault) -> float:
    return float(fault.variant.partition("_x")[2])


def _flaps_per_s(fault: Fault) -> float:
    return 2.0 / fault.pulse_s  # it only grows in the half in which it is down


def _lanes_left(fault: Fault) -> float:
    return fault.strength * PORT_BYTES_PER_SECOND


_XID = Sign(Place.GPU, "xid", Act.KEEP, _xid)
_SLOW_CLOCK = Sign(Place.GPU, "sm_clock_mhz", Act.AT_MOST, _clock)
_POWER_VIOLATION = Sign(Place.GPU, "power_violation_ns_total", Act.GROW, THROTTLED_NS_PER_S)
_LIMITED = (
    Sign(Place.GPU, "enforced_power_limit_watts", Act.SHOW, _limit),
    Sign(Place.GPU, "power_watts", Act.SCALE, _power_share),
    Sign(Place.GPU, "power_watts", Act.AT_MOST, _limit),
    _SLOW_CLOCK,
    Sign(Place.GPU, "clock_event_reasons", Act.BITS, SOFTWARE_POWER_CAP),
    _POWER_VIOLATION,
)
_BRAKED = (
    Sign(Place.GPU, "power_watts", Act.SCALE, _power_share),
    _SLOW_CLOCK,
    Sign(Place.GPU, "clock_event_reasons", Act.BITS, POWER_BRAKE | HARDWARE_SLOWDOWN),
    _POWER_VIOLATION,
)
_UNCORRECTED = (
    _XID,
    Sign(Place.GPU, "ecc_double_bit_total", Act.ONCE, 1.0),
    Sign(Place.GPU, "uncorrectable_remapped_rows_total", Act.ONCE, 1.0),
)
_CORRECTED = (
    _XID,
    Sign(Place.GPU, "ecc_single_bit_total", Act.GROW, 6.0),
    Sign(Place.GPU, "correctable_remapped_rows_total", Act.ONCE, 1.0),
)
_NVLINK = (
    Sign(Place.GPU, "nvlink_crc_flit_errors_total", Act.GROW, 25.0),
    Sign(Place.GPU, "nvlink_replay_errors_total", Act.GROW, 8.0),
    Sign(Place.GPU, "nvlink_recovery_errors_total", Act.GROW, 0.06),
    # Links that recover carry nothing, and are not counted then.
    Sign(Place.GROUP, "nvlink_sent_bytes_per_s", Act.SCALE, 0.6),
    Sign(Place.GROUP, "nvlink_received_bytes_per_s", Act.SCALE, 0.6),
)


def _full(place: Place) -> tuple[Sign, ...]:
    """A neighbour's traffic fills the port in both directions."""
    return (
        Sign(place, "sent_bytes_total", Act.GROW, 0.97 * PORT_BYTES_PER_SECOND),
        Sign(place, "received_bytes_total", Act.GROW, 0.97 * PORT_BYTES_PER_SECOND),
        Sign(place, "transmit_wait_total", Act.GROW, 0.35 * WAIT_TICKS_PER_S),
    )


def _without_credit(place: Place) -> tuple[Sign, ...]:
    """There is something to send, and the next hop gives no credit for it."""
    return (
        Sign(place, "transmit_wait_total", Act.GROW, 0.55 * WAIT_TICKS_PER_S),
        Sign(place, "discards_total", Act.GROW, 0.4),
        Sign(place, "sent_bytes_total", Act.SCALE, 0.8),
    )


_BROKEN_LINK = (
    Sign(Place.PORT, "symbol_errors_total", Act.GROW, 40.0),
    Sign(Place.PORT, "link_recoveries_total", Act.GROW, 0.2),
    Sign(Place.PORT, "link_downs_total", Act.GROW, 1 / 90),
    Sign(Place.PORT, "receive_errors_total", Act.GROW, 12.0),
    # What is left once retransmissions have taken the rest.
    Sign(Place.PORT, "sent_bytes_total", Act.SCALE, 0.15),
    Sign(Place.PORT, "received_bytes_total", Act.SCALE, 0.15),
)
_NARROW_LINK = (
    Sign(Place.PORT, "rate_bytes_per_s", Act.SHOW, _lanes_left),
    Sign(Place.PORT, "symbol_errors_total", Act.GROW, 0.3),
    Sign(Place.PORT, "link_downs_total", Act.ONCE, 1.0),  # it came back narrower
)
_FLAPPING_LINK = (
    Sign(Place.PORT, "state", Act.SHOW, 1.0),
    Sign(Place.PORT, "physical_state", Act.SHOW, 2.0),
    Sign(Place.PORT, "link_downs_total", Act.GROW, _flaps_per_s),
    Sign(Place.PORT, "link_recoveries_total", Act.GROW, _flaps_per_s),
    Sign(Place.PORT, "symbol_errors_total", Act.GROW, 4.0),
    Sign(Place.PORT, "sent_bytes_total", Act.SCALE, 0.02),
    Sign(Place.PORT, "received_bytes_total", Act.SCALE, 0.02),
)
# The engine's loop is given less CPU, so the GPU waits between steps (which are themselves as fast as ever).
_STARVED = (
    Sign(Place.GROUP, "busy_ratio", Act.SCALE, 0.75),
    Sign(Place.GROUP, "sm_active_ratio", Act.SCALE, 0.75),
)

SIGNS: Mapping[tuple[CauseKind | Harmless, str], tuple[Sign, ...]] = {
    (CauseKind.GPU_MEMORY_CONTENTION, ""): (
        Sign(
            Place.GPU,
            "framebuffer_used_mib",
            Act.AT_LEAST,
            FRAMEBUFFER_MIB - FRAMEBUFFER_RESERVED_MIB - FRAMEBUFFER_LEFT_MIB,
        ),
        Sign(Place.GPU, "dram_active_ratio", Act.AT_LEAST, 0.93),
        Sign(Place.GPU, "busy_ratio", Act.AT_LEAST, 1.0),
        Sign(Place.GPU, "sm_active_ratio", Act.AT_LEAST, 0.6),
        Sign(Place.GPU, "power_watts", Act.AT_LEAST, 480.0),
    ),
    (CauseKind.GPU_COMPUTE_CONTENTION, ""): (
        Sign(Place.GPU, "framebuffer_used_mib", Act.ADD, CUDA_CONTEXT_MIB),
        Sign(Place.GPU, "busy_ratio", Act.AT_LEAST, 1.0),
        Sign(Place.GPU, "sm_active_ratio", Act.AT_LEAST, 0.94),
        Sign(Place.GPU, "power_watts", Act.AT_LEAST, 560.0),
    ),
    (CauseKind.GPU_THERMAL_THROTTLE, ""): (
        Sign(Place.GPU, "temperature_celsius", Act.TOWARDS, 90.0),
        Sign(Place.GPU, "sm_clock_mhz", Act.AT_MOST, _clock, after=HEATED_SHARE),
        Sign(Place.GPU, "power_watts", Act.SCALE, _power_share, after=HEATED_SHARE),
        Sign(
            Place.GPU,
            "clock_event_reasons",
            Act.BITS,
            HARDWARE_SLOWDOWN | SOFTWARE_THERMAL | HARDWARE_THERMAL,
            after=HEATED_SHARE,
        ),
        Sign(Place.GPU, "thermal_violation_ns_total", Act.GROW, THROTTLED_NS_PER_S, after=HEATED_SHARE),
    ),
    (CauseKind.GPU_POWER_THROTTLE, "gpu_limit"): _LIMITED,
    (CauseKind.GPU_POWER_THROTTLE, "node_limit"): _LIMITED,
    (CauseKind.GPU_POWER_THROTTLE, "gpu_brake"): _BRAKED,
    (CauseKind.GPU_POWER_THROTTLE, "node_brake"): _BRAKED,
    (CauseKind.GPU_FAULT, "off_bus"): (_XID,),
    (CauseKind.GPU_FAULT, "contained_ecc"): _UNCORRECTED,
    (CauseKind.GPU_FAULT, "uncontained_ecc"): _UNCORRECTED,
    (CauseKind.GPU_FAULT, "double_bit"): _UNCORRECTED,
    (CauseKind.GPU_FAULT, "row_remap"): _CORRECTED,
    (CauseKind.GPU_FAULT, "high_sbe_rate"): _CORRECTED,
    (CauseKind.GPU_FAULT, "gsp_timeout"): (_XID,),
    (CauseKind.PCIE_DEGRADED, ""): (
        Sign(Place.GPU, "pcie_link_generation", Act.SHOW, _link_generation),
        Sign(Place.GPU, "pcie_link_width", Act.SHOW, _link_width),
        Sign(Place.GPU, "pcie_replays_total", Act.GROW, 4.0),
    ),
    (CauseKind.NVLINK_FAULT, "errors"): _NVLINK,
    (CauseKind.NVLINK_FAULT, "xid"): (*_NVLINK, Sign(Place.GPU, "xid", Act.KEEP, 74.0)),
    (CauseKind.NETWORK_SATURATION, "port"): _full(Place.PORT),
    (CauseKind.NETWORK_SATURATION, "uplink"): _full(Place.FABRIC),
    (CauseKind.NETWORK_CONGESTION, "port"): _without_credit(Place.PORT),
    (CauseKind.NETWORK_CONGESTION, "switch"): (*_without_credit(Place.PORT), *_without_credit(Place.FABRIC)),
    (CauseKind.NETWORK_LINK_FAULT, "errors"): _BROKEN_LINK,
    (CauseKind.NETWORK_LINK_FAULT, "rate_drop"): _NARROW_LINK,
    (CauseKind.NETWORK_LINK_FAULT, "flap"): _FLAPPING_LINK,
    (CauseKind.HOST_CONTENTION, "cpu"): (
        Sign(Place.HOST, "user_ratio", Act.AT_LEAST, 0.95),
        Sign(Place.HOST, "running_processes", Act.ADD, 260.0),
        Sign(Place.HOST, "cpu_waiting_s_total", Act.GROW, 0.8),
        *_STARVED,
    ),
    (CauseKind.HOST_CONTENTION, "disk"): (
        Sign(Place.HOST, "iowait_ratio", Act.AT_LEAST, 0.45),
        Sign(Place.HOST, "running_processes", Act.ADD, 90.0),
        Sign(Place.HOST, "io_waiting_s_total", Act.GROW, 0.75),
        Sign(Place.HOST, "disk_io_s_total", Act.GROW, 0.95),
        *_STARVED,
    ),
    (CauseKind.HOST_CONTENTION, "memory"): (
        Sign(Place.HOST, "available_bytes", Act.TOWARDS, 0.006 * HOST_MEMORY_BYTES),
        Sign(Place.HOST, "system_ratio", Act.AT_LEAST, 0.4),
        Sign(Place.HOST, "running_processes", Act.ADD, 60.0),
        Sign(Place.HOST, "io_waiting_s_total", Act.GROW, 0.5),
        Sign(Place.HOST, "cpu_waiting_s_total", Act.GROW, 0.3),
        Sign(Place.HOST, "disk_io_s_total", Act.GROW, 0.6),
        *_STARVED,
    ),
    (Harmless.NIGHTLY_BATCH, "gpu"): (
        Sign(Place.GPU, "framebuffer_used_mib", Act.AT_LEAST, 61_000.0),
        Sign(Place.GPU, "busy_ratio", Act.AT_LEAST, 0.99),
        Sign(Place.GPU, "sm_active_ratio", Act.AT_LEAST, 0.9),
        Sign(Place.GPU, "tensor_active_ratio", Act.AT_LEAST, 0.5),
        Sign(Place.GPU, "dram_active_ratio", Act.AT_LEAST, 0.5),
        Sign(Place.GPU, "power_watts", Act.AT_LEAST, 640.0),
        Sign(Place.GPU, "sm_clock_mhz", Act.AT_LEAST, SM_CLOCK_BUSY_MHZ),
    ),
    (Harmless.NIGHTLY_BATCH, "port"): (
        Sign(Place.PORT, "sent_bytes_total", Act.GROW, 0.5 * PORT_BYTES_PER_SECOND),
        Sign(Place.PORT, "received_bytes_total", Act.GROW, 0.4 * PORT_BYTES_PER_SECOND),
    ),
    (Harmless.ALARM_ELSEWHERE, "symbol_errors"): (
        Sign(Place.PORT, "symbol_errors_total", Act.GROW, 3.0),
        Sign(Place.PORT, "receive_errors_total", Act.GROW, 0.5),
    ),
    (Harmless.ALARM_ELSEWHERE, "xid_13"): (Sign(Place.GPU, "xid", Act.KEEP, 13.0),),
    (Harmless.ALARM_ELSEWHERE, "hot_gpu"): (Sign(Place.GPU, "temperature_celsius", Act.TOWARDS, 83.0),),
}
"""Kind and variant (else "" for all of a kind) → its signs. A kind that is not here shows only in what requests do."""


def signs_of(fault: Fault) -> tuple[Sign, ...]:
    """What sensors show of a fault."""
    return SIGNS.get((fault.kind, fault.variant), SIGNS.get((fault.kind, ""), ()))


def ordinals_of(cloud: Cloud, fault: Fault, place: Place) -> list[int]:
    """Which GPUs, ports, fabric ports or nodes (by ordinal) a sign at that place shows on."""
    name, kind = fault.entity.name, fault.entity.kind
    hit = hit_replicas(cloud, fault)
    match place:
        case Place.GPU:
            return [gpu.ordinal for gpu in cloud.gpus if name in (gpu.uuid, gpu.node)]
        case Place.GROUP:
            return sorted(gpu.ordinal for replica in hit for gpu in replica.gpus)
        case Place.PORT:
            return [port.ordinal for port in cloud.ports if name in (port.name, port.peer.switch)]
        case Place.FABRIC:
            return [port.ordinal for port in cloud.fabric_ports if name in (port.name, port.switch)]
    nodes = {name} if kind is EntityKind.NODE else {replica.node for replica in hit}
    return [number for number, node in enumerate(cloud.nodes) if node in nodes]


def show(
    cloud: Cloud,
    faults: Sequence[Fault],
    columns: dict[str, Floats],
    places: Sequence[Place],
    ticks_s: Floats,
    steps_s: Floats,
    *,
    skip: Sequence[str] = (),
) -> None:
    """Let every fault move what it moves of `columns` (reading → values of shape (ticks, entities)), in place.

    Counters in `columns` are what they grow by in each step, which ends at its tick.
    """
    if not ticks_s.size:
        return
    for fault in faults:
        if ticks_s[-1] < fault.started_at.timestamp():
            continue
        over = float(ticks_s[0] - steps_s[0]) > fault.ended_at.timestamp() + RECOVERY_S
        for sign in signs_of(fault):
            if sign.place not in places or sign.reading not in columns or sign.reading in skip:
                continue
            if over and sign.act is not Act.KEEP:
                continue
            where = ordinals_of(cloud, fault, sign.place)
            if where:
                column = columns[sign.reading]
                column[:, where] = _moved(column[:, where], sign, fault, ticks_s, steps_s)


def _moved(values: Floats, sign: Sign, fault: Fault, ticks_s: Floats, steps_s: Floats) -> Floats:
    """Values of shape (ticks, entities) as the sign moves them."""
    size = sign.size(fault)
    start_s = fault.started_at.timestamp()
    moved = _BY_LEVEL.get(sign.act)
    if moved is not None:
        return moved(values, size, mean_level(fault, ticks_s, steps_s, sign.after)[:, None], steps_s[:, None])
    if sign.act is Act.KEEP:
        return np.where(ticks_s[:, None] >= start_s, size, values)
    if sign.act is Act.ONCE:
        begins = (ticks_s - steps_s < start_s) & (start_s <= ticks_s)
        return values + size * begins[:, None]
    shown = fault.level(ticks_s, sign.after)[:, None] > SHOWN_LEVEL
    exactly = values.astype(int) | int(size) if sign.act is Act.BITS else size
    return np.where(shown, exactly, values)


# How the mean level in each step moves a reading: (values, size, level, seconds of the step).
_BY_LEVEL: Mapping[Act, Callable[[Floats, float, Floats, Floats], Floats]] = {
    Act.AT_LEAST: lambda values, size, level, _: values + level * np.maximum(size - values, 0.0),
    Act.AT_MOST: lambda values, size, level, _: values + level * np.minimum(size - values, 0.0),
    Act.TOWARDS: lambda values, size, level, _: values + level * (size - values),
    Act.ADD: lambda values, size, level, _: values + level * size,
    Act.SCALE: lambda values, size, level, _: values * (1.0 + (size - 1.0) * level),
    Act.GROW: lambda values, size, level, step_s: values + level * size * step_s,
}


def mean_level(fault: Fault, ticks_s: Floats, steps_s: Floats, after: float = 0.0) -> Floats:
    """How far a fault is developed on average in each step."""
    shares = (np.arange(SUBSTEPS) + 0.5) / SUBSTEPS
    moments = ticks_s[:, None] - steps_s[:, None] * shares
    level: Floats = fault.level(moments, after).mean(axis=1)
    return level
