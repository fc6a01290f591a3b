"""The state of each fabric port, from its counters alone: InfiniBand host ports and switch ports.

Rules and where they come from:

- counters clamp at the end of their field and are cleared by a write; they do not wrap (InfiniBand Architecture
  Specification, volume 1, 16.1.3, PortCounters). One at its end that does not move tells nothing, not "0";
- `PortXmitData` counts words of 4 bytes. `PortXmitWait` counts ticks in which there was data and no credit; on Quantum
  switches one tick is 8 bytes a port (NVIDIA, ibdiagnet manual): `wait_ratio = ticks * 8 / (rate * seconds)`;
- utilisation high is saturation; waiting without it is a victim of what is congested further on.

Thresholds are judgement, and stand in one place, below.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TypeAlias

import numpy as np

from analytics.device_states import (
    DeviceFindings,
    DeviceSamples,
    Evidence,
    Held,
    StateMatrix,
    Told,
    findings_at,
    highest_so_far,
    peers_have,
    stack,
    sums_within,
    within,
)
from analytics.samples import Matrix, before, counter_rates, growth

TICK_BYTES = 8
"""Bytes a port could have sent in one tick of PortXmitWait: Quantum switches and later."""

_SATURATED_RATIO = 0.9
_WAIT_RATIO = 0.01
# So many errors in so long, and the last of them within the time that an event is told: a slow leak must not flicker.
_LINK_ERRORS_MIN = 10
_LINK_ERRORS_S = 300
_EVENT_HOLDS_S = 60
# The link is retrained now and then; only often it is a fault.
_RECOVERIES_MIN = 3
# A counter may also be cleared alone, once it is well filled, as OpenSM's performance manager does.
_CLEARED_FROM_SHARE = 0.5
_FELL_TOGETHER_MIN = 2
_REDUCED_RATIO = 0.95
_PEERS_MIN = 2
_ACTIVE = 4
_LINK_UP = 5

SENT = "sent_bytes_total"
RECEIVED = "received_bytes_total"
WAIT = "transmit_wait_ticks_total"
SYMBOL_ERRORS = "symbol_errors_total"
RECOVERIES = "link_recoveries_total"
DOWNED = "link_downed_total"
RECEIVE_ERRORS = "receive_errors_total"
DISCARDS = "transmit_discards_total"
INTEGRITY_ERRORS = "link_integrity_errors_total"
OVERRUNS = "buffer_overruns_total"
PACKETS_SENT = "sent_packets_total"
PACKETS_RECEIVED = "received_packets_total"
RATE = "rate_bytes_per_second"
STATE = "state_id"
PHYSICAL_STATE = "physical_state_id"
WIDTH = "width_lanes"

NODE_EXPORTER: Mapping[str, tuple[str, float]] = {
    "node_infiniband_port_data_transmitted_bytes_total": (SENT, 1),
    "node_infiniband_port_data_received_bytes_total": (RECEIVED, 1),
    "node_infiniband_port_packets_transmitted_total": (PACKETS_SENT, 1),
    "node_infiniband_port_packets_received_total": (PACKETS_RECEIVED, 1),
    "node_infiniband_port_transmit_wait_total": (WAIT, 1),
    "node_infiniband_symbol_error_total": (SYMBOL_ERRORS, 1),
    "node_infiniband_link_error_recovery_total": (RECOVERIES, 1),
    "node_infiniband_link_downed_total": (DOWNED, 1),
    "node_infiniband_port_errors_received_total": (RECEIVE_ERRORS, 1),
    "node_infiniband_port_discards_transmitted_total": (DISCARDS, 1),
    "node_infiniband_local_link_integrity_errors_total": (INTEGRITY_ERRORS, 1),
    "node_infiniband_excessive_buffer_overrun_errors_total": (OVERRUNS, 1),
    "node_infiniband_rate_bytes_per_second": (RATE, 1),
    "node_infiniband_state_id": (STATE, 1),
    "node_infiniband_physical_state_id": (PHYSICAL_STATE, 1),
}
"""Metrics of node_exporter: what each is here, and what to multiply it with. It has made bytes of words already."""

SWITCH_PORTS: Mapping[str, tuple[str, float]] = {
    "infiniband_switch_port_transmit_data_bytes_total": (SENT, 1),
    "infiniband_switch_port_receive_data_bytes_total": (RECEIVED, 1),
    "infiniband_switch_port_transmit_packets_total": (PACKETS_SENT, 1),
    "infiniband_switch_port_receive_packets_total": (PACKETS_RECEIVED, 1),
    "infiniband_switch_port_transmit_wait_total": (WAIT, 1),
    "infiniband_switch_port_symbol_error_total": (SYMBOL_ERRORS, 1),
    "infiniband_switch_port_link_error_recovery_total": (RECOVERIES, 1),
    "infiniband_switch_port_link_downed_total": (DOWNED, 1),
    "infiniband_switch_port_receive_errors_total": (RECEIVE_ERRORS, 1),
    "infiniband_switch_port_transmit_discards_total": (DISCARDS, 1),
    "infiniband_switch_port_local_link_integrity_errors_total": (INTEGRITY_ERRORS, 1),
    "infiniband_switch_port_rate_bytes_per_second": (RATE, 1),
}
"""Metrics of switches as our own scraper of them tells them, likewise."""

PERFQUERY: Mapping[str, tuple[str, float]] = {
    "PortXmitData": (SENT, 4),
    "PortRcvData": (RECEIVED, 4),
    "PortXmitPkts": (PACKETS_SENT, 1),
    "PortRcvPkts": (PACKETS_RECEIVED, 1),
    "PortXmitWait": (WAIT, 1),
    "SymbolErrorCounter": (SYMBOL_ERRORS, 1),
    "LinkErrorRecoveryCounter": (RECOVERIES, 1),
    "LinkDownedCounter": (DOWNED, 1),
    "PortRcvErrors": (RECEIVE_ERRORS, 1),
    "PortXmitDiscards": (DISCARDS, 1),
    "LocalLinkIntegrityErrors": (INTEGRITY_ERRORS, 1),
    "ExcessiveBufferOverrunErrors": (OVERRUNS, 1),
}
"""Counters as perfquery names them: what each is here, and what to multiply it with."""

# Where the field of a counter may end. PortCounters has the narrow ones, PortCountersExtended wider ones.
_ENDS: Mapping[str, tuple[float, ...]] = {
    SENT: (4 * (2.0**32 - 1), 2.0**32 - 1),
    RECEIVED: (4 * (2.0**32 - 1), 2.0**32 - 1),
    PACKETS_SENT: (2.0**32 - 1,),
    PACKETS_RECEIVED: (2.0**32 - 1,),
    WAIT: (2.0**32 - 1,),
    SYMBOL_ERRORS: (2.0**16 - 1, 2.0**32 - 1),
    RECOVERIES: (2.0**8 - 1,),
    DOWNED: (2.0**8 - 1,),
    RECEIVE_ERRORS: (2.0**16 - 1,),
    DISCARDS: (2.0**16 - 1,),
    INTEGRITY_ERRORS: (2.0**4 - 1,),
    OVERRUNS: (2.0**4 - 1,),
}
COUNTERS = tuple(_ENDS)
"""All of the above that only grow."""
_ERRORS = (SYMBOL_ERRORS, RECEIVE_ERRORS)
_GRAVE_ERRORS = (INTEGRITY_ERRORS, OVERRUNS)


class PortState(StrEnum):
    """What a port is in, worst first."""

    DOWN = "down"
    FLAPPING = "flapping"
    BAD_LINK = "bad link"
    REDUCED = "reduced rate"
    CONGESTED = "congested"
    """It waits for credit without being full: a victim of something further on."""
    SATURATED = "saturated"
    NO_DATA = "no data"
    PINNED = "counter pinned"
    CLEARED = "counter cleared"
    OK = "ok"


FAULTS = frozenset({PortState.DOWN, PortState.FLAPPING, PortState.BAD_LINK, PortState.REDUCED})
"""The link itself is broken or less than it should be."""
DOUBTS = frozenset({PortState.NO_DATA, PortState.PINNED, PortState.CLEARED})
"""What the counters say of the port is unknown, or a lower bound."""


@dataclass(frozen=True, slots=True, order=True)
class Port:
    """A port of a host or of a switch: `device` is where it is scraped. Ports of one device and `kind` are peers."""

    device: str
    name: str
    kind: str = ""


@dataclass(frozen=True, slots=True)
class PortSamples(DeviceSamples[Port]):
    """What ports told over time, by the names of this module.

    Attributes beside those of all devices:
        answered: by device, whether it answered at all at each step: (steps,). For one that is not here it is unknown.
        tick_bytes: what a tick of the transmit wait stands for, in bytes.
    """

    answered: Mapping[str, Held] = field(default_factory=dict)
    tick_bytes: int = TICK_BYTES


PortFindings: TypeAlias = DeviceFindings[Port, PortState]
"""A port and the states it is in at one moment, worst first."""


def port_states(samples: PortSamples) -> StateMatrix[PortState]:
    """Which states hold for each port at each step: states worst first, with (states, ports, steps)."""
    return _states(_Evidence(samples))


def port_findings(samples: PortSamples, step: int = -1) -> tuple[PortFindings, ...]:
    """The states of each port at one step, the last unless told otherwise, with the reason and its numbers.

    Raises:
        IndexError: when there is no such step.
    """
    evidence = _Evidence(samples)

    def tell(state: PortState, row: int, place: int) -> Told:
        return _IN_WORDS[state](evidence, row, place)

    return findings_at(samples.devices, _states(evidence), step, tell)


@dataclass(frozen=True, slots=True)
class PortLoads:
    """How full ports are, all of it (ports, steps): bytes per second, and shares (0-1) of the rate and of the time."""

    rate_bytes_per_s: Matrix
    sent_bytes_per_s: Matrix
    received_bytes_per_s: Matrix
    utilization_ratio: Matrix
    wait_ratio: Matrix


def port_loads(samples: PortSamples) -> PortLoads:
    """How full each port is at each step; NaN where that is not known."""
    evidence = _Evidence(samples)
    sent, received = evidence.per_s(SENT), evidence.per_s(RECEIVED)
    return PortLoads(evidence.rate_bytes_per_s, sent, received, evidence.util_ratio, evidence.wait_ratio)


def waiting_ratio(ticks_per_s: Matrix, rate_bytes_per_s: Matrix, tick_bytes: int = TICK_BYTES) -> Matrix:
    """The share of the time in which a port had data to send and no credit for it, from its transmit wait."""
    found: Matrix = ticks_per_s * tick_bytes / rate_bytes_per_s
    return found


class _Evidence(Evidence[Port]):
    """What the states rest on: all of it (ports, steps)."""

    def __init__(self, samples: PortSamples) -> None:
        super().__init__(
            samples,
            {
                name: np.where((matrix >= 0) & np.isfinite(matrix), matrix, np.nan)
                for name, matrix in samples.values.items()
            },
        )
        self.answered = samples.answered
        self.peer_groups = [(port.device, port.kind) for port in self.devices]
        self.holds_steps = _EVENT_HOLDS_S // self.step_s
        self.pinned = {name: self._pinned(name) for name in COUNTERS}
        rate = self.of(RATE)
        self.rate_bytes_per_s = np.where(rate > 0, rate, np.nan)
        sent, received = (self.per_s(name) / self.rate_bytes_per_s for name in (SENT, RECEIVED))
        self.util_ratio = np.fmax(sent, received)
        self.wait_ratio = waiting_ratio(self.per_s(WAIT), self.rate_bytes_per_s, samples.tick_bytes)

    def per_s(self, name: str) -> Matrix:
        """Growth per second; NaN where unknown, a lower bound where the counter was cleared or has just filled."""
        return self.once(f"per second {name}", lambda: self._known(name, counter_rates(self.of(name), self.step_s)))

    def growth(self, name: str) -> Matrix:
        """What a counter grew by since its last sample, as `per_s`."""
        return self.once(f"growth {name}", lambda: self._known(name, growth(self.of(name))))

    def before(self, name: str) -> Matrix:
        """The sample before each step's."""
        return self.once(f"before {name}", lambda: before(self.of(name)))

    def fell(self, name: str) -> Held:
        """Is a counter less than it was."""
        values = self.of(name)
        found: Held = values < self.before(name)
        return found

    def _known(self, name: str, grown: Matrix) -> Matrix:
        return np.where(self.pinned[name], np.nan, grown)

    def _pinned(self, name: str) -> Held:
        """At the end of its field, and it was there before, or nothing is known of before."""
        values = self.of(name)
        earlier = self.before(name)
        found: Held = np.isin(values, _ENDS[name]) & ((earlier == values) | np.isnan(earlier))
        return found


