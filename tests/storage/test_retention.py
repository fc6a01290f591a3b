"""What is kept, what goes, and what a full disk costs."""

import logging
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import polars as pl
import pytest
from pydantic import ValidationError

from domain.window import Window
from storage.errors import StoreUnavailableError
from storage.migrate import all_steps
from storage.readers import read_samples, read_series, sample_rows
from storage.retention import (
    FAMILIES,
    Day,
    Disk,
    Family,
    Retention,
    disk_of,
    expired,
    forget_silent_series,
    making_room,
    oldest_days,
    read_days,
)
from storage.rollup import roll_up_signals
from storage.settings import RetentionSettings
from storage.store import Store
from tests.emptied import empty

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
SETTINGS = RetentionSettings()


def day(age: int, family: Family = Family.TRACES, size_bytes: int = 100, table: str = "") -> Day:
    table = table or next(name for name, one in FAMILIES.items() if one is family)
    return Day(table, family, f"{age}", NOW.date() - timedelta(days=age), 10, size_bytes)


def ages(days: list[Day]) -> list[tuple[Family, int]]:
    return [(one.family, (NOW.date() - one.day).days) for one in days]


# -- which days go -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", Family)
def test_a_day_is_kept_as_long_as_its_family_says(family: Family) -> None:
    kept = SETTINGS.days_by_family[family.value]
    days = [day(age, family) for age in (0, kept, kept + 1, 20_000)]
    assert ages(expired(days, NOW, SETTINGS)) == [(family, 20_000), (family, kept + 1)]


def test_a_day_ahead_of_now_waits_until_its_time_has_passed() -> None:
    assert expired([day(-1), day(-30_000)], NOW, SETTINGS) == []


def test_room_is_made_from_raw_days_before_rollups_and_from_the_oldest_on() -> None:
    days = [day(age, family) for family in Family for age in (0, 1, 2)]
    order = ages(making_room(days, NOW, SETTINGS, 10**9))
    raw = [Family.LOGS, Family.METRICS, Family.QUARANTINE, Family.TRACES]
    narrow = [Family.REQUESTS, Family.SAMPLES]
    assert order == [(family, age) for stage in (raw, narrow, [Family.ROLLUPS]) for age in (2, 1) for family in stage]


def test_no_more_days_go_than_make_room() -> None:
    days = [day(age) for age in range(10)]
    assert ages(making_room(days, NOW, SETTINGS, 150)) == [(Family.TRACES, 9), (Family.TRACES, 8)]
    assert making_room(days, NOW, SETTINGS, 0) == []


def test_the_last_days_are_never_dropped_however_full_the_disk_is() -> None:
    days = [day(age) for age in range(10)]
    settings = RetentionSettings(disk_full_days_min=3)
    assert ages(making_room(days, NOW, settings, 10**9))[-1] == (Family.TRACES, 3)


def test_days_of_a_clock_that_runs_ahead_make_room_first_but_tomorrow_is_no_such_day() -> None:
    order = ages(making_room([day(-1), day(5), day(-400)], NOW, SETTINGS, 10**9))
    assert order == [(Family.TRACES, -400), (Family.TRACES, 5)]


def test_a_full_disk_cannot_be_told_to_keep_more_days_than_are_kept_anyway() -> None:
    with pytest.raises(ValidationError, match="disk_full_days_min is 31; no more than the 30 days"):
        RetentionSettings(disk_full_days_min=31)


def test_every_table_of_ours_that_is_cut_by_day_belongs_to_a_family(store: Store) -> None:
    by_day = {
        statement.split()[5]
        for step in all_steps(store)
        for statement in step.statements
        if statement.startswith("CREATE TABLE") and "PARTITION BY toDate(" in statement
    }
    assert by_day == set(FAMILIES)


# -- dropping them -----------------------------------------------------------------------------------------------------


def fill(store: Store, *days_ago: int, now: datetime = NOW) -> None:
    """A few rows a day in a raw table, the samples and a rollup."""
    for age in days_ago:
        moment = now - timedelta(days=age)
        time = moment.replace(tzinfo=None)
        store.execute("INSERT INTO otel_traces (Timestamp, TraceId) VALUES ({t:DateTime64(9)}, 'a')", {"t": time})
        samples = {"metric": "m", "series_id": 1, "time": moment, "value": float(age)}
        store.insert("tailsight_samples", pl.DataFrame([samples], schema_overrides={"series_id": pl.UInt64}))


