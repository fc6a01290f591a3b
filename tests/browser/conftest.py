"""The pages in a real browser: a server on a free port, and a page that tolerates nothing that is wrong."""

import os
import shutil
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import pytest
import uvicorn
from fastapi import FastAPI
from playwright.sync_api import Browser, Page, Request, Response, expect, sync_playwright

from alerts.settings import AlertsSettings
from analytics.cost.jobs import Pricing
from analytics.cost.price_book import shipped_prices
from analytics.jobs.explaining import AnalyzeSettings, explain_window
from analytics.knowledge import shipped_knowledge
from api.app import create_api
from api.context import Health, LoaderState
from api.settings import ApiSettings
from dashboards.app import create_dashboard
from dashboards.settings import DashboardSettings
from domain.slo import Objective
from reports.incident import incident_report
from reports.postmortem import postmortem
from reports.service import WeeklyReports
from reports.settings import WeeklySettings
from storage.store import Store
from tests.alerts.loopback import restored
from tests.browser import fixture_data
from tests.emptied import empty

_ARGUMENTS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--font-render-hinting=none",
)

OpenPage = Callable[..., Page]

expect.set_options(timeout=30_000)  # a busy machine is no failure


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything in this folder is a browser test."""
    for item in items:
        if item.path.parent.name == "browser":
            item.add_marker(pytest.mark.browser)


@pytest.fixture(scope="package")
def address(store: Store) -> Iterator[str]:
    """Where the API and the pages answer, over the made-up cloud at 03:07."""
    empty(store)
    fixture_data.fill(store)
    with serving(application(store)) as url:
        yield url


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    """Chromium; a missing one skips the test at home and fails it in CI."""
    path = shutil.which("chromium")
    if path is None:
        missing = "no chromium on PATH; `make browser` installs it"
        if os.environ.get("TAILSIGHT_REQUIRE_BROWSER") == "1":
            pytest.fail(missing)
        pytest.skip(missing)
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=path, args=list(_ARGUMENTS))
        yield chromium
        chromium.close()


@pytest.fixture
def open_page(browser: Browser, address: str) -> Iterator[OpenPage]:
    """Open a page and wait until all of it is drawn.

    The test fails when anything went wrong on the way: a message in the console (a breach of the content security
    policy lands there), an exception, an answer of 400 or more, a request to anybody but us.
    """
    wrong: list[str] = []
    contexts: list[Any] = []

    def open_it(path: str, *, width: int = 1440, theme: str = "dark") -> Page:
        context = browser.new_context(
            base_url=address,
            viewport={"width": width, "height": 900},
            color_scheme=theme,
            reduced_motion="reduce",
            timezone_id="America/Los_Angeles",  # what is shown must not depend on it
        )
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(30_000)
        page.on("console", lambda message: wrong.append(f"console: {message.text}") if message.type != "log" else None)
        page.on("pageerror", lambda error: wrong.append(f"exception: {error}"))
        page.on("request", lambda request: wrong.extend(_foreign(request, address)))
        page.on("response", lambda response: wrong.extend(_refused(response)))
        page.goto(path)
        wait_until_drawn(page)
        return page

    yield open_it
    for context in contexts:
        context.close()
    assert not wrong, "\n".join(wrong)


def wait_until_drawn(page: Page) -> None:
    """Wait until the page has its content and every chart of it is drawn or says why it is empty."""
    page.locator("#page > *").first.wait_for()
    page.locator(".chart[aria-label=Loading]").first.wait_for(state="detached")
    page.locator("[data-dash-is-loading=true]").first.wait_for(state="detached")


def application(
    store: Store,
    objectives: Sequence[Objective] = fixture_data.OBJECTIVES,
    alerts: AlertsSettings | None = None,
    pricing: Pricing | None = None,
) -> FastAPI:
    """The API and the pages over a store that is filled."""
    alerting = restored(store, alerts or AlertsSettings(), clock=lambda: fixture_data.NOW)
    alerting.post(fixture_data.alerts())
    weekly_reports = WeeklyReports(
        store,
        WeeklySettings(),
        shipped_knowledge(),
        lambda: Pricing(shipped_prices()),
        lambda: fixture_data.OBJECTIVES,
        lambda: fixture_data.NOW,
    )
    api = create_api(
        store,
        ApiSettings(),
        now=lambda: fixture_data.NOW,
        health=Health(loader=lambda: LoaderState(alive=True, lag_seconds=None)),
        metrics_text=lambda: b"",
        objectives=lambda: objectives,
        knowledge=shipped_knowledge(),
        explain=explain_window,
        render_report=partial(incident_report, knowledge=shipped_knowledge()),
        render_postmortem=partial(postmortem, knowledge=shipped_knowledge()),
        alerting=alerting,
        pricing=lambda: pricing or Pricing(shipped_prices()),
        weekly_reports=weekly_reports,
    )
    # Long enough for no test to see a refresh it does not ask for.
    settings = DashboardSettings(refresh_s=600)
    create_dashboard(
        api,
        store,
        settings,
        objectives=lambda: objectives,
        now=lambda: fixture_data.NOW,
        analysis=AnalyzeSettings(),
        alerting=alerting,
        pricing=lambda: pricing or Pricing(shipped_prices()),
        weekly_reports=weekly_reports,
    )
    return api


@contextmanager
def serving(app: FastAPI) -> Iterator[str]:
    """Answer on a free port of loopback, from a thread."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning", ws="none"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, name="pages")
        thread.start()  # the socket listens already: who connects now waits until the server takes it
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        server.should_exit = True
        thread.join(timeout=60)
    assert not thread.is_alive(), "the server did not stop"


def _foreign(request: Request, address: str) -> list[str]:
    ours = request.url.startswith((address, "data:", "blob:"))
    return [] if ours else [f"request to {request.url}"]


def _refused(response: Response) -> list[str]:
    return [f"{response.status} from {response.url}"] if response.status >= 400 else []
