"""Routes: the tree of our own router, who gets an alert of some labels, and whether each receiver took its last one."""

import asyncio
import calendar
import shlex
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any
from urllib.parse import parse_qsl, urlencode

from dash import Dash, Input, Output, dcc, html, no_update
from dash.development.base_component import Component

from alerts.config import AlertingConfig
from alerts.dispatch import MatchedRoute, Suppressed
from alerts.matchers import Labels
from alerts.notification import Integration
from alerts.receivers.email import EmailSettings
from alerts.receivers.slack import SlackSettings
from alerts.routing import GROUP_BY_ALL, Route
from alerts.service import Alerting, KnownAlert
from alerts.silences import Silence
from alerts.time_intervals import TimeInterval
from dashboards import text
from dashboards.callbacks import callback
from dashboards.components import Children, badge, cell_of, empty_state, icon, page_link, panel
from dashboards.context import PageContext
from dashboards.severity import SEVERITIES
from domain.alert import DeadLetter
from domain.incident import Severity
from domain.wording import sentence

PATH = "/alerts/routes"
_EXAMPLES = 6
_DEBOUNCE_S = 0.3
_WEEKDAYS = ("Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat")
_HEADS = ("Receiver", "Told by", "Sends resolved", "Last taken (UTC)", "Last refused (UTC)")
_WIDE = ("Receiver",)
_FIRST_FILE = """route:
  receiver: oncall
  group_by: [service]
receivers:
- name: oncall
  slack_configs:
  - api_url: https://hooks.slack.com/services/…
    channel: '#oncall'"""


def layout() -> Component:
    """The question and its answer first, then the tree, then the receivers."""
    field = html.Label(
        [
            "Labels of an alert",
            dcc.Input(
                id="route-labels", placeholder="severity=page service=chat", debounce=_DEBOUNCE_S, spellCheck=False
            ),
        ],
        className="silence-words",
    )
    ask = [
        html.Div([field], className="silence-form route-ask"),
        html.Div(id="route-examples", className="examples"),
        html.Div(id="route-answer", role="status"),
    ]
    return html.Div(
        [
            html.Header(
                [html.H1("Alert routes"), page_link([icon("bell"), "Alerts"], "/alerts", "button")],
                className="page-head",
            ),
            html.Div(id="routes-nobody"),
            panel("Who gets this?", ask),
            panel("Routing tree", html.Div(id="route-tree"), note=html.Span(id="route-tree-note")),
            panel("Receivers", html.Div(id="route-receivers"), note=html.Span(id="route-receivers-note")),
        ],
        className="routes",
    )


def register(app: Dash, context: PageContext) -> None:
    """The callbacks of this page."""

    @callback(app, Output("route-labels", "value"), Input("url", "search"))
    async def fill_labels(search: str | None) -> Any:
        labels = dict(parse_qsl((search or "").removeprefix("?"))).get("labels")
        return no_update if labels is None else labels

    @callback(
        app,
        Output("routes-nobody", "children"),
        Output("route-examples", "children"),
        Output("route-answer", "children"),
        Output("route-tree-note", "children"),
        Output("route-tree", "children"),
        Output("route-receivers-note", "children"),
        Output("route-receivers", "children"),
        Input("route-labels", "value"),
        Input("tick", "n_intervals"),
    )
    async def show_routes(written: str | None, _ticks: int | None) -> tuple[Any, ...]:
        if context.alerting is None:
            return nobody(()), None, None, "", None, "", None
        return await asyncio.to_thread(_page, context.alerting, written, context.now())


def _page(alerting: Alerting, written: str | None, now: datetime) -> tuple[Any, ...]:
    config = alerting.config
    integrations = sum(len(one) for one in config.receivers.values())
    if not integrations:  # a tree that leads to nobody notifies nobody
        return nobody(alerting.alertmanagers), None, None, "", None, "", None
    firing, wrong = alerting.alerts(), None
    labels: dict[str, str] = {}
    try:
        labels = labels_of(written)
    except ValueError as error:
        wrong = str(error)
    matched, suppressed = alerting.match_routes(labels) if labels else ([], Suppressed((), None))
    routes = list(config.route.walk())
    answered = answer(labels, matched, suppressed, config, alerting.silences(), now) if labels else None
    return (
        None,
        examples(firing, written),
        html.P(f"Not understood: {wrong}", className="note wrong") if wrong else answered,
        f"{len(routes)} route{'' if len(routes) == 1 else 's'}, read from the top; the first that matches wins",
        tree(config, frozenset(one.route.index for one in matched), alerting.muted_routes()),
        f"{len(config.receivers)} with {integrations} integration{'' if integrations == 1 else 's'}",
        receivers_table(config, alerting.last_delivered_at(), alerting.dead_letters(), _in_use(matched), now),
    )


