"""Questions to the store, each answered by a frame of a declared schema, a noun, or a list of nouns.

Times are UTC with microseconds; windows are half-open, by the start of a request or the time of a sample. Text that
is not known is null, never empty.
"""

import json
from collections.abc import Collection, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl

from domain.incident import Incident, Indicator, Status, from_document, to_document
from domain.topology import Topology, topology_from_document, topology_to_document
from domain.window import Window
from storage.errors import QueryError
from storage.store import Store

TIME = pl.Datetime("us", "UTC")

Schema = dict[str, pl.DataType | type[pl.DataType]]
"""Columns of a frame, in order."""

SERVICES: Schema = {"service": pl.String, "model": pl.String, "requests": pl.UInt64, "requests_with_ttft": pl.UInt64}
REQUEST_SERIES: Schema = {
    "time": TIME,
    "service": pl.String,
    "model": pl.String,
    "requests": pl.UInt64,
    "errors": pl.UInt64,
    "latency_ms": pl.List(pl.Float64),
    "ttft_ms": pl.List(pl.Float64),
    "latency_count": pl.UInt64,
    "ttft_count": pl.UInt64,
    "input_tokens_mean": pl.Float64,
    "output_tokens_mean": pl.Float64,
}
REQUESTS: Schema = {
    "time": TIME,
    "model": pl.String,
    "version": pl.String,
    "replica": pl.String,
    "node": pl.String,
    "pool": pl.String,
    "tenant": pl.String,
    "trace_id": pl.String,
    "is_error": pl.Boolean,
    "latency_ms": pl.Float64,
    "ttft_ms": pl.Float64,
    "queue_ms": pl.Float64,
    "prefill_ms": pl.Float64,
    "decode_ms": pl.Float64,
    "input_tokens": pl.UInt32,
    "output_tokens": pl.UInt32,
}
TRAFFIC: Schema = {
    "time": TIME,
    "model": pl.String,
    "replica": pl.String,
    "tenant": pl.String,
    "version": pl.String,
    "requests": pl.UInt64,
    "errors": pl.UInt64,
    "input_tokens": pl.UInt64,
    "output_tokens": pl.UInt64,
}
LATENCY: Schema = TRAFFIC | {
    "ttft_requests": pl.UInt64,
    "latency_ms": pl.List(pl.Float64),
    "ttft_ms": pl.List(pl.Float64),
}
SLO_COUNTS: Schema = {"time": TIME, "total": pl.UInt64, "good": pl.UInt64}
HEATMAP: Schema = {"time": TIME, "bucket": pl.Int32, "requests": pl.UInt64}
SERIES: Schema = {
    "metric": pl.String,
    "series_id": pl.UInt64,
    "job": pl.String,
    "instance": pl.String,
    "node": pl.String,
    "gpu": pl.String,
    "port": pl.String,
    "replica": pl.String,
    "service": pl.String,
    "model": pl.String,
}
SAMPLES: Schema = {"series_id": pl.UInt64, "time": TIME, "last": pl.Float64, "mean": pl.Float64}
FRESHNESS: Schema = {"source": pl.String, "newest": TIME}
_INCIDENTS: Schema = {"id": pl.String, "document": pl.String}
_DOCUMENT: Schema = {"document": pl.String}

PERCENTILES = ("p50", "p95", "p99")


def read_services(store: Store, window: Window) -> pl.DataFrame:
    """Services and models seen in the window, busiest model first. Schema: `SERVICES`."""
    return _known(store.query("services", SERVICES, **_bounds(window)))


def read_request_series(store: Store, window: Window, step_s: int, service: str | None = None) -> pl.DataFrame:
    """Requests by step, service and model, from the request records: exact percentiles.

    Columns: time, service, model, requests, errors, {latency,ttft}_ms_{p50,p95,p99} (null where there was nothing to
    measure), {latency,ttft}_count (what the percentiles rest on), {input,output}_tokens_mean.
    """
    frame = store.query("request_series", REQUEST_SERIES, **_bounds(window), step_s=step_s, service=service or "")
    return _known(_percentile_columns(frame))


def read_requests(
    store: Store, window: Window, service: str, model: str | None = None, one_in: int = 1
) -> pl.DataFrame:
    """One row a request of the service (and model), by start. Schema: `REQUESTS`.

    With `one_in` above 1 a sample by trace id: the same requests each time it is asked.
    """
    return _known(
        store.query("requests", REQUESTS, **_bounds(window), service=service, model=model or "", one_in=one_in)
    )


def read_traffic(store: Store, window: Window, service: str, step_s: int, by: Collection[str] = ()) -> pl.DataFrame:
    """Requests, errors and tokens by step, by up to four dimensions. Schema: `TRAFFIC`; the rest as `read_latency`."""
    dimensions = _rollup_dimensions(step_s, by)
    return _known(store.query("traffic", TRAFFIC, **_bounds(window), service=service, step_s=step_s, **dimensions))


def read_latency(store: Store, window: Window, service: str, step_s: int, by: Collection[str] = ()) -> pl.DataFrame:
    """Percentiles of any window from counts that add up (relative error 1 %), by up to four dimensions.

    Args:
        store: the store.
        window: rounded down to 15 s.
        service: the service.
        step_s: a multiple of 15.
        by: any of model, replica, tenant, version.

    Raises:
        ValueError: for a step that is no multiple of 15 s, or an unknown dimension.
    """
    dimensions = _rollup_dimensions(step_s, by)
    frame = store.query("latency", LATENCY, **_bounds(window), service=service, step_s=step_s, **dimensions)
    return _known(_percentile_columns(frame))


