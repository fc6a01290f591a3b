"""Real recordings through the real doors: what went in is stored and counted, and what happened in them is named."""

import itertools
import json
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray

from analytics.jobs.explaining import AnalyzeSettings
from analytics.jobs.incidents import analyze
from analytics.knowledge import shipped_knowledge
from analytics.neighbourhood import GPU_INDEX_LABEL, gpu_indices
from analytics.signals import Grid, metric_signals
from analytics.spikes import SpikeSettings
from domain.cause import CauseKind
from domain.entity import Entity, EntityKind
from domain.incident import Incident, Indicator, Status
from domain.window import Window, rfc3339
from storage.readers import read_request_series, read_samples, read_series, read_services, sample_rows
from storage.store import Store
from tests.scenarios.recordings import (
    TELEMETRY,
    Doors,
    RecordedScrape,
    Shift,
    endpoint,
    open_doors,
    read_scrapes,
    read_span_requests,
    send_spans,
)

pytestmark = pytest.mark.skipif(not TELEMETRY.is_dir(), reason=f"no recorded telemetry in {TELEMETRY}")

ENGINES = TELEMETRY / "engines"
DCGM = TELEMETRY / "dcgm"
KV_PRESSURE = "vllm-0.32.0-kvpressure-otlp-spans.jsonl.gz", "vllm-0.32.0-cpu-kvpressure-metrics-series.prom.gz"
BURST = "vllm-0.32.0-otlp-spans.jsonl.gz", "vllm-0.32.0-cpu-metrics-series.prom.gz"
# The scraped text names no pod; a site says it in its scrape configuration.
VLLM_LABELS = {"pod": "vllm-0", "node": "gpu-node-00"}
VLLM = Entity(EntityKind.REPLICA, "vllm-0")
SERVICE = Entity(EntityKind.SERVICE, "vllm-server")
HISTORY_S = 120


@pytest.fixture
def doors(clean_store: Store, tmp_path: Path) -> Iterator[Doors]:
    with open_doors(clean_store, tmp_path / "collector") as opened:
        yield opened


def rows(store: Store, statement: str) -> list[dict[str, Any]]:
    engine = store.engine
    assert engine is not None
    settings = {"output_format_json_quote_64bit_integers": "0"}
    return [json.loads(line) for line in engine.read(statement, "JSONEachRow", settings=settings).body.splitlines()]


def samples_count(texts: list[str]) -> int:
    return sum(bool(line.strip()) and not line.startswith("#") for text in texts for line in text.splitlines())


# -- vLLM --------------------------------------------------------------------------------------------------------------


def play_vllm(doors: Doors, recording: tuple[str, str]) -> Window:
    """Send both halves of a run; the window is the run, with a step after it."""
    spans, metrics = recording
    scrapes = read_scrapes(ENGINES / metrics)
    shift = Shift(scrapes[0].time_s)
    doors.send_spans(read_span_requests(ENGINES / spans, shift))
    assert set(doors.scrape("vllm", [scrape.timed(shift) for scrape in scrapes], VLLM_LABELS)) == {"ok"}
    doors.load()
    return Window(shift.moment(scrapes[0].time_s), shift.moment(scrapes[-1].time_s + 10))


def found_in(store: Store, window: Window, step_s: int) -> list[Incident]:
    settings = AnalyzeSettings(spikes=SpikeSettings(step_s=step_s, history_s=HISTORY_S))
    return analyze(store, window, window.end, (), settings)


@pytest.mark.parametrize("step_s", [5, 10])
def test_vllm_under_kv_pressure_is_explained_by_the_full_cache_and_the_burst_that_filled_it(
    clean_store: Store, doors: Doors, step_s: int
) -> None:
    incidents = found_in(clean_store, play_vllm(doors, KV_PRESSURE), step_s)
    assert [incident.indicator for incident in incidents] == [Indicator.TTFT]
    (incident,) = incidents
    assert incident.service == "vllm-server"
    assert incident.status is Status.OPEN, "the recording ends before the queue has drained"
    assert incident.peak_ms_p99 > 20_000
    assert incident.baseline_ms_p99 < 100
    assert incident.tenants_affected_count is None, "the spans name no tenant"
    blamed = [(cause.kind, cause.entity) for cause in incident.explanation.causes]
    assert set(blamed[:2]) == {(CauseKind.GPU_MEMORY_PRESSURE, VLLM), (CauseKind.TRAFFIC_SURGE, SERVICE)}
    assert {"kv_cache_usage", "preemptions"} <= {
        evidence.signal
        for cause in incident.explanation.causes
        if cause.kind is CauseKind.GPU_MEMORY_PRESSURE
        for evidence in cause.evidence
    }


