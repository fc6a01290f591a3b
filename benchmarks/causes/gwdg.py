"""GPUs that fell off the bus on real nodes: found how soon, and how often it is said of one that did not.

    python -m benchmarks.causes.gwdg [--data FOLDER]

Four nodes of four A100 each, DCGM every ten minutes for ten to twenty days (GWDG, DOI 10.5281/zenodo.19052367,
CC-BY-4.0). The events beside them are the onsets of XID 79. An alarm is the first scrape of a node at which
`analytics.gpu_states` says "off the bus" of one GPU or more of which it did not say so at the scrape before. Because
the XID is both the label and one of the signs, the same is told without the metric of the XID: by what vanished alone.

Their InfiniBand ports bear no label. None of their error counters ever moved, and they were up all the time, so a port
that is said to have a bad link, to flap, to be down or reduced is wrong; the rest is told as shares of all samples.
"""

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from rich.console import Console
from rich.table import Table

from analytics.gpu_states import Gpu, GpuSamples, GpuState, gpu_states
from analytics.port_states import NODE_EXPORTER, Port, PortSamples, PortState, port_states

DATA = Path(__file__).parents[3] / "shared" / "data"
STEP_S = 600
PUBLISHED_NODE_HOURS = 2784
_XID = "DCGM_FI_DEV_XID_ERRORS"


