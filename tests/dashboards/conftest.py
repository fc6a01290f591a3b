"""The pages over the session's store, filled with the made-up cloud, with a clock that stands still."""

import asyncio
from collections.abc import Iterator

import pytest
from fastapi import FastAPI

from analytics.jobs.explaining import AnalyzeSettings
from dashboards.app import create_dashboard
from dashboards.settings import DashboardSettings
from storage.store import Store
from tests.browser import fixture_data
from tests.dashboards.asking import Asker
from tests.emptied import empty


@pytest.fixture(scope="session")
def runner() -> Iterator[asyncio.Runner]:
    """One event loop for all questions."""
    with asyncio.Runner() as runner:
        yield runner


@pytest.fixture(scope="package")
def filled_store(store: Store) -> Store:
    """The session's store with the made-up cloud and nothing else."""
    empty(store)
    fixture_data.fill(store)
    return store


@pytest.fixture(scope="package")
def pages(runner: asyncio.Runner, filled_store: Store) -> Asker:
    """The pages at 03:07, while the incident goes on, beside a small API."""
    api = FastAPI()

    @api.get("/api/v1/things")
    def things() -> list[int]:
        return [1, 2, 3]

    create_dashboard(
        api,
        filled_store,
        DashboardSettings(otlp_http_url="http://127.0.0.1:14318"),
        objectives=lambda: fixture_data.OBJECTIVES,
        now=lambda: fixture_data.NOW,
        analysis=AnalyzeSettings(),
    )

    @api.get("/healthz")
    def healthz() -> str:  # added after the pages, and yet not covered by them
        return "alive"

    return Asker(runner, api)
