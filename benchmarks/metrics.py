"""Data points per CPU-second, from the socket to a row that can be queried.

    python -m benchmarks.metrics [--quick] [--runs N] [--points N]

A collector with an embedded store runs in a process of its own; the client sends OTLP/HTTP, protobuf, gzip. Counted is
all CPU time of the server's process, every thread of the engine included: receive, unpack, check, log, sync, decode,
write `otel_metrics_*`, and the views behind them (samples, series, samples an hour). Once with merges stopped, and once
with merges on, until nothing is left to merge; and without the views. The client's CPU time is not counted.

Machines differ, and shared ones change by the hour. So spans of `benchmarks.ingest` are sent in turns with the points:
how many points are taken in for each span, in the same CPU time, says more than either figure.

The requests are what an OpenTelemetry Collector sends that scrapes a fleet of GPU nodes every 15 s and batches by 5,000
points: per node a dcgm-exporter (8 GPUs), a node-exporter and 8 vLLM replicas, with 6 to 8 attributes a point. Of 100
points 42 are gauges, 51 sums, and 7 histograms of 20 bounds. The same 40,000 series come again in each round with other
values, and no point twice; the first round, in which they are new, is not counted. What points take on the disk is told
once all rounds are one part.
"""

import argparse
import json
import random
import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import groupby, islice
from typing import Any

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from rich.console import Console
from rich.table import Table

from benchmarks import ingest
from benchmarks.ingest import add_attributes
from benchmarks.server import (
    WARM_UP_REQUESTS,
    Measurement,
    Payload,
    machine,
    measure,
    median,
    merged,
    zipped,
)

POINTS_A_REQUEST = 5_000
SERIES = POINTS_A_REQUEST * WARM_UP_REQUESTS
TABLES = ("otel_metrics_gauge", "otel_metrics_sum", "otel_metrics_histogram")
INTERVAL_S = 15
GPUS = 8
SECOND_NS = 10**9
CUMULATIVE = 2
SCOPE = "github.com/open-telemetry/opentelemetry-collector-contrib/receiver/prometheusreceiver"
BOUNDS = tuple(round(0.001 * 1.7**step, 4) for step in range(20))


@dataclass(frozen=True, slots=True)
class Series:
    """What a target tells again and again: a metric and its labels, with the greatest value that it takes."""

    target: tuple[str, str]
    name: str
    kind: str
    attributes: Mapping[str, str]
    most: float = 1.0


# -- the fleet ---------------------------------------------------------------------------------------------------------

_DCGM_GAUGES = (
    *(("DEV_" + name, 2000.0) for name in ("SM_CLOCK", "MEM_CLOCK", "GPU_TEMP", "MEMORY_TEMP", "XID_ERRORS")),
    *(("DEV_" + name, 100.0) for name in ("GPU_UTIL", "MEM_COPY_UTIL", "ENC_UTIL", "DEC_UTIL", "FAN_SPEED")),
    *(("DEV_" + name, 8e4) for name in ("FB_FREE", "FB_USED", "FB_RESERVED", "POWER_USAGE", "POWER_MGMT_LIMIT")),
    *(("PROF_" + name, 1.0) for name in ("GR_ENGINE_ACTIVE", "PIPE_TENSOR_ACTIVE", "DRAM_ACTIVE", "SM_ACTIVE")),
    *(("PROF_" + name, 1.0) for name in ("SM_OCCUPANCY", "PIPE_FP16_ACTIVE", "PIPE_FP32_ACTIVE", "PIPE_FP64_ACTIVE")),
    *(("PROF_" + name, 6e10) for name in ("PCIE_TX_BYTES", "PCIE_RX_BYTES", "NVLINK_TX_BYTES", "NVLINK_RX_BYTES")),
    *(("DEV_PCIE_" + name, 16.0) for name in ("LINK_GEN", "LINK_WIDTH", "MAX_LINK_GEN", "MAX_LINK_WIDTH")),
)
_DCGM_SUMS = (
    *(("DEV_ECC_" + name, 9.0) for name in ("SBE_VOL_TOTAL", "DBE_VOL_TOTAL", "SBE_AGG_TOTAL", "DBE_AGG_TOTAL")),
    *(("DEV_" + name + "_VIOLATION", 1e9) for name in ("POWER", "THERMAL", "RELIABILITY", "SYNC_BOOST")),
    *(("DEV_" + name, 1e12) for name in ("TOTAL_ENERGY_CONSUMPTION", "PCIE_REPLAY_COUNTER")),
)
_INFINIBAND = (
    *(
        "data_received_bytes_total",
        "data_transmitted_bytes_total",
        "packets_received_total",
        "port_errors_received_total",
    ),
    *("packets_transmitted_total", "symbol_error_total", "link_downed_total", "port_transmit_wait_total"),
)
_NETWORK = ("receive_bytes_total", "transmit_bytes_total", "receive_drop_total", "transmit_drop_total")
_CPU_MODES = ("idle", "iowait", "irq", "nice", "softirq", "steal", "system", "user")
_FILESYSTEM = ("avail_bytes", "size_bytes", "files_free")
_VLLM_GAUGES = (
    *("num_requests_running", "num_requests_waiting", "kv_cache_usage_perc", "num_requests_swapped"),
    *("gpu_prefix_cache_hit_rate", "lora_requests_info", "engine_sleep_state", "cpu_cache_usage_perc"),
)
_VLLM_SUMS = (
    *("prompt_tokens_total", "generation_tokens_total", "num_preemptions_total", "request_success_total"),
    *("prefix_cache_queries_total", "prefix_cache_hits_total", "spec_decode_num_drafts_total"),
)
_VLLM_HISTOGRAMS = (
    *("time_to_first_token_seconds", "time_per_output_token_seconds", "e2e_request_latency_seconds"),
    *("request_queue_time_seconds", "request_prefill_time_seconds", "request_decode_time_seconds"),
    *("request_prompt_tokens", "request_generation_tokens", "iteration_tokens_total"),
)