def held(store: Store) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {}
    for one in read_days(store):
        found.setdefault(one.table, []).append((NOW.date() - one.day).days)
    return {table: sorted(ages) for table, ages in found.items()}


@pytest.fixture
def retained(clean_store: Store) -> Iterator[Store]:
    yield clean_store
    empty(clean_store)


def test_days_are_dropped_whole_and_what_is_young_stays(retained: Store, caplog: pytest.LogCaptureFixture) -> None:
    fill(retained, 0, 14, 15, 31, 401)
    retention = Retention(retained, RetentionSettings(traces_days=14), None)
    with caplog.at_level(logging.INFO, "storage.retention"):
        kept = retention.look(NOW)
    assert held(retained) == {
        "otel_traces": [0, 14],
        "otel_traces_trace_id_ts": [0, 14],
        "tailsight_samples": [0, 14, 15],
        "tailsight_sample_hours": [0, 14, 15, 31],
    }
    assert {one.table: one.rows for one in kept.expired if one.day == date(2025, 10, 18)}["otel_traces"] == 1
    assert "otel_traces 2025-10-18 (1 rows" in caplog.text
    assert oldest_days(kept.left)["otel_traces"] == NOW.date() - timedelta(days=14)
    assert kept.disk is None
    assert retention.full_reason is None


def test_a_second_look_finds_nothing_to_do(retained: Store) -> None:
    fill(retained, 0, 100)
    retention = Retention(retained, SETTINGS, None)
    retention.look(NOW)
    assert retention.look(NOW).expired == ()


def test_a_table_that_is_cut_otherwise_or_was_made_by_others_is_left_alone(retained: Store) -> None:
    fill(retained, 100)
    retained.execute(
        "CREATE TABLE otel_traces_theirs AS otel_traces ENGINE = MergeTree "
        "PARTITION BY toDate(Timestamp) ORDER BY TraceId"
    )
    retained.execute("INSERT INTO otel_traces_theirs SELECT * FROM otel_traces")
    try:
        Retention(retained, SETTINGS, None).look(NOW)
        with retained._client() as client:
            assert client.query("SELECT count() FROM otel_traces_theirs").result_rows == [(1,)]
    finally:
        retained.execute("DROP TABLE otel_traces_theirs")


def test_a_full_disk_costs_the_oldest_raw_days_each_told_with_the_reason(
    retained: Store, caplog: pytest.LogCaptureFixture
) -> None:
    fill(retained, 0, 1, 2, 3)
    sizes = {(one.table, (NOW.date() - one.day).days): one.size_bytes for one in read_days(retained)}
    excess = sizes["otel_traces", 3] + 1
    kept = Retention(retained, SETTINGS, lambda: Disk(900 + excess, 1000)).look(NOW)
    assert [one.table for one in kept.for_room] == ["otel_traces", "otel_traces_trace_id_ts"]
    assert held(retained)["otel_traces"] == [0, 1, 2]
    assert "otel_traces 2026-11-20" in caplog.text
    assert "makes room: the disk is" in caplog.text


def test_when_nothing_is_left_to_drop_senders_are_told_and_told_again_when_there_is_room(retained: Store) -> None:
    fill(retained, 0, 1)
    disks = iter([Disk(999, 1000), Disk(10**12, 10**12), Disk(100, 1000)])
    retention = Retention(retained, SETTINGS, lambda: next(disks))
    assert retention.full_reason is None
    retention.look(NOW)
    assert retention.full_reason is None, "yesterday made room"
    retention.look(NOW)
    assert retention.full_reason is not None
    assert "nothing is left to drop but the last 1 days" in retention.full_reason
    assert held(retained)["otel_traces"] == [0]
    retention.look(NOW)
    assert retention.full_reason is None


