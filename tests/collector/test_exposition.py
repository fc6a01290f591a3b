"""Prometheus text becomes the OTLP that a Collector's Prometheus receiver would send."""

import gzip
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from prometheus_client.parser import text_string_to_metric_families

from collector.exposition import Family, Origin, Sample, parsed, to_request
from storage.store import Store
from tests.collector.conftest import Ask

RECORDED = Path(__file__).parents[3] / "shared" / "data" / "telemetry"
NOW = 1_795_000_000_000_000_000
START = NOW - 3_600_000_000_000
ORIGIN = Origin("dcgm", "http://gpu-node-07:9400/metrics", {})


def metrics(text: str, origin: Origin = ORIGIN) -> dict[str, Any]:
    """The metrics that a text becomes, by name."""
    payload = to_request(parsed(text).families, origin, time_unix_ns=NOW, start_unix_ns=START)
    (resource,) = ExportMetricsServiceRequest.FromString(payload).resource_metrics
    return {metric.name: metric for metric in resource.scope_metrics[0].metrics}


def labels(point: Any) -> dict[str, str]:
    return {attribute.key: attribute.value.string_value for attribute in point.attributes}


def test_a_gauge_keeps_its_name_its_help_and_its_labels() -> None:
    (metric,) = metrics(
        "# HELP DCGM_FI_DEV_FB_USED Framebuffer memory used (in MiB).\n"
        "# TYPE DCGM_FI_DEV_FB_USED gauge\n"
        'DCGM_FI_DEV_FB_USED{gpu="0",modelName="NVIDIA H100 80GB HBM3"} 61440\n'
    ).values()
    assert (metric.name, metric.description) == ("DCGM_FI_DEV_FB_USED", "Framebuffer memory used (in MiB).")
    (point,) = metric.gauge.data_points
    assert (point.as_double, point.time_unix_nano, point.start_time_unix_nano) == (61440, NOW, 0)
    assert labels(point) == {"gpu": "0", "modelName": "NVIDIA H100 80GB HBM3"}


@pytest.mark.parametrize("name", ["DCGM_FI_DEV_PCIE_REPLAY_COUNTER", "node_network_receive_bytes_total"])
def test_a_counter_is_a_cumulative_sum_under_its_own_name(name: str) -> None:
    metric = metrics(f"# TYPE {name} counter\n{name} 7\n")[name]
    assert (metric.sum.is_monotonic, metric.sum.aggregation_temporality) == (True, 2)
    (point,) = metric.sum.data_points
    assert (point.as_double, point.start_time_unix_nano) == (7, START)


@pytest.mark.parametrize("header", ["", "# TYPE x untyped\n", "# TYPE x unknown\n", "# TYPE x nonsense\n"])
def test_what_has_no_known_type_is_a_gauge(header: str) -> None:
    assert metrics(f"{header}x 1\n")["x"].gauge.data_points[0].as_double == 1


def test_the_resource_names_job_and_instance() -> None:
    payload = to_request(parsed("x 1").families, ORIGIN, time_unix_ns=NOW, start_unix_ns=START)
    resource = ExportMetricsServiceRequest.FromString(payload).resource_metrics[0].resource
    assert labels(resource) == {
        "service.name": "dcgm",
        "service.instance.id": "gpu-node-07:9400",
        "server.address": "gpu-node-07",
        "server.port": "9400",
        "url.scheme": "http",
    }


def test_an_instance_never_tells_the_password_of_its_url() -> None:
    assert Origin("j", "http://user:secret@node:9100/metrics", {}).instance == "node:9100"


def test_a_label_that_the_target_has_too_is_renamed() -> None:
    origin = Origin("dcgm", ORIGIN.url, {"pod": "exporter-x", "rack": "r7"})
    (point,) = metrics('x{pod="llama-0",job="a",instance="b",gpu="1"} 1', origin)["x"].gauge.data_points
    assert labels(point) == {
        "exported_pod": "llama-0",
        "exported_job": "a",
        "exported_instance": "b",
        "gpu": "1",
        "pod": "exporter-x",
        "rack": "r7",
    }


