"""Every callback, asked as a browser asks it, over the made-up cloud."""

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import polars as pl
import pytest
from fastapi import FastAPI

from alerts.decide import data_late_alert, traffic_stopped_alerts
from alerts.service import Alerting
from alerts.settings import AlertsSettings
from analytics.jobs.explaining import AnalyzeSettings
from analytics.traffic_stops import StoppedTraffic
from dashboards import shell
from dashboards.app import create_dashboard
from dashboards.freshness import gaps
from dashboards.pages.incident import pinned_window, read_percentiles
from dashboards.settings import DashboardSettings
from dashboards.slow_requests import show_slow_requests
from dashboards.state import incident_path, slo_path
from domain.freshness import Looks
from domain.incident import Indicator, Severity, Status
from domain.slo import Objective
from storage.incidents import read_incident, write_incidents
from storage.store import Store
from tests.alerts.loopback import restored
from tests.browser import fixture_data
from tests.dashboards.asking import Asker
from tests.dashboards.reading import classes, links, words

_OPEN = incident_path(fixture_data.incident().id)
_RESOLVED = incident_path(fixture_data.earlier_incident().id)
_OVERVIEW = (
    "overview-now.children",
    "overview-verdict.children",
    "overview-objectives.children",
    "overview-budgets-note.children",
    "figure:budgets.data",
)
_LATENCY = ("overview-latency-title.children", "overview-latency-note.children", "figure:latency.data")
_GPUS = ("overview-gpus-note.children", "figure:gpus.data")
_HEAD = ("navigation.children", "freshness.children")
_MENUS = ("range-menu.children", "service-menu.children")
_INCIDENT = (
    "incident-head.children",
    "incident-impact.children",
    "incident-why-note.children",
    "incident-why.children",
    "incident-whereabouts.children",
)
_EVIDENCE = ("figure:incident-evidence.data", "incident-uncharted.children")
_LEVELS = ("incident-latency-title.children", "incident-latency-note.children", "figure:incident-latency.data")
_OBJECTIVE = (
    "slo-head.children", "slo-facts.children", "slo-budget-note.children", "figure:slo-budget.data",
    "slo-windows.children", "slo-credit.children", "slo-burn-note.children", "figure:slo-burn.data",
    "slo-events-note.children", "figure:slo-events.data", "slo-exclusions.children",
)  # fmt: skip
_FIGURE = '{"name":"%s","type":"figure"}'


@pytest.fixture(scope="module")
def later(runner: asyncio.Runner, filled_store: Store) -> Asker:
    """The same pages a year later: nothing that is stored is near."""
    api = FastAPI()
    now = fixture_data.NOW + timedelta(days=365)
    create_dashboard(
        api,
        filled_store,
        DashboardSettings(otlp_http_url="http://127.0.0.1:14318"),
        objectives=tuple,
        now=lambda: now,
        analysis=AnalyzeSettings(),
    )
    return Asker(runner, api)


def _pages_at(runner: asyncio.Runner, store: Store, now: datetime, **given: Any) -> Asker:
    """The pages over the made-up cloud at another time."""
    api = FastAPI()
    objectives = given.pop("objectives", lambda: fixture_data.OBJECTIVES)
    settings = given.pop("settings", DashboardSettings())
    create_dashboard(
        api, store, settings, objectives=objectives, now=lambda: now, **({"analysis": AnalyzeSettings()} | given)
    )
    return Asker(runner, api)


def _ago(now: datetime, minutes: float) -> datetime:
    return now - timedelta(minutes=minutes)


def _overview(pages: Asker, search: str = "") -> dict[str, Any]:
    return pages.callback(*_OVERVIEW, url__search=search, tick__n_intervals=1)


# -- shell ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "shown"),
    [
        ("/", "Reliability overview"),
        ("/incidents", "Incidents"),
        (_OPEN, "What moved with it"),
        ("/nope", "There is no such page"),
    ],
)
def test_each_path_has_its_page(pages: Asker, path: str, shown: str) -> None:
    answer = pages.callback("page.children", url__pathname=path)
    assert shown in words(answer["page"]["children"])