def fleet() -> Iterator[Series]:
    """The series of one node after the other, without an end."""
    node = 0
    while True:
        name = f"gpu-node-{node:03}"
        yield from _dcgm(name)
        yield from _node(name)
        for replica in range(GPUS):
            yield from _vllm(name, replica)
        node += 1


def _dcgm(node: str) -> Iterator[Series]:
    for kind, metrics in (("gauge", _DCGM_GAUGES), ("sum", _DCGM_SUMS)):
        for metric, most in metrics:
            for gpu in range(GPUS):
                labels = {
                    "gpu": str(gpu),
                    "UUID": f"GPU-{node[-3:]}e07f{gpu}-0da5-6d26-a36a-e7af1ce2586e",
                    "device": f"nvidia{gpu}",
                    "modelName": "NVIDIA H100 80GB HBM3",
                    "Hostname": node,
                    "namespace": "serving",
                    "pod": f"llama-70b-{node[-3:]}-{gpu}",
                    "container": "vllm",
                }
                yield Series(("dcgm", f"{node}:9400"), f"DCGM_FI_{metric}", kind, labels, most)


def _node(node: str) -> Iterator[Series]:
    target = ("node", f"{node}:9100")
    place = {"cluster": "eu-1", "region": "eu-central", "zone": "b", "rack": f"r{node[-2:]}", "node": node}
    for cpu in range(32):
        for mode in _CPU_MODES:
            yield Series(target, "node_cpu_seconds_total", "sum", {"cpu": str(cpu), "mode": mode} | place, 1e6)
    for metric in _INFINIBAND:
        for port in range(8):
            labels = {"device": f"mlx5_{port}", "port": "1"} | place
            yield Series(target, f"node_infiniband_port_{metric}", "sum", labels, 1e12)
    for metric in _NETWORK:
        for port in range(8):
            yield Series(target, f"node_network_{metric}", "sum", {"device": f"eth{port}"} | place, 1e12)
    for sensor in range(64):
        labels = {"chip": f"pci0000:{sensor // 8:02x}", "sensor": f"temp{sensor % 8}"} | place
        yield Series(target, "node_hwmon_temp_celsius", "gauge", labels, 90.0)
    for metric in _FILESYSTEM:
        for disk in range(10):
            labels = {"device": f"/dev/nvme{disk}n1", "fstype": "ext4", "mountpoint": f"/data/{disk}"} | place
            yield Series(target, f"node_filesystem_{metric}", "gauge", labels, 1e12)


