"""The simulator as a process of its own, so that it is heard only over the wire; what it says on standard output.

Each line is one JSON object with an `event`: `targets` (what can be scraped), `topology`, `progress` (0-1), `truth` (a
fault that was planned: for whoever checks the verdict, never for the product), `live`, `done`.
"""

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from domain.cause import CauseKind
from simulator.cloud import ASSIST_REQUESTS_PER_S, CHAT_REQUESTS_PER_S, build_cloud
from simulator.exporters import Exporters
from simulator.faults import Fault, plan_fault
from simulator.run import LONG_CALLS_ONE_IN, LONG_REPLAY, Simulation, replay, run_live
from tailsight.signals import until_signal

_COARSE_STEP_S = 900.0  # history is kept as thinly as a long-term store would keep it
_FAULT_STEP_S = 30.0  # but closer where something went wrong, so that it can still be explained
_RECENT_STEP_S = 15.0
_RECENT = timedelta(minutes=30)
_AROUND_FAULT = timedelta(minutes=20)


@dataclass(frozen=True, slots=True)
class PlannedFault:
    """A fault to come: `starts_in` counts from the end of the history (negative: in it), or from going live."""

    kind: CauseKind
    starts_in: timedelta
    lasts: timedelta


def simulate(
    otlp_url: str,
    *,
    seed: int,
    end: datetime,
    history: timedelta,
    faults: Sequence[PlannedFault],
    live: bool,
    encoder: Literal["sdk", "template"],
    load_ratio: float = 1.0,
) -> None:
    """Send a history that ends at `end`, then follow the wall clock until SIGTERM or SIGINT when `live`.

    `load_ratio` scales the usual rate of all requests.
    """
    past, to_come = parted(faults, live=live)
    start = end - history
    cloud = build_cloud(
        seed,
        chat_requests_per_s=load_ratio * CHAT_REQUESTS_PER_S,
        assist_requests_per_s=load_ratio * ASSIST_REQUESTS_PER_S,
    )
    simulation = Simulation(seed, start, cloud=cloud)
    calls_one_in = LONG_CALLS_ONE_IN if history > LONG_REPLAY else 1
    with Exporters(simulation.targets()) as exporters:
        say("targets", targets=exporters.targets())
        say("topology", document=simulation.cloud.topology_document())
        _inject(simulation, seed, past, end)
        for part_start, part_end, step_s in scrape_plan(start, end, simulation.faults):
            replay(
                otlp_url,
                simulation,
                part_start,
                part_end,
                scrape_step_s=step_s,
                encoder=encoder,
                progress=_progress((part_start - start) / history, (part_end - part_start) / history),
                instances=exporters.instances(),
                calls_one_in=calls_one_in,
            )
        if live:
            stop = until_signal()
            # The filling took a while: what happened meanwhile is sent like the rest, so that no gap is left.
            caught_up = datetime.now(UTC)
            if caught_up > end:
                replay(
                    otlp_url,
                    simulation,
                    end,
                    caught_up,
                    scrape_step_s=_RECENT_STEP_S,
                    encoder=encoder,
                    progress=lambda _: None,
                    instances=exporters.instances(),
                )
            _inject(simulation, seed, to_come, simulation.now)
            run_live(otlp_url, simulation, stop, exporters, begun=lambda: say("live"))
    say("done")


def parted(faults: Sequence[PlannedFault], *, live: bool) -> tuple[list[PlannedFault], list[PlannedFault]]:
    """The faults in the history, and those to come.

    Raises:
        ValueError: for one that is to come when nothing is sent any more.
    """
    to_come = [fault for fault in faults if fault.starts_in >= timedelta(0)]
    if to_come and not live:
        raise ValueError(
            f"--fault {to_come[0].kind} starts {to_come[0].starts_in.total_seconds():g} s after the history, when "
            "nothing is sent any more: give --live, or a negative start"
        )
    return [fault for fault in faults if fault.starts_in < timedelta(0)], to_come


def scrape_plan(start: datetime, end: datetime, faults: Sequence[Fault]) -> list[tuple[datetime, datetime, float]]:
    """How often is scraped when: consecutive parts of the history, each with its step in seconds."""
    close = [
        (max(start, fault.started_at - _AROUND_FAULT), fault.ended_at + _AROUND_FAULT, _FAULT_STEP_S)
        for fault in faults
    ]
    close.append((max(start, end - _RECENT), end, _RECENT_STEP_S))
    parts: list[tuple[datetime, datetime, float]] = []
    reached = start
    for begins, ends, step_s in sorted(close):
        if begins > reached:
            parts.append((reached, begins, _COARSE_STEP_S))
        reached = max(reached, begins)
        if min(ends, end) > reached:
            parts.append((reached, min(ends, end), step_s))
            reached = min(ends, end)
    return parts


def _progress(done_before: float, share: float) -> Callable[[float], None]:
    """Tell the progress of one part as that of the whole."""
    return lambda done: say("progress", done=done_before + share * done)


def _inject(simulation: Simulation, seed: int, faults: Sequence[PlannedFault], origin: datetime) -> None:
    for number, planned in enumerate(faults):
        fault = plan_fault(
            planned.kind, simulation.cloud, seed + number, origin + planned.starts_in, planned.lasts.total_seconds()
        )
        simulation.inject(fault)
        say("truth", truth=fault.truth())


def say(event: str, **fields: Any) -> None:
    """One line for the parent process, or for whoever reads along."""
    sys.stdout.write(json.dumps({"event": event, **fields}) + "\n")
    sys.stdout.flush()
