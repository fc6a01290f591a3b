import asyncio
import inspect
import logging

import pytest
from dash import Dash, Output
from fastapi import FastAPI
from pydantic import SecretStr

from alerts.settings import AlertsSettings
from analytics.cost.jobs import Pricing
from analytics.cost.price_book import shipped_prices
from analytics.jobs.explaining import AnalyzeSettings, explain_window
from analytics.knowledge import shipped_knowledge
from api.app import create_api
from api.context import Health
from api.settings import ApiSettings
from dashboards.app import create_dashboard
from dashboards.callbacks import callback
from dashboards.settings import DashboardSettings
from reports.service import WeeklyReports
from reports.settings import WeeklySettings
from storage.errors import StoreUnavailableError
from storage.store import Store
from tests.alerts.loopback import restored
from tests.browser import fixture_data
from tests.dashboards.asking import PAGE, Asker


@pytest.mark.parametrize("path", ["/", "/incidents", "/incidents/chat-1", "/incidents/any%20id"])
def test_a_page_is_answered_at_its_path(pages: Asker, path: str) -> None:
    answer = pages.get(path, **PAGE)
    assert answer.status_code == 200
    assert '<html lang="en">' in answer.text


def test_the_first_deep_link_after_a_start_gets_a_whole_page(runner: asyncio.Runner, filled_store: Store) -> None:
    api = FastAPI()
    fresh = create_dashboard(
        api,
        filled_store,
        DashboardSettings(),
        objectives=tuple,
        now=lambda: fixture_data.NOW,
        analysis=AnalyzeSettings(),
    )
    page = Asker(runner, api).get("/incidents/chat-1", **PAGE).text
    assert fresh.callback_map
    for asset in ("/assets/app.css", "/assets/icons.css", "/assets/app.js", "/assets/plotly-cartesian-4.1.1.min.js"):
        assert asset in page


def test_an_unknown_page_is_a_404_that_a_browser_can_show(pages: Asker) -> None:
    answer = pages.get("/nope", **PAGE)
    assert answer.status_code == 404
    assert "_dash-renderer" in answer.text


@pytest.mark.parametrize("path", ["/api/v1/nope", "/api/nope", "/nope.json", "/metrics"])
def test_an_unknown_address_of_the_api_stays_its_own_404(pages: Asker, path: str) -> None:
    answer = pages.get(path)
    assert (answer.status_code, answer.json()) == (404, {"detail": "Not Found"})
    assert pages.get("/api/v1/nope", **PAGE).json() == {"detail": "Not Found"}


def test_a_wrong_method_is_not_mistaken_for_a_page(pages: Asker) -> None:
    assert pages.ask("PUT", "/api/v1/things").status_code == 405
    assert pages.ask("POST", "/incidents").status_code == 404


def test_routes_of_the_api_win_whenever_they_are_added(pages: Asker) -> None:
    assert pages.get("/api/v1/things", **PAGE).json() == [1, 2, 3]
    assert pages.get("/healthz", **PAGE).json() == "alive"


def test_the_catch_all_that_dash_adds_at_start_is_not_added(pages: Asker) -> None:
    async def start() -> None:
        async with pages.app.router.lifespan_context(pages.app):
            pass

    before = len(pages.app.routes)
    asyncio.run(start())
    assert len(pages.app.routes) == before
    assert pages.get("/api/v1/nope").status_code == 404


def test_every_callback_is_a_coroutine(runner: asyncio.Runner, filled_store: Store) -> None:
    app = create_dashboard(
        FastAPI(),
        filled_store,
        DashboardSettings(),
        objectives=tuple,
        now=lambda: fixture_data.NOW,
        analysis=AnalyzeSettings(),
    )
    on_server = [entry["callback"] for entry in app.callback_map.values() if "callback" in entry]
    assert len(on_server) >= 10
    assert all(inspect.iscoroutinefunction(inspect.unwrap(function)) for function in on_server)


def test_a_plain_function_is_refused_as_a_callback() -> None:
    with pytest.raises(TypeError, match="make it `async def`"):
        callback(Dash("plain"), Output("a", "children"))(lambda: "x")  # type: ignore[arg-type, return-value]