def test_the_head_shows_ranges_services_freshness_and_open_incidents(pages: Asker) -> None:
    search = "?range=1h&service=chat"
    answer = pages.callback(*_HEAD, url__pathname="/", url__search=search, tick__n_intervals=1)
    answer |= pages.callback(*_MENUS, url__pathname="/", url__search=search)
    assert words(answer["navigation"]["children"]) == "Overview Incidents 1 Objectives Alerts Fleet Cost Reports Data"
    assert words(answer["range-menu"]["children"]) == "15m 1h 3h 6h 24h 7d"
    assert words(answer["service-menu"]["children"]) == "chat All services chat rerank"
    assert words(answer["freshness"]["children"]).startswith("Live, 03:06:")
    assert links(answer["navigation"]["children"]) == [
        f"{path}?range=1h&service=chat"
        for path in ("/", "/incidents", "/slos", "/alerts", "/fleet", "/cost", "/reports", "/data")
    ]
    assert "/?range=3h&service=chat" in links(answer["range-menu"]["children"])
    assert "/?range=1h" in links(answer["service-menu"]["children"])


def test_an_incidents_page_pins_its_own_window_and_offers_no_range(pages: Asker) -> None:
    answer = pages.callback(*_MENUS, url__pathname=_OPEN, url__search="")
    assert answer["range-menu"]["children"] == []
    assert answer["service-menu"]["children"] is None


def test_freshness_is_live_stale_blind_or_unknown() -> None:
    now = fixture_data.NOW
    newest = {"requests": _ago(now, 10), "samples": now}
    assert words(shell.freshness(newest, [])) == "Live, 02:57:00 UTC"
    stale = shell.freshness(newest, gaps(newest, None, now, 60))
    assert words(stale) == "Requests stale 10 min"
    assert "dot-warning" in classes(stale)
    blind = shell.freshness(newest, gaps(newest, Looks(_ago(now, 5), 30), now, 60))
    assert words(blind) == "Blind: no look since 03:02 UTC · Requests stale 10 min"
    assert words(shell.freshness({"requests": None}, [])) == "No data yet"


# -- overview ------------------------------------------------------------------------------------------------------


def test_the_overview_says_what_burns_and_leads_to_it(pages: Asker) -> None:
    answer = _overview(pages)
    told = words(answer["overview-verdict"]["children"])
    assert told.startswith("chat is spending its TTFT budget")
    assert "Likely cause: Bad link on gpu-07-03/mlx5_2/1 , 93 % sure." in told
    assert "This reaches nobody: no receiver is configured" in told
    assert links(answer["overview-verdict"]["children"]) == ["/alerts", _OPEN]
    assert answer["overview-now"]["children"] == "23 Nov 2026, 03:07 UTC"
    assert answer["overview-budgets-note"]["children"] == "30-day window"


def test_the_overview_has_a_card_for_each_objective_worst_first(pages: Asker) -> None:
    cards = _overview(pages)["overview-objectives"]["children"]
    assert len(cards) == 4
    first = words(cards[0])
    assert first.startswith("chat Page TTFT < 800 ms")
    assert "budget left" in first
    assert "of 99 % burn 35× over 5 min" in first
    assert links(cards[0]) == [_OPEN]
    assert "tone-critical" in classes(cards[0])
    assert all("Healthy" in words(card) for card in cards[1:])


def test_the_overview_of_one_service_leaves_the_others_out(pages: Asker) -> None:
    answer = _overview(pages, "?service=rerank")
    assert words(answer["overview-verdict"]["children"]).startswith("All objectives met")
    assert len(answer["overview-objectives"]["children"]) == 2


