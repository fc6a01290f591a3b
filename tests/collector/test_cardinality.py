"""Too many series are found, and told with the label that makes them."""

import logging
from datetime import UTC, datetime, timedelta

import polars as pl
import pytest
from prometheus_client import CollectorRegistry

from collector.cardinality import CardinalityGuard, Excess, find_excesses
from collector.settings import CardinalitySettings
from domain.window import Window
from storage.readers import read_series
from storage.rollup import roll_up_signals
from storage.store import Store

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
SETTINGS = CardinalitySettings(series_per_metric_max=10, series_max=25, request_key_values_max=5)


def store_series(
    store: Store, metric: str, count: int, *, label: str = "request_id", age_s: float = 60, first_id: int = 0
) -> None:
    """Series of one metric that differ in one label, first seen so long ago and alive until now."""
    store.execute(
        "INSERT INTO tailsight_series (metric, series_id, job, instance, attributes, first_seen, last_seen) "
        "SELECT {metric:String}, number + {first_id:UInt64}, 'vllm', 'gpu-1:8000', "
        "map('zone', 'a', {label:String}, toString(number), 'half', toString(number % 2)), "
        "{seen:DateTime('UTC')}, {now:DateTime('UTC')} FROM numbers({count:UInt64})",
        {
            "metric": metric,
            "label": label,
            "count": count,
            "first_id": first_id,
            "seen": NOW - timedelta(seconds=age_s),
            "now": NOW,
        },
    )


def test_up_to_the_limits_nothing_is_found(clean_store: Store) -> None:
    store_series(clean_store, "a", 10)
    store_series(clean_store, "b", 10)
    assert find_excesses(clean_store, SETTINGS, NOW) == []
    assert find_excesses(clean_store, CardinalitySettings(), NOW) == []


def test_a_metric_with_too_many_series_is_told_with_the_label_that_has_the_most_values(clean_store: Store) -> None:
    store_series(clean_store, "a", 11)
    (excess,) = find_excesses(clean_store, SETTINGS, NOW)
    assert (excess.of, excess.metric, excess.count, excess.limit) == ("a", "a", 11, 10)
    assert (excess.label, excess.values_count) == ("request_id", 11)
    assert "a: 11 series, more than 10; the label 'request_id' has 11 values, e.g. '" in str(excess)
    assert "take it out at its source" in str(excess)


def test_the_label_at_fault_is_that_of_the_new_series(clean_store: Store) -> None:
    store_series(clean_store, "a", 8, label="pod", age_s=7200)
    store_series(clean_store, "a", 5, first_id=100)
    (excess,) = find_excesses(clean_store, SETTINGS, NOW)
    assert (excess.count, excess.label, excess.values_count) == (13, "request_id", 5)


def test_when_no_series_is_new_the_label_is_that_of_all(clean_store: Store) -> None:
    store_series(clean_store, "a", 12, label="pod", age_s=7200)
    (excess,) = find_excesses(clean_store, SETTINGS, NOW)
    assert (excess.label, excess.values_count) == ("pod", 12)


def test_of_a_metric_with_very_many_labels_the_label_at_fault_is_told_too(clean_store: Store) -> None:
    clean_store.execute(
        "INSERT INTO tailsight_series (metric, series_id, attributes, first_seen, last_seen) "
        "SELECT 'kube_pod_labels', number, mapFromArrays("
        "arrayMap(label -> concat('label_', toString(label)), range(150)), "
        "arrayMap(label -> toString(number % if(label = 7, 12, 2)), range(150))), "
        "{now:DateTime('UTC')}, {now:DateTime('UTC')} FROM numbers(12)",
        {"now": NOW},
    )
    (excess,) = find_excesses(clean_store, SETTINGS, NOW)
    assert (excess.of, excess.label, excess.values_count) == ("kube_pod_labels", "label_7", 12)


def test_a_series_without_a_sample_in_the_window_counts_no_more(clean_store: Store) -> None:
    store_series(clean_store, "a", 20)
    assert find_excesses(clean_store, SETTINGS, NOW + timedelta(seconds=SETTINGS.window_s + 1)) == []


def test_all_metrics_together_may_be_too_many_though_none_is(clean_store: Store) -> None:
    for number in range(3):
        store_series(clean_store, f"m{number}", 8 + number, first_id=100 * number)
    (excess,) = find_excesses(clean_store, SETTINGS, NOW)
    assert (excess.of, excess.metric, excess.count) == ("all metrics", "m2", 27)
    assert str(excess).startswith("all metrics: 27 series, more than 25; the label 'request_id' of m2 has 10 values")