def labels_of(written: str | None) -> dict[str, str]:
    """Labels as `tailsight route test` takes them, `severity=page service="a b"`; commas and braces may stand between.

    Raises:
        ValueError: saying what is no label.
    """
    lexer = shlex.shlex((written or "").strip().removeprefix("{").removesuffix("}"), posix=True)
    lexer.whitespace += ","
    lexer.whitespace_split, lexer.commenters = True, ""
    try:
        parts = list(lexer)
    except ValueError as error:
        raise ValueError(f"{error}".lower()) from None
    wrong = next((part for part in parts if not part.partition("=")[0] or "=" not in part), None)
    if wrong is not None:
        raise ValueError(f"{wrong!r} is no label; write name=value")
    return dict(part.split("=", 1) for part in parts)


def labels_text(labels: Labels) -> str:
    """Labels as `labels_of` reads them, the name of the alert first."""
    ordered = sorted(labels.items(), key=lambda item: (item[0] != "alertname", item[0] != "severity", item[0]))
    return " ".join(f"{name}={_quoted(value)}" for name, value in ordered)


def _quoted(value: str) -> str:
    """In quotes where it is to be: a comma means nothing to a shell, but separates labels here."""
    return shlex.quote(value) if "," not in value else "'" + value.replace("'", "'\"'\"'") + "'"


def nobody(alertmanagers: Sequence[str]) -> Component:
    """In place of the tree, where our own router has no integration: who notifies, or what to configure."""
    if alertmanagers:
        words = (
            f"Alertmanager routes what fires here: it is told by {', '.join(alertmanagers)}. "
            "Our own router has no receiver, so there is no tree to show; look into Alertmanager's own."
        )
        return html.Div([icon("bell"), html.Span(words)], className="panel notice")
    return empty_state(
        "bell-off",
        "Nobody is told of anything",
        [
            html.P("Alerts are gathered and listed, and no page leaves this machine. Give our own router its file:"),
            html.Pre("alerts:\n  config_file: alerting.yml", **{"aria-label": "In the settings"}),
            html.P("In alerting.yml, as Alertmanager has it, who is told of what:"),
            html.Pre(_FIRST_FILE, **{"aria-label": "alerting.yml"}),
            html.P("Or name the Alertmanager that you have; it then routes as it does for Prometheus:"),
            html.Pre("alerts:\n  alertmanagers: [http://alertmanager-0:9093]", **{"aria-label": "In the settings"}),
        ],
    )


def examples(firing: Sequence[KnownAlert], written: str | None) -> list[Component]:
    """Labels of what fires now, each a link that fills the field."""
    told = [(labels_text(one.alert.labels), one) for one in firing[:_EXAMPLES]]
    links = [
        page_link(
            [html.Span(className=f"dot dot-{_tone(one.alert.labels)}"), _example_words(one.alert.labels)],
            f"{PATH}?{urlencode({'labels': labels})}",
            "example",
            title=labels,
            **({"aria-current": "true"} if labels == written else {}),
        )
        for labels, one in told
    ]
    return [html.Span("Firing now:", className="note"), *links] if links else []


def _tone(labels: Labels) -> str:
    severity = labels.get("severity", "")
    tone = SEVERITIES[Severity(severity)][1] if severity in set(Severity) else "calm"
    return tone if tone != "calm" else "none"


def _example_words(labels: Labels) -> str:
    whose = next((labels[name] for name in ("slo", "gpu", "port", "service", "scope") if labels.get(name)), "")
    severity = f", {labels['severity']}" if labels.get("severity") else ""
    return f"{labels.get('alertname', 'an alert')} {whose}".strip() + severity


# -- The answer ----------------------------------------------------------------------------------------------------


def answer(
    labels: Labels,
    matched: Sequence[MatchedRoute],
    suppressed: Suppressed,
    config: AlertingConfig,
    silences: Sequence[Silence],
    now: datetime,
) -> Component:
    """Who is notified, when, with what else; and what would suppress it."""
    held_by = [words for words in (*_silenced(suppressed, silences, now), _inhibited(suppressed)) if words is not None]
    return html.Div(
        [
            html.Ul(
                [html.Li([icon("bell-off", "tone-warning"), html.Span(words)]) for words in held_by], className="held"
            )
            if held_by
            else None,
            html.Ol([_matched(one, config, is_suppressed=bool(held_by)) for one in matched], className="reached"),
        ],
        className="answer",
        **{"aria-label": f"Who gets {labels_text(labels)}"},
    )


