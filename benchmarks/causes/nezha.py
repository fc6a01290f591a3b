"""Who is blamed on Nezha: performance faults injected into single pods of Online Boutique and Train Ticket.

    python -m benchmarks.causes.nezha [--data FOLDER]

The set: spans of the minutes around each fault, pod metrics and mesh latencies a minute (Yu et al., "Nezha", FSE 2023;
MIT). Scored are the faults that make requests slow (CPU, network delay), by pod, without logs. A method sees what came
before the injection on that day, other faults included, and three minutes after it. A part of the spans is missing at
the source: for such faults ours has the metrics only.

Ours is three rankings made one: milliseconds that the call tree blames on a pod (each pod in turn is the target, for
nobody says which one users felt), how unusual its CPU use is, and how unusual the gap between client and server on its
links is (mesh metrics; Online Boutique only). Places are added as 1/place; alone, each is a line of the table too.

These are development data: about ten variants of the ranking were tried on them. Train Ticket has four such faults
here, all of CPU, and it is CPU use that finds them; the call tree alone finds none.
"""

import argparse
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from analytics.call_tree import (
    SIGMAS_MIN,
    CallGraph,
    UsualTime,
    calls_of_spans,
    link_ends,
    link_name,
    steps_of_spans,
    without_links,
)
from analytics.robust import median_and_sigma
from benchmarks.causes import peers
from benchmarks.causes.scoring import DATA, Hits, Row, as_dict, difference, row, show

FOLDER = DATA / "nezha"
AFTER_S = 180
STEP_MS = 10_000.0
OURS, SPANS, CPU, GAPS = "fused", "call tree only", "CPU only", "link gaps only"
CORRELATION, Z_SCORE, Z_SCORE_CPU = "ranked correlation", "z-score (BARO-like)", "z-score of CPU only"
_PERFORMANCE = ("cpu_contention", "cpu_consumed", "network_delay")
_CPU_METRIC = "CpuUsage(m)"
_FELT = {"ob": "frontend-", "tt": "ts-gateway-service-"}
_FELT_METRIC = "PodServerLatencyP90(s)"
_LEAST_CHANGE = 0.1  # of the median: with few minutes before a fault, their spread alone can be nearly nothing
_LEAST_GAP_S = 1e-3  # the mesh's histograms do not resolve less

Scores = Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Fault:
    """One injected fault, and what may be known of it; `cause` is for the scorer only.

    Attributes:
        spans: as `analytics.call_tree` takes them, with `root_ms`, the start of their trace; to three minutes after.
        metrics: `time_s`, `pod`, `metric`, `value`, of the same time.
        gaps: `time_s`, `link`, `value` (client minus server latency, s), of the same time.
    """

    name: str
    system: str
    kind: str
    inject_s: int
    cause: str
    pods: Sequence[str]
    spans: pl.DataFrame
    metrics: pl.DataFrame
    gaps: pl.DataFrame


def load(folder: Path = FOLDER) -> list[Fault]:
    """Read the performance faults.

    Raises:
        FileNotFoundError: a file is absent.
    """
    cases_file, metrics_file, gaps_file = (
        folder / f"{name}.parquet" for name in ("cases", "pod_metrics", "edge_latency_p50")
    )
    for file in (cases_file, metrics_file, gaps_file):
        if not file.is_file():
            raise FileNotFoundError(f"{file} is absent: Nezha is read from there (say where with --data FOLDER)")
    cases = pl.read_parquet(cases_file).filter(pl.col("fault").is_in(_PERFORMANCE)).sort("inject_ts")
    faults: list[Fault] = []
    for (day, system), injected in cases.group_by("day", "system", maintain_order=True):
        metrics = pl.read_parquet(metrics_file).filter(pl.col("day") == day, pl.col("system") == system)
        metrics = metrics.select(pl.col("ts").alias("time_s"), pl.col("pod", "metric").cast(pl.String), "value")
        pods = metrics["pod"].unique().sort().to_list()
        gaps = _gaps(pl.read_parquet(gaps_file).filter(pl.col("day") == day), pods)
        spans = _spans(folder / f"spans_{day}.parquet")
        for case in injected.iter_rows(named=True):
            until_s = case["inject_ts"] + AFTER_S
            faults.append(
                Fault(
                    name=case["case_id"],
                    system=str(system),
                    kind="network delay" if case["fault"] == "network_delay" else "CPU",
                    inject_s=case["inject_ts"],
                    cause=case["rc_pod"],
                    pods=pods,
                    spans=spans.filter(pl.col("root_ms") < until_s * 1000),
                    metrics=metrics.filter(pl.col("time_s") <= until_s),
                    gaps=gaps.filter(pl.col("time_s") <= until_s),
                )
            )
    return faults


