"""The real SDKs against the running doors: what they say that they sent is what is stored."""

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter as GrpcMetricExporter
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as GrpcSpanExporter
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter as HttpMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as HttpSpanExporter
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.metrics.view import ExponentialBucketHistogramAggregation, View
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor, SpanExporter
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import Link, SpanKind, Status, StatusCode

from storage.store import Store
from tests.scenarios.otlp_doors import OtlpDoors, open_otlp_doors

NODE_SDK = Path(__file__).parent / "node_sdk"
RESOURCE = Resource({"service.name": "chat", "k8s.pod.name": "llama-0", "sizes": (1, 2)})


@pytest.fixture(scope="module")
def doors(store: Store, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OtlpDoors]:
    with open_otlp_doors(store, tmp_path_factory.mktemp("collector")) as opened:
        yield opened


def rows(store: Store, statement: str) -> list[dict[str, Any]]:
    engine = store.engine
    assert engine is not None
    settings = {"output_format_json_quote_64bit_integers": "0"}
    return [json.loads(line) for line in engine.read(statement, "JSONEachRow", settings=settings).body.splitlines()]


# -- Python ------------------------------------------------------------------------------------------------------------

SPAN_EXPORTERS: dict[str, Callable[[OtlpDoors], SpanExporter]] = {
    "http": lambda doors: HttpSpanExporter(f"{doors.http_url}/v1/traces"),
    "http gzip": lambda doors: HttpSpanExporter(f"{doors.http_url}/v1/traces", compression=Compression.Gzip),
    "grpc": lambda doors: GrpcSpanExporter(doors.grpc_target, insecure=True),
    "grpc gzip": lambda doors: GrpcSpanExporter(doors.grpc_target, insecure=True, compression=grpc.Compression.Gzip),
}


def as_stored(span: ReadableSpan) -> dict[str, Any]:
    """What the SDK itself says of a span, in the columns of otel_traces."""
    assert span.context is not None
    assert span.start_time is not None
    assert span.end_time is not None
    attributes = dict(span.attributes or {})
    return {
        "start": span.start_time,
        "TraceId": f"{span.context.trace_id:032x}",
        "SpanId": f"{span.context.span_id:016x}",
        "ParentSpanId": f"{span.parent.span_id:016x}" if span.parent else "",
        "SpanName": span.name,
        "SpanKind": span.kind.name.capitalize(),
        "ServiceName": "chat",
        "Duration": span.end_time - span.start_time,
        "model": attributes.get("gen_ai.request.model", ""),
        "tokens": str(attributes.get("gen_ai.usage.input_tokens", "")),
        "StatusCode": span.status.status_code.name.capitalize(),
        "StatusMessage": span.status.description or "",
        "Events.Name": [event.name for event in span.events],
        "times": [event.timestamp for event in span.events],
        "Links.SpanId": [f"{link.context.span_id:016x}" for link in span.links],
    }


@pytest.mark.parametrize("exporter", SPAN_EXPORTERS)
def test_spans_of_the_python_sdk_are_stored_as_it_saw_them(clean_store: Store, doors: OtlpDoors, exporter: str) -> None:
    seen = InMemorySpanExporter()
    provider = TracerProvider(resource=RESOURCE, shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(SPAN_EXPORTERS[exporter](doors)))
    provider.add_span_processor(SimpleSpanProcessor(seen))
    tracer = provider.get_tracer("vllm", "1.2")
    for number in range(20):
        attributes = {"gen_ai.request.model": "llama 🦙", "gen_ai.usage.input_tokens": number, "stops": ["a", "b"]}
        with tracer.start_as_current_span("chat", kind=SpanKind.SERVER, attributes=attributes) as request:
            request.add_event("first token", {"n": 1})
            link = Link(request.get_span_context())
            with tracer.start_as_current_span("prefill", kind=SpanKind.INTERNAL, links=[link]) as prefill:
                prefill.set_status(Status(StatusCode.ERROR, "out of memory"))
    assert provider.force_flush()
    provider.shutdown()
    doors.load()
    stored = rows(
        clean_store,
        "SELECT toUnixTimestamp64Nano(Timestamp) AS start, TraceId, SpanId, ParentSpanId, SpanName, SpanKind, "
        "ServiceName, Duration, SpanAttributes['gen_ai.request.model'] AS model, "
        "SpanAttributes['gen_ai.usage.input_tokens'] AS tokens, StatusCode, StatusMessage, Events.Name, "
        "arrayMap(t -> toUnixTimestamp64Nano(t), Events.Timestamp) AS times, Links.SpanId FROM otel_traces",
    )
    want = [as_stored(span) for span in seen.get_finished_spans()]
    assert len(want) == 40
    assert sorted(stored, key=str) == sorted(want, key=str)
    resources = rows(clean_store, "SELECT DISTINCT ResourceAttributes['sizes'] AS sizes FROM otel_traces")
    assert resources == [{"sizes": "[1,2]"}]


