"""The page of one objective, asked as a browser asks it, over the made-up cloud."""

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl
import pytest
from fastapi import FastAPI

from alerts.decide import slo_url
from analytics.burn_rates import BurnAlert
from analytics.jobs.explaining import AnalyzeSettings
from analytics.jobs.objectives import RecentCounts, backtest, backtest_counts, kept_exclusions
from analytics.knowledge import shipped_knowledge
from dashboards import slo_backtest, slo_exclusions, slo_figures
from dashboards.app import create_dashboard
from dashboards.context import PageContext
from dashboards.pages import slo
from dashboards.settings import DashboardSettings
from dashboards.state import PageState, slo_path
from domain.incident import Indicator, Severity
from domain.slo import Counted, CreditExposure, Exclusion, Objective, Period, PeriodStatus, Slices, SloState
from domain.window import Window
from storage.documents import SLO_EXCLUSIONS, read_document
from storage.store import Store
from tests.browser import slo_data
from tests.browser.fixture_data import NOW
from tests.dashboards.asking import Asker
from tests.dashboards.frames import NOON, TIME, incident, objective, status
from tests.dashboards.reading import classes, links, words

_PAGE = (
    "slo-head.children", "slo-facts.children", "slo-budget-note.children", "figure:slo-budget.data",
    "slo-windows.children", "slo-credit.children", "slo-burn-note.children", "figure:slo-burn.data",
    "slo-events-note.children", "figure:slo-events.data", "slo-exclusions.children",
)  # fmt: skip
_ANSWER = ("backtest-words.children", "figure:slo-backtest.data", "backtest-alerts.children", "backtest-link.children")
_FIGURE = '{"name":"%s","type":"figure"}'


@pytest.fixture(scope="module")
def slo_pages(runner: asyncio.Runner, filled_store: Store) -> Iterator[Asker]:
    """The pages with objectives that have more windows, an SLA, an exclusion."""
    slo_data.fill(filled_store)
    api = FastAPI()
    create_dashboard(
        api,
        filled_store,
        DashboardSettings(),
        objectives=lambda: slo_data.ALL,
        now=lambda: NOW,
        analysis=AnalyzeSettings(),
    )
    yield Asker(runner, api)
    slo_data.clear(filled_store)


def _page(pages: Asker, name: str, search: str = "") -> dict[str, Any]:
    changed: dict[str, Any] = {"slo-changed__data": None}
    return pages.callback(*_PAGE, url__pathname=slo_path(name), url__search=search, tick__n_intervals=1, **changed)


def test_an_objective_tells_where_it_stands_over_all_of_its_windows(slo_pages: Asker) -> None:
    answer = _page(slo_pages, "chat-ttft")
    head = words(answer["slo-head"]["children"])
    assert "99 % of the requests see their first token within 800 ms, over 30 days." in head
    table = words(answer["slo-windows"]["children"])
    assert "Last 30 days" in table
    assert "Last 7 days Missed" in table
    assert "Calendar month (Europe/Berlin)" in table
    assert "with 7 h 12 min that are excluded" in table
    assert head.startswith("Page Open incident Missed over the last 7 days"), "as the overview and the list say it"
    facts = words(answer["slo-facts"]["children"])
    assert "Burns 35× in the last 5 min" in facts
    credit = words(answer["slo-credit"]["children"])
    assert "November 2026, Europe/Berlin" in credit
    assert "$1,200" in credit
    assert "firmware of leaf-01 is being changed" in words(answer["slo-exclusions"]["children"])


def test_its_charts_show_what_is_excluded_and_what_fired(slo_pages: Asker) -> None:
    answer = _page(slo_pages, "chat-ttft", "?range=30d")
    budget = answer[_FIGURE % "slo-budget"]["data"]
    assert "fired" in budget["layout"]["meta"]["label"]
    for name in ("slo-budget", "slo-burn", "slo-events"):
        starts = [shape.get("x0") for shape in answer[_FIGURE % name]["data"]["layout"]["shapes"]]
        assert f"{slo_data.FIRMWARE.starts_at:%Y-%m-%d %H:%M:%S}" in starts
    assert words(answer["slo-burn-note"]["children"]) == "last 30 days"
    assert words(answer["slo-events-note"]["children"]).endswith("with what is excluded")


def test_its_links_lead_to_the_evidence_of_its_window_and_to_its_document(slo_pages: Asker) -> None:
    found = links(_page(slo_pages, "acme/chat-latency")["slo-head"]["children"])
    base = "/api/v1/slos/acme%2Fchat-latency"
    query = "?from=2026-11-16T03:07:00Z&to=2026-11-23T03:07:00Z&step=3600s"
    assert found == [f"{base}/evidence{query}", f"{base}/evidence.csv{query}", base]


