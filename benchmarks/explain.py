"""Seconds to explain one spike of one service over 24 hours of so many series scraped every 15 s.

    python -m benchmarks.explain [--quick] [--series 5000,50000] [--runs N] [--profile]

An embedded store is filled with the requests of 40 replicas and the metrics of their engines, GPUs and network ports,
by inserting straight into the tables that the views fill (how fast those are filled is what `benchmarks.ingest` says),
hour by hour, each rolled up when it is over, as the scheduler of `tailsight serve` does; what that takes is told apart.
One port has a bad link in the last ten minutes; the replica on its node waits for transfers. The filling is not timed.
Timed is `explain_window` of `analytics.jobs.explaining` as the API and `tailsight explain` call it: reading, thinking,
all of it; CPU time is that of the process, every thread of the engine included.
"""

import argparse
import cProfile
import json
import pstats
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from analytics.jobs.explaining import AnalyzeSettings, explain_window
from analytics.spikes import SpikeSettings
from benchmarks.server import machine
from domain.cause import CauseKind, Explanation
from domain.entity import Entity, EntityKind
from domain.window import Window
from storage.migrate import migrate
from storage.open import open_owned
from storage.rollup import roll_up_signals
from storage.settings import StoreSettings
from storage.store import Store

SERVICE = "chat"
SCRAPE_S = 15
SPIKE_S = 600
GPUS_A_NODE = 8
REQUESTS_A_REPLICA_SECOND = 0.25
SICK_NODE = 3
SICK_PORT = "mlx5_2/1"

Values = NDArray[np.float64]
Randomness = np.random.Generator


@dataclass(frozen=True, slots=True)
class Shape:
    """How much there is to look at: one replica a node; series are three an engine, three a GPU, eight a port."""

    nodes: int
    ports: int
    history_s: int

    @property
    def series(self) -> int:
        """All series."""
        return 3 * self.nodes + 3 * self.nodes * GPUS_A_NODE + 8 * self.ports

    @property
    def scrapes(self) -> int:
        """Samples of a series."""
        return (self.history_s + SPIKE_S) // SCRAPE_S

    @property
    def requests(self) -> int:
        """All requests."""
        return int(REQUESTS_A_REPLICA_SECOND * self.nodes * (self.history_s + SPIKE_S))