def run(folder: Path = FOLDER) -> dict[str, float]:
    """All figures by name (`benchmarks.causes.scoring.as_dict`). See `load` for errors."""
    return as_dict(rows(load(folder)))


def rows(faults: Sequence[Fault]) -> list[Row]:
    """The lines of the table."""
    scores: dict[str, list[Scores]] = {}
    for fault in faults:
        single = {SPANS: blamed(fault), CPU: unusual_cpu(fault), GAPS: unusual_gaps(fault)}
        others = {
            CORRELATION: _correlated(fault),
            Z_SCORE: _distant(fault),
            Z_SCORE_CPU: _distant(fault, [_CPU_METRIC]),
        }
        for method, given in ({OURS: fused(list(single.values()), fault.pods)} | single | others).items():
            scores.setdefault(method, []).append(given)
    hits = {
        method: Hits.of((given, fault.pods, fault.cause) for given, fault in zip(of_method, faults, strict=True))
        for method, of_method in scores.items()
    }
    groups = dict(_groups(faults))
    lines = [row(method, name, of.only(chosen)) for method, of in hits.items() for name, chosen in groups.items()]
    for name, chosen in groups.items():
        pods = [len(fault.pods) for fault, inside in zip(faults, chosen, strict=True) if inside]
        first, third = (float(np.mean([peers.by_chance(count, hits_of) for count in pods])) for hits_of in (1, 3))
        lines.append(Row("random", name, len(pods), first, third, None))
    for name in sorted({fault.system.upper() for fault in faults}):
        chosen = groups[name]
        apart = difference(
            "fused - correlation", f"{name}, paired", hits[OURS].only(chosen), hits[CORRELATION].only(chosen)
        )
        lines.append(apart)
    return lines


def blamed(fault: Fault) -> dict[str, float]:
    """Milliseconds for which each pod answers, in total; the most that any target's account says."""
    inject_ms = fault.inject_s * 1000
    after = fault.spans.filter(pl.col("root_ms") >= inject_ms)
    if after.is_empty():
        return {}
    graph = calls_of_spans(fault.spans, fault.pods[0])
    usual = steps_of_spans(fault.spans.filter(pl.col("root_ms") < inject_ms), STEP_MS)
    incident = steps_of_spans(after, STEP_MS)
    requests = dict(incident.group_by("node").agg(pl.col("requests").sum()).iter_rows())
    answers_for: dict[str, float] = {}
    for target in (node for node in requests if not link_ends(node)):
        try:
            verdict = UsualTime(CallGraph(target, graph.calls), usual).blame(incident)
        except ValueError:  # it had too few requests before to say what is usual
            continue
        for blame in verdict.blames:
            if blame.is_unusual:
                part = blame.excess * requests[target]
                answers_for[blame.node] = max(answers_for.get(blame.node, 0.0), part)
    return without_links(answers_for, [node for node in graph.nodes if link_ends(node)])


def unusual_cpu(fault: Fault) -> dict[str, float]:
    """Robust sigmas by which a pod's CPU use rose beyond three of them."""
    used = fault.metrics.filter(pl.col("metric") == _CPU_METRIC)
    return {pod: sigmas for pod, sigmas in _rises(used, "pod", fault.inject_s, 0.0) if sigmas > SIGMAS_MIN}


def unusual_gaps(fault: Fault) -> dict[str, float]:
    """The same of the gap between client and server, handed from the links to the pods at fault."""
    rises = dict(_rises(fault.gaps, "link", fault.inject_s, _LEAST_GAP_S))
    return without_links({link: sigmas for link, sigmas in rises.items() if sigmas > SIGMAS_MIN}, list(rises))


def fused(rankings: Sequence[Scores], pods: Sequence[str]) -> dict[str, float]:
    """The sum of 1/place over the rankings; equal scores share the mean of their places."""
    total = dict.fromkeys(pods, 0.0)
    for scores in rankings:
        for pod in pods:
            score = scores.get(pod, 0.0)
            better = sum(scores.get(other, 0.0) > score for other in pods)
            equal = sum(scores.get(other, 0.0) == score for other in pods)
            total[pod] += 1.0 / (better + (equal + 1) / 2)
    return total


