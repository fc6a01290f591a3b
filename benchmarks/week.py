"""A week of a cloud of 512 GPUs through `tailsight analyze`: how long it takes, and what it finds of what went wrong.

    python -m benchmarks.week [--days N] [--nodes N] [--quick] [--folder FOLDER]

The simulator plays 64 replicas of four services on 64 nodes straight into an embedded store (`simulator.fill`): every
request as a span, and what dcgm-exporter, node_exporter, the engines and the switches show every 30 s. To save time
only one trace in 16 has its upstream calls: so a slow called service is found, but told as `unknown`. Eight incidents
of as many kinds are spread over the days. The filling is not timed and takes longer than what is (more than an hour for
the week); with `--folder` the store is kept, and filled only once. Timed is the real command, `tailsight analyze
--json` over all of it, on two cores: wall, CPU seconds of its whole process tree, and the most memory it held. What it
prints is then held against what was planted.
"""

import argparse
import json
import multiprocessing
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.server import machine
from domain.cause import CauseKind
from domain.incident import Incident, from_document
from domain.window import rfc3339
from simulator.cloud import Cloud, build_large_cloud
from simulator.faults import Fault, plan_fault
from simulator.fill import fill
from simulator.run import Simulation
from storage.migrate import migrate
from storage.open import open_owned
from storage.settings import StoreSettings
from storage.topology import write_topology

START = datetime(2026, 3, 2, tzinfo=UTC)  # a Monday
SEED = 512
CORES = 2
CALLS_ONE_IN = 16
FILLED = "filled.json"
SLACK = timedelta(seconds=120)

# Which goes wrong when, as a share of the whole time, and for how long.
PLANTED: tuple[tuple[CauseKind, float, float], ...] = (
    (CauseKind.NETWORK_LINK_FAULT, 0.07, 900),
    (CauseKind.GPU_THERMAL_THROTTLE, 0.19, 1500),
    (CauseKind.BAD_RELEASE, 0.31, 1200),
    (CauseKind.TRAFFIC_SURGE, 0.44, 1200),
    (CauseKind.GPU_MEMORY_PRESSURE, 0.56, 1200),
    (CauseKind.UPSTREAM_DEPENDENCY, 0.68, 900),
    (CauseKind.GPU_FAULT, 0.80, 900),
    (CauseKind.NETWORK_CONGESTION, 0.93, 1200),
)


@dataclass(frozen=True, slots=True)
class Filled:
    """What is in the store."""

    requests: int
    samples: int
    series: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Run:
    """What the command took, and what it found."""

    wall_s: float
    cpu_s: float
    memory_bytes_max: int
    incidents: tuple[Incident, ...]


def planted(cloud: Cloud, days: float) -> tuple[Fault, ...]:
    """What goes wrong in so many days."""
    return tuple(
        plan_fault(kind, cloud, SEED + number, START + timedelta(days=days * share), lasts_s)
        for number, (kind, share, lasts_s) in enumerate(PLANTED)
    )


def fill_store(folder: Path, nodes: int, days: float) -> None:
    """Fill the store in a folder, and note what is in it. To be run in a process of its own: it owns the store."""
    cloud = build_large_cloud(SEED, nodes_count=nodes)
    simulation = Simulation(SEED, START, planted(cloud, days), cloud=cloud)
    store = open_owned(StoreSettings(url=f"chdb://{folder / 'data'}", query_seconds_max=600))
    migrate(store)
    write_topology(store, cloud.topology(), START)
    began, requests, samples = time.perf_counter(), 0, 0
    end = START + timedelta(days=days)
    until = START
    while until < end:
        since, until = until, min(until + timedelta(hours=6), end)
        count = fill(store, simulation, since, until, calls_one_in=CALLS_ONE_IN)
        requests, samples = requests + count.requests, samples + count.samples
        print(f"filling: {(until - START) / (end - START):.0%}", file=sys.stderr, flush=True)
    series = sum(part.values.shape[1] for scrape in simulation.targets() for part in (scrape, scrape.own()))
    store.close()
    filled = {"requests": requests, "samples": samples, "series": series, "seconds": time.perf_counter() - began}
    (folder / FILLED).write_text(json.dumps(filled))