def test_the_overview_and_the_head_tell_what_is_not_seen(runner: asyncio.Runner, filled_store: Store) -> None:
    now = fixture_data.NOW
    blind = _pages_at(runner, filled_store, now, looks=lambda: Looks(now - timedelta(hours=9), 30, _ago(now, 2.5)))
    told = words(_overview(blind, "?service=rerank")["overview-verdict"]["children"])
    assert told.startswith("Blind: last look 03:04 UTC Nothing that happened since then is found or paged.")
    assert "objectives met" not in told
    head = blind.callback(*_HEAD, url__pathname="/", url__search="", tick__n_intervals=1)
    assert words(head["freshness"]["children"]) == "Blind: last look 03:04 UTC"
    assert "Blind: last look 03:04 UTC" in words(_overview(blind)["overview-verdict"]["children"])
    looking = _pages_at(runner, filled_store, now, looks=lambda: Looks(now - timedelta(hours=9), 30, _ago(now, 1)))
    told = words(_overview(looking, "?service=rerank")["overview-verdict"]["children"])
    assert told.startswith("All objectives met")


def _firing(store: Store, now: datetime, service: str) -> Alerting:
    """An alert that this service has had no request for eight minutes."""
    alerting = restored(store, AlertsSettings(), clock=lambda: now)
    alerting.post(traffic_stopped_alerts([StoppedTraffic(service, _ago(now, 8), 120)], Severity.PAGE, "", now))
    return alerting


def test_the_overview_of_a_service_without_traffic_does_not_say_that_all_is_well(
    runner: asyncio.Runner, filled_store: Store
) -> None:
    alerting = _firing(filled_store, fixture_data.NOW, "embed")
    asker = _pages_at(runner, filled_store, fixture_data.NOW, alerting=alerting)
    told = words(_overview(asker, "?service=embed")["overview-verdict"]["children"])
    assert told.startswith("embed has had no request for 8")
    told = words(_overview(asker, "?service=rerank")["overview-verdict"]["children"])
    assert told.startswith("All objectives met")


def test_the_overview_goes_by_the_requests_themselves_while_the_alert_of_their_lack_still_fires(
    runner: asyncio.Runner, filled_store: Store
) -> None:
    now = fixture_data.NOW
    alerting = _firing(filled_store, now, "rerank")
    alerting.post([data_late_alert("requests", _ago(now, 6), 300, Severity.PAGE, "", now)])
    asker = _pages_at(runner, filled_store, now, alerting=alerting)
    answer = _overview(asker, "?service=rerank")
    assert words(answer["overview-verdict"]["children"]).startswith("All objectives met Lowest budget")
    assert "as of" not in words(answer["overview-objectives"]["children"])


@pytest.fixture
def without_requests(runner: asyncio.Runner, filled_store: Store) -> Iterator[Asker]:
    """The pages seven minutes after the last request, while samples go on."""
    later = fixture_data.NOW + timedelta(minutes=7)
    sample = {"metric": "dcgm_fi_dev_gpu_util", "series_id": 1, "time": later - timedelta(seconds=10), "value": 50.0}
    filled_store.insert("tailsight_samples", pl.DataFrame([sample], schema_overrides={"series_id": pl.UInt64}))
    yield _pages_at(runner, filled_store, later)
    filled_store.execute("DELETE FROM tailsight_samples WHERE time > '2026-11-23 03:08:00'")


def test_the_overview_tells_that_requests_stopped_while_samples_go_on(without_requests: Asker) -> None:
    head = without_requests.callback(*_HEAD, url__pathname="/", url__search="", tick__n_intervals=1)
    assert words(head["freshness"]["children"]).startswith("Requests stale 7 min")
    told = words(_overview(without_requests, "?service=rerank")["overview-verdict"]["children"])
    assert told.startswith("Requests stale 7 min")
    assert "whether objectives are met since then is not known" in told


def test_without_requests_the_strip_shows_the_last_that_were_seen(without_requests: Asker) -> None:
    answer = without_requests.callback("overview-traffic.children", url__search="", tick__n_intervals=1)
    requests, *others, _ = (words(fact) for fact in answer["overview-traffic"]["children"])
    assert requests.startswith("Requests as of 03:06 2.")
    assert all(" as of 03:06 " in told for told in others)
    assert classes(answer["overview-traffic"]["children"]).count("greyed") == 4


