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
from simulator.spans import SpanBatches, Tracers


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


def test_every_request_is_one_server_span_in_the_manner_of_vllm(
    spans: Sequence[ReadableSpan], requests: NDArray[np.void]
) -> None:
    assert len(spans) == len(requests)
    assert {(span.name, span.kind, span.parent) for span in spans} == {("llm_request", SpanKind.SERVER, None)}
    assert {span.instrumentation_scope.name for span in spans if span.instrumentation_scope} == {"vllm.tracing.otel"}


def test_spans_come_in_order_of_their_end_at_simulated_times(
    spans: Sequence[ReadableSpan], requests: NDArray[np.void]
) -> None:
    ends = [span.end_time or 0 for span in spans]
    assert ends == sorted(ends)
    assert [span.start_time for span in spans] == np.rint(requests["arrived_at"] * 1e9).astype(int).tolist()


def test_the_parts_of_a_request_add_up(spans: Sequence[ReadableSpan]) -> None:
    for span in spans:
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
        assert first_token_s == pytest.approx(seconds["time_in_queue"] + seconds["time_in_model_prefill"])
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


def test_the_resource_says_which_replica_answered(spans: Sequence[ReadableSpan], simulation: Simulation) -> None:
    replicas = {replica.pod: replica for replica in simulation.cloud.replicas}
    for span in spans[:50]:
        resource = span.resource.attributes
        replica = replicas[str(resource["k8s.pod.name"])]
        assert resource["service.name"] == replica.service.name
        assert resource["service.version"] == replica.service.version
        assert resource["service.instance.id"] == replica.instance_id
        assert resource["k8s.node.name"] == replica.node
        assert resource["k8s.namespace.name"] == "serving"


def test_ids_come_from_the_seed(spans: Sequence[ReadableSpan], requests: NDArray[np.void]) -> None:
    contexts = [span.get_span_context() for span in spans]
    assert [c.span_id for c in contexts if c] == requests["span_id"].tolist()
    assert len({c.trace_id for c in contexts if c}) == len(spans)
