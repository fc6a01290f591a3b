"""The schema text and the column structure, held against the official descriptors by other means."""

import re
from typing import Any

import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from storage import otlp, sql
from storage.store import Store
from tests.contract.payloads import PAYLOADS

_REQUESTS: dict[str, type[Any]] = {
    "traces": ExportTraceServiceRequest,
    "metrics": ExportMetricsServiceRequest,
    "logs": ExportLogsServiceRequest,
}
_FIELD = re.compile(r"(repeated |optional )?(\w+) (\w+) = (\d+);")
_SCALARS = {
    name.removeprefix("TYPE_").lower(): value
    for name, value in vars(FieldDescriptor).items()
    if name.startswith("TYPE_") and name not in {"TYPE_MESSAGE", "TYPE_ENUM", "TYPE_GROUP"}
}

_RESOURCE = {
    "AnyValue.array_value",
    "AnyValue.kvlist_value",
    "AnyValue.string_value_strindex",
    "KeyValue.key_strindex",
    "Resource.dropped_attributes_count",
    "Resource.entity_refs",
}
_KINDS = {"gauge", "sum", "histogram", "exponential_histogram", "summary"}

# What the upstream tables have no column for, so that a field that OTLP gains one day is seen here.
UNREAD = {
    "otel_traces": _RESOURCE
    | {
        "ResourceSpans.schema_url",
        "ScopeSpans.schema_url",
        "InstrumentationScope.attributes",
        "InstrumentationScope.dropped_attributes_count",
        "Span.flags",
        "Span.dropped_attributes_count",
        "Span.dropped_events_count",
        "Span.dropped_links_count",
        "Event.dropped_attributes_count",
        "Link.dropped_attributes_count",
        "Link.flags",
    },
    "otel_logs": _RESOURCE | {"InstrumentationScope.dropped_attributes_count", "LogRecord.dropped_attributes_count"},
} | {
    f"otel_metrics_{kind}": _RESOURCE | {"Metric.metadata"} | {f"Metric.{other}" for other in _KINDS - {kind}}
    for kind in _KINDS
}
UNREAD["otel_metrics_exponential_histogram"] |= {"ExponentialHistogramDataPoint.zero_threshold"}


def _compiled(text: str, root: str) -> type[Any]:
    """The message class that a schema text describes, by a reader of our own."""
    file = descriptor_pb2.FileDescriptorProto(name="read_back.proto", syntax="proto3")
    head, *lines = text.splitlines()
    assert head == 'syntax = "proto3";'
    for line in lines:
        name, body = re.fullmatch(r"message (\w+) \{ (.*) \}", line).groups()  # type: ignore[union-attr]
        message = file.message_type.add(name=name)
        for oneof, members in re.findall(r"oneof (\w+) \{ (.*?) \}", body):
            message.oneof_decl.add(name=oneof)
            for field in _FIELD.findall(members):
                _add_field(message, *field, oneof_index=len(message.oneof_decl) - 1)
        for field in _FIELD.findall(re.sub(r"oneof \w+ \{ .*? \}", "", body)):
            _add_field(message, *field)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)  # type: ignore[attr-defined]
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(root))


def _add_field(
    message: Any, label: str, type_name: str, name: str, number: str, oneof_index: int | None = None
) -> None:
    field = message.field.add(name=name, number=int(number), label=3 if label == "repeated " else 1)
    if type_name in _SCALARS:
        field.type = _SCALARS[type_name]
    else:
        field.type, field.type_name = FieldDescriptor.TYPE_MESSAGE, f".{type_name}"
    if label == "optional ":
        field.proto3_optional = True
        message.oneof_decl.add(name=f"_{name}")
        field.oneof_index = len(message.oneof_decl) - 1
    elif oneof_index is not None:
        field.oneof_index = oneof_index


@pytest.mark.parametrize("table", PAYLOADS)
def test_the_schema_text_reads_every_byte_that_the_official_schema_writes(table: str) -> None:
    signal = otlp.OTLP_TABLES[table]
    read_back = _compiled(*otlp.proto_schema(signal))()
    read_back.ParseFromString(PAYLOADS[table])
    read_back.DiscardUnknownFields()
    assert read_back.SerializeToString(deterministic=True) == _REQUESTS[signal].FromString(
        PAYLOADS[table]
    ).SerializeToString(deterministic=True)


@pytest.mark.parametrize("signal", _REQUESTS)
def test_the_schema_text_has_every_field_of_every_message(signal: str) -> None:
    text, root = otlp.proto_schema(signal)
    ours = _compiled(text, root).DESCRIPTOR
    assert _shape(ours, ()) == _shape(_REQUESTS[signal].DESCRIPTOR, ())