@pytest.fixture(params=["open", "closed for want of requests"])
def going_on(request: pytest.FixtureRequest, filled_store: Store) -> Iterator[None]:
    """The incident of the made-up cloud as a look after the last request finds it, soon or minutes later."""
    if request.param == "open":
        yield
        return
    known, later = fixture_data.incident(), fixture_data.NOW + timedelta(minutes=7)
    over = replace(known, status=Status.RESOLVED, ended_at=fixture_data.NOW)
    write_incidents(filled_store, [over], later)
    assert read_incident(filled_store, known.id) == over
    yield
    write_incidents(filled_store, [known], later + timedelta(seconds=1))


@pytest.mark.usefixtures("going_on")
def test_an_incident_whose_requests_stopped_is_not_told_to_be_over(without_requests: Asker) -> None:
    answer = _overview(without_requests)
    told = words(answer["overview-verdict"]["children"])
    assert told.startswith("chat is spending its TTFT budget")
    assert "× too fast as of 03:06, no data since Began 02:41 UTC" in told
    assert "Page as of 03:06, no data since" in words(answer["overview-objectives"]["children"])
    outputs = ("incidents-note.children", "incidents-times.children", "incidents-table.children")
    listed = without_requests.callback(*outputs, url__search="", tick__n_intervals=1)
    assert words(listed["incidents-note"]["children"]) == "2 in the last 7 d, 1 open"
    assert words(listed["incidents-times"]["children"][3]) == "Time to resolve 9 min p90 9 min, n 1"
    told = words(listed["incidents-table"]["children"])
    assert "at least 25 min" in told
    assert "Open as of 03:06, no data since" in told
    answer = without_requests.callback(*_INCIDENT, url__pathname=_OPEN, tick__n_intervals=1)
    head = words(answer["incident-head"]["children"])
    assert "Ongoing as of 03:06, no data since" in head
    assert "Lasting at least 25 min" in head


def _told_states(pages: Asker) -> str:
    """What the overview, the list of objectives and the page of one say of their states."""
    outputs = ("objectives-note.children", "objectives-missing.children", "objectives-table.children")
    listed = pages.callback(*outputs, url__search="", tick__n_intervals=1)["objectives-table"]
    changed: dict[str, Any] = {"slo-changed__data": None}
    one = pages.callback(
        *_OBJECTIVE, url__pathname=slo_path("rerank-latency"), url__search="", tick__n_intervals=1, **changed
    )
    cards = _overview(pages)["overview-objectives"]
    shown = (cards, listed, one["slo-head"], one["slo-windows"])
    return words([part["children"] for part in shown])


def test_no_page_says_healthy_without_as_of_when_while_requests_are_missing(without_requests: Asker) -> None:
    told = _told_states(without_requests)
    assert told.count("Healthy") == 3 + 3 + 1
    assert told.count("Healthy as of 03:06, no data since") == told.count("Healthy")
    assert "Last 30 days Met as of 03:06, no data since" in told


def test_no_page_says_healthy_without_as_of_when_while_nobody_looks(
    runner: asyncio.Runner, filled_store: Store
) -> None:
    now = fixture_data.NOW
    looks = Looks(now - timedelta(hours=9), 30, _ago(now, 10))
    told = _told_states(_pages_at(runner, filled_store, now, looks=lambda: looks))
    assert told.count("Healthy") == 3 + 3 + 1
    assert told.count("Healthy as of 02:57, no look since") == told.count("Healthy")


def test_without_samples_only_what_rests_on_them_is_told_as_of_when(
    runner: asyncio.Runner, filled_store: Store
) -> None:
    gpus = Objective("rerank-latency", "rerank", Indicator.GPU_AVAILABILITY, 0.5, 1)
    seen_at = fixture_data.NOW - timedelta(milliseconds=200)
    objectives = (gpus, *fixture_data.OBJECTIVES[:2], fixture_data.OBJECTIVES[3])
    asker = _pages_at(
        runner, filled_store, seen_at, objectives=lambda: objectives, settings=DashboardSettings(stale_after_s=10)
    )
    told = _told_states(asker)
    assert told.count("Healthy") == 3 + 3 + 1
    assert told.count("Healthy as of 03:06, no data since") == 1 + 1 + 1
    activity = asker.callback(*_GPUS, url__search="", tick__n_intervals=1)
    assert words(activity["overview-gpus-note"]["children"]).startswith("as of 03:06, no data since; by node")
    where = asker.callback("incident-where.children", url__pathname=_OPEN, tick__n_intervals=1)["incident-where"]
    assert words(where["children"]).endswith("As of 03:06, no data since.")