def _states(evidence: _Evidence) -> StateMatrix[PortState]:
    down = _down(evidence)
    waits = evidence.wait_ratio >= _WAIT_RATIO
    full = evidence.util_ratio > _SATURATED_RATIO
    found: dict[PortState, Held] = {
        PortState.DOWN: down,
        PortState.FLAPPING: evidence.reports & _flapping(evidence, down),
        PortState.BAD_LINK: _bad_link(evidence),
        PortState.REDUCED: ~down & (_reduced(evidence, RATE) | _reduced(evidence, WIDTH)),
        PortState.CONGESTED: waits & (evidence.util_ratio <= _SATURATED_RATIO),
        PortState.SATURATED: full,
        PortState.NO_DATA: ~evidence.reports,
        PortState.PINNED: np.logical_or.reduce(list(evidence.pinned.values())),
        PortState.CLEARED: _cleared(evidence),
    }
    found[PortState.OK] = ~np.logical_or.reduce(list(found.values()))
    return stack(list(PortState), found)


def _down(evidence: _Evidence) -> Held:
    state, physical = evidence.of(STATE), evidence.of(PHYSICAL_STATE)
    found: Held = (np.isfinite(state) & (state != _ACTIVE)) | (np.isfinite(physical) & (physical != _LINK_UP))
    return found