def test_a_key_of_requests_with_too_many_values_is_told(clean_store: Store) -> None:
    clean_store.execute(
        "INSERT INTO tailsight_requests (time, service, tenant, trace_id, latency_ms) "
        "SELECT {now:DateTime64(6, 'UTC')}, 'chat', concat('tenant-', toString(number)), toString(number), 10 "
        "FROM numbers(6)",
        {"now": NOW},
    )
    (excess,) = find_excesses(clean_store, SETTINGS, NOW)
    assert (excess.of, excess.metric, excess.label, excess.count) == ("requests", None, "tenant", 6)
    assert str(excess).startswith("requests: 6 values, more than 5; the label 'tenant' has 6 values, e.g. 'tenant-")


def test_series_that_no_label_tells_apart_are_told_without_one() -> None:
    assert str(Excess("a", "a", 11, 10, None, 0, "")) == "a: 11 series, more than 10; no label tells them apart"


def test_an_excess_is_told_when_it_begins_and_when_it_ends(
    clean_store: Store, registry: CollectorRegistry, caplog: pytest.LogCaptureFixture
) -> None:
    guard = CardinalityGuard(clean_store, SETTINGS, registry)

    def gauge() -> float | None:
        return registry.get_sample_value("tailsight_cardinality_excess_series", {"of": "a", "label": "request_id"})

    store_series(clean_store, "a", 11)
    with caplog.at_level(logging.WARNING, "collector.cardinality"):
        guard.look(NOW)
        guard.look(NOW)
    assert len(caplog.records) == 1
    assert "'request_id'" in caplog.text
    assert gauge() == 11
    assert guard.crowded_metrics == ["a"]
    caplog.clear()
    guard.look(NOW + timedelta(days=1))
    assert "a: no more than there may be again" in caplog.text
    assert gauge() is None
    assert guard.crowded_metrics == []


def test_all_crowded_metrics_are_known_though_only_some_are_told(
    clean_store: Store, registry: CollectorRegistry
) -> None:
    settings = SETTINGS.model_copy(update={"series_max": 1000})
    for number in range(12):
        store_series(clean_store, f"m{number:02}", 11, first_id=100 * number)
    guard = CardinalityGuard(clean_store, settings, registry)
    assert len(guard.look(NOW)) == 10
    assert guard.crowded_metrics == [f"m{number:02}" for number in range(12)]


def test_of_a_crowded_metric_the_first_series_are_rolled_up_and_others_are_whole(clean_store: Store) -> None:
    store_series(clean_store, "a", 3, age_s=7200, first_id=50)
    store_series(clean_store, "a", 20)
    store_series(clean_store, "b", 5, first_id=200)
    for metric, ids in {"a": [*range(20), 50, 51, 52], "b": range(200, 205)}.items():
        rows = [{"metric": metric, "series_id": one, "time": NOW - timedelta(hours=1), "value": 1.0} for one in ids]
        clean_store.insert("tailsight_samples", pl.DataFrame(rows, schema_overrides={"series_id": pl.UInt64}))
    roll_up_signals(clean_store, NOW + timedelta(minutes=5), crowded=["a"], series_max=4)
    with clean_store._client() as client:
        found = client.query("SELECT metric, series_id FROM tailsight_signal_rollup ORDER BY ALL").result_rows
    assert [one for metric, one in found if metric == "a"] == [0, 50, 51, 52]
    assert [one for metric, one in found if metric == "b"] == [200, 201, 202, 203, 204]
    assert read_series(clean_store, Window(NOW - timedelta(hours=1), NOW), ["a"]).height == 23


def test_series_that_ended_take_no_place_in_the_rollup_from_those_that_are_alive(clean_store: Store) -> None:
    ended = NOW - timedelta(days=20)
    clean_store.execute(
        "INSERT INTO tailsight_series (metric, series_id, first_seen, last_seen) "
        "SELECT 'a', 1000 + number, {ended:DateTime('UTC')}, {ended:DateTime('UTC')} FROM numbers(5)",
        {"ended": ended},
    )
    store_series(clean_store, "a", 3, age_s=7200)
    rows = [{"metric": "a", "series_id": one, "time": NOW - timedelta(hours=1), "value": 1.0} for one in range(3)]
    clean_store.insert("tailsight_samples", pl.DataFrame(rows, schema_overrides={"series_id": pl.UInt64}))
    roll_up_signals(clean_store, NOW + timedelta(minutes=5), crowded=["a"], series_max=2)
    with clean_store._client() as client:
        found = client.query("SELECT series_id FROM tailsight_signal_rollup ORDER BY ALL").result_rows
    assert found == [(0,), (1,)]
