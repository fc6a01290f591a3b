from dataclasses import replace
from datetime import datetime, timedelta

import numpy as np
import pytest
from numpy.typing import NDArray
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, Span
from opentelemetry.sdk.trace import ReadableSpan

from domain.cause import CauseKind
from simulator.faults import plan_fault
from simulator.history import HistoryEncoder
from simulator.run import Simulation
from simulator.spans import SpanBatches, Tracers


@pytest.fixture(scope="module")
def simulation(start: datetime) -> Simulation:
    simulation = Simulation(0, start)
    surge = plan_fault(CauseKind.TRAFFIC_SURGE, simulation.cloud, 0, start, 300)
    simulation.inject(replace(surge, strength=3 * surge.strength))  # so hard that requests are given up
    return simulation


@pytest.fixture(scope="module")
def requests(simulation: Simulation, start: datetime) -> NDArray[np.void]:
    return simulation.advance(start + timedelta(minutes=4)).requests


def by_pod(request: ExportTraceServiceRequest) -> dict[str, ResourceSpans]:
    return {
        attribute.value.string_value: resource_spans
        for resource_spans in request.resource_spans
        for attribute in resource_spans.resource.attributes
        if attribute.key == "k8s.pod.name"
    }


def spans_of(resource_spans: ResourceSpans) -> list[Span]:
    return sorted(resource_spans.scope_spans[0].spans, key=lambda span: bytes(span.span_id))


def test_the_template_says_exactly_what_the_sdk_says(simulation: Simulation, requests: NDArray[np.void]) -> None:
    kept: list[ReadableSpan] = []
    tracers = Tracers(simulation.cloud, SpanBatches(kept.extend))
    tracers.record(requests)
    tracers.shutdown()
    expected = by_pod(encode_spans(kept))
    found = by_pod(ExportTraceServiceRequest.FromString(HistoryEncoder(simulation.cloud).encode(requests)))

    assert found.keys() == expected.keys()
    assert {span.status.code for pod in expected.values() for span in spans_of(pod)} == {0, 2}
    for pod, resource_spans in expected.items():
        assert found[pod].resource == resource_spans.resource
        assert found[pod].schema_url == resource_spans.schema_url
        (mine,), (theirs,) = found[pod].scope_spans, resource_spans.scope_spans
        assert mine.scope == theirs.scope
        assert mine.schema_url == theirs.schema_url
        assert spans_of(found[pod]) == spans_of(resource_spans)


def test_nothing_encodes_to_nothing(simulation: Simulation, requests: NDArray[np.void]) -> None:
    assert HistoryEncoder(simulation.cloud).encode(requests[:0]) == b""


def test_the_same_requests_give_the_same_bytes(simulation: Simulation, requests: NDArray[np.void]) -> None:
    once, again = (HistoryEncoder(simulation.cloud).encode(requests) for _ in range(2))
    assert once == again
