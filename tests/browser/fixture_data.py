"""A made-up day of a small inference cloud, the same each time: what the pages are looked at and tested with.

Two services on four nodes of eight GPUs; a month of history; at 02:41:20 a port of gpu-07-03 goes bad, and the chat
replicas on that node wait for their transfers. It is 03:07.
"""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from types import MappingProxyType

import numpy as np
import polars as pl
from numpy.typing import NDArray

from alerts.decide import burn_alert, incident_alert
from alerts.devices import device_alerts
from analytics.burn_rates import WINDOWS, BurnAlert
from analytics.device_faults import DeviceFault
from analytics.gpu_states import GpuState
from analytics.jobs.devices import remember_faults
from analytics.port_states import PortState
from domain.alert import VALID, Alert
from domain.cause import Cause, CauseKind, EntityShare, Evidence, Explanation, RuledOut, Step, Whereabouts
from domain.entity import Entity, EntityKind
from domain.incident import Incident, Indicator, Severity, Status
from domain.slo import Objective
from domain.topology import Node, SwitchPort, Topology
from storage.incidents import write_incidents
from storage.store import Store
from storage.topology import write_topology

NOW = datetime(2026, 11, 23, 3, 7, tzinfo=UTC)
BEGAN = datetime(2026, 11, 23, 2, 41, 20, tzinfo=UTC)
BAD_PORT = Entity(EntityKind.PORT, "gpu-07-03/mlx5_2/1")

OBJECTIVES = (
    Objective("chat-ttft", "chat", Indicator.TTFT, 0.99, 30, threshold_ms=800.0),
    Objective("chat-availability", "chat", Indicator.ERRORS, 0.999, 30),
    Objective("rerank-latency", "rerank", Indicator.LATENCY, 0.99, 30, threshold_ms=120.0),
    Objective("rerank-availability", "rerank", Indicator.ERRORS, 0.999, 30),
)

