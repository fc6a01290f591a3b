"""Metrics with more series than are read: of those that no signal asks for, none takes the place of another."""

from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest

from analytics.causes import NOT_LOOKED_AT
from analytics.jobs.explaining import explain_window
from analytics.knowledge import shipped_knowledge
from domain.cause import CauseKind
from domain.window import Window
from storage.readers import read_series
from storage.store import Store
from tests.contract.payloads import SECOND_NS, gauge, metrics, point
from tests.contract.request_rows import insert_requests

END = datetime(2026, 11, 23, 3, 0, tzinfo=UTC)
SPIKE = Window(END - timedelta(minutes=10), END)
HOUR = Window(END - timedelta(hours=1), END)
MODES = ("irq", "nice", "softirq", "system", "user", "idle", "iowait", "steal")
CPU = "node_cpu_seconds_total"


@pytest.fixture
def crowded(any_store: Store, monkeypatch: pytest.MonkeyPatch) -> Store:
    """A store that reads four series of a metric, and has eight of one: those that signals ask for came last."""
    points = [
        point(
            float(second - HOUR.start.timestamp()), time_ns=second * SECOND_NS, attributes={"node": "n1", "mode": mode}
        )
        for late, mode in enumerate(MODES)
        for second in range(int(HOUR.start.timestamp()) + late, int(END.timestamp()), 15)
    ]
    any_store.load_otlp("otel_metrics_gauge", metrics(gauge(CPU, *points)), token="cpu")
    monkeypatch.setattr(any_store, "_series_per_metric_max", 4)
    return any_store


def test_of_a_metric_that_is_read_in_part_the_other_series_take_no_place(crowded: Store) -> None:
    def modes(**parts: object) -> list[str]:
        return read_series(crowded, HOUR, [CPU.upper()], ["mode"], **parts)["labels"].list.first().to_list()  # type: ignore[arg-type]

    assert modes() == list(MODES[:4])
    assert modes(parts=shipped_knowledge().parts) == ["idle", "iowait", "steal"]
    assert modes(parts={CPU: ("mode", ["it's", "user"]), "another": ("", [])}) == ["user"]
    assert modes(parts={CPU: ("cpu", [""])}) == list(MODES[:4])  # a label that is not there is empty


def test_a_spike_is_explained_with_the_series_that_its_signals_ask_for(crowded: Store) -> None:
    second = np.arange(0.0, 3600.0, 0.5)
    slow = second >= (SPIKE.start - HOUR.start).total_seconds()
    insert_requests(
        crowded,
        HOUR.start,
        second,
        replica=["chat-1"] * len(second),
        node=["n1"] * len(second),
        latency_ms=pl.Series(np.where(slow, 3000.0, 1000.0)),
    )
    explanation = explain_window(crowded, "chat", SPIKE)
    (ruled_out,) = [one for one in explanation.ruled_out if one.kind is CauseKind.HOST_CONTENTION]
    assert not ruled_out.why.startswith(NOT_LOOKED_AT)
