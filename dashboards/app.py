"""The pages as one Dash app on the web port's FastAPI app, beside the API.

Dash's FastAPI backend is young. What it gets wrong here, found by trying, is put right in this file, and each has a
test: its catch-all answers for the API (`_no_catch_all`, `PageFallback`), its set-up runs on the first request to `/`
only, so the first deep link after a start is broken (`_set_up`), it opens a WebSocket that nobody uses
(`_no_web_socket`), a plain `def` callback blocks the whole process
(`callbacks.callback`), and failing callbacks leave no trace (`_log_failure`).
"""

import logging
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path

from dash import Dash, dcc
from dash.backends._fastapi import reset_current_request, set_current_request
from fastapi import FastAPI
from starlette.datastructures import Headers
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import HTMLResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from alerts.service import Alerting
from analytics.cost.jobs import Pricing
from analytics.jobs.explaining import AnalyzeSettings
from analytics.jobs.objectives import RecentCounts
from collector.report import IngestReport
from dashboards import shell
from dashboards.context import PageContext, WeeklyReports, list_prices
from dashboards.cost_reading import CostReader
from dashboards.hardware_reading import HardwareReader
from dashboards.pages import (
    alerts,
    cost,
    cost_advice,
    cost_breakdown,
    cost_forecast,
    cost_idle,
    data,
    device,
    fleet,
    incident,
    incidents,
    overview,
    reports,
    routes,
    slo,
    slos,
)
from dashboards.serving import BodyLimit, CacheControl, Compressed, SecurityHeaders, content_security_policy
from dashboards.settings import DashboardSettings
from domain.freshness import Looks
from domain.slo import Objective
from storage.errors import StoreError
from storage.store import Store

_log = logging.getLogger(__name__)

_ASSETS = Path(__file__).parent / "assets"
_API = "/api/"
_CALLBACK_BYTES_MAX = 1 << 20  # ours are a few hundred bytes
_INDEX = """<!doctype html>
<html lang="en">
  <head>
    <meta charset="utf-8">
    <meta name="viewport" content="width=device-width, initial-scale=1">
    <meta name="color-scheme" content="dark light">
    <title>{%title%}</title>
    <link rel="icon" href="/assets/logo.svg" type="image/svg+xml">
    <link rel="preload" href="/assets/fonts/inter-latin-wght-normal.woff2" as="font" type="font/woff2" crossorigin>
    <script src="/assets/theme.js"></script>
    {%css%}
  </head>
  <body>
    <noscript>These pages need JavaScript. The same answers, without: <a href="/api/docs">the API</a>.</noscript>
    {%app_entry%}
    {%config%}
    {%scripts%}
    {%renderer%}
  </body>
</html>"""


