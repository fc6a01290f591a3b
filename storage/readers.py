"""Questions to the store, each answered by a frame of a declared schema.

Times are UTC with microseconds; windows are half-open, by the start of a request or the time of a sample. Text that
is not known is null, never empty.
"""

import re
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Literal

import polars as pl

from domain.incident import Indicator
from domain.slo import Selection
from domain.window import Window, hour_of
from storage.frames import TIME, Schema, bounds, known
from storage.store import Store

SERVICES: Schema = {"service": pl.String, "model": pl.String, "requests": pl.UInt64, "requests_with_ttft": pl.UInt64}
REQUEST_SERIES: Schema = {
    "time": TIME,
    "service": pl.String,
    "model": pl.String,
    "requests": pl.UInt64,
    "errors": pl.UInt64,
    "latency_ms": pl.List(pl.Float64),
    "ttft_ms": pl.List(pl.Float64),
    "tpot_ms": pl.List(pl.Float64),
    "paced_latency_ms": pl.List(pl.Float64),
    "paced_ttft_ms": pl.List(pl.Float64),
    "latency_count": pl.UInt64,
    "tpot_count": pl.UInt64,
    "ttft_count": pl.UInt64,
    "latency_slow": pl.UInt64,
    "ttft_slow": pl.UInt64,
    "tpot_slow": pl.UInt64,
    "latency_long": pl.UInt64,
    "ttft_long": pl.UInt64,
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
CALLS: Schema = {
    "trace_id": pl.String,
    "span_id": pl.String,
    "parent_id": pl.String,
    "service": pl.String,
    "peer": pl.String,
    "time": TIME,
    "duration_ms": pl.Float64,
    "is_error": pl.Boolean,
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
SLO_WAITING: Schema = {"time": TIME, "waiting": pl.Float64}
SLO_NEWEST: Schema = {"time": TIME, "newest": TIME}
SLO_GPUS: Schema = {
    "time": TIME,
    "job": pl.String,
    "instance": pl.String,
    "reported": pl.UInt64,
    "healthy": pl.UInt64,
    "up": pl.Float64,
}
SLO_GPU_SEEN: Schema = {"job": pl.String, "instance": pl.String, "gpu": pl.String, "first": TIME, "last": TIME}
TRAFFIC_STEPS: Schema = {"service": pl.String, "time": TIME, "requests": pl.UInt64, "oldest": TIME, "newest": TIME}
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
    "labels": pl.List(pl.String),
}
SAMPLES: Schema = {"series_id": pl.UInt64, "time": TIME, "values": pl.List(pl.Float64)}
SAMPLE_ROWS: Schema = {"series_id": pl.UInt64, "time": TIME, "value": pl.Float64}
REPLICA_POOLS: Schema = {"replica": pl.String, "pool": pl.String, "model": pl.String}
SERIES_COUNTS: Schema = {"metric": pl.String, "series_count": pl.UInt64}
KEY_VALUES: Schema = {"key": pl.String, "values_count": pl.UInt64, "example": pl.String}
QUARANTINE: Schema = {
    "time": TIME,
    "signal": pl.String,
    "reason": pl.String,
    "segment": pl.String,
    "count": pl.UInt64,
    "detail": pl.String,
}
SOURCES: Schema = {"kind": pl.String, "name": pl.String, "instance": pl.String, "newest": TIME, "up": pl.Float64}
FRESHNESS: Schema = {"source": pl.String, "newest": TIME}
KEPT_REPORTS: Schema = {
    "week": pl.String,
    "state": pl.String,
    "read_at": pl.String,
    "cost_usd": pl.Float64,
    "incidents_count": pl.UInt64,
}
_HOURS: Schema = {"hour": TIME}
_MOST_VARIED_LABEL: Schema = {"label": pl.String, "values_count": pl.UInt64, "example": pl.String}
_USER_TENANTS: Schema = {"user": pl.String, "tenant": pl.String}
_FIRST: Schema = {"first": TIME}

ALL_REQUESTS = Selection()
"""No request of a service is left out."""

PERCENTILES = ("p50", "p95", "p99")
ROLLUP_STEPS_S = (60, 120, 180, 240, 300, 360, 600, 720, 900, 1200, 1800, 3600)
"""Steps of samples that are read from the rollup by minute: whole minutes that divide the hour."""

_HOUR_S = 3600
_WHOLE: Mapping[str, tuple[str, Collection[str]]] = {}  # metrics of which only a part is read: none


def read_services(store: Store, window: Window, service: str | None = None) -> pl.DataFrame:
    """Services (or one of them) and models seen in the window, busiest model first. Schema: `SERVICES`.

    Of a service the 100 models with most requests are told. The row without a model has all others, and the requests
    that name none: those of a service add up to all of it.
    """
    return known(store.query("services", SERVICES, **bounds(window), service=service or ""))


def read_request_series(store: Store, window: Window, step_s: int, service: str | None = None) -> pl.DataFrame:
    """Requests by step, service and model, from the request records: exact percentiles.

    Columns: time, service, model, requests, errors, {latency,ttft,tpot}_ms_{p50,p95,p99} (null where there was nothing
    to measure), {latency,ttft,tpot}_count (what the percentiles rest on), {input,output}_tokens_mean.

    Of latency and TTFT also paced_{latency,ttft}_ms_{p50,p95,p99}: the time over what requests of like length (a
    factor of two) usually took in the window, times what all did. {latency,ttft,tpot}_slow counts requests that, so
    paced, took longer than 99 % of the window; {latency,ttft}_long those that did as they are.
    """
    frame = store.query("request_series", REQUEST_SERIES, **bounds(window), step_s=step_s, service=service or "")
    return known(_percentile_columns(frame))


def read_requests(
    store: Store, window: Window, service: str, model: str | None = None, one_in: int = 1
) -> pl.DataFrame:
    """One row a request of the service (and model), by start. Schema: `REQUESTS`.

    With `one_in` above 1 a sample by trace id: the same requests each time it is asked.
    """
    return known(store.query("requests", REQUESTS, **bounds(window), service=service, model=model or "", one_in=one_in))


def read_traffic(
    store: Store,
    window: Window,
    service: str,
    step_s: int,
    by: Collection[str] = (),
    models: Collection[str | None] = (),
) -> pl.DataFrame:
    """Requests, errors and tokens by step, by up to four dimensions. Schema: `TRAFFIC`; the rest as `read_latency`."""
    dimensions = _rollup_dimensions(step_s, by, models)
    return known(store.query("traffic", TRAFFIC, **bounds(window), service=service, step_s=step_s, **dimensions))


def read_traffic_steps(store: Store, window: Window) -> pl.DataFrame:
    """Requests of every service by five minutes; a step without any is not there. Schema: `TRAFFIC_STEPS`."""
    return store.query("traffic_steps", TRAFFIC_STEPS, **bounds(window))


def read_latency(
    store: Store,
    window: Window,
    service: str,
    step_s: int,
    by: Collection[str] = (),
    models: Collection[str | None] = (),
) -> pl.DataFrame:
    """Percentiles of any window from counts that add up (relative error 1 %), by up to four dimensions.

    Args:
        store: the store.
        window: rounded down to 15 s.
        service: the service.
        step_s: a multiple of 15.
        by: any of model, replica, tenant, version.
        models: whose requests, None for those that name no model; all when empty.

    Raises:
        ValueError: for a step that is no multiple of 15 s, or an unknown dimension.
    """
    dimensions = _rollup_dimensions(step_s, by, models)
    frame = store.query("latency", LATENCY, **bounds(window), service=service, step_s=step_s, **dimensions)
    return known(_percentile_columns(frame))


def read_slo_counts(
    store: Store,
    window: Window,
    service: str,
    indicator: Indicator,
    threshold_ms: float | None,
    step_s: int,
    *,
    tpot_threshold_ms: float | None = None,
    selection: Selection = ALL_REQUESTS,
) -> pl.DataFrame:
    """Good and all requests by step: the events an objective is judged on. Schema: `SLO_COUNTS`.

    Args:
        store: the store.
        window: by the start of a request.
        service: whose requests.
        indicator: one that is told of requests: errors, ttft, latency, tpot, goodput.
        threshold_ms: of the indicator; of goodput that of the first token.
        step_s: seconds a step.
        tpot_threshold_ms: of goodput, per token after the first.
        selection: which of the requests.
    """
    return store.query(
        "slo_counts",
        SLO_COUNTS,
        **bounds(window),
        service=service,
        indicator=indicator.value,
        threshold_ms=0.0 if threshold_ms is None else threshold_ms,
        tpot_threshold_ms=(threshold_ms if tpot_threshold_ms is None else tpot_threshold_ms) or 0.0,
        step_s=step_s,
        **_selected(selection),
    )


def read_slo_waiting(
    store: Store, window: Window, service: str, metrics: Sequence[str], selection: Selection = ALL_REQUESTS
) -> pl.DataFrame:
    """Minutes in which requests waited in the engines of a service. Schema: `SLO_WAITING`.

    Args:
        store: the store.
        window: when.
        service: whose engines.
        metrics: the names of the length of a queue.
        selection: of which model and pool; an engine does not say of which tenant and version those that wait are.
    """
    names = [metric.lower() for metric in metrics]
    asked = {"metrics": names, "model": selection.model or "", "pool": selection.pool or ""}
    return store.query("slo_waiting", SLO_WAITING, **bounds(window), service=service, **asked)


def read_slo_newest(
    store: Store, window: Window, service: str, data: Literal["requests", "samples"], selection: Selection
) -> pl.DataFrame:
    """The newest request of a service, or sample of anything, of each minute that had any. Schema: `SLO_NEWEST`."""
    return store.query("slo_newest", SLO_NEWEST, **bounds(window), service=service, data=data, **_selected(selection))


def read_slo_first(
    store: Store, end: datetime, service: str, data: Literal["requests", "samples"], selection: Selection
) -> datetime | None:
    """When the first of them before `end` that is kept came in; None when there is none."""
    found = store.query("slo_first", _FIRST, end=end, service=service, data=data, **_selected(selection))
    first: datetime | None = found["first"][0]
    return first


def read_slo_gpus(
    store: Store, window: Window, alive: Sequence[str], xid: str, xids: Collection[int], nodes: str | None
) -> pl.DataFrame:
    """How many GPUs told of themselves, and of no fault, by minute and exporter. Schema: `SLO_GPUS`.

    Args:
        store: the store.
        window: when.
        alive: metrics of which a GPU that works tells at least one.
        xid: the metric of the last XID.
        xids: those that say the hardware is at fault.
        nodes: of which nodes, `*` for any letters; None for all.
    """
    asked = {"alive": [name.lower() for name in alive], "nodes": _like(nodes)}
    codes = [float(code) for code in xids]
    return store.query("slo_gpus", SLO_GPUS, **bounds(window), **asked, xid=xid.lower(), xids=codes)


def read_slo_gpu_seen(store: Store, window: Window, alive: Sequence[str], nodes: str | None) -> pl.DataFrame:
    """When each GPU that was seen in the window was seen first and last at all, by exporter. Schema: `SLO_GPU_SEEN`.

    Arguments as of `read_slo_gpus`.
    """
    asked = {"alive": [name.lower() for name in alive], "nodes": _like(nodes)}
    return store.query("slo_gpu_seen", SLO_GPU_SEEN, **bounds(window), **asked)


def _selected(selection: Selection) -> dict[str, str]:
    return {name: getattr(selection, name) or "" for name in ("model", "version", "tenant", "pool")}


def _like(pattern: str | None) -> str:
    """A name with `*` as a pattern of LIKE."""
    escaped = re.sub(r"([\\%_])", r"\\\1", "*" if pattern is None else pattern)
    return escaped.replace("*", "%")


def read_heatmap(store: Store, window: Window, service: str, indicator: Indicator, step_s: int) -> pl.DataFrame:
    """Requests by step and duration; bucket b covers 2^(b/4) to 2^((b+1)/4) ms. Schema: `HEATMAP`."""
    return store.query("heatmap", HEATMAP, **bounds(window), service=service, indicator=indicator.value, step_s=step_s)


def read_series(
    store: Store,
    window: Window,
    metrics: Sequence[str],
    labels: Sequence[str] = (),
    parts: Mapping[str, tuple[str, Collection[str]]] = _WHOLE,
) -> pl.DataFrame:
    """The series of these metrics alive in the window, with their entities. Schema: `SERIES`.

    Of a metric that has more than `Store.series_per_metric_max` the first ones.

    Args:
        store: the store.
        window: when.
        metrics: their names.
        labels: whose values `labels` of the frame has, in their order; empty text for one that is not there.
        parts: of metrics (in lower case) that are not read whole, a label and the values that it has in what is read.
    """
    asked = {"metrics": [metric.lower() for metric in metrics], "labels": list(labels)}
    part = {
        "parted": list(parts),
        "part_labels": [label for label, _ in parts.values()],
        "part_values": [sorted(values) for _, values in parts.values()],
    }
    most = store.series_per_metric_max
    return known(store.query("series", SERIES, **bounds(window), **asked, **part, series_per_metric_max=most))


def read_calls(store: Store, window: Window, trace_ids: Sequence[str]) -> pl.DataFrame:
    """The spans of these traces, by trace: who called whom, and how long it took. Schema: `CALLS`.

    Of spans that came in through our own door; somebody else's table is not asked.
    """
    table = f"{store.table_prefix()}otel_traces"
    return known(store.query("calls", CALLS, **bounds(window), trace_ids=list(trace_ids), table=table))


def read_samples(
    store: Store, window: Window, series: pl.DataFrame, step_s: int, value: Literal["last", "mean"]
) -> pl.DataFrame:
    """Samples of these series (a frame of `read_series`) by step, in blocks of steps. Schema: `SAMPLES`.

    Each row is one block of one series: `time` is the start of its first step, and each of `values` the last sample
    (for counters) or the mean (for levels) of one step, NaN where there was none. All blocks are equally long, no two
    of a series overlap, and their order means nothing; the first and the last may reach beyond the window.

    The steps of `ROLLUP_STEPS_S` are read from the rollup by minute where it is complete: a sample of a minute that the
    window cuts in two then counts whole.
    """
    if series.is_empty():
        return pl.DataFrame(schema=SAMPLES)
    block_s = step_s * max(1, _HOUR_S // step_s)
    ask = {
        "metrics": series["metric"].unique().to_list(),
        "series_ids": series["series_id"].to_list(),
        "step_s": step_s,
        "value": value,
    }
    hours = _rolled_up_hours(store, window) if step_s in ROLLUP_STEPS_S else []
    parts = [
        store.query("samples", SAMPLES, **bounds(stretch), block_s=block_s, **ask)
        for stretch in _without_hours(window, hours)
    ]
    if hours:
        parts.append(store.query("samples_rolled_up", SAMPLES, hours=hours, **ask))
    return pl.concat(parts)


def sample_rows(samples: pl.DataFrame, step_s: int) -> pl.DataFrame:
    """The steps of a frame of `read_samples` that have a sample, one row each. Schema: `SAMPLE_ROWS`."""
    return (
        samples.with_columns(pl.int_ranges(pl.col("values").list.len()).alias("step"))
        .explode("values", "step")
        .filter(pl.col("values").is_not_nan())
        .select(
            "series_id",
            (pl.col("time") + pl.duration(seconds=pl.col("step") * step_s)).alias("time"),
            pl.col("values").alias("value"),
        )
    )


def _rolled_up_hours(store: Store, window: Window) -> list[datetime]:
    """Beginnings of the hours in the window of which the rollup by minute holds every sample."""
    hours = store.query("rolled_up_hours", _HOURS, start=hour_of(window.start), end=window.end)
    return list(hours["hour"])


def _without_hours(window: Window, hours: Collection[datetime]) -> list[Window]:
    """What is left of the window without these hours, in as few stretches as can be."""
    stretches = []
    start = window.start
    for hour in sorted(hours):
        if hour > start:
            stretches.append(Window(start, hour))
        start = hour + timedelta(hours=1)
    return [*stretches, Window(start, window.end)] if start < window.end else stretches


def read_replica_pools(store: Store, window: Window) -> pl.DataFrame:
    """Which pool and model each replica last served requests in. Schema: `REPLICA_POOLS`."""
    return known(store.query("replica_pools", REPLICA_POOLS, **bounds(window)))


def read_hours_with_requests(store: Store, window: Window) -> list[datetime]:
    """The hours of a window in which a request began, in order."""
    return list(store.query("hours_with_requests", _HOURS, **bounds(window))["hour"])


def read_hours_with_samples(store: Store, window: Window) -> list[datetime]:
    """The hours of a window that hold samples, in order."""
    return list(store.query("hours_with_samples", _HOURS, **bounds(window))["hour"])


def read_user_tenants(store: Store, window: Window, limit: int = 1_000_000) -> dict[str, str | None]:
    """The users of a window, each with the tenant of most of its requests; None is not known."""
    frame = known(store.query("user_tenants", _USER_TENANTS, **bounds(window), limit=limit))
    return dict(frame.iter_rows())


def read_series_counts(store: Store, since: datetime) -> pl.DataFrame:
    """How many series each metric had since then, most first. Schema: `SERIES_COUNTS`."""
    return store.query("series_counts", SERIES_COUNTS, since=since)


def read_most_varied_label(store: Store, metric: str, since: datetime) -> tuple[str, int, str] | None:
    """The label of a metric with the most values among its new series, how many, and one of them.

    Job and instance are told as `service.name` and `service.instance.id`. None when no label has two values.
    """
    rows = store.query("most_varied_label", _MOST_VARIED_LABEL, metric=metric, since=since).rows()
    return rows[0] if rows else None


def read_request_key_values(store: Store, since: datetime) -> pl.DataFrame:
    """How many services, tenants, models, versions and replicas requests had since then. Schema: `KEY_VALUES`."""
    return store.query("request_key_values", KEY_VALUES, since=since)


FRESHNESS_DAYS = (1, 35)
"""How far back the newest data are looked for; most often a day is enough, and quick."""


def read_freshness(store: Store, now: datetime) -> dict[str, datetime | None]:
    """The newest request and the newest sample of the last `FRESHNESS_DAYS`; None where there is none."""
    known: dict[str, datetime | None] = {}
    for days in FRESHNESS_DAYS:
        frame = store.query("freshness", FRESHNESS, start=now - timedelta(days=days))
        known = dict(frame.iter_rows())
        if all(newest is not None for newest in known.values()):
            break
    return known


def read_quarantine(store: Store, window: Window, limit: int = 200) -> pl.DataFrame:
    """What came in the window and could not be stored, newest first. Schema: `QUARANTINE`."""
    return store.query("quarantine", QUARANTINE, **bounds(window), limit=limit)


def read_sources(store: Store, window: Window) -> pl.DataFrame:
    """Who sent something in the window, and when last; `up` is what the last scrape of five minutes said.

    Schema: `SOURCES`. `kind` is requests (name is the service) or metrics (name is the job). `newest` is null for a
    target of which nothing but failed scrapes came in, `up` (0 or 1) for a source that is not scraped by us.
    """
    recent = max(window.start, window.end - timedelta(minutes=5))
    return known(store.query("sources", SOURCES, **bounds(window), recent=recent))


def read_kept_reports(store: Store, kind: str, limit: int = 1000) -> pl.DataFrame:
    """Weekly reports that were kept, a row each, the newest week first. Schema: `KEPT_REPORTS`."""
    return known(store.query("kept_reports", KEPT_REPORTS, kind=kind, limit=limit))


def _rollup_dimensions(step_s: int, by: Collection[str], models: Collection[str | None]) -> dict[str, Any]:
    dimensions = ("model", "replica", "tenant", "version")
    unknown = sorted(set(by) - set(dimensions))
    if unknown:
        raise ValueError(f"cannot group by {', '.join(unknown)}; valid are {', '.join(dimensions)}")
    if step_s <= 0 or step_s % 15:
        raise ValueError(f"step of {step_s} s; expected a positive multiple of 15 s, the resolution of the rollup")
    return {f"by_{name}": name in by for name in dimensions} | {"models": [model or "" for model in models]}


def _percentile_columns(frame: pl.DataFrame) -> pl.DataFrame:
    """Lists of three percentiles become three columns; NaN (nothing to measure) becomes null."""
    for name in (
        name
        for name in ("latency_ms", "ttft_ms", "tpot_ms", "paced_latency_ms", "paced_ttft_ms")
        if name in frame.columns
    ):
        columns = [
            pl.col(name).list.get(index, null_on_oob=True).fill_nan(None).alias(f"{name}_{percentile}")
            for index, percentile in enumerate(PERCENTILES)
        ]
        frame = frame.with_columns(columns).drop(name)
    return frame
