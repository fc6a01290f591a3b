"""`tailsight route`: who is told of an alert, a test that is really sent, and who would have been told."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from domain.window import duration_text, from_rfc3339, rfc3339
from tailsight.cli.console import Exit, end_with, err, fail, out, progress, say_json, say_table
from tailsight.cli.options import Config, End, Json, Start, window_of
from tailsight.cli.store import configured_store

if TYPE_CHECKING:
    from alerts.dispatch import MatchedRoute
    from alerts.settings import AlertsSettings
    from alerts.trial import TrialResult

app = typer.Typer(no_args_is_help=True, help="Who is told of an alert, and who would have been.")


@app.command("test")
def route_test(
    more: Annotated[list[str] | None, typer.Argument(metavar="[NAME=VALUE]...", help="Further labels.")] = None,
    *,
    labels: Annotated[list[str], typer.Option(help="Labels of an alert, e.g. severity=page service=chat.")],
    at: Annotated[str | None, typer.Option(help="When it fires, RFC 3339; now unless given.")] = None,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Say which receivers an alert of these labels would reach, and which of them are quiet at that time."""
    from tailsight.settings import read_settings

    settings = read_settings(config).alerts
    alerting, given = settings.config, _labels([*labels, *(more or ())])
    try:
        moment = from_rfc3339(at) if at else datetime.now(UTC)
    except ValueError as error:
        fail(f"--at {error}", Exit.WRONG_USE)
    matched = _matched_routes(settings, given, moment)
    if as_json:
        say_json({"routes": _routes_document(matched)})
        return
    table = Table(
        "receiver", "told by", rfc3339(moment) if at else "now", "route", "grouped by", "waits", "again after"
    )
    for one in matched:
        options, why = one.route.options, _mute_words(one)
        kinds = ", ".join(integration.kind for integration in alerting.receivers[options.receiver]) or "nobody"
        times = (duration_text(seconds * 1000) for seconds in (options.group_wait_s, options.repeat_interval_s))
        grouped_by = ", ".join(options.group_by) or "all in one"
        table.add_row(
            *map(
                escape,
                (
                    options.receiver,
                    kinds,
                    why or ("is told" if kinds != "nobody" else "–"),
                    one.route.key,
                    grouped_by,
                    *times,
                ),
            )
        )
    say_table(table)
    _say_channels(settings)


def _say_channels(settings: "AlertsSettings") -> None:
    """By which channels anybody is notified of alerts at all."""
    from alerts.checks import NOTIFIES_NOBODY, notification_channels

    told = notification_channels(settings)
    out.print("; ".join(map(escape, told)) or f"[red]{': '.join(NOTIFIES_NOBODY)}[/]", highlight=False)


