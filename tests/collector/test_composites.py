"""Arrays and maps among attributes are told of, and become JSON text."""

from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue

from collector.composites import json_text, number_text, rewrite_composites
from collector.survey import survey
from tests import reference_otlp
from tests.collector.payloads import add_attributes, set_value, trace_request

NOW = 1_795_000_000_000_000_000

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats()
    | st.text(max_size=300)
    | st.binary(max_size=300)
)
COMPOSITES = st.recursive(
    st.lists(SCALARS, max_size=4) | st.dictionaries(st.text(max_size=5), SCALARS, max_size=4),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
)
SCALAR_ATTRIBUTES = st.dictionaries(st.text(max_size=200), SCALARS, max_size=8)


@given(before=SCALAR_ATTRIBUTES, key=st.text(max_size=200), composite=COMPOSITES, after=SCALAR_ATTRIBUTES)
def test_no_composite_is_ever_missed(before: dict[str, Any], key: str, composite: Any, after: dict[str, Any]) -> None:
    request = ExportTraceServiceRequest.FromString(trace_request(NOW, attributes=before))
    span = request.resource_spans[0].scope_spans[0].spans[0]
    add_attributes(span.attributes, {key: composite})
    add_attributes(span.attributes, after)
    assert survey("traces", request.SerializeToString()).has_composites


@given(body=COMPOSITES)
def test_no_composite_body_of_a_log_record_is_ever_missed(body: Any) -> None:
    request = ExportLogsServiceRequest()
    record = request.resource_logs.add().scope_logs.add().log_records.add(time_unix_nano=NOW)
    set_value(record.body, body)
    assert survey("logs", request.SerializeToString()).has_composites
    assert rewrite_composites(request)
    assert record.body.string_value


@given(attributes=SCALAR_ATTRIBUTES)
def test_scalars_are_no_composites_whatever_their_bytes(attributes: dict[str, Any]) -> None:
    looks_like_one = {"id": b"\x12\x04\x2a\x02\x0a\x00"}
    assert not survey("traces", trace_request(NOW, attributes=attributes | looks_like_one)).has_composites


def test_only_composites_are_rewritten() -> None:
    payload = trace_request(NOW, attributes={"list": ["a", 1], "number": 7, "unset": None})
    request, rewritten = (ExportTraceServiceRequest.FromString(payload) for _ in range(2))
    assert rewrite_composites(rewritten)
    before, after = (message.resource_spans[0].scope_spans[0].spans[0] for message in (request, rewritten))
    assert after.attributes[0].value.string_value == '["a",1]'
    assert list(after.attributes)[1:] == list(before.attributes)[1:]


@given(COMPOSITES)
def test_json_is_as_an_independent_writer_has_it(composite: Any) -> None:
    value = AnyValue()
    set_value(value, composite)
    assert json_text(value) == reference_otlp.json_text(value)


@given(st.floats())
@example(70368744177664.875)  # halfway between the two shortest: the even one
def test_numbers_are_as_ecmascript_writes_them(number: float) -> None:
    assert number_text(number) == reference_otlp.ecmascript(number)


def test_of_equal_keys_the_last_wins() -> None:
    value = AnyValue()
    for number in (1, 2):
        value.kvlist_value.values.add(key="k").value.int_value = number
    assert json_text(value) == '{"k":2}'