def test_evidence_of_slices_comes_in_buckets_that_divide_them() -> None:
    query = slo.evidence_query(replace(objective(), slices=Slices(420, 0.99)), NOW)
    assert query.endswith("step=60s")


def test_one_that_nothing_is_known_of_says_so_everywhere(slo_pages: Asker) -> None:
    answer = _page(slo_pages, "ghost-availability")
    assert "No data" in words(answer["slo-head"]["children"])
    assert words(answer["slo-facts"]["children"]).startswith("SLI — of 99.9 % Budget left —")
    assert answer["slo-credit"]["children"] is None
    for name in ("slo-budget", "slo-burn", "slo-events"):
        assert answer[_FIGURE % name]["data"]["layout"]["meta"]["empty"]


def test_a_name_that_no_objective_has_is_answered_by_a_way_back(slo_pages: Asker) -> None:
    answer = _page(slo_pages, "nope")
    assert "There is no objective of this name" in words(answer["slo-head"]["children"])
    assert links(answer["slo-head"]["children"]) == ["/slos"]
    response = slo_pages.get(slo_path("nope"), accept="text/html")
    assert response.status_code == 200


def test_alerts_and_rows_lead_to_the_page(slo_pages: Asker) -> None:
    path = slo_path(slo_data.ACME.name)
    assert slo_url(slo_data.ACME, "https://tailsight.test") == f"https://tailsight.test{path}"
    outputs = ("objectives-note.children", "objectives-missing.children", "objectives-table.children")
    answer = slo_pages.callback(*outputs, url__search="", tick__n_intervals=1)
    assert path in links(answer["objectives-table"]["children"])


# -- Backtest --


def _answer(pages: Asker, name: str, **given: int) -> dict[str, Any]:
    setting = [given["target"], given["threshold"], given["days"]]
    inputs: dict[str, Any] = {"backtest-setting__data": setting, "slo-changed__data": None}
    return pages.callback(*_ANSWER, **inputs, url__pathname=slo_path(name))


def _backtest(store: Store, objective: Objective, window: Window) -> list[BurnAlert]:
    return backtest(store, objective, window, backtest_counts(store, objective, window, shipped_knowledge()))


def test_the_backtest_is_that_of_the_job_for_the_sliders_setting(slo_pages: Asker, filled_store: Store) -> None:
    stops = slo_backtest.stops_of(slo_data.CHAT)
    target, threshold = stops.targets.index(0.9), stops.thresholds_ms.index(1_600.0)
    window = Window(NOW - timedelta(days=28), NOW)
    expected = _backtest(filled_store, replace(slo_data.CHAT, target_ratio=0.9, threshold_ms=1_600.0), window)
    today = _backtest(filled_store, slo_data.CHAT, window)
    assert len(today) > len(expected)
    answer = _answer(slo_pages, "chat-ttft", target=target, threshold=threshold, days=28)
    told = words(answer["backtest-words"]["children"])
    pages_today = sum(one.severity is Severity.PAGE for one in today)
    assert "in 28 days with 90 % within 1.60 s." in told
    assert "1 incident paged by a spike in this time: 02:41" in told
    assert f"Today's 99 % within 800 ms would have brought {pages_today} pages" in told
    assert "objective=0.9&threshold=1600.0" in links(answer["backtest-link"]["children"])[0]


def test_a_backtest_says_how_many_days_have_data_and_which_incidents_paged_all_the_same() -> None:
    quiet = slo_figures.Trial(objective(), [])
    told = words(slo_backtest.words(quiet, quiet, 14, 7, [incident(), incident(id="b")], NOON))
    assert told.startswith(
        "No burn-rate page or ticket in the 7 of 14 days that have data with 99 % within 800 ms, today's setting."
    )
    assert "2 incidents paged by a spike in this time: 11:40 , 11:40" in told
    assert links(slo_backtest.words(quiet, quiet, 14, 7, [incident()], NOON)) == ["/incidents/chat-1"]
    assert "in 14 days with" in words(slo_backtest.words(quiet, quiet, 14, 14, [], NOON))
    none = words(slo_backtest.words(quiet, quiet, 14, 0, [], NOON))
    assert none == "Nothing to judge : none of the 14 days has data."