@app.command("send")
def route_send(
    more: Annotated[list[str] | None, typer.Argument(metavar="[NAME=VALUE]...", help="Further labels.")] = None,
    *,
    receiver: Annotated[
        str | None, typer.Option(help="The one to be told; else those that the labels reach, and every Alertmanager.")
    ] = None,
    labels: Annotated[
        list[str] | None,
        typer.Option(
            help="Labels of the test, e.g. severity=page service=chat; an alertname counts for our routes only."
        ),
    ] = None,
    open_s: Annotated[
        float, typer.Option(help="Seconds until PagerDuty and webhooks are told that it is over.", min=0, max=600)
    ] = 30,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Send a test to those who would be told, and say whether each took it. What it opens is resolved again."""
    from alerts.trial import NAME, Outcome, is_left_open, run_trial, trial_alert
    from tailsight.settings import read_settings

    settings, given = read_settings(config), _labels([*(labels or ()), *(more or ())])
    alerts, now = settings.alerts, datetime.now(UTC).replace(microsecond=0)
    known = alerts.config.receivers if alerts.config_file is not None else {}
    if receiver is not None and receiver not in known:
        there_are = ", ".join(known) or "none, for alerts.config_file is not set"
        fail(f"there is no receiver {receiver!r}; there are {there_are}", Exit.WRONG_USE)
    matched = _matched_routes(alerts, {"alertname": NAME} | given, now) if known and receiver is None else []
    names = [receiver] if receiver is not None else [one.route.options.receiver for one in matched]
    receivers = {name: known[name] for name in names}
    opens = open_s and any(is_left_open(one) for integrations in receivers.values() for one in integrations)
    if opens and not as_json:
        err.print(f"[dim]what it opens is resolved again in {open_s:g} s[/]", highlight=False)
    by = _who_runs_this()
    tried = run_trial(
        alerts if receiver is None else alerts.model_copy(update={"alertmanagers": ()}),
        receivers,
        trial_alert({**given, **alerts.labels}, by, now),
        settings.web.url,
        open_s,
        lambda: datetime.now(UTC),
    )
    if as_json:
        told = [{"receiver": one.receiver, "by": one.kind, "outcome": one.outcome, "note": one.note} for one in tried]
        say_json({"sent_at": rfc3339(now), "sent_by": by, "routes": _routes_document(matched), "told": told})
    else:
        _say_tried(tried, matched, [name for name, integrations in receivers.items() if not integrations])
    if not tried:
        lacks = "give a receiver something" if known else "set alerts.alertmanagers or alerts.config_file"
        fail(f"nobody was told, for there is nothing to tell by: {lacks}", Exit.TROUBLE)
    end_with(Exit.FINE if all(one.outcome is Outcome.TAKEN for one in tried) else Exit.TROUBLE)


def _say_tried(tried: Sequence["TrialResult"], matched: Sequence["MatchedRoute"], nobodies: Sequence[str]) -> None:
    for one in tried:
        colour, mark = ("green", ", ") if one.outcome == "taken" else ("red", ": ")
        note = f"{mark}{escape(one.note)}" if one.note else ""
        told = f"{escape(one.receiver)} by {one.kind}: [{colour}]{one.outcome}[/]{note}"
        out.print(told, highlight=False, soft_wrap=True)
    for name in nobodies:
        out.print(f"{escape(name)}: nobody, it has nothing to tell by", highlight=False, soft_wrap=True)
    for place in matched:
        if (why := _mute_words(place)) is not None:
            told = f"{escape(place.route.options.receiver)} is {escape(why)}; what is no test would wait"
            out.print(f"[dim]{told}[/]", highlight=False, soft_wrap=True)


def _who_runs_this() -> str:
    """`ann@laptop`."""
    import getpass
    import os
    import socket

    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container whose user has no name
        user = f"uid {os.getuid()}"
    return f"{user}@{socket.gethostname()}"


@app.command("replay")
def route_replay(*, start: Start, end: End, config: Config = None, as_json: Json = False) -> None:
    """Say who would have been told what in a stretch of stored time; nothing is sent."""
    from alerts.replay import NOT_REPLAYED, PastObjectives, past_alerts, replay
    from analytics.jobs.objectives import chosen, kept_objectives, standing_objectives

    window = window_of(start, end)
    with configured_store(config) as (store, settings), progress(quiet=as_json) as tell:
        are_promised = bool(chosen(settings.promised, kept_objectives(store)))
        alerts = past_alerts(
            store,
            window,
            PastObjectives(standing_objectives(store, settings.promised, window.end), are_proposed=not are_promised),
            settings=settings.alerts,
            knowledge=settings.knowledge.known,
            pricing=settings.cost.to_job(),
            progress=lambda done: tell("Asking the sources", done),
        )
    told = replay(settings.alerts.config, alerts)
    if as_json:
        fields = ("receiver", "kind", "reason", "firing_count", "resolved_count", "summary")
        say_json(
            {
                "told": [{"at": rfc3339(one.at), **{name: getattr(one, name) for name in fields}} for one in told],
                "not_replayed": [{"source": source, "why": why} for source, why in NOT_REPLAYED.items()],
            }
        )
        return
    table = Table("when", "receiver", "why", "firing", "over", "what", title=f"{len(alerts)} alerts")
    for one in told:
        counts = (str(one.firing_count), str(one.resolved_count))
        table.add_row(rfc3339(one.at), escape(one.receiver), one.reason.value, *counts, escape(one.summary))
    say_table(table)
    for source, why in NOT_REPLAYED.items():
        out.print(f"not replayed: {source}, since {why}", highlight=False)


def _labels(given: list[str]) -> dict[str, str]:
    wrong = [label for label in given if not label.partition("=")[0] or "=" not in label]
    if wrong:
        fail(f"{wrong[0]!r} is no label; write name=value", Exit.WRONG_USE)
    return dict(label.split("=", 1) for label in given)


def _matched_routes(settings: "AlertsSettings", labels: dict[str, str], moment: datetime) -> list["MatchedRoute"]:
    """The routes that these labels match, with the labels of this site that every alert bears."""
    from alerts.dispatch import Dispatcher

    matched, _ = Dispatcher(settings.config).match_routes({**labels, **settings.labels}, moment)
    return matched


def _routes_document(matched: Sequence["MatchedRoute"]) -> list[dict[str, str]]:
    told = [({"receiver": one.route.options.receiver, "route": one.route.key}, _mute_words(one)) for one in matched]
    return [one | ({"quiet": why} if why else {}) for one, why in told]


def _mute_words(matched: "MatchedRoute") -> str | None:
    """Why a route is muted; None when it notifies."""
    return None if matched.mute_reason is None else f"quiet: {matched.mute_reason}"
