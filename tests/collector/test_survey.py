"""What a request holds, told at once, is what a look at each of its items finds."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st

from collector import otlp
from collector.errors import RefusedError, UndecodableError
from collector.otlp import CHECKS, REQUESTS, CheckedRequest, TimeRange, checked_metrics
from collector.survey import survey
from storage.otlp import METRIC_KINDS
from tests.collector.payloads import add_attributes

NOW = 1_795_000_000_000_000_000
ACCEPTED = TimeRange(NOW - 10**9, NOW + 10**9)
_TIMES = st.sampled_from([0, 1, NOW - 1, NOW, NOW + 1, NOW + 10**12]) | st.integers(NOW - 10**8, NOW + 10**8)
_VALUES = st.sampled_from(["0", 7, True, 1.5, b"id", None, ["a"], {"a": 1}])
_ITEMS = st.lists(st.tuples(_TIMES, _TIMES, _VALUES), max_size=4)
_ONE_OF_EACH: list[tuple[str, int, list[tuple[int, int, Any]]]] = [
    (kind, 2, [(NOW, NOW, "0"), (NOW, NOW + 1, 7)]) for kind in METRIC_KINDS
]
_GROUPS = st.lists(st.tuples(st.sampled_from(METRIC_KINDS), st.integers(0, 2), _ITEMS), max_size=5)


def request_of(signal: str, groups: list[tuple[str, int, list[tuple[int, int, Any]]]]) -> Any:
    """A resource and a scope for each group; items have what else lies in them."""
    request = REQUESTS[signal]()
    for kind, temporality, items in groups:
        resource = getattr(request, f"resource_{'spans' if signal == 'traces' else signal}").add()
        add_attributes(resource.resource.attributes, {"service.name": "chat", "process.pid": 7})
        if signal == "traces":
            of_scope = resource.scope_spans.add().spans
        elif signal == "logs":
            of_scope = resource.scope_logs.add().log_records
        else:
            data = getattr(resource.scope_metrics.add().metrics.add(name="queue_depth"), kind)
            data.SetInParent()
            of_scope = data.data_points
            if kind == "sum":
                data.aggregation_temporality = temporality
        for first, second, value in items:
            item = of_scope.add()
            add_attributes(item.attributes, {"gpu": value})
            match signal:
                case "traces":
                    item.start_time_unix_nano, item.end_time_unix_nano = first, second
                    item.events.add(time_unix_nano=5, name="first token")
                case "logs":
                    item.time_unix_nano, item.observed_time_unix_nano = first, second
                    item.body.string_value = "ready"
                case "metrics":
                    item.time_unix_nano, item.start_time_unix_nano = first, 5
                    if kind == "histogram":
                        item.explicit_bounds.extend([0.1, 0.2])
                    if kind != "summary":
                        item.exemplars.add(time_unix_nano=7)
    return request


@contextmanager
def a_look_at_each_item(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The check as it is where nothing can be told at once."""
    with monkeypatch.context() as patched:
        patched.setattr(otlp, "_told", lambda _request, _accepted: None)
        yield


def outcome(signal: str, payload: bytes) -> Any:
    """What the door makes of a request: the checked one, or the kind of its refusal."""
    try:
        return CHECKS[signal](payload, ACCEPTED, "protobuf")
    except RefusedError as error:
        return type(error)


@pytest.mark.parametrize("signal", REQUESTS)
@given(groups=_GROUPS)
def test_a_request_is_checked_as_by_a_look_at_each_item(signal: str, groups: Any) -> None:
    payload = request_of(signal, groups).SerializeToString()
    with pytest.MonkeyPatch.context() as patched, a_look_at_each_item(patched):
        looked_at = outcome(signal, payload)
    assert outcome(signal, payload) == looked_at


@pytest.mark.parametrize("signal", REQUESTS)
@given(data=st.data())
def test_so_is_one_that_is_broken_anywhere(signal: str, data: st.DataObject) -> None:
    payload = bytearray(request_of(signal, _ONE_OF_EACH).SerializeToString())
    at = data.draw(st.integers(0, len(payload) - 1))
    payload[at : at + data.draw(st.integers(0, 2))] = data.draw(st.binary(max_size=2))
    with pytest.MonkeyPatch.context() as patched, a_look_at_each_item(patched):
        looked_at = outcome(signal, bytes(payload))
    assert without_carried(outcome(signal, bytes(payload))) == without_carried(looked_at)
    assert (looked_at is UndecodableError) == (not is_decodable(signal, bytes(payload)))


def without_carried(found: Any) -> Any:
    """Of a resource that is written in two pieces, only the larger one is told at once."""
    return replace(found, carried_bytes=0) if isinstance(found, CheckedRequest) else found


def is_decodable(signal: str, payload: bytes) -> bool:
    try:
        REQUESTS[signal].FromString(payload)
    except DecodeError:
        return False
    return True


@pytest.mark.parametrize("signal", REQUESTS)
def test_most_requests_take_no_look_at_each_item(signal: str) -> None:
    payload = request_of(signal, _ONE_OF_EACH).SerializeToString()
    told = survey(signal, payload)
    assert told.is_told
    with pytest.MonkeyPatch.context() as patched:  # the official schema is not even asked
        patched.setitem(otlp.REQUESTS, signal, None)
        assert CHECKS[signal](payload, ACCEPTED, "protobuf").payload == payload
    assert not told.has_composites
    assert sum(told.items.values()) == 2 * len(METRIC_KINDS)
    assert set(told.times) == {NOW}
    assert len(told.resource_bytes) == len(METRIC_KINDS)