@pytest.mark.parametrize("door", ["http", "grpc"])
def test_metrics_of_the_python_sdk_are_stored_as_they_were_counted(
    clean_store: Store, doors: OtlpDoors, door: str
) -> None:
    exporter: Any = (
        HttpMetricExporter(f"{doors.http_url}/v1/metrics")
        if door == "http"
        else GrpcMetricExporter(doors.grpc_target, insecure=True)
    )
    reader = PeriodicExportingMetricReader(exporter, export_interval_millis=3_600_000)
    views = [View(instrument_name="exponential", aggregation=ExponentialBucketHistogramAggregation())]
    provider = MeterProvider([reader], resource=RESOURCE, views=views, shutdown_on_exit=False)
    meter = provider.get_meter("vllm")
    counter, gauge = meter.create_counter("tokens", "1"), meter.create_gauge("waiting")
    plain, exponential = meter.create_histogram("plain", "s"), meter.create_histogram("exponential", "s")
    for number in range(100):
        counter.add(number, {"model": "llama"})
        gauge.set(number)
        plain.record(number / 10)
        exponential.record(number / 10 + 0.1)
    assert provider.force_flush()
    provider.shutdown()  # exports once more
    doors.load()
    latest = "ORDER BY TimeUnix LIMIT 1"
    assert rows(clean_store, f"SELECT Value, Attributes, IsMonotonic FROM otel_metrics_sum {latest}") == [
        {"Value": 4950, "Attributes": {"model": "llama"}, "IsMonotonic": True}
    ]
    assert rows(clean_store, f"SELECT MetricName, Value FROM otel_metrics_gauge {latest}") == [
        {"MetricName": "waiting", "Value": 99}
    ]
    histogram = "Count, round(Sum, 6) AS Sum, Min, Max"
    assert rows(
        clean_store, f"SELECT {histogram}, arraySum(BucketCounts) AS n FROM otel_metrics_histogram {latest}"
    ) == [{"Count": 100, "Sum": 495, "Min": 0, "Max": 9.9, "n": 100}]
    assert rows(
        clean_store,
        f"SELECT {histogram}, arraySum(PositiveBucketCounts) AS n FROM otel_metrics_exponential_histogram {latest}",
    ) == [{"Count": 100, "Sum": 505, "Min": 0.1, "Max": 10, "n": 100}]


# -- Node --------------------------------------------------------------------------------------------------------------


def node_sends(doors: OtlpDoors, encoding: str, compression: str) -> list[dict[str, Any]]:
    """Let the Node SDK send, and what it says that its spans were."""
    lacking = None if shutil.which("node") else "node is not on PATH"
    lacking = lacking or (None if (NODE_SDK / "node_modules").is_dir() else f"{NODE_SDK} has no node_modules")
    if lacking is not None:
        if os.environ.get("TAILSIGHT_REQUIRE_NODE_SDK") == "1":
            pytest.fail(f"{lacking}: run `make node-sdk`")
        pytest.skip(f"{lacking}: `make node-sdk` installs what this test needs")
    command = ["node", "send.js", doors.http_url, f"http://{doors.grpc_target}", encoding, compression]
    sent = subprocess.run(command, check=False, cwd=NODE_SDK, capture_output=True, text=True, timeout=60)
    assert sent.returncode == 0, sent.stderr
    doors.load()
    spans: list[dict[str, Any]] = json.loads(sent.stdout)
    return spans


def check_spans(store: Store, sent: list[dict[str, Any]]) -> None:
    stored = rows(
        store,
        "SELECT toString(toUnixTimestamp64Nano(Timestamp)) AS start, TraceId, SpanId, ParentSpanId, SpanName, "
        "SpanKind, toString(Duration) AS duration, SpanAttributes['number'] AS number, "
        "SpanAttributes['text'] AS text, StatusMessage, "
        "arrayMap(t -> toString(toUnixTimestamp64Nano(t)), Events.Timestamp) AS times, Links.SpanId FROM otel_traces",
    )
    assert len(sent) == 40
    assert sorted(stored, key=str) == sorted(sent, key=str)
    resources = rows(store, "SELECT DISTINCT ServiceName, ResourceAttributes['sizes'] AS sizes FROM otel_traces")
    assert resources == [{"ServiceName": "gateway", "sizes": "[1,2]"}]


def check_metrics(store: Store) -> None:
    assert rows(store, "SELECT MetricName, Value, Attributes FROM otel_metrics_sum") == [
        {"MetricName": "requests", "Value": 100, "Attributes": {"route": "/chat"}}
    ]
    histogram = {"Count": 100, "Sum": 5050, "Min": 1, "Max": 100, "n": 100}
    for table, buckets in (("histogram", "BucketCounts"), ("exponential_histogram", "PositiveBucketCounts")):
        found = rows(store, f"SELECT Count, Sum, Min, Max, arraySum({buckets}) AS n FROM otel_metrics_{table}")
        assert found == [histogram]


def check_logs(store: Store) -> None:
    assert rows(store, "SELECT ServiceName, SeverityNumber, SeverityText, Body, LogAttributes FROM otel_logs") == [
        {
            "ServiceName": "gateway",
            "SeverityNumber": 17,
            "SeverityText": "ERROR",
            "Body": "out of memory",
            "LogAttributes": {"gpu": "3"},
        }
    ]


@pytest.mark.parametrize(
    ("encoding", "compression", "signals"),
    [
        ("proto", "gzip", {"spans", "metrics"}),
        ("json", "none", {"spans", "metrics", "logs"}),
        ("grpc", "gzip", {"spans"}),
    ],
)
def test_what_the_node_sdk_sent_is_stored_as_it_saw_it(
    clean_store: Store, doors: OtlpDoors, encoding: str, compression: str, signals: set[str]
) -> None:
    sent = node_sends(doors, encoding, compression)
    check_spans(clean_store, sent)
    if "metrics" in signals:
        check_metrics(clean_store)
    if "logs" in signals:
        check_logs(clean_store)
