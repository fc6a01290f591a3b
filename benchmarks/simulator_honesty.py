"""How far the simulator is from what was measured: step times, a KV cache that fills, and counters at their end.

    python -m benchmarks.simulator_honesty [--data FOLDER] [--seeds N] [--kinds]

Compared with recordings that are not part of the repository (`--data`, by default ../shared/data beside it):
- time per output token of Llama-3.1-70B fp8 under vLLM on four H100s, as InferenceX measured it;
- a real vLLM (0.32, on CPU) whose KV cache was filled by a burst: how long before the time to first token each of
  cache usage, waiting requests and preemptions moved. In the simulator: a burst on replicas with small caches, and the
  fault gpu_memory_pressure, over seeds;
- port counters of a simulated InfiniBand fabric (ibsim): where PortXmitWait stops, and what clearing does.

With --kinds, instead, what users feel of every kind of fault: how much p99 rises within five minutes, over seeds.
"""

import argparse
import gzip
import json
import re
import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from domain.cause import CauseKind
from domain.entity import Entity, EntityKind
from simulator.cloud import Cloud, build_cloud
from simulator.faults import PLANNERS, Fault, hit_replicas, plan_fault
from simulator.physics import LLAMA_70B_FP8_TP4
from simulator.quirks import CLAMPED_AT, Quirks
from simulator.run import Simulation, Slice
from simulator.spans import RequestColumns

Floats = NDArray[np.float64]

STEP_S = 5.0
LAGS = 12  # steps that a signal may be before or behind
SMALL_CACHE_FACTOR = 15  # bytes a token: so few sequences fit that a burst fills the cache
START = datetime.fromisoformat("2026-11-20T12:00:00+00:00")
SIGNALS = ("kv_cache_usage_perc", "num_requests_waiting", "num_preemptions_total")
_SCRAPE = re.compile(r"# SCRAPE t=([\d.]+)")


@dataclass(frozen=True, slots=True)
class Course:
    """Signals over time: moments in seconds, values at them, and (arrival, time to first token) of requests."""

    moments_s: Floats
    signals: Mapping[str, Floats]
    arrived_s: Floats
    first_token_s: Floats

    def leads_s(self) -> dict[str, float]:
        """By how many seconds each signal moves before the p90 of the time to first token, by arrival.

        The lag of the greatest correlation, in steps of 5 s, on both sides up to a minute; of preemptions, of their
        rate.
        """
        edges = np.arange(self.moments_s[0], self.moments_s[-1] + STEP_S, STEP_S)
        places = np.digitize(self.arrived_s, edges)
        bins = [self.first_token_s[places == place] for place in range(1, len(edges))]
        p90 = np.array([np.quantile(one, 0.9) if len(one) else np.nan for one in bins])
        middles_s, there = edges[:-1] + STEP_S / 2, ~np.isnan(p90)
        felt = np.interp(middles_s, middles_s[there], p90[there])
        leads = {}
        for name, values in self.signals.items():
            signal = np.interp(middles_s, self.moments_s, values)
            moved = np.diff(signal, prepend=signal[0]) if name.endswith("_total") else signal
            leads[name] = STEP_S * max(range(-LAGS, LAGS + 1), key=lambda lag: _correlation(moved, felt, lag))
        return leads


def _correlation(signal: Floats, felt: Floats, lag: int) -> float:
    """Of a signal with what is felt `lag` steps later."""
    early, late = (signal[: len(signal) - lag], felt[lag:]) if lag >= 0 else (signal[-lag:], felt[:lag])
    if early.std() == 0 or late.std() == 0:
        return -1.0
    return float(np.corrcoef(early, late)[0, 1])