def test_the_signs_of_kv_pressure_follow_in_the_order_in_which_it_happened(clean_store: Store, doors: Doors) -> None:
    (incident,) = found_in(clean_store, play_vllm(doors, KV_PRESSURE), step_s=5)
    leads = {
        evidence.signal: evidence.lead_s
        for cause in incident.explanation.causes
        for evidence in cause.evidence
        if evidence.lead_s is not None
    }
    burst, preempted, full, queue = (
        leads[name] for name in ("request_rate", "preemptions", "kv_cache_usage", "waiting_requests")
    )
    assert burst >= preempted >= full >= queue
    assert preempted >= 0, "the cache was short before users felt it"


@pytest.mark.parametrize("step_s", [5, 10])
def test_the_burst_of_the_plain_vllm_run_is_a_traffic_surge_and_nothing_else(
    clean_store: Store, doors: Doors, step_s: int
) -> None:
    (incident,) = found_in(clean_store, play_vllm(doors, BURST), step_s)
    assert incident.indicator in (Indicator.TTFT, Indicator.LATENCY), "which of them shows depends on the step"
    assert [(cause.kind, cause.entity) for cause in incident.explanation.causes] == [(CauseKind.TRAFFIC_SURGE, SERVICE)]
    ruled_out = {one.kind: one.why for one in incident.explanation.ruled_out}
    assert "no preemptions" in ruled_out[CauseKind.GPU_MEMORY_PRESSURE]


@pytest.mark.slow
def test_the_command_line_explains_a_recording_from_its_own_data_folder_and_twice_the_same(tmp_path: Path) -> None:
    """`tailsight serve` hears the recording as any source; `tailsight analyze` is then run as an engineer would."""
    spans, metrics = KV_PRESSURE
    scrapes = read_scrapes(ENGINES / metrics)
    shift = Shift(scrapes[0].time_s)
    served_all = threading.Event()

    def texts() -> Iterator[str]:
        yield from (scrape.timed(shift) for scrape in scrapes)
        served_all.set()

    with endpoint(texts()) as url:
        target = {"job": "vllm", "url": url, "labels": VLLM_LABELS, "interval_s": 0.1}
        config = tmp_path / "tailsight.yaml"
        config.write_text(  # JSON is YAML
            json.dumps(
                {
                    "store": f"chdb://{tmp_path / 'data'}",
                    "web": {"port": 0},
                    "collector": {"otlp_http": {"port": 0}, "otlp_grpc": {"port": 0}, "scrape": {"targets": [target]}},
                }
            )
        )
        with subprocess.Popen(
            tailsight("serve", "--config", str(config)), stdout=subprocess.PIPE, text=True, env=ENVIRONMENT
        ) as server:
            assert server.stdout is not None
            try:
                (otlp_url,) = re.findall(r"(http://\S+) \(HTTP\)", server.stdout.readline())
                send_spans(otlp_url, read_span_requests(ENGINES / spans, shift))
                assert served_all.wait(60), "not every recorded scrape was asked for"
            finally:
                server.send_signal(signal.SIGTERM)
            server.communicate(timeout=60)
            assert server.returncode == 0, "what was acknowledged is loaded before it ends"
    start, end = (rfc3339(shift.moment(scrapes[at].time_s + extra)) for at, extra in ((0, 0), (-1, 10)))
    command = tailsight("analyze", "--config", str(config), "--from", start, "--to", end)
    command += ["--step", "5", "--history", str(HISTORY_S), "--json"]
    first, second = (
        subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=ENVIRONMENT, timeout=120).stdout
        for _ in range(2)
    )
    assert first == second, "running it twice changes nothing"
    (incident,) = json.loads(first)["incidents"]
    assert {cause["kind"] for cause in incident["causes"][:2]} == {"gpu_memory_pressure", "traffic_surge"}


ENVIRONMENT = {"PATH": "/usr/bin:/bin", "COLUMNS": "200"}


