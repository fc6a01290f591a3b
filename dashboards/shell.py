"""What surrounds every page: the head with service, range and freshness, the navigation, the clock that refreshes."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from dash import ClientsideFunction, Dash, Input, Output, dcc, html
from dash.dependencies import MATCH
from dash.development.base_component import Component

from dashboards import text
from dashboards.callbacks import callback
from dashboards.components import Children, empty_state, icon, page_link
from dashboards.context import PageContext
from dashboards.freshness import Gap
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
from dashboards.state import (
    COST_RANGE,
    COST_RANGES,
    DATA_RANGE,
    FLEET_RANGE,
    FLEET_RANGES,
    INCIDENTS_RANGE,
    OVERVIEW_RANGE,
    RANGES,
    SLO_RANGE,
    SLO_RANGES,
    PageState,
    Range,
    device_of,
    elsewhere,
    incident_id_of,
    link,
    parse_state,
    slo_name_of,
)
from domain.freshness import known_until
from domain.window import Window
from storage.incidents import read_open_incidents
from storage.readers import read_freshness, read_services

_COST_PAGES = ("/cost", "/cost/breakdown", "/cost/idle")
_FLEET = "/fleet"
_DEFAULT_RANGES = {
    "/": OVERVIEW_RANGE,
    _FLEET: FLEET_RANGE,
    "/incidents": INCIDENTS_RANGE,
    "/data": DATA_RANGE,
    **dict.fromkeys(_COST_PAGES, COST_RANGE),
}
_WITHOUT_RANGE = (
    "/slos",
    "/alerts",
    "/reports",
    "/alerts/routes",
    "/cost/forecast",
    "/cost/advice",
)  # of now, of weeks, of what is to come


def layout(refresh_s: int) -> Component:
    """The shell, with an empty place for the page."""
    return html.Div(
        [
            dcc.Location(id="url", refresh="callback-nav"),
            dcc.Interval(id="tick", interval=refresh_s * 1_000),
            dcc.Store(id="theme"),
            html.A("Skip to content", href="#page", className="skip"),
            html.Header(
                [
                    page_link(
                        [html.Img(src="/assets/logo.svg", alt="", width=26, height=26), "Tailsight"], "/", "brand"
                    ),
                    html.Div(id="service-menu", className="service-menu"),
                    html.Div(className="grow"),
                    html.Div(id="freshness", className="freshness", role="status"),
                    html.Nav(id="range-menu", **{"aria-label": "Time range"}),
                    html.Button(
                        icon("link"),
                        id="copy-link",
                        className="button square",
                        title="Copy a link to this view",
                        **{"aria-label": "Copy a link to this view"},
                    ),
                    html.Button(
                        [icon("sun", "in-dark"), icon("moon", "in-light")],
                        id="theme-button",
                        className="button square",
                        title="Switch between dark and light",
                        **{"aria-label": "Switch between dark and light"},
                    ),
                ],
                className="head",
            ),
            html.Nav(
                navigation(None, PageState(), 0),  # there before the first answer, and when there is none
                id="navigation",
                className="navigation",
                **{"aria-label": "Pages"},
            ),
            html.Main(id="page", tabIndex=-1),
            html.Div(
                [
                    icon("unplug"),
                    html.Span(
                        "Connection lost. What you see is as of the last refresh; trying again.", className="when-lost"
                    ),
                    html.Span(
                        [
                            html.Span("The server could not answer.", id="why-failing"),
                            " What you see may be old; trying again.",
                        ],
                        className="when-failing",
                    ),
                ],
                className="connection",
                role="alert",
            ),
            html.Div(id="toast", className="toast", role="status"),
        ],
        className="shell",
    )


def is_page(path: str) -> bool:
    """Is there a page at that path."""
    return (
        path in _DEFAULT_RANGES
        or path in _WITHOUT_RANGE
        or incident_id_of(path) is not None
        or slo_name_of(path) is not None
        or device_of(path) is not None
    )


def page(path: str | None) -> Component:
    """The page at a path."""
    layouts = {
        "/": overview.layout,
        "/incidents": incidents.layout,
        "/slos": slos.layout,
        _FLEET: fleet.layout,
        "/alerts": alerts.layout,
        "/alerts/routes": routes.layout,
        "/cost": cost.layout,
        "/cost/breakdown": cost_breakdown.layout,
        "/cost/idle": cost_idle.layout,
        "/cost/forecast": cost_forecast.layout,
        "/cost/advice": cost_advice.layout,
        "/reports": reports.layout,
        "/data": data.layout,
    }
    if (path or "/") in layouts:
        return layouts[path or "/"]()
    if incident_id_of(path):
        return incident.layout()
    if slo_name_of(path):
        return slo.layout()
    if device_of(path):
        return device.layout()
    return empty_state("circle-question-mark", "There is no such page", page_link("Go to the overview", "/", "button"))


def navigation(path: str | None, state: PageState, open_incidents: int) -> list[Component]:
    """The links to the pages; the state goes along."""
    entries = (
        ("/", "Overview", "layout-dashboard"),
        ("/incidents", "Incidents", "siren"),
        ("/slos", "Objectives", "target"),
        ("/alerts", "Alerts", "bell"),
        (_FLEET, "Fleet", "server"),
        ("/cost", "Cost", "circle-dollar-sign"),
        ("/reports", "Reports", "file-text"),
        ("/data", "Data", "inbox"),
    )
    return [
        page_link(
            [
                icon(icon_name),
                html.Span(title),
                html.Span(str(open_incidents), className="count", title=f"{open_incidents} open")
                if href == "/incidents" and open_incidents
                else None,
            ],
            link(href, elsewhere(state)),
            "nav-link",
            **({"aria-current": "page"} if _belongs(path, href) else {}),
        )
        for href, title, icon_name in entries
    ]


def range_menu(path: str | None, state: PageState) -> list[Component]:
    """The ranges as links; an incident's page has its own window, so it offers none."""
    default, offered = _offered_ranges(path or "/")
    if default is None:
        return []
    chosen = state.range_name if state.range_name in offered else default
    return [
        page_link(
            name,
            link(path or "/", replace(state, range_name=name, explain=None)),
            "range",
            **({"aria-current": "true"} if name == chosen else {}),
        )
        for name in offered
    ]