def test_a_day_counts_as_seen_when_it_has_events() -> None:
    window = Window(NOON - timedelta(days=14), NOON)

    def seen(*hours_ago: float) -> int:
        times = [NOON - timedelta(hours=hours) for hours in hours_ago]
        counts = pl.DataFrame({"time": times, "total": 5, "good": 5}, schema_overrides={"time": TIME})
        return slo_backtest.days_with_data(counts, window)

    assert seen() == 0
    assert seen(1) == 1
    assert seen(1, 23, 25) == 1, "an hour of a day is none"
    assert seen(1, 47, 80, 90) == 3
    assert seen(1, 14 * 24 + 1) == 1, "before the window"


def test_what_sliders_cannot_mean_is_todays_setting(slo_pages: Asker) -> None:
    for odd in (None, "", "x", -1, 99, "nan", "inf"):
        assert slo_backtest.tried(slo_data.CHAT, odd, odd) == slo_data.CHAT
    answer = _answer(slo_pages, "chat-ttft", target=999, threshold=-1, days=5)
    assert "in 14 days with 99 % within 800 ms, today's setting." in words(answer["backtest-words"]["children"])


def test_todays_setting_is_a_stop_of_each_slider_even_when_it_is_odd() -> None:
    odd = replace(objective(target_ratio=0.99123), threshold_ms=777.0)
    stops = slo_backtest.stops_of(odd)
    assert 0.99123 in stops.targets
    assert 777.0 in stops.thresholds_ms
    assert list(stops.targets) == sorted(set(stops.targets))
    assert slo_backtest.stops_of(objective(indicator=Indicator.ERRORS)).thresholds_ms == ()


def test_an_objective_without_a_threshold_shows_no_slider_for_it() -> None:
    shown = slo_backtest.controls(objective(indicator=Indicator.ERRORS)).to_plotly_json()["props"]["children"]
    assert [one.to_plotly_json()["props"].get("hidden", False) for one in shown] == [False, True, False]


# -- Exclusions --


def _press(pages: Asker, button: str, **given: Any) -> dict[str, Any]:
    body = {
        "output": "..exclusion-told.children...slo-changed.data...exclusion-reason.value..",
        "outputs": [
            {"id": name, "property": prop}
            for name, prop in (("exclusion-told", "children"), ("slo-changed", "data"), ("exclusion-reason", "value"))
        ],
        "inputs": [{"id": "exclusion-save", "property": "n_clicks", "value": 1}, []],
        "state": [
            {"id": "url", "property": "pathname", "value": slo_path("chat-ttft")},
            *(
                {"id": name, "property": "value", "value": given.get(key)}
                for name, key in (
                    ("exclusion-from", "start"), ("exclusion-to", "end"), ("exclusion-reason", "reason"),
                    ("note-by", "by"), ("exclusion-options", "options"),
                )
            ),
        ],
        "changedPropIds": [f"{button}.n_clicks"],
    }  # fmt: skip
    response = pages.ask("POST", "/_dash-update-component", json=body)
    assert response.status_code == 200, response.text
    found: dict[str, Any] = response.json()["response"]
    return found


def test_the_form_leaves_a_stretch_out_and_the_page_hears_of_it(slo_pages: Asker, filled_store: Store) -> None:
    answer = _press(
        slo_pages, "exclusion-save", start="2026-11-23 02:41", end="2026-11-23T03:00:00+00:00", reason="cable swap",
        by="ann", options=["pages"],
    )  # fmt: skip
    assert answer["exclusion-told"]["children"] == "Excluded 02:41 to 03:00 UTC."
    assert answer["slo-changed"]["data"]
    (made,) = [one for one in kept_exclusions(filled_store) if one.reason == "cable swap"]
    assert (made.slos, made.pages, made.created_by) == (("chat-ttft",), True, "ann")
    assert made.starts_at == datetime(2026, 11, 23, 2, 41, tzinfo=UTC)
    context = _context(filled_store)
    assert slo_exclusions.end_exclusion(context, made.id, "ben", NOW).startswith("Taken back")
    document = read_document(filled_store, SLO_EXCLUSIONS, made.id)
    assert document is not None
    assert [(change["by"], change["did"]) for change in document["changes"]] == [("ann", "put"), ("ben", "delete")]
    assert slo_exclusions.end_exclusion(context, made.id, "ben", NOW) == "It was taken back already."


def _context(store: Store) -> PageContext:
    counts = RecentCounts(store, shipped_knowledge())
    return PageContext(store, DashboardSettings(), lambda: NOW, lambda: slo_data.ALL, AnalyzeSettings(), counts)


