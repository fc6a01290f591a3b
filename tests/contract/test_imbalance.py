"""The load of replicas over any window is told by all of it."""

from datetime import UTC, datetime, timedelta

import numpy as np

from analytics.jobs.fleet import imbalance_of
from domain.window import Window
from storage.store import Store
from tests.contract.request_rows import insert_requests

A_YEAR_OF_STEPS = datetime.fromtimestamp(57 * 366 * 86_400, UTC)  # where steps of 366 days since 1970 meet


def test_replicas_are_told_once_wherever_the_window_lies(any_store: Store) -> None:
    began = A_YEAR_OF_STEPS - timedelta(minutes=5)
    second = np.arange(0, 600, 2.0)
    is_late = second >= 300
    insert_requests(
        any_store,
        began,
        second,
        replica=np.where(np.arange(len(second)) % 3 == 0, "one", "two"),
        latency_ms=np.where(is_late, 100.0, 4000.0),
        ttft_ms=np.where(is_late, 10.0, 400.0),
    )
    loads = imbalance_of(any_store, "chat", Window(began, began + timedelta(minutes=10))).replicas
    assert sorted(loads.select("replica", "requests").iter_rows()) == [("one", 100), ("two", 200)]
    assert loads["latency_ms_p99"].min() > 3900, "the slow half is part of it"