def recorded_course(folder: Path) -> Course:
    """The real engine's."""
    text = gzip.decompress((folder / "vllm-0.32.0-cpu-kvpressure-metrics-series.prom.gz").read_bytes()).decode()
    pages = re.split(r"(?=# SCRAPE )", text)[1:]
    moments = [float(found[1]) for found in (_SCRAPE.match(page) for page in pages) if found]
    signals: dict[str, list[float]] = {name: [] for name in SIGNALS}
    for page in pages:
        for name, values in signals.items():
            line = next(line for line in page.splitlines() if line.startswith(f"vllm:{name}{{"))
            values.append(float(line.rsplit(" ", 1)[1]))
    arrived, first_token = [], []
    spans = gzip.decompress((folder / "vllm-0.32.0-kvpressure-otlp-spans.jsonl.gz").read_bytes()).decode()
    for line in spans.splitlines():
        for resource_spans in json.loads(line)["resourceSpans"]:
            for scope_spans in resource_spans["scopeSpans"]:
                for span in scope_spans["spans"]:
                    named = {one["key"]: one["value"] for one in span["attributes"]}
                    told = named.get("gen_ai.latency.time_to_first_token")
                    if told is not None:
                        arrived.append(int(span["startTimeUnixNano"]) / 1e9)
                        first_token.append(float(told["doubleValue"]))
    return Course(
        np.array(moments), {n: np.array(v) for n, v in signals.items()}, np.array(arrived), np.array(first_token)
    )


def simulated_course(cloud: Cloud, seed: int, fault: Fault, pods: Sequence[str]) -> Course:
    """That of some replicas, from five minutes before the fault to its end; gauges are those of the fullest."""
    begin = fault.started_at - timedelta(minutes=5)
    simulation = Simulation(seed, begin - timedelta(minutes=20), [fault], cloud=cloud)
    simulation.advance(begin, scrape_step_s=STEP_S)
    happened = simulation.advance(fault.ended_at, scrape_step_s=STEP_S)
    later = simulation.advance(fault.ended_at + timedelta(minutes=2), scrape_step_s=STEP_S)
    requests = np.concatenate([happened.requests, later.requests])
    chosen = [replica.ordinal for replica in cloud.replicas if replica.pod in pods]
    requests = requests[np.isin(requests["replica"], chosen) & ~requests["failed"]]
    requests = requests[requests["arrived_at"] < fault.ended_at.timestamp()]
    signals = {name: np.max([_series(happened, pod, name) for pod in pods], axis=0) for name in SIGNALS}
    signals["num_preemptions_total"] = np.sum([_series(happened, pod, SIGNALS[2]) for pod in pods], axis=0)
    return Course(happened.ticks_s, signals, requests["arrived_at"], RequestColumns(requests).first_token_s)


def _series(happened: Slice, pod: str, name: str) -> Floats:
    (scrape,) = [scrape for scrape in happened.scrapes if scrape.target.name == f"vllm/{pod}"]
    families = [family.name for family in scrape.target.families for _ in family.labels]
    return scrape.values[:, families.index(f"vllm:{name}")]


def burst_on_small_caches(seed: int) -> Course:
    """Replicas of the 70B whose caches hold few sequences, and three times the usual arrivals."""
    cloud = build_cloud(seed)
    chat, *others = cloud.services
    small = replace(
        chat,
        model=replace(chat.model, kv_bytes_per_token=SMALL_CACHE_FACTOR * chat.model.kv_bytes_per_token),
        workload=replace(chat.workload, reuse_probability=0.0),  # nothing is pulled: the recording has no KV store
    )
    replicas = tuple(replace(one, service=small) if one.service == chat else one for one in cloud.replicas)
    cloud = replace(cloud, services=(small, *others), replicas=replicas)
    begin = START + timedelta(hours=1)
    entity = Entity(EntityKind.SERVICE, small.name)
    fault = Fault(CauseKind.TRAFFIC_SURGE, entity, begin, begin + timedelta(minutes=2), strength=3.0, ramp_s=2.0)
    return simulated_course(cloud, seed, fault, [replica.pod for replica in cloud.replicas_of(small.name)])