def test_while_all_is_seen_every_state_is_told_as_of_now(pages: Asker) -> None:
    told = _told_states(pages)
    assert told.count("Healthy") == 3 + 3 + 1
    assert told.count("Page") == 2, "the overview and the list say the same of what pages"
    assert "as of" not in told


def test_the_strip_shows_traffic_and_what_is_not_told_as_unknown(pages: Asker) -> None:
    answer = pages.callback("overview-traffic.children", url__search="", tick__n_intervals=1)
    requests, errors, ttft, tokens, basis = (words(fact) for fact in answer["overview-traffic"]["children"])
    assert basis == "Over the 4 min to 03:04:00 UTC; changes are against the same time a day earlier"
    assert requests.startswith("Requests 2.")
    assert errors.startswith("Errors")
    assert ttft.startswith("TTFT p99")
    assert tokens.startswith("Output tokens")


def test_the_heatmap_shows_the_service_in_trouble(pages: Asker) -> None:
    answer = pages.callback(*_LATENCY, url__search="", tick__n_intervals=1)
    assert answer["overview-latency-title"]["children"] == "Time to first token"
    assert answer["overview-latency-note"]["children"] == "chat"
    figure = answer[_FIGURE % "latency"]["data"]
    assert [trace["type"] for trace in figure["data"]] == ["heatmap", "heatmap", "scatter"]
    assert "objective 800 ms" in figure["layout"]["meta"]["label"]


def test_a_service_without_first_tokens_shows_its_latency(pages: Asker) -> None:
    answer = pages.callback(*_LATENCY, url__search="?service=rerank", tick__n_intervals=1)
    assert answer["overview-latency-title"]["children"] == "Latency"
    assert answer["overview-latency-note"]["children"] == "rerank"


@pytest.mark.parametrize("search", ["", "?range=15m", "?range=7d"])
def test_gpu_activity_groups_gpus_by_node(pages: Asker, search: str) -> None:
    answer = pages.callback(*_GPUS, url__search=search, tick__n_intervals=1)
    figure = answer[_FIGURE % "gpus"]["data"]
    assert figure["layout"]["yaxis"]["ticktext"] == ["gpu-07-01", "gpu-07-02", "gpu-07-03", "gpu-07-04"]
    assert len(figure["data"][0]["z"]) == 32 + 3
    assert words(answer["overview-gpus-note"]["children"]) == "by node; warm is idle, a gap is no sample"


def test_samples_each_minute_in_columns_of_a_quarter_minute_look_unbroken(pages: Asker) -> None:
    answer = pages.callback(*_GPUS, url__search="?range=15m", tick__n_intervals=1)
    first_gpu = answer[_FIGURE % "gpus"]["data"]["data"][0]["z"][0]
    assert None not in first_gpu[1:-1]


def test_a_window_in_the_address_is_explained(pages: Asker) -> None:
    search = "?explain=2026-11-23T02:41:20Z~2026-11-23T03:06:00Z"
    told = words(pages.callback("overview-explained.children", url__search=search)["overview-explained"]["children"])
    assert told.startswith("23 Nov, 02:41:20 to 03:06:00 UTC chat, TTFT Close 1 Bad link")
    assert pages.callback("overview-explained.children", url__search="")["overview-explained"]["children"] is None


def test_without_data_the_overview_says_how_to_send_some(later: Asker) -> None:
    answer = _overview(later)
    told = words(answer["overview-verdict"]["children"])
    assert told.startswith("No data yet")
    assert "OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:14318" in told
    assert answer[_FIGURE % "budgets"]["data"]["layout"]["meta"]["empty"] == "No data yet"
    assert later.callback("overview-traffic.children", url__search="", tick__n_intervals=1) == {
        "overview-traffic": {"children": []}
    }
    latency = later.callback(*_LATENCY, url__search="", tick__n_intervals=1)
    assert latency[_FIGURE % "latency"]["data"]["layout"]["meta"]["empty"] == "No requests in this time"
    search = "?explain=2026-11-23T02:41:20Z~2026-11-23T03:06:00Z"
    explained = later.callback("overview-explained.children", url__search=search)
    assert explained["overview-explained"]["children"] is None


