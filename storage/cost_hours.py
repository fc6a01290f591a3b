"""What cost is split by, settled an hour at a time once the hour is over, and the questions that it is settled from.

An hour is settled by one row, written last; where requests or samples came in since, it is settled again, and of
several settlements the newest counts. So a late request, a backfill and a job that was cut short are one case.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import polars as pl

from domain.window import Window, hour_of
from storage.frames import TIME, Schema, bounds, known
from storage.store import Store

REQUEST_HOURS: Schema = {
    "time": TIME,
    "service": pl.String,
    "model": pl.String,
    "version": pl.String,
    "pool": pl.String,
    "tenant": pl.String,
    "replica": pl.String,
    "node": pl.String,
    "is_error": pl.Boolean,
    "requests": pl.UInt64,
    "input_tokens": pl.UInt64,
    "output_tokens": pl.UInt64,
    "engine_ms": pl.Float64,
    "input_engine_ms": pl.Float64,
}
GPU_HOURS: Schema = {
    "time": TIME,
    "gpu": pl.String,
    "node": pl.String,
    "gpu_model": pl.String,
    "pool": pl.String,
    "replica": pl.String,
    "service": pl.String,
    "model": pl.String,
    "slice_ratio": pl.Float64,
    "state": pl.String,
    "seconds": pl.Float64,
}
ENGINE_REQUESTS: Schema = {
    "time": TIME,
    "service": pl.String,
    "model": pl.String,
    "version": pl.String,
    "replica": pl.String,
    "node": pl.String,
    "pool": pl.String,
    "tenant": pl.String,
    "user": pl.String,
    "trace_id": pl.String,
    "is_error": pl.Boolean,
    "latency_ms": pl.Float64,
    "ttft_ms": pl.Float64,
    "queue_ms": pl.Float64,
    "prefill_ms": pl.Float64,
    "decode_ms": pl.Float64,
    "input_tokens": pl.UInt32,
    "output_tokens": pl.UInt32,
    "cached_tokens": pl.UInt32,
}
GPU_EXTENTS: Schema = {
    "gpu": pl.String,
    "node": pl.String,
    "gpu_model": pl.String,
    "profile": pl.String,
    "first_seen": TIME,
    "last_seen": TIME,
}
OUTCOMES: Schema = {
    "service": pl.String,
    "model": pl.String,
    "tenant": pl.String,
    "version": pl.String,
    "pool": pl.String,
    "requests": pl.UInt64,
    "good": pl.UInt64,
    "errors": pl.UInt64,
    "users": pl.UInt64,
}
UNSETTLED: Schema = {"hour": TIME, "requests": pl.UInt64, "samples": pl.UInt64}
_SETTLED: Schema = {"hour": TIME, "settled_at": TIME}

OUTCOME_DIMENSIONS = ("service", "model", "tenant", "version", "pool")


_FOREVER = datetime(2106, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Promised:
    """Times in ms that a service promises; 0 where it promises nothing of one."""

    ttft_ms: float = 0.0
    latency_ms: float = 0.0
    tpot_ms: float = 0.0


def read_unsettled_hours(
    store: Store, window: Window, limit: int = 100_000, settled_before: datetime = _FOREVER
) -> pl.DataFrame:
    """Hours that hold more than they were settled from, newest first. Schema: `UNSETTLED`.

    Of hours that were settled, only those before `settled_before`. One that holds less than it was settled from,
    because its requests are kept no longer, stays as it is.
    """
    return store.query("unsettled_hours", UNSETTLED, **bounds(window), limit=limit, settled_before=settled_before)


def read_settled_hours(store: Store, window: Window) -> set[datetime]:
    """The hours of a window that were settled, as they may have been before more came in."""
    return set(store.query("settled_hours", _SETTLED, **bounds(window))["hour"])


def read_request_hours(store: Store, window: Window) -> pl.DataFrame:
    """Engine time of settled hours by whose requests it went to. Schema: `REQUEST_HOURS`."""
    return known(store.query("request_hours", REQUEST_HOURS, **bounds(window)))


def read_gpu_hours(store: Store, window: Window) -> pl.DataFrame:
    """What GPUs did in settled hours. Schema: `GPU_HOURS`."""
    return known(store.query("gpu_hours", GPU_HOURS, **bounds(window)))


def read_engine_requests(store: Store, window: Window, service: str | None = None) -> pl.DataFrame:
    """The requests of all services (or one) that began in a window. Schema: `ENGINE_REQUESTS`."""
    frame = store.query("engine_requests", ENGINE_REQUESTS, **bounds(window), service=service or "")
    return known(frame)


def read_gpu_extents(store: Store, window: Window, metrics: Sequence[str]) -> pl.DataFrame:
    """What each GPU of a window is, and when it was first and last heard of at all. Schema: `GPU_EXTENTS`."""
    frame = store.query("gpu_extents", GPU_EXTENTS, **bounds(window), metrics=list(metrics))
    return known(frame)


def read_outcomes(
    store: Store,
    window: Window,
    promised: Mapping[str, Promised],
    by: Collection[str] = (),
    left_out: Collection[datetime] = (),
) -> pl.DataFrame:
    """Requests that succeeded within their promised times, failures and users, by dimensions. Schema: `OUTCOMES`.

    Args:
        store: the store.
        window: by the start of a request.
        promised: by service.
        by: any of `OUTCOME_DIMENSIONS`.
        left_out: hours that are not looked at, by their beginning.

    Raises:
        ValueError: for another dimension.
    """
    unknown = sorted(set(by) - set(OUTCOME_DIMENSIONS))
    if unknown:
        raise ValueError(f"cannot count by {', '.join(unknown)}; valid are {', '.join(OUTCOME_DIMENSIONS)}")
    frame = store.query(
        "outcomes",
        OUTCOMES,
        **bounds(window),
        services=list(promised),
        ttft_ms=[one.ttft_ms for one in promised.values()],
        latency_ms=[one.latency_ms for one in promised.values()],
        tpot_ms=[one.tpot_ms for one in promised.values()],
        left_out=list(left_out),
        **{f"by_{name}": name in by for name in OUTCOME_DIMENSIONS},
    )
    return known(frame)


def settle_hour(
    store: Store,
    hour: datetime,
    request_hours: pl.DataFrame,
    gpu_hours: pl.DataFrame,
    *,
    requests: int,
    samples: int,
    now: datetime,
) -> None:
    """Keep what an hour's cost is split by.

    Args:
        store: migrated.
        hour: its beginning.
        request_hours: schema `REQUEST_HOURS`.
        gpu_hours: schema `GPU_HOURS`.
        requests: how many requests of the hour there were before they were read.
        samples: the same of samples.
        now: of several settlements of an hour the newest counts.
    """
    settled_at = pl.lit(now.astimezone(UTC), dtype=TIME).alias("settled_at")
    for table, rows in (("tailsight_request_hours", request_hours), ("tailsight_gpu_hours", gpu_hours)):
        told = rows.with_columns(pl.col(pl.String).fill_null(""), settled_at).rename({"time": "hour"})
        store.insert(table, told)
    row = {"hour": [hour], "requests": [requests], "samples": [samples], "settled_at": [now.astimezone(UTC)]}
    store.insert("tailsight_cost_hours", pl.DataFrame(row, schema={**UNSETTLED, "settled_at": TIME}))


def whole_hours(window: Window) -> Window:
    """The window rounded out to whole hours."""
    end = hour_of(window.end)
    return Window(hour_of(window.start), end if end == window.end else end + timedelta(hours=1))
