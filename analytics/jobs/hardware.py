"""The hardware of the fleet, read from the store: all GPUs and ports as they are, and the course of one of them."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import polars as pl

from analytics.device_faults import PORT_NAMES, gpu_name, gpu_samples, port_samples
from analytics.device_states import DeviceSamples
from analytics.hardware import (
    ERRORS,
    LEVEL_METRICS,
    GpuNow,
    PortNow,
    errors_of,
    gpus_now,
    gpus_with_causes,
    ports_now,
    ports_with_causes,
    waits_as_ratio,
)
from analytics.jobs.devices import known_faults
from analytics.jobs.explaining import read_metric_signals
from analytics.knowledge import Knowledge
from analytics.neighbourhood import GPU_INDEX_LABEL
from analytics.port_states import PACKETS_RECEIVED, PACKETS_SENT, Port
from analytics.signals import Grid, SignalMatrix, concerning
from domain.entity import Entity
from domain.window import Window, step_of
from storage.fleet import (
    read_device_samples,
    read_device_series,
    read_last_seen,
    read_moved_series,
    read_workloads,
)
from storage.incidents import read_open_incidents
from storage.readers import ROLLUP_STEPS_S, read_samples, sample_rows
from storage.store import Store
from storage.topology import read_topology

_STEP_S, _LOOK_S = 90, 360  # the fewest steps in which a sensor that stands still is seen to
_LAG_S = 20  # of the last minute all is there
_MISSED_FOR = timedelta(days=1)  # what told nothing for longer is no part of the fleet any more
_WORKLOADS_FOR = timedelta(minutes=30)
_ERROR_STEPS_MOST = 60
_LABELS = ("modelName", GPU_INDEX_LABEL, "exported_namespace")
_LABELLED = ("DCGM_FI_DEV_GPU_TEMP", "DCGM_FI_DEV_GPU_UTIL", "DCGM_FI_PROF_GR_ENGINE_ACTIVE")
"""One of them every GPU tells, so that the labels of the others need not be read."""
_PORT_METRICS = tuple(metric for metric, name in PORT_NAMES.items() if name not in (PACKETS_SENT, PACKETS_RECEIVED))
_ERROR_METRICS = tuple(metric for metric, name in PORT_NAMES.items() if name in ERRORS)


def read_gpus_now(store: Store, now: datetime, node: str | None = None) -> tuple[GpuNow, ...]:
    """All GPUs that were heard of within a day, or those of one node, by node and index."""
    window = _look(now)
    labelled = read_device_series(store, _within_a_day(window), _LABELLED, _LABELS, node)
    others = [metric for metric in LEVEL_METRICS if metric not in _LABELLED]
    series = pl.concat([labelled, read_device_series(store, _within_a_day(window), others, (), node)])
    rows = _rows(store, window, series, LEVEL_METRICS, node)
    samples = gpu_samples(series, rows, window, _STEP_S, LEVEL_METRICS)
    if samples is None:
        return ()
    silent = [(gpu.node, gpu_name(gpu)) for gpu in _silent(samples)]
    gpus = gpus_now(
        samples,
        labelled,
        read_workloads(store, Window(now - _WORKLOADS_FOR, now)),
        _last_seen(store, series, silent, "gpu", window.start),
        known_faults(store),
        now,
    )
    return gpus_with_causes(gpus, read_open_incidents(store, now))


def read_ports_now(store: Store, now: datetime, errors_over: Window, device: str | None = None) -> tuple[PortNow, ...]:
    """All ports that were heard of within a day, or those of one node or switch, the worst first.

    Args:
        store: samples, cables, faults that are remembered.
        now: when it is asked.
        errors_over: the window that errors are counted in.
        device: the node or switch.
    """
    window, metrics = _look(now), _PORT_METRICS
    series = read_device_series(store, _within_a_day(window), metrics, (), device)
    rows = _rows(store, window, series, metrics, device)
    samples = port_samples(series, rows, window, _STEP_S, metrics)
    if samples is None:
        return ()
    silent = [(port.device, port.name) for port in _silent(samples)]
    ports = ports_now(
        samples,
        _errors(store, errors_over, series),
        errors_over.seconds,
        _last_seen(store, series, silent, "port", window.start),
        read_topology(store),
        known_faults(store),
        now,
    )
    return ports_with_causes(ports, read_open_incidents(store, now))


def device_course(
    store: Store, entity: Entity, device: str, window: Window, step_s: int, knowledge: Knowledge
) -> list[SignalMatrix]:
    """The signals that a GPU or a port tells over a window: each a matrix of that one entity.

    How long a port waits is told as a share of the time where its rate is known.

    Args:
        store: samples.
        entity: the GPU or port.
        device: the node or switch that it belongs to.
        window: when.
        step_s: seconds a step.
        knowledge: which signals there are.
    """
    signals = [one for one in knowledge.signals.values() if one.entity is entity.kind and one.metrics]
    metrics = sorted({metric for one in signals for metric in (*one.metrics, *one.capacity)})
    series = concerning(read_device_series(store, window, metrics, knowledge.labels, device), {entity})
    found = []
    for matrix in read_metric_signals(store, series, Grid(window, step_s), knowledge):
        rows = [row for row, one in enumerate(matrix.entities) if one == entity]
        if rows:
            found.append(SignalMatrix(matrix.signal, (entity,), matrix.values[rows]))
    return waits_as_ratio(found)


def _look(now: datetime) -> Window:
    end = step_of(now - timedelta(seconds=_LAG_S), _STEP_S)
    return Window(end - timedelta(seconds=_LOOK_S), end)


def _within_a_day(window: Window) -> Window:
    return Window(window.end - _MISSED_FOR, window.end)


def _rows(
    store: Store, window: Window, series: pl.DataFrame, metrics: Sequence[str], device: str | None
) -> pl.DataFrame:
    if device is None:
        return read_device_samples(store, window, metrics, _STEP_S)
    return sample_rows(read_samples(store, window, series, _STEP_S, "last"), _STEP_S)


def _silent(samples: DeviceSamples[Any]) -> list[Any]:
    """The devices without a sample."""
    told = np.logical_or.reduce([np.isfinite(matrix).any(axis=1) for matrix in samples.values.values()])
    return [samples.devices[row] for row in np.flatnonzero(~told)]


def _last_seen(
    store: Store, series: pl.DataFrame, silent: Sequence[tuple[str, str]], name: str, latest: datetime
) -> Mapping[tuple[str, str], datetime]:
    """When each of the silent was heard of last, by node and name; the latest that can be where nothing tells it."""
    if not silent:
        return {}
    asked = pl.DataFrame(silent, schema=["node", name], orient="row")
    own = series.with_columns(pl.col("node").fill_null("")).join(asked, on=["node", name])
    newest = own.join(read_last_seen(store, own), on="series_id").group_by("node", name).agg(pl.col("last_seen").max())
    known = {(node, one): moment for node, one, moment in newest.iter_rows()}
    return {key: min(known.get(key, latest), latest) for key in silent}


def _errors(store: Store, window: Window, series: pl.DataFrame) -> Mapping[Port, Mapping[str, float]]:
    """What ports counted of errors over a window: most counters stand still, and are not read."""
    moved = read_moved_series(store, window, _ERROR_METRICS)
    own = series.filter(pl.col("series_id").is_in(moved.implode()) & pl.col("metric").is_in(_ERROR_METRICS))
    step_s = next((one for one in ROLLUP_STEPS_S if window.seconds / one <= _ERROR_STEPS_MOST), ROLLUP_STEPS_S[-1])
    rows = sample_rows(read_samples(store, window, own, step_s, "last"), step_s)
    samples = port_samples(own, rows, _whole_steps(window, step_s), step_s, _ERROR_METRICS)
    return errors_of(samples) if samples is not None else {}


def _whole_steps(window: Window, step_s: int) -> Window:
    last = step_of(window.end - timedelta(microseconds=1), step_s)
    return Window(step_of(window.start, step_s), last + timedelta(seconds=step_s))
