"""The schema text and the column structure, held against the official descriptors by other means."""

import re
from typing import Any

import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from storage import otlp
from storage.store import Store
from tests.contract.payloads import PAYLOADS

_REQUESTS: dict[str, type[Any]] = {"traces": ExportTraceServiceRequest, "metrics": ExportMetricsServiceRequest}
_FIELD = re.compile(r"(repeated |optional )?(\w+) (\w+) = (\d+);")
_SCALARS = {
    name.removeprefix("TYPE_").lower(): value
    for name, value in vars(FieldDescriptor).items()
    if name.startswith("TYPE_") and name not in {"TYPE_MESSAGE", "TYPE_ENUM", "TYPE_GROUP"}
}

# What the upstream tables have no column for, so that a field that OTLP gains one day is seen here.
UNREAD = {
    "AnyValue.array_value",
    "AnyValue.kvlist_value",
    "AnyValue.string_value_strindex",
    "KeyValue.key_strindex",
    "Resource.dropped_attributes_count",
    "Resource.entity_refs",
    "ResourceSpans.schema_url",
    "ScopeSpans.schema_url",
    "Span.flags",
    "Span.dropped_attributes_count",
    "Span.dropped_events_count",
    "Span.dropped_links_count",
    "Event.dropped_attributes_count",
    "Link.dropped_attributes_count",
    "Link.flags",
    "Metric.metadata",
    "ExponentialHistogramDataPoint.zero_threshold",
}


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
    signal = "traces" if table == "otel_traces" else "metrics"
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
        field.name: (
            field.number,
            FieldDescriptor.TYPE_INT32 if field.enum_type else field.type,
            field.is_repeated,
            field.containing_oneof.name if field.containing_oneof else None,
            _shape(field.message_type, (*above, name)) if field.message_type else None,
        )
        for field in message.fields
    }


def _flat(name: str) -> str:
    return name.replace(".", "_")


@pytest.mark.parametrize("signal", _REQUESTS)
def test_the_structure_has_every_field_but_those_without_a_column(signal: str) -> None:
    unread = _missing(_REQUESTS[signal].DESCRIPTOR, _parsed(otlp.column_structure(signal)))
    ours = {path for path in UNREAD if _belongs(path, signal)}
    assert unread == ours


def _belongs(path: str, signal: str) -> bool:
    message = path.partition(".")[0]
    if signal == "traces":
        return message not in {"Metric", "ExponentialHistogramDataPoint"}
    return message not in {"ResourceSpans", "ScopeSpans", "Span", "Event", "Link"}


def _missing(message: Descriptor, columns: dict[str, Any]) -> set[str]:
    found: set[str] = set()
    for field in message.fields:
        if field.name not in columns:
            found.add(f"{message.name}.{field.name}")
        elif field.message_type is not None:
            found |= _missing(field.message_type, columns[field.name])
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


@pytest.mark.parametrize("signal", _REQUESTS)
def test_the_engine_accepts_the_structure(store: Store, signal: str) -> None:
    assert store.engine is not None
    structure = otlp.column_structure(signal).replace("\\", "\\\\").replace("'", "\\'")
    described = store.engine.run(f"DESCRIBE TABLE format(Values, '{structure}', '')").body.decode()
    assert described.split("\t")[0] == "resource_spans" if signal == "traces" else "resource_metrics"


def test_whether_a_value_is_set_is_told_where_0_and_absent_differ() -> None:
    metrics = _parsed(otlp.column_structure("metrics"))
    gauge = metrics["resource_metrics"]["scope_metrics"]["metrics"]["gauge"]["data_points"]
    assert gauge["value"] == "Enum8('unset' = 0, 'as_double' = 4, 'as_int' = 6)"
    assert gauge["exemplars"]["value"] == "Enum8('unset' = 0, 'as_double' = 3, 'as_int' = 6)"
    attribute = gauge["attributes"]["value"]
    assert attribute["value"].startswith("Enum8('unset' = 0, 'string_value' = 1, 'bool_value' = 2")