def _shape(message: Descriptor, above: tuple[str, ...]) -> dict[str, Any]:
    """Name, number, type and cardinality of every field; enumerations as the int32 that they are on the wire."""
    name = _flat(message.full_name)
    if name in above:
        return {"recursive": name}
    return {
        field.json_name: (
            field.number,
            FieldDescriptor.TYPE_INT32 if field.enum_type else field.type,
            field.is_repeated,
            _oneof(field),
            _shape(field.message_type, (*above, name)) if field.message_type else None,
        )
        for field in message.fields
    }


def _oneof(field: FieldDescriptor) -> str | None:
    """The oneof that a field is in; that of an optional field bears the field's name, which is ours to choose."""
    oneof = field.containing_oneof
    return oneof and ("optional" if oneof.name.startswith("_") else oneof.name)


def _flat(name: str) -> str:
    return name.replace(".", "_")


@pytest.mark.parametrize("encoding", otlp.ENCODINGS)
@pytest.mark.parametrize("table", otlp.OTLP_TABLES)
def test_the_structure_has_every_field_but_those_without_a_column(table: str, encoding: otlp.Encoding) -> None:
    structure = _parsed(otlp.column_structure(table, encoding))
    assert _missing(_REQUESTS[otlp.OTLP_TABLES[table]].DESCRIPTOR, structure) == UNREAD[table]


def _missing(message: Descriptor, columns: dict[str, Any]) -> set[str]:
    found: set[str] = set()
    for field in message.fields:
        if field.json_name not in columns:
            found.add(f"{message.name}.{field.name}")
        elif field.message_type is not None:
            found |= _missing(field.message_type, columns[field.json_name])
    return found


def _parsed(structure: str) -> dict[str, Any]:
    """`a Int8, b Array(Tuple(c String))` as {a: 'Int8', b: {c: 'String'}}."""
    columns: dict[str, Any] = {}
    for part in _split(structure):
        name, type_name = part.strip().split(" ", 1)
        element = type_name.removeprefix("Array(").removesuffix(")") if type_name.startswith("Array(") else type_name
        inside = element.removeprefix("Tuple(").removesuffix(")")
        columns[name] = _parsed(inside) if element.startswith("Tuple(") else type_name
    return columns


def _split(text: str) -> list[str]:
    parts, depth, start = [], 0, 0
    for at, sign in enumerate(text):
        depth += (sign == "(") - (sign == ")")
        if sign == "," and depth == 0:
            parts.append(text[start:at])
            start = at + 1
    return [*parts, text[start:]]


@pytest.mark.parametrize("encoding", otlp.ENCODINGS)
@pytest.mark.parametrize("table", otlp.OTLP_TABLES)
def test_the_engine_accepts_the_structure(store: Store, table: str, encoding: otlp.Encoding) -> None:
    assert store.engine is not None
    structure = sql.quoted(otlp.column_structure(table, encoding))
    described = store.engine.run(f"DESCRIBE TABLE format(Values, {structure}, '')").body.decode()
    (field,) = _REQUESTS[otlp.OTLP_TABLES[table]].DESCRIPTOR.fields
    assert described.split("\t")[0] == field.json_name


def test_whether_a_value_is_set_is_told_where_0_and_absent_differ() -> None:
    metrics = _parsed(otlp.column_structure("otel_metrics_gauge", "protobuf"))
    gauge = metrics["resourceMetrics"]["scopeMetrics"]["metrics"]["gauge"]["dataPoints"]
    assert gauge["value"] == "Enum8('unset' = 0, 'asDouble' = 4, 'asInt' = 6)"
    assert gauge["exemplars"]["value"] == "Enum8('unset' = 0, 'asDouble' = 3, 'asInt' = 6)"
    attribute = gauge["attributes"]["value"]
    assert attribute["value"].startswith("Enum8('unset' = 0, 'stringValue' = 1, 'boolValue' = 2")


def test_only_metrics_are_plain() -> None:
    with pytest.raises(ValueError, match="otel_traces is loaded as protobuf or json"):
        otlp.load_statement("otel_traces", "plain")


@pytest.mark.parametrize("table", [table for table, signal in otlp.OTLP_TABLES.items() if signal == "metrics"])
def test_a_plain_request_is_decoded_as_what_it_may_hold(table: str) -> None:
    structure = _parsed(otlp.column_structure(table, "plain"))
    (request,) = structure.values()
    assert request["resource"]["attributes"] == {"key": "String", "value": {"stringValue": "String"}}
    assert "exemplars" not in otlp.load_statement(table, "plain")
    assert "throwIf" not in otlp.load_statement(table, "plain")


def test_json_tells_what_is_set_by_what_is_not_null() -> None:
    metrics = _parsed(otlp.column_structure("otel_metrics_gauge", "json"))
    gauge = metrics["resourceMetrics"]["scopeMetrics"]["metrics"]["gauge"]["dataPoints"]
    assert (gauge["asDouble"], gauge["asInt"]) == ("Nullable(Float64)", "Nullable(Int64)")
