"""`tailsight demo` and `tailsight simulate`: a simulated GPU cloud, watched by all of Tailsight or alone."""

import shlex
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.markup import escape

from domain.cause import CauseKind
from domain.incident import Incident
from domain.window import from_rfc3339
from tailsight.cli.console import Exit, end_with, fail, out, progress, say_json, say_markdown
from tailsight.cli.options import Json
from tailsight.signals import until_signal

if TYPE_CHECKING:
    from tailsight.simulate import PlannedFault

_Seed = Annotated[int, typer.Option(help="The same seed gives the same cloud and the same fault.")]


def demo(
    *,
    fault: Annotated[CauseKind, typer.Option(help="What goes wrong.")] = CauseKind.GPU_MEMORY_CONTENTION,
    seed: _Seed = 1,
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
        fail(f"--fault {fault} cannot be played yet; valid are {', '.join(sorted(PLANNERS))}", Exit.WRONG_USE)
    if once:
        with progress(quiet=as_json) as tell:
            outcome = demos.run_once(fault, seed, tell)
        if as_json:
            say_json(outcome)
        else:
            _tell_once(outcome)
        end_with(Exit.FINE if _named_first(outcome) else Exit.TROUBLE)
    stop = until_signal()
    with progress(quiet=False) as tell:
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
    from analytics.knowledge import shipped_knowledge
    from domain.incident import from_document
    from reports.incident import incident_report

    truth = outcome["truth"]
    out.print(f"[dim]What really happened:[/] {truth['kind']} at {escape(truth['entity']['name'])}", highlight=False)
    for document in outcome["incidents"]:
        # The demo takes no settings, so nobody's own knowledge either.
        report = incident_report(from_document(document), knowledge=shipped_knowledge(), notifies_anybody=False)
        say_markdown(report)
    if outcome["page"] is None:
        out.print("Nobody would have been told.")
        return
    out.print(f"\n[bold]The {outcome['page']['labels']['severity']} that on-call would get[/]")
    for key, value in outcome["page"]["annotations"].items():
        out.print(escape(f"  {key:>18}  {value}"), highlight=False)


def _tell_ready(url: str, store_url: str) -> None:
    out.print(f"\n  Tailsight is at [bold]{escape(url)}[/]  (Ctrl-C ends it)\n", highlight=False)
    out.print("  Something goes wrong within a minute; the overview will say what. In another terminal, so will:\n")
    for line in (f"export TAILSIGHT_STORE={shlex.quote(store_url)}", f"{_command()} incidents"):
        out.print(f"    {escape(line)}", highlight=False, soft_wrap=True)
    out.print()


def _command() -> str:
    """How this command was called."""
    called = sys.argv[0]
    return f"{shlex.quote(sys.executable)} -m tailsight" if called.endswith("__main__.py") else shlex.quote(called)


def _tell_incident(incident: Incident) -> None:
    symptom = f"[red]{escape(incident.service)}[/] {incident.indicator} p99 {incident.peak_ms_p99:,.0f} ms"
    out.print(f"  {symptom}: {escape(incident.cause.summary)}", highlight=False)


def simulate(
    *,
    otlp: Annotated[str, typer.Option(help="Where to send, e.g. http://127.0.0.1:4318.")],
    seed: _Seed = 1,
    end: Annotated[str | None, typer.Option(help="End of the history, RFC 3339; now unless given.")] = None,
    history_s: Annotated[int, typer.Option(help="Seconds of history to send.", min=0)] = 3600,
    fault: Annotated[
        list[str] | None, typer.Option(help="KIND:STARTS_IN_SECONDS:LASTS_SECONDS; negative: in the history.")
    ] = None,
    encoder: Annotated[
        Literal["sdk", "template"],
        typer.Option(help="sdk (the real OpenTelemetry SDK) or template (for long histories)."),
    ] = "sdk",
    load: Annotated[float, typer.Option(help="The usual rate of requests, times this.", min=0.01)] = 1.0,
    live: Annotated[bool, typer.Option("--live", help="Then follow the wall clock until a signal.")] = False,
) -> None:
    """Play the GPU cloud against an OTLP receiver; what happens is told as JSON lines."""
    from simulator.run import ReplayError
    from tailsight.simulate import parted
    from tailsight.simulate import simulate as play

    try:
        moment = from_rfc3339(end) if end else datetime.now(UTC)
        faults = [_planned_fault(text) for text in fault or []]
        parted(faults, live=live)  # what cannot be played is told before anything is sent
    except ValueError as error:
        fail(str(error), Exit.WRONG_USE)
    try:
        play(
            otlp,
            seed=seed,
            end=moment,
            history=timedelta(seconds=history_s),
            faults=faults,
            live=live,
            encoder=encoder,
            load_ratio=load,
        )
    except ReplayError as error:
        fail(str(error), Exit.TROUBLE)


def _planned_fault(text: str) -> "PlannedFault":
    from tailsight.simulate import PlannedFault

    try:
        kind, starts_in, lasts = text.split(":")
        return PlannedFault(_played(kind), timedelta(seconds=float(starts_in)), timedelta(seconds=float(lasts)))
    except ValueError as error:
        raise ValueError(f"--fault {text!r}: {error}; expected KIND:STARTS_IN_SECONDS:LASTS_SECONDS") from None


def _played(kind: str) -> CauseKind:
    from simulator.faults import PLANNERS

    if kind not in PLANNERS:
        raise ValueError(f"{kind!r} cannot be played; valid are {', '.join(sorted(PLANNERS))}")
    return CauseKind(kind)
