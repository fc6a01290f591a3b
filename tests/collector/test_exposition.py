"""Prometheus text becomes the OTLP that a Collector's Prometheus receiver would send."""

import gzip
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from prometheus_client.parser import text_string_to_metric_families

from collector.exposition import Exposition, Family, Origin, Reader, Sample, Series, encoded, to_request
from collector.points import request
from storage.store import Store
from tests.collector.conftest import Ask
from tests.collector.reference_exposition import metrics_of

RECORDED = Path(__file__).parents[3] / "shared" / "data" / "telemetry"
NOW = 1_795_000_000_000_000_000
START = NOW - 3_600_000_000_000
ORIGIN = Origin("dcgm", "http://gpu-node-07:9400/metrics", {})


def read(text: str, origin: Origin = ORIGIN, **how: Any) -> Exposition:
    """What a text is, to somebody who has never seen its like."""
    return Reader(origin).read(text, NOW, **how)


def decoded(payload: bytes) -> dict[str, Any]:
    """The metrics of a request, by name."""
    (resource,) = ExportMetricsServiceRequest.FromString(payload).resource_metrics
    return {metric.name: metric for metric in resource.scope_metrics[0].metrics}


def metrics(text: str, origin: Origin = ORIGIN, **how: Any) -> dict[str, Any]:
    """The metrics that a text becomes, by name."""
    reader = Reader(origin)
    return decoded(to_request(origin, reader.read(text, NOW, **how), {}, NOW))


def values(exposition: Exposition) -> list[float]:
    """The values of all gauges and counters."""
    found = decoded(request({}, "s", exposition.metrics)).values()
    return [point.as_double for metric in found for point in data_points(metric)]


def data_points(metric: Any) -> Any:
    return getattr(metric, metric.WhichOneof("data")).data_points


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
    assert (point.as_double, point.start_time_unix_nano) == (7, NOW)


@pytest.mark.parametrize("header", ["", "# TYPE x untyped\n", "# TYPE x unknown\n", "# TYPE x nonsense\n"])
def test_what_has_no_known_type_is_a_gauge(header: str) -> None:
    assert metrics(f"{header}x 1\n")["x"].gauge.data_points[0].as_double == 1


def test_the_resource_names_job_and_instance() -> None:
    payload = to_request(ORIGIN, read("x 1\n"), {}, NOW)
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


@pytest.mark.parametrize(
    ("exposed", "expected"),
    [
        ('pod="a",exported_pod="b"', {"exported_exported_pod": "a", "exported_pod": "b"}),
        ('exported_pod="b",pod="a"', {"exported_exported_pod": "a", "exported_pod": "b"}),
        ('pod="a",exported_pod=""', {"exported_pod": "a"}),
        ('pod="",exported_pod="b"', {"exported_pod": "b"}),
    ],
)
def test_a_renamed_label_takes_no_others_place(exposed: str, expected: dict[str, str]) -> None:
    text, origin = f"x{{{exposed}}} 1", Origin("dcgm", ORIGIN.url, {"pod": "exporter-x"})
    (point,) = metrics(text, origin)["x"].gauge.data_points
    assert labels(point) == expected | {"pod": "exporter-x"}
    (reference,) = metrics_of(text + "\n", origin, 2, 1)[0]["x"].gauge.data_points
    assert labels(reference) == labels(point)


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