# -- incidents -----------------------------------------------------------------------------------------------------


def test_the_list_has_a_row_for_each_incident_newest_first(pages: Asker) -> None:
    answer = pages.callback(
        "incidents-note.children",
        "incidents-times.children",
        "incidents-table.children",
        url__search="",
        tick__n_intervals=1,
    )
    assert words(answer["incidents-note"]["children"]) == "2 in the last 7 d, 1 open"
    table = answer["incidents-table"]["children"]
    assert links(table) == [_OPEN, _RESOLVED]
    told = words(table)
    assert "02:41 25 min 560 ms → 4.3 s 37 % Bad link on gpu-07-03/mlx5_2/1 Open" in told
    assert "21 Nov 22:07 9 min 88 ms → 240 ms — Not known Resolved" in told


def test_an_empty_list_says_so(pages: Asker) -> None:
    answer = pages.callback(
        "incidents-note.children",
        "incidents-times.children",
        "incidents-table.children",
        url__search="?service=other",
        tick__n_intervals=1,
    )
    assert words(answer["incidents-table"]["children"]).startswith("No incidents in this time")


# -- incident ------------------------------------------------------------------------------------------------------


def test_an_incident_is_told_from_severity_to_next_steps(pages: Asker) -> None:
    answer = pages.callback(*_INCIDENT, url__pathname=_OPEN, tick__n_intervals=1)
    head = words(answer["incident-head"]["children"])
    assert head.startswith("Page chat-ttft-20261123T024120 Ongoing TTFT p99 at 4.3 s on chat")
    assert "Began 02:41:20 UTC 23 Nov 2026 Lasting 25 min" in head
    assert links(answer["incident-head"]["children"]) == [
        f"/api/v1{_OPEN}/postmortem?format=md",
        f"/api/v1{_OPEN}/report",
        f"/api/v1{_OPEN}",
    ]
    impact = words(answer["incident-impact"]["children"])
    assert impact.startswith("Slow or failed requests 1,018 31 % of all")
    assert "Error budget spent 37 %" in impact
    assert "Tenants affected 6" in impact
    assert "Services affected 2 chat, assistant" in impact
    assert "$" not in impact
    assert words(answer["incident-why"]["children"]).startswith("1 Bad link 93 % gpu-07-03/mlx5_2/1 explains 97 %")
    assert answer["incident-why-note"]["children"] == "02:41 to now UTC, against the time before"
    assert words(answer["incident-whereabouts"]["children"]).startswith(
        "Where the time went a mean request took 612 ms longer"
    )


def test_what_is_not_known_of_an_incident_has_no_number(pages: Asker) -> None:
    answer = pages.callback(*_INCIDENT, url__pathname=_RESOLVED, tick__n_intervals=1)
    impact = words(answer["incident-impact"]["children"])
    assert "Error budget spent — no objective Tenants affected — requests name no tenant" in impact
    assert "Services affected" not in impact
    assert answer["incident-whereabouts"]["children"] is None
    assert "Resolved" in words(answer["incident-head"]["children"])


def test_an_incident_that_does_not_exist_says_so_everywhere(pages: Asker) -> None:
    path = incident_path("gone")
    answer = pages.callback(*_INCIDENT, url__pathname=path, tick__n_intervals=1)
    assert words(answer["incident-head"]["children"]).startswith("There is no such incident")
    assert answer["incident-why"]["children"] == []
    latency = pages.callback(
        *_LEVELS,
        url__pathname=path,
        url__search="",
        tick__n_intervals=1,
    )
    assert latency[_FIGURE % "incident-latency"]["data"]["data"] == []
    for outputs in (_EVIDENCE, ("incident-where.children",), ("incident-requests.children",)):
        pages.callback(*outputs, url__pathname=path, tick__n_intervals=1)