def _vllm(node: str, replica: int) -> Iterator[Series]:
    labels = {
        "model_name": ("llama-70b", "llama-8b", "qwen-32b")[replica % 3],
        "engine": "0",
        "namespace": "serving",
        "pod": f"llama-70b-{node[-3:]}-{replica}",
        "node": node,
        "cluster": "eu-1",
    }
    kinds = (("gauge", _VLLM_GAUGES, 100.0), ("sum", _VLLM_SUMS, 1e9), ("histogram", _VLLM_HISTOGRAMS, 1e4))
    for kind, metrics, most in kinds:
        for metric in metrics:
            yield Series(("vllm", f"{node}:{8000 + replica}"), f"vllm:{metric}", kind, labels, most)


# -- the payload -------------------------------------------------------------------------------------------------------


def request_body(series: Sequence[Series], randomness: random.Random, time_unix_ns: int) -> bytes:
    """One request: a point of each series, in the order in which a scrape tells them."""
    request = ExportMetricsServiceRequest()
    for (job, instance), of_target in groupby(series, key=lambda one: one.target):
        resource_metrics = request.resource_metrics.add()
        host, _, port = instance.partition(":")
        add_attributes(
            resource_metrics.resource.attributes,
            {
                "service.name": job,
                "service.instance.id": instance,
                "server.address": host,
                "server.port": port,
                "url.scheme": "http",
                "k8s.node.name": host,
            },
        )
        scope_metrics = resource_metrics.scope_metrics.add()
        scope_metrics.scope.name = SCOPE
        scope_metrics.scope.version = "0.160.0"
        for name, of_metric in groupby(of_target, key=lambda one: one.name):
            metric = scope_metrics.metrics.add(name=name, description=f"What {job} says of {name}.")
            for one in of_metric:
                _add_point(metric, one, randomness, time_unix_ns)
    body: bytes = request.SerializeToString()
    return body


def _add_point(metric: Any, series: Series, randomness: random.Random, time_unix_ns: int) -> None:
    data = getattr(metric, series.kind)
    point = data.data_points.add(time_unix_nano=time_unix_ns)
    add_attributes(point.attributes, series.attributes)
    if series.kind == "gauge":
        value = randomness.uniform(0, series.most)
        point.as_double = value if series.most <= 1 else round(value)
        return
    data.aggregation_temporality = CUMULATIVE
    point.start_time_unix_nano = time_unix_ns - 86_400 * SECOND_NS
    if series.kind == "sum":
        data.is_monotonic = True
        point.as_double = round(randomness.uniform(0, series.most))
        return
    counts = [int(randomness.expovariate(1 / series.most)) for _ in range(len(BOUNDS) + 1)]
    point.explicit_bounds.extend(BOUNDS)
    point.bucket_counts.extend(counts)
    point.count = sum(counts)
    point.sum = sum(count * bound for count, bound in zip(counts, BOUNDS, strict=False))


def payload(seed: int, rounds: int) -> Payload:
    """So many rounds of the fleet's scrapes, after one to warm up."""
    randomness = random.Random(seed)
    series = list(islice(fleet(), SERIES))
    batches = [series[first : first + POINTS_A_REQUEST] for first in range(0, len(series), POINTS_A_REQUEST)]
    started_ns = time.time_ns() - (rounds + 1) * INTERVAL_S * SECOND_NS
    bodies = [
        request_body(batch, randomness, started_ns + number * INTERVAL_S * SECOND_NS)
        for number in range(rounds + 1)
        for batch in batches
    ]
    return zipped(bodies, POINTS_A_REQUEST, signal="metrics")


