"""Alerts: what fires now, who is notified, what suppresses it; silences; and what each alert asks one to do first."""

import asyncio
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, TypeAlias
from urllib.parse import parse_qsl, unquote

from dash import ALL, Dash, Input, Output, State, ctx, dcc, html, no_update
from dash.development.base_component import Component

from alerts.catalogue import ALERTS
from alerts.decide import silence_matchers
from alerts.matchers import MatcherError, parse_matchers, written
from alerts.service import KnownAlert
from alerts.silences import Silence, SilenceError, matcher_document, new_silence
from alerts.titles import shortened
from analytics.knowledge import Knowledge, step_text
from dashboards import text
from dashboards.callbacks import callback
from dashboards.components import badge, cell_of, empty_state, icon, page_link, panel, state_words
from dashboards.context import PageContext
from dashboards.freshness import LOOKS, REQUESTS, SAMPLES, Gap, hiding
from dashboards.severity import SEVERITIES
from dashboards.state import incident_path, parse_state
from domain.alert import DeadLetter, NotificationStatus
from domain.incident import Severity
from domain.window import rfc3339
from storage.readers import read_freshness

_HEADS = ("Severity", "Alert", "Since (UTC)", "Told (UTC)", "State", "")
_WIDE = ("Alert",)
_FOR = timedelta(hours=1)
_WHY_MAX = 80  # characters of a receiver's own words; all of them stand below, under what was not taken


def layout() -> Component:
    """A heading and places for what fires, what is silent and what nobody took."""
    return html.Div(
        [
            html.Header(
                [
                    html.H1("Alerts"),
                    html.Span(id="alerts-note", className="note grow"),
                    page_link([icon("workflow"), "Routes"], "/alerts/routes", "button", title="Who is told of what"),
                ],
                className="page-head",
            ),
            html.Div(id="alerts-table"),
            html.Div(id="alerts-silences"),
            _silence_form(),
            html.Div(id="alerts-dead"),
            html.Div(id="alerts-runbooks"),
        ],
        className="alerts",
    )


def _silence_form() -> Component:
    """The form for a silence. It stays while the rest is drawn anew; a link (`?silence=…`) opens and fills it."""
    fields = [
        html.Label(
            [
                "Alerts of these labels",
                dcc.Input(id="silence-matchers", placeholder='service="chat", severity="ticket"'),
            ],
            className="silence-words",
        ),
        html.Label(["Hours", dcc.Input(id="silence-hours", value="1", inputMode="decimal")], className="silence-hours"),
        html.Label(["Your name", dcc.Input(id="note-by", persistence=True)], className="name-field"),
        html.Label(["Why", dcc.Input(id="silence-why")], className="silence-words"),
        html.Button("Silence", id="silence-save", className="button"),
    ]
    body = [html.Div(fields, className="silence-form"), html.Div(id="silence-told", role="status", className="note")]
    summary = html.Summary([icon("bell-off"), "New silence"])
    return html.Details([summary, *body], id="silence-details", className="panel add-note new-silence")


def register(app: Dash, context: PageContext) -> None:
    """The callbacks of this page: it shows, and does what a button asks."""

    @callback(
        app,
        Output("alerts-note", "children"),
        Output("alerts-table", "children"),
        Output("alerts-silences", "children"),
        Output("alerts-dead", "children"),
        Output("silence-told", "children"),
        Input("url", "search"),
        Input("tick", "n_intervals"),
        Input({"type": "silence", "of": ALL}, "n_clicks"),
        Input({"type": "unsilence", "of": ALL}, "n_clicks"),
        Input("silence-save", "n_clicks"),
        State("silence-matchers", "value"),
        State("silence-hours", "value"),
        State("note-by", "value"),
        State("silence-why", "value"),
    )
    async def show_alerts(search: str | None, *given: Any) -> tuple[Any, ...]:
        now, state = context.now(), parse_state(search)
        asked = ctx.triggered_id if any(one["value"] for one in ctx.triggered) else None
        told: Any = no_update
        if isinstance(asked, dict):
            await asyncio.to_thread(_do, context, asked, given[-2], now)
        elif asked == "silence-save":
            told = await asyncio.to_thread(_silence, context, given[-4:], now)
        known = [one for one in _alerts(context) if state.service in (None, one.alert.labels.get("service"))]
        silences = [one for one in _silences(context) if one.ends_at > now]
        newest = await asyncio.to_thread(read_freshness, context.store, now)
        elsewhere = context.alerting is not None and context.alerting.notifies_by_alertmanager_only
        unseen = context.gaps(newest, now)
        return (
            note(known, notifies_nobody=context.notifies_nobody, hidden=hiding(unseen, (LOOKS,))),
            table(known, now, silenced_elsewhere=elsewhere, unseen=unseen),
            silences_panel(silences, now),
            dead_panel(_dead(context), now),
            told,
        )

    @callback(
        app,
        Output("silence-matchers", "value"),
        Output("silence-details", "open"),
        Input("url", "search"),
    )
    async def fill_silence(search: str | None) -> tuple[Any, Any]:
        matchers = dict(parse_qsl((search or "").removeprefix("?"))).get("silence")
        return (matchers, True) if matchers else (no_update, no_update)

    @callback(app, Output("alerts-runbooks", "children"), Input("url", "hash"))
    async def show_runbooks(place: str | None) -> Component:
        return runbooks(context.analysis.knowledge, unquote((place or "").removeprefix("#")))