def test_the_incident_pins_the_time_around_it(pages: Asker) -> None:
    answer = pages.callback(
        *_LEVELS,
        url__pathname=_OPEN,
        url__search="",
        tick__n_intervals=1,
    )
    assert answer["incident-latency-title"]["children"] == "TTFT p99"
    figure = answer[_FIGURE % "incident-latency"]["data"]
    assert figure["layout"]["xaxis"]["range"] == ["2026-11-23 02:11:00", "2026-11-23 03:07:00"]
    assert [trace["hovertemplate"][:3] for trace in figure["data"]] == ["p50", "p99"]


def test_what_moved_with_it_has_a_band_for_each_evidence_that_is_kept(pages: Asker) -> None:
    answer = pages.callback(*_EVIDENCE, url__pathname=_OPEN, tick__n_intervals=1)
    names = [trace["name"] for trace in answer[_FIGURE % "incident-evidence"]["data"]["data"]]
    assert names[0] == "Symbol errors of gpu-07-03/mlx5_2/1"
    assert len(names) == 3
    assert words(answer["incident-uncharted"]["children"]).endswith("Replica start chat-4 0 → 1 , 50 s earlier")


def test_where_frames_the_node_of_the_port(pages: Asker) -> None:
    answer = pages.callback("incident-where.children", url__pathname=_OPEN, tick__n_intervals=1)
    tiles = answer["incident-where"]["children"]
    assert classes(tiles).count("tile") == 32
    assert classes(tiles).count("node-affected") == 1


def test_slow_requests_share_the_node_and_lost_their_time_in_transfer(pages: Asker) -> None:
    answer = pages.callback("incident-requests.children", url__pathname=_OPEN, tick__n_intervals=1)
    shared, traces = answer["incident-requests"]["children"]
    assert "slow is over the objective, 800 ms, or failed" in words(shared)
    assert "Node gpu-07-03 " in words(shared)
    assert "Version" not in words(shared)  # all are of one version: that tells nothing
    assert "standing-out" in classes(shared)
    assert classes(traces).count("split") == 8
    assert words(traces).startswith("Slowest traces of the incident queue prefill transfer Trace TTFT")


def test_an_incident_that_is_long_over_is_not_read_again_at_each_refresh(pages: Asker) -> None:
    output = "incident-where.children"
    assert pages.callback(output, changed=("tick",), url__pathname=_OPEN, tick__n_intervals=2)
    assert pages.callback(output, changed=("tick",), url__pathname=_RESOLVED, tick__n_intervals=2) == {}
    assert pages.callback(output, url__pathname=_RESOLVED, tick__n_intervals=2)


def test_of_very_many_requests_a_sample_is_read_and_said_to_be_one(filled_store: Store) -> None:
    huge = replace(fixture_data.incident(), slow_requests_count=93_000, slow_requests_ratio=0.31)
    shared, _ = show_slow_requests(filled_store, huge, 800.0, fixture_data.NOW)
    assert words(shared).startswith(
        "What slow requests have in common slow is over the objective, 800 ms, or failed; a sample, one request in 3"
    )


def test_of_failures_the_failed_requests_are_held_against_the_others(filled_store: Store) -> None:
    failing = replace(fixture_data.incident(), indicator=Indicator.ERRORS)
    shared, traces = show_slow_requests(filled_store, failing, None, fixture_data.NOW)
    assert words(shared).startswith("What failed requests have in common failed requests against the others failed")
    assert words(traces).startswith("Failed traces of the incident queue prefill transfer decode Trace Latency")


def test_where_none_failed_there_are_no_failed_traces(filled_store: Store) -> None:
    began = fixture_data.NOW - timedelta(seconds=30)
    calm = replace(fixture_data.incident(), indicator=Indicator.ERRORS, started_at=began)
    (shared,) = show_slow_requests(filled_store, calm, None, fixture_data.NOW)
    assert words(shared).endswith("No request of this incident that is kept failed.")


