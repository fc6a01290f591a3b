"""The times of a metrics request, told at once, are those that a look at each point finds."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

from collector.otlp import TimeRange, checked_metrics
from collector.point_times import point_times
from storage.otlp import METRIC_KINDS

NOW = 1_795_000_000_000_000_000
ACCEPTED = TimeRange(NOW - 10**9, NOW + 10**9)
_TIMES = st.integers(1, 2**64 - 1)
_METRICS = st.lists(st.tuples(st.sampled_from(METRIC_KINDS), st.lists(_TIMES, max_size=4)), max_size=6)


def request_of(metrics: list[tuple[str, list[int]]]) -> Any:
    """A resource and a scope for each metric; points have what else lies in them."""
    request = ExportMetricsServiceRequest()
    for kind, times in metrics:
        resource = request.resource_metrics.add()
        resource.resource.attributes.add(key="service.name").value.string_value = "chat"
        metric = resource.scope_metrics.add().metrics.add(name="queue_depth")
        getattr(metric, kind).SetInParent()
        for time in times:
            point = getattr(metric, kind).data_points.add(start_time_unix_nano=5, time_unix_nano=time, flags=1)
            point.attributes.add(key="gpu").value.string_value = "0"
            if kind == "histogram":
                point.explicit_bounds.extend([0.1, 0.2])
            if kind != "summary":
                point.exemplars.add(time_unix_nano=7, as_double=1.5)
    return request


@given(metrics=_METRICS)
def test_all_times_are_told_of_whatever_kind_the_points_are(metrics: list[tuple[str, list[int]]]) -> None:
    times = [time for _, of_metric in metrics for time in of_metric]
    assert point_times(request_of(metrics).SerializeToString(), len(times)) == set(times)


@pytest.mark.parametrize("kind", METRIC_KINDS)
def test_a_point_without_a_time_takes_a_look_at_each(kind: str) -> None:
    payload = request_of([(kind, [NOW, 0])]).SerializeToString()
    assert point_times(payload, 2) is None
    checked = checked_metrics(payload, ACCEPTED)
    assert checked.rejections.counts == {"too_old": 1}
    assert checked.items == {f"otel_metrics_{kind}": 1}


def test_a_time_that_is_written_twice_takes_a_look_at_each() -> None:
    once = request_of([("gauge", [NOW])]).resource_metrics[0].scope_metrics[0].metrics[0]
    late = b"\x19" + (NOW + 10**12).to_bytes(8, "little")
    point = once.gauge.data_points[0].SerializeToString()
    twice = _field(1, _field(2, _field(2, _field(5, _field(1, late + point)))))
    assert point_times(twice, 1) is None
    assert checked_metrics(twice, ACCEPTED).rejections.total == 0  # the last one counts, and it is not late


def _field(number: int, content: bytes) -> bytes:
    assert len(content) < 128
    return bytes([number << 3 | 2, len(content)]) + content
