"""A fortnight and eight hours of a small cloud as the store holds them, with round numbers.

Two H100 serve `chat` of half of each hour and stand idle for the rest, a third has no model; from 16 November on a
fourth is there too. Four requests an hour, of which one fails on each noon. On 18 November nothing came in from 04:00
to 07:00. It is Monday 23 November, 08:00.
"""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl

from analytics.cost.jobs import Pricing
from analytics.cost.price_book import price_book_of
from domain.cause import CauseKind
from domain.entity import Entity, EntityKind
from domain.incident import Incident, Indicator
from domain.slo import Objective
from storage.incidents import write_incidents
from storage.store import Store
from tests.reports.weekly_sample import incidents as sample_incidents

BEGAN = datetime(2026, 11, 9, tzinfo=UTC)
MONDAY = datetime(2026, 11, 16, tzinfo=UTC)
OVER = datetime(2026, 11, 23, tzinfo=UTC)
NOW = datetime(2026, 11, 23, 8, tzinfo=UTC)
SILENT = (datetime(2026, 11, 18, 4, tzinfo=UTC), datetime(2026, 11, 18, 7, tzinfo=UTC))
USD_PER_GPU_HOUR = 2.0
OBJECTIVES = (
    Objective("chat-ttft", "chat", Indicator.TTFT, 0.9, 7, threshold_ms=500.0),
    Objective("chat-availability", "chat", Indicator.ERRORS, 0.9, 7),
)
PRICING = Pricing(
    price_book_of(
        {
            "prices": [
                {
                    "name": "ours",
                    "usd_per_gpu_hour": USD_PER_GPU_HOUR,
                    "mode": "reserved",
                    "source": "contract",
                    "as_of": "2026-01",
                }
            ],
            "matches": [{"price": "ours"}],
        }
    )
)
_GPU_MODEL = "NVIDIA H100 80GB HBM3"


def fill(store: Store) -> None:
    """Put the fortnight into an empty, migrated store."""
    hours = [BEGAN + timedelta(hours=number) for number in range(int((NOW - BEGAN).total_seconds()) // 3600)]
    heard = [hour for hour in hours if not SILENT[0] <= hour < SILENT[1]]
    store.insert("tailsight_requests", pl.DataFrame([_request(hour, number) for hour in heard for number in range(4)]))
    store.insert("tailsight_gpu_hours", pl.DataFrame([row for hour in hours for row in _gpus(hour)]))
    store.insert("tailsight_request_hours", pl.DataFrame([row for hour in heard for row in _shares(hour)]))
    settled = {"hour": hours, "requests": [4 * (hour in heard) for hour in hours], "settled_at": NOW}
    store.insert("tailsight_cost_hours", pl.DataFrame({**settled, "samples": [3 * (hour in heard) for hour in hours]}))
    series, samples = _telemetry(heard)
    store.insert("tailsight_series", series)
    store.insert("tailsight_samples", samples)
    write_incidents(store, incidents(), NOW)


def incidents() -> list[Incident]:
    """One of the first week; two of the second: a GPU that got hot, which is over, and a port that is still bad."""
    one = sample_incidents()[0]
    return [
        _incident(one, "inc-earlier", MONDAY - timedelta(days=3), CauseKind.TRAFFIC_SURGE, EntityKind.SERVICE, "chat"),
        _incident(one, "inc-hot", MONDAY + timedelta(days=1), CauseKind.GPU_THERMAL_THROTTLE, EntityKind.GPU, "GPU-0"),
        replace(
            _incident(
                one, "inc-port", OVER - timedelta(hours=5), CauseKind.NETWORK_LINK_FAULT, EntityKind.PORT,
                "gpu-01/mlx5_0/1",
            ),
            ended_at=None,
        ),
    ]  # fmt: skip


def _incident(
    one: Incident, name: str, began: datetime, kind: CauseKind, entity_kind: EntityKind, entity: str
) -> Incident:
    cause = replace(one.cause, kind=kind, entity=Entity(entity_kind, entity), summary=f"{entity}: {kind.value}")
    return replace(
        one,
        id=name,
        service="chat",
        services_affected=("chat",),
        started_at=began,
        detected_at=began + timedelta(minutes=1),
        ended_at=began + timedelta(minutes=30),
        explanation=replace(one.explanation, causes=(cause,)),
    )


def _request(hour: datetime, number: int) -> dict[str, Any]:
    return {
        "time": hour + timedelta(minutes=15 * number),
        "service": "chat",
        "model": "llama",
        "version": "v1",
        "replica": "chat-0",
        "pool": "prod",
        "tenant": "acme" if number else "globex",
        "user": "ann" if number else "bob",
        "trace_id": f"{hour:%d%H}{number}",
        "is_error": hour.hour == 12 and number == 0,
        "latency_ms": 4_000.0,
        "ttft_ms": 200.0 if hour.hour else 900.0,
        "queue_ms": 0.0,
        "input_tokens": 1_000,
        "output_tokens": 100,
    }


def _gpus(hour: datetime) -> list[dict[str, Any]]:
    serving = {"replica": "chat-0", "service": "chat", "model": "llama"}
    nobody = dict.fromkeys(serving, "")
    rows = [
        {**serving, "gpu": f"GPU-{number}", "state": state, "seconds": 1800.0}
        for number in range(2)
        for state in ("busy", "loaded_without_traffic")
    ]
    rows += [
        {**nobody, "gpu": f"GPU-{number}", "state": "no_model", "seconds": 3600.0}
        for number in range(2, 4 if hour >= MONDAY else 3)
    ]
    whose = {"node": "gpu-01", "gpu_model": _GPU_MODEL, "pool": "prod", "slice_ratio": 1.0}
    return [{"hour": hour, **whose, **row, "settled_at": NOW} for row in rows]


def _shares(hour: datetime) -> list[dict[str, Any]]:
    whose = {"service": "chat", "model": "llama", "version": "v1", "pool": "prod", "replica": "chat-0", "node": ""}
    return [
        {
            "hour": hour, **whose, "tenant": tenant, "is_error": False, "requests": count,
            "input_tokens": 1_000 * count, "output_tokens": 100 * count, "engine_ms": 1_000.0 * count,
            "input_engine_ms": 250.0 * count, "settled_at": NOW,
        }
        for tenant, count in (("acme", 3), ("globex", 1))
    ]  # fmt: skip


def _telemetry(hours: list[datetime]) -> tuple[pl.DataFrame, pl.DataFrame]:
    empty = dict.fromkeys(("job", "instance", "node", "gpu", "port", "replica", "service", "model"), "")
    times = {"first_seen": hours[0], "last_seen": hours[-1]}
    labels = [
        *({"metric": "dcgm_fi_dev_gpu_util", "gpu": f"GPU-{number}"} for number in range(2)),
        {"metric": "node_infiniband_symbol_error_total", "port": "mlx5_0/1"},
    ]
    series = [
        {**empty, "node": "gpu-01", **of, "series_id": number, **times} for number, of in enumerate(labels, start=1)
    ]
    samples = [
        {"metric": of["metric"], "series_id": number, "time": hour, "value": 0.0}
        for hour in hours
        for number, of in enumerate(labels, start=1)
    ]
    ids = {"series_id": pl.UInt64}
    return pl.DataFrame(series, schema_overrides=ids), pl.DataFrame(samples, schema_overrides=ids)
