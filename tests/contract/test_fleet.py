"""Questions on whole fleets answer as those on single series do."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

import polars as pl

from domain.window import Window
from storage.fleet import (
    read_device_samples,
    read_device_series,
    read_last_seen,
    read_moved_series,
    read_workloads,
)
from storage.readers import read_samples, sample_rows
from storage.store import Store

NOW = datetime(2026, 11, 23, 3, 0, tzinfo=UTC)
HALF_HOUR = Window(NOW - timedelta(minutes=30), NOW)
TEMPERATURE, SYMBOLS = "dcgm_fi_dev_gpu_temp", "node_infiniband_symbol_error_total"


def fill(store: Store, metric: str, series_id: int, values: Mapping[float, float], **of: str) -> None:
    """A series with values by minutes before NOW."""
    names = ("job", "instance", "node", "gpu", "port", "replica", "service", "model")
    moments = sorted(NOW - timedelta(minutes=minutes) for minutes in values)
    row = {
        "metric": metric,
        "series_id": series_id,
        **{name: of.get(name, "") for name in names},
        "first_seen": moments[0],
        "last_seen": moments[-1],
    }
    store.insert("tailsight_series", pl.DataFrame([row], schema_overrides={"series_id": pl.UInt64}))
    samples = pl.DataFrame({"time": [NOW - timedelta(minutes=minutes) for minutes in values], "value": values.values()})
    named = samples.with_columns(metric=pl.lit(metric), series_id=pl.lit(series_id, pl.UInt64))
    store.insert("tailsight_samples", named.with_columns(pl.col("time").cast(pl.Datetime("us", "UTC"))))


def test_all_series_of_a_metric_or_those_of_one_node_are_read_the_newest_last(any_store: Store) -> None:
    fill(any_store, TEMPERATURE, 1, {20: 60.0}, node="n1", gpu="GPU-a", replica="chat-1")
    fill(any_store, TEMPERATURE, 2, {25: 60.0}, node="n1", gpu="GPU-a", replica="chat-0")
    fill(any_store, TEMPERATURE, 3, {10: 60.0}, node="n2", gpu="GPU-b")
    fill(any_store, TEMPERATURE, 4, {90: 60.0}, node="n1", gpu="GPU-gone")
    of_all = read_device_series(any_store, HALF_HOUR, ["DCGM_FI_DEV_GPU_TEMP"], ["modelName"])
    assert of_all["replica"].to_list() == ["chat-0", "chat-1", None]
    assert of_all["labels"].to_list() == [[""]] * 3
    of_one = read_device_series(any_store, HALF_HOUR, [TEMPERATURE], node="n2")
    assert of_one["gpu"].to_list() == ["GPU-b"]


def test_samples_of_all_series_are_those_that_are_read_of_each(any_store: Store) -> None:
    fill(any_store, TEMPERATURE, 1, {3.1: 61.0, 3.9: 60.0, 1: 64.0}, node="n1", gpu="GPU-a")
    fill(any_store, TEMPERATURE, 2, {2: 70.0, 40: 71.0}, node="n2", gpu="GPU-b")
    series = read_device_series(any_store, HALF_HOUR, [TEMPERATURE])
    one_by_one = sample_rows(read_samples(any_store, HALF_HOUR, series, 60, "last"), 60)
    found = read_device_samples(any_store, HALF_HOUR, [TEMPERATURE], 60)
    assert found.sort("series_id", "time").rows() == one_by_one.sort("series_id", "time").rows()


def test_a_counter_that_stands_still_has_not_moved(any_store: Store) -> None:
    minutes = [29.5, *(float(minute) for minute in range(29, 0, -1))]
    fill(any_store, SYMBOLS, 1, dict.fromkeys(minutes, 7.0), node="n1", port="mlx5_0/1")
    fill(any_store, SYMBOLS, 2, {minute: 7.0 + (minute < 17) for minute in minutes}, node="n1", port="mlx5_1/1")
    fill(any_store, SYMBOLS, 3, {minute: 7.0 + (minute < 2) for minute in minutes}, node="n1", port="mlx5_2/1")
    assert sorted(read_moved_series(any_store, HALF_HOUR, [SYMBOLS])) == [2, 3]


def test_when_a_series_was_heard_of_last_is_told_to_the_second(any_store: Store) -> None:
    fill(any_store, TEMPERATURE, 1, {29: 60.0, 12: 61.0}, node="n1", gpu="GPU-a")
    series = read_device_series(any_store, HALF_HOUR, [TEMPERATURE])
    assert read_last_seen(any_store, series).rows() == [(1, NOW - timedelta(minutes=12))]
    assert read_last_seen(any_store, series.clear()).is_empty()


def test_a_replica_serves_the_service_and_model_of_most_of_its_requests(any_store: Store) -> None:
    asked = [("chat", "llama")] * 3 + [("rerank", "bge")]
    requests = pl.DataFrame(
        {
            "time": [NOW - timedelta(minutes=5)] * 4,
            "service": [service for service, _ in asked],
            "model": [model for _, model in asked],
            "replica": "chat-0",
            "trace_id": ["a", "b", "c", "d"],
            "latency_ms": 100.0,
        }
    )
    any_store.insert("tailsight_requests", requests.with_columns(pl.col("time").cast(pl.Datetime("us", "UTC"))))
    assert read_workloads(any_store, HALF_HOUR).rows() == [("chat-0", "chat", "llama")]
