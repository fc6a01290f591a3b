"""The command line: each command reads its arguments, calls one function, and tells people or machines.

Exit status: 0 fine, 1 found trouble, 2 wrong use.
"""

import json
import logging
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from enum import IntEnum
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn

import typer
from rich.console import Console
from rich.markdown import Markdown
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from collector.errors import CollectorError
from domain.cause import NOT_LOOKED_AT, Cause, CauseKind
from domain.incident import Incident, Indicator, Status, explanation_to_document, to_document
from domain.money import usd_text
from domain.window import Window, duration_text, from_rfc3339, rfc3339
from storage.errors import StoreError
from tailsight.errors import SettingsError, TailsightError

_out = Console()
_err = Console(stderr=True)


class Exit(IntEnum):
    """What the exit status means."""

    FINE = 0
    TROUBLE = 1
    WRONG_USE = 2


app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Why p99 spiked, what it cost, and whom to wake.",
)


def _version(wanted: bool) -> None:  # noqa: FBT001  # as typer calls it
    if wanted:
        from importlib.metadata import version

        sys.stdout.write(f"tailsight {version('tailsight')}\n")
        raise typer.Exit


@app.callback()
def _options(
    *,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Say which version.")
    ] = False,
) -> None:
    """Why p99 spiked, what it cost, and whom to wake."""


Config = Annotated[Path | None, typer.Option("--config", help="YAML file of settings; else TAILSIGHT_CONFIG names it.")]
Json = Annotated[bool, typer.Option("--json", help="One JSON document instead of text for people.")]
FaultKind = Annotated[CauseKind, typer.Option("--fault", help="What goes wrong.")]
Seed = Annotated[int, typer.Option(help="The same seed gives the same cloud and the same fault.")]


def main() -> None:
    """Run the command line; errors that a person can mend are told in one sentence, without a traceback."""
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    try:
        app()
    except SettingsError as error:
        _fail(str(error), Exit.WRONG_USE)
    except (TailsightError, StoreError, CollectorError) as error:
        _fail(str(error), Exit.TROUBLE)


@app.command()
def demo(
    *,
    fault: FaultKind = CauseKind.GPU_MEMORY_CONTENTION,
    seed: Seed = 1,
    once: Annotated[
        bool, typer.Option("--once", help="Headless: one incident, its cause and the page; then end.")
    ] = False,
    as_json: Json = False,
    days: Annotated[float, typer.Option(help="Days of history to fill in, when live.", min=0.05, max=29)] = 7,
    port: Annotated[
        int | None,
        typer.Option(help="Port of the pages, when live; 8080, or a free one when that is taken.", min=0, max=65535),
    ] = None,
    data: Annotated[
        Path | None, typer.Option(help="Keep the data in this folder; else it is removed at the end.")
    ] = None,
) -> None:
    """Everything on loopback with a simulated GPU cloud: no server, no GPU, no configuration."""
    from simulator.faults import PLANNERS
    from tailsight import demo as demos

    if fault not in PLANNERS:
        _fail(f"--fault {fault} cannot be played yet; valid are {', '.join(sorted(PLANNERS))}", Exit.WRONG_USE)
    if once:
        with _progress(quiet=as_json) as tell:
            outcome = demos.run_once(fault, seed, tell)
        if as_json:
            _say_json(outcome)
        else:
            _tell_once(outcome)
        _end(Exit.FINE if _named_first(outcome) else Exit.TROUBLE)
    stop = _until_signal()
    with _progress(quiet=False) as tell:
        demos.run_live(
            fault,
            seed,
            history=timedelta(days=days),
            folder=data,
            ports=(_free_or(port, 8080), _free_or(None, 4318)),
            tell=tell,
            ready=_tell_ready,
            found=_tell_incident,
            stop=stop,
        )


@app.command()
def serve(*, config: Config = None) -> None:
    """Receive, explain and show, until SIGTERM or Ctrl-C."""
    from tailsight.settings import read_settings
    from tailsight.wiring import Application

    stop = _until_signal()
    application = Application(read_settings(config))
    addresses = application.start(on_failure=stop.set)
    doors = f"{addresses.otlp_http_url} (HTTP) or {addresses.otlp_grpc_url} (gRPC)"
    _out.print(escape(f"Tailsight is at {addresses.web_url}; send OTLP to {doors}"), soft_wrap=True)
    stop.wait()
    drained = application.stop()
    if application.failure is not None:
        raise application.failure
    if not drained:
        _fail("what was acknowledged last is in the log and not loaded yet; the next start loads it", Exit.TROUBLE)


@app.command("check-config")
def check_config(file: Annotated[Path, typer.Argument(help="YAML file of settings.")]) -> None:
    """Say what is wrong with a configuration file, and what will not do what it seems to."""
    from alerts.checks import TELLS_NOBODY, unheard_pages, unreadable_secrets
    from analytics.burn_rates import never_pages
    from tailsight.settings import links_of_this_machine, listens_openly, read_settings

    settings = read_settings(file)
    openly = listens_openly(settings)
    if openly is not None:
        _fail(openly, Exit.TROUBLE)
    warnings = [told for told in map(never_pages, settings.promised) if told is not None]
    alerts = settings.alerts
    if alerts.config_file is not None:
        services = sorted({one.service for one in settings.promised})
        warnings += [] if alerts.alertmanagers else unheard_pages(alerts.config, services)
        warnings += unreadable_secrets(alerts.config)
    elif not alerts.alertmanagers:
        _err.print(f"[dim]note:[/] {': '.join(TELLS_NOBODY)}", highlight=False)
    misleading = links_of_this_machine(settings)
    warnings += [] if misleading is None else [misleading]
    for warning in warnings:
        _warn(warning)
    _out.print(escape(f"{file} can be used, with the warnings above" if warnings else f"{file} is fine"))