NODES = 40
DAY_S = 86_400
QUICK = Shape(nodes=4, ports=48, history_s=7_200)


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric: on what it sits, and its samples as (series, scrapes)."""

    name: str
    of: EntityKind
    values: Callable[[Randomness, int, int], Values]


def level(usual: float, spread: float) -> Callable[[Randomness, int, int], Values]:
    """A gauge that varies around its usual value."""
    return lambda random, series, scrapes: random.normal(usual, spread, (series, scrapes))


def counter(rate: float) -> Callable[[Randomness, int, int], Values]:
    """A counter of events that come by chance, so many a second."""
    return lambda random, series, scrapes: random.poisson(rate * SCRAPE_S, (series, scrapes)).cumsum(axis=1) * 1.0


METRICS = (
    Metric("vllm:kv_cache_usage_perc", EntityKind.REPLICA, level(0.5, 0.06)),
    Metric("vllm:num_preemptions_total", EntityKind.REPLICA, counter(0.001)),
    Metric("vllm:num_requests_waiting", EntityKind.REPLICA, level(0.3, 0.1)),
    Metric("DCGM_FI_DEV_FB_FREE", EntityKind.GPU, level(9_000, 20)),
    Metric("DCGM_FI_DEV_FB_USED", EntityKind.GPU, level(71_000, 20)),
    Metric("DCGM_FI_PROF_DRAM_ACTIVE", EntityKind.GPU, level(0.45, 0.05)),
    Metric("node_infiniband_port_data_transmitted_bytes_total", EntityKind.PORT, counter(1e10)),
    Metric("node_infiniband_port_data_received_bytes_total", EntityKind.PORT, counter(1e10)),
    Metric("node_infiniband_rate_bytes_per_second", EntityKind.PORT, level(5e10, 0)),
    Metric("node_infiniband_port_transmit_wait_total", EntityKind.PORT, counter(3_000)),
    Metric("node_infiniband_symbol_error_total", EntityKind.PORT, counter(0.002)),
    Metric("node_infiniband_link_error_recovery_total", EntityKind.PORT, counter(0.0001)),
    Metric("node_infiniband_link_downed_total", EntityKind.PORT, counter(0)),
    Metric("node_infiniband_port_errors_received_total", EntityKind.PORT, counter(0.001)),
)
FAULT_RATES = {
    "node_infiniband_symbol_error_total": 60.0,
    "node_infiniband_link_error_recovery_total": 0.05,
    "node_infiniband_port_errors_received_total": 8.0,
}


def owners(shape: Shape) -> dict[EntityKind, pl.DataFrame]:
    """The engines, GPUs and ports, one row each: node, gpu, port, replica."""
    nodes = [f"gpu-{number:02}" for number in range(shape.nodes)]
    gpus = [(node, f"GPU-{node}-{number}") for node in nodes for number in range(GPUS_A_NODE)]
    ports = [(nodes[at % shape.nodes], f"mlx5_{at // shape.nodes}/1") for at in range(shape.ports)]
    return {
        EntityKind.REPLICA: pl.DataFrame({"node": nodes, "replica": [f"{SERVICE}-{node}" for node in nodes]}),
        EntityKind.GPU: pl.DataFrame(
            {
                "node": [node for node, _ in gpus],
                "gpu": [gpu for _, gpu in gpus],
                "replica": [f"{SERVICE}-{node}" for node, _ in gpus],
            }
        ),
        EntityKind.PORT: pl.DataFrame({"node": [node for node, _ in ports], "port": [port for _, port in ports]}),
    }


@dataclass(slots=True)
class Filling:
    """What the filling took: CPU seconds of the rollups alone, and how many samples they read."""

    done_ratio: float = 0.0
    rollup_cpu_s: float = 0.0
    rolled_up_samples: int = 0


def fill(store: Store, shape: Shape, end: datetime) -> Iterator[Filling]:
    """Fill the store; yields how far it is."""
    random = np.random.default_rng(1)
    begin_s = int(end.timestamp()) - shape.scrapes * SCRAPE_S
    times = begin_s + SCRAPE_S * np.arange(shape.scrapes)
    store.insert("tailsight_requests", requests(random, shape, end))
    series, values = metrics(random, shape)
    seen = pl.from_epoch(pl.lit(begin_s)).dt.replace_time_zone("UTC")
    store.insert("tailsight_series", series.with_columns(first_seen=seen, last_seen=pl.lit(end)))
    filling = Filling()
    hours = np.split(np.arange(shape.scrapes), np.flatnonzero(np.diff(times // 3600)) + 1)
    for number, scrapes in enumerate(hours, start=1):
        samples = pl.DataFrame(
            {
                "metric": series["metric"].gather(np.repeat(np.arange(series.height), len(scrapes))),
                "series_id": np.repeat(series["series_id"].to_numpy(), len(scrapes)),
                "time": pl.from_epoch(pl.Series(np.tile(times[scrapes], series.height))).dt.replace_time_zone("UTC"),
                "value": values[:, scrapes].ravel(),
            }
        )
        store.insert("tailsight_samples", samples)
        cpu_s = time.process_time()
        ended_s = int(times[scrapes[-1]]) + SCRAPE_S
        if roll_up_signals(store, datetime.fromtimestamp(ended_s + 120, UTC)):
            filling.rollup_cpu_s += time.process_time() - cpu_s
            filling.rolled_up_samples += samples.height
        filling.done_ratio = number / len(hours)
        yield filling


def metrics(random: Randomness, shape: Shape) -> tuple[pl.DataFrame, Values]:
    """All series with their entities, and their samples as (series, scrapes)."""
    first_bad = shape.scrapes - SPIKE_S // SCRAPE_S
    series, rows = [], []
    for metric in METRICS:
        owned = owners(shape)[metric.of].with_columns(metric=pl.lit(metric.name.lower()))
        values = metric.values(random, owned.height, shape.scrapes)
        if metric.name in FAULT_RATES:
            sick = (owned["node"] == f"gpu-{SICK_NODE:02}") & (owned["port"] == SICK_PORT)
            growth = FAULT_RATES[metric.name] * SCRAPE_S * np.arange(1, shape.scrapes - first_bad + 1)
            values[sick.to_numpy(), first_bad:] += growth
        series.append(owned)
        rows.append(values)
    frame = pl.concat(series, how="diagonal").with_columns(pl.col("node", "gpu", "port", "replica").fill_null(""))
    return frame.with_columns(series_id=pl.int_range(1, frame.height + 1, dtype=pl.UInt64)), np.concatenate(rows)


def requests(random: Randomness, shape: Shape, end: datetime) -> pl.DataFrame:
    """Requests spread evenly over time and replicas; transfers of the sick node's take a second more in the spike."""
    count = shape.requests
    seconds_before_end = np.sort(random.uniform(0, shape.history_s + SPIKE_S, count))[::-1]
    node = random.integers(0, shape.nodes, count)
    prompt, answer = (
        random.lognormal(6.5, 0.8, count).astype(np.uint32),
        random.lognormal(5, 0.6, count).astype(np.uint32),
    )
    queue_ms, prefill_ms = random.exponential(4, count), prompt * random.lognormal(np.log(0.1), 0.1, count)
    transfer_ms = random.lognormal(np.log(12), 0.3, count)
    sick = (node == SICK_NODE) & (seconds_before_end <= SPIKE_S)
    transfer_ms[sick] += random.lognormal(np.log(1000), 0.2, int(sick.sum()))
    decode_ms = answer * random.lognormal(np.log(25), 0.05, count)
    ttft_ms = queue_ms + prefill_ms + transfer_ms
    frame = pl.DataFrame(
        {
            "before_end": seconds_before_end,
            "node": node,
            "tenant": random.integers(0, 30, count),
            "latency_ms": ttft_ms + decode_ms,
            "ttft_ms": ttft_ms,
            "queue_ms": queue_ms,
            "prefill_ms": prefill_ms,
            "decode_ms": decode_ms,
            "input_tokens": prompt,
            "output_tokens": answer,
            "trace_id": np.arange(count),
        }
    )
    name = pl.format("gpu-{}", pl.col("node").cast(pl.String).str.zfill(2))
    return frame.select(
        (pl.lit(end) - pl.duration(microseconds=(pl.col("before_end") * 1e6).cast(pl.Int64))).alias("time"),
        pl.lit(SERVICE).alias("service"),
        pl.lit("llama-70b").alias("model"),
        pl.lit("1.0.0").alias("version"),
        pl.format(f"{SERVICE}-{{}}", name).alias("replica"),
        name.alias("node"),
        pl.format("tenant-{}", "tenant").alias("tenant"),
        pl.format("{}", pl.col("trace_id").cast(pl.String).str.zfill(32)).alias("trace_id"),
        pl.lit(value=False).alias("is_error"),
        *("latency_ms", "ttft_ms", "queue_ms", "prefill_ms", "decode_ms", "input_tokens", "output_tokens"),
    )