def test_an_incident_of_failures_shows_their_share_over_time(pages: Asker) -> None:
    path = incident_path(fixture_data.released_incident().id)
    answer = pages.callback(*_LEVELS, url__pathname=path, url__search="", tick__n_intervals=1)
    assert answer["incident-latency-title"]["children"] == "Failures"
    assert answer["incident-latency-note"]["children"] == "share of the requests"
    figure = answer[_FIGURE % "incident-latency"]["data"]
    assert figure["layout"]["meta"]["label"] == "Failures: 13 % of the requests in the spike"


def test_a_spike_of_the_time_per_token_shows_that_time(filled_store: Store) -> None:
    paced = replace(fixture_data.incident(), indicator=Indicator.TPOT, baseline_ms_p99=60.0, peak_ms_p99=90.0)
    _, traces = show_slow_requests(filled_store, paced, None, fixture_data.NOW)
    assert "Trace Time per output token Where the time went" in words(traces)
    assert classes(traces).count("split") == 8
    window, step_s = pinned_window(paced, fixture_data.NOW)
    percentiles = read_percentiles(filled_store, paced, window, step_s)
    assert percentiles.columns == ["time", "p50_ms", "p99_ms"]
    assert 1 < percentiles["p50_ms"].median() < 100  # type: ignore[operator]  # there are values


def test_of_an_incident_whose_requests_are_gone_the_named_traces_are_left(filled_store: Store) -> None:
    old = replace(fixture_data.incident(), model="gone", exemplar_trace_ids=("4bf92f35", "77a2"))
    (named,) = show_slow_requests(filled_store, old, None, fixture_data.NOW)
    assert words(named) == "Example traces the requests themselves are no longer kept 4bf92f35 77a2"
    assert links(named) == []
    settings = DashboardSettings(trace_url="https://jaeger.example/trace/{trace_id}?uiEmbed=v0")
    (named,) = show_slow_requests(filled_store, old, None, fixture_data.NOW, settings.trace_link)
    assert links(named)[0] == "https://jaeger.example/trace/4bf92f35?uiEmbed=v0"


@pytest.mark.parametrize("url", ["https://jaeger.example/trace", "jaeger.example/{trace_id}", "javascript:{trace_id}"])
def test_a_trace_url_that_leads_to_no_trace_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="leads to no trace"):
        DashboardSettings(trace_url=url)


def test_another_window_of_the_incidents_service_can_be_explained(pages: Asker) -> None:
    answer = pages.callback(
        "incident-explained.children",
        url__pathname=_OPEN,
        url__search="?explain=2026-11-23T02:20:00Z~2026-11-23T02:25:00Z",
    )
    told = words(answer["incident-explained"]["children"])
    assert "Nothing is unusual: 1.1% of the requests were slower" in told
    assert links(answer["incident-explained"]["children"]) == [_OPEN]


def test_the_pinned_window_keeps_its_columns_few_and_whole() -> None:
    incident = fixture_data.incident()
    for hours in (0.5, 5, 100):
        window, step_s = pinned_window(incident, incident.started_at + timedelta(hours=hours))
        assert step_s % 15 == 0
        assert window.seconds / step_s <= 121
        assert window.start.timestamp() % step_s == 0
        assert window.start < incident.started_at < window.end


# -- objectives ----------------------------------------------------------------------------------------------------


def test_the_objectives_name_the_services_that_nothing_is_promised_of(
    runner: asyncio.Runner, filled_store: Store
) -> None:
    chat_only = [one for one in fixture_data.OBJECTIVES if one.service == "chat"]
    asker = _pages_at(runner, filled_store, fixture_data.NOW, objectives=lambda: chat_only)
    told = (
        "With requests in the last day and no objective, so nothing pages for them when they fail or get slow: rerank."
    )
    assert words(_missing(asker, "")) == told
    assert words(_missing(asker, "?service=rerank")) == told
    assert _missing(asker, "?service=chat") is None
    assert _missing(_pages_at(runner, filled_store, fixture_data.NOW), "") is None


def _missing(asker: Asker, search: str) -> Any:
    outputs = ("objectives-note.children", "objectives-missing.children", "objectives-table.children")
    return asker.callback(*outputs, url__search=search, tick__n_intervals=1)["objectives-missing"]["children"]