@pytest.mark.parametrize(
    ("text", "left_over"),
    [
        ("# TYPE h histogram\nh_sum 5\n", 1),
        ('# TYPE s summary\ns{quantile="0.5"} 5\ns_sum 7\n', 2),
        ('# TYPE h histogram\nh_sum{pod="a"} 5\nh_count{pod="b"} 1\n', 1),
    ],
)
def test_what_does_not_tell_how_many_were_observed_is_dropped_and_counted(text: str, left_over: int) -> None:
    exposition = read(text)
    assert exposition.dropped == {"incomplete": left_over}
    assert exposition.samples_count == text.count("\n") - 1 - left_over
    assert len(exposition.metrics) == len(exposition.series) == min(1, exposition.samples_count)


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
        ("9 1", "unreadable"),
        ("9{} 1", "unreadable"),
        ('9{a="1"}\t1', "unreadable"),
        (f"x {'9' * 400}", "unreadable"),
        ("y 2", "duplicate"),
        ("y_created 1.7e9", "created"),
    ],
)
def test_a_line_without_a_value_costs_itself_only_and_is_counted(line: str, reason: str) -> None:
    text = f"# TYPE y counter\ny 1\n{line}\nz 3\n"
    reader = Reader(ORIGIN)
    for _ in range(2):  # a line that is known costs no more than one that is new
        exposition = reader.read(text, NOW)
        assert exposition.dropped == {reason: 1}
        assert values(exposition) == [1, 3]


def test_large_values_that_are_no_sentinels_stay() -> None:
    text = "node_bytes_total 2147483632\nDCGM_FI_DEV_FB_FREE 2147483631\nx +Inf\ny 4e18\n"
    assert read(text).dropped == {}


@pytest.mark.parametrize("name", ["DCGM_FI_DEV_FB_USED", "dcgm_fb_used", "node_network_receive_bytes_total"])
def test_the_door_for_otlp_leaves_out_the_same_sentinels(clean_store: Store, ask: Ask, name: str) -> None:
    edges = (2**31 - 16, 2**31 - 12, 2**47, 2**47 + 4, 2**62)
    told = sorted({float(edge + step) for edge in edges for step in (-1, 0)} | {2.0**62 - 512, 2.0**62})
    samples = [Sample(name, {"n": str(number)}, value) for number, value in enumerate(told)]
    exposition = encoded([Family(name, "gauge", "", samples)], ORIGIN, time_unix_ns=NOW, start_unix_ns=START)
    pushed = to_request(ORIGIN, exposition, {}, NOW)
    clean_store.load_otlp("otel_metrics_gauge", pushed, token=f"sentinels/{name}")
    text = "".join(f'{name}{{n="{number}"}} {value!r}\n' for number, value in enumerate(told))
    scraped = values(read(text))
    assert 0 < len(scraped) < len(told)
    kept = [float(row["value"]) for row in ask("SELECT value FROM tailsight_samples ORDER BY value")]
    assert kept == scraped


@given(st.text(max_size=200))
def test_any_text_can_be_read(text: str) -> None:
    for openmetrics in (False, True):
        reader = Reader(ORIGIN)
        for _ in range(2):
            decoded(to_request(ORIGIN, reader.read(text, NOW, openmetrics=openmetrics), {}, NOW))


@given(st.lists(st.text(alphabet='x_{}="\\,#+ 01eE.NaIinf\t', max_size=30), max_size=6))
def test_lines_that_look_like_samples_can_be_read(lines: list[str]) -> None:
    reader = Reader(ORIGIN)
    for _ in range(2):
        exposition = reader.read("\n".join([*lines, "last 1"]), NOW)
        assert "last" in exposition.series


# Few names, labels and values, so that lines of one text, and of the next, have much in common.
LABELS = st.sampled_from(
    [
        "",
        "{}",
        '{a="1"}',
        '{a="1",b="2"}',
        '{b="2",a="1"}',
        '{a="1",}',
        '{a=""}',
        '{a="x} 7"}',
        '{a="\\"q\\" # {"}',
        '{le="1"}',
        '{le="2",a="1"}',
        '{a="1",le="+Inf"}',
        '{quantile="0.5"}',
        '{quantile="0.9",a="1"}',
        '{job="j",node="m"}',
        '{a="1"b="2"}',
        "{a=1}",
        "{",
        '{"quoted.name"}',
    ]
)
NUMBERS = st.one_of(
    st.floats().map(repr),
    st.integers(-(10**30), 10**30).map(str),
    st.sampled_from(
        (
            *("1", "0", "2", "+Inf", "-Inf", "NaN", "1_0", "0x10", "", "N/A", "9223372036854775794", "9" * 400),
            *("1 1795000000123", "1  1795000000123", "2 -5", "1 soon", "1\t2", "1 2 3", "\t4", "2147483632"),
        )
    ),
)
NAMES = st.sampled_from(
    [
        "g",
        "c",
        "c_total",
        "h_bucket",
        "h_sum",
        "h_count",
        "h_created",
        "h",
        "s",
        "s_sum",
        "s_count",
        "DCGM_X",
        " g",
        "9",
    ]
)
LINES = st.tuples(NAMES, LABELS, st.sampled_from([" ", "", "  ", "\t"]), NUMBERS).map("".join)
COMMENTS = st.sampled_from(
    ["# TYPE g gauge", "# TYPE c counter", "# TYPE h histogram", "# TYPE s summary", "# HELP c Words.", "# a", "# EOF"]
)
TEXTS = st.lists(st.one_of(LINES, LINES, LINES, COMMENTS), max_size=12).map("\n".join)