def _rises(series: pl.DataFrame, key: str, inject_s: int, least: float) -> Iterator[tuple[str, float]]:
    """By how many robust sigmas each series' highest value after the injection is above the median before."""
    for (name,), values in series.group_by(key, maintain_order=True):
        before = values.filter(pl.col("time_s") < inject_s)["value"].to_numpy()
        after = values.filter(pl.col("time_s") >= inject_s)["value"].to_numpy()
        if len(before) > 1 and len(after):
            usual, sigma = median_and_sigma(before)
            yield str(name), (float(np.max(after)) - usual) / max(sigma, _LEAST_CHANGE * abs(usual), least, 1e-9)


def _correlated(fault: Fault) -> dict[str, float]:
    """Ranked correlation with the server latency of the pod that takes users' requests; the best of a pod's metrics."""
    names, before, after = _arrays(fault, None)
    target = next(
        place for place, (pod, metric) in enumerate(names)
        if pod.startswith(_FELT[fault.system]) and metric == _FELT_METRIC
    )  # fmt: skip
    return _best_of(names, peers.ranked_correlation(before, after, target), without=target)


def _distant(fault: Fault, metrics: Sequence[str] | None = None) -> dict[str, float]:
    """Distance from the median in interquartile ranges; the greatest of a pod's metrics."""
    names, before, after = _arrays(fault, metrics)
    return _best_of(names, peers.z_score(before, after))


def _arrays(
    fault: Fault, metrics: Sequence[str] | None
) -> tuple[list[tuple[str, str]], NDArray[np.float64], NDArray[np.float64]]:
    chosen = fault.metrics if metrics is None else fault.metrics.filter(pl.col("metric").is_in(metrics))
    minutes = chosen.with_columns(time_s=(pl.col("time_s") - fault.inject_s).floordiv(60))
    wide = minutes.pivot(on=["pod", "metric"], index="time_s", values="value", aggregate_function="mean").sort("time_s")
    pairs = chosen.select("pod", "metric").unique(maintain_order=True).rows()
    columns = {f'{{"{pod}","{metric}"}}': (pod, metric) for pod, metric in pairs}
    values = wide.select(list(columns)).cast(pl.Float64).to_numpy()
    before = (wide["time_s"] < 0).to_numpy()
    return list(columns.values()), values[before], values[~before]


def _best_of(
    names: Sequence[tuple[str, str]], scores: NDArray[np.float64], without: int | None = None
) -> dict[str, float]:
    best: dict[str, float] = {}
    for place, (pod, _) in enumerate(names):
        if place != without:
            best[pod] = max(best.get(pod, 0.0), float(scores[place]))
    return best


def _groups(faults: Sequence[Fault]) -> Iterator[tuple[str, NDArray[np.bool_]]]:
    for system in sorted({fault.system for fault in faults}):
        yield system.upper(), np.array([fault.system == system for fault in faults])
        for kind in ("CPU", "network delay"):
            chosen = np.array([fault.system == system and fault.kind == kind for fault in faults])
            if chosen.any():
                yield f"{system.upper()} {kind}", chosen


def _spans(file: Path) -> pl.DataFrame:
    """Spans with ids that are unique in the day: the set numbers traces anew in each file."""
    trace = pl.concat_str(pl.col("kind", "minute", "trace").cast(pl.String), separator=":").rank("dense")
    spans = pl.read_parquet(file).select(
        trace.alias("trace"),
        "span",
        "parent",
        pl.col("pod").cast(pl.String).alias("node"),
        (pl.col("start_us") / 1000).alias("start_ms"),
        (pl.col("dur_us") / 1000).alias("duration_ms"),
    )
    roots = spans.filter(pl.col("parent").is_null()).unique("trace").select("trace", root_ms="start_ms")
    return spans.unique(["trace", "span"], keep="first", maintain_order=True).join(roots, on="trace")


def _gaps(latencies: pl.DataFrame, pods: Sequence[str]) -> pl.DataFrame:
    pod_of = {pod.split("-")[0]: pod for pod in pods}
    links = {edge: link_name(*(pod_of[end] for end in edge.split("_"))) for edge in latencies["edge"].unique()}
    sides = [
        latencies.filter(pl.col("side") == side).select("ts", "edge", side="value")
        for side in ("source", "destination")
    ]
    both = sides[0].join(sides[1], on=["ts", "edge"], suffix="_server")
    return both.select(
        pl.col("ts").alias("time_s"),
        pl.col("edge").replace_strict(links, return_dtype=pl.String).alias("link"),
        (pl.col("side") - pl.col("side_server")).alias("value"),
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=FOLDER, help="folder with the parquet files of the set")
    try:
        faults = load(parser.parse_args().data)
    except FileNotFoundError as absent:
        raise SystemExit(f"nezha: {absent}") from absent
    show("Nezha, performance faults: the true pod is named", rows(faults))


if __name__ == "__main__":
    main()