def payloads(points: int, spans: int) -> tuple[Payload, Payload]:
    """So many points, and as many spans of `benchmarks.ingest` as a run of them takes."""
    distinct = min(spans, ingest.DISTINCT_SPANS)
    return payload(1, -(-points // SERIES)), ingest.payload(1, -(-distinct // ingest.SPANS_A_REQUEST))


def measure_storage(sent: Payload) -> dict[str, float]:
    """Bytes on the disk of a point, by table, when all is merged."""
    state = merged(sent, TABLES)
    return {table: state["stored_bytes"][table] / state["rows"][table] for table in TABLES}


# -- the report --------------------------------------------------------------------------------------------------------


def report(
    console: Console,
    runs: Sequence[Measurement],
    bare: Sequence[Measurement],
    of_spans: Sequence[Measurement],
    stored: Mapping[str, float],
    sent: Payload,
) -> dict[str, Any]:
    """Print what was measured, and on what; the figures."""
    console.print(machine())
    console.print(
        f"{POINTS_A_REQUEST:,} points of 6 to 8 attributes a request, "
        f"{sent.unzipped_bytes / sent.distinct_items:.0f} bytes a point, "
        f"{sum(map(len, sent.bodies)) / sent.distinct_items:.0f} gzipped; {len(sent.bodies)} distinct requests of "
        f"{SERIES:,} series; 42 % gauges, 51 % sums, 7 % histograms"
    )
    table = Table(title="OTLP/HTTP to queryable rows: items per CPU-second")
    table.add_column("what")
    for heading in ("runs", "items a run", "median", "lowest", "highest"):
        table.add_column(heading, justify="right")
    merged = [run.items_per_cpu_second_with_merges for run in runs if run.items_per_cpu_second_with_merges]
    rates = [run.items_per_cpu_second for run in runs]
    bare_rates = [run.items_per_cpu_second for run in bare]
    span_rates = [run.items_per_cpu_second for run in of_spans]
    for what, found, items in (
        ("points", rates, runs[0].items),
        ("points, until all is merged", merged, runs[0].items),
        ("points, without views", bare_rates, runs[0].items),
        ("spans of bench-ingest, in turns", span_rates, of_spans[0].items),
    ):
        shown = (statistics.median(found), min(found), max(found))
        table.add_row(what, str(len(found)), f"{items:,}", *(f"{rate:,.0f}" for rate in shown))
    console.print(table)
    ratios = [points / spans for points, spans in zip(rates, span_rates, strict=True)]
    console.print(
        f"For each span, {statistics.median(ratios):.2f} points are taken in in the same CPU time "
        f"({min(ratios):.2f} to {max(ratios):.2f})."
    )
    last = runs[-1]
    console.print(
        f"The server's peak RSS was {max(run.peak_rss_mib for run in runs):.0f} MiB. In the last run the last row "
        f"could be queried {last.lag_s:.1f} s after it was acknowledged; {last.parts} parts."
    )
    console.print(
        f"Bytes on the disk: {', '.join(f'{size:.1f} a row of {table}' for table, size in stored.items())}; "
        f"{(len(sent.bodies) + len(sent.warm_up)) * POINTS_A_REQUEST // SERIES} points of a series lie together."
    )
    return {
        "points_per_cpu_second": median(rates),
        "points_per_cpu_second_with_merges": median(merged),
        "points_per_cpu_second_without_views": median(bare_rates),
        "spans_per_cpu_second": median(span_rates),
        "points_for_each_span": median(ratios, 2),
        "points_per_second_wall": median(run.items / run.wall_s for run in runs),
        "bytes_a_point": {table: round(size, 1) for table, size in stored.items()},
        "peak_rss_mib": round(max(run.peak_rss_mib for run in runs)),
        "runs": len(runs),
        "measurements": [_rounded(run) for run in runs],
        "measurements_of_spans": [_rounded(run) for run in of_spans],
    }


def _rounded(run: Measurement) -> dict[str, Any]:
    return {name: value if value is None else round(value, 3) for name, value in asdict(run).items()}


def main() -> None:
    """Measure and print; the last line is one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one short run of each, to see that it works")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--points", type=int, default=1_000_000, help="data points of a run")
    arguments = parser.parse_args()
    count, points = (1, 120_000) if arguments.quick else (arguments.runs, arguments.points)
    console = Console()
    runs, bare, of_spans = [], [], []
    with console.status("building requests") as status:
        spans = 30_000 if arguments.quick else ingest.SPANS_A_RUN
        sent, sent_spans = payloads(points, spans)
        for run in range(count):
            status.update(f"run {run + 1} of {count}")
            runs.append(measure(sent, points, merges="after"))
            of_spans.append(measure(sent_spans, spans))
            bare.append(measure(sent, points, with_views=False))
        status.update("what it takes on the disk")
        stored = measure_storage(sent)
    print(json.dumps(report(console, runs, bare, of_spans, stored, sent)))


if __name__ == "__main__":
    main()