def _flapping(evidence: _Evidence, down: Held) -> Held:
    """Down and up again, or retrained again and again, within the last minute."""
    state = np.where(np.isfinite(evidence.of(STATE)) | np.isfinite(evidence.of(PHYSICAL_STATE)), down, np.nan)
    came_up = (state == 0) & (before(state) == 1)
    downed = (evidence.growth(DOWNED) > 0) | came_up
    retrained = sums_within(np.fmax(evidence.growth(RECOVERIES), 0), evidence.holds_steps) >= _RECOVERIES_MIN
    found: Held = (within(downed, evidence.holds_steps) & ~down) | retrained
    return found


def _bad_link(evidence: _Evidence) -> Held:
    grave = np.zeros(evidence.shape, dtype=np.bool_)
    for name in _GRAVE_ERRORS:
        grave |= evidence.growth(name) > 0
    found = within(grave, evidence.holds_steps)
    for name in _ERRORS:
        errors = evidence.growth(name)
        many = sums_within(errors, _LINK_ERRORS_S // evidence.step_s) >= _LINK_ERRORS_MIN
        found |= many & within(errors > 0, evidence.holds_steps)
    return evidence.reports & found


def _usual(evidence: _Evidence, name: str) -> Matrix:
    """The rate or width a port should have: its own best until now, or what its peers have that are up."""

    def work_out() -> Matrix:
        values = np.where(_down(evidence), np.nan, evidence.of(name))
        peers = peers_have(values, evidence.peer_groups, list(range(len(evidence.devices))), _PEERS_MIN)
        return np.fmax(highest_so_far(values), peers)

    return evidence.once(f"usual {name}", work_out)


def _reduced(evidence: _Evidence, name: str) -> Held:
    found: Held = evidence.of(name) < _REDUCED_RATIO * _usual(evidence, name)
    return found


def _cleared(evidence: _Evidence) -> Held:
    """Several counters fell at once, or one that had filled most of its field."""
    return evidence.once("cleared", lambda: _find_cleared(evidence))


def _find_cleared(evidence: _Evidence) -> Held:
    count = np.zeros(evidence.shape)
    filled = np.zeros(evidence.shape, dtype=np.bool_)
    for name in COUNTERS:
        fell = evidence.fell(name)
        count += fell
        filled |= fell & (evidence.before(name) >= _CLEARED_FROM_SHARE * min(_ENDS[name]))
    found: Held = (count >= _FELL_TOGETHER_MIN) | filled
    return found


def _tell_down(evidence: _Evidence, row: int, step: int) -> Told:
    numbers = {STATE: evidence.of(STATE)[row, step], PHYSICAL_STATE: evidence.of(PHYSICAL_STATE)[row, step]}
    return "the link is not up", numbers


def _tell_flapping(evidence: _Evidence, row: int, step: int) -> Told:
    since = slice(max(0, step - evidence.holds_steps), step + 1)
    numbers = {name: float(np.nansum(evidence.growth(name)[row, since])) for name in (DOWNED, RECOVERIES)}
    counts = (
        f"went down {numbers[DOWNED]:.0f} times by its own count, and was retrained {numbers[RECOVERIES]:.0f} times"
    )
    return f"in the last {max(_EVENT_HOLDS_S, evidence.step_s)} s the link {counts}", numbers


def _tell_bad_link(evidence: _Evidence, row: int, step: int) -> Told:
    since = slice(max(0, step - _LINK_ERRORS_S // evidence.step_s), step + 1)
    numbers = {
        name.removesuffix("_total"): float(np.nansum(evidence.growth(name)[row, since]))
        for name in (*_ERRORS, *_GRAVE_ERRORS)
    }
    told = [f"{number:.0f} {name.replace('_', ' ')}" for name, number in numbers.items() if number > 0]
    return f"on the link itself, in the last {max(_LINK_ERRORS_S, evidence.step_s)} s: {', '.join(told)}", numbers


def _tell_reduced(evidence: _Evidence, row: int, step: int) -> Told:
    told: list[str] = []
    numbers: dict[str, float] = {}
    for name, unit, text in (
        (RATE, 1e9 / 8, "{:.0f} instead of {:.0f} Gb/s"),
        (WIDTH, 1, "{:.0f} instead of {:.0f} lanes"),
    ):
        now, usual = evidence.of(name)[row, step], _usual(evidence, name)[row, step]
        numbers |= {name: now, f"{name}_usual": usual}
        if now < _REDUCED_RATIO * usual:
            told.append(text.format(now / unit, usual / unit))
    return f"the link runs at {' and '.join(told)}, by its own past or its peers", numbers


def _load(evidence: _Evidence, row: int, step: int) -> dict[str, float]:
    return {
        "utilization_ratio": evidence.util_ratio[row, step],
        "transmit_wait_ratio": evidence.wait_ratio[row, step],
        "transmit_discards_per_s": evidence.per_s(DISCARDS)[row, step],
    }


def _tell_congested(evidence: _Evidence, row: int, step: int) -> Told:
    load = _load(evidence, row, step)
    wait, use = 100 * load["transmit_wait_ratio"], 100 * load["utilization_ratio"]
    return (
        f"it waits for credits {wait:.1f} % of the time at {use:.0f} % utilisation: the congestion is downstream",
        load,
    )


def _tell_saturated(evidence: _Evidence, row: int, step: int) -> Told:
    load = _load(evidence, row, step)
    wait = load["transmit_wait_ratio"]
    told = (
        "how long it waits is unknown" if math.isnan(wait) else f"it waits for credits {100 * wait:.1f} % of the time"
    )
    return f"{100 * load['utilization_ratio']:.0f} % of its rate is used; {told}", load


def _mates(evidence: _Evidence, row: int) -> list[int]:
    """The rows of all ports of the same device."""
    device = evidence.devices[row].device
    return [mate for mate, port in enumerate(evidence.devices) if port.device == device]


def _tell_no_data(evidence: _Evidence, row: int, step: int) -> Told:
    mates = _mates(evidence, row)
    if evidence.reports[mates, step].any():
        return "it reports nothing while other ports of its device do", {}
    answered = evidence.answered.get(evidence.devices[row].device)
    if answered is None:
        return "nothing of its device was scraped", {}
    if answered[step]:
        return "its device answers, but reports no port: one bad file removes all of them", {}
    return "its device was not scraped", {}


def _tell_pinned(evidence: _Evidence, row: int, step: int) -> Told:
    numbers = {name: evidence.of(name)[row, step] for name in COUNTERS if evidence.pinned[name][row, step]}
    names = ", ".join(name.removesuffix("_total").replace("_", " ") for name in numbers)
    return f"at the end of its range, so its growth is unknown, not 0: {names}", numbers


def _tell_cleared(evidence: _Evidence, row: int, step: int) -> Told:
    numbers = {name: evidence.before(name)[row, step] for name in COUNTERS if evidence.fell(name)[row, step]}
    names = ", ".join(name.removesuffix("_total").replace("_", " ") for name in numbers)
    mates = _mates(evidence, row)
    cleared = _cleared(evidence)[mates, step]
    who = "somebody cleared counters"
    if len(mates) > 1 and cleared.all():
        who = "its device restarted, or somebody cleared the counters of all of its ports"
    return f"{who} since the last sample, so that growth is a lower bound: {names}", {
        f"{name}_before": number for name, number in numbers.items()
    }


def _tell_ok(evidence: _Evidence, row: int, step: int) -> Told:
    load = _load(evidence, row, step)
    if math.isnan(load["utilization_ratio"]):
        return "no fault in what it reports; its utilisation is not known yet", load
    return f"{100 * load['utilization_ratio']:.0f} % of its rate is used", load


_IN_WORDS: Mapping[PortState, Callable[[_Evidence, int, int], Told]] = {
    PortState.DOWN: _tell_down,
    PortState.FLAPPING: _tell_flapping,
    PortState.BAD_LINK: _tell_bad_link,
    PortState.REDUCED: _tell_reduced,
    PortState.CONGESTED: _tell_congested,
    PortState.SATURATED: _tell_saturated,
    PortState.NO_DATA: _tell_no_data,
    PortState.PINNED: _tell_pinned,
    PortState.CLEARED: _tell_cleared,
    PortState.OK: _tell_ok,
}
