"""The API over the session's embedded store, with a clock that stands at `NOW`, and requests to fill the store with."""

import asyncio
from collections.abc import Callable, Iterator
from datetime import timedelta
from functools import partial
from typing import Any

import httpx
import polars as pl
import pytest
from fastapi import FastAPI

from alerts.settings import AlertsSettings
from analytics.cost.jobs import Pricing
from analytics.cost.price_book import shipped_prices
from analytics.jobs.explaining import explain_window
from analytics.knowledge import shipped_knowledge
from api.app import create_api
from api.context import Health, LoaderState
from api.settings import ApiSettings
from domain.cause import Cause, CauseKind, Evidence, Explanation, RuledOut
from domain.entity import Entity, EntityKind
from domain.incident import Incident, Indicator, Severity, Status
from domain.slo import Objective
from reports.postmortem import postmortem
from reports.service import WeeklyReports
from reports.settings import WeeklySettings
from storage.open import open_store
from storage.settings import StoreSettings
from storage.store import Store
from tests.alerts.loopback import restored
from tests.api.clock import NOW

MakeApi = Callable[..., FastAPI]
InsertRequests = Callable[..., None]


class Asker:
    """Asks an application as a client would, over ASGI, without a socket."""

    def __init__(self, runner: asyncio.Runner, app: FastAPI) -> None:
        self.app = app
        self._runner = runner

    def __call__(self, method: str, path: str, **options: Any) -> httpx.Response:
        """The response; an exception that the application lets through becomes its 500."""
        return self._runner.run(self._ask(method, path, options))

    def get(self, path: str, **parameters: Any) -> httpx.Response:
        """The response to a GET; a trailing underscore in a parameter's name is dropped."""
        query = {name.rstrip("_"): value for name, value in parameters.items()}
        return self("GET", path, params=query)

    async def _ask(self, method: str, path: str, options: dict[str, Any]) -> httpx.Response:
        transport = httpx.ASGITransport(app=self.app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8080") as client:
            return await client.request(method, path, **options)


@pytest.fixture(scope="session")
def runner() -> Iterator[asyncio.Runner]:
    """One event loop for all questions."""
    with asyncio.Runner() as runner:
        yield runner


@pytest.fixture(scope="session")
def make_api(store: Store) -> MakeApi:
    """Make an API over the session's store; any argument of `create_api` and any setting can be given."""

    def make(**given: Any) -> FastAPI:
        settings = {name: given.pop(name) for name in ApiSettings.model_fields if name in given}
        wiring: dict[str, Any] = {
            "now": lambda: NOW,
            "health": Health(lambda: LoaderState(alive=True, lag_seconds=None)),
            "metrics_text": lambda: b"# TYPE tailsight_up gauge\ntailsight_up 1.0\n",
            "objectives": lambda: (),
            "knowledge": shipped_knowledge(),
            "explain": explain_window,
            "render_report": lambda incident, _: f"# {incident.service}\n",
            "render_postmortem": partial(postmortem, knowledge=shipped_knowledge()),
            "pricing": lambda: Pricing(shipped_prices()),
            "weekly_reports": WeeklyReports(
                store, WeeklySettings(), shipped_knowledge(), lambda: Pricing(shipped_prices()), tuple, lambda: NOW
            ),
            "alerting": given.pop("alerting", None) or restored(store, AlertsSettings(), clock=lambda: NOW),
        }
        return create_api(given.pop("store", store), ApiSettings(**settings), **(wiring | given))

    return make


@pytest.fixture(scope="session")
def make_asker(runner: asyncio.Runner, make_api: MakeApi) -> Callable[..., Asker]:
    """Make a client of an API of its own."""
    return lambda **given: Asker(runner, make_api(**given))


@pytest.fixture(scope="session")
def ask(make_asker: Callable[..., Asker]) -> Asker:
    """A client of the API with the default settings."""
    return make_asker()


@pytest.fixture(scope="session")
def unreachable_store() -> Iterator[Store]:
    """A store behind a port that nobody listens on."""
    store = open_store(StoreSettings(url="http://127.0.0.1:9/otel"))
    yield store
    store.close()


@pytest.fixture(scope="session")
def insert_requests(store: Store) -> InsertRequests:
    """Insert requests of a service, one at each of some seconds before `NOW`; columns are values or lists of them."""

    def insert(service: str, seconds_ago: list[float], **columns: Any) -> None:
        known: dict[str, Any] = {
            "time": [NOW - timedelta(seconds=seconds) for seconds in seconds_ago],
            "service": service,
            "model": "llama-70b",
            "version": "v1",
            "replica": "chat-0",
            "tenant": "acme",
            "trace_id": "4bf92f3577b34da6a3ce929d0e0e4736",
            "is_error": False,
            "latency_ms": 100.0,
        }
        values = {
            name: value if isinstance(value, list) else [value] * len(seconds_ago)
            for name, value in (known | columns).items()
        }
        store.insert("tailsight_requests", pl.DataFrame(values))

    return insert


@pytest.fixture(scope="session")
def make_incident() -> Callable[..., Incident]:
    """Make an incident; any field can be given."""

    def make(**given: Any) -> Incident:
        port = Entity(EntityKind.PORT, "gpu-07-03/mlx5_2/1")
        evidence = Evidence("symbol_errors", port, None, 85.4, "1/s", 0.99, 50.0)
        cause = Cause(
            rank=1,
            kind=CauseKind.NETWORK_LINK_FAULT,
            entity=port,
            confidence=0.93,
            lead_s=50.0,
            summary="Symbol errors on gpu-07-03/mlx5_2/1 began 50 s before the spike.",
            evidence=(evidence,),
            next_steps=("Swap the cable",),
        )
        fields: dict[str, Any] = {
            "id": "inc-1",
            "service": "chat",
            "model": None,
            "indicator": Indicator.TTFT,
            "status": Status.OPEN,
            "severity": Severity.PAGE,
            "started_at": NOW - timedelta(minutes=20),
            "detected_at": NOW - timedelta(minutes=19, microseconds=1),
            "ended_at": None,
            "baseline_ms_p99": 540.0,
            "peak_ms_p99": 4100.0,
            "slow_requests_count": 18_420,
            "slow_requests_ratio": 0.31,
            "budget_spent_ratio": None,
            "cost_usd": None,
            "tenants_affected_count": 41,
            "explanation": Explanation((cause,), (RuledOut(CauseKind.TRAFFIC_SURGE, "request rate as usual"),)),
            "exemplar_trace_ids": ("4bf92f3577b34da6a3ce929d0e0e4736",),
        }
        return Incident(**(fields | given))

    return make


@pytest.fixture
def chat_objective() -> Objective:
    """99 % of the requests of `chat` see their first token within 2 s."""
    return Objective("chat-ttft", "chat", Indicator.TTFT, 0.99, 30, threshold_ms=2000.0)