def create_dashboard(
    api: FastAPI,
    store: Store,
    settings: DashboardSettings,
    *,
    objectives: Callable[[], Sequence[Objective]],
    now: Callable[[], datetime],
    analysis: AnalyzeSettings,
    ingest: Callable[[], IngestReport | None] = lambda: None,
    alerting: Alerting | None = None,
    pricing: Callable[[], Pricing] = list_prices,
    counts: RecentCounts | None = None,
    weekly_reports: WeeklyReports | None = None,
    report_problems: Callable[[], Sequence[str]] = tuple,
    looks: Callable[[], Looks | None] = lambda: None,
) -> Dash:
    """Put the pages on `api`: `/`, `/incidents`, `/slos`, `/alerts`, `/fleet`, `/cost`, `/reports`, `/data`.

    What `api` has as middleware (its token, its limit of bodies) comes before the pages, and so covers them too.

    Args:
        api: the web port's app. Its own routes win over the pages, whenever they are added.
        store: what the pages read.
        settings: refresh and staleness.
        objectives: the objectives now; called in a worker thread.
        now: the clock.
        analysis: how incidents are explained.
        ingest: what the collector of this process tells of itself; None when this process has none.
        alerting: what fires and is kept quiet; None where nobody is told of anything.
        pricing: how the bill is made; public list prices when it is not given.
        counts: what the analysis has counted already, so that pages need not count it again.
        weekly_reports: the reports of weeks; None where none are made.
        report_problems: what went wrong with making or sending the newest.
        looks: those of the analysis of this process; None when it has none.
    """
    guards = list(api.user_middleware)
    app = Dash(
        "tailsight",
        server=api,
        routes_pathname_prefix="/",
        requests_pathname_prefix="/",
        assets_folder=str(_ASSETS),
        assets_ignore=r"theme\.js|.*\.txt",  # theme.js is in the head already, before the first paint
        index_string=_INDEX,
        title="Tailsight",
        update_title=None,
        suppress_callback_exceptions=True,  # the parts of a page are not there before the page is
        use_async=True,
        on_error=_log_failure,
    )
    app.layout = shell.layout(settings.refresh_s)
    context = PageContext(
        store,
        settings,
        now,
        objectives,
        analysis,
        counts or RecentCounts(store, analysis.knowledge),
        ingest,
        alerting,
        pricing,
        weekly_reports,
        report_problems,
        looks,
    )
    for module in (shell, overview, incidents, incident, slos, slo, alerts, routes, reports, data):
        module.register(app, context)
    hardware = HardwareReader(context)
    fleet.register(app, context, hardware)
    device.register(app, context)
    reader = CostReader(context)
    for cost_page in (cost, cost_breakdown, cost_idle, cost_forecast, cost_advice):
        cost_page.register(app, context, reader)
    _no_web_socket(app, api)
    _set_up(app)
    _no_catch_all(app)
    api.router.default = PageFallback(app, otherwise=api.router.default)
    of_dash = [middleware for middleware in api.user_middleware if middleware not in guards]
    api.user_middleware[:] = [
        *guards,
        Middleware(BodyLimit, bytes_max=_CALLBACK_BYTES_MAX),
        Middleware(Compressed),
        Middleware(CacheControl),
        Middleware(SecurityHeaders, policy=content_security_policy(app.csp_hashes()), outside=(_API,)),
        *of_dash,  # reads whole bodies, so nobody who is to be refused may get this far
    ]
    return app


class PageFallback:
    """Answers what no route answers: a browser gets the page, or a readable 404; all others get what they got before.

    As the router's default it comes after every route, so the API keeps its own 404s and 405s.
    """

    def __init__(self, app: Dash, otherwise: ASGIApp) -> None:
        self._dash = app
        self._otherwise = otherwise

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] != "http" or scope["method"] not in ("GET", "HEAD") or scope["path"].startswith(_API):
            await self._otherwise(scope, receive, send)
            return
        known = shell.is_page(scope["path"])
        if not known and "text/html" not in Headers(scope=scope).get("accept", ""):
            await self._otherwise(scope, receive, send)
            return
        token = set_current_request(Request(scope, receive))
        try:
            response = HTMLResponse(self._dash.index(), status_code=200 if known else 404)
        finally:
            reset_current_request(token)
        await response(scope, receive, send)


def _set_up(app: Dash) -> None:
    """What Dash does on the first request to `/`, done now, so that the first request may be to any page."""
    # Our cartesian bundle in assets is a fifth of Dash's plotly.js, and dcc uses it as it finds it in `window`.
    dcc._js_dist[:] = [script for script in dcc._js_dist if script["namespace"] != "plotly"]  # noqa: SLF001
    app._setup_server()  # noqa: SLF001  # there is no public way


def _no_web_socket(app: Dash, api: FastAPI) -> None:
    """Every open page would hold a connection that no callback of ours uses."""
    app.backend.websocket_capability = False
    path = f"{app.config.routes_pathname_prefix}_dash-ws-callback"
    api.router.routes[:] = [route for route in api.router.routes if getattr(route, "path", None) != path]


def _no_catch_all(app: Dash) -> None:
    """Dash adds a route for every GET when the server starts; `PageFallback` stands in its place."""
    app.backend._setup_catchall = lambda: None  # noqa: SLF001  # there is no public way


def _log_failure(error: Exception) -> None:
    """Leave a trace, and let the request fail: the page then says that what it shows may be old."""
    expected = isinstance(error, StoreError)  # its message says it all, and an open page asks again every few seconds
    _log.error("a page could not be refreshed: %s", error, exc_info=None if expected else error)
    raise error