def test_ending_one_that_is_in_force_keeps_what_came_before_excluded(slo_pages: Asker, filled_store: Store) -> None:
    _press(slo_pages, "exclusion-save", start="2026-11-23 03:00", end="2026-11-23 05:00", reason="night work")
    (made,) = [one for one in kept_exclusions(filled_store) if one.reason == "night work"]
    context = _context(filled_store)
    assert slo_exclusions.end_exclusion(context, made.id, "ben", NOW).startswith("Ended at 03:07 UTC")
    (ended,) = [one for one in kept_exclusions(filled_store) if one.reason == "night work"]
    assert (ended.starts_at, ended.ends_at) == (made.starts_at, NOW)
    slo_exclusions.end_exclusion(context, made.id, "ben", NOW)


@pytest.mark.parametrize(
    ("start", "end", "reason", "told"),
    [
        ("yesterday", "2026-11-23 03:00", "x", "From is 'yesterday'; write a time in UTC such as 2026-11-23 02:00"),
        ("2026-11-23 03:00", None, "x", "To is ''"),
        ("2026-11-23 03:00", "2026-11-23 03:00", "x", "is not after From"),
        ("2026-11-23 02:00", "2026-11-23 03:00", " ", "Reason is missing"),
    ],
)
def test_a_form_that_cannot_be_meant_says_which_field(
    slo_pages: Asker, filled_store: Store, start: str, end: str | None, reason: str, told: str
) -> None:
    before = kept_exclusions(filled_store)
    answer = _press(slo_pages, "exclusion-save", start=start, end=end, reason=reason)
    assert told in answer["exclusion-told"]["children"]
    assert "slo-changed" not in answer
    assert kept_exclusions(filled_store) == before


def test_an_exclusion_is_in_force_over_or_to_come() -> None:
    found = [
        Exclusion(name, NOW + timedelta(hours=hours), NOW + timedelta(hours=hours + 2), "why", "ann", pages=hours == 5)
        for name, hours in (("over", -3), ("on", -1), ("ahead", 5))
    ]
    told = words(slo_exclusions.table(found, NOW))
    assert told.index("To come") < told.index("In force") < told.index("Over")
    assert told.count("Take back") == 2
    assert told.count("End now") == 1
    assert "all objectives; pages all the same" in told
    assert "Nothing is left out" in words(slo_exclusions.table([], NOW))


# -- Pieces --


def test_windows_are_told_in_words() -> None:
    assert slo.window_words(Period(1)) == "last 1 day"
    assert slo.window_words(Period(30, slo_data.MONTH)) == "calendar month (Europe/Berlin)"


def test_when_a_budget_runs_out_is_told_whatever_is_known() -> None:
    ends = replace(status(left=0.3), exhausted_at=NOW + timedelta(hours=2))
    assert slo.spent_words(ends, NOW) == ("05:07", "in 2\N{NO-BREAK SPACE}h")
    assert slo.spent_words(status(left=0.3), NOW) == ("not foreseen", "within the window")
    assert slo.spent_words(status(left=-0.1), NOW) == ("it is spent", "and more")
    assert slo.spent_words(status(left=None, state=SloState.NO_DATA), NOW)[0] == "—"


def test_a_credit_that_is_due_stands_out_and_without_an_sla_there_is_no_panel() -> None:
    month = (NOW, NOW + timedelta(days=8))
    due = CreditExposure(*month, 0.99, 1_200.0, None, None)
    panel = slo.credit_panel(slo_data.CHAT.sla, due)
    assert panel is not None
    assert classes(panel).count("tone-critical") == 1
    assert "At its end — at —" in words(panel)
    assert slo.credit_panel(None, None) is None


@pytest.mark.parametrize(("name", "hours"), [(None, 24), ("6h", 6), ("30d", 720), ("15m", 24)])
def test_a_range_that_the_page_does_not_offer_is_a_day(name: str | None, hours: int) -> None:
    window = slo.shown_window(PageState(range_name=name), NOW)
    assert window.seconds == hours * 3600


@pytest.mark.parametrize(("target_ratio", "can_never"), [(0.8, True), (0.999, False)])
def test_an_objective_that_can_never_page_says_so(target_ratio: float, *, can_never: bool) -> None:
    standing = status(objective(target_ratio=target_ratio))
    own = PeriodStatus(Period(30), standing.state, Counted(1, 1, 1.0, 1.0), 1.0)
    head = words(slo.head(replace(standing, periods=(own,)), NOW))
    assert ("can never page" in head) is can_never