def tailsight(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "tailsight", *arguments]


# -- Dynamo ------------------------------------------------------------------------------------------------------------


def test_a_calm_dynamo_run_is_stored_to_the_last_span_and_raises_no_incident(clean_store: Store, doors: Doors) -> None:
    file = ENGINES / "dynamo-1.6.1-metrics-series-baseline.prom.gz"
    scrapes = read_scrapes(file)
    shift = Shift(scrapes[0].time_s)
    sent = doors.send_spans(read_span_requests(ENGINES / "dynamo-1.6.1-otlp-spans-baseline.jsonl.gz", shift))
    for target in sorted({scrape.target for scrape in scrapes}):
        texts: list[str | None] = [scrape.timed(shift) for scrape in scrapes if scrape.target == target]
        assert set(doors.scrape(f"dynamo-{target}", texts, {"pod": target})) == {"ok"}
    doors.load()

    assert rows(clean_store, "SELECT count() AS n, uniqExact(SpanId) AS distinct FROM otel_traces") == [
        {"n": sent, "distinct": sent}
    ]
    assert sent == 1267
    by_service = rows(
        clean_store, "SELECT ServiceName AS service, count() AS n FROM otel_traces GROUP BY ALL ORDER BY 1"
    )
    assert by_service == [
        {"service": "dynamo-frontend", "n": 1111},
        {"service": "dynamo-mocker-w1", "n": 98},
        {"service": "dynamo-mocker-w2", "n": 58},
    ]
    window = Window(shift.moment(scrapes[0].time_s - 120), shift.moment(scrapes[-1].time_s + 10))
    services = read_services(clean_store, window)
    assert dict(services.select("service", "requests").iter_rows()) == {
        "dynamo-frontend": 157,
        "dynamo-mocker-w1": 98,
        "dynamo-mocker-w2": 58,
    }
    series = read_request_series(clean_store, window, 5)
    assert series["latency_ms_p99"].null_count() == 0
    for step_s in (5, 10):
        assert found_in(clean_store, window, step_s) == []


# -- InfiniBand --------------------------------------------------------------------------------------------------------

FABRIC_LABELS = {"node": "gpu-node-00"}


def fabric_scrapes() -> tuple[list[RecordedScrape], Shift]:
    scrapes = read_scrapes(TELEMETRY / "ib" / "node_exporter-1.11.1-series-40x15s.prom.gz")
    return scrapes, Shift(scrapes[0].time_s)


def recorded_counter(scrapes: list[RecordedScrape], metric: str, device: str) -> list[tuple[float, float]]:
    """(seconds, value) of one port's counter, read from the text by itself."""
    line = re.compile(rf'^{metric}{{device="{device}",port="1"}} (\S+)$', re.MULTILINE)
    found = [(scrape.time_s - scrapes[0].time_s, line.search(scrape.text)) for scrape in scrapes]
    return [(seconds, float(match[1])) for seconds, match in found if match is not None]


def test_the_fabric_series_is_stored_and_its_missed_scrape_is_a_gap(clean_store: Store, doors: Doors) -> None:
    scrapes, shift = fabric_scrapes()
    results = doors.scrape("node", [None if one.missed else one.timed(shift) for one in scrapes], FABRIC_LABELS, "node")
    doors.load()
    assert [result for result in results if result != "ok"] == ["bad_status"]
    answered = [scrape.text for scrape in scrapes if not scrape.missed]
    own = "('up', 'scrape_duration_seconds', 'scrape_samples_scraped')"
    ((stored),) = rows(
        clean_store,
        f"""SELECT sum(n) AS n FROM (
            SELECT countIf(MetricName NOT IN {own}) AS n FROM otel_metrics_gauge UNION ALL
            SELECT count() FROM otel_metrics_sum)""",
    )
    assert stored["n"] + sum(doors.dropped("node").values()) == samples_count(answered)

    window = Window(shift.moment(scrapes[0].time_s), shift.moment(scrapes[-1].time_s + 15))
    series = read_series(clean_store, window, ["node_infiniband_port_transmit_wait_total"])
    assert set(series.select("node", "port").iter_rows()) >= {("gpu-node-00", f"mlx5_{n}/1") for n in range(9)}
    samples = sample_rows(read_samples(clean_store, window, series, 15, "last"), 15)
    (missed_s,) = (scrape.time_s for scrape in scrapes if scrape.missed)
    times = samples["time"].unique().sort().to_list()
    assert len(times) == 39
    assert shift.moment(missed_s) not in times
    up = rows(
        clean_store,
        "SELECT Value AS up, count() AS n FROM otel_metrics_gauge WHERE MetricName = 'up' GROUP BY 1 ORDER BY 1",
    )
    assert up == [{"up": 0, "n": 1}, {"up": 1, "n": 39}]


