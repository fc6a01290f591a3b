"""One round of the upkeep, on a real store: everything due is done, and told at /metrics."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NoReturn

import polars as pl
import pytest
from prometheus_client import CollectorRegistry

from storage import retention
from storage.errors import StoreUnavailableError
from storage.retention import Disk
from storage.store import Store
from tailsight.settings import Settings
from tailsight.upkeep import Upkeep

NOW = datetime(2026, 11, 23, 12, 30, tzinfo=UTC)
SETTINGS = Settings.model_validate({"store": {"url": "http://localhost:8123/otel"}})  # whose disk is not ours to watch


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


def store_sample(store: Store, time: datetime) -> None:
    row = {"metric": "m", "series_id": 1, "time": time, "value": 1.0}
    store.insert("tailsight_samples", pl.DataFrame([row], schema_overrides={"series_id": pl.UInt64}))


def test_a_round_rolls_up_drops_and_tells(clean_store: Store, registry: CollectorRegistry) -> None:
    upkeep = Upkeep(clean_store, SETTINGS, registry)
    store_sample(clean_store, NOW - timedelta(hours=2))
    store_sample(clean_store, NOW - timedelta(days=40))
    upkeep.round(NOW)

    def value(name: str, **labels: str) -> float | None:
        return registry.get_sample_value(name, labels)

    assert value("tailsight_rollup_hours_total") == 2
    dropped = {"table": "tailsight_samples", "reason": "expired"}
    assert value("tailsight_retention_dropped_rows_total", **dropped) == 1
    assert (value("tailsight_retention_dropped_bytes_total", **dropped) or 0) > 0
    midnight = datetime(2026, 11, 23, tzinfo=UTC).timestamp()
    assert value("tailsight_retention_oldest_day_timestamp_seconds", table="tailsight_samples") == midnight
    assert (value("tailsight_retention_kept_bytes", table="tailsight_signal_rollup") or 0) > 0
    for part in ("cardinality", "rollup", "retention", "known_series"):
        assert value("tailsight_upkeep_runs_total", part=part, outcome="done") == 1
    assert upkeep.full_reason is None


def test_a_part_that_fails_keeps_no_other_from_its_work(
    clean_store: Store, registry: CollectorRegistry, caplog: pytest.LogCaptureFixture
) -> None:
    upkeep = Upkeep(clean_store, SETTINGS, registry)
    store_sample(clean_store, NOW - timedelta(days=40))
    clean_store.execute("RENAME TABLE tailsight_series TO tailsight_series_gone")
    try:
        upkeep.round(NOW)
    finally:
        clean_store.execute("RENAME TABLE tailsight_series_gone TO tailsight_series")
    failed = {"part": "cardinality", "outcome": "failed"}
    assert registry.get_sample_value("tailsight_upkeep_runs_total", failed) == 1
    done = {"part": "retention", "outcome": "done"}
    assert registry.get_sample_value("tailsight_upkeep_runs_total", done) == 1
    assert "cardinality failed" in caplog.text


def test_a_full_disk_is_told_although_the_store_cannot_be_asked(
    clean_store: Store, registry: CollectorRegistry, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    settings = Settings.model_validate({"store": {"url": f"chdb://{tmp_path}"}})
    upkeep = Upkeep(clean_store, settings, registry)
    assert registry.get_sample_value("tailsight_disk_full") == 0

    def does_not_answer(_store: Store) -> NoReturn:
        raise StoreUnavailableError("no room for its answer")

    monkeypatch.setattr(retention, "read_days", does_not_answer)
    monkeypatch.setattr(upkeep._retention, "_disk", lambda: Disk(999, 1000))
    upkeep.round(NOW)
    assert registry.get_sample_value("tailsight_upkeep_runs_total", {"part": "retention", "outcome": "failed"}) == 1
    assert registry.get_sample_value("tailsight_disk_full") == 1


def test_series_that_are_known_are_forgotten_each_quarter_of_an_hour(
    clean_store: Store, registry: CollectorRegistry
) -> None:
    upkeep = Upkeep(clean_store, SETTINGS, registry)
    known = {"series": [7]}
    remembered = []
    for minutes in (0, 14, 15):
        clean_store.insert("tailsight_series_known", pl.DataFrame(known, schema={"series": pl.UInt64}))
        upkeep.round(NOW + timedelta(minutes=minutes))
        with clean_store._client() as client:
            remembered.append(client.query("SELECT 7::UInt64 IN tailsight_series_known").result_rows[0][0])
    assert remembered == [0, 1, 0]


@pytest.mark.parametrize(("rollups_days", "reach_days"), [(400, 35), (14, 13), (1, 1)])
def test_no_hour_is_settled_that_retention_is_about_to_drop(
    clean_store: Store,
    registry: CollectorRegistry,
    monkeypatch: pytest.MonkeyPatch,
    rollups_days: int,
    reach_days: int,
) -> None:
    reaches: list[timedelta] = []

    def settles(*_: object, reach: timedelta, **__: object) -> int:
        reaches.append(reach)
        return 0

    monkeypatch.setattr("tailsight.upkeep.settle", settles)
    retention = {"rollups_days": rollups_days, "disk_full_days_min": 1}
    upkeep = Upkeep(clean_store, Settings.model_validate({"store": {"retention": retention}}), registry)
    upkeep.round(NOW)
    upkeep.round(NOW)
    assert reaches == [timedelta(days=reach_days), timedelta(days=min(2, reach_days))]