def analyze(folder: Path, days: float) -> Run:
    """Run the command over all that is in the store."""
    command = [sys.executable, "-m", "tailsight", "analyze", "--json"]
    command += ["--from", rfc3339(START), "--to", rfc3339(START + timedelta(days=days))]
    environment = os.environ | {"TAILSIGHT_STORE": f"chdb://{folder / 'data'}"}
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True)
    wall_s, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    return Run(
        wall_s=wall_s,
        cpu_s=after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime,
        memory_bytes_max=after.ru_maxrss * 1024,
        incidents=tuple(from_document(one) for one in json.loads(done.stdout)["incidents"]),
    )


def near(fault: Fault, incidents: Sequence[Incident]) -> list[Incident]:
    """The incidents that began while it was there, or within two minutes."""
    return [one for one in incidents if fault.started_at - SLACK <= one.started_at <= fault.ended_at + SLACK]


def report(
    console: Console, faults: Sequence[Fault], filled: Filled, run: Run, nodes: int, days: float
) -> dict[str, Any]:
    """Print the tables; the figures."""
    console.print(
        f"{days:g} days of {nodes * 8} GPUs: {filled.requests:,} requests, {filled.series:,} series, "
        f"{filled.samples / 1e6:.1f} M samples every 30 s (filled in {filled.seconds:.0f} s)"
    )
    table = Table("planted", "on", "began", "found as", "on", "began after s", "sure", title="Incidents")
    kinds = both = 0
    told: set[str] = set()
    for fault in faults:
        found = near(fault, run.incidents)
        told |= {one.id for one in found}
        best = max(
            found, key=lambda one: (one.cause.kind is not CauseKind.UNKNOWN, one.slow_requests_count), default=None
        )
        row = (fault.kind.value, fault.entity.name, rfc3339(fault.started_at))
        if best is None:
            table.add_row(*row, "-", "", "", "")
            continue
        kinds += best.cause.kind == fault.kind
        both += (best.cause.kind, best.cause.entity) == (fault.kind, fault.entity)
        after_s = (best.started_at - fault.started_at).total_seconds()
        table.add_row(
            *row, best.cause.kind.value, best.cause.entity.name, f"{after_s:.0f}", f"{best.cause.confidence:.2f}"
        )
    others = [one for one in run.incidents if one.id not in told]
    for one in others:
        table.add_row(
            "-",
            "",
            "",
            one.cause.kind.value,
            one.cause.entity.name,
            rfc3339(one.started_at),
            f"{one.cause.confidence:.2f}",
        )
    console.print(table)
    console.print(
        f"tailsight analyze: {run.wall_s:.0f} s, {run.cpu_s:.0f} CPU-seconds, "
        f"at most {run.memory_bytes_max / 2**30:.1f} GiB"
    )
    return {
        "analyze_seconds": round(run.wall_s, 1),
        "analyze_cpu_seconds": round(run.cpu_s, 1),
        "memory_bytes_max": run.memory_bytes_max,
        "requests": filled.requests,
        "series": filled.series,
        "samples": filled.samples,
        "days": days,
        "incidents_planted": len(faults),
        "incidents_found": sum(bool(near(fault, run.incidents)) for fault in faults),
        "kind_right": kinds,
        "kind_and_entity_right": both,
        "incidents_beside": len(others),
    }


def main() -> int:
    """Measure and print; the last line is one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--days", type=float, default=7.0)
    parser.add_argument("--nodes", type=int, default=64, help="of eight GPUs")
    parser.add_argument("--quick", action="store_true", help="one day of 64 GPUs, to see that it works")
    parser.add_argument("--folder", type=Path, help="keep the store here, and fill it only once")
    given = parser.parse_args()
    nodes, days = (8, 1.0) if given.quick else (given.nodes, given.days)
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:CORES])
    console = Console(width=150)
    console.print(machine())
    with tempfile.TemporaryDirectory(prefix="tailsight-bench-") as temporary:
        folder = given.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        if not (folder / FILLED).exists():
            spawn = multiprocessing.get_context("spawn")  # an embedded store has one owner, and that is the command
            filling = spawn.Process(target=fill_store, args=(folder, nodes, days))
            filling.start()
            filling.join()
            if filling.exitcode:
                console.print(f"filling the store failed with exit code {filling.exitcode}")
                return 1
        filled = Filled(**json.loads((folder / FILLED).read_text()))
        run = analyze(folder, days)
    figures = report(console, planted(build_large_cloud(SEED, nodes_count=nodes), days), filled, run, nodes, days)
    print(json.dumps(figures))
    return 0


if __name__ == "__main__":
    sys.exit(main())