def test_an_empty_label_is_no_label() -> None:
    assert labels(metrics('x{pod="",gpu="1"} 1')["x"].gauge.data_points[0]) == {"gpu": "1"}


def test_a_time_that_the_sample_gives_is_kept() -> None:
    assert metrics("x 1 1795000000123")["x"].gauge.data_points[0].time_unix_nano == 1_795_000_000_123_000_000


HISTOGRAM = """# TYPE ttft histogram
ttft_bucket{model="a",le="0.1"} 1
ttft_bucket{model="a",le="0.5"} 4
ttft_bucket{model="a",le="+Inf"} 6
ttft_sum{model="a"} 3.5
ttft_count{model="a"} 6
ttft_bucket{model="b",le="+Inf"} 2
ttft_sum{model="b"} 1
ttft_count{model="b"} 2
"""


def test_a_histogram_counts_between_its_bounds() -> None:
    first, second = metrics(HISTOGRAM)["ttft"].histogram.data_points
    assert list(first.explicit_bounds) == [0.1, 0.5]
    assert list(first.bucket_counts) == [1, 3, 2]
    assert (first.count, first.sum, labels(first)) == (6, 3.5, {"model": "a"})
    assert (list(second.explicit_bounds), list(second.bucket_counts), second.count) == ([], [2], 2)


def test_a_histogram_without_its_last_bucket_has_its_count() -> None:
    (point,) = metrics('# TYPE h histogram\nh_bucket{le="1"} 2\nh_sum 9\nh_count 5\n')["h"].histogram.data_points
    assert (list(point.explicit_bounds), list(point.bucket_counts), point.count) == ([1], [2, 3], 5)


def test_a_histogram_that_was_read_while_it_changed_has_no_negative_bucket() -> None:
    (point,) = metrics('# TYPE h histogram\nh_bucket{le="1"} 5\nh_bucket{le="2"} 4\nh_count 6\n')[
        "h"
    ].histogram.data_points
    assert list(point.bucket_counts) == [5, 0, 1]


def test_a_summary_keeps_its_quantiles() -> None:
    text = '# TYPE s summary\ns{quantile="0.5"} 1.5\ns{quantile="0.99"} 9\ns_sum 12\ns_count 3\n'
    (point,) = metrics(text)["s"].summary.data_points
    assert [(value.quantile, value.value) for value in point.quantile_values] == [(0.5, 1.5), (0.99, 9)]
    assert (point.count, point.sum) == (3, 12)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("DCGM_FI_DEV_FB_TOTAL 9223372036854775794", "sentinel"),
        ("DCGM_FI_DEV_FB_TOTAL 9.223372036854775807e+18", "sentinel"),
        ("DCGM_FI_DEV_GPU_TEMP 2147483632", "sentinel"),
        ("dcgm_gpu_temp 2147483635", "sentinel"),
        ("DCGM_FI_DEV_POWER_USAGE 140737488355328.000000", "sentinel"),
        ("node_limit_bytes 1.8446744073709552e+19", "sentinel"),
        ("x NaN", "nan"),
        ("x N/A", "unreadable"),
        ("DCGM_FI_DRIVER_VERSION ERROR - FAILED TO CONVERT TO STRING", "unreadable"),
        ('x{gpu="0",pod="a"b"} 1', "unreadable"),
        ('x{gpu="0" 1', "unreadable"),
        ("x", "unreadable"),
        ("x 1 soon", "unreadable"),
        ("x 1 -5", "unreadable"),
        ("x 1 NaN", "unreadable"),
        (f"x {'9' * 400}", "unreadable"),
        ("y 2", "duplicate"),
        ("y_created 1.7e9", "created"),
    ],
)
def test_a_line_without_a_value_costs_itself_only_and_is_counted(line: str, reason: str) -> None:
    exposition = parsed(f"# TYPE y counter\ny 1\n{line}\nz 3\n")
    assert exposition.dropped == {reason: 1}
    assert [sample.value for family in exposition.families for sample in family.samples] == [1, 3]


