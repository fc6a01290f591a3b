"""`tailsight analyze`, `explain` and `incidents`: what spiked, why, and what became of it."""

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.markup import escape
from rich.table import Table

from domain.cause import NOT_LOOKED_AT, Cause
from domain.incident import Incident, Indicator, Status, explanation_to_document, to_document
from domain.window import Window, duration_text
from tailsight.cli.console import Exit, fail, out, progress, say_json, say_markdown, say_table
from tailsight.cli.options import Config, End, Json, Start, window_of
from tailsight.cli.store import configured_store, serves_elsewhere

if TYPE_CHECKING:
    from storage.store import Store

# Among these is looked for the one whose id begins as somebody typed.
_NAMED_WITHIN, _NAMED_MAX = timedelta(days=366), 10_000
_TOLD_MAX = 10


def analyze(
    *,
    start: Annotated[str, typer.Option("--from", help="Beginning, RFC 3339, e.g. 2026-11-23T02:00:00Z.")],
    end: End,
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
    from analytics.jobs.objectives import standing_objectives
    from storage.catch_up import catch_up

    window = window_of(start, end)
    with configured_store(config) as (store, settings), progress(quiet=as_json) as tell:
        if not serves_elsewhere(store, settings):
            catch_up(store, window.widened(before_s=history or settings.analytics.history_s))
        analytics = settings.analytics.model_copy(
            update={key: value for key, value in {"step_s": step, "history_s": history}.items() if value is not None}
        )
        objectives = standing_objectives(store, settings.promised, window.end)
        incidents = find_and_explain(
            store,
            window,
            datetime.now(UTC),
            objectives,
            analytics.to_job(settings.knowledge.known, settings.cost.to_job()),
            tell,
        )
    if as_json:
        say_json({"incidents": [to_document(incident) for incident in incidents]})
    else:
        _tell_incidents(incidents)


def explain(
    *,
    service: Annotated[str, typer.Option(help="The service.")],
    start: Start,
    end: End,
    indicator: Annotated[
        Literal["ttft", "latency", "tpot", "errors"] | None,
        typer.Option(help="What was slow, or errors; ttft where the service has one."),
    ] = None,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Rank the causes of one window of one service against the time before it."""
    from analytics.jobs.explaining import explain_window

    window = window_of(start, end)
    with configured_store(config) as (store, settings):
        _check_known(store, service, window)
        job = settings.analytics.to_job(settings.knowledge.known)
        explanation = explain_window(store, service, window, Indicator(indicator) if indicator else None, job)
    if as_json:
        say_json(explanation_to_document(explanation))
        return
    for cause in explanation.causes:
        name = escape(cause.whose)
        out.print(f"[bold]{cause.rank}. {cause.kind}[/] {name}{_sure(cause)}", highlight=False)
        out.print(f"   {escape(cause.summary)}", highlight=False)
        if cause.rank == 1:
            for step in cause.chain:
                out.print(f"   → {escape(step.whose)}: {escape(step.text)}", highlight=False)
            for number, step_to_take in enumerate(cause.next_steps, start=1):
                out.print(f"   Next {number}: {escape(step_to_take)}", highlight=False)
    for ruled_out in explanation.ruled_out:
        head = "   " if ruled_out.why.startswith(NOT_LOOKED_AT) else "   not "
        out.print(f"[dim]{head}{ruled_out.kind}: {escape(ruled_out.why)}[/]", highlight=False)


def _check_known(store: "Store", service: str, window: Window) -> None:
    from storage.readers import read_services

    known = read_services(store, window)["service"].unique().sort().to_list()
    if service not in known:
        seen = f"services with requests then: {', '.join(known)}" if known else "no service had a request then"
        fail(f"no request of service {service!r} in this window; {seen}", Exit.TROUBLE)


def incidents(
    incident_id: Annotated[
        str | None, typer.Argument(help="One of them, to be told whole; the beginning of its id will do.")
    ] = None,
    *,
    hours: Annotated[float, typer.Option(help="How far back to list them.", min=0.1, max=24 * 366)] = 24.0,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """List what goes on and what did in the last day, or tell one incident whole, with its notes. Changes nothing."""
    from alerts.checks import notification_channels
    from alerts.handling import handling_document
    from reports.incident import incident_report
    from storage.incidents import read_incident_notes, read_incidents

    now = datetime.now(UTC)
    with configured_store(config) as (store, settings):
        if incident_id is None:
            found = read_incidents(store, Window(now - timedelta(hours=hours), now))
        else:
            found = [_named(store, incident_id, now)]
        noted = read_incident_notes(store, [one.id for one in found])
    if as_json:
        handled = [(one, noted.get(one.id, {})) for one in found]
        say_json({"incidents": [to_document(one) | {"handling": handling_document(one, of)} for one, of in handled]})
    elif incident_id is not None:
        (one,) = found
        notifies_anybody = bool(notification_channels(settings.alerts))
        of, known = noted.get(one.id, {}), settings.knowledge.known
        say_markdown(incident_report(one, of, knowledge=known, notifies_anybody=notifies_anybody))
    elif found:
        _tell_incidents(sorted(found, key=lambda one: one.status is not Status.OPEN))
    else:
        out.print(f"No incident in the last {hours:g} hours.")


def _named(store: "Store", name: str, now: datetime) -> Incident:
    """The incident of an id, or of the only one that begins so."""
    from storage.incidents import read_incident, read_incidents

    if (one := read_incident(store, name)) is not None:
        return one
    known = read_incidents(store, Window(now - _NAMED_WITHIN, now), limit=_NAMED_MAX)
    found = [one for one in known if one.id.startswith(name)]
    if not found:
        do = "`tailsight incidents` lists those of the last 24 hours, with `--hours 168` those of a week"
        fail(f"there is no incident {name!r}: {do}", Exit.WRONG_USE)
    if len(found) > 1:
        listed = "".join(
            f"\n  {one.id}  {one.started_at:%Y-%m-%d %H:%M:%S}  {one.service}" for one in found[:_TOLD_MAX]
        )
        more = f"\n  and {len(found) - _TOLD_MAX} more" if len(found) > _TOLD_MAX else ""
        fail(f"{len(found)} incidents begin with {name!r}: give more of the id{listed}{more}", Exit.WRONG_USE)
    return found[0]


def _tell_incidents(incidents: list[Incident]) -> None:
    if not incidents:
        out.print("No spike in this window.")
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
            escape(f"{cause.kind}\n{cause.whose}"),
            _sure(cause).strip(),
        )
    say_table(table)


def _lasted(incident: Incident) -> str:
    if incident.ended_at is None:
        return "goes on"
    return duration_text((incident.ended_at - incident.started_at).total_seconds() * 1e3)


def _sure(cause: Cause) -> str:
    """How sure the first cause is; of further ones the order alone is told, and of none nothing."""
    return f"  {cause.confidence:.0%}" if cause.rank == 1 and cause.confidence > 0 else ""