@settings(max_examples=200, deadline=None)
@given(st.lists(TEXTS, min_size=1, max_size=3))
def test_scrape_after_scrape_is_what_the_slow_and_obvious_way_gives(texts: list[str]) -> None:
    """Each text twice: what is new must become the same as what is known."""
    origin = Origin("dcgm", ORIGIN.url, {"node": "n"})
    reader = Reader(origin)
    for text in [text for text in texts for _ in range(2)]:
        exposition = reader.read(text, NOW)
        expected, dropped = metrics_of(text, origin, NOW, NOW)
        assert exposition.dropped == dropped
        assert readable(decoded(request({}, "s", exposition.metrics))) == readable(expected)


def readable(metrics: dict[str, Any]) -> dict[str, list[str]]:
    """Metrics as texts that can be compared: points in any order, and NaN like itself."""
    texts = {}
    for name, metric in metrics.items():
        kind = metric.WhichOneof("data")
        points = sorted(str(point) for point in data_points(metric)) if kind else []
        data = getattr(metric, kind) if kind else None
        facts = [metric.description, metric.unit, str(kind)]
        facts += [str(getattr(data, fact, "")) for fact in ("is_monotonic", "aggregation_temporality")]
        texts[name] = facts + points
    return texts


@pytest.mark.parametrize("buckets", ['h_bucket{le="1"} 1 3', 'h_bucket{le="1"} 1'])
@pytest.mark.parametrize("is_first", [False, True])
def test_a_histogram_is_of_the_newest_time_that_one_of_its_samples_tells(buckets: str, *, is_first: bool) -> None:
    samples = [buckets, "h_count 1 2", "h_sum 1"]
    text = "\n".join(["# TYPE h histogram", *(samples if is_first else samples[::-1])])
    (metric,) = decoded(to_request(ORIGIN, read(text), {}, NOW)).values()
    (point,) = data_points(metric)
    assert point.time_unix_nano == (3 if buckets.endswith("3") else 2) * 1_000_000


def recorded_texts() -> list[Any]:
    files = [*RECORDED.glob("dcgm/**/*.prom"), *RECORDED.glob("dcgm/*.txt"), *RECORDED.glob("ib/**/*.prom")]
    files += RECORDED.glob("engines/*metrics.prom*")
    if not files:
        return [pytest.param(Path(), id="none", marks=pytest.mark.skip(f"no recorded texts in {RECORDED}"))]
    return [pytest.param(file, id=file.name) for file in sorted(files)]


def text_of(file: Path) -> str:
    return (gzip.decompress(file.read_bytes()) if file.suffix == ".gz" else file.read_bytes()).decode()


@pytest.mark.parametrize("file", recorded_texts())
def test_of_a_real_text_nothing_is_lost_without_a_reason(file: Path) -> None:
    text = text_of(file)
    exposition = read(text)
    lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    assert exposition.samples_count + sum(exposition.dropped.values()) == len(lines)
    assert exposition.dropped.get("unreadable", 0) == 0
    assert decoded(request({}, "s", exposition.metrics)).keys() == exposition.series.keys()