def leaking_cache(seed: int) -> Course:
    """The fault gpu_memory_pressure on one replica."""
    cloud = build_cloud(seed)
    fault = plan_fault(CauseKind.GPU_MEMORY_PRESSURE, cloud, seed, START + timedelta(hours=1), 300)
    return simulated_course(cloud, seed, fault, [replica.pod for replica in hit_replicas(cloud, fault)])


def token_time_ratios(folder: Path) -> list[float]:
    """Measured over simulated time per output token, of every point that fits the model's deployment."""
    points = pl.read_parquet(folder / "silicon_samples.parquet").filter(
        pl.col("model_path").str.contains("(?i)llama-3.*70b"),
        (pl.col("system") == "h100_sxm") & (pl.col("backend") == "vllm") & (pl.col("mode") == "agg"),
        (pl.col("tp_size") == LLAMA_70B_FP8_TP4.tensor_parallel) & (pl.col("precision") == "fp8"),
        pl.col("concurrency") <= 64,
    )
    columns = points.select("concurrency", "isl", "osl", "silicon_tpot_ms").rows()
    steps = LLAMA_70B_FP8_TP4.steps
    return [tpot / steps.time_per_output_token_ms(users, prompt, output) for users, prompt, output, tpot in columns]


def recorded_wait(folder: Path) -> tuple[float, float]:
    """Of the fabric's PortXmitWait: its greatest value, and the share of samples that stand there."""
    wait = pl.read_csv(folder / "ibsim-ndr-fattree-timeseries.csv")["PortXmitWait"].to_numpy()
    return float(wait.max()), float((wait == wait.max()).mean())


def simulated_wait() -> tuple[float, float]:
    """The same of leaves whose counters have 32 bits and are cleared now and then."""
    simulation = Simulation(1, START, quirks=Quirks(clamped_wait=True, cleared_counters=True))
    happened = simulation.advance(START + timedelta(hours=1), scrape_step_s=STEP_S)
    found = []
    for scrape in happened.scrapes:
        families = [family.name for family in scrape.target.families for _ in family.labels]
        columns = [n for n, name in enumerate(families) if name == "infiniband_switch_port_transmit_wait_total"]
        found.append(scrape.values[:, columns].ravel())
    wait = np.concatenate(found)
    return float(wait.max()), float((wait == CLAMPED_AT).mean())


def median_leads(course_of: Callable[[int], Course], seeds: int) -> dict[str, tuple[float, float, float]]:
    """Median lead of each signal over seeds, with the least and the greatest."""
    leads = [course_of(seed).leads_s() for seed in range(seeds)]
    return {
        name: (statistics.median(found), min(found), max(found))
        for name, found in ((name, [one[name] for one in leads]) for name in SIGNALS)
    }


@dataclass(frozen=True, slots=True)
class Felt:
    """What users of the service that is hurt most felt of one fault."""

    p99_growth: float  # the greater of those of the time to first token and of the latency
    error_ratio: float


def felt(kind: CauseKind, seed: int, *, varied: bool) -> Felt:
    """Half an hour of quiet, five minutes of that fault."""
    cloud = build_cloud(seed, varied=varied)
    begin = START + timedelta(minutes=30)
    fault = plan_fault(kind, cloud, seed, begin, 300)
    simulation = Simulation(seed, START, [fault], cloud=cloud, scrape_step_s=60.0)
    requests = simulation.advance(fault.ended_at + timedelta(minutes=2)).requests
    begin_s, end_s = begin.timestamp(), fault.ended_at.timestamp()
    worst = Felt(0.0, 0.0)
    for service in {replica.service.name for replica in hit_replicas(cloud, fault)}:
        mine = requests[np.isin(requests["replica"], [one.ordinal for one in cloud.replicas_of(service)])]
        during = (mine["arrived_at"] >= begin_s) & (mine["arrived_at"] < end_s)
        before, after = RequestColumns(mine[mine["arrived_at"] < begin_s]), RequestColumns(mine[during])
        growths = [
            float(np.nanquantile(getattr(after, name), 0.99) / np.nanquantile(getattr(before, name), 0.99))
            for name in ("first_token_s", "end_to_end_s")
        ]
        errors = float(after.failed.mean())
        worst = Felt(max(worst.p99_growth, *growths), max(worst.error_ratio, errors))
    return worst


