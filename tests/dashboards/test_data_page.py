"""The page about the data: what comes in, what does not, and who has fallen silent."""

import asyncio
from datetime import UTC, datetime, timedelta

import polars as pl
import pytest
from fastapi import FastAPI

from analytics.jobs.explaining import AnalyzeSettings
from collector.report import IngestReport
from dashboards.app import create_dashboard
from dashboards.pages import data
from dashboards.settings import DashboardSettings
from storage.readers import QUARANTINE, SOURCES
from storage.store import Store
from tests.browser import fixture_data
from tests.dashboards.asking import Asker
from tests.dashboards.reading import classes, words

NOW = datetime(2026, 11, 23, 3, 7, tzinfo=UTC)
REPORT = IngestReport(
    accepted={"otel_traces": 1200, "otel_metrics_gauge": 40},
    loaded={"otel_traces": 1000, "otel_metrics_gauge": 50},
    quarantined={"otel_traces": 3},
    refused_requests={("traces", "backlog_full"): 2},
    rejected_items={("metrics", "too_old"): 5},
    dropped_samples={("gpus", "not_finite"): 1},
    points_without_samples={"delta": 6},
    damaged_bytes=64,
    backlog_bytes=3 << 20,
    waiting_s=75.0,
)
_INGEST = ("data-note.children", "data-waiting.children", "data-flow.children", "data-losses.children")
_STORED = ("data-sources.children", "data-quarantine.children")


def source(
    name: str, age_s: float | None, *, up: float | None = None, instance: str | None = None
) -> tuple[object, ...]:
    return "metrics", name, instance, None if age_s is None else NOW - timedelta(seconds=age_s), up


def sources(*rows: tuple[object, ...]) -> str:
    return words(data.sources(pl.DataFrame(rows, schema=SOURCES, orient="row"), NOW, 120, "a day"))


def test_each_table_tells_what_was_accepted_stored_and_is_on_its_way() -> None:
    shown = words(data.flow(REPORT))
    assert "otel_traces 1,200 1,000 3 197" in shown
    assert "otel_metrics_gauge 40 50 0 0" in shown, "what an earlier process accepted is not on its way"


def test_every_loss_has_its_reason_and_the_largest_comes_first() -> None:
    shown = words(data.losses(REPORT))
    assert "requests refused traces backlog full 2" in shown
    assert "items rejected metrics too old 5" in shown
    assert "samples left out gpus not finite 1" in shown
    assert "points kept, no samples metrics delta 6" in shown


def test_what_waits_is_told_with_its_age() -> None:
    assert words(data.waiting_strip(REPORT)).startswith("Waiting to be stored 3.0 MiB Oldest of it 75 s")


def test_a_source_is_live_silent_up_or_down_and_the_bad_ones_come_first() -> None:
    shown = sources(
        source("chat", 10),
        source("quiet", 7200),
        source("gpus", 5, up=1, instance="node-1:9400"),
        source("gpus", None, up=0, instance="node-2:9400"),
    )
    assert [word for word in shown.split() if word in ("Down", "Silent", "Up", "Live")] == [
        "Down",
        "Silent",
        "Live",
        "Up",
    ]
    assert "node-2:9400" in shown.split("Silent")[0]
    assert "never" in shown.split("Silent")[0]


def test_quarantine_shows_what_was_found() -> None:
    rows = [(NOW, "traces", "undecodable", "traces-1", 2, "otel_traces: no OTLP")]
    shown = words(data.quarantine(pl.DataFrame(rows, schema=QUARANTINE, orient="row"), NOW, "a day"))
    assert "03:07 traces undecodable 2 otel_traces: no OTLP" in shown


def test_nothing_is_said_in_words() -> None:
    empty = IngestReport({}, {}, {}, {}, {}, {}, {}, 0, 0, 0.0)
    assert "Nothing was sent here yet" in words(data.flow(empty))
    assert "Nothing was refused" in words(data.losses(empty))
    assert "Nothing came in within a day" in sources()
    assert "is in quarantine" in words(data.quarantine(pl.DataFrame(schema=QUARANTINE), NOW, "a day"))


def test_a_process_without_a_collector_says_so_and_still_tells_what_the_store_knows(pages: Asker) -> None:
    answer = pages.callback(*_INGEST, url__search="", tick__n_intervals=1)
    assert "No collector in this process" in words(answer["data-flow"]["children"])
    stored = pages.callback(*_STORED, url__search="", tick__n_intervals=1)
    assert "chat" in words(stored["data-sources"]["children"])
    assert "tone-good" in classes(stored["data-sources"]["children"])


def test_a_process_with_a_collector_tells_what_it_did(
    runner: asyncio.Runner, filled_store: Store, pages: Asker
) -> None:
    api = FastAPI()
    create_dashboard(
        api,
        filled_store,
        DashboardSettings(),
        objectives=tuple,
        now=lambda: fixture_data.NOW,
        analysis=AnalyzeSettings(),
        ingest=lambda: REPORT,
    )
    answer = Asker(runner, api).callback(*_INGEST, url__search="", tick__n_intervals=1)
    assert "1,200" in words(answer["data-flow"]["children"])
    assert "backlog full" in words(answer["data-losses"]["children"])


@pytest.mark.parametrize("path", ["/data"])
def test_the_page_is_reached_by_its_address_and_by_the_navigation(pages: Asker, path: str) -> None:
    assert "Data" in words(pages.callback("page.children", url__pathname=path)["page"]["children"])
    head = pages.callback(
        "navigation.children", "freshness.children", url__pathname=path, url__search="", tick__n_intervals=1
    )
    assert words(head["navigation"]["children"]).endswith("Data")