@pytest.mark.parametrize("file", recorded_texts())
def test_a_real_text_becomes_what_the_slow_and_obvious_way_gives_also_the_second_time(file: Path) -> None:
    text = text_of(file)
    expected, dropped = metrics_of(text, ORIGIN, NOW, NOW)
    reader = Reader(ORIGIN)
    for _ in range(2):
        exposition = reader.read(text, NOW)
        assert exposition.dropped == dropped
        assert readable(decoded(request({}, "s", exposition.metrics))) == readable(expected)


@pytest.mark.parametrize("file", recorded_texts())
def test_names_and_labels_are_as_the_text_has_them(file: Path) -> None:
    """The library's parser renames counters; here every name and every label must stand in the text."""
    text = text_of(file)
    names = {sample.name for family in text_string_to_metric_families(text) for sample in family.samples}
    for name, metric in metrics(text).items():
        assert f"\n{name}" in text
        if metric.WhichOneof("data") in ("gauge", "sum"):
            assert name in names or name.removesuffix("_total") in names or f"{name}_total" in names
        for point in data_points(metric):
            assert all(f'{key}="' in text for key in labels(point))


OPENMETRICS = """# TYPE requests counter
# UNIT requests requests
# HELP requests Answered \\"requests\\".
requests_total{code="200"} 17 1795000000.25 # {trace_id="4bf92f3577b34da6"} 0.67 1795000000.1
requests_created{code="200"} 1794000000.5
# TYPE ttft_seconds histogram
# UNIT ttft_seconds seconds
ttft_seconds_bucket{le="0.5"} 3 # {trace_id="a # {b\\" c"} 0.4
ttft_seconds_bucket{le="+Inf"} 4
ttft_seconds_sum 2.5
ttft_seconds_count 4
ttft_seconds_created 1794000000.5
# TYPE build info
build_info{version="1.2 # {x"} 1
# TYPE mode stateset
mode{mode="prefill"} 1
mode{mode="decode"} 0
# TYPE unsure unknown
unsure 5
# EOF
"""


def test_openmetrics_keeps_its_names_units_and_kinds() -> None:
    found = metrics(OPENMETRICS, openmetrics=True)
    assert {name: (metric.WhichOneof("data"), metric.unit) for name, metric in found.items()} == {
        "requests_total": ("sum", "requests"),
        "ttft_seconds": ("histogram", "seconds"),
        "build_info": ("sum", ""),
        "mode": ("sum", ""),
        "unsure": ("gauge", ""),
    }
    assert found["requests_total"].sum.is_monotonic
    assert found["requests_total"].description == 'Answered "requests".'
    assert not found["build_info"].sum.is_monotonic
    assert not found["mode"].sum.is_monotonic
    assert labels(found["build_info"].sum.data_points[0]) == {"version": "1.2 # {x"}


def test_times_of_openmetrics_are_seconds() -> None:
    (point,) = metrics(OPENMETRICS, openmetrics=True)["requests_total"].sum.data_points
    assert (point.as_double, point.time_unix_nano) == (17, 1_795_000_000_250_000_000)


def test_an_exemplar_costs_itself_only_and_is_counted() -> None:
    exposition = read(OPENMETRICS, openmetrics=True)
    assert exposition.dropped == {"exemplar": 2, "created": 2}
    (point,) = metrics(OPENMETRICS, openmetrics=True)["ttft_seconds"].histogram.data_points
    assert (list(point.bucket_counts), point.count, point.sum) == ([3, 1], 4, 2.5)


def test_a_value_that_cannot_be_true_is_dropped_with_its_reason() -> None:
    text = "\n".join(f'DCGM_FI_DEV_GPU_UTIL{{gpu="{gpu}"}} {value}' for gpu, value in enumerate((99, 4294967295, 101)))
    reader = Reader(ORIGIN, {"DCGM_FI_DEV_GPU_UTIL": (0.0, 100.0)})
    for _ in range(2):
        exposition = reader.read(text, NOW)
        assert (exposition.dropped, values(exposition)) == ({"out_of_range": 2}, [99])


