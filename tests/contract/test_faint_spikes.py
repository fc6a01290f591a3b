"""What no bucket of 15 s shows is an incident all the same: failures always, slow requests where a cause is plain."""

from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl

from analytics.jobs.explaining import AnalyzeSettings
from analytics.jobs.incidents import analyze
from domain.cause import CauseKind
from domain.incident import Incident, Indicator
from domain.window import Window
from storage.store import Store
from tests.contract.request_rows import insert_requests

BEGAN = datetime(2026, 11, 23, tzinfo=UTC)
BROKE, MENDED = BEGAN + timedelta(minutes=100), BEGAN + timedelta(minutes=112)
END = BEGAN + timedelta(minutes=130)
REPLICAS = 10
A_SECOND = 0.8


def found(store: Store, *, failing: float = 0.0, slower: float = 1.0) -> list[Incident]:
    """The incidents of a thin service, of which one replica of ten fails or is slower for twelve minutes."""
    random = np.random.default_rng(11)
    count = int(A_SECOND * (END - BEGAN).total_seconds())
    second = np.sort(random.uniform(0, (END - BEGAN).total_seconds(), count))
    replica = random.integers(0, REPLICAS, count)
    is_hit = (second >= (BROKE - BEGAN).total_seconds()) & (second < (MENDED - BEGAN).total_seconds()) & (replica == 2)
    queue_ms = random.lognormal(2.5, 0.4, count)
    prefill_ms = random.lognormal(4.8, 0.25, count) * np.where(is_hit, slower, 1.0)
    decode_ms = random.lognormal(6.8, 0.25, count)
    insert_requests(
        store,
        BEGAN,
        second,
        replica=pl.Series([f"chat-{number}" for number in range(REPLICAS)]).gather(replica),
        is_error=is_hit & (random.uniform(size=count) < failing),
        ttft_ms=queue_ms + prefill_ms,
        latency_ms=queue_ms + prefill_ms + decode_ms,
        queue_ms=queue_ms,
        prefill_ms=prefill_ms,
        decode_ms=decode_ms,
    )
    return analyze(store, Window(BEGAN + timedelta(minutes=10), END), END, (), AnalyzeSettings())


def test_a_replica_of_ten_that_fails_is_told_from_when_it_broke(any_store: Store) -> None:
    (incident,) = found(any_store, failing=0.6)
    assert incident.indicator is Indicator.ERRORS
    assert abs(incident.started_at - BROKE) <= timedelta(seconds=60)
    assert incident.detected_at - BROKE <= timedelta(minutes=3)
    assert incident.ended_at is not None
    assert abs(incident.ended_at - MENDED) <= timedelta(minutes=2)


def test_a_replica_of_ten_that_is_twice_as_slow_is_told_by_its_name(any_store: Store) -> None:
    (incident,) = found(any_store, slower=2.0)
    assert incident.cause.kind is CauseKind.STRAGGLER
    assert incident.cause.entity.name == "chat-2"
    assert BROKE - timedelta(minutes=1) <= incident.started_at <= BROKE + timedelta(minutes=4)


def test_a_quiet_service_has_none(any_store: Store) -> None:
    assert found(any_store) == []
