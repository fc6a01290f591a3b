"""Replay: the sources are asked again of stored time, and their alerts played through a tree."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl
import pytest

from alerts.config import parse_config
from alerts.notification import Reason
from alerts.replay import INTERVAL_SOURCES, NOT_REPLAYED, PastObjectives, past_alerts, replay
from alerts.settings import AlertsSettings
from alerts.sources import ALERTNAMES_BY_SOURCE
from analytics.cost.jobs import Pricing
from analytics.cost.price_book import shipped_prices
from analytics.cost.runaway import Budget
from analytics.jobs.devices import PastDeviceFaults, device_faults
from analytics.jobs.fleet import past_traffic, stopped_services
from analytics.knowledge import shipped_knowledge
from domain.alert import Alert
from domain.incident import Indicator, Status
from domain.slo import Objective
from domain.window import Window
from storage.documents import read_document
from storage.incidents import write_incidents
from storage.store import Store
from tests.analytics.cost.test_cost_jobs import long_past
from tests.api.clock import NOW
from tests.domain.examples import PAGING

START = datetime(2026, 11, 1, tzinfo=UTC)
CONFIG = """
route:
  receiver: tickets
  group_by: [service]
  group_wait: 30s
  group_interval: 5m
  repeat_interval: 1h
  routes: [{matchers: [severity=page], receiver: oncall}]
receivers:
- name: oncall
  webhook_configs: [{url: 'http://127.0.0.1:9/'}]
- name: tickets
  webhook_configs: [{url: 'http://127.0.0.1:9/'}]