def test_a_target_that_honours_labels_keeps_those_of_the_sample() -> None:
    origin = Origin("dcgm", ORIGIN.url, {"pod": "exporter-x", "rack": "r7"}, honor_labels=True)
    (point,) = metrics('x{pod="llama-0",job="a"} 1', origin)["x"].gauge.data_points
    assert labels(point) == {"pod": "llama-0", "job": "a", "rack": "r7"}


class Scrapes:
    """Scrape after scrape of one target, each of them logged."""

    def __init__(self) -> None:
        self.reader = Reader(ORIGIN)
        self.logged: Mapping[str, Series] = {}

    def next(self, text: str) -> bytes:
        """The request of the next scrape."""
        return self.put(self.reader.read(text, NOW))

    def put(self, exposition: Exposition) -> bytes:
        payload = to_request(ORIGIN, exposition, self.logged, NOW)
        self.logged = exposition.series
        return payload


def test_a_series_that_is_gone_gets_one_point_without_a_value() -> None:
    scrapes = Scrapes()
    scrapes.next('x{pod="a",gpu="0"} 1\nx{gpu="1"} 2\n')
    payload = scrapes.next('x{pod="b",gpu="0"} 1\nx{gpu="1"} 2\n')
    (resource,) = ExportMetricsServiceRequest.FromString(payload).resource_metrics
    points = [point for metric in resource.scope_metrics[0].metrics for point in metric.gauge.data_points]
    assert [(labels(point), point.flags, point.WhichOneof("value")) for point in points] == [
        ({"pod": "b", "gpu": "0"}, 0, "as_double"),
        ({"gpu": "1"}, 0, "as_double"),
        ({"pod": "a", "gpu": "0"}, 1, None),
    ]
    again = decoded(scrapes.next('x{pod="b",gpu="0"} 1\nx{gpu="1"} 2\n'))
    assert [point.flags for point in again["x"].gauge.data_points] == [0, 0]


def test_every_kind_of_series_ends_when_its_target_is_gone() -> None:
    scrapes = Scrapes()
    scrapes.next(HISTOGRAM + "# TYPE c counter\nc 1\n# TYPE s summary\ns_count 1\nx 1\n")
    gone = decoded(scrapes.put(Exposition()))
    assert {name: [point.flags for point in data_points(metric)] for name, metric in gone.items()} == {
        "ttft": [1, 1],
        "c": [1],
        "s": [1],
        "x": [1],
    }
    assert gone["ttft"].histogram.data_points[0].start_time_unix_nano == NOW


def test_of_a_series_that_tells_its_times_nobody_else_says_that_it_ended() -> None:
    scrapes = Scrapes()
    scrapes.next("x 1 1795000000123\ny 1\n")
    assert decoded(scrapes.put(Exposition())).keys() == {"y"}


def test_what_we_have_read_ourselves_is_ours_to_end_also_where_it_tells_its_times() -> None:
    family = Family("x_total", "counter", samples=[Sample("x_total", {"port": "1"}, 1.0, NOW)])
    read_by_us = encoded([family], ORIGIN, time_unix_ns=NOW, start_unix_ns=START)
    (point,) = decoded(to_request(ORIGIN, Exposition(), read_by_us.series, NOW))["x_total"].sum.data_points
    assert (point.flags, point.start_time_unix_nano, labels(point)) == (1, START, {"port": "1"})


def test_what_is_remembered_of_a_target_is_bounded() -> None:
    reader = Reader(ORIGIN)
    remembered = []
    for scrape in range(40):
        reader.read("\n".join(f'x{{pod="{scrape}-{number}"}} 1' for number in range(100)), NOW)
        remembered.append(sum(map(len, reader._label_sets.values())))
    assert max(remembered) <= 2 * 100 + 256 + 100


def test_a_changed_type_is_heard_at_once() -> None:
    scrapes = Scrapes()
    assert decoded(scrapes.next("x 1\n"))["x"].WhichOneof("data") == "gauge"
    assert decoded(scrapes.next("# TYPE x counter\nx 1\n"))["x"].WhichOneof("data") == "sum"