def print_kinds(seeds: int) -> None:
    """A table of what every kind does to users, and the same as JSON."""
    table = Table("Kind", "p99 rises by (least … median … most)", "Errors (median … most)", title="What users feel")
    figures = {}
    for kind in PLANNERS:
        of_kind = [felt(kind, seed, varied=varied) for seed in range(seeds) for varied in (False, True)]
        growths = sorted(one.p99_growth for one in of_kind)
        errors = sorted(one.error_ratio for one in of_kind)
        middle = statistics.median(growths)
        table.add_row(
            kind.value,
            f"×{growths[0]:.1f} … ×{middle:.1f} … ×{growths[-1]:.0f}",
            f"{statistics.median(errors):.1%} … {errors[-1]:.1%}",
        )
        figures[kind.value] = [round(one, 2) for one in (growths[0], middle, growths[-1], errors[-1])]
    Console(width=120).print(table)
    print(json.dumps(figures))


def main() -> int:
    """Compare, print a table, and as the last line the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(__file__).parents[2] / "shared" / "data")
    parser.add_argument("--seeds", type=int, default=8)
    parser.add_argument("--kinds", action="store_true", help="what users feel of every kind")
    options = parser.parse_args()
    if options.kinds:
        print_kinds(options.seeds)
        return 0
    if not options.data.is_dir():
        sys.stderr.write(f"no recordings at {options.data}: give their folder with --data\n")
        return 2
    ratios = token_time_ratios(options.data / "workloads" / "inferencex_silicon")
    real = recorded_course(options.data / "telemetry" / "engines").leads_s()
    burst = median_leads(burst_on_small_caches, options.seeds)
    leak = median_leads(leaking_cache, options.seeds)
    real_wait, fake_wait = recorded_wait(options.data / "telemetry" / "ib"), simulated_wait()

    table = Table("What", "Measured", "Simulated", title="The simulator beside recordings")
    deciles = np.quantile(ratios, (0.1, 0.5, 0.9)).tolist()
    spread = "measured / simulated: median {1:.2f}, p10 {0:.2f}, p90 {2:.2f}".format(*deciles)
    table.add_row(f"Time per output token, {len(ratios)} points", "", spread)
    for name in SIGNALS:
        told = "; ".join(
            f"{what} {found[name][0]:+.0f} s ({found[name][1]:+.0f} … {found[name][2]:+.0f})"
            for what, found in (("burst", burst), ("leak", leak))
        )
        table.add_row(f"{name} moves before TTFT by", f"{real[name]:+.0f} s", told)
    table.add_row("Greatest PortXmitWait", f"{real_wait[0]:.0f}", f"{fake_wait[0]:.0f}")
    table.add_row("Samples of it at that end", f"{real_wait[1]:.1%}", f"{fake_wait[1]:.1%}")
    Console(width=140).print(table)
    figures = {
        "token_time_points": len(ratios),
        "token_time_ratio_p10_p50_p90": [round(ratio, 3) for ratio in deciles],
        "recorded_leads_s": {name: round(lead, 1) for name, lead in real.items()},
        "burst_leads_s": {name: round(lead[0], 1) for name, lead in burst.items()},
        "leak_leads_s": {name: round(lead[0], 1) for name, lead in leak.items()},
        "wait_max": [real_wait[0], fake_wait[0]],
        "wait_at_end_ratio": [round(real_wait[1], 4), round(fake_wait[1], 4)],
    }
    print(json.dumps(figures))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