def test_a_store_that_cannot_be_asked_lets_a_full_disk_refuse(retained: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    disks = iter([Disk(100, 1000), Disk(999, 1000)])
    retention = Retention(retained, RetentionSettings(), lambda: next(disks))
    fails = StoreUnavailableError("Cannot reserve 1.00 MiB, not enough space")
    monkeypatch.setattr(retained, "query", Mock(side_effect=fails))
    for told in (None, "the disk is 99.9% full, 90% are allowed, and the store cannot say what it holds: give it more"):
        with pytest.raises(StoreUnavailableError):
            retention.look(NOW)
        assert (retention.full_reason or "").startswith(told or "")
        assert (retention.full_reason is None) is (told is None)


def test_what_is_rolled_up_of_dropped_samples_stays_whatever_comes_late(retained: Store) -> None:
    long_ago = NOW - timedelta(days=40)
    series = {"metric": "m", "series_id": 1, "first_seen": long_ago, "last_seen": NOW}
    retained.insert("tailsight_series", pl.DataFrame([series], schema_overrides={"series_id": pl.UInt64}))
    fill(retained, 40)
    assert roll_up_signals(retained, NOW) == 1
    Retention(retained, SETTINGS, None).look(NOW)
    fill(retained, 40, now=NOW + timedelta(minutes=1))
    assert roll_up_signals(retained, NOW) == 0
    window = Window(long_ago.replace(minute=0), long_ago.replace(minute=0) + timedelta(hours=1))
    found = sample_rows(read_samples(retained, window, read_series(retained, window, ["m"]), 60, "last"), 60)
    assert found["value"].to_list() == [40.0]


def seen(store: Store, series_id: int, node: str, first_days_ago: int, last_days_ago: int) -> None:
    first, last = (NOW - timedelta(days=ago) for ago in (first_days_ago, last_days_ago))
    row = {"metric": "m", "series_id": series_id, "node": node, "first_seen": first, "last_seen": last}
    store.insert("tailsight_series", pl.DataFrame([row], schema_overrides={"series_id": pl.UInt64}))


def test_a_series_is_forgotten_when_nothing_is_kept_of_its_time(
    retained: Store, caplog: pytest.LogCaptureFixture
) -> None:
    seen(retained, 1, "gone", 500, 401)
    seen(retained, 2, "rolled up", 500, 400)
    seen(retained, 3, "moved", 500, 450)
    seen(retained, 3, "alive", 450, 0)
    retention = Retention(retained, SETTINGS, None)
    with caplog.at_level(logging.INFO, "storage.retention"):
        retention.look(NOW)
    ever = Window(NOW - timedelta(days=3650), NOW + timedelta(hours=1))
    assert sorted(read_series(retained, ever, ["m"])["node"]) == ["alive", "rolled up"]
    assert "tailsight_series: 2 rows dropped" in caplog.text
    caplog.clear()
    retention.look(NOW)
    assert "tailsight_series" not in caplog.text


def test_a_series_is_known_as_long_as_its_samples_when_rollups_are_kept_for_less(retained: Store) -> None:
    seen(retained, 1, "sampled", 60, 50)
    settings = RetentionSettings(samples_days=50, rollups_days=30)
    assert forget_silent_series(retained, NOW, settings) == 0
    assert forget_silent_series(retained, NOW + timedelta(days=1), settings) == 1


@pytest.mark.slow
def test_a_real_disk_over_its_mark_is_brought_under_it(tmp_path: Path) -> None:
    """On a small file system of its own, in a process of its own: the engine opens one path a process."""
    mount = shutil.which("mount")
    if mount is None or os.geteuid() != 0:
        pytest.skip("mounting a small file system takes root")
    disk = tmp_path / "disk"
    disk.mkdir()
    made = subprocess.run([mount, "-t", "tmpfs", "-o", "size=400m", "tmpfs", str(disk)], check=False)
    if made.returncode != 0:
        pytest.skip("this machine does not let us mount a tmpfs")
    try:
        program = Path(__file__).with_name("fill_a_disk.py")
        finished = subprocess.run(
            [sys.executable, str(program), str(disk / "data")],
            check=False,
            cwd=Path(__file__).parents[2],
            env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert finished.returncode == 0, finished.stderr
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_the_disk_of_a_folder_is_that_of_its_file_system(tmp_path: Path) -> None:
    disk: Any = disk_of(tmp_path)
    assert 0 < disk.used_ratio < 1
    assert disk.used_bytes < disk.size_bytes
