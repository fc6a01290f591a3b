"""Alerts: what fires now, whom it reaches, what keeps it quiet; and a silence for an hour at a click."""

import asyncio
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from dash import ALL, Dash, Input, Output, ctx, html
from dash.development.base_component import Component

from alerts.matchers import written
from alerts.service import KnownAlert
from alerts.silences import Silence, new_silence
from dashboards import text
from dashboards.callbacks import callback
from dashboards.components import badge, cell_of, empty_state, icon, page_link, panel
from dashboards.context import PageContext
from dashboards.severity import SEVERITIES
from dashboards.state import incident_path, parse_state
from domain.alert import DeadLetter
from domain.incident import Severity
from domain.window import rfc3339

_HEADS = ("Severity", "Alert", "Since (UTC)", "Tells", "State", "")
_WIDE = ("Alert",)
_FOR = timedelta(hours=1)


def layout() -> Component:
    """A heading and places for what fires, what is silent and what nobody took."""
    return html.Div(
        [
            html.Header([html.H1("Alerts"), html.Span(id="alerts-note", className="note")], className="page-head"),
            html.Div(id="alerts-table"),
            html.Div(id="alerts-silences"),
            html.Div(id="alerts-dead"),
        ]
    )


def register(app: Dash, context: PageContext) -> None:
    """The one callback of this page: it shows, and does what a button asks."""

    @callback(
        app,
        Output("alerts-note", "children"),
        Output("alerts-table", "children"),
        Output("alerts-silences", "children"),
        Output("alerts-dead", "children"),
        Input("url", "search"),
        Input("tick", "n_intervals"),
        Input({"type": "silence", "of": ALL}, "n_clicks"),
        Input({"type": "unsilence", "of": ALL}, "n_clicks"),
    )
    async def show_alerts(search: str | None, _ticks: int | None, *_clicks: Any) -> tuple[Any, ...]:
        now, state = context.now(), parse_state(search)
        asked = ctx.triggered_id if any(one["value"] for one in ctx.triggered) else None
        if isinstance(asked, dict):
            await asyncio.to_thread(_do, context, asked, now)
        known = [one for one in _alerts(context) if state.service in (None, one.alert.labels.get("service"))]
        silences = [one for one in _silences(context) if one.ends_at > now]
        tells_nobody = context.alerting is None or context.alerting.tells_nobody
        return (
            note(known, tells_nobody=tells_nobody),
            table(known, now),
            silences_panel(silences, now),
            dead_panel(_dead(context), now),
        )


def note(known: Sequence[KnownAlert], *, tells_nobody: bool) -> str:
    """How many, and how many of them are kept quiet; or that nobody is told of any."""
    if tells_nobody:
        return f"{len(known)} firing. Nobody is told: set alerts.alertmanagers or alerts.config_file"
    quiet = sum(bool(one.suppressed) for one in known)
    return f"{len(known)} firing" + (f", {quiet} of them quiet" if quiet else "")


def table(known: Sequence[KnownAlert], now: datetime) -> Component:
    """One row an alert."""
    if not known:
        return empty_state("bell", "Nothing fires", html.P("Budgets burn as they may, and data comes in."))
    head = html.Tr([html.Th(name, scope="col") for name in _HEADS])
    ordered = sorted(known, key=lambda one: (one.alert.labels.get("severity", ""), one.alert.starts_at))
    return html.Div(
        html.Table([html.Thead(head), html.Tbody([_row(one, now) for one in ordered])]), className="panel table listing"
    )


def _row(known: KnownAlert, now: datetime) -> Component:
    alert, labels = known.alert, known.alert.labels
    severity = labels.get("severity", "")
    look = SEVERITIES[Severity(severity)] if severity in set(Severity) else (severity, "calm", "bell")
    summary = alert.annotations.get("summary") or labels.get("alertname", "")
    words = [summary, html.Div(alert.annotations.get("cause", ""), className="note")]
    title = (
        page_link(words, incident_path(labels["incident"]), "plain-link") if "incident" in labels else html.Div(words)
    )
    silence = html.Button(
        [icon("bell-off"), "Silence 1 h"],
        id={"type": "silence", "of": alert.fingerprint},
        className="button",
        title=f"Tell nobody of {labels.get('alertname')} of these labels for an hour",
    )
    cells = (
        badge(*look),
        title,
        text.since(alert.starts_at, now),
        ", ".join(known.receivers),
        _state(known),
        None if known.suppressed.silenced_by else silence,
    )
    return html.Tr([cell_of(head, cell, is_wide=head in _WIDE) for head, cell in zip(_HEADS, cells, strict=True)])


def _state(known: KnownAlert) -> Component:
    quiet = known.suppressed
    if quiet.silenced_by:
        return html.Span("Silenced", className="note", title=f"by {', '.join(quiet.silenced_by)}")
    if quiet.inhibited_by is not None:
        by = ", ".join(f"{name}={value}" for name, value in sorted(quiet.inhibited_by.items()))
        return html.Span("Said by a greater one", className="note", title=by)
    return html.Span([html.Span(className="dot dot-critical"), "Firing"], className="state")


def silences_panel(silences: Sequence[Silence], now: datetime) -> Component | None:
    """What is kept quiet, by whom and why; None when nothing is."""
    if not silences:
        return None
    rows = [
        html.Tr(
            [
                html.Td(html.Code(written(one.matchers))),
                html.Td(f"until {text.since(one.ends_at, now)} UTC"),
                html.Td(f"{one.created_by}: {one.comment}"),
                html.Td(html.Button("End it", id={"type": "unsilence", "of": one.id}, className="button")),
            ]
        )
        for one in silences
    ]
    return panel("Silences", html.Div(html.Table(html.Tbody(rows)), className="table"), note=str(len(silences)))


def dead_panel(letters: Sequence[DeadLetter], now: datetime) -> Component | None:
    """What no receiver took, newest first; None when all was taken."""
    if not letters:
        return None
    rows = [
        html.Tr(
            [
                html.Td(f"{text.since(one.failed_at, now)} UTC"),
                html.Td(f"{one.receiver} ({one.integration})"),
                html.Td(f"{one.alerts_count} alerts, {one.attempts_count} attempts"),
                html.Td(one.error),
            ]
        )
        for one in reversed(letters[-20:])
    ]
    body = html.Div(html.Table(html.Tbody(rows)), className="table")
    return panel("Not taken", body, note="tried again with the next flush of its group")


def _do(context: PageContext, asked: dict[str, str], now: datetime) -> None:
    """What a button asks: a silence of exactly these labels, or the end of one."""
    if context.alerting is None:
        return
    if asked["type"] == "unsilence":
        context.alerting.unsilence(asked["of"])
        return
    labels = next((one.alert.labels for one in _alerts(context) if one.alert.fingerprint == asked["of"]), None)
    if labels is None:
        return  # it has ended meanwhile
    document = {
        "matchers": [{"name": name, "value": value} for name, value in sorted(labels.items())],
        "endsAt": rfc3339(now + _FOR),
        "createdBy": "the page",
        "comment": "silenced for an hour at a click",
    }
    context.alerting.silence(new_silence(document, now))


def _alerts(context: PageContext) -> list[KnownAlert]:
    return [] if context.alerting is None else context.alerting.alerts()


def _silences(context: PageContext) -> list[Silence]:
    return [] if context.alerting is None else context.alerting.silences()


def _dead(context: PageContext) -> Sequence[DeadLetter]:
    return () if context.alerting is None else context.alerting.dead_letters()
