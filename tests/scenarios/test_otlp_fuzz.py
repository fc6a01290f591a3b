"""Bodies that nobody should send: each is answered, none is taken by half, and the doors go on."""

import gzip
import json
import random
from collections.abc import Callable, Iterator
from typing import Any

import grpc
import httpx
import pytest
from google.protobuf import json_format
from google.protobuf.message import DecodeError
from google.rpc.status_pb2 import Status
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from storage.otlp import OTLP_TABLES
from storage.store import Store
from tests.collector.payloads import gauge_request, trace_request
from tests.emptied import empty
from tests.scenarios.otlp_doors import PACKERS, REQUEST_TYPES, OtlpDoors, open_otlp_doors, to_json
from tests.scenarios.test_otlp_conformance import (
    NOW_NS,
    OTLP,
    from_json,
    recent_json,
    recorded_files,
    signal_of,
)

LIMIT = 1 << 20
SIGNALS = tuple(REQUEST_TYPES)


def seeds() -> list[tuple[str, bytes]]:
    """Requests that are whole, as (signal, protobuf)."""
    made = [
        ("traces", trace_request(NOW_NS, spans=3, attributes={"a": [1, {"b": None}], "n": 2**62, "x": 0.5})),
        ("metrics", gauge_request(NOW_NS, points=3)),
    ]
    files = recorded_files() if OTLP.is_dir() else []
    recorded = [(signal_of(file), from_json(signal_of(file), recent_json(file)).SerializeToString()) for file in files]
    return made + recorded


SEEDS = seeds()


@pytest.fixture(scope="module")
def doors(store: Store, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OtlpDoors]:
    empty(store)
    limits = {"otlp_http": {"port": 0, "body_bytes_max": LIMIT}, "otlp_grpc": {"port": 0, "message_bytes_max": LIMIT}}
    with open_otlp_doors(store, tmp_path_factory.mktemp("collector"), limits) as opened:
        yield opened


@pytest.fixture
def all_explained(doors: OtlpDoors, store: Store) -> Iterator[None]:
    """After the test: what was accepted is stored or in quarantine, and nothing failed for a reason of ours."""
    yield
    doors.load()
    engine = store.engine
    assert engine is not None
    rows = sum(int(engine.read(f"SELECT count() FROM {table}", "TSV").body) for table in OTLP_TABLES)
    assert rows == doors.counted("loaded_items_total")
    assert rows + doors.counted("quarantined_items_total") == doors.counted("accepted_items_total")
    assert doors.counted("in_flight_bytes") == 0


# -- how requests are spoilt -------------------------------------------------------------------------------------------


@st.composite
def spoilt(draw: st.DrawFn, bodies: st.SearchStrategy[bytes]) -> bytes:
    """A body with a few bytes changed, left out, doubled or put in, or its end cut off."""
    body = bytearray(draw(bodies))
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(body)))
        end = min(len(body), start + draw(st.integers(0, 12)))
        match draw(st.sampled_from(["change", "leave out", "double", "put in", "cut off"])):
            case "change":
                body[start:end] = draw(st.binary(min_size=end - start, max_size=end - start))
            case "leave out":
                del body[start:end]
            case "double":
                body[start:start] = body[start:end] * draw(st.integers(1, 50))
            case "put in":
                body[start:start] = draw(st.binary(max_size=12))
            case _:
                del body[start:]
    return bytes(body)


def varint(number: int) -> bytes:
    encoded = bytearray()
    while number > 0x7F:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*encoded, number])


def field(number: int, content: bytes, length: int | None = None) -> bytes:
    """A length-delimited field of protobuf; `length` may lie."""
    return varint(number << 3 | 2) + varint(len(content) if length is None else length) + content


LENGTHS = st.one_of(st.none(), st.sampled_from([0, 2**31 - 1, 2**31, 2**32 - 1, 2**63, 2**64 - 1]))
FIELDS = st.recursive(
    st.one_of(
        st.binary(max_size=20),
        st.builds(lambda number, value: varint(number << 3) + varint(value), st.integers(1, 20), st.integers(0, 2**64)),
        st.builds(lambda number, value: varint(number << 3 | 1) + value, st.integers(1, 20), st.binary(max_size=8)),
        st.builds(lambda number: varint(number << 3 | 3), st.integers(0, 20)),  # a group that nobody ends
    ),
    lambda inner: st.builds(field, st.integers(0, 20), inner, LENGTHS) | st.lists(inner, max_size=4).map(b"".join),
    max_leaves=20,
)


