"""Samples by step: from the samples, from the rollup by minute, and the same from both."""

import math
import random
from datetime import UTC, datetime, timedelta

import polars as pl
import pytest

from domain.window import Window
from storage.readers import ROLLUP_STEPS_S, read_samples, read_series, sample_rows
from storage.rollup import count_unknown_hours, roll_up_signals
from storage.store import Store
from tests.contract.conftest import Ask

START = datetime(2026, 11, 22, 22, 0, tzinfo=UTC)  # two hours before midnight: a day ends on the way
NOW = START + timedelta(hours=4, minutes=30)
WINDOW = Window(START, NOW)
Samples = dict[tuple[int, datetime], float]


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def some_samples(seed: int = 1, every_s: int = 15) -> Samples:
    """Three series over the window, irregular and with gaps; the second is a counter that resets."""
    chance = random.Random(seed)
    found: Samples = {}
    for series_id in (1, 2, 3):
        value = 0.0
        for second in range(0, int(WINDOW.seconds), every_s):
            if chance.random() < 0.2 or (series_id == 3 and 3600 <= second < 7300):
                continue
            value = 0.0 if chance.random() < 0.001 else value + chance.randrange(100)
            found[series_id, at(second + chance.randrange(every_s))] = value if series_id == 2 else chance.gauss(50, 5)
    return found


def store_samples(store: Store, samples: Samples) -> None:
    rows = [
        {"metric": "m", "series_id": series, "time": time, "value": value} for (series, time), value in samples.items()
    ]
    store.insert("tailsight_samples", pl.DataFrame(rows, schema_overrides={"series_id": pl.UInt64}))
    known = [{"metric": "m", "series_id": series, "first_seen": START, "last_seen": NOW} for series, _ in samples]
    store.insert("tailsight_series", pl.DataFrame(known, schema_overrides={"series_id": pl.UInt64}).unique())


def expected(samples: Samples, step_s: int, value: str) -> Samples:
    """The slow and obvious way."""
    by_step: dict[tuple[int, datetime], list[tuple[datetime, float]]] = {}
    for (series, time), sample in samples.items():
        step = datetime.fromtimestamp(time.timestamp() // step_s * step_s, UTC)
        by_step.setdefault((series, step), []).append((time, sample))
    return {
        key: max(found)[1] if value == "last" else sum(sample for _, sample in found) / len(found)
        for key, found in by_step.items()
    }


def read(store: Store, step_s: int, value: str, window: Window = WINDOW) -> Samples:
    series = read_series(store, window, ["M"])
    rows = sample_rows(read_samples(store, window, series, step_s, value), step_s)  # type: ignore[arg-type]
    found = {(series, time): sample for series, time, sample in rows.iter_rows()}
    assert len(found) == rows.height, "no step comes twice"
    return found


def assert_same(found: Samples, wanted: Samples) -> None:
    assert found.keys() == wanted.keys()
    assert all(math.isclose(found[key], wanted[key], rel_tol=1e-12) for key in wanted)


@pytest.mark.parametrize("value", ["last", "mean"])
@pytest.mark.parametrize("step_s", [7, 15, 60, 420, 7200])
def test_samples_by_step_are_what_a_loop_over_them_gives(any_store: Store, step_s: int, value: str) -> None:
    samples = some_samples()
    store_samples(any_store, samples)
    assert_same(read(any_store, step_s, value), expected(samples, step_s, value))


@pytest.mark.parametrize("value", ["last", "mean"])
@pytest.mark.parametrize("step_s", [60, 180, 3600])
def test_the_rollup_gives_the_same_as_the_samples(any_store: Store, step_s: int, value: str) -> None:
    assert step_s in ROLLUP_STEPS_S
    samples = some_samples()
    store_samples(any_store, samples)
    assert roll_up_signals(any_store, NOW) == 4, "the hour under way waits"
    any_store.execute("ALTER TABLE tailsight_samples DROP PARTITION '2026-11-22'")
    assert_same(read(any_store, step_s, value), expected(samples, step_s, value))


def test_rolling_up_twice_does_nothing(any_store: Store, ask: Ask) -> None:
    store_samples(any_store, some_samples())
    roll_up_signals(any_store, NOW)
    before = ask("SELECT toString(tuple(*)) FROM tailsight_signal_rollup ORDER BY ALL")
    assert roll_up_signals(any_store, NOW) == 0
    assert ask("SELECT toString(tuple(*)) FROM tailsight_signal_rollup ORDER BY ALL") == before


def test_a_late_sample_counts_at_once_and_its_hour_is_rolled_up_again(any_store: Store, ask: Ask) -> None:
    samples = some_samples()
    store_samples(any_store, samples)
    roll_up_signals(any_store, NOW)
    late: Samples = {(1, at(4000.0)): 1e6, (3, at(4001.0)): 2e6}
    store_samples(any_store, late)
    for _ in range(2):
        assert_same(read(any_store, 60, "mean"), expected(samples | late, 60, "mean"))
        assert roll_up_signals(any_store, NOW) in (0, 1)
    assert ask("SELECT hour FROM tailsight_sample_hours GROUP BY hour HAVING max(rolled_up) < sum(samples)") == [
        (datetime(2026, 11, 23, 2),)  # noqa: DTZ001  # as the client gives it
    ], "the hour under way"


def test_so_many_hours_a_call_and_the_newest_first(any_store: Store, ask: Ask) -> None:
    store_samples(any_store, some_samples())
    assert roll_up_signals(any_store, NOW, hours_max=3) == 3
    hours = ask("SELECT DISTINCT toHour(hour) FROM tailsight_signal_rollup ORDER BY 1")
    assert hours == [(0,), (1,), (23,)]
    assert roll_up_signals(any_store, NOW, hours_max=3) == 1


def test_an_hour_is_over_a_little_after_its_end(any_store: Store) -> None:
    store_samples(any_store, {(1, at(0)): 1.0})
    assert roll_up_signals(any_store, at(3600)) == 0
    assert roll_up_signals(any_store, at(3720)) == 1


def test_samples_from_before_they_were_counted_are_counted_once(any_store: Store, ask: Ask) -> None:
    samples = some_samples()
    store_samples(any_store, samples)
    told = ask("SELECT hour, sum(samples) FROM tailsight_sample_hours GROUP BY hour ORDER BY hour")
    any_store.execute("TRUNCATE TABLE tailsight_sample_hours")
    assert roll_up_signals(any_store, NOW) == 0
    assert count_unknown_hours(any_store) == 5
    assert count_unknown_hours(any_store) == 0
    assert ask("SELECT hour, sum(samples) FROM tailsight_sample_hours GROUP BY hour ORDER BY hour") == told
    assert roll_up_signals(any_store, NOW) == 4


def test_nothing_is_read_of_no_series(any_store: Store) -> None:
    assert read(any_store, 60, "last") == {}
