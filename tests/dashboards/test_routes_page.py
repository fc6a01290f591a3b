"""The page of the routes, over the tree that the browser tests look at."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from hypothesis import given
from hypothesis import strategies as st

from alerts.config import parse_config
from alerts.settings import AlertsSettings
from alerts.time_intervals import parse_time_interval
from analytics.jobs.explaining import AnalyzeSettings
from dashboards.app import create_dashboard
from dashboards.pages import routes
from dashboards.settings import DashboardSettings
from storage.store import Store
from tests.alerts.loopback import restored
from tests.browser import fixture_data, slo_data
from tests.dashboards.asking import Asker
from tests.dashboards.reading import classes, links, words

CONFIG = parse_config(slo_data.ROUTING)
_OUTPUTS = (
    "routes-nobody.children", "route-examples.children", "route-answer.children", "route-tree-note.children",
    "route-tree.children", "route-receivers-note.children", "route-receivers.children",
)  # fmt: skip


def _asker(runner: asyncio.Runner, store: Store, settings: AlertsSettings | None) -> Asker:
    api, alerting = FastAPI(), None
    if settings is not None:
        alerting = restored(store, settings, clock=lambda: fixture_data.NOW)
        alerting.post(fixture_data.alerts())
    create_dashboard(
        api,
        store,
        DashboardSettings(),
        objectives=tuple,
        now=lambda: fixture_data.NOW,
        analysis=AnalyzeSettings(),
        alerting=alerting,
    )
    return Asker(runner, api)


@pytest.fixture(scope="module")
def route_pages(
    runner: asyncio.Runner, filled_store: Store, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Asker]:
    """The pages of who has a tree, a silence, and a receiver that refused something."""
    slo_data.fill(filled_store)
    yield _asker(runner, filled_store, slo_data.routing(tmp_path_factory.mktemp("alerting")))
    slo_data.clear(filled_store)


def _ask(pages: Asker, labels: str | None) -> dict[str, Any]:
    asked: dict[str, Any] = {"route-labels__value": labels}
    return pages.callback(*_OUTPUTS, **asked, tick__n_intervals=1)


def test_the_tree_is_drawn_whole_with_times_and_what_is_quiet_now(route_pages: Asker) -> None:
    answer = _ask(route_pages, None)
    told = words(answer["route-tree"]["children"])
    for receiver in ("tickets", "oncall", "search-team", "audit", "hardware", "finance"):
        assert receiver in told
    assert "Grouped by alertname, service · waits 30 s · new ones every 5 min · again after 12 h" in told
    assert "Waits 10 s · again after 1 h" in told
    assert "Muted in nights (00:00 to 07:00 UTC)" in told
    assert "Active in office (Mon to Fri, 09:00 to 17:00 UTC)" in told
    assert told.count("Quiet now") == 2
    assert answer["route-answer"]["children"] is None
    assert "is-reached" not in classes(answer["route-tree"]["children"])


def test_labels_light_up_the_path_that_the_router_takes(route_pages: Asker) -> None:
    labels = "severity=page service=rerank"
    answer = _ask(route_pages, labels)
    reached = CONFIG.route.match(routes.labels_of(labels))
    names = classes(answer["route-tree"]["children"])
    assert names.count("is-reached") == len(reached) == 2
    assert names.count("is-passed") == 2  # the root and the route of pages
    told = words(answer["route-answer"]["children"])
    assert "search-team Not now" in told
    assert "active only in office" in told
    assert "audit Is told" in told
    assert words(answer["route-receivers"]["children"]).count("reached") == 2


def test_what_keeps_an_alert_quiet_is_said_before_who_would_be_told(route_pages: Asker) -> None:
    silenced = words(
        _ask(route_pages, "alertname=SLOBudgetSpent severity=ticket slo=rerank-latency")["route-answer"]["children"]
    )
    assert silenced.startswith("Silenced until 09:00 UTC by ben: being resized")
    assert "tickets Kept quiet" in silenced
    inhibited = words(_ask(route_pages, "alertname=Any severity=ticket service=chat")["route-answer"]["children"])
    assert inhibited.startswith("Said already by a greater one that fires: alertname=SLOBurnRate severity=page")
    muted = words(_ask(route_pages, "alertname=TailsightGpuUnhealthy node=n1")["route-answer"]["children"])
    assert "hardware Not now Quiet muted by the time interval nights" in muted
    nobody = words(_ask(route_pages, "alertname=TailsightCostRunaway")["route-answer"]["children"])
    assert "finance Told to nobody" in nobody


def test_the_group_that_an_alert_joins_is_told_with_who_is_in_it(route_pages: Asker) -> None:
    told = words(_ask(route_pages, "alertname=SLOBurnRate severity=page service=chat")["route-answer"]["children"])
    assert "Joins alertname=SLOBurnRate, service=chat 1 firing in it" in told
    assert '{}/{severity="page"}:{alertname="SLOBurnRate", service="chat"}' in told


def test_examples_are_what_fires_and_fill_the_field(route_pages: Asker) -> None:
    found = links(_ask(route_pages, None)["route-examples"]["children"])
    assert len(found) == 6
    for link in found:
        filled = route_pages.callback("route-labels.value", url__search=link.removeprefix(routes.PATH))
        assert routes.labels_of(filled["route-labels"]["value"])["alertname"]


def test_receivers_say_whether_they_took_what_they_were_told_last(route_pages: Asker) -> None:
    told = words(_ask(route_pages, None)["route-receivers"]["children"])
    assert "oncall pagerduty yes 02:44 never" in told
    assert "slack #gpu-oncall no nothing yet 02:44 HTTP 404: no_service (6 attempts)" in told
    assert "finance nobody" in told
    assert "0123456789abcdef" not in told


@pytest.mark.parametrize(
    ("written", "wrong"),
    [
        ("severity", "'severity' is no label; write name=value"),
        ("=page", "'=page' is no label"),
        ('a="b', "no closing quotation"),
    ],
)
def test_what_is_no_label_is_said_and_lights_nothing_up(route_pages: Asker, written: str, wrong: str) -> None:
    answer = _ask(route_pages, written)
    assert wrong in words(answer["route-answer"]["children"])
    assert "is-reached" not in classes(answer["route-tree"]["children"])


def test_labels_are_read_as_a_shell_or_an_alert_writes_them() -> None:
    expected = {"severity": "page", "summary": "two words, a comma"}
    assert routes.labels_of('severity=page summary="two words, a comma"') == expected
    assert routes.labels_of('{severity="page", summary="two words, a comma"}') == expected
    assert routes.labels_of(None) == {}
    assert routes.labels_of("a=b=c") == {"a": "b=c"}


@given(
    st.dictionaries(st.from_regex(r"[a-z_]{1,8}", fullmatch=True), st.text(st.characters(codec="utf-8"), max_size=12))
)
def test_labels_that_are_written_are_read_the_same(labels: dict[str, str]) -> None:
    assert routes.labels_of(routes.labels_text(labels)) == labels


def test_time_intervals_are_told_in_words() -> None:
    interval = parse_time_interval(
        {"months": ["december"], "days_of_month": ["24:26"], "location": "Europe/Berlin", "weekdays": ["sunday"]}
    )
    assert routes.times_words(interval) == "Sun, day 24 to 26, Dec Europe/Berlin"
    assert routes.times_words(parse_time_interval({})) == "always"


def test_who_tells_nobody_is_told_how_to_begin(runner: asyncio.Runner, filled_store: Store) -> None:
    pages = _asker(runner, filled_store, AlertsSettings())
    answer = _ask(pages, None)
    told = words(answer["routes-nobody"]["children"])
    assert "Nobody is told of anything" in told
    assert "slack_configs" in told
    assert answer["route-tree"]["children"] is None, "a tree that leads to nobody tells nothing"
    assert answer["route-receivers"]["children"] is None
    without = _asker(runner, filled_store, None)
    assert "config_file: alerting.yml" in words(_ask(without, "a=b")["routes-nobody"]["children"])


def test_where_alertmanager_tells_the_page_says_so(runner: asyncio.Runner, filled_store: Store, tmp_path: Path) -> None:
    pages = _asker(runner, filled_store, AlertsSettings(alertmanagers=("http://ann:s3cret@am:9093",)))
    told = words(_ask(pages, None)["routes-nobody"]["children"])
    assert "it is told by http://am:9093." in told
    both = slo_data.routing(tmp_path).model_copy(update={"alertmanagers": ("http://am:9093",)})
    assert _ask(_asker(runner, filled_store, both), None)["routes-nobody"]["children"] is None
