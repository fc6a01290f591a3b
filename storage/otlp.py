"""OTLP for the engine: the protobuf schema and the column structure, both made from the official descriptors."""

from functools import cache

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

_REQUESTS: dict[str, Descriptor] = {
    "traces": ExportTraceServiceRequest.DESCRIPTOR,
    "metrics": ExportMetricsServiceRequest.DESCRIPTOR,
}

_PROTO_TYPES = {
    value: name.removeprefix("TYPE_").lower()
    for name, value in vars(FieldDescriptor).items()
    if name.startswith("TYPE_")
}
_COLUMN_TYPES = {
    "double": "Float64",
    "fixed32": "UInt32",
    "uint32": "UInt32",
    "fixed64": "UInt64",
    "uint64": "UInt64",
    "sfixed64": "Int64",
    "int64": "Int64",
    "sint32": "Int32",
    "int32": "Int32",
    "bool": "UInt8",
    "string": "String",
    "bytes": "String",
}

# Fields the tables have no column for. Arrays and maps have become JSON text before the log (collector/otlp.py).
_UNREAD_FIELDS = {
    "opentelemetry.proto.common.v1.AnyValue": {"array_value", "kvlist_value", "string_value_strindex"},
    "opentelemetry.proto.common.v1.KeyValue": {"key_strindex"},
    "opentelemetry.proto.resource.v1.Resource": {"dropped_attributes_count", "entity_refs"},
    "opentelemetry.proto.trace.v1.ResourceSpans": {"schema_url"},
    "opentelemetry.proto.trace.v1.ScopeSpans": {"schema_url"},
    "opentelemetry.proto.trace.v1.Span": {
        "flags",
        "dropped_attributes_count",
        "dropped_events_count",
        "dropped_links_count",
    },
    "opentelemetry.proto.trace.v1.Span.Event": {"dropped_attributes_count"},
    "opentelemetry.proto.trace.v1.Span.Link": {"dropped_attributes_count", "flags"},
    "opentelemetry.proto.metrics.v1.Metric": {"metadata"},
    "opentelemetry.proto.metrics.v1.ExponentialHistogramDataPoint": {"zero_threshold"},
}
# Text that repeats from item to item is decoded into a dictionary.
_REPEATED_TEXT = {"KeyValue.key", "Span.name", "Span.Event.name", "Metric.name"}
# Which member of these oneofs is set tells 0, '' and false apart from absent.
_ONEOFS_TOLD = {"AnyValue.value", "NumberDataPoint.value", "Exemplar.value"}


@cache
def proto_schema(signal: str) -> tuple[str, str]:
    """The protobuf schema of a signal's export request as text, and the name of the request in it.

    Enumerations are written as int32: the bytes are the same and unknown values pass.
    """
    messages: dict[str, str] = {}
    root = _REQUESTS[signal]
    _add_message(root, messages)
    return 'syntax = "proto3";\n' + "\n".join(messages.values()), _flat_name(root)


@cache
def column_structure(signal: str) -> str:
    """The engine's column structure of a signal's export request."""
    return ", ".join(_columns(_REQUESTS[signal]))


def _add_message(message: Descriptor, messages: dict[str, str]) -> None:
    if message.full_name in messages:
        return
    messages[message.full_name] = ""  # announced first: AnyValue contains itself
    lines = []
    oneofs: dict[str, list[str]] = {}
    for field in message.fields:
        if field.message_type is not None:
            _add_message(field.message_type, messages)
            type_name = _flat_name(field.message_type)
        else:
            type_name = "int32" if field.enum_type is not None else _PROTO_TYPES[field.type]
        oneof = field.containing_oneof
        declaration = f"{type_name} {field.name} = {field.number};"
        if oneof is None:
            lines.append(("repeated " if field.is_repeated else "") + declaration)
        elif oneof.name == f"_{field.name}":  # proto3 `optional`
            lines.append("optional " + declaration)
        else:
            oneofs.setdefault(oneof.name, []).append(declaration)
    lines += [f"oneof {name} {{ {' '.join(members)} }}" for name, members in oneofs.items()]
    messages[message.full_name] = f"message {_flat_name(message)} {{ {' '.join(lines)} }}"


def _flat_name(message: Descriptor) -> str:
    return str(message.full_name).replace(".", "_")


def _columns(message: Descriptor) -> list[str]:
    name = _short_name(message)
    unread = _UNREAD_FIELDS.get(message.full_name, set())
    columns = []
    for oneof in message.oneofs:
        if f"{name}.{oneof.name}" in _ONEOFS_TOLD:
            members = [f"'{field.name}' = {field.number}" for field in oneof.fields]
            columns.append(f"{oneof.name} Enum8('unset' = 0, {', '.join(members)})")
    for field in message.fields:
        if field.name in unread:
            continue
        columns.append(f"{field.name} {_column_type(field, f'{name}.{field.name}')}")
    return columns


def _column_type(field: FieldDescriptor, path: str) -> str:
    if field.message_type is not None:
        element = f"Tuple({', '.join(_columns(field.message_type))})"
    elif field.enum_type is not None:
        element = "Int32"
    elif path in _REPEATED_TEXT:
        element = "LowCardinality(String)"
    else:
        element = _COLUMN_TYPES[_PROTO_TYPES[field.type]]
    return f"Array({element})" if field.is_repeated else element


def _short_name(message: Descriptor) -> str:
    return str(message.full_name).removeprefix(f"{message.file.package}.")
