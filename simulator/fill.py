"""The fast way into a store, for benchmarks and long tests: what a simulation shows, without a wire.

Spans go through the store's own decoder and views; samples straight into the tables that the views fill, with the
entities that views/series.sql would derive. A test holds both ways to the same rows.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Protocol

import numpy as np
import polars as pl
from numpy.typing import NDArray

from domain.window import rfc3339
from simulator.history import HistoryEncoder
from simulator.quirks import Quirks, Sight
from simulator.run import Simulation, Slice
from simulator.samples import Target

TICKS_PER_INSERT = 120  # fewer, larger inserts: each costs the engine some 30 ms of analysis
GREATEST_COUNT = 2.0**62  # nothing that a source has counted is more (views/samples.sql)
# DCGM's blanks (views/samples.sql).
BLANKS = np.array([*(2147483632.0 + n for n in range(4)), *(140737488355328.0 + n for n in range(4))])

_SERIES: Mapping[str, pl.DataType | type[pl.DataType]] = {
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
    # A frame has no maps: the engine makes one of a tuple of two arrays.
    "attributes": pl.Struct({"names": pl.List(pl.String), "texts": pl.List(pl.String)}),
}


class Store(Protocol):
    """What a filling needs of a store (`storage.store.Store` is one): the simulator itself knows no database."""

    @property
    def identity(self) -> Mapping[str, tuple[str, ...]]:
        """The lists of labels that entities are read from."""

    def insert(self, table: str, frame: pl.DataFrame, *, token: str | None = None) -> None:
        """Append a frame to a table, columns by name."""

    def load_otlp(self, table: str, payload: bytes, *, token: str) -> None:
        """Decode export requests and append their rows, once for a token."""


@dataclass(frozen=True, slots=True)
class FillCount:
    """What was put into the store."""

    requests: int
    samples: int


def fill(
    store: Store,
    simulation: Simulation,
    start: datetime,
    end: datetime,
    *,
    scrape_step_s: float | None = None,
    quirks: Quirks | None = None,
    calls_one_in: int = 1,
) -> FillCount:
    """Play the simulation from `start` to `end` and put what it shows into a migrated store.

    What it does before `start` is passed over in silence. `quirks` come on top of the simulation's own. Of
    `calls_one_in` traces one has the spans of the services that it calls.

    Raises:
        ValueError: when `start` is before the simulation's now, or `end` not after `start`.
    """
    if end <= start:
        raise ValueError(f"the filling ends at {rfc3339(end)}, not after its start {rfc3339(start)}")
    step_s = scrape_step_s or simulation.scrape_step_s
    if start > simulation.now:
        simulation.advance(start, scrape_step_s=step_s)
    sight = Sight(quirks or Quirks())
    skews_s = simulation.skews_s if quirks is None else quirks.skews_s(simulation.cloud)
    encoder = HistoryEncoder(simulation.cloud, calls_one_in=calls_one_in, skews_s=skews_s)
    series = _Series(store.identity)
    requests_count = samples_count = 0
    for until in _chunks(start, end, step_s):
        happened = simulation.advance(until, scrape_step_s=step_s)
        spans = encoder.encode(happened.requests, happened.startups)
        if spans:
            # The same spans again are the same filling again, and change nothing.
            token = hashlib.blake2b(spans, digest_size=16).hexdigest()
            store.load_otlp("otel_traces", spans, token=f"fill/{token}")
        requests_count += len(happened.requests)
        samples_count += _insert_samples(store, series, sight, happened)
    return FillCount(requests_count, samples_count)


def _insert_samples(store: Store, series: "_Series", sight: Sight, happened: Slice) -> int:
    """Put all samples of a slice into the store; how many."""
    if not happened.ticks_s.size:
        return 0
    seen = sight.seen(happened.scrapes, happened.ticks_s)
    parts = [part for scrape in seen for part in (scrape, scrape.own())]
    of_parts = [series.of(part.target) for part in parts]
    known = pl.concat(of_parts)
    values = np.concatenate([part.values.T for part in parts])  # (series, ticks)
    shown = ~np.isnan(values)
    times = np.floor(happened.ticks_s).astype(np.int64)
    there = shown.any(axis=1)
    first, last = shown.argmax(axis=1), shown.shape[1] - 1 - shown[:, ::-1].argmax(axis=1)
    store.insert(
        "tailsight_series",
        known.with_columns(_moments("first_seen", times[first]), _moments("last_seen", times[last])).filter(there),
    )
    is_dcgm = known["metric"].str.starts_with("dcgm_").to_numpy()
    kept = shown & (values < GREATEST_COUNT) & ~(is_dcgm[:, None] & np.isin(values, BLANKS))
    rows, ticks = np.nonzero(kept)
    samples = pl.DataFrame(
        {
            "metric": known["metric"].cast(pl.Categorical).gather(rows).cast(pl.String),
            "series_id": known["series_id"].to_numpy()[rows],
            "time": _moments("time", times[ticks]),
            "value": values[rows, ticks],
        }
    )
    store.insert("tailsight_samples", samples)
    return samples.height


def _moments(name: str, seconds: NDArray[np.int64]) -> pl.Series:
    return pl.from_epoch(pl.Series(name, seconds)).dt.replace_time_zone("UTC")


class _Series:
    """Targets as frames of series, made once; identity as views/series.sql derives it."""

    def __init__(self, identity: Mapping[str, Sequence[str]]) -> None:
        self._identity = identity
        self._known: dict[str, tuple[Target, pl.DataFrame]] = {}

    def of(self, target: Target) -> pl.DataFrame:
        """The series of a target, in order of its families."""
        known = self._known.get(target.name)
        if known is None or known[0] != target:
            rows = [self._row(target, family.name, labels) for family in target.families for labels in family.labels]
            known = self._known[target.name] = (target, pl.DataFrame(rows, schema=_SERIES, orient="row"))
        return known[1]

    def _row(self, target: Target, name: str, labels: Mapping[str, str]) -> tuple[object, ...]:
        attributes = dict(sorted((dict(labels) | dict(target.labels)).items()))

        def first(names: str) -> str:
            return next((attributes[label] for label in self._identity[names] if attributes.get(label)), "")

        device, port, switch = (attributes.get(label, "") for label in ("device", "port", "switch"))
        of_switch = switch if port and not device else ""
        node = of_switch or first("node_labels") or attributes.get("instance", "") or target.instance
        gpu, part = first("gpu_labels"), attributes.get("GPU_I_ID", "")
        on_adapter = f"{device}/{port}" if port and device else ""
        if rdma := attributes.get("rdma_device"):
            on_adapter = f"{rdma}/{attributes.get('rdma_port', '')}"
        text = repr((name, target.job, target.instance, attributes))
        return (
            name.lower(),
            int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little"),
            target.job,
            target.instance,
            node if node != target.instance else target.instance.partition(":")[0],
            f"{gpu}/{part}" if gpu and part else gpu,
            on_adapter or (port if of_switch else ""),
            first("replica_labels"),
            first("service_labels"),
            first("model_labels"),
            {"names": list(attributes), "texts": list(attributes.values())},
        )


def _chunks(start: datetime, end: datetime, step_s: float) -> Iterator[datetime]:
    """Ends of the stretches that are inserted at once."""
    stretch = timedelta(seconds=TICKS_PER_INSERT * step_s)
    until = start + stretch
    while until < end:
        yield until.astimezone(UTC)
        until += stretch
    yield end.astimezone(UTC)