_NODES = tuple(f"gpu-07-{number:02}" for number in range(1, 5))
_TENANTS = ("acme-search", "northwind", "contoso", "fabrikam", "tailspin", "wingtip")
_CHAT_REPLICAS = MappingProxyType({f"chat-{number}": _NODES[number // 2] for number in range(6)})
_RERANK_REPLICAS = MappingProxyType({f"rerank-{number}": _NODES[3] for number in range(4)})
_RECENT_S = 28_800
_PER_DAY = 3_000


def fill(store: Store) -> None:
    """Fill an empty, migrated store."""
    random = np.random.default_rng(20261123)
    store.insert("tailsight_requests", pl.concat([_chat(random), _rerank(random)]))
    series, samples = _telemetry(random)
    store.insert("tailsight_series", series)
    store.insert("tailsight_samples", samples)
    write_incidents(store, [incident(), earlier_incident(), released_incident()], NOW)
    remember_faults(store, device_faults(), NOW)
    write_topology(store, Topology({"gpu-07-03": Node("gpu-07-03", ports={"mlx5_2/1": SwitchPort("leaf-07", 3)})}), NOW)


def incident() -> Incident:
    """The incident that is going on."""
    transfer = Entity(EntityKind.REPLICA, "chat-4")
    return Incident(
        id="chat-ttft-20261123T024120",
        service="chat",
        model="llama-70b",
        indicator=Indicator.TTFT,
        status=Status.OPEN,
        severity=Severity.PAGE,
        started_at=BEGAN,
        detected_at=BEGAN + timedelta(seconds=40),
        ended_at=None,
        baseline_ms_p99=560.0,
        peak_ms_p99=4300.0,
        slow_requests_count=1_018,
        slow_requests_ratio=0.31,
        budget_spent_ratio=0.37,
        cost_usd=None,
        tenants_affected_count=6,
        explanation=Explanation(
            causes=(
                Cause(
                    rank=1,
                    kind=CauseKind.NETWORK_LINK_FAULT,
                    entity=BAD_PORT,
                    confidence=0.93,
                    lead_s=50.0,
                    summary="gpu-07-03/mlx5_2/1 has a bad link: symbol errors 0.37 → 85.4 per second; every "
                    "transfer through it is slowed.",
                    evidence=(
                        Evidence("symbol_errors", BAD_PORT, 0.37, 85.4, "1/s", 0.99, 50.0),
                        Evidence("transfer_time", transfer, 41.0, 2_930.0, "ms", 0.97, 0.0),
                    ),
                    next_steps=(
                        "Drain the node of gpu-07-03/mlx5_2/1 from the service; check the spare capacity first.",
                        "Reset the port (ibportstate reset), then watch symbol errors for five minutes.",
                        "If errors return, reseat or swap the cable or optic; check the other end of the link too.",
                    ),
                    explained_ratio=0.972,
                    chain=(
                        Step(BAD_PORT, "symbol errors 0.37 → 85.4 per second", 50.0),
                        Step(transfer, "time to first token outside queue and prefill 41 → 2,930 ms", 0.0),
                        Step(transfer, "KV cache usage 61% → 93%", -90.0),
                        Step(
                            Entity(EntityKind.SERVICE, "chat"),
                            "a mean request takes 612 ms longer, most of it before the first token, "
                            "outside queue and prefill",
                            0.0,
                        ),
                    ),
                ),
                Cause(
                    rank=2,
                    kind=CauseKind.GPU_MEMORY_PRESSURE,
                    entity=transfer,
                    confidence=0.31,
                    lead_s=-90.0,
                    summary="The KV cache of chat-4 is full: its own requests wait for blocks or are preempted "
                    "(KV cache usage 61% → 93%).",
                    evidence=(
                        Evidence("kv_cache_usage", transfer, 0.61, 0.93, "ratio", 0.8, -90.0),
                        Evidence("replica_start", transfer, 0.0, 1.0, "replicas", 0.5, 50.0),
                    ),
                    next_steps=("Route new requests away from chat-4 and watch the KV cache drain.",),
                    explained_ratio=0.49,
                ),
            ),
            ruled_out=(
                RuledOut(CauseKind.TRAFFIC_SURGE, "request rate at 2.01 1/s, usual 2"),
                RuledOut(CauseKind.NETWORK_SATURATION, "busiest port of these nodes at 41% of its rate"),
                RuledOut(CauseKind.GPU_MEMORY_CONTENTION, "GPU memory in use unchanged at 71,200 MiB"),
            ),
            whereabouts=Whereabouts(
                excess_ms=612.0,
                stages_ms={"queue_ms": 104.0, "transfer_ms": 497.0, "prompt_ms": -3.1, "prefill_ms": 14.1},
                shares=(
                    EntityShare(Entity(EntityKind.NODE, "gpu-07-03"), 0.972, 0.331),
                    EntityShare(transfer, 0.487, 0.166),
                    EntityShare(Entity(EntityKind.REPLICA, "chat-5"), 0.485, 0.165),
                ),
            ),
        ),
        exemplar_trace_ids=(),
        services_affected=("chat", "assistant"),
    )


def earlier_incident() -> Incident:
    """One that nothing explained, over since the day before."""
    began = NOW - timedelta(days=1, hours=5)
    return Incident(
        id="rerank-latency-20261121T220700",
        service="rerank",
        model="bge-reranker",
        indicator=Indicator.LATENCY,
        status=Status.RESOLVED,
        severity=Severity.TICKET,
        started_at=began,
        detected_at=began + timedelta(seconds=60),
        ended_at=began + timedelta(minutes=9),
        baseline_ms_p99=88.0,
        peak_ms_p99=240.0,
        slow_requests_count=61,
        slow_requests_ratio=0.12,
        budget_spent_ratio=None,
        cost_usd=None,
        tenants_affected_count=None,
        explanation=Explanation(
            causes=(
                Cause(
                    rank=1,
                    kind=CauseKind.UNKNOWN,
                    entity=Entity(EntityKind.SERVICE, "rerank"),
                    confidence=0.0,
                    lead_s=None,
                    summary="No known cause fits: where the time went is not known.",
                    evidence=(),
                    next_steps=("Open the slowest traces below: what do they share?",),
                ),
            ),
            ruled_out=(RuledOut(CauseKind.TRAFFIC_SURGE, "request rate at 1.0 1/s, usual 1.0"),),
        ),
        exemplar_trace_ids=(),
    )


def released_incident() -> Incident:
    """Failures of a version that was taken back, nine days ago: none of its evidence has a course in time."""
    began = NOW - timedelta(days=9)
    version, replica = Entity(EntityKind.VERSION, "1.5.0"), Entity(EntityKind.REPLICA, "rerank-2")
    return Incident(
        id="rerank-errors-20261114T030700",
        service="rerank",
        model="bge-reranker",
        indicator=Indicator.ERRORS,
        status=Status.RESOLVED,
        severity=Severity.PAGE,
        started_at=began,
        detected_at=began + timedelta(seconds=45),
        ended_at=began + timedelta(minutes=7),
        baseline_ms_p99=88.0,
        peak_ms_p99=92.0,
        slow_requests_count=74,
        slow_requests_ratio=0.13,
        budget_spent_ratio=0.21,
        cost_usd=None,
        tenants_affected_count=6,
        explanation=Explanation(
            causes=(
                Cause(
                    rank=1,
                    kind=CauseKind.BAD_RELEASE,
                    entity=version,
                    confidence=0.97,
                    lead_s=45.0,
                    summary="Version 1.5.0 is worse than the one before it at the same time (failures on the version "
                    "against the other 0% → 42%).",
                    evidence=(
                        Evidence("version_errors", version, 0.0, 0.42, "ratio", 1.0, 45.0),
                        Evidence("replica_start", replica, 0.0, 1.0, "replicas", 0.9, 15.0),
                    ),
                    next_steps=("Roll back 1.5.0, or stop the rollout; the old version is healthy on the same nodes.",),
                    explained_ratio=1.0,
                    chain=(
                        Step(version, "failures on the version against the other 0% → 42%", 45.0),
                        Step(replica, "replica start no → yes", 15.0),
                        Step(Entity(EntityKind.SERVICE, "rerank"), "13.0% of the requests are slow or fail", 0.0),
                    ),
                ),
            ),
            ruled_out=tuple(
                RuledOut(kind, "as usual")
                for kind in CauseKind
                if kind not in (CauseKind.BAD_RELEASE, CauseKind.UNKNOWN)
            ),
            whereabouts=Whereabouts(
                excess_ms=-1.4,
                stages_ms={},
                shares=(EntityShare(version, 1.0, 0.32), EntityShare(replica, 0.53, 0.17)),
            ),
        ),
        exemplar_trace_ids=(),
        services_affected=("rerank",),
    )


# -- Requests ------------------------------------------------------------------------------------------------------


def _arrivals(random: np.random.Generator, per_second: float) -> NDArray[np.float64]:
    """Seconds before NOW, sorted: dense in the last hours, sparse in the month before."""
    recent = random.uniform(0, _RECENT_S, int(_RECENT_S * per_second))
    month = random.uniform(_RECENT_S, 86_400 * 30, 30 * _PER_DAY)
    return np.sort(np.concatenate([recent, month]))[::-1]


def _chat(random: np.random.Generator) -> pl.DataFrame:
    ago = _arrivals(random, 1.6)
    size = ago.size
    replica = random.integers(0, len(_CHAT_REPLICAS), size)
    on_bad_node = np.array([node == "gpu-07-03" for node in _CHAT_REPLICAS.values()])[replica]
    spike = (ago < (NOW - BEGAN).total_seconds()) & on_bad_node
    old_trouble = (ago > 86_400 * 12.0) & (ago < 86_400 * 12.4) & (random.random(size) < 0.2)
    tokens = random.lognormal(6.6, 0.9, size).clip(8, 30_000)
    queue = random.lognormal(3.2, 0.6, size) * np.where(spike, 14, 1)
    prefill = 60 + tokens * 0.06
    transfer = random.lognormal(3.5, 0.3, size) * np.where(spike, 48, 1) + np.where(old_trouble, 900, 0)
    decode = random.lognormal(8.1, 0.5, size)
    return _requests(random, "chat", "llama-70b", _CHAT_REPLICAS, ago, replica, tokens).with_columns(
        latency_ms=queue + prefill + transfer + decode,
        ttft_ms=queue + prefill + transfer,
        queue_ms=queue,
        prefill_ms=prefill,
        decode_ms=decode,
    )


def _rerank(random: np.random.Generator) -> pl.DataFrame:
    ago = _arrivals(random, 1.0)
    replica = random.integers(0, len(_RERANK_REPLICAS), ago.size)
    tokens = random.lognormal(6.0, 0.5, ago.size)
    unknown = pl.lit(None, pl.Float64)
    return _requests(random, "rerank", "bge-reranker", _RERANK_REPLICAS, ago, replica, tokens).with_columns(
        latency_ms=random.lognormal(3.6, 0.38, ago.size),
        ttft_ms=unknown,
        queue_ms=unknown,
        prefill_ms=unknown,
        decode_ms=unknown,
    )


def _requests(
    random: np.random.Generator,
    service: str,
    model: str,
    replicas: Mapping[str, str],
    ago: NDArray[np.float64],
    replica: NDArray[np.int64],
    tokens: NDArray[np.float64],
) -> pl.DataFrame:
    """What both services' requests have, without their times: one row for each of `ago`."""
    size = ago.size
    tenant = random.choice(len(_TENANTS), size, p=[0.3, 0.22, 0.18, 0.14, 0.1, 0.06])
    digits = random.bytes(16 * size).hex()
    started_us = (NOW.timestamp() * 1e6 - ago * 1e6).astype(np.int64)
    return pl.DataFrame(
        {
            "time": pl.Series(started_us).cast(pl.Datetime("us", "UTC")),
            "replica": pl.Series(list(replicas)).gather(replica),
            "node": pl.Series(list(replicas.values())).gather(replica),
            "tenant": pl.Series(_TENANTS).gather(tenant),
            "trace_id": [digits[start : start + 32] for start in range(0, 32 * size, 32)],
            "is_error": random.random(size) < 0.0004,
            "input_tokens": pl.Series(tokens.astype(np.int64), dtype=pl.UInt32),
            "output_tokens": pl.Series(random.lognormal(5.3, 0.6, size).astype(np.int64), dtype=pl.UInt32),
        }
    ).with_columns(
        service=pl.lit(service), model=pl.lit(model), version=pl.lit("1.4.2"), pool=pl.lit("prod"), user=pl.lit("")
    )


# -- Telemetry -----------------------------------------------------------------------------------------------------


def _telemetry(random: np.random.Generator) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Series and samples: GPU activity, symbol errors and received errors of each port, KV cache of each replica."""
    labels: list[dict[str, str]] = []
    parts: list[pl.DataFrame] = []

    def add(metric: str, ago: NDArray[np.float64], values: NDArray[np.float64], **of: str) -> None:
        labels.append({"metric": metric.lower(), **of})
        seconds = (NOW.timestamp() - ago).astype(np.int64)
        parts.append(
            pl.DataFrame(
                {
                    "metric": np.full(ago.size, metric.lower()),
                    "series_id": pl.Series(np.full(ago.size, len(labels)), dtype=pl.UInt64),
                    "time": pl.Series(seconds * 1_000_000).cast(pl.Datetime("us", "UTC")),
                    "value": values,
                }
            )
        )

    minutes = np.arange(86_400, 0, -60, dtype=float)
    quarters = np.arange(6 * 3_600, 0, -15, dtype=float)
    lasted_s = (NOW - BEGAN).total_seconds()
    workload = [*_CHAT_REPLICAS.items(), *_RERANK_REPLICAS.items()]
    for index, node in enumerate(_NODES):
        own = [name for name, home in workload if home == node]
        for gpu in range(8):
            busy = np.clip(0.9 + random.normal(0, 0.05, minutes.size), 0, 1)
            if node == "gpu-07-03":
                busy = np.where(minutes < lasted_s, np.clip(busy - 0.5, 0.1, 1), busy)
            idle = index == 3 and gpu > 5
            kept = (minutes > 9_000) | (minutes < 4_000) if index == 1 and gpu == 2 else minutes > 0
            add(
                "DCGM_FI_PROF_GR_ENGINE_ACTIVE",
                minutes[kept],
                (busy * (0.04 if idle else 1.0))[kept],
                job="dcgm-exporter",
                instance=f"{node}:9400",
                node=node,
                gpu=f"GPU-{index:02}{gpu:02}-5c1d",
                replica=own[gpu * len(own) // 8],
            )
        for port in range(4):
            bad = f"{node}/mlx5_{port}/1" == BAD_PORT.name
            rate = np.where(quarters < lasted_s + 50, 85.0, 0.37) if bad else np.full(quarters.size, 0.02)
            errors = np.cumsum(random.poisson(rate * 15)).astype(float)
            of = {"job": "node-exporter", "instance": f"{node}:9100", "node": node, "port": f"mlx5_{port}/1"}
            add("node_infiniband_symbol_error_total", quarters, errors, **of)
            add("node_infiniband_port_errors_received_total", quarters, np.floor(errors / 9), **of)
    for replica, node in _CHAT_REPLICAS.items():
        full = (quarters < lasted_s - 90) & (node == "gpu-07-03")
        usage = np.clip(np.where(full, 0.93, 0.61) + random.normal(0, 0.015, quarters.size), 0, 1)
        add("vllm:kv_cache_usage_perc", quarters, usage, job="vllm", instance=replica, node=node, replica=replica)
    return _series(labels), pl.concat(parts)


def _series(labels: list[dict[str, str]]) -> pl.DataFrame:
    columns = ("job", "instance", "node", "gpu", "port", "replica", "service", "model")
    times = {"first_seen": NOW - timedelta(days=1), "last_seen": NOW}
    rows = [
        {"metric": of["metric"], "series_id": number, **{name: of.get(name, "") for name in columns}, **times}
        for number, of in enumerate(labels, start=1)
    ]
    return pl.DataFrame(rows, schema_overrides={"series_id": pl.UInt64})


def device_faults() -> list[DeviceFault]:
    """A GPU that fell off the bus before the incident, and the bad link that is its cause."""
    broken = DeviceFault(
        device=Entity(EntityKind.GPU, "GPU-0102-5c1d"),
        state=GpuState.OFF_THE_BUS,
        node="gpu-07-02",
        since=BEGAN - timedelta(minutes=40),
        seen_at=NOW,
        reason="all its series vanished while other GPUs of the node still report",
        replicas=("chat-2", "chat-3"),
        services=("chat",),
    )
    bad_link = DeviceFault(
        BAD_PORT, PortState.BAD_LINK, "gpu-07-03", BEGAN, NOW, "in the last 300 s: 840 symbol errors",
        incident=incident().id,
    )  # fmt: skip
    return [broken, bad_link]


def alerts() -> list[Alert]:
    """What fires: a page, the ticket that it says already, and a ticket of another service."""
    page = incident_alert(incident(), "", NOW)
    assert page is not None
    spent = {"alertname": "SLOBudgetSpent", "severity": "ticket", "service": "rerank", "slo": "rerank-latency"}
    burning = BurnAlert(OBJECTIVES[0], Severity.PAGE, WINDOWS[0], 31.2, BEGAN + timedelta(minutes=2), None)
    slow = BurnAlert(OBJECTIVES[0], Severity.TICKET, WINDOWS[2], 4.1, BEGAN + timedelta(minutes=9), None)
    return [
        page,
        burn_alert(burning, [incident()], "", NOW),
        burn_alert(slow, [incident()], "", NOW),
        *device_alerts(device_faults(), "", NOW),
        Alert(spent, {"summary": "rerank: the error budget of rerank-latency is spent"}, BEGAN, NOW + VALID, NOW),
    ]
