from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

import numpy as np
import pytest
from numpy.typing import NDArray
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import SpanKind, StatusCode

from domain.cause import CauseKind
from simulator.faults import plan_fault
from simulator.run import Simulation
from simulator.spans import SpanBatches, Startup, Tracers, startup_spans


@pytest.fixture(scope="module")
def simulation(start: datetime) -> Simulation:
    simulation = Simulation(0, start)
    surge = plan_fault(CauseKind.TRAFFIC_SURGE, simulation.cloud, 0, start, 300)
    simulation.inject(replace(surge, strength=3 * surge.strength))  # so hard that requests are given up
    return simulation


@pytest.fixture(scope="module")
def requests(simulation: Simulation, start: datetime) -> NDArray[np.void]:
    happened = simulation.advance(start + timedelta(minutes=4)).requests
    assert happened["failed"].any()
    return happened


@pytest.fixture(scope="module")
def spans(simulation: Simulation, requests: NDArray[np.void]) -> list[ReadableSpan]:
    kept: list[ReadableSpan] = []
    tracers = Tracers(simulation.cloud, SpanBatches(kept.extend, batch_size=100))
    tracers.record(requests)
    tracers.shutdown()
    return kept


@pytest.fixture(scope="module")
def requested(spans: Sequence[ReadableSpan]) -> list[ReadableSpan]:
    """The spans of the requests themselves."""
    return [span for span in spans if span.parent is None]


def test_every_request_is_one_server_span_in_the_manner_of_vllm(
    requested: Sequence[ReadableSpan], requests: NDArray[np.void]
) -> None:
    assert len(requested) == len(requests)
    assert {(span.name, span.kind, span.parent) for span in requested} == {("llm_request", SpanKind.SERVER, None)}
    assert {span.instrumentation_scope.name for span in requested if span.instrumentation_scope} == {
        "vllm.tracing.otel"
    }


def test_spans_come_in_order_of_their_end_at_simulated_times(
    requested: Sequence[ReadableSpan], requests: NDArray[np.void]
) -> None:
    ends = [span.end_time or 0 for span in requested]
    assert ends == sorted(ends)
    assert [span.start_time for span in requested] == np.rint(requests["arrived_at"] * 1e9).astype(int).tolist()


def test_each_request_calls_the_retriever_before_the_engine_has_it(
    spans: Sequence[ReadableSpan], requested: Sequence[ReadableSpan], simulation: Simulation
) -> None:
    by_id = {span.context.span_id: span for span in spans if span.context}
    served = [span for span in spans if span.resource.attributes["service.name"] == "retriever"]
    assert len(served) == len(requested)
    nodes = {str(span.resource.attributes["k8s.node.name"]) for span in served}
    assert nodes
    assert nodes.isdisjoint(simulation.cloud.nodes)
    for span in served:
        assert span.kind is SpanKind.SERVER
        assert span.parent is not None
        call = by_id[span.parent.span_id]
        assert call.kind is SpanKind.CLIENT
        assert call.parent is not None
        root = by_id[call.parent.span_id]
        assert root.parent is None
        moments = (root.start_time, call.start_time, span.start_time, span.end_time, call.end_time, root.end_time)
        assert list(moments) == sorted(moment or 0 for moment in moments)
        waited_s = ((call.end_time or 0) - (root.start_time or 0)) / 1e9
        attributes = root.attributes or {}
        if root.status.status_code is not StatusCode.ERROR:
            stages = ("time_to_first_token", "time_in_queue", "time_in_model_prefill")
            first, queue, prefill = (float(str(attributes[f"gen_ai.latency.{stage}"])) for stage in stages)
            assert first == pytest.approx(waited_s + queue + prefill, abs=1e-5)


def test_the_parts_of_a_request_add_up(requested: Sequence[ReadableSpan]) -> None:
    for span in requested:
        attributes = span.attributes or {}
        seconds = {
            name.removeprefix("gen_ai.latency."): float(str(value))
            for name, value in attributes.items()
            if name.startswith("gen_ai.latency.")
        }
        length_s = ((span.end_time or 0) - (span.start_time or 0)) / 1e9
        assert seconds["e2e"] == pytest.approx(length_s, abs=1e-6)
        if span.status.status_code is StatusCode.ERROR:
            continue
        first_token_s = seconds["time_to_first_token"]
        assert first_token_s > seconds["time_in_queue"] + seconds["time_in_model_prefill"]
        assert seconds["e2e"] == pytest.approx(first_token_s + seconds["time_in_model_decode"], abs=1e-5)


def test_a_request_that_was_given_up_is_an_error_without_a_first_token(spans: Sequence[ReadableSpan]) -> None:
    failed = [span for span in spans if span.status.status_code is StatusCode.ERROR]
    assert failed
    for span in failed:
        attributes = span.attributes or {}
        assert "60 s" in (span.status.description or "")
        assert attributes["error.type"] == "timeout"
        assert "gen_ai.latency.time_to_first_token" not in attributes
        assert attributes["gen_ai.latency.e2e"] == pytest.approx(60.0, abs=1e-5)


def test_the_resource_says_which_replica_answered(requested: Sequence[ReadableSpan], simulation: Simulation) -> None:
    replicas = {replica.pod: replica for replica in simulation.cloud.replicas}
    for span in requested[:50]:
        resource = span.resource.attributes
        replica = replicas[str(resource["k8s.pod.name"])]
        assert resource["service.name"] == replica.service.name
        assert resource["service.version"] == replica.service.version
        assert resource["service.instance.id"] == replica.instance_id
        assert resource["k8s.node.name"] == replica.node
        assert resource["k8s.namespace.name"] == "serving"


def test_ids_come_from_the_seed_and_no_two_are_the_same(
    spans: Sequence[ReadableSpan], requested: Sequence[ReadableSpan], requests: NDArray[np.void]
) -> None:
    contexts = [span.get_span_context() for span in requested]
    assert [c.span_id for c in contexts if c] == requests["span_id"].tolist()
    assert len({c.trace_id for c in contexts if c}) == len(requested)
    assert len({c.span_id for c in (span.get_span_context() for span in spans) if c}) == len(spans)


def test_an_engine_that_starts_writes_the_tree_of_its_start(simulation: Simulation) -> None:
    *parts, whole = startup_spans(simulation.cloud, Startup(replica=2, version=1, started_s=100.0, ready_s=180.0))
    assert whole.name == "Overall Loading"
    assert whole.parent is None
    assert (whole.start_time, whole.end_time) == (100 * 10**9, 180 * 10**9)
    assert {"Load model", "Allocate KV cache"} < {part.name for part in parts}
    assert all(part.parent == whole.context for part in parts)
    assert whole.resource.attributes["service.version"] == "0.11.3"
