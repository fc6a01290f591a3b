"""A look at many hours at once finds what a look at the hour itself finds."""

from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest

from analytics.jobs.explaining import AnalyzeSettings
from analytics.jobs.incidents import analyze
from analytics.spikes import SpikeSettings
from domain.incident import Incident
from domain.window import Window
from storage.store import Store
from tests.contract.request_rows import insert_requests

HOURS = 16
BEGAN = datetime(2026, 11, 23, tzinfo=UTC)
WHOLE = Window(BEGAN + timedelta(hours=2), BEGAN + timedelta(hours=HOURS))
SETTINGS = AnalyzeSettings(SpikeSettings())
# A look reads six hours at a time: within one of them, and from one into the next.
SLOW = tuple(Window(BEGAN + timedelta(minutes=at), BEGAN + timedelta(minutes=at + 10)) for at in (305, 476, 835))


@pytest.fixture
def day_with_spikes(any_store: Store) -> Store:
    """A store in which one of six replicas is slow three times in a day."""
    random = np.random.default_rng(11)
    count = HOURS * 3600
    second = np.sort(random.uniform(0, HOURS * 3600, count))
    replica = random.integers(0, 6, count)
    is_slow = np.zeros(count, dtype=bool)
    for window in SLOW:
        first, end = ((moment - BEGAN).total_seconds() for moment in (window.start, window.end))
        is_slow |= (second >= first) & (second < end) & (replica == 2)
    ttft_ms = random.lognormal(5.0, 0.3, count) + np.where(is_slow, 2000.0, 0.0)
    insert_requests(
        any_store,
        BEGAN,
        second,
        replica=pl.Series([f"chat-{number}" for number in range(6)]).gather(replica),
        ttft_ms=ttft_ms,
        latency_ms=ttft_ms + random.normal(900, 30, count),
    )
    return any_store


def found_in(store: Store, window: Window) -> list[Incident]:
    return analyze(store, window, window.end, (), SETTINGS)


def test_a_look_at_a_day_finds_what_looks_at_each_hour_find(day_with_spikes: Store) -> None:
    by_day = found_in(day_with_spikes, WHOLE)
    assert all(
        abs(one.started_at - slow.start) <= timedelta(seconds=30) for one, slow in zip(by_day, SLOW, strict=True)
    )
    assert found_in(day_with_spikes, WHOLE) == by_day
    from_within_a_step = Window(WHOLE.start + timedelta(seconds=7), WHOLE.end)
    assert found_in(day_with_spikes, from_within_a_step) == by_day
    day_with_spikes.execute("TRUNCATE TABLE tailsight_incidents")
    for window, incident in zip(SLOW, by_day, strict=True):
        around = Window(window.start - timedelta(minutes=20), window.end + timedelta(minutes=20))
        (by_hour,) = found_in(day_with_spikes, around)
        assert (by_hour.id, by_hour.started_at, by_hour.ended_at) == (
            incident.id,
            incident.started_at,
            incident.ended_at,
        )
        assert by_hour.slow_requests_count == incident.slow_requests_count
        assert by_hour.cause == incident.cause