def nested_request(depth: int) -> bytes:
    """A span with an attribute of so many arrays, one in the other; built from the inside, by bytes."""
    value = field(1, b"deep")
    for _ in range(depth):
        value = field(5, field(1, value))
    attribute = field(9, field(1, b"key") + field(2, value))
    times = b"".join(varint(number << 3 | 1) + NOW_NS.to_bytes(8, "little") for number in (7, 8))
    return field(1, field(2, field(2, times + attribute)))


# -- what must hold ----------------------------------------------------------------------------------------------------


def items_in(signal: str, body: bytes) -> int | None:
    """Spans, data points or log records of a request; None when it is no such request."""
    try:
        request = REQUEST_TYPES[signal].FromString(body)
    except DecodeError:
        return None
    match signal:
        case "traces":
            return sum(len(scope.spans) for one in request.resource_spans for scope in one.scope_spans)
        case "logs":
            return sum(len(scope.log_records) for one in request.resource_logs for scope in one.scope_logs)
        case _:
            metrics = [m for one in request.resource_metrics for scope in one.scope_metrics for m in scope.metrics]
            kinds = [(metric, metric.WhichOneof("data")) for metric in metrics]
            return sum(len(getattr(metric, kind).data_points) for metric, kind in kinds if kind)


def taken(doors: OtlpDoors) -> float:
    return doors.counted("accepted_items_total") + doors.counted("rejected_items_total")


def status_of(answer: httpx.Response) -> Status:
    if answer.headers["content-type"] == "application/json":
        return json_format.Parse(answer.content, Status())
    return Status.FromString(answer.content)


def check_answer(doors: OtlpDoors, answer: httpx.Response, before: float, items: int | None) -> None:
    """Taken whole, or refused whole with a word why."""
    assert answer.status_code in (200, 400, 413), answer.content
    if answer.status_code == 200:
        assert items is None or taken(doors) - before == items
    else:
        assert status_of(answer).message
        assert taken(doors) == before


fuzz = settings(deadline=None, max_examples=120, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.mark.usefixtures("all_explained")
@fuzz
@given(data=st.data())
def test_spoilt_protobuf_is_taken_whole_or_refused(doors: OtlpDoors, data: st.DataObject) -> None:
    signal, seed = data.draw(st.sampled_from(SEEDS))
    body = data.draw(spoilt(st.just(seed)))
    before = taken(doors)
    answer = doors.post(signal, body)
    items = items_in(signal, body)
    check_answer(doors, answer, before, items)
    assert (answer.status_code == 200) == (items is not None), "what protobuf reads is taken, and nothing else"


@pytest.mark.usefixtures("all_explained")
@fuzz
@given(signal=st.sampled_from(SIGNALS), body=FIELDS)
@example(signal="traces", body=field(1, b"", 2**63))
@example(signal="traces", body=field(1, b"", 2**31 - 1))
@example(signal="metrics", body=b"\x0b" * 10_000)
def test_random_protobuf_is_taken_whole_or_refused(doors: OtlpDoors, signal: str, body: bytes) -> None:
    before = taken(doors)
    check_answer(doors, doors.post(signal, body), before, items_in(signal, body))


@pytest.mark.usefixtures("all_explained")
@fuzz
@given(data=st.data())
def test_spoilt_messages_over_grpc_are_taken_whole_or_refused(doors: OtlpDoors, data: st.DataObject) -> None:
    signal, seed = data.draw(st.sampled_from(SEEDS))
    body = data.draw(spoilt(st.just(seed)))
    before = taken(doors)
    items = items_in(signal, body)
    packing = data.draw(st.sampled_from(["", "gzip"]))
    if items is None:
        with pytest.raises(grpc.RpcError) as caught:
            doors.call(signal, body, packing)
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    else:
        doors.call(signal, body, packing)
    assert taken(doors) - before == (items or 0)


@pytest.mark.usefixtures("all_explained")
@fuzz
@given(data=st.data())
def test_spoilt_json_is_taken_whole_or_refused(doors: OtlpDoors, data: st.DataObject) -> None:
    signal, seed = data.draw(st.sampled_from(SEEDS))
    body = data.draw(spoilt(st.just(to_json(REQUEST_TYPES[signal].FromString(seed)))))
    before = taken(doors)
    check_answer(doors, doors.post(signal, body, "json"), before, None)


VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8)),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=10,
)