_Entry: TypeAlias = tuple[str, str, str | None, Sequence[str], str]
"""Of a runbook: its name, its title, what it means, what to do first, what it is known by."""


def runbooks(knowledge: Knowledge, named: str) -> Component:
    """What each alert and each kind of cause asks one to do first; the named one before all others, and open."""
    alerts: list[_Entry] = [
        (kind.name, kind.name, kind.meaning, kind.first, f"{', '.join(kind.severities)}; {', '.join(kind.labels)}")
        for kind in ALERTS.values()
    ]
    causes: list[_Entry] = [
        (pattern.kind.value, pattern.title, None, pattern.next_steps, pattern.kind.value)
        for pattern in knowledge.patterns.values()
    ]
    parts = [("Runbooks of alerts", alerts), ("Runbooks of causes", causes)]
    parts.sort(key=lambda part: named not in {entry[0] for entry in part[1]})
    return html.Div(
        [
            panel(title, [_runbook(*one, is_open=one[0] == named) for one in _first(entries, named)])
            for title, entries in parts
        ],
        className="stack named" if named in {entry[0] for entry in (*alerts, *causes)} else "stack",
    )


def _first(entries: Sequence[_Entry], named: str) -> list[_Entry]:
    return sorted(entries, key=lambda entry: entry[0] != named)


def _runbook(
    name: str, title: str, meaning: str | None, first: Sequence[str], known_by: str, *, is_open: bool
) -> Component:
    steps = html.Ol([html.Li(step_text(step, "it")) for step in first])
    summary = html.Summary([html.Strong(title), html.Span(known_by, className="note")])
    return html.Details(
        [summary, html.P(meaning) if meaning else None, steps], id=name, open=is_open, className="runbook"
    )


def note(known: Sequence[KnownAlert], *, notifies_nobody: bool, hidden: Gap | None = None) -> str:
    """How many (as of when, where it is `hidden`), how many of them are suppressed; or that nobody is notified."""
    firing = f"{len(known)} firing" + ("" if hidden is None else f" {hidden.as_of}")
    if notifies_nobody:
        return f"{firing}. Nobody is told: set alerts.alertmanagers or alerts.config_file"
    suppressed = sum(bool(one.suppressed) for one in known)
    return firing + (f", {suppressed} of them quiet" if suppressed else "")


def table(
    known: Sequence[KnownAlert], now: datetime, *, silenced_elsewhere: bool = False, unseen: Sequence[Gap] = ()
) -> Component:
    """One row an alert; where Alertmanager alone tells people, its form is where one is silenced.

    Without any alert it says what is `unseen`, or that all is well.
    """
    if not known:
        words = [f"{gap.words}. {gap.meaning}" for gap in unseen] or ["Budgets burn as they may, and data comes in."]
        hidden = hiding(unseen, (LOOKS, REQUESTS, SAMPLES))
        title = "Nothing fires" if hidden is None else f"Nothing fired {hidden.as_of}"
        return empty_state("bell", title, [html.P(one) for one in words])
    head = html.Tr([html.Th(name, scope="col") for name in _HEADS])
    ordered = sorted(known, key=lambda one: (one.alert.labels.get("severity", ""), one.alert.starts_at))
    hidden = hiding(unseen, (LOOKS,))
    rows = [_row(one, now, hidden, silenced_elsewhere=silenced_elsewhere) for one in ordered]
    return html.Div(html.Table([html.Thead(head), html.Tbody(rows)]), className="panel table listing")


