"""Every recorded request and every example of the specification, through both doors, in all encodings.

What is stored is held, value for value, against a decoder that shares nothing with the product.
"""

import gzip
import json
import re
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from storage.otlp import OTLP_TABLES
from storage.store import Store
from tests import reference_otlp
from tests.collector.test_values import EXEMPLAR_COLUMN, METRIC_COLUMNS, TRACE_COLUMNS, in_order
from tests.emptied import empty
from tests.scenarios.otlp_doors import PACKERS, REQUEST_TYPES, OtlpDoors, from_json, open_otlp_doors, to_json

OTLP = Path(__file__).parents[3] / "shared" / "data" / "otlp"
SIGNALS = {"trace": "traces", "traces": "traces", "metrics": "metrics", "logs": "logs", "events": "logs"}
DAY_NS = 86_400 * 10**9
NOW_NS = time.time_ns()
MARK = "test.delivery"

pytestmark = pytest.mark.skipif(not OTLP.is_dir(), reason=f"no recorded requests in {OTLP}")


@dataclass(frozen=True, slots=True)
class Delivery:
    """One way for a request to come in."""

    door: str
    encoding: str
    packing: str

    def __str__(self) -> str:
        return "-".join(filter(None, (self.door, self.encoding, self.packing)))


DELIVERIES = [
    *(Delivery("http", encoding, packing) for encoding in ("protobuf", "json") for packing in PACKERS),
    Delivery("grpc", "protobuf", ""),
    Delivery("grpc", "protobuf", "gzip"),
]


def recorded_files() -> list[Path]:
    return sorted(file for file in OTLP.rglob("*") if file.suffix in (".json", ".pb", ".gz"))


def signal_of(file: Path) -> str:
    (word,) = [word for word in re.split(r"[_.]", file.name) if word in SIGNALS]
    return SIGNALS[word]


def content_of(file: Path) -> bytes:
    return gzip.decompress(file.read_bytes()) if file.suffix == ".gz" else file.read_bytes()


# -- what is sent ------------------------------------------------------------------------------------------------------


def times_in(text: str) -> list[int]:
    return [int(time) for time in re.findall(r'[tT]imeUnixNano"\s*:\s*"?(\d+)', text)]


def moved(text: str) -> str:
    """OTLP/JSON with all its times moved by whole days into the last one: too old ones are not accepted."""
    by_ns = (NOW_NS - max(times_in(text))) // DAY_NS * DAY_NS
    return re.sub(
        r'([tT]imeUnixNano"\s*:\s*"?)(\d+)',
        lambda match: f"{match[1]}{int(match[2]) + by_ns * (match[2] != '0')}",
        text,
    )


def recent_json(file: Path) -> str:
    """The request as OTLP/JSON, as recorded where it was recorded in JSON, with times of today."""
    content = content_of(file)
    if ".json" in file.suffixes:
        return moved(content.decode())
    return moved(to_json(REQUEST_TYPES[signal_of(file)].FromString(content)).decode())


def marked(signal: str, text: str, mark: str) -> str:
    """The request with one more attribute of each resource, by which its rows are known."""
    document = json.loads(text)
    for resource in document[{"traces": "resourceSpans", "metrics": "resourceMetrics", "logs": "resourceLogs"}[signal]]:
        attributes = resource.setdefault("resource", {}).setdefault("attributes", [])
        attributes.append({"key": MARK, "value": {"stringValue": mark}})
    return json.dumps(document)


def mark_of(file: Path, delivery: Delivery) -> str:
    return f"{file.name} {delivery}"


def deliver(doors: OtlpDoors, file: Path, delivery: Delivery) -> None:
    signal = signal_of(file)
    text = marked(signal, recent_json(file), mark_of(file, delivery))
    message: bytes = from_json(signal, text).SerializeToString()
    if delivery.door == "grpc":
        assert doors.call(signal, message, delivery.packing) == b""
        return
    body = text.encode() if delivery.encoding == "json" else message
    answer = doors.post(signal, PACKERS[delivery.packing](body), delivery.encoding, delivery.packing)
    assert (answer.status_code, answer.content) == (200, b"{}" if delivery.encoding == "json" else b"")


# -- what is stored ----------------------------------------------------------------------------------------------------

Rows = dict[str, list[dict[str, Any]]]


def expected(signal: str, message: bytes) -> Rows:
    match signal:
        case "metrics":
            return reference_otlp.metric_rows(message)
        case "logs":
            return {"otel_logs": reference_otlp.log_rows(message)}
        case _:
            return {"otel_traces": reference_otlp.trace_rows(message)}


def columns_of(table: str) -> str:
    match table:
        case "otel_traces":
            return TRACE_COLUMNS
        case "otel_logs":
            return "* REPLACE (toUnixTimestamp64Nano(Timestamp) AS Timestamp)"
        case _:
            return METRIC_COLUMNS.format("" if table == "otel_metrics_summary" else EXEMPLAR_COLUMN)


@pytest.fixture(scope="module")
def stored(store: Store, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Rows]:
    """All rows by the delivery that brought them, by table. Everything is sent before anything is looked at."""
    empty(store)
    with open_otlp_doors(store, tmp_path_factory.mktemp("collector")) as doors:
        for file in recorded_files():
            for delivery in DELIVERIES:
                deliver(doors, file, delivery)
        doors.load()
        assert doors.counted("quarantined_items_total") == 0
        assert doors.counted("loaded_items_total") == doors.counted("accepted_items_total")
    engine = store.engine
    assert engine is not None
    exact = {"output_format_json_quote_64bit_integers": "0", "output_format_json_quote_denormals": "1"}
    by_mark: dict[str, Rows] = {}
    for table in OTLP_TABLES:
        answer = engine.read(f"SELECT {columns_of(table)} FROM {table}", "JSONEachRow", settings=exact)
        for line in answer.body.splitlines():
            row = json.loads(line)
            by_mark.setdefault(row["ResourceAttributes"][MARK], {}).setdefault(table, []).append(row)
    return by_mark


@pytest.mark.parametrize("delivery", DELIVERIES, ids=str)
@pytest.mark.parametrize("file", recorded_files(), ids=lambda file: file.name)
def test_a_request_is_stored_value_for_value_however_it_comes(
    stored: dict[str, Rows], file: Path, delivery: Delivery
) -> None:
    signal = signal_of(file)
    mark = mark_of(file, delivery)
    message = from_json(signal, marked(signal, recent_json(file), mark)).SerializeToString()
    want = expected(signal, message)
    assert want, "the recording holds something"
    assert in_order(stored[mark]) == in_order(want)


@pytest.mark.parametrize("file", recorded_files(), ids=lambda file: file.name)
def test_a_request_is_taken_byte_for_byte_as_it_was_recorded(clean_store: Store, tmp_path: Path, file: Path) -> None:
    """Its times are those of the recording: old items are rejected, and then the answer says so."""
    with open_otlp_doors(clean_store, tmp_path) as doors:
        encoding = "json" if ".json" in file.suffixes else "protobuf"
        answer = doors.post(signal_of(file), file.read_bytes(), encoding, "gzip" if file.suffix == ".gz" else "")
        assert answer.status_code == 200
        accepted, rejected = doors.counted("accepted_items_total"), doors.counted("rejected_items_total")
        assert accepted + rejected > 0
        assert (answer.content in (b"", b"{}")) == (rejected == 0)