@dataclass(frozen=True, slots=True)
class Alarm:
    """A node and the GPUs that are newly said to be off the bus."""

    host: str
    time_s: int
    gpus: frozenset[int]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the alarms were worth."""

    events_count: int
    found_at_once_count: int
    found_next_scrape_count: int
    false_alarms: tuple[Alarm, ...]
    node_hours: float

    @property
    def found_count(self) -> int:
        """Events that were told of within one scrape."""
        return self.found_at_once_count + self.found_next_scrape_count

    @property
    def false_alarms_per_published_hours(self) -> float:
        """False alarms in as many hours as the whole published set has."""
        return len(self.false_alarms) * PUBLISHED_NODE_HOURS / self.node_hours


def run(data: Path = DATA) -> dict[str, Outcome]:
    """Score the rule on all hosts, with the XID and without.

    Raises:
        FileNotFoundError: when the recordings are not there.
    """
    folder = data / "rca" / "gwdg"
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder} is not there: give the folder that holds rca/gwdg with --data")
    nodes = read_nodes(folder)
    events = pl.read_parquet(folder / "xid79_events.parquet").rows(named=True)
    node_hours = sum(
        float(np.logical_or.reduce([np.isfinite(values) for values in samples.values.values()]).any(axis=0).sum())
        * STEP_S
        / 3600
        for samples, _ in nodes.values()
    )
    outcomes = {}
    for name, without in (("XID and what vanished", frozenset[str]()), ("what vanished alone", frozenset({_XID}))):
        alarms = [
            alarm for host, (samples, start_s) in nodes.items() for alarm in _alarms(host, samples, start_s, without)
        ]
        outcomes[name] = _scored(alarms, events, node_hours)
    return outcomes


def port_shares(data: Path = DATA) -> dict[str, dict[PortState, float]]:
    """By host: the share of the samples of its two ports at which each state holds."""
    folder = data / "rca" / "gwdg"
    shares = {}
    for host, own in _rows_by_host(folder, "node_infiniband_"):
        start_s, steps_count = _span(own)
        names = sorted(own["dev"].unique().to_list())
        values = {}
        for (metric,), of_metric in own.group_by(["metric"]):
            if str(metric) in NODE_EXPORTER:
                name, factor = NODE_EXPORTER[str(metric)]
                matrix = np.full((len(names), steps_count), np.nan)
                places = [names.index(device) for device in of_metric["dev"]]
                matrix[places, (of_metric["ts"].to_numpy() - start_s) // STEP_S] = (
                    of_metric["value"].to_numpy() * factor
                )
                values[name] = matrix
        ports = tuple(Port(host, name) for name in names)
        states = port_states(PortSamples(ports, values, STEP_S))
        told = ~states.holds(PortState.NO_DATA)
        shares[host] = {
            state: float((states.holds(state) & told).sum() / told.sum())
            for state in states.states
            if state is not PortState.NO_DATA
        }
    return shares


def read_nodes(folder: Path) -> dict[str, tuple[GpuSamples, int]]:
    """The samples of each host on one grid, and the time of its first step; windows that overlap are one."""
    found = {}
    for host, own in _rows_by_host(folder, "DCGM_FI_"):
        start_s, steps_count = _span(own)
        numbers = sorted(own["gpu"].unique().to_list())
        values = {}
        for (metric,), of_metric in own.group_by(["metric"]):
            matrix = np.full((len(numbers), steps_count), np.nan)
            places = np.searchsorted(numbers, of_metric["gpu"].to_numpy())
            matrix[places, (of_metric["ts"].to_numpy() - start_s) // STEP_S] = of_metric["value"].to_numpy()
            values[str(metric)] = matrix
        gpus = tuple(Gpu(f"{host}/{number}", host, model="A100") for number in numbers)
        found[host] = (GpuSamples(gpus, values, STEP_S), start_s)
    return found


def _rows_by_host(folder: Path, prefix: str) -> list[tuple[str, pl.DataFrame]]:
    hosts = pl.read_parquet(folder / "cases.parquet").select("case_id", "host")
    rows = (
        pl.read_parquet(folder / "gpu_fabric_pipeline.parquet")
        .with_columns(pl.col("metric", "dev").cast(pl.String))
        .filter(pl.col("metric").str.starts_with(prefix))
        .join(hosts, on="case_id")
        .unique(["host", "ts", "metric", "gpu", "dev"], keep="first", maintain_order=True)
    )
    return [(str(host), rows.filter(pl.col("host") == host)) for host in sorted(rows["host"].unique())]


def _span(rows: pl.DataFrame) -> tuple[int, int]:
    """The time of the first step, and how many steps there are."""
    times_s = rows["ts"].to_numpy()
    start_s = int(times_s.min())
    return start_s, (int(times_s.max()) - start_s) // STEP_S + 1


def _alarms(host: str, samples: GpuSamples, start_s: int, without: frozenset[str]) -> list[Alarm]:
    values = {metric: matrix for metric, matrix in samples.values.items() if metric not in without}
    states = gpu_states(GpuSamples(samples.devices, values, samples.step_s))
    off = states.holds(GpuState.OFF_THE_BUS)
    alarms = []
    said: set[int] = set()
    answered = ~states.holds(GpuState.NO_DATA).all(axis=0)
    for step in np.flatnonzero(answered):
        now = {int(row) for row in np.flatnonzero(off[:, step])}
        if now - said:
            alarms.append(Alarm(host, start_s + int(step) * STEP_S, frozenset(now - said)))
        said = now
    return alarms


def _scored(alarms: list[Alarm], events: list[dict[str, object]], node_hours: float) -> Outcome:
    delays: list[int] = []
    true: set[Alarm] = set()
    for event in events:
        gpus = frozenset(event["gpu"])  # type: ignore[call-overload]
        hits = [
            alarm
            for alarm in alarms
            if alarm.host == event["host"] and alarm.gpus & gpus and 0 <= alarm.time_s - int(str(event["ts"])) <= STEP_S
        ]
        true.update(hits)
        if hits:
            delays.append(min(alarm.time_s for alarm in hits) - int(str(event["ts"])))
    return Outcome(
        events_count=len(events),
        found_at_once_count=delays.count(0),
        found_next_scrape_count=sum(delay > 0 for delay in delays),
        false_alarms=tuple(alarm for alarm in alarms if alarm not in true),
        node_hours=node_hours,
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--data", type=Path, default=DATA, help="the folder that holds rca/gwdg")
    arguments = parser.parse_args()
    console = Console()
    try:
        outcomes = run(arguments.data)
        shares = port_shares(arguments.data)
    except FileNotFoundError as error:
        console.print(f"skipped: {error}")
        return
    table = Table(title="GPUs off the bus: real A100 nodes of GWDG, a scrape every 10 min")
    for heading in ("signs", "found in the same scrape", "one scrape later", "false alarms", "node-hours"):
        table.add_column(heading)
    table.add_column(f"false per {PUBLISHED_NODE_HOURS:,} node-hours")
    for name, outcome in outcomes.items():
        table.add_row(
            name,
            f"{outcome.found_at_once_count}/{outcome.events_count}",
            str(outcome.found_next_scrape_count),
            str(len(outcome.false_alarms)),
            f"{outcome.node_hours:.0f}",
            f"{outcome.false_alarms_per_published_hours:.1f}",
        )
    console.print(table)
    for name, outcome in outcomes.items():
        for alarm in outcome.false_alarms:
            console.print(f"false by {name}: {alarm.host} at {alarm.time_s}, GPUs {sorted(alarm.gpus)}")
    ports = Table(title="InfiniBand ports of these nodes: per cent of their samples")
    ports.add_column("host")
    told = [state for state in PortState if any(of_host.get(state) for of_host in shares.values())]
    for state in told:
        ports.add_column(state)
    for host, of_host in shares.items():
        ports.add_row(host, *(f"{100 * of_host[state]:.1f}" for state in told))
    console.print(ports)


if __name__ == "__main__":
    main()