def _row(known: KnownAlert, now: datetime, hidden: Gap | None, *, silenced_elsewhere: bool) -> Component:
    alert, labels = known.alert, known.alert.labels
    severity = labels.get("severity", "")
    look = SEVERITIES[Severity(severity)] if severity in set(Severity) else (severity, "calm", "bell")
    summary = alert.annotations.get("summary") or labels.get("alertname", "")
    words = [summary, html.Div(alert.annotations.get("cause", ""), className="note")]
    title = (
        page_link(words, incident_path(labels["incident"]), "plain-link") if "incident" in labels else html.Div(words)
    )
    silence: Component
    if silenced_elsewhere:
        where = alert.annotations.get("silence_url", "")
        silence = html.A([icon("bell-off"), "Silence"], href=where, className="button", title="In Alertmanager's form")
    else:
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
        html.Div([_notification(one, now) for one in known.notification_statuses]),
        _state(known, hidden, silenced_elsewhere=silenced_elsewhere),
        None if known.suppressed.silenced_by else silence,
    )
    return html.Tr([cell_of(head, cell, is_wide=head in _WIDE) for head, cell in zip(_HEADS, cells, strict=True)])


def _notification(status: NotificationStatus, now: datetime) -> Component:
    """When one integration was notified last, or why not yet."""
    if status.integration is None:
        return html.Div(f"{status.receiver}: {status.why_not}", className="note")
    if status.notified_at is not None:
        at = text.since(status.notified_at, now)
        if status.integration == "alertmanager":
            return html.Div(f"given to Alertmanager {at}", title=f"{status.receiver}, which tells by its own routes")
        return html.Div(f"{status.receiver} by {status.integration} {at}")
    next_at = "" if status.next_at is None else f"; next {text.since(status.next_at, now)}"
    why = shortened(status.why_not, _WHY_MAX)
    told = f"{status.receiver} by {status.integration}: not yet, {why}{next_at}"
    return html.Div(told, className="note", title=status.why_not)


def _state(known: KnownAlert, hidden: Gap | None, *, silenced_elsewhere: bool) -> Component:
    suppressed = known.suppressed
    if suppressed.silenced_by and silenced_elsewhere:
        return html.Span("Silenced here only", className="note", title="Alertmanager tells people all the same")
    if suppressed.silenced_by:
        return html.Span("Silenced", className="note", title=f"by {', '.join(suppressed.silenced_by)}")
    if suppressed.inhibited_by is not None:
        by = ", ".join(f"{name}={value}" for name, value in sorted(suppressed.inhibited_by.items()))
        return html.Span("Said by a greater one", className="note", title=by)
    if known.is_muted and not silenced_elsewhere:
        return html.Span("Firing, told later", className="note", title="outside the time intervals of its route")
    return html.Span([html.Span(className="dot dot-critical"), state_words("Firing", hidden)], className="state")


def silences_panel(silences: Sequence[Silence], now: datetime) -> Component | None:
    """The silences, by whom and why; None when there are none."""
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


def _do(context: PageContext, asked: dict[str, str], by: str | None, now: datetime) -> None:
    """What a button asks: a silence of these labels, but for the incident's, or the end of one."""
    if context.alerting is None:
        return
    if asked["type"] == "unsilence":
        context.alerting.delete_silence(asked["of"])
        return
    labels = next((one.alert.labels for one in _alerts(context) if one.alert.fingerprint == asked["of"]), None)
    if labels is None:
        return  # it has ended meanwhile
    document = {
        "matchers": [matcher_document(one) for one in silence_matchers(labels)],
        "endsAt": rfc3339(now + _FOR),
        "createdBy": (by or "").strip() or "the page",
        "comment": "silenced for an hour at a click",
    }
    context.alerting.set_silence(new_silence(document, now))


def _silence(context: PageContext, given: Sequence[str | None], now: datetime) -> str:
    """A silence as the form says; what came of it in words."""
    matchers, hours, by, why = ((one or "").strip() for one in given)
    if context.alerting is None:
        return "Nobody is told of anything here."
    try:
        wanted = [matcher_document(one) for one in parse_matchers(matchers)]
        lasts = timedelta(hours=float(hours))
        document = {
            "matchers": wanted,
            "endsAt": rfc3339(now + lasts),
            "createdBy": by or "the page",
            "comment": why or "silenced on the page",
        }
        made = new_silence(document, now)
    except (MatcherError, SilenceError, ValueError, OverflowError) as error:
        return f"Not silenced: {error}"
    context.alerting.set_silence(made)
    elsewhere = ", ".join(context.alerting.alertmanagers)
    beside = f" By our own router: silence it at {elsewhere} too, which is told all the same." if elsewhere else ""
    return f"Silenced until {text.since(made.ends_at, now)} UTC.{beside}"


def _alerts(context: PageContext) -> list[KnownAlert]:
    return [] if context.alerting is None else context.alerting.alerts()


def _silences(context: PageContext) -> list[Silence]:
    return [] if context.alerting is None else context.alerting.silences()


def _dead(context: PageContext) -> Sequence[DeadLetter]:
    return () if context.alerting is None else context.alerting.dead_letters()