@dataclass(frozen=True, slots=True)
class Measurement:
    """One run."""

    wall_s: float
    cpu_s: float
    correct: bool


def measure(explain: Callable[[], Explanation]) -> Measurement:
    """One run, and whether it names the bad link first."""
    wall_s, cpu_s = time.perf_counter(), time.process_time()
    explanation = explain()
    first = explanation.causes[0]
    port = Entity(EntityKind.PORT, f"gpu-{SICK_NODE:02}/{SICK_PORT}")
    return Measurement(
        wall_s=time.perf_counter() - wall_s,
        cpu_s=time.process_time() - cpu_s,
        correct=first.kind is CauseKind.NETWORK_LINK_FAULT and first.entity == port,
    )


def report(
    console: Console, shape: Shape, runs: Sequence[Measurement], filling: Filling, filling_s: float
) -> dict[str, Any]:
    """Print the table; the figures."""
    console.print(
        f"{shape.series:,} series of {len(METRICS)} metrics, {shape.series * shape.scrapes / 1e6:.1f} M samples every "
        f"{SCRAPE_S} s; {shape.requests:,} requests of {shape.nodes} replicas; {shape.history_s / 3600:.0f} h before "
        f"the spike of {SPIKE_S / 60:.0f} min (filled in {filling_s:.0f} s, straight into the tables)"
    )
    rollup_cpu_us = 1e6 * filling.rollup_cpu_s / max(1, filling.rolled_up_samples)
    console.print(
        f"rolled up by minute, hour by hour: {rollup_cpu_us:.2f} us of CPU a sample, merges under way included"
    )
    table = Table(title="One spike explained")
    for heading in ("run", "wall s", "CPU s", "true cause first"):
        table.add_column(heading, justify="right")
    for number, run in enumerate(runs, start=1):
        table.add_row(str(number), f"{run.wall_s:.2f}", f"{run.cpu_s:.2f}", "yes" if run.correct else "NO")
    console.print(table)
    return {
        "explain_seconds_p50": round(statistics.median(run.wall_s for run in runs), 3),
        "explain_cpu_seconds_p50": round(statistics.median(run.cpu_s for run in runs), 3),
        "explain_seconds_max": round(max(run.wall_s for run in runs), 3),
        "series": shape.series,
        "samples": shape.series * shape.scrapes,
        "requests": shape.requests,
        "history_hours": shape.history_s / 3600,
        "rollup_cpu_us_per_sample": round(rollup_cpu_us, 3),
        "runs": len(runs),
        "cause_correct": all(run.correct for run in runs),
    }