def test_large_values_that_are_no_sentinels_stay() -> None:
    text = "node_bytes_total 2147483632\nDCGM_FI_DEV_FB_FREE 2147483631\nx +Inf\ny 4e18\n"
    assert parsed(text).dropped == {}


@pytest.mark.parametrize("name", ["DCGM_FI_DEV_FB_USED", "dcgm_fb_used", "node_network_receive_bytes_total"])
def test_the_door_for_otlp_leaves_out_the_same_sentinels(clean_store: Store, ask: Ask, name: str) -> None:
    edges = (2**31 - 16, 2**31 - 12, 2**47, 2**47 + 4, 2**62)
    values = sorted({float(edge + step) for edge in edges for step in (-1, 0)} | {2.0**62 - 512, 2.0**62})
    samples = [Sample(name, {"n": str(number)}, value) for number, value in enumerate(values)]
    pushed = to_request([Family(name, "gauge", "", samples)], ORIGIN, time_unix_ns=NOW, start_unix_ns=START)
    clean_store.load_otlp("otel_metrics_gauge", pushed, token=f"sentinels/{name}")
    text = "".join(f'{name}{{n="{number}"}} {value!r}\n' for number, value in enumerate(values))
    scraped = [sample.value for family in parsed(text).families for sample in family.samples]
    assert 0 < len(scraped) < len(values)
    kept = [float(row["value"]) for row in ask("SELECT value FROM tailsight_samples ORDER BY value")]
    assert kept == scraped


@given(st.text(max_size=200))
def test_any_text_can_be_read(text: str) -> None:
    exposition = parsed(text)
    to_request(exposition.families, ORIGIN, time_unix_ns=NOW, start_unix_ns=START)


@given(st.lists(st.text(alphabet='x_{}="\\,#+ 01eE.NaIinf\t', max_size=30), max_size=6))
def test_lines_that_look_like_samples_can_be_read(lines: list[str]) -> None:
    exposition = parsed("\n".join([*lines, "last 1"]))
    assert "last" in {family.name for family in exposition.families}
    to_request(exposition.families, ORIGIN, time_unix_ns=NOW, start_unix_ns=START)


def recorded_texts() -> list[Any]:
    files = [*RECORDED.glob("dcgm/**/*.prom"), *RECORDED.glob("dcgm/*.txt"), *RECORDED.glob("ib/**/*.prom")]
    files += RECORDED.glob("engines/*metrics.prom*")
    if not files:
        return [pytest.param(Path(), id="none", marks=pytest.mark.skip(f"no recorded texts in {RECORDED}"))]
    return [pytest.param(file, id=file.name) for file in sorted(files)]


@pytest.mark.parametrize("file", recorded_texts())
def test_of_a_real_text_nothing_is_lost_without_a_reason(file: Path) -> None:
    text = (gzip.decompress(file.read_bytes()) if file.suffix == ".gz" else file.read_bytes()).decode()
    exposition = parsed(text)
    lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    assert exposition.samples_count + sum(exposition.dropped.values()) == len(lines)
    assert exposition.dropped.get("unreadable", 0) == 0
    payload = to_request(exposition.families, ORIGIN, time_unix_ns=NOW, start_unix_ns=START)
    names = {
        metric.name
        for metric in ExportMetricsServiceRequest.FromString(payload).resource_metrics[0].scope_metrics[0].metrics
    }
    assert names == {family.name for family in exposition.families}


@pytest.mark.parametrize("file", recorded_texts())
def test_samples_are_those_that_the_library_reads(file: Path) -> None:
    text = (gzip.decompress(file.read_bytes()) if file.suffix == ".gz" else file.read_bytes()).decode()
    ours = {
        (sample.name.removesuffix("_total"), tuple(sorted(sample.labels.items())), sample.value)
        for family in parsed(text).families
        for sample in family.samples
    }
    theirs = {
        (sample.name.removesuffix("_total"), tuple(sorted(sample.labels.items())), float(sample.value))
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if not math.isnan(sample.value)
    }
    assert ours <= theirs
    assert {name for name, _, value in theirs - ours if not name.endswith("_created") and value < 2**62} == set()