@app.command()
def migrate(
    *, config: Config = None, dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the SQL only.")] = False
) -> None:
    """Bring the store's tables and views up to date."""
    from storage.catch_up import CatchUp
    from storage.migrate import migrate as run_pending
    from storage.migrate import pending_steps, steps_of_new
    from storage.upstream import sources
    from tailsight.doctor import kept
    from tailsight.settings import read_settings

    if dry_run:
        wanted = read_settings(config).store
        if wanted.embedded_path is not None and not wanted.embedded_path.is_dir():
            _say_sql(steps_of_new(wanted))  # opening the store would make its folder
            return
        with _store(config, make=True) as (store, _):
            _say_sql(pending_steps(store))
        return
    with _store(config, make=True) as (store, settings), _progress(quiet=False) as tell:
        steps = run_pending(store)
        _out.print("\n".join(f"applied {step.name}" for step in steps) or "nothing to do: the store is up to date")
        for check in kept(store, settings):
            _out.print(escape(check.says), highlight=False)
        if _serves_elsewhere(store, settings) or not sources(store):
            return
        for done in CatchUp(store, settings.store.catch_up).history(datetime.now(UTC)):
            tell("Reading what is there", done)


@app.command()
def analyze(
    *,
    start: Annotated[str, typer.Option("--from", help="Beginning, RFC 3339, e.g. 2026-11-23T02:00:00Z.")],
    end: Annotated[str, typer.Option("--to", help="End, RFC 3339.")],
    step: Annotated[
        int | None, typer.Option(help="Seconds a step of the rollup; 15 unless configured.", min=1, max=3600)
    ] = None,
    history: Annotated[
        int | None, typer.Option(help="Seconds that say what is usual; 7200 unless configured.", min=10)
    ] = None,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Find and explain every spike in a stretch of stored time. Running it twice changes nothing."""
    from analytics.jobs.incidents import analyze as find_and_explain
    from storage.catch_up import catch_up

    window = _window(start, end)
    with _store(config) as (store, settings), _progress(quiet=as_json) as tell:
        if not _serves_elsewhere(store, settings):
            catch_up(store, window.widened(before_s=history or settings.analytics.history_s))
        analytics = settings.analytics.model_copy(
            update={key: value for key, value in {"step_s": step, "history_s": history}.items() if value is not None}
        )
        objectives = _objectives(store, settings, window.end)
        incidents = find_and_explain(
            store,
            window,
            datetime.now(UTC),
            objectives,
            analytics.to_job(settings.knowledge.known, settings.cost.to_job()),
            tell,
        )
    if as_json:
        _say_json({"incidents": [to_document(incident) for incident in incidents]})
    else:
        _tell_incidents(incidents)


@app.command()
def explain(
    *,
    service: Annotated[str, typer.Option(help="The service.")],
    start: Annotated[str, typer.Option("--from", help="Beginning, RFC 3339.")],
    end: Annotated[str, typer.Option("--to", help="End, RFC 3339.")],
    indicator: Annotated[
        Literal["ttft", "latency", "tpot", "errors"] | None,
        typer.Option(help="What was slow, or errors; ttft where the service has one."),
    ] = None,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Rank the causes of one window of one service against the time before it."""
    from analytics.jobs.explaining import explain_window

    window = _window(start, end)
    with _store(config) as (store, settings):
        _check_known(store, service, window)
        job = settings.analytics.to_job(settings.knowledge.known)
        explanation = explain_window(store, service, window, Indicator(indicator) if indicator else None, job)
    if as_json:
        _say_json(explanation_to_document(explanation))
        return
    for cause in explanation.causes:
        name = escape(cause.entity.name)
        _out.print(f"[bold]{cause.rank}. {cause.kind}[/] {name}{_sure(cause)}", highlight=False)
        _out.print(f"   {escape(cause.summary)}", highlight=False)
        if cause.rank == 1:
            for step in cause.chain:
                _out.print(f"   → {escape(step.entity.name)}: {escape(step.text)}", highlight=False)
            for number, step_to_take in enumerate(cause.next_steps, start=1):
                _out.print(f"   Next {number}: {escape(step_to_take)}", highlight=False)
    for ruled_out in explanation.ruled_out:
        head = "   " if ruled_out.why.startswith(NOT_LOOKED_AT) else "   not "
        _out.print(f"[dim]{head}{ruled_out.kind}: {escape(ruled_out.why)}[/]", highlight=False)


@app.command()
def incidents(
    incident_id: Annotated[str | None, typer.Argument(help="One of them, to be told whole.")] = None,
    *,
    hours: Annotated[float, typer.Option(help="How far back to list them.", min=0.1, max=24 * 366)] = 24.0,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """List what goes on and what did in the last day, or tell one incident whole, with its notes. Changes nothing."""
    from alerts.handling import handling_document
    from reports.incident import incident_report
    from storage.readers import read_incident, read_incident_notes, read_incidents

    now = datetime.now(UTC)
    with _store(config) as (store, _):
        if incident_id is None:
            found = read_incidents(store, Window(now - timedelta(hours=hours), now))
        elif one := read_incident(store, incident_id):
            found = [one]
        else:
            _fail(f"there is no incident {incident_id!r}: `tailsight incidents` lists those of a day", Exit.WRONG_USE)
        noted = read_incident_notes(store, [one.id for one in found])
    if as_json:
        handled = [(one, noted.get(one.id, {})) for one in found]
        _say_json({"incidents": [to_document(one) | {"handling": handling_document(one, of)} for one, of in handled]})
    elif incident_id is not None:
        _out.print(Markdown(incident_report(found[0], noted.get(incident_id, {}))))
    elif found:
        _tell_incidents(sorted(found, key=lambda one: one.status is not Status.OPEN))
    else:
        _out.print(f"No incident in the last {hours:g} hours.")


def _sure(cause: Cause) -> str:
    """How sure the first cause is; of further ones the order alone is told, and of none nothing."""
    return f"  {cause.confidence:.0%}" if cause.rank == 1 and cause.confidence > 0 else ""


slo_app = typer.Typer(invoke_without_command=True, help="Where each objective stands now; what others would bring.")
app.add_typer(slo_app, name="slo")


@slo_app.callback()
def slo(context: typer.Context, *, config: Config = None, as_json: Json = False) -> None:
    """Where each objective stands now."""
    from analytics.burn_rates import never_pages
    from analytics.jobs.objectives import slo_statuses
    from analytics.slo_documents.annotations import period_text

    if context.invoked_subcommand is not None:
        return
    now = datetime.now(UTC)
    with _store(config) as (store, settings):
        statuses = slo_statuses(store, _objectives(store, settings, now), now)
    if as_json:
        from fastapi.encoders import jsonable_encoder

        from api.slos import status_document

        told = [{**status_document(status), "burn_rate": status.burn_rate} for status in statuses]
        _say_json({"slos": jsonable_encoder(told)})
        return
    table = Table("objective", "state", "over", "target", "SLI", "budget left", "burn (1 h)")
    for status in statuses:
        burn = "no data" if status.burn_rate is None else f"{status.burn_rate:.1f}×"
        for place, one in enumerate(status.periods):
            ratios = (one.counted.sli_ratio, one.counted.budget_left_ratio)
            ratios_told = ["no data" if value is None else f"{value:.3%}" for value in ratios]
            target, over = f"{status.objective.target_ratio:.2%}", period_text(one.period)
            name = "" if place else escape(status.objective.name)
            table.add_row(name, one.state, over, target, *ratios_told, "" if place else burn)
    _out.print(table)
    for status in statuses:
        if (warning := never_pages(status.objective)) is not None:
            _warn(warning)
        if status.credit is not None and status.credit.credit_usd:
            due = _usd(status.credit.credit_usd)
            _out.print(
                f"{escape(status.objective.name)}: the SLA gives back {due} if the month ended now", highlight=False
            )


route_app = typer.Typer(no_args_is_help=True, help="Who is told of an alert, and who would have been.")
app.add_typer(route_app, name="route")


@route_app.command("test")
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
        _fail(f"--at {error}", Exit.WRONG_USE)
    reached = _reached(settings, given, moment)
    if as_json:
        _say_json({"routes": _routes_told(reached)})
        return
    table = Table(
        "receiver", "told by", rfc3339(moment) if at else "now", "route", "grouped by", "waits", "again after"
    )
    for one in reached:
        options, why = one.route.options, _quiet(one)
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
    _out.print(table)
    _tell_who_is_told(settings)


def _labels(given: list[str]) -> dict[str, str]:
    wrong = [label for label in given if not label.partition("=")[0] or "=" not in label]
    if wrong:
        _fail(f"{wrong[0]!r} is no label; write name=value", Exit.WRONG_USE)
    return dict(label.split("=", 1) for label in given)


def _reached(settings: Any, labels: dict[str, str], moment: datetime) -> list[Any]:
    """The routes that an alert of these labels reaches, with the labels of this site that every alert bears."""
    from alerts.dispatch import Dispatcher

    reached, _ = Dispatcher(settings.config).reach({**labels, **settings.labels}, moment)
    return reached


def _routes_told(reached: list[Any]) -> list[dict[str, str]]:
    told = [({"receiver": one.route.options.receiver, "route": one.route.key}, _quiet(one)) for one in reached]
    return [one | ({"quiet": why} if why else {}) for one, why in told]


def _quiet(reached: Any) -> str | None:
    """What keeps a route quiet; None when it tells."""
    return None if reached.quiet is None else f"quiet: {reached.quiet}"


@route_app.command("send")
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
        _fail(f"there is no receiver {receiver!r}; there are {there_are}", Exit.WRONG_USE)
    reached = _reached(alerts, {"alertname": NAME} | given, now) if known and receiver is None else []
    names = [receiver] if receiver is not None else [one.route.options.receiver for one in reached]
    receivers = {name: known[name] for name in names}
    opens = open_s and any(is_left_open(one) for integrations in receivers.values() for one in integrations)
    if opens and not as_json:
        _err.print(f"[dim]what it opens is resolved again in {open_s:g} s[/]", highlight=False)
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
        _say_json({"sent_at": rfc3339(now), "sent_by": by, "routes": _routes_told(reached), "told": told})
    else:
        _tell_tried(tried, reached, [name for name, integrations in receivers.items() if not integrations])
    if not tried:
        lacks = "give a receiver something" if known else "set alerts.alertmanagers or alerts.config_file"
        _fail(f"nobody was told, for there is nothing to tell by: {lacks}", Exit.TROUBLE)
    _end(Exit.FINE if all(one.outcome is Outcome.TAKEN for one in tried) else Exit.TROUBLE)


def _tell_tried(tried: list[Any], reached: list[Any], nobodies: list[str]) -> None:
    for one in tried:
        colour, mark = ("green", ", ") if one.outcome == "taken" else ("red", ": ")
        note = f"{mark}{escape(one.note)}" if one.note else ""
        told = f"{escape(one.receiver)} by {one.kind}: [{colour}]{one.outcome}[/]{note}"
        _out.print(told, highlight=False, soft_wrap=True)
    for name in nobodies:
        _out.print(f"{escape(name)}: nobody, it has nothing to tell by", highlight=False, soft_wrap=True)
    for one in reached:
        if (why := _quiet(one)) is not None:
            told = f"{escape(one.route.options.receiver)} is {escape(why)}; what is no test would wait"
            _out.print(f"[dim]{told}[/]", highlight=False, soft_wrap=True)


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


@route_app.command("replay")
def route_replay(
    *,
    start: Annotated[str, typer.Option("--from", help="Beginning, RFC 3339.")],
    end: Annotated[str, typer.Option("--to", help="End, RFC 3339.")],
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Say who would have been told what in a stretch of stored time; nothing is sent."""
    from alerts.replay import NOT_REPLAYED, PastObjectives, past_alerts, replay
    from analytics.jobs.objectives import chosen, kept_objectives

    window = _window(start, end)
    with _store(config) as (store, settings), _progress(quiet=as_json) as tell:
        are_promised = bool(chosen(settings.promised, kept_objectives(store)))
        alerts = past_alerts(
            store,
            window,
            PastObjectives(_objectives(store, settings, window.end), are_proposed=not are_promised),
            settings=settings.alerts,
            knowledge=settings.knowledge.known,
            pricing=settings.cost.to_job(),
            progress=lambda done: tell("Asking the sources", done),
        )
    told = replay(settings.alerts.config, alerts)
    if as_json:
        fields = ("receiver", "kind", "reason", "firing_count", "resolved_count", "summary")
        _say_json(
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
    _out.print(table)
    for source, why in NOT_REPLAYED.items():
        _out.print(f"not replayed: {source}, since {why}", highlight=False)


@slo_app.command("backtest")
def slo_backtest(
    name: Annotated[str, typer.Argument(help="The objective.")],
    *,
    start: Annotated[str, typer.Option("--from", help="Beginning, RFC 3339.")],
    end: Annotated[str, typer.Option("--to", help="End, RFC 3339.")],
    target: Annotated[float | None, typer.Option(help="Another target ratio, e.g. 0.995.")] = None,
    threshold_ms: Annotated[float | None, typer.Option("--threshold", help="Another threshold in ms.")] = None,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Say when an objective would have paged, with this target and threshold, in a stretch of stored time."""
    from analytics.jobs.objectives import backtest
    from analytics.slo_backtest import TrialError, backtest_document, tried

    window = _window(start, end)
    with _store(config) as (store, settings):
        known = {one.name: one for one in _objectives(store, settings, window.end)}
        if name not in known:
            _fail(f"no objective {name!r}; known are {', '.join(known) or 'none'}", Exit.WRONG_USE)
        try:
            objective = tried(known[name], target, threshold_ms)
        except TrialError as error:
            _fail(f"--{error.field}: {error}", Exit.WRONG_USE)
        alerts = backtest(store, objective, window)
    if as_json:
        _say_json(backtest_document(objective, alerts))
        return
    table = Table("severity", "began", "ended", "burn", "over", title=f"{len(alerts)} alerts")
    for one in alerts:
        ended = "goes on" if one.ended_at is None else rfc3339(one.ended_at)
        over = duration_text(one.windows.long_s * 1000)
        table.add_row(one.severity.value, rfc3339(one.started_at), ended, f"{one.burn_rate:.1f}×", over)
    _out.print(table)


@slo_app.command("import")
def slo_import(
    files: Annotated[list[Path], typer.Argument(help="Files of SLOs.", exists=True, dir_okay=False)],
    *,
    indicator: Annotated[
        Literal["errors"] | None,
        typer.Option("--as", help="Count failures in all of them; else the indicator is TODO, which loading refuses."),
    ] = None,
) -> None:
    """Read SLOs of Sloth, Pyrra or OpenSLO v1alpha, print them as OpenSLO v1; PromQL is not: fill in each TODO."""
    from analytics.slo_documents.checks import OpenSloError
    from analytics.slo_documents.imports import as_text, imported

    try:
        found = imported([file.read_text() for file in files], Indicator(indicator) if indicator else None)
    except OpenSloError as error:
        _fail("\n".join(f"{problem.path}: {problem.told}" for problem in error.problems), Exit.TROUBLE)
    for one in found:
        for change in one.changes:
            _err.print(escape(f"{one.name}: {change}"), highlight=False, soft_wrap=True)
    sys.stdout.write(as_text(found))


cost_app = typer.Typer(invoke_without_command=True, help="What it cost, what will be spent, and what could be saved.")
app.add_typer(cost_app, name="cost")


@cost_app.callback()
def cost(
    context: typer.Context,
    *,
    start: Annotated[str | None, typer.Option("--from", help="Beginning, RFC 3339; 24 h before the end.")] = None,
    end: Annotated[str | None, typer.Option("--to", help="End, RFC 3339; now.")] = None,
    by: Annotated[str, typer.Option(help="Told apart by any of model, tenant, service, version, pool.")] = "model",
    config: Config = None,
    as_json: Json = False,
) -> None:
    """The bill of whole hours, what became of it, and what a prediction and a token cost."""
    from analytics.cost.jobs import costs_of, unit_costs_of
    from analytics.cost.unit_costs import UNIT_DIMENSIONS
    from api.traffic import split_list

    if context.invoked_subcommand is not None:
        return
    dimensions = split_list(by)
    unknown = [name for name in dimensions if name not in UNIT_DIMENSIONS]
    if unknown:
        _fail(f"cannot tell cost by {', '.join(unknown)}; valid are {', '.join(UNIT_DIMENSIONS)}", Exit.WRONG_USE)
    window = _last_day(start, end)
    with _store(config) as (store, settings):
        pricing = settings.cost.to_job()
        costs = costs_of(store, window, pricing)
        rows = unit_costs_of(store, costs, _objectives(store, settings, window.end), dimensions)
    if as_json:
        from dataclasses import asdict

        whole = {"from": rfc3339(costs.window.start), "to": rfc3339(costs.window.end), "by": dimensions}
        told = {"unsettled_hours": costs.unsettled_hours, "bill": asdict(costs.bill), "rows": rows.to_dicts()}
        _say_json(whole | told)
        return
    _tell_bill(costs, pricing)
    if rows.height:
        _tell_unit_costs(rows, dimensions)


@cost_app.command("forecast")
def cost_forecast(*, config: Config = None, as_json: Json = False) -> None:
    """What will be spent until the month is over, and how well that would have been known before."""
    from analytics.cost.forecast import NoForecast, daily_totals, month_end
    from analytics.cost.jobs import spend_forecast, spent_this_month

    now = datetime.now(UTC)
    with _store(config) as (store, settings):
        pricing = settings.cost.to_job()
        found = spend_forecast(store, now, pricing)
        if isinstance(found, NoForecast):
            _fail(f"no forecast: {found.reason}", Exit.TROUBLE)
        month = month_end(found, spent_this_month(store, now, pricing))
    days = [one for one in daily_totals(found) if one.end - one.start <= timedelta(days=1)]
    if as_json:
        totals = [
            {"from": rfc3339(one.start), "to": rfc3339(one.end), "median_usd": one.median_usd,
             "lower_usd": one.lower_usd, "upper_usd": one.upper_usd}
            for one in (month, *days)
        ]  # fmt: skip
        _say_json({"model": str(found.model), "mase": found.mase, "month_end": totals[0], "days": totals[1:]})
        return
    _out.print(f"{month.start:%B}: {_usd(month.median_usd)} ({_between(month)}, 8 times in 10)", highlight=False)
    scores = ", ".join(f"{name} {'–' if value is None else f'{value:.2f}'}" for name, value in found.mase.items())
    _out.print(f"[dim]by {found.model}, the best of a backtest (error, scaled): {scores}[/]", highlight=False)
    table = Table("day", "dollars", "8 times in 10")
    for one in days:
        table.add_row(f"{one.start:%a %d %b}", _usd(one.median_usd), _between(one))
    _out.print(table)


@cost_app.command("advice")
def cost_advice_command(*, config: Config = None, as_json: Json = False) -> None:
    """What could be saved, in dollars a month, judged by the last seven days."""
    from dataclasses import asdict

    from analytics.cost.advice_jobs import cost_advice

    with _store(config) as (store, settings):
        now = datetime.now(UTC)
        found = cost_advice(store, now, settings.cost.to_job(), _objectives(store, settings, now))
    if as_json:
        _say_json(asdict(found))
        return
    for one in found.advice:
        low, high = one.saves_usd_per_month
        _out.print(f"[bold]{_usd(low)} to {_usd(high)} a month[/], {one.confidence:.0%} sure", highlight=False)
        _out.print(f"  {escape(one.title)}", highlight=False)
        _out.print("".join(f"[dim]  {escape(why)}[/]\n" for why in one.why), highlight=False, end="")
        _out.print("".join(f"  · {escape(step)}\n" for step in one.how), highlight=False)
    if found.advice:
        _out.print(f"Together {_usd(found.expected_usd_per_month)} a month, as it looks", highlight=False)
    else:
        _out.print("Nothing to save that is worth a word.")
    for worth in found.latency_value:
        low, high = worth.usd_per_month_of_100_ms
        told = f"{escape(worth.service)}: {worth.indicator} 100 ms sooner is worth {_usd(low)} to {_usd(high)} a month"
        if worth.change_usd_per_month is not None:
            low, high = worth.change_usd_per_month
            told += f"; the change from the week before {_usd(low)} to {_usd(high)}"
        _out.print(f"{told} ({escape(worth.source)})", highlight=False)
    if not found.latency_value:
        _out.print("[dim]what sooner answers are worth: not configured (cost.latency_value)[/]", highlight=False)
    for gap in found.gaps:
        _out.print(f"[dim]not judged: {gap.kind} of {escape(gap.about)}: {escape(gap.missing)}[/]", highlight=False)


@cost_app.command("export")
def cost_export(
    *,
    start: Annotated[str | None, typer.Option("--from", help="Beginning, RFC 3339; 24 h before the end.")] = None,
    end: Annotated[str | None, typer.Option("--to", help="End, RFC 3339; now.")] = None,
    layout: Annotated[Literal["focus", "csv"], typer.Option("--as", help="FOCUS 1.2, or our own columns.")] = "focus",
    every: Annotated[Literal["hour", "day"], typer.Option(help="Of FOCUS: a row an hour or a day.")] = "hour",
    out: Annotated[Path | None, typer.Option(help="File to write; standard output unless given.")] = None,
    config: Config = None,
) -> None:
    """The bill as CSV, for billing tools and spreadsheets."""
    from analytics.cost.csv_text import csv_text
    from analytics.cost.focus import TIME_FORMAT, focus_rows
    from analytics.cost.jobs import costs_of

    window = _last_day(start, end)
    with _store(config) as (store, settings):
        pricing = settings.cost.to_job()
        costs = costs_of(store, window, pricing)
    rows = costs.allocation.sort("time", "cost_nanousd", descending=[False, True])
    if layout == "focus":
        rows = focus_rows(costs.allocation, pricing.book, pricing.account, costs.window, every=every)
    text = csv_text(rows, TIME_FORMAT)
    if out is None:
        sys.stdout.write(text)
        return
    try:
        out.write_text(text)
    except OSError as error:
        _fail(f"cannot write {out}: {error.strerror}", Exit.TROUBLE)
    _out.print(escape(f"{rows.height:,} rows in {out}"), highlight=False)


report_app = typer.Typer(no_args_is_help=True, help="What a week cost, and which promises were kept.")
app.add_typer(report_app, name="report")


@report_app.command("weekly")
def report_weekly(
    *,
    week: Annotated[
        str | None, typer.Option(help="Year and ISO week, e.g. 2026-W47; the newest that is over unless given.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder to write the report into; without it the digest is printed.")
    ] = None,
    formats: Annotated[
        list[str] | None,
        typer.Option("--format", help="json, html, pdf, md, csv or slack; more than once for more; all unless given."),
    ] = None,
    again: Annotated[
        bool, typer.Option("--again", help="Make it anew from what is stored now, in place of what was kept.")
    ] = False,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """The cost and SLO report of a week: kept once the week is over, and the same bytes from then on."""
    from reports.digest import weekly_digest
    from reports.service import FORMATS, WeekError, WeeklyReports, rendered, report_url

    unknown = [name for name in formats or () if name not in FORMATS]
    if unknown:
        _fail(f"--format {unknown[0]!r} is not known; valid are {', '.join(FORMATS)}", Exit.WRONG_USE)
    if formats and out is None:
        _fail("--format needs --out: a folder to write into", Exit.WRONG_USE)
    now = datetime.now(UTC)
    with _store(config) as (store, settings), _progress(quiet=as_json) as tell:
        reports = WeeklyReports(
            store,
            settings.reports.weekly,
            settings.cost.to_job,
            lambda: _objectives(store, settings, now),
            lambda: now,
            lambda: settings.web.url,
        )
        make = reports.remake if again else reports.document
        try:
            document = make(week or reports.week_over, lambda _, done: tell("Reading the week", done))
        except WeekError as error:
            _fail(f"--week {error}", Exit.WRONG_USE)
        tell("Reading the week", 1.0)
        files = []
        wanted = tuple(dict.fromkeys(formats or FORMATS)) if out is not None else ()
        for number, name in enumerate(wanted):
            tell("Writing", number / len(wanted))
            files.append(_written(out, rendered(document, name)))
        if wanted:
            tell("Writing", 1.0)
    if as_json:
        headline = {"week": document["week"], "headline": document["headline"], "answers": document["answers"]}
        _say_json({**headline, "files": [str(file) for file in files]} if out is not None else document)
        return
    if out is None:
        sys.stdout.write(weekly_digest(document, report_url=report_url(document)))
        return
    for one in document["answers"]:
        _out.print(f"[bold]{escape(one['question'])}[/] {escape(one['answer'])}", highlight=False)
    for file in files:
        _out.print(
            f"{escape(str(file))}  [dim]{file.stat().st_size / 1024:,.0f} KiB[/]", highlight=False, soft_wrap=True
        )


def _written(folder: Any, report: Any) -> Path:
    file: Path = folder / report.file_name
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file.write_bytes(report.body)
    except OSError as error:
        _fail(f"cannot write {file}: {error.strerror}", Exit.TROUBLE)
    return file


@app.command()
def simulate(
    *,
    otlp: Annotated[str, typer.Option(help="Where to send, e.g. http://127.0.0.1:4318.")],
    seed: Seed = 1,
    end: Annotated[str | None, typer.Option(help="End of the history, RFC 3339; now unless given.")] = None,
    history_s: Annotated[int, typer.Option(help="Seconds of history to send.", min=0)] = 3600,
    fault: Annotated[
        list[str] | None, typer.Option(help="KIND:STARTS_IN_SECONDS:LASTS_SECONDS; negative: in the history.")
    ] = None,
    encoder: Annotated[
        str, typer.Option(help="sdk (the real OpenTelemetry SDK) or template (for long histories).")
    ] = "sdk",
    load: Annotated[float, typer.Option(help="The usual rate of requests, times this.", min=0.01)] = 1.0,
    live: Annotated[bool, typer.Option("--live", help="Then follow the wall clock until a signal.")] = False,
) -> None:
    """Play the GPU cloud against an OTLP receiver; what happens is told as JSON lines."""
    from simulator.run import ReplayError
    from tailsight.simulate import parted
    from tailsight.simulate import simulate as play

    if encoder not in ("sdk", "template"):
        _fail(f"--encoder is {encoder!r}; valid are sdk, template", Exit.WRONG_USE)
    chosen: Literal["sdk", "template"] = "sdk" if encoder == "sdk" else "template"
    try:
        moment = from_rfc3339(end) if end else datetime.now(UTC)
        faults = [_planned_fault(text) for text in fault or []]
        parted(faults, live=live)  # what cannot be played is told before anything is sent
    except ValueError as error:
        _fail(str(error), Exit.WRONG_USE)
    try:
        play(
            otlp,
            seed=seed,
            end=moment,
            history=timedelta(seconds=history_s),
            faults=faults,
            live=live,
            encoder=chosen,
            load_ratio=load,
        )
    except ReplayError as error:
        _fail(str(error), Exit.TROUBLE)


@app.command()
def doctor(*, config: Config = None, as_json: Json = False) -> None:
    """Look at the configuration, the process that serves and the store: what is wrong, and what to do about it.

    Trouble stands now, and makes the exit status 1; a warning is what has happened since the process began, or what may
    be meant so.
    """
    from dataclasses import asdict

    from tailsight.doctor import State, examine
    from tailsight.settings import read_settings

    settings = read_settings(config)
    checks = examine(settings, lambda: _opened(settings), datetime.now(UTC))
    if as_json:
        _say_json({"checks": [asdict(check) for check in checks]})
    else:
        _tell_checks(checks)
    _end(Exit.TROUBLE if any(check.state is State.TROUBLE for check in checks) else Exit.FINE)


@contextmanager
def _store(config: Path | None, *, make: bool = False) -> Iterator[tuple[Any, Any]]:
    """The store and the settings. Only what asks to `make` one gets a new store, or one to bring up to date."""
    from tailsight.settings import read_settings

    settings = read_settings(config)
    with _opened(settings, make=make) as store:
        yield store, settings


@contextmanager
def _opened(settings: Any, *, make: bool = False) -> Iterator[Any]:
    """The store of these settings, as `_store` has it."""
    from storage.migrate import pending_steps
    from storage.open import open_store

    path = settings.store.embedded_path
    if path is not None and not make and not path.is_dir():
        raise SettingsError(
            f"there is no store in {path}. Name the one to use (TAILSIGHT_STORE=chdb:///some/folder, or "
            "http://user:password@host:8123/otel), or start `tailsight serve`, which makes one"
        )
    store = open_store(settings.store)
    try:
        # Views follow the configuration of whoever serves: a command with another one leaves them as they are.
        missing = [] if make else [step.name for step in pending_steps(store) if step.name.startswith("schema/")]
        if missing:
            lacking = ", ".join(missing)
            raise SettingsError(f"the store lacks {lacking}: run `tailsight migrate`, or start `tailsight serve`")
        yield store
    finally:
        store.close()


_COLOURS = {"fine": "green", "warning": "yellow", "trouble": "red"}


def _tell_checks(checks: Any) -> None:
    for check in checks:
        state = f"[{_COLOURS[check.state]}]{check.state:<8}[/]"
        _out.print(f"{state} [bold]{escape(check.name)}[/]: {escape(check.says)}", highlight=False, soft_wrap=True)
        if check.do is not None:
            _out.print(f"{'':8} → {escape(check.do)}", highlight=False, soft_wrap=True)
    states = [check.state for check in checks]
    count = {state: states.count(state) for state in _COLOURS}
    _out.print(
        f"{len(states)} checks: {', '.join(f'{many} {state}' for state, many in count.items())}", highlight=False
    )


def _tell_who_is_told(settings: Any) -> None:
    """Who hears of alerts at all."""
    from alerts.checks import TELLS_NOBODY, who_is_told

    told = who_is_told(settings)
    _out.print("; ".join(map(escape, told)) or f"[red]{': '.join(TELLS_NOBODY)}[/]", highlight=False)


def _serves_elsewhere(store: Any, settings: Any) -> bool:
    """Is the store reached through the process that owns it, which does all that is to be done by and by."""
    return settings.store.embedded_path is not None and store.engine is None


def _say_sql(steps: Any) -> None:
    for step in steps:
        sys.stdout.write("".join(f"-- {step.name}\n{statement};\n\n" for statement in step.statements))


def _objectives(store: Any, settings: Any, now: datetime) -> Any:
    from analytics.jobs.objectives import standing_objectives

    return standing_objectives(store, settings.promised, now)


def _check_known(store: Any, service: str, window: Window) -> None:
    from storage.readers import read_services

    known = read_services(store, window)["service"].unique().sort().to_list()
    if service not in known:
        seen = f"services with requests then: {', '.join(known)}" if known else "no service had a request then"
        _fail(f"no request of service {service!r} in this window; {seen}", Exit.TROUBLE)


def _window(start: str, end: str) -> Window:
    try:
        return Window(from_rfc3339(start), from_rfc3339(end))
    except ValueError as error:
        _fail(str(error), Exit.WRONG_USE)


def _planned_fault(text: str) -> Any:
    from tailsight.simulate import PlannedFault

    try:
        kind, starts_in, lasts = text.split(":")
        return PlannedFault(CauseKind(kind), timedelta(seconds=float(starts_in)), timedelta(seconds=float(lasts)))
    except ValueError as error:
        raise ValueError(f"--fault {text!r}: {error}; expected KIND:STARTS_IN_SECONDS:LASTS_SECONDS") from None


@contextmanager
def _progress(*, quiet: bool) -> Iterator[Any]:
    """A function to tell progress to; bars only where people look."""
    if quiet or not _err.is_terminal:
        yield lambda *_: None
        return
    columns = (
        TextColumn("{task.description:<22}", markup=False),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=_err) as bars:
        tasks: dict[str, Any] = {}

        def tell(what: str, done: float) -> None:
            if what not in tasks:
                tasks[what] = bars.add_task(what, total=1.0)
            bars.update(tasks[what], completed=done)

        yield tell


def _until_signal() -> threading.Event:
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    return stop


def _free_or(wanted: int | None, usual: int) -> int:
    """The port asked for; else the usual one, or any free one when that is taken."""
    import socket

    if wanted is not None:
        return wanted
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", usual))
        except OSError:
            return 0
    return usual


def _named_first(outcome: dict[str, Any]) -> bool:
    truth = outcome["truth"]
    return any(
        incident["causes"][0]["kind"] == truth["kind"] and incident["causes"][0]["entity"] == truth["entity"]
        for incident in outcome["incidents"]
    )


def _tell_once(outcome: dict[str, Any]) -> None:
    from domain.incident import from_document
    from reports.incident import incident_report

    truth = outcome["truth"]
    _out.print(f"[dim]What really happened:[/] {truth['kind']} at {escape(truth['entity']['name'])}", highlight=False)
    for document in outcome["incidents"]:
        _out.print(Markdown(incident_report(from_document(document))))
    if outcome["page"] is None:
        _out.print("Nobody would have been told.")
        return
    _out.print(f"\n[bold]The {outcome['page']['labels']['severity']} that on-call would get[/]")
    for key, value in outcome["page"]["annotations"].items():
        _out.print(escape(f"  {key:>18}  {value}"), highlight=False)


def _tell_ready(url: str) -> None:
    _out.print(f"\n  Tailsight is at [bold]{escape(url)}[/]  (Ctrl-C ends it)\n", highlight=False)
    _out.print("  Something goes wrong within a minute; the overview will say what.\n")


def _tell_incident(incident: Incident) -> None:
    symptom = f"[red]{escape(incident.service)}[/] {incident.indicator} p99 {incident.peak_ms_p99:,.0f} ms"
    _out.print(f"  {symptom}: {escape(incident.cause.summary)}", highlight=False)


def _tell_incidents(incidents: list[Incident]) -> None:
    if not incidents:
        _out.print("No spike in this window.")
        return
    table = Table("incident", "began, UTC", "lasted", "service", "p99, ms", "cause", "sure")
    for incident in incidents:
        cause = incident.cause
        table.add_row(
            incident.id,
            f"{incident.started_at:%m-%d %H:%M:%S}",
            _lasted(incident),
            escape(f"{incident.service} {incident.indicator}"),
            f"{incident.baseline_ms_p99:,.0f} → {incident.peak_ms_p99:,.0f}",
            escape(f"{cause.kind}\n{cause.entity.name}"),
            _sure(cause).strip(),
        )
    _out.print(table)


def _lasted(incident: Incident) -> str:
    if incident.ended_at is None:
        return "goes on"
    return duration_text((incident.ended_at - incident.started_at).total_seconds() * 1e3)


def _tell_bill(costs: Any, pricing: Any) -> None:
    bill = costs.bill
    hours = f"{costs.window.start:%Y-%m-%d %H:%M} to {costs.window.end:%Y-%m-%d %H:%M} UTC"
    _out.print(f"[bold]{_usd(bill.bill_usd)}[/] for {bill.gpu_hours:,.0f} GPU hours, {hours}", highlight=False)
    table = Table("went to", "dollars", "share")
    for name in ("requests", "idle", "overhead", "unattributed"):
        amount = getattr(bill, f"{name}_usd")
        table.add_row(name, _usd(amount), f"{amount / bill.bill_usd:.1%}" if bill.bill_usd else "–")
    _out.print(table)
    _tell_idle(costs)
    listed = sorted(set(costs.allocation["price"].drop_nulls()) & pricing.book.list_prices)
    if listed:
        names = escape(", ".join(listed))
        _out.print(f"[yellow]Public list prices, not yours ({names}): set cost.price_book[/]", highlight=False)
    if costs.unpriced_gpu_seconds:
        hours_lost = costs.unpriced_gpu_seconds / 3600
        _out.print(f"[yellow]{hours_lost:,.0f} GPU hours have no price, and are on no bill[/]", highlight=False)
    if costs.unsettled_hours:
        told = f"{costs.unsettled_hours} hours hold data and are not settled yet: they are on no bill"
        _out.print(f"[yellow]{told}; `tailsight serve` settles 24 a minute[/]", highlight=False)
    if bill.telemetry_ratio is not None and bill.telemetry_ratio < 0.999:
        silent = 1 - bill.telemetry_ratio
        _out.print(f"[yellow]{silent:.1%} of GPU time: the GPUs told nothing of themselves[/]", highlight=False)


def _tell_idle(costs: Any) -> None:
    """What idle GPUs cost, by cause."""
    from analytics.cost.allocation import cost_by, used
    from domain.cost import NANOUSD, Use

    idle = cost_by(costs.allocation.filter(used(Use.IDLE)), ["idle_cause"])
    told = [f"{row['idle_cause'].replace('_', ' ')} {_usd(row['cost_nanousd'] / NANOUSD)}" for row in idle.to_dicts()]
    if told:
        _out.print(f"[dim]idle: {', '.join(told)}[/]", highlight=False)


def _tell_unit_costs(rows: Any, dimensions: tuple[str, ...]) -> None:
    heads = ("dollars", "full", "requests", "each", "each good", "1M in", "1M out")
    caption = "full: with its share of what served nobody · each: a prediction · 1M: a million tokens"
    table = Table(caption=caption)
    for dimension in dimensions:
        table.add_column(dimension, min_width=14, overflow="fold")
    for head in heads:
        table.add_column(head, justify="right", no_wrap=True)
    for row in rows.iter_rows(named=True):
        names = (escape(row[name]) if row[name] else "[dim]not known[/]" for name in dimensions)
        prices = (
            row[name]
            for name in (
                "cost_per_prediction_usd",
                "cost_per_good_prediction_usd",
                "cost_per_million_input_tokens_usd",
                "cost_per_million_output_tokens_usd",
            )
        )
        told = (_usd(row["cost_usd"]), _usd(row["full_cost_usd"]), f"{row['requests']:,}", *map(_usd, prices))
        table.add_row(*names, *told)
    _out.print(table)


def _usd(amount: float | None) -> str:
    return "–" if amount is None else usd_text(amount)


def _between(total: Any) -> str:
    return f"{_usd(total.lower_usd[0.8])} to {_usd(total.upper_usd[0.8])}"


def _last_day(start: str | None, end: str | None) -> Window:
    try:
        last = from_rfc3339(end) if end else datetime.now(UTC)
        return Window(from_rfc3339(start) if start else last - timedelta(days=1), last)
    except ValueError as error:
        _fail(str(error), Exit.WRONG_USE)


def _say_json(document: Any) -> None:
    sys.stdout.write(json.dumps(document, allow_nan=False, indent=2) + "\n")


def _warn(message: str) -> None:
    _err.print(f"[yellow]warning:[/] {escape(message)}", highlight=False)


def _fail(message: str, status: Exit) -> NoReturn:
    _err.print(f"[red]tailsight:[/] {escape(message)}", highlight=False)
    _end(status)


def _end(status: Exit) -> NoReturn:
    raise SystemExit(int(status))