def leaves(document: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The paths of all values of a document, inner ones included."""
    match document:
        case dict():
            pairs = list(document.items())
        case list():
            pairs = list(enumerate(document))
        case _:
            pairs = []
    return [found for key, value in pairs for found in [(*path, key), *leaves(value, (*path, key))]]


@pytest.mark.usefixtures("all_explained")
@fuzz
@given(data=st.data())
def test_json_with_a_value_of_another_kind_is_taken_whole_or_refused(doors: OtlpDoors, data: st.DataObject) -> None:
    signal, seed = data.draw(st.sampled_from(SEEDS))
    document = json.loads(to_json(REQUEST_TYPES[signal].FromString(seed)))
    *path, last = data.draw(st.sampled_from(leaves(document)))
    place = document
    for key in path:
        place = place[key]
    place[last] = data.draw(VALUES)
    before = taken(doors)
    check_answer(doors, doors.post(signal, json.dumps(document).encode(), "json"), before, None)


@pytest.mark.usefixtures("all_explained")
@fuzz
@given(data=st.data(), packing=st.sampled_from(["gzip", "zstd"]))
def test_spoilt_packing_is_taken_whole_or_refused(doors: OtlpDoors, data: st.DataObject, packing: str) -> None:
    signal, seed = data.draw(st.sampled_from(SEEDS))
    body = data.draw(spoilt(st.just(PACKERS[packing](seed))) | st.binary(max_size=40))
    before = taken(doors)
    check_answer(doors, doors.post(signal, body, packing=packing), before, None)


@pytest.mark.usefixtures("all_explained")
@pytest.mark.parametrize("depth", [1, 10, 40, 60, 200, 5000])
def test_deep_protobuf_is_taken_whole_or_refused(doors: OtlpDoors, depth: int) -> None:
    body = nested_request(depth)
    before = taken(doors)
    check_answer(doors, doors.post("traces", body), before, items_in("traces", body))


@pytest.mark.usefixtures("all_explained")
@pytest.mark.parametrize("depth", [1, 10, 100, 900, 2000, 50_000])
@pytest.mark.parametrize("signal", SIGNALS)
def test_deep_json_is_taken_whole_or_refused(doors: OtlpDoors, signal: str, depth: int) -> None:
    for opening, closing in (('{"a":', "}"), ("[", "]"), ('{"resourceSpans":[', "]}")):
        before = taken(doors)
        body = (opening * depth + "1" + closing * depth).encode()
        check_answer(doors, doors.post(signal, body, "json"), before, None)


BOMBS: dict[str, Callable[[], tuple[str, bytes]]] = {
    "gzip of zeros": lambda: ("gzip", gzip.compress(bytes(64 * LIMIT), 9)),
    "zstd of zeros": lambda: ("zstd", PACKERS["zstd"](bytes(64 * LIMIT))),
    "a little over the limit": lambda: ("gzip", gzip.compress(random.Random(1).randbytes(LIMIT // 2) * 2 + b"x")),
    "many small ones": lambda: ("gzip", gzip.compress(bytes(1000)) * 2000),
    "empty ones without end": lambda: ("gzip", gzip.compress(b"") * 40_000),
}


@pytest.mark.usefixtures("all_explained")
@pytest.mark.parametrize("bomb", BOMBS)
def test_a_bomb_is_refused(doors: OtlpDoors, bomb: str) -> None:
    packing, body = BOMBS[bomb]()
    before = taken(doors)
    answer = doors.post("traces", body, packing=packing)
    assert answer.status_code in (400, 413)
    check_answer(doors, answer, before, None)


def test_after_all_of_it_the_doors_take_what_is_whole(doors: OtlpDoors, all_explained: None) -> None:
    before = taken(doors)
    check_answer(doors, doors.post("traces", trace_request(NOW_NS, spans=7)), before, 7)
    assert doors.call("traces", trace_request(NOW_NS, spans=7)) == b""
    assert taken(doors) == before + 14