def read_slo_counts(
    store: Store, window: Window, service: str, indicator: Indicator, threshold_ms: float | None, step_s: int
) -> pl.DataFrame:
    """Good and all requests by step: the events an objective is judged on. Schema: `SLO_COUNTS`."""
    return store.query(
        "slo_counts",
        SLO_COUNTS,
        **_bounds(window),
        service=service,
        indicator=indicator.value,
        threshold_ms=0.0 if threshold_ms is None else threshold_ms,
        step_s=step_s,
    )


def read_heatmap(store: Store, window: Window, service: str, indicator: Indicator, step_s: int) -> pl.DataFrame:
    """Requests by step and duration; bucket b covers 2^(b/4) to 2^((b+1)/4) ms. Schema: `HEATMAP`."""
    return store.query("heatmap", HEATMAP, **_bounds(window), service=service, indicator=indicator.value, step_s=step_s)


def read_series(store: Store, window: Window, metrics: Sequence[str]) -> pl.DataFrame:
    """The series of these metrics alive in the window, with their entities. Schema: `SERIES`."""
    names = [metric.lower() for metric in metrics]
    return _known(store.query("series", SERIES, **_bounds(window), metrics=names))


def read_samples(store: Store, window: Window, series: pl.DataFrame, step_s: int) -> pl.DataFrame:
    """Samples of these series (a frame of `read_series`) by step, sorted by series and time. Schema: `SAMPLES`."""
    if series.is_empty():
        return pl.DataFrame(schema=SAMPLES)
    return store.query(
        "samples",
        SAMPLES,
        **_bounds(window),
        metrics=series["metric"].unique().to_list(),
        series_ids=series["series_id"].to_list(),
        step_s=step_s,
    )


def read_freshness(store: Store, now: datetime) -> dict[str, datetime | None]:
    """The newest request and the newest sample of the last day; None where there is none."""
    frame = store.query("freshness", FRESHNESS, start=now - timedelta(days=1))
    return dict(frame.iter_rows())


def read_incidents(
    store: Store, window: Window, service: str | None = None, status: Status | None = None, limit: int = 1000
) -> list[Incident]:
    """Incidents that were going on in the window, newest first."""
    frame = store.query(
        "incidents",
        _INCIDENTS,
        **_bounds(window),
        service=service or "",
        status=status.value if status else "",
        limit=limit,
    )
    return [from_document(json.loads(document)) for document in frame["document"]]


def read_incident(store: Store, incident_id: str) -> Incident | None:
    """One incident; None when there is none of that id."""
    frame = store.query("incident", _INCIDENTS, id=incident_id)
    return from_document(json.loads(frame["document"][0])) if frame.height else None


def write_incidents(store: Store, incidents: Sequence[Incident], now: datetime) -> None:
    """Store these incidents; the newest version of an id wins."""
    rows = [
        {
            "id": incident.id,
            "service": incident.service,
            "status": incident.status.value,
            "started_at": incident.started_at,
            "ended_at": incident.ended_at,
            "document": json.dumps(to_document(incident), allow_nan=False),
            "updated_at": now.astimezone(UTC),
        }
        for incident in incidents
    ]
    schema: Schema = {
        "id": pl.String,
        "service": pl.String,
        "status": pl.String,
        "started_at": TIME,
        "ended_at": TIME,
        "document": pl.String,
        "updated_at": TIME,
    }
    store.insert("tailsight_incidents", pl.DataFrame(rows, schema=schema))


def read_topology(store: Store) -> Topology:
    """The wiring as last told; empty when nobody told it."""
    frame = store.query("document", _DOCUMENT, kind="topology", name="default")
    return topology_from_document(json.loads(frame["document"][0])) if frame.height else Topology()


def write_topology(store: Store, topology: Topology, now: datetime) -> None:
    """Keep the wiring."""
    row = {
        "kind": "topology",
        "name": "default",
        "document": json.dumps(topology_to_document(topology)),
        "updated_at": now.astimezone(UTC),
    }
    store.insert("tailsight_documents", pl.DataFrame([row], schema_overrides={"updated_at": TIME}))


def _rollup_dimensions(step_s: int, by: Collection[str]) -> dict[str, bool]:
    dimensions = ("model", "replica", "tenant", "version")
    unknown = sorted(set(by) - set(dimensions))
    if unknown:
        raise ValueError(f"cannot group by {', '.join(unknown)}; valid are {', '.join(dimensions)}")
    if step_s <= 0 or step_s % 15:
        raise ValueError(f"step of {step_s} s; expected a positive multiple of 15 s, the resolution of the rollup")
    return {f"by_{name}": name in by for name in dimensions}


def _bounds(window: Window) -> dict[str, Any]:
    return {"start": window.start, "end": window.end}


def _known(frame: pl.DataFrame) -> pl.DataFrame:
    """Empty text means not known, and that is null."""
    return frame.with_columns(pl.col(pl.String).replace("", None))


def _percentile_columns(frame: pl.DataFrame) -> pl.DataFrame:
    """Lists of three percentiles become three columns; NaN (nothing to measure) becomes null."""
    for name in ("latency_ms", "ttft_ms"):
        if name not in frame.columns:
            raise QueryError(f"no percentiles {name} in {frame.columns}")
        columns = [
            pl.col(name).list.get(index, null_on_oob=True).fill_nan(None).alias(f"{name}_{percentile}")
            for index, percentile in enumerate(PERCENTILES)
        ]
        frame = frame.with_columns(columns).drop(name)
    return frame