def _matched(matched: MatchedRoute, config: AlertingConfig, *, is_suppressed: bool) -> Component:
    options = matched.route.options
    kinds = [one.kind for one in config.receivers[options.receiver]]
    off = mute_words(matched)
    group = ", ".join(f"{name}={value}" for name, value in matched.group_labels.items())
    company = len(matched.firing)
    if is_suppressed:
        state = ("Kept quiet", "warning")
    elif off is not None:
        state = ("Not now", "warning")
    elif not kinds:
        state = ("Told to nobody", "unknown")
    else:
        state = ("Is told", "good")
    facts: list[tuple[str, Children]] = [
        ("By", ", ".join(kinds) or "nothing: this receiver has no integration"),
        ("Joins", [html.Code(group) if group else "the one group of this route", _company(company)]),
        (
            "Waits",
            f"{text.lasting(options.group_wait_s)}; then every {text.lasting(options.group_interval_s)} what is new",
        ),
        ("Again", f"after {text.lasting(options.repeat_interval_s)}"),
        ("Key", html.Code(matched.group_key)),
    ]
    if off is not None:
        facts.insert(0, ("Quiet", off))
    return html.Li(
        [
            html.Div([html.H3(options.receiver), badge(*state)], className="reached-head"),
            html.Dl([html.Div([html.Dt(name), html.Dd(value)]) for name, value in facts]),
        ]
    )


def _company(count: int) -> Component:
    words = "nothing else in it fires" if not count else f"{count} firing in it"
    return html.Span(f" {words}", className="note")


def mute_words(matched: MatchedRoute) -> str | None:
    """Why a route is muted now; None when it notifies."""
    if matched.muted_by is not None:
        return f"muted by the time interval {matched.muted_by}; told when it is over, if it still fires"
    if matched.is_inactive:
        names = ", ".join(matched.route.options.active_time_intervals)
        return f"active only in {names}; told then, if it still fires"
    return None


def _silenced(suppressed: Suppressed, silences: Sequence[Silence], now: datetime) -> list[str]:
    known = {one.id: one for one in silences}
    return [
        f"Silenced until {text.since(known[one].ends_at, now)} UTC by {known[one].created_by}: {known[one].comment}"
        if one in known
        else f"Silenced by {one}"
        for one in suppressed.silenced_by
    ]


def _inhibited(suppressed: Suppressed) -> str | None:
    if suppressed.inhibited_by is None:
        return None
    return f"Said already by a greater one that fires: {labels_text(suppressed.inhibited_by)}"


# -- The tree ------------------------------------------------------------------------------------------------------


def tree(config: AlertingConfig, matched: frozenset[int], muted: frozenset[int]) -> Component:
    """Each route as a card under its parent; those that an alert passes are strong, those it reaches stronger."""
    return html.Ul([_node(config.route, None, config, matched, muted)], className="tree")


def _node(
    route: Route, parent: Route | None, config: AlertingConfig, matched: frozenset[int], muted: frozenset[int]
) -> Component:
    options = route.options
    is_matched = route.index in matched
    is_passed = any(one.index in matched for one in route.walk())
    matchers: list[Children] = [html.Code(str(one)) for one in route.matchers]
    integrations = config.receivers[options.receiver]
    card = html.Div(
        [
            html.Div(
                [
                    *(
                        matchers
                        or [html.Span("every alert" if parent is None else "all that come here", className="note")]
                    ),
                    badge("Quiet now", "warning", "bell-off") if route.index in muted else None,
                    html.Span(
                        [icon("arrow-down"), "goes on"],
                        className="goes-on",
                        title="continue: the routes after it are asked too",
                    )
                    if route.continues
                    else None,
                    html.Span("reached", className="reached-word") if is_matched else None,
                ],
                className="matchers",
            ),
            html.Div(
                [
                    icon("arrow-right"),
                    html.Strong(options.receiver),
                    html.Span(_kinds(integrations), className="note"),
                ],
                className="to",
            ),
            html.P(timing_words(route, parent), className="note"),
            *(html.P(words, className="note") for words in _interval_words(route, config)),
        ],
        className="route" + (" is-reached" if is_matched else " is-passed" if is_passed else ""),
    )
    children = [_node(child, route, config, matched, muted) for child in route.routes]
    classes = "passed" if is_passed else ""
    return html.Li([card, html.Ul(children) if children else None], className=classes)


def _kinds(integrations: Sequence[Integration]) -> str:
    return ", ".join(one.kind for one in integrations) or "nobody"