def _offered_ranges(path: str) -> tuple[str | None, Mapping[str, Range]]:
    """The range that a page has unless the address says so, None where it has none, and those to choose from."""
    if slo_name_of(path):
        return SLO_RANGE, SLO_RANGES
    if device_of(path):
        return FLEET_RANGE, RANGES
    offered = COST_RANGES if path in _COST_PAGES else FLEET_RANGES if path == _FLEET else RANGES
    return _DEFAULT_RANGES.get(path), offered


def service_menu(path: str | None, state: PageState, services: list[str]) -> Children:
    """The services as a menu of links; cost is a bill of everything, told apart on its own page, as is the hardware."""
    default = _DEFAULT_RANGES.get(path or "/")
    if default is None or path in (*_COST_PAGES, _FLEET):
        return None
    entries = [(None, "All services"), *((name, name) for name in services)]
    return html.Details(
        [
            html.Summary(
                [html.Span(state.service or "All services", className="clip"), icon("chevrons-up-down")],
                className="button",
                title="Service",
            ),
            html.Div(
                [
                    page_link(
                        [html.Span(title, className="clip"), icon("check") if name == state.service else None],
                        link(path or "/", PageState(range_name=state.range_name, service=name)),
                        "menu-link",
                        **({"aria-current": "true"} if name == state.service else {}),
                    )
                    for name, title in entries
                ],
                className="menu-list",
            ),
        ],
        className="menu",
    )


def freshness(newest: Mapping[str, datetime | None], unseen: Sequence[Gap]) -> list[Component]:
    """What is not seen now, the worst first; else live until when, or no data."""
    if unseen:
        worst, *others = (html.Span(gap.words, title=gap.meaning) for gap in unseen)
        rest = [html.Span(["· ", other], className="wide-only") for other in others]
        return [html.Span(className="dot dot-warning"), worst, *rest]
    last = known_until(newest)
    if last is None:
        return [html.Span(className="dot"), html.Span("No data yet")]
    return [html.Span(className="dot dot-good"), html.Span(f"Live, {text.clock_seconds(last)} UTC")]


def register(app: Dash, context: PageContext) -> None:
    """The callbacks of the shell."""

    @callback(app, Output("page", "children"), Input("url", "pathname"))
    async def show_page(path: str | None) -> Component:
        return page(path)

    @callback(
        app,
        Output("navigation", "children"),
        Output("freshness", "children"),
        Input("url", "pathname"),
        Input("url", "search"),
        Input("tick", "n_intervals"),
    )
    async def show_head(path: str | None, search: str | None, _ticks: int | None) -> tuple[Any, ...]:
        now = context.now()
        newest, going_on = await asyncio.gather(
            asyncio.to_thread(read_freshness, context.store, now),
            asyncio.to_thread(read_open_incidents, context.store, now),
        )
        return (
            navigation(path, parse_state(search), len(going_on)),
            freshness(newest, context.gaps(newest, now)),
        )

    # Not at each tick: a menu that is open would close.
    @callback(
        app,
        Output("range-menu", "children"),
        Output("service-menu", "children"),
        Input("url", "pathname"),
        Input("url", "search"),
    )
    async def show_menus(path: str | None, search: str | None) -> tuple[Any, ...]:
        state = parse_state(search)
        services = await asyncio.to_thread(_services, context, context.now())
        return range_menu(path, state), service_menu(path, state, services)

    app.clientside_callback(
        ClientsideFunction("tailsight", "theme"), Output("theme", "data"), Input("theme-button", "n_clicks")
    )
    app.clientside_callback(
        ClientsideFunction("tailsight", "paint"),
        Output({"type": "chart", "name": MATCH}, "figure"),
        Output({"type": "chart-frame", "name": MATCH}, "aria-label"),
        Output({"type": "chart-frame", "name": MATCH}, "data-empty"),
        Output({"type": "chart-frame", "name": MATCH}, "style"),
        Input({"type": "figure", "name": MATCH}, "data"),
        Input("theme", "data"),
    )
    app.clientside_callback(
        ClientsideFunction("tailsight", "explain"),
        Input({"type": "chart", "name": MATCH}, "relayoutData"),
        prevent_initial_call=True,
    )
    app.clientside_callback(
        ClientsideFunction("tailsight", "copy_link"), Output("toast", "children"), Input("copy-link", "n_clicks")
    )


def _belongs(path: str | None, href: str) -> bool:
    return path is not None and (path == href if href == "/" else path.startswith(href))


def _services(context: PageContext, now: datetime) -> list[str]:
    frame = read_services(context.store, Window(now - timedelta(days=1), now))
    return list(frame["service"].drop_nulls().unique(maintain_order=True))
