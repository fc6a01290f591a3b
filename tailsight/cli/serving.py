"""`tailsight serve`, and what is done around it: check the configuration, migrate the store, ask the doctor."""

import sys
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from tailsight.cli.console import Exit, end_with, err, fail, out, progress, say_json, warn
from tailsight.cli.options import Config, Json
from tailsight.cli.store import configured_store, opened_store, serves_elsewhere
from tailsight.signals import until_signal

if TYPE_CHECKING:
    from storage.migrate import Step
    from tailsight.doctor import Check
    from tailsight.settings import Reading


def serve(*, config: Config = None) -> None:
    """Receive, explain and show, until SIGTERM or Ctrl-C."""
    from tailsight.memory import spare_what_is_loaded
    from tailsight.settings import read_settings
    from tailsight.wiring import Application

    stop = until_signal()
    application = Application(read_settings(config))
    spare_what_is_loaded()
    addresses = application.start(on_failure=stop.set)
    doors = f"{addresses.otlp_http_url} (HTTP) or {addresses.otlp_grpc_url} (gRPC)"
    out.print(escape(f"Tailsight is at {addresses.web_url}; send OTLP to {doors}"), soft_wrap=True)
    stop.wait()
    drained = application.stop()
    if application.failure is not None:
        raise application.failure
    if not drained:
        fail("what was acknowledged last is in the log and not loaded yet; the next start loads it", Exit.TROUBLE)


def check_config(file: Annotated[Path, typer.Argument(help="YAML file of settings.")]) -> None:
    """Say what is wrong with a configuration file, and what will not do what it seems to."""
    from tailsight.settings import listens_openly, look_through

    reading = look_through(file)
    openly = None if "auth" in reading.unusable else listens_openly(reading.settings)
    warnings = _warnings(reading)
    for warning in warnings:
        warn(warning)
    if reading.faults:
        fail("\n".join([*reading.faults, *([] if openly is None else [openly])]), Exit.WRONG_USE)
    if openly is not None:
        fail(openly, Exit.TROUBLE)
    out.print(escape(f"{file} can be used, with the warnings above" if warnings else f"{file} is fine"))


def _warnings(reading: "Reading") -> list[str]:
    """What will not do what it seems to, of the settings that can be used; that nobody is told may be meant so."""
    from alerts.checks import NOTIFIES_NOBODY, unnotified_pages, unreadable_secrets
    from analytics.burn_rates import never_pages
    from tailsight.settings import links_of_this_machine

    settings = reading.settings
    warnings = [told for told in map(never_pages, settings.promised) if told is not None]
    alerts = settings.alerts
    if "alerts" in reading.unusable:
        return [*warnings, *(_unreadable_beside_faults(reading.alerting_file) if reading.alerting_file else ())]
    if alerts.config_file is not None:
        services = sorted({one.service for one in settings.promised})
        warnings += [] if alerts.alertmanagers else unnotified_pages(alerts.config, services)
        warnings += unreadable_secrets(alerts.config)
    elif not alerts.alertmanagers:
        err.print(f"[dim]note:[/] {': '.join(NOTIFIES_NOBODY)}", highlight=False)
    misleading = None if "web" in reading.unusable else links_of_this_machine(settings)
    return [*warnings, *([] if misleading is None else [misleading])]


def _unreadable_beside_faults(file: Path) -> list[str]:
    """The secrets that cannot be read, of the receivers that can, in a file of alerting that cannot be used."""
    import yaml

    from alerts.checks import unreadable_secrets
    from alerts.config import AlertingError, parse_config

    found: dict[str, None] = {}
    try:
        document = yaml.safe_load(file.read_text())
        given, receivers = document.get("global"), list(document["receivers"])
    except (OSError, ValueError, yaml.YAMLError, LookupError, TypeError, AttributeError):
        return []
    for one in receivers:
        with suppress(AlertingError, LookupError, TypeError):
            alone = {"global": given, "receivers": [one], "route": {"receiver": one["name"]}}
            found |= dict.fromkeys(unreadable_secrets(parse_config(yaml.safe_dump(alone))))
    return list(found)


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
        with configured_store(config, make=True) as (store, _):
            _say_sql(pending_steps(store))
        return
    with configured_store(config, make=True) as (store, settings), progress(quiet=False) as tell:
        steps = run_pending(store)
        out.print("\n".join(f"applied {step.name}" for step in steps) or "nothing to do: the store is up to date")
        for check in kept(store, settings):
            out.print(escape(check.says), highlight=False)
        if serves_elsewhere(store, settings) or not sources(store):
            return
        for done in CatchUp(store, settings.store.catch_up).history(datetime.now(UTC)):
            tell("Reading what is there", done)


def _say_sql(steps: Sequence["Step"]) -> None:
    for step in steps:
        sys.stdout.write("".join(f"-- {step.name}\n{statement};\n\n" for statement in step.statements))


def doctor(*, config: Config = None, as_json: Json = False) -> None:
    """Look at the configuration, the process that serves and the store: what is wrong, and what to do about it.

    Trouble stands now, and makes the exit status 1; a warning is what has happened since the process began, or what may
    be meant so.
    """
    from dataclasses import asdict

    from tailsight.doctor import State, examine
    from tailsight.settings import read_settings

    settings = read_settings(config)
    checks = examine(settings, lambda: opened_store(settings), datetime.now(UTC))
    if as_json:
        say_json({"checks": [asdict(check) for check in checks]})
    else:
        _tell_checks(checks)
    end_with(Exit.TROUBLE if any(check.state is State.TROUBLE for check in checks) else Exit.FINE)


_COLOURS = {"fine": "green", "warning": "yellow", "trouble": "red"}


def _tell_checks(checks: Sequence["Check"]) -> None:
    for check in checks:
        state = f"[{_COLOURS[check.state]}]{check.state:<8}[/]"
        out.print(f"{state} [bold]{escape(check.name)}[/]: {escape(check.says)}", highlight=False, soft_wrap=True)
        if check.do is not None:
            out.print(f"{'':8} → {escape(check.do)}", highlight=False, soft_wrap=True)
    states: list[str] = [check.state for check in checks]
    count = {state: states.count(state) for state in _COLOURS}
    out.print(f"{len(states)} checks: {', '.join(f'{many} {state}' for state, many in count.items())}", highlight=False)