def api_over(store: Store, token: SecretStr | None) -> FastAPI:
    """The API as it is served, before the pages are added to it."""
    return create_api(
        store,
        ApiSettings(),
        token=token,
        now=lambda: fixture_data.NOW,
        health=Health(loader=lambda: None),
        metrics_text=lambda: b"",
        objectives=tuple,
        knowledge=shipped_knowledge(),
        explain=explain_window,
        render_report=lambda incident, _: incident.id,
        render_postmortem=lambda incident, _: incident.id,
        alerting=restored(store, AlertsSettings(), clock=lambda: fixture_data.NOW),
        pricing=lambda: Pricing(shipped_prices()),
        weekly_reports=WeeklyReports(
            store,
            WeeklySettings(),
            shipped_knowledge(),
            lambda: Pricing(shipped_prices()),
            tuple,
            lambda: fixture_data.NOW,
        ),
    )


def test_without_a_token_pages_assets_and_callbacks_are_for_this_machine(runner: asyncio.Runner, store: Store) -> None:
    api = api_over(store, token=None)
    create_dashboard(
        api, store, DashboardSettings(), objectives=tuple, now=lambda: fixture_data.NOW, analysis=AnalyzeSettings()
    )
    asker = Asker(runner, api)
    for path in ("/", "/incidents", "/assets/app.js", "/_dash-layout", "/_dash-dependencies", "/nope"):
        assert asker.get(path, host="rebound.example:8080", **PAGE).status_code == 421, path
        assert asker.get(path, host="localhost:8080", **PAGE).status_code in (200, 404), path
    rebound = {"host": "rebound.example:8080"}
    assert asker.ask("POST", "/_dash-update-component", json={}, headers=rebound).status_code == 421


def test_the_apis_token_covers_pages_assets_and_callbacks(runner: asyncio.Runner, store: Store) -> None:
    api = api_over(store, SecretStr("open sesame, and sixteen more"))
    create_dashboard(
        api, store, DashboardSettings(), objectives=tuple, now=lambda: fixture_data.NOW, analysis=AnalyzeSettings()
    )
    asker = Asker(runner, api)
    for path in ("/", "/incidents", "/assets/app.js", "/_dash-layout", "/_dash-dependencies", "/nope"):
        assert asker.get(path, **PAGE).status_code == 401, path
        assert asker.get(path, authorization="Bearer open sesame, and sixteen more").status_code in (200, 404), path
    long = {"json": ["x" * (2 << 20)]}
    assert asker.ask("POST", "/_dash-update-component", **long).status_code == 401
    allowed = {"authorization": "Bearer open sesame, and sixteen more"}
    assert asker.ask("POST", "/_dash-update-component", **long, headers=allowed).status_code == 413


def test_no_web_socket_is_offered_and_none_is_there(pages: Asker) -> None:
    assert '"websocket"' not in pages.get("/", **PAGE).text
    assert "/_dash-ws-callback" not in [getattr(route, "path", "") for route in pages.app.routes]


def test_no_page_names_another_host(pages: Asker) -> None:
    assert "//" not in pages.get("/", **PAGE).text.replace("https://dash-version.plotly.com:8080", "")


def test_a_page_carries_the_policy_and_its_one_inline_script_is_named_in_it(pages: Asker) -> None:
    answer = pages.get("/", **PAGE)
    policy = answer.headers["content-security-policy"]
    assert "'sha256-" in policy
    assert "unsafe-eval" not in policy
    assert answer.text.count('<script id="_dash-renderer"') == 1


@pytest.mark.parametrize(
    "path",
    [
        "/assets/logo.svg",
        "/assets/theme.js",
        "/assets/fonts/inter-latin-wght-normal.woff2",
        "/assets/fonts/jetbrains-mono-latin-wght-normal.woff2",
        "/assets/licenses/inter.txt",
        "/assets/licenses/jetbrains-mono.txt",
        "/assets/licenses/lucide.txt",
        "/assets/licenses/plotly.js.txt",
    ],
)
def test_assets_come_from_us_with_their_licences(pages: Asker, path: str) -> None:
    assert pages.get(path).status_code == 200


def test_a_callback_that_fails_leaves_a_trace_and_fails_the_request(
    runner: asyncio.Runner, store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    def unreachable() -> tuple[()]:
        raise StoreUnavailableError("the store cannot do this now: it is gone")

    api = FastAPI()
    create_dashboard(
        api,
        store,
        DashboardSettings(),
        objectives=unreachable,
        now=lambda: fixture_data.NOW,
        analysis=AnalyzeSettings(),
    )
    with caplog.at_level(logging.ERROR), pytest.raises(AssertionError, match="InternalServerError"):
        Asker(runner, api).callback(
            "overview-latency-title.children",
            "overview-latency-note.children",
            "figure:latency.data",
            url__search="",
            tick__n_intervals=0,
        )
    assert "it is gone" in caplog.text