def test_utilisation_and_wait_of_the_ports_are_as_recorded(clean_store: Store, doors: Doors) -> None:
    scrapes, shift = fabric_scrapes()
    doors.scrape("node", [None if one.missed else one.timed(shift) for one in scrapes], FABRIC_LABELS, "node")
    doors.load()
    window = Window(shift.moment(scrapes[0].time_s), shift.moment(scrapes[-1].time_s + 15))
    knowledge = shipped_knowledge()
    series = read_series(clean_store, window, knowledge.metrics)
    grid = Grid(window, 15)
    counters, levels = (read_samples(clean_store, window, series, 15, value) for value in ("last", "mean"))
    matrices = metric_signals(series, counters, levels, grid, knowledge)
    signals: dict[str, dict[str, NDArray[np.float64]]] = {
        matrix.signal.name: dict(zip((entity.name for entity in matrix.entities), matrix.values, strict=True))
        for matrix in matrices
    }
    offsets = 15.0 * np.arange(grid.steps)  # of the scrape in each step
    congested = (offsets >= 240) & (offsets < 420)
    missed = offsets == 375

    busy, waits = signals["port_utilisation"]["gpu-node-00/mlx5_1/1"], signals["transmit_wait"]["gpu-node-00/mlx5_1/1"]
    assert np.nanmin(busy[congested]) > 0.95
    assert np.nanmax(busy[~congested]) < 0.5
    assert np.nanmin(waits[congested]) > 1e7
    assert np.nanmax(waits[~congested]) < 1e4
    for name in ("port_utilisation", "transmit_wait"):
        assert np.isnan(signals[name]["gpu-node-00/mlx5_1/1"][missed]).all(), "a missed scrape is no sample, not a zero"
        for port, values in signals[name].items():
            assert not (values < 0).any(), f"{name} of {port} is negative"

    # Between two scrapes without a reset the rate is the difference over the time.
    recorded = recorded_counter(scrapes, "node_infiniband_port_transmit_wait_total", "mlx5_0")
    for (before_s, before), (now_s, now) in itertools.pairwise(recorded):
        measured = signals["transmit_wait"]["gpu-node-00/mlx5_0/1"][int(now_s // 15)]
        assert measured == pytest.approx((now - before) / (now_s - before_s))

    # The counters of mlx5_2 start anew at 480 s: what they show since is the least they grew.
    after_reset = dict(recorded_counter(scrapes, "node_infiniband_port_data_transmitted_bytes_total", "mlx5_2"))[480]
    assert signals["port_utilisation"]["gpu-node-00/mlx5_2/1"][offsets == 480] >= after_reset / 15 / 5e10
    assert np.nanmax(signals["port_utilisation"]["gpu-node-00/mlx5_2/1"]) < 0.5


# -- DCGM --------------------------------------------------------------------------------------------------------------

DCGM_FILES = sorted(DCGM.rglob("*.prom")) + sorted(DCGM.rglob("*.txt"))


@pytest.mark.parametrize("file", DCGM_FILES, ids=lambda file: file.name)
def test_every_sample_of_a_dcgm_text_is_stored_or_counted_as_left_out(
    clean_store: Store, doors: Doors, file: Path
) -> None:
    text = file.read_text()
    assert doors.scrape("dcgm", [text], source="dcgm") == ["ok"]
    doors.load()
    names = "MetricName LIKE 'DCGM%' OR MetricName LIKE 'dcgm%'"
    ((stored),) = rows(
        clean_store,
        f"""SELECT sum(n) AS n FROM (SELECT count() AS n FROM otel_metrics_gauge WHERE {names}
            UNION ALL SELECT count() FROM otel_metrics_sum WHERE {names})""",
    )
    dropped = doors.dropped("dcgm")
    assert stored["n"] > 0
    assert stored["n"] + sum(dropped.values()) == samples_count([text])
    expected = {"duplicate"} if "mig_disabled" in file.name else set()
    assert {reason for reason, count in dropped.items() if count} <= expected | {"sentinel", "nan"}


def entities(store: Store, metric: str) -> pl.DataFrame:
    now = datetime.now(UTC)
    return read_series(store, Window(now - timedelta(hours=1), now + timedelta(minutes=1)), [metric], [GPU_INDEX_LABEL])


@pytest.mark.parametrize("release", ["4.8.2_8xH100-mixed_Hostname", "main-2026-05_8xH100-mixed"])
def test_gpus_mig_instances_pods_and_nodes_are_read_from_either_spelling_of_the_labels(
    clean_store: Store, doors: Doors, release: str
) -> None:
    doors.scrape("dcgm", [(DCGM / f"rendered-dcgm-exporter-{release}.prom").read_text()], source="dcgm")
    doors.load()
    series = entities(clean_store, "DCGM_FI_DEV_FB_USED")
    uuid = "GPU-5b4e07f{}-0da5-6d26-a36a-e7af1ce2586e".format
    assert dict(series.select("gpu", "replica").iter_rows()) == {
        uuid(0): "llama-70b-0",
        uuid(1): "llama-70b-0",
        uuid(2): "llama-70b-1",
        uuid(3): "llama-70b-1",
        uuid(4): "llama-70b-2",
        uuid(5): "llama-70b-2",
        uuid(6): None,
        f"{uuid(7)}/9": None,
        f"{uuid(7)}/10": None,
    }
    assert series["node"].unique().to_list() == ["gpu-node-00"]
    assert {gpu.name: index for gpu, index in gpu_indices(series).items()} == {
        **{uuid(number): number for number in range(7)}, f"{uuid(7)}/9": 7, f"{uuid(7)}/10": 7,
    }  # fmt: skip


def test_a_workload_that_the_scraper_renamed_is_the_replica_and_the_exporter_is_not(
    clean_store: Store, doors: Doors
) -> None:
    """A target with a pod label of its own renames the text's, as Prometheus does unless it honours labels."""
    text = (DCGM / "rendered-dcgm-exporter-main-2026-05_8xH100-mixed.prom").read_text()
    doors.scrape("dcgm", [text], {"pod": "dcgm-exporter-x7k2p", "namespace": "gpu-operator"}, "dcgm")
    doors.load()
    series = entities(clean_store, "DCGM_FI_DEV_FB_USED")
    with_workload = series.filter(pl.col("gpu").str.contains("f0-"))
    assert with_workload["replica"].to_list() == ["llama-70b-0"]


def test_the_same_mig_instance_seen_by_two_exporters_is_one_gpu_on_two_hosts(clean_store: Store, doors: Doors) -> None:
    (file,) = DCGM.glob("real_A30*")
    doors.scrape("dcgm", [file.read_text()], source="dcgm")
    doors.load()
    series = entities(clean_store, "DCGM_FI_PROF_GR_ENGINE_ACTIVE")
    assert set(series["gpu"]) == {"GPU-603a8873-0edd-c157-ce48-2078e8b1a935/1"}
    assert set(series["node"]) == {"dcgm-exporter-8cqdc", "dcgm-exporter-4flp2"}
    assert set(series["replica"]) == {"testest-9sxmd"}


@pytest.mark.parametrize(
    ("name", "gpu", "node"),
    [
        ("real_T4_driver460_old-labels.prom", "GPU-20c56d28-0da5-6d26-a36a-e7af1ce2586e", "424773df46e0"),
        ("real_L40S_driver595_no-pod-labels.prom", "GPU-5b4e07f6-3a86-4340-039d-25f2a83cdc43", "gpu1-wl8sg"),
    ],
)
def test_a_gpu_without_a_workload_has_a_node_and_no_replica(
    clean_store: Store, doors: Doors, name: str, gpu: str, node: str
) -> None:
    doors.scrape("dcgm", [(DCGM / name).read_text()], source="dcgm")
    doors.load()
    series = entities(clean_store, "DCGM_FI_DEV_FB_USED")
    assert series.select("gpu", "node", "replica").rows() == [(gpu, node, None)]
