"""The API as one application: endpoints, errors, authentication, and its own description."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

from fastapi import FastAPI, Request
from fastapi.routing import APIRoute
from pydantic import SecretStr
from starlette.routing import compile_path

from alerts.service import Alerting
from analytics.cost.jobs import Pricing
from analytics.knowledge import Knowledge
from api import (
    alerts,
    compare,
    cost,
    devices,
    docs,
    errors,
    explain,
    health,
    hooks,
    incidents,
    latency,
    reports,
    scaling,
    services,
    slo_exclusions,
    slos,
    throughput,
    topology,
)
from api.auth import HostCheck, TokenCheck
from api.body_limit import BodyLimit
from api.context import Context, ExplainFunction, Health, WeeklyReports
from api.freshness import FreshnessProbe
from api.problems import MEDIA_TYPE, Problem, ProblemDocument, handle_problems
from api.settings import ApiSettings
from domain.incident import Incident
from domain.slo import Objective
from storage.store import Store

_DESCRIPTION = (
    "Why p99 spiked, what it cost, and whom to wake. Times are RFC 3339 in UTC; ratios are 0 to 1; what is not known "
    "is null, never 0; lists come in pages: hand `next_cursor` back as `cursor`."
)
_METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]


def create_api(
    store: Store,
    settings: ApiSettings,
    *,
    now: Callable[[], datetime],
    health: Health,
    metrics_text: Callable[[], bytes],
    objectives: Callable[[], Sequence[Objective]],
    knowledge: Knowledge,
    explain: ExplainFunction,
    render_report: Callable[[Incident, Mapping[str, Any]], str],
    render_postmortem: Callable[[Incident, Mapping[str, Any]], str],
    alerting: Alerting,
    pricing: Callable[[], Pricing],
    weekly_reports: WeeklyReports,
    token: SecretStr | None = None,
    public_url: str | None = None,
) -> FastAPI:
    """The application that answers at /api, /healthz, /readyz and /metrics.

    Pages may be added to it: what is added is behind the same check of who asks, and nothing under /api/ reaches it.

    Args:
        store: where everything is read, and the topology is kept.
        settings: the limits of an answer.
        now: the clock, in UTC.
        health: how the process's own parts stand.
        metrics_text: the process's own metrics in the Prometheus text format 0.0.4.
        objectives: what was promised, at this moment.
        knowledge: the signals that metrics carry, and what they are called.
        explain: `analytics.jobs.explaining.explain_window`.
        render_report: an incident and what was noted of it, as Markdown.
        render_postmortem: the same as a post-mortem that people finish.
        alerting: what fires, and what is kept quiet.
        pricing: what GPUs cost.
        weekly_reports: the reports of weeks.
        token: what everyone must show, but at /healthz and /readyz; None when anyone on this machine may ask.
        public_url: where people reach it; without a token nobody is answered under another name, or one of loopback.
    """
    app = FastAPI(
        title="Tailsight",
        description=_DESCRIPTION,
        version="1",
        openapi_url="/api/openapi.json",
        docs_url=None,
        redoc_url=None,
        generate_unique_id_function=lambda route: route.name,
    )
    app.state.context = Context(
        store,
        settings,
        now,
        health,
        metrics_text,
        objectives,
        knowledge,
        explain,
        render_report,
        render_postmortem,
        alerting,
        pricing,
        weekly_reports,
        FreshnessProbe(store),
    )
    for router in _ROUTERS:
        app.include_router(router)
    app.add_api_route("/api", _refuse_unknown, methods=_METHODS, include_in_schema=False)
    app.add_api_route("/api/{rest:path}", _refuse_unknown, methods=_METHODS, include_in_schema=False)
    document = _openapi_document(app)  # made now: pages that are added later are none of its business
    app.openapi = lambda: document  # type: ignore[method-assign]  # FastAPI's documented way to extend it
    handle_problems(app)
    app.add_middleware(BodyLimit, bytes_max=settings.body_bytes_max)
    if token is not None:
        app.add_middleware(TokenCheck, token=token.get_secret_value())
    else:
        app.add_middleware(HostCheck, public_url=public_url)
    return app


_ROUTERS = (
    services.router,
    incidents.router,
    explain.router,
    latency.router,
    throughput.router,
    errors.router,
    slo_exclusions.router,  # before the objectives, whose names may hold slashes
    slos.router,
    alerts.router,
    cost.router,
    reports.router,
    hooks.router,
    topology.router,
    devices.router,
    compare.router,
    scaling.router,
    health.router,
    docs.router,
)


def _refuse_unknown(request: Request) -> None:
    """Answer what no endpoint answers; pages must never stand in for one."""
    path = request.url.path
    methods = [
        method.upper()
        for template, operations in request.app.openapi()["paths"].items()
        if compile_path(template)[0].fullmatch(path)
        for method in operations
    ]
    if methods:
        allowed = ", ".join(methods)
        raise Problem(
            "method-not-allowed",
            f"{request.method} {path} is not possible; valid are {allowed}",
            headers={"Allow": allowed},
        )
    raise Problem("not-found", f"no endpoint {path}; /api/docs lists those there are")


def _openapi_document(app: FastAPI) -> dict[str, Any]:
    """The OpenAPI document, with our problem documents in place of FastAPI's own errors."""
    document = app.openapi()
    _restore_examples(document)
    schemas = document["components"]["schemas"]
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    problem = ProblemDocument.model_json_schema(ref_template="#/components/schemas/{model}")
    schemas |= problem.pop("$defs") | {"ProblemDocument": problem}
    for operations in document["paths"].values():
        for operation in operations.values():
            operation["responses"].pop("422", None)
            operation["responses"]["default"] = _PROBLEM_RESPONSE
    return document


def _restore_examples(document: dict[str, Any]) -> None:
    """Put the examples back as they were written: FastAPI drops what is null from the whole document."""
    for route in (route for router in _ROUTERS for route in router.routes):
        if not isinstance(route, APIRoute) or not route.include_in_schema:
            continue
        for method in route.methods or ():
            responses = document["paths"][route.path_format][method.lower()]["responses"]
            for status, response in route.responses.items():
                for media_type, content in response["content"].items():
                    responses[str(status)]["content"][media_type]["example"] = content["example"]


_PROBLEM_RESPONSE = {
    "description": "A problem (RFC 9457) that names the fields at fault",
    "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/ProblemDocument"}}},
}
