"""What an incident did to what was promised, and what becomes of a look in which one explanation fails."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest

from analytics.jobs import explaining, incidents
from analytics.jobs.explaining import AnalyzeSettings
from analytics.jobs.incidents import analyze
from domain.cause import CauseKind
from domain.incident import Indicator, Severity, Status
from domain.slo import Objective
from domain.window import Window
from storage.incidents import write_incidents
from storage.store import Store
from tests.contract.request_rows import insert_requests

BEGAN = datetime(2026, 11, 23, tzinfo=UTC)
BROKE, END = BEGAN + timedelta(minutes=60), BEGAN + timedelta(minutes=66)
WINDOW = Window(BEGAN + timedelta(minutes=50), END)


@pytest.fixture
def failing(any_store: Store) -> Store:
    """A store in which every fifth request fails from one minute on; of two services, one names no model."""
    random = np.random.default_rng(9)
    count = 4 * int((END - BEGAN).total_seconds())
    second = np.sort(random.uniform(0, (END - BEGAN).total_seconds(), count))
    fails = (second >= (BROKE - BEGAN).total_seconds()) & (random.uniform(size=count) < 0.2)
    latency_ms = random.lognormal(6.0, 0.2, count)
    insert_requests(
        any_store,
        BEGAN,
        second,
        service=np.where(np.arange(count) % 2 == 0, "chat", "search"),
        model=pl.Series(["llama-70b", None] * (count // 2)),
        replica=["one"] * count,
        is_error=fails,
        latency_ms=latency_ms,
        ttft_ms=latency_ms / 4,
    )
    return any_store


def test_failures_spend_the_budget_of_availability_where_that_alone_was_promised(failing: Store) -> None:
    promised = Objective("chat-availability", "chat", Indicator.ERRORS, 0.999, 30)
    by_service = {one.service: one for one in analyze(failing, WINDOW, END, (promised,), AnalyzeSettings())}
    assert by_service["chat"].indicator is Indicator.ERRORS
    assert by_service["chat"].severity is Severity.PAGE
    assert by_service["chat"].budget_spent_ratio is not None
    assert by_service["chat"].budget_spent_ratio > 1
    assert (by_service["search"].severity, by_service["search"].budget_spent_ratio) == (Severity.TICKET, None)


def test_one_explanation_that_fails_hides_no_other(failing: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    find = explaining.find

    def find_but_of_chat(store: Store, case: explaining.Case, settings: AnalyzeSettings) -> object:
        if case.service == "chat":
            raise ValueError("a matrix that cannot be solved")
        return find(store, case, settings)

    monkeypatch.setattr(explaining, "find", find_but_of_chat)
    by_service = {one.service: one for one in analyze(failing, WINDOW, END, (), AnalyzeSettings())}
    assert set(by_service) == {"chat", "search"}
    assert by_service["chat"].cause.kind is CauseKind.UNKNOWN
    assert "a matrix that cannot be solved" in by_service["chat"].cause.summary
    assert "could not be explained" not in by_service["search"].cause.summary


def test_a_second_look_at_a_spike_that_fails_leaves_the_first(failing: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def rise_within(_counts: pl.DataFrame) -> datetime:
        raise ValueError("a split of nothing")

    monkeypatch.setattr(incidents, "rise_within", rise_within)
    found = analyze(failing, WINDOW, END, (), AnalyzeSettings())
    assert {one.service for one in found} == {"chat", "search"}
    assert all(one.cause.kind is CauseKind.UNKNOWN for one in found), "so that there was a second look"
    assert not any("could not be explained" in one.cause.summary for one in found)


def test_only_a_service_with_an_open_incident_is_looked_at_since_that_began(
    failing: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {one.service: one for one in analyze(failing, WINDOW, END, (), AnalyzeSettings())}
    assert {one.status for one in before.values()} == {Status.OPEN}
    search = before["search"]
    write_incidents(failing, [replace(search, status=Status.RESOLVED, ended_at=END)], END)
    read: list[tuple[str | None, datetime]] = []
    read_request_series = incidents.read_request_series

    def watched(store: Store, window: Window, step_s: int, service: str | None = None) -> pl.DataFrame:
        read.append((service, window.start + timedelta(seconds=AnalyzeSettings().spikes.history_s)))
        return read_request_series(store, window, step_s, service)

    monkeypatch.setattr(incidents, "read_request_series", watched)
    late = Window(END - timedelta(minutes=1), END)
    after = {one.service: one for one in analyze(failing, late, END, (), AnalyzeSettings())}
    assert read == [(None, late.start), ("chat", before["chat"].started_at)]
    assert after["chat"] == before["chat"]
    assert after["search"].id == search.id