"""


def alert(severity: str, begins_min: float, ends_min: float) -> Alert:
    start = START + timedelta(minutes=begins_min)
    labels = {"alertname": "SLOBurnRate", "service": "chat", "severity": severity}
    return Alert(labels, {"summary": "slow"}, start, START + timedelta(minutes=ends_min), start)


def test_a_past_month_can_be_played_through_a_tree() -> None:
    told = replay(parse_config(CONFIG), [alert("page", 0, 130), alert("ticket", 10, 12)])
    pages = [one for one in told if one.receiver == "oncall"]
    assert [one.reason for one in pages] == [Reason.FIRST, Reason.REPEAT, Reason.ALL_RESOLVED]
    assert pages[0].at == START + timedelta(seconds=30)
    tickets = [one.reason for one in told if one.receiver == "tickets"]
    assert tickets == [Reason.FIRST, Reason.ALL_RESOLVED]


def test_what_was_over_before_its_group_was_told_wakes_nobody() -> None:
    assert replay(parse_config(CONFIG), [alert("page", 0, 0.2)]) == []
    assert replay(parse_config(CONFIG), []) == []


TWO_HOURS = Window(NOW, NOW + timedelta(hours=2))
OBJECTIVES = (
    Objective("chat-errors", "chat", Indicator.ERRORS, 0.999, 30),
    Objective("chat-loose", "chat", Indicator.ERRORS, 0.95, 1),
    Objective("nobody-errors", "nobody", Indicator.ERRORS, 0.99, 30),
)
BUDGETS = (Budget("fleet", 1.0),)
NO_LINKS = {"TailsightLinkUnhealthy"}


def at(minutes: float) -> datetime:
    return NOW + timedelta(minutes=minutes)


def insert_requests(store: Store) -> None:
    """A request each five seconds since four hours ago: they fail from minute 20 to 30, and stop at minute 60."""
    times = [at(-240) + timedelta(seconds=5 * number) for number in range(300 * 12)]
    frame = pl.DataFrame({"time": times, "service": "chat", "latency_ms": 100.0})
    is_error = (pl.col("time") >= at(20)) & (pl.col("time") < at(30))
    store.insert("tailsight_requests", frame.with_columns(is_error=is_error))


def insert_gpus(store: Store) -> None:
    """One GPU that is busy since two hours ago, and two more from minute 10 on; the first has an XID from minute 40."""
    series: list[dict[str, Any]] = []
    samples: list[dict[str, Any]] = []
    for number in range(3):
        minutes = range(-120 if number == 0 else 10, 120)
        for place, metric in enumerate(("dcgm_fi_dev_gpu_util", "dcgm_fi_dev_xid_errors")):
            series.append(
                {"metric": metric, "series_id": 2 * number + place, "job": "d", "instance": "i", "node": "n",
                 "gpu": f"GPU-{number}", "port": "", "replica": "chat-0", "service": "", "model": "",
                 "attributes": {"names": ["modelName"], "texts": ["NVIDIA H100 80GB HBM3"]},
                 "first_seen": at(minutes[0]), "last_seen": at(minutes[-1])}
            )  # fmt: skip
            for minute in minutes:
                xid = 48.0 if number == 0 and minute >= 40 else 0.0
                value = 50.0 if place == 0 else xid
                samples.append({"metric": metric, "series_id": 2 * number + place, "time": at(minute), "value": value})
    ids = {"series_id": pl.UInt64}
    store.insert("tailsight_series", pl.DataFrame(series, schema_overrides=ids))
    store.insert("tailsight_samples", pl.DataFrame(samples, schema_overrides=ids))


@pytest.fixture
def two_hours(clean_store: Store) -> Store:
    """A store of which each source but those of cost has something to tell."""
    insert_requests(clean_store)
    insert_gpus(clean_store)
    moved = timedelta(minutes=40, seconds=15)
    incident = replace(
        PAGING, status=Status.RESOLVED, started_at=at(0) + moved, detected_at=at(1) + moved, ended_at=at(50)
    )
    write_incidents(clean_store, [incident], at(120))
    return clean_store


def past(store: Store, window: Window = TWO_HOURS, **given: Any) -> list[Alert]:
    settings = {"page_on_faults": ("memory_fault",), "page_on_silence": False}
    asked: dict[str, Any] = {
        "objectives": PastObjectives(OBJECTIVES),
        "settings": AlertsSettings(**settings),  # type: ignore[arg-type]
        "knowledge": shipped_knowledge(),
        "pricing": Pricing(shipped_prices(), budgets=BUDGETS),
    }
    return past_alerts(store, window, **(asked | given))


def test_every_source_that_can_be_asked_of_the_past_is_and_tells_at_its_time(two_hours: Store) -> None:
    progress: list[float] = []
    long_past(two_hours, 60, {"loud": 0})
    told = {(one.labels["alertname"], one.labels.get("slo", ""), one.labels["severity"]): one
            for one in past(two_hours, progress=progress.append)}  # fmt: skip
    first = {key: (one.updated_at - NOW).total_seconds() / 60 for key, one in told.items()}
    ends = {key: (one.ends_at - NOW).total_seconds() / 60 for key, one in told.items()}
    spike = ("TailsightLatencySpike", "", "page")
    assert (told[spike].starts_at, first[spike], ends[spike]) == (at(40.25), 41.25, 50)
    assert first["SLOBurnRate", "chat-errors", "page"] == 21
    assert 21 <= first["SLOBudgetSpent", "chat-errors", "ticket"] <= 26
    assert ends["SLOBudgetSpent", "chat-errors", "ticket"] == 120
    assert 21 <= first["SLOBudgetRunsOut", "chat-loose", "ticket"] <= 32
    assert (first["SLONoData", "nobody-errors", "ticket"], ends["SLONoData", "nobody-errors", "ticket"]) == (0, 120)
    assert told["SLONoData", "nobody-errors", "ticket"].starts_at == NOW
    assert 41 <= first["TailsightGpuUnhealthy", "", "page"] <= 43
    assert told["TailsightGpuUnhealthy", "", "page"].labels["gpu"] == "GPU-0"
    assert told["TailsightGpuUnhealthy", "", "page"].annotations["impact"] == "chat-0 depends on it"
    assert 65 <= first["TailsightTrafficStopped", "", "ticket"] <= 66
    assert ends["TailsightTrafficStopped", "", "ticket"] == 120
    assert 41 <= first["TailsightCostRunaway", "", "ticket"] <= 72
    assert first["TailsightBudgetOverspent", "", "ticket"] == 13
    names = {name for name, _, _ in told}
    assert (
        names
        == {name for source, names in ALERTNAMES_BY_SOURCE.items() if source not in NOT_REPLAYED for name in names}
        - NO_LINKS
    )
    assert progress == sorted(progress)


def test_a_replay_of_stretches_alone_needs_no_look_at_each_minute(two_hours: Store) -> None:
    evaluations: list[float] = []
    found = past(two_hours, only=INTERVAL_SOURCES, progress=evaluations.append)
    assert {one.labels["alertname"] for one in found} == {"TailsightLatencySpike", "SLOBurnRate"}
    assert len(evaluations) < 20
    by_minute = past(two_hours, only=(*INTERVAL_SOURCES, "traffic"))
    whole = [one for one in by_minute if one.labels["alertname"] in ("TailsightLatencySpike", "SLOBurnRate")]
    assert [(one.labels, one.starts_at, one.ends_at, one.updated_at) for one in found] == [
        (one.labels, one.starts_at, one.ends_at, one.updated_at) for one in whole
    ]


def test_it_remembers_nothing_in_the_store_and_finds_the_same_again(two_hours: Store) -> None:
    assert past(two_hours, only=("devices", "traffic")) == past(two_hours, only=("devices", "traffic")) != []
    assert read_document(two_hours, "device-faults", "device-faults") is None


def test_first_promises_have_no_tickets_in_the_past_either(two_hours: Store) -> None:
    found = past(two_hours, objectives=PastObjectives(OBJECTIVES, are_proposed=True), only=("objectives",))
    assert found == []


def test_traffic_that_stopped_is_seen_in_the_past_when_it_would_have_been(two_hours: Store) -> None:
    seen = past_traffic(two_hours, TWO_HOURS)
    moments = [NOW + timedelta(seconds=45 * number) for number in range(100, 120)]
    assert [seen.stopped(now) for now in moments] == [stopped_services(two_hours, now) for now in moments]
    assert any(seen.stopped(now) for now in moments)


def test_faults_of_the_past_are_those_that_were_told_then(two_hours: Store) -> None:
    seen = PastDeviceFaults(two_hours, at(120))
    moments = [at(minute) for minute in (0, 35, 41, 42, 45, 60, 119)]
    told = [device_faults(two_hours, now, []) for now in moments]
    assert [seen.at(now, []) for now in moments] == told
    assert [len(one) for one in told] == [0, 0, 0, 1, 1, 1, 1]


def test_an_incident_that_the_next_look_took_back_was_told_until_then(clean_store: Store) -> None:
    write_incidents(clean_store, [replace(PAGING, status=Status.RESOLVED, ended_at=PAGING.detected_at)], NOW)
    (found,) = past(clean_store, Window(at(-60), NOW), objectives=PastObjectives(()))
    assert (found.updated_at, found.ends_at) == (PAGING.detected_at, PAGING.detected_at + timedelta(seconds=30))


def test_what_goes_on_when_the_window_begins_is_told_then(clean_store: Store) -> None:
    write_incidents(clean_store, [PAGING], NOW)
    (found,) = past(clean_store, Window(at(-5), NOW), objectives=PastObjectives(()))
    assert (found.starts_at, found.updated_at, found.ends_at) == (PAGING.started_at, at(-5), NOW)
