"""What breaks while a service has been somewhat slow for long is told by itself, and from when it broke."""

from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest

from analytics.jobs.explaining import AnalyzeSettings
from analytics.jobs.incidents import analyze
from domain.cause import CauseKind
from domain.entity import Entity, EntityKind
from domain.window import Window
from storage.store import Store
from tests.contract.request_rows import insert_requests

BEGAN = datetime(2026, 11, 23, tzinfo=UTC)
SLOW_FROM, BROKE = BEGAN + timedelta(minutes=80), BEGAN + timedelta(minutes=100)
END = BEGAN + timedelta(minutes=110)


@pytest.fixture
def slow_then_broken(any_store: Store) -> Store:
    """Some requests of all six replicas wait, for no reason that is known, until one replica breaks."""
    random = np.random.default_rng(7)
    count = 4 * int((END - BEGAN).total_seconds())
    second = np.sort(random.uniform(0, (END - BEGAN).total_seconds(), count))
    replica = random.integers(0, 6, count)
    waits = (second >= (SLOW_FROM - BEGAN).total_seconds()) & (random.uniform(size=count) < 0.05)
    is_broken = (second >= (BROKE - BEGAN).total_seconds()) & (replica == 2)
    queue_ms = random.lognormal(2.5, 0.4, count) + np.where(waits, 900.0, 0.0)
    prefill_ms = random.normal(120, 8, count) * np.where(is_broken, 25.0, 1.0)
    decode_ms = random.normal(900, 30, count) * np.where(is_broken, 2.0, 1.0)
    insert_requests(
        any_store,
        BEGAN,
        second,
        replica=pl.Series([f"chat-{number}" for number in range(6)]).gather(replica),
        ttft_ms=queue_ms + prefill_ms,
        latency_ms=queue_ms + prefill_ms + decode_ms,
        queue_ms=queue_ms,
        prefill_ms=prefill_ms,
        decode_ms=decode_ms,
    )
    return any_store


def test_what_breaks_within_a_spike_that_nothing_explains_is_an_incident_of_its_own(slow_then_broken: Store) -> None:
    whole = Window(BEGAN + timedelta(minutes=70), END)
    slow, broken = analyze(slow_then_broken, whole, END, (), AnalyzeSettings())
    assert slow.cause.kind is CauseKind.UNKNOWN
    assert abs(slow.started_at - SLOW_FROM) <= timedelta(seconds=45)
    assert slow.ended_at == broken.started_at
    assert (broken.cause.kind, broken.cause.entity) == (CauseKind.STRAGGLER, Entity(EntityKind.REPLICA, "chat-2"))
    assert abs(broken.started_at - BROKE) <= timedelta(seconds=30)
    assert timedelta(0) < broken.detected_at - broken.started_at <= timedelta(minutes=1)
    assert analyze(slow_then_broken, whole, END, (), AnalyzeSettings()) == [slow, broken]


def test_a_live_look_tells_what_broke_under_a_name_of_its_own(slow_then_broken: Store) -> None:
    (slow,) = analyze(slow_then_broken, Window(SLOW_FROM - timedelta(minutes=10), BROKE), BROKE, (), AnalyzeSettings())
    now = BROKE + timedelta(minutes=3)
    first, second = analyze(slow_then_broken, Window(BROKE, now), now, (), AnalyzeSettings())
    assert first.id == slow.id
    assert (first.cause.kind, second.cause.kind) == (CauseKind.UNKNOWN, CauseKind.STRAGGLER)