def timing_words(route: Route, parent: Route | None) -> str:
    """Grouping and waits; of a child only what differs from its parent."""
    options = route.options
    before = None if parent is None else parent.options
    grouped = "by all labels" if GROUP_BY_ALL in options.group_by else f"by {', '.join(options.group_by)}"
    told = (
        (options.group_by, before and before.group_by, f"grouped {grouped if options.group_by else 'all in one'}"),
        (options.group_wait_s, before and before.group_wait_s, f"waits {text.lasting(options.group_wait_s)}"),
        (
            options.group_interval_s,
            before and before.group_interval_s,
            f"new ones every {text.lasting(options.group_interval_s)}",
        ),
        (
            options.repeat_interval_s,
            before and before.repeat_interval_s,
            f"again after {text.lasting(options.repeat_interval_s)}",
        ),
    )
    words = [words for own, inherited, words in told if before is None or own != inherited]
    return sentence(" · ".join(words)) if words else "Grouped and timed as above"


def _interval_words(route: Route, config: AlertingConfig) -> list[str]:
    options = route.options
    active, mute = (
        ", ".join(f"{name} ({'; '.join(map(times_words, config.time_intervals[name]))})" for name in names)
        for names in (options.active_time_intervals, options.mute_time_intervals)
    )
    return [words for names, words in ((active, f"Active in {active}"), (mute, f"Muted in {mute}")) if names]


def times_words(interval: TimeInterval) -> str:
    """`Mon to Fri, 09:00 to 17:00 Europe/Berlin`; `always` of one that says nothing."""
    parts = [
        _ranges_words(interval.weekdays, lambda day: _WEEKDAYS[day]),
        _ranges_words(interval.days_of_month, str) and f"day {_ranges_words(interval.days_of_month, str)}",
        _ranges_words(interval.months, lambda month: calendar.month_abbr[month]),
        _ranges_words(interval.years, str),
        _ranges_words(interval.minutes, lambda minute: f"{minute // 60:02}:{minute % 60:02}"),
    ]
    told = ", ".join(part for part in parts if part)
    return f"{told} {interval.location or 'UTC'}" if told else "always"


def _ranges_words(ranges: Sequence[tuple[int, int]], say: Callable[[int], str]) -> str:
    return " and ".join(say(start) if start == end else f"{say(start)} to {say(end)}" for start, end in ranges)


# -- Receivers -----------------------------------------------------------------------------------------------------


def receivers_table(
    config: AlertingConfig,
    delivered: Mapping[tuple[str, int], datetime],
    dead: Sequence[DeadLetter],
    in_use: frozenset[str],
    now: datetime,
) -> Component:
    """One row an integration: its last delivery, and what it refused since."""
    head = html.Tr([html.Th(name, scope="col") for name in _HEADS])
    rows = []
    for name, integrations in config.receivers.items():
        if not integrations:
            cells: tuple[Any, ...] = (_receiver(name, in_use), html.Span("nobody", className="note"), "", "", "")
            rows.append(_tr(cells))
        for place, one in enumerate(integrations):
            refused = [letter for letter in dead if (letter.receiver, letter.place) == (name, place)]
            rows.append(
                _tr(
                    (
                        _receiver(name, in_use) if place == 0 else html.Span(name, className="note"),
                        [one.kind, html.Span(f" {_where(one)}", className="note")],
                        "yes" if one.send_resolved else "no",
                        *_deliveries(delivered.get((name, place)), refused[-1] if refused else None, now),
                    )
                )
            )
    return html.Div(html.Table([html.Thead(head), html.Tbody(rows)]), className="table listing receivers")


def _where(integration: Integration) -> str:
    """Which channel, or whose mail: what tells two of a kind apart without giving a secret away."""
    settings = integration.settings
    if isinstance(settings, SlackSettings):
        return settings.channel or ""
    return settings.to if isinstance(settings, EmailSettings) else ""


def _tr(cells: Sequence[Any]) -> Component:
    return html.Tr([cell_of(head, cell, is_wide=head in _WIDE) for head, cell in zip(_HEADS, cells, strict=True)])


def _receiver(name: str, in_use: frozenset[str]) -> Component:
    return html.Span([html.Strong(name), badge("reached", "calm") if name in in_use else None])


def _deliveries(delivered: datetime | None, refused: DeadLetter | None, now: datetime) -> tuple[Children, Children]:
    """When it took something last, and what it would not take; the newer of the two says how it is."""
    works = delivered is not None and (refused is None or delivered >= refused.failed_at)
    last = (
        html.Span("nothing yet", className="note")
        if delivered is None
        else html.Span(
            [icon("circle-check", "tone-good") if works else None, text.since(delivered, now)], className="state"
        )
    )
    if refused is None:
        return last, html.Span("never", className="note")
    alarm = None if works else icon("triangle-alert", "tone-critical")
    when = html.Span([alarm, text.since(refused.failed_at, now)], className="state")
    return last, html.Div([when, html.Div(f"{refused.error} ({refused.attempts_count} attempts)", className="note")])


def _in_use(matched: Sequence[MatchedRoute]) -> frozenset[str]:
    return frozenset(one.route.options.receiver for one in matched)