def main() -> None:
    """Measure and print; the last line is one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="little data, one run, to see that it works")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--profile", action="store_true", help="one more run, and where its time went")
    parser.add_argument("--series", default="5000,50000", help="how many series, with commas between")
    arguments = parser.parse_args()
    console = Console()
    console.print(machine())
    shapes = [QUICK] if arguments.quick else [_shape_of(int(series)) for series in arguments.series.split(",")]
    runs = 1 if arguments.quick else arguments.runs
    figures = [_measured(console, shape, runs, profiled=arguments.profile) for shape in shapes]
    print(json.dumps({name: [one[name] for one in figures] for name in figures[0]}))


def _shape_of(series: int) -> Shape:
    """So many series: engines and GPUs of the nodes, all others those of ports."""
    without = Shape(nodes=NODES, ports=0, history_s=DAY_S)
    return replace(without, ports=max(NODES, (series - without.series) // 8))


def _measured(console: Console, shape: Shape, runs: int, *, profiled: bool) -> dict[str, Any]:
    """Fill a store of this shape, explain the spike so many times, print; the figures."""
    end = datetime.now(UTC).replace(second=0, microsecond=0)
    spike = Window(end - timedelta(seconds=SPIKE_S), end)
    settings = AnalyzeSettings(spikes=SpikeSettings(step_s=SCRAPE_S, history_s=shape.history_s))
    with tempfile.TemporaryDirectory(prefix="tailsight-bench-") as folder:
        store = open_owned(StoreSettings(url=f"chdb://{Path(folder) / 'data'}", query_seconds_max=600))
        migrate(store)
        began_s = time.perf_counter()
        with console.status("Filling the store") as status:
            for filling in fill(store, shape, end):
                status.update(f"Filling the store: {filling.done_ratio:.0%}")
        filling_s = time.perf_counter() - began_s

        def explain() -> Explanation:
            return explain_window(store, SERVICE, spike, settings=settings)

        measure(explain)  # warm: a server explains its second spike, too
        measurements = [measure(explain) for _ in range(runs)]
        figures = report(console, shape, measurements, filling, filling_s)
        if profiled:
            profile = cProfile.Profile()
            profile.runcall(explain)
            pstats.Stats(profile).sort_stats("cumulative").print_stats(35)
        store.close()
    return figures


if __name__ == "__main__":
    main()
