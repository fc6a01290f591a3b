"""The hardware in words: its numbers with their units, what a trouble is called, and which tone and mark it has."""

from collections.abc import Mapping
from datetime import datetime
from types import MappingProxyType

from analytics.hardware import GpuNow, Grade, PortNow, Trouble
from analytics.port_states import (
    DISCARDS,
    DOWNED,
    INTEGRITY_ERRORS,
    OVERRUNS,
    RECEIVE_ERRORS,
    RECOVERIES,
    SYMBOL_ERRORS,
)
from dashboards import text
from domain.wording import sentence

TONES: Mapping[Grade, tuple[str, str]] = MappingProxyType(
    {
        Grade.FAULT: ("critical", "triangle-alert"),
        Grade.STRAIN: ("warning", "gauge"),
        Grade.DOUBT: ("warning", "circle-question-mark"),
    }
)
"""Tone and icon of a grade."""

ERROR_NAMES: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        DOWNED: ("link down", "link downs"),
        SYMBOL_ERRORS: ("symbol error", "symbol errors"),
        RECOVERIES: ("retraining", "retrainings"),
        RECEIVE_ERRORS: ("receive error", "receive errors"),
        INTEGRITY_ERRORS: ("integrity error", "integrity errors"),
        OVERRUNS: ("buffer overrun", "buffer overruns"),
        DISCARDS: ("discard", "discards"),
    }
)
"""One and many of what a port counts, the gravest first."""

_GIB_MIB, _TIB_MIB = 1_024, 1_048_576
_BITS = 8


def gpu_title(one: GpuNow) -> str:
    """`GPU 3`, `GPU 3/1` of an instance; its UUID where the index is not known."""
    if one.index is None:
        return one.name
    return f"GPU {one.index}/{one.gpu.instance}" if one.gpu.instance else f"GPU {one.index}"


def state_title(trouble: Trouble) -> str:
    """`Thermal throttle`."""
    return sentence(trouble.state.value)


def memory(mib: float | None) -> str:
    """`68.4 GiB`, `12.5 TiB`."""
    if mib is None:
        return text.UNKNOWN
    unit, factor = ("TiB", _TIB_MIB) if mib >= _TIB_MIB else ("GiB", _GIB_MIB)
    return f"{text.significant(mib / factor)} {unit}"


def of_memory(used_mib: float | None, total_mib: float | None) -> str:
    """`1.96 of 2.49 TiB`; one number where only one is known."""
    used, total = memory(used_mib), memory(total_mib)
    if text.UNKNOWN in (used, total):
        return used
    number, _, unit = used.partition(" ")
    return f"{number} of {total}" if total.endswith(f" {unit}") else f"{used} of {total}"


def watts(value: float | None) -> str:
    """`612 W`, `31.2 kW`."""
    if value is None:
        return text.UNKNOWN
    return f"{text.significant(value / 1e3)} kW" if value >= 10_000 else f"{value:,.0f} W"


def gigabits(bytes_per_s: float | None) -> str:
    """`400 Gb/s`."""
    return text.UNKNOWN if bytes_per_s is None else f"{text.significant(bytes_per_s * _BITS / 1e9)} Gb/s"


def levels(one: GpuNow) -> list[str]:
    """All numbers of a GPU that are known, each with its unit."""
    told = one.levels
    found = []
    if told.utilization_ratio is not None:
        found.append(f"{text.percent_whole(told.utilization_ratio)} busy")
    if told.tensor_ratio is not None:
        found.append(f"tensor cores {text.percent_whole(told.tensor_ratio)}")
    if told.memory_used_mib is not None:
        found.append(of_memory(told.memory_used_mib, told.memory_total_mib))
    if told.temperature_celsius is not None:
        found.append(f"{told.temperature_celsius:.0f} °C")
    if told.power_watts is not None:
        of = f" of {watts(told.power_limit_watts)}" if told.power_limit_watts else ""
        found.append(f"{watts(told.power_watts)}{of}")
    return found


def workload(one: GpuNow) -> str:
    """`chat-4: llama-70b of chat, pool prod`; empty where nothing is known to run there."""
    runs = one.workload
    if runs.replica is None:
        return ""
    what = " of ".join(filter(None, (runs.model, runs.service)))
    return ", ".join(
        filter(None, (f"{runs.replica}: {what}" if what else runs.replica, runs.pool and f"pool {runs.pool}"))
    )


def since_words(trouble: Trouble, now: datetime) -> str:
    """`since 02:41`; empty where that is not known."""
    return "" if trouble.since is None else f"since {text.since(trouble.since, now)}"


def error_words(errors: Mapping[str, float]) -> str:
    """`2 link downs, 85 symbol errors`; empty without any."""
    return ", ".join(
        f"{text.count(round(errors[name]))} {one if round(errors[name]) == 1 else many}"
        for name, (one, many) in ERROR_NAMES.items()
        if errors.get(name)
    )


def throughput_bytes_per_s(one: PortNow) -> float | None:
    """That of the direction that carries more."""
    return max((value for value in (one.sent_bytes_per_s, one.received_bytes_per_s) if value is not None), default=None)