@pytest.mark.parametrize("kind", METRIC_KINDS)
def test_a_point_without_a_time_takes_a_look_at_each(kind: str) -> None:
    payload = request_of("metrics", [(kind, 2, [(NOW, 0, "0"), (0, 0, "0")])]).SerializeToString()
    assert not survey("metrics", payload).is_told
    checked = checked_metrics(payload, ACCEPTED)
    assert checked.rejections.counts == {"too_old": 1}
    assert checked.items == {f"otel_metrics_{kind}": 1}


def test_a_time_that_is_written_twice_takes_a_look_at_each() -> None:
    late = b"\x19" + (NOW + 10**12).to_bytes(8, "little")
    point = _metric_of(request_of("metrics", [("gauge", 0, [(NOW, 0, "0")])])).gauge.data_points[0]
    twice = _field(1, _field(2, _field(2, _field(5, _field(1, late + point.SerializeToString())))))
    assert not survey("metrics", twice).is_told
    assert checked_metrics(twice, ACCEPTED).rejections.total == 0  # the last one counts, and it is not late


def test_of_two_kinds_in_one_metric_the_last_one_counts() -> None:
    gauge, total = (_metric_of(request_of("metrics", [(kind, 2, [(NOW, 0, "0")])])) for kind in ("gauge", "sum"))
    both = _field(1, _field(2, _field(2, gauge.SerializeToString() + total.SerializeToString())))
    assert not survey("metrics", both).is_told
    assert checked_metrics(both, ACCEPTED).items == {"otel_metrics_sum": 1}


def test_deltas_take_a_look_at_each() -> None:
    payload = request_of("metrics", [("sum", 2, [(NOW, 0, "0")]), ("sum", 1, [(NOW, 0, "0")] * 2)]).SerializeToString()
    assert not survey("metrics", payload).is_told
    assert checked_metrics(payload, ACCEPTED).delta_points == 2


@pytest.mark.parametrize("kind", METRIC_KINDS)
@pytest.mark.parametrize("key", ["pod", ""])
@pytest.mark.parametrize("value", ["", "0", None, 0, 7, False, 0.0, b"", [], {}, ["a"]])
def test_metrics_are_plain_while_all_their_values_are_texts(kind: str, key: str, value: Any) -> None:
    request = plain_request(kind)
    points = getattr(_metric_of(request), kind).data_points
    add_attributes(points[1].attributes, {key: value})
    if not key:  # there is no other then, whose key would be missed
        del points[0].attributes[:], points[1].attributes[:-1]
    payload = request.SerializeToString()
    is_plain = isinstance(value, str) if key else value is None  # as many keys as texts
    assert survey("metrics", payload).is_plain == is_plain
    assert checked_metrics(payload, ACCEPTED).is_plain == is_plain


@given(pairs=st.lists(st.tuples(st.sampled_from(["", "gpu"]), st.sampled_from(["", "0", None, 7, b"id"])), max_size=3))
def test_what_is_plain_has_texts_only(pairs: list[tuple[str, Any]]) -> None:
    request = plain_request("gauge")
    attributes = _metric_of(request).gauge.data_points[1].attributes
    for key, value in pairs:
        add_attributes(attributes, {key: value})
    if survey("metrics", request.SerializeToString()).is_plain:
        assert {pair.value.WhichOneof("value") for pair in attributes} <= {"string_value", None}


@pytest.mark.parametrize("kind", METRIC_KINDS)
def test_points_with_exemplars_are_not_plain(kind: str) -> None:
    request = plain_request(kind)
    assert survey("metrics", request.SerializeToString()).is_plain
    if kind != "summary":
        getattr(_metric_of(request), kind).data_points[1].exemplars.add(time_unix_nano=7)
        assert not survey("metrics", request.SerializeToString()).is_plain


def test_resources_and_scopes_have_values_too() -> None:
    request = plain_request("gauge")
    add_attributes(request.resource_metrics[0].resource.attributes, {"service.name": "chat"})
    add_attributes(request.resource_metrics[0].scope_metrics[0].scope.attributes, {"kind": "engine"})
    assert survey("metrics", request.SerializeToString()).is_plain
    for attributes in (
        request.resource_metrics[0].resource.attributes,
        request.resource_metrics[0].scope_metrics[0].scope.attributes,
    ):
        add_attributes(attributes, {"process.pid": 7})
        assert not survey("metrics", request.SerializeToString()).is_plain
        del attributes[-1]


def test_a_value_that_holds_two_at_a_time_is_not_plain() -> None:
    number, text = b"\x18\x07", _field(1, b"seven")
    for value in (number + text, text + number, text + text):
        point = b"\x19" + NOW.to_bytes(8, "little") + _field(7, _field(1, b"gpu") + _field(2, value))
        assert not survey("metrics", _field(1, _field(2, _field(2, _field(5, _field(1, point)))))).is_plain


def plain_request(kind: str) -> Any:
    """Two points of one text each."""
    request = request_of("metrics", [(kind, 2, [(NOW, 0, "0")] * 2)])
    del request.resource_metrics[0].resource.attributes[:]  # there is a number among them
    for point in getattr(_metric_of(request), kind).data_points if kind != "summary" else ():
        del point.exemplars[:]
    return request


def test_records_that_were_only_observed_are_told_by_that_time() -> None:
    payload = request_of("logs", [("gauge", 0, [(0, NOW, "0"), (0, NOW - 1, "0")])]).SerializeToString()
    told = survey("logs", payload)
    assert told.is_told
    assert set(told.times) == {NOW, NOW - 1}


def _metric_of(request: Any) -> Any:
    return request.resource_metrics[0].scope_metrics[0].metrics[0]


def _field(number: int, content: bytes) -> bytes:
    assert len(content) < 128
    return bytes([number << 3 | 2, len(content)]) + content
