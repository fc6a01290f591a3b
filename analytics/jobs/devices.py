"""Devices: how GPUs and links are, and which of their faults somebody is to mend."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
import polars as pl

from analytics.device_faults import (
    GPU_METRICS,
    PORT_METRICS,
    DeviceFault,
    DeviceStretch,
    fault_document,
    fault_of,
    faults_at,
    gpu_samples,
    index_by_gpu,
    named_by,
    port_samples,
    replicas_by_place,
    with_riders,
)
from analytics.jobs.explaining import read_metric_signals
from analytics.knowledge import Knowledge
from analytics.neighbourhood import GPU_INDEX_LABEL
from analytics.signals import Grid
from domain.entity import Entity, EntityKind
from domain.incident import Incident
from domain.topology import Topology
from domain.window import Window, step_of
from storage.documents import read_document, write_document
from storage.readers import read_samples, read_series, read_services, read_traffic, sample_rows
from storage.store import Store
from storage.topology import read_topology

NOW_S = 600.0  # within so long something was told, or nothing is known
_READING_STEP_S = 30
_FAULT_STEP_S, _FAULT_LOOK_S = 60, 1800
_FAULT_LAG_S = 20  # of the last minute all is there
_FAULT_TRAFFIC_STEP_S = 1800
_FAULTS_READ = timedelta(hours=3)
_FAULTS = "device-faults"


@dataclass(frozen=True, slots=True)
class DeviceReading:
    """What one GPU or port told last: by signal, null for one that it did not tell of late."""

    entity: Entity
    node: str | None
    replica: str | None
    pool: str | None
    gpu_model: str | None
    values: Mapping[str, float | None]


def device_readings(store: Store, kind: EntityKind, now: datetime, knowledge: Knowledge) -> list[DeviceReading]:
    """What every GPU or port told within the last minutes, by name; one that told nothing of late has no values."""
    signals = [one for one in knowledge.signals.values() if one.entity is kind and one.metrics]
    window = Window(now - timedelta(seconds=NOW_S), now)
    metrics = sorted({metric for one in signals for metric in (*one.metrics, *one.capacity)})
    labels = (*knowledge.labels, "modelName", "exported_namespace", "namespace")
    series = read_series(store, window, metrics, labels)
    values: dict[Entity, dict[str, float | None]] = {}
    for matrix in read_metric_signals(store, series, Grid(window, _READING_STEP_S), knowledge):
        if matrix.signal.entity is not kind:
            continue
        for row, entity in enumerate(matrix.entities):
            told = matrix.values[row]
            finite = told[np.isfinite(told)]
            values.setdefault(entity, {})[matrix.signal.name] = float(finite[-1]) if finite.size else None
    label = {name: pl.col("labels").list.get(at, null_on_oob=True).replace("", None) for at, name in enumerate(labels)}
    name = pl.col("gpu") if kind is EntityKind.GPU else pl.col("node") + "/" + pl.col("port")
    whose = series.with_columns(
        name.alias("name"),
        label["modelName"].alias("gpu_model"),
        pl.coalesce(label["exported_namespace"], label["namespace"]).alias("pool"),
    ).drop_nulls("name")
    columns = ("node", "replica", "pool", "gpu_model")
    known_of = whose.group_by("name").agg(pl.col(columns).drop_nulls().last()).sort("name")
    return [
        DeviceReading(
            entity=Entity(kind, row["name"]), values=values.get(Entity(kind, row["name"]), {}),
            **{one: row[one] for one in columns},
        )
        for row in known_of.iter_rows(named=True)
    ]  # fmt: skip


def device_faults(store: Store, now: datetime, incidents: Sequence[Incident]) -> list[DeviceFault]:
    """The faults of GPUs and links that somebody is to mend, from the last half hour and what was known before it.

    What is told is remembered in the store, so that a fault which only a reset mends outlives its half hour, and us.

    Args:
        store: samples; the faults that are known.
        now: when it is looked.
        incidents: those going on: a fault that a page names already is told as its cause.
    """
    window = _fault_window(now)
    known = known_faults(store)
    series, told = _device_samples(store, window)
    topology = read_topology(store)
    found = faults_at(told, _cabled(topology), known, now)
    if found:
        found = with_riders(
            found, replicas_by_place(series), _services_of_replicas(store, window), index_by_gpu(series), topology
        )
        found = named_by(found, incidents, topology, known)
    if found != known:
        remember_faults(store, found, now)
    return found


def remember_faults(store: Store, faults: Sequence[DeviceFault], now: datetime) -> None:
    """Keep these faults in place of those of the look before."""
    write_document(store, _FAULTS, _FAULTS, [fault_document(one) for one in faults], now)


def known_faults(store: Store) -> list[DeviceFault]:
    """The faults as the newest look told them."""
    return [fault_of(one) for one in read_document(store, _FAULTS, _FAULTS) or ()]


class PastDeviceFaults:
    """The faults of GPUs and links at moments of stored time, one after the other, as `device_faults` found them then.

    What was told before is remembered here, not in the store. Nothing is known of the time before the first moment:
    a fault that began earlier is told as far as its signs still show.

    Args:
        store: samples, a few hours of which are read at a time.
        until: no moment lies behind it.
    """

    def __init__(self, store: Store, until: datetime) -> None:
        self._store = store
        self._until = until
        self._topology = read_topology(store)
        self._cabled = _cabled(self._topology)
        self._known: list[DeviceFault] = []
        self._stretch: DeviceStretch | None = None
        self._series = pl.DataFrame()
        self._riders: tuple[dict[str, set[str]], dict[str, str], dict[str, int]] | None = None

    def at(self, now: datetime, incidents: Sequence[Incident]) -> list[DeviceFault]:
        """Those at `now`, which is not before the last moment that was asked for."""
        window = _fault_window(now)
        if self._stretch is None or window.end > self._stretch.window.end:
            last = max(window.end, min(_fault_window(self._until).end, window.end + _FAULTS_READ))
            self._series, self._stretch = _device_samples(self._store, Window(window.start, last))
            self._riders = None
        told = self._stretch.part(window)
        found = faults_at(told, self._cabled, self._known, now)
        if found:
            if self._riders is None:  # of all that was read at once: who rides on a device is told, not judged
                services = _services_of_replicas(self._store, self._stretch.window)
                self._riders = (replicas_by_place(self._series), services, index_by_gpu(self._series))
            found = with_riders(found, *self._riders, self._topology)
            found = named_by(found, incidents, self._topology, self._known)
        self._known = found
        return found


def _fault_window(now: datetime) -> Window:
    end = step_of(now - timedelta(seconds=_FAULT_LAG_S), _FAULT_STEP_S)
    return Window(end - timedelta(seconds=_FAULT_LOOK_S), end)


def _device_samples(store: Store, window: Window) -> tuple[pl.DataFrame, DeviceStretch]:
    """The series of what GPUs and ports told over a window, and their samples by step."""
    metrics = [metric.lower() for metric in (*GPU_METRICS, *PORT_METRICS)]
    series = read_series(store, window, metrics, ["modelName", GPU_INDEX_LABEL])
    samples = sample_rows(read_samples(store, window, series, _FAULT_STEP_S, "last"), _FAULT_STEP_S)
    gpus = gpu_samples(series, samples, window, _FAULT_STEP_S)
    return series, DeviceStretch(window, gpus, port_samples(series, samples, window, _FAULT_STEP_S))


def _cabled(topology: Topology) -> set[Entity]:
    return {port for node in topology.nodes for port in topology.ports_of(node)}


def _services_of_replicas(store: Store, window: Window) -> dict[str, str]:
    """Which service each replica served."""
    found: dict[str, str] = {}
    for service in read_services(store, window)["service"].unique(maintain_order=True):
        traffic = read_traffic(store, window, service, _FAULT_TRAFFIC_STEP_S, by=("replica",))
        found |= dict.fromkeys(traffic["replica"].drop_nulls().unique().to_list(), service)
    return found
