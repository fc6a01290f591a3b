"""OTLP for the engine: the load statement of each table, made from the official descriptors.

One text of SQL loads requests of every form. Fields bear the names that OTLP/JSON gives them: protobuf knows numbers
only, so its names are ours to choose. What differs, ids and the texts of values, is a function of the same name in
files of `load/` (`_DECODINGS`); plain requests have no exemplars.
"""

from collections.abc import Set
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal, get_args

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.metrics.v1.metrics_pb2 import Metric

from storage import sql

Encoding = Literal["protobuf", "json"]
"""What an export request may be written in. JSON is one document a line, with a line end behind the last one too."""

ENCODINGS: tuple[Encoding, ...] = get_args(Encoding)

Form = Literal["protobuf", "json", "plain"]
"""How requests are decoded: by their encoding; or as plain ones, which are metrics in protobuf, where all values are
texts and no point has exemplars."""

OTLP_TABLES: dict[str, str] = {
    "otel_traces": "traces",
    "otel_logs": "logs",
    "otel_metrics_gauge": "metrics",
    "otel_metrics_sum": "metrics",
    "otel_metrics_histogram": "metrics",
    "otel_metrics_exponential_histogram": "metrics",
    "otel_metrics_summary": "metrics",
}
"""The upstream tables that OTLP is loaded into, with the signal that fills each."""

INPUT_FORMATS: dict[Form, str] = {"protobuf": "ProtobufSingle", "plain": "ProtobufSingle", "json": "LineAsString"}
"""The engine's format for requests of each form, one after the other."""

REQUESTS: dict[str, Descriptor] = {
    "traces": ExportTraceServiceRequest.DESCRIPTOR,
    "logs": ExportLogsServiceRequest.DESCRIPTOR,
    "metrics": ExportMetricsServiceRequest.DESCRIPTOR,
}
"""The export request of each signal."""

METRIC_KINDS = tuple(str(field.name) for field in Metric.DESCRIPTOR.oneofs_by_name["data"].fields)
"""The members of `Metric.data`; each has its table, `otel_metrics_KIND`."""

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
    "bool": "Bool",
    "string": "String",
    "bytes": "String",
}

# Fields the tables have no column for. Arrays and maps have become JSON text before the log (collector/composites.py).
_UNREAD_FIELDS = {
    "AnyValue": {"array_value", "kvlist_value", "string_value_strindex"},
    "KeyValue": {"key_strindex"},
    "Resource": {"dropped_attributes_count", "entity_refs"},
    "ResourceSpans": {"schema_url"},
    "ScopeSpans": {"schema_url"},
    "Span": {"flags", "dropped_attributes_count", "dropped_events_count", "dropped_links_count"},
    "Span.Event": {"dropped_attributes_count"},
    "Span.Link": {"dropped_attributes_count", "flags"},
    "LogRecord": {"dropped_attributes_count"},
    "Metric": {"metadata"},
    "ExponentialHistogramDataPoint": {"zero_threshold"},
}
_UNREAD_SCOPE_FIELDS = {"traces": {"attributes", "dropped_attributes_count"}, "logs": {"dropped_attributes_count"}}
# Text that repeats from item to item is decoded into a dictionary. It is also how the engine gets the last of several
# texts for one field; of a plain String it makes none.
_REPEATED_TEXT = frozenset(
    {
        "InstrumentationScope.name",
        "InstrumentationScope.version",
        "KeyValue.key",
        "LogRecord.event_name",
        "LogRecord.severity_text",
        "Metric.description",
        "Metric.name",
        "Metric.unit",
        "ResourceLogs.schema_url",
        "ResourceMetrics.schema_url",
        "ScopeLogs.schema_url",
        "ScopeMetrics.schema_url",
        "Span.Event.name",
        "Span.Link.trace_state",
        "Span.name",
        "Span.trace_state",
        "Status.message",
    }
)
_EXEMPLAR_COLUMNS = (
    "Exemplars.FilteredAttributes, Exemplars.TimeUnix, Exemplars.Value, Exemplars.SpanId, Exemplars.TraceId"
)
# Which member of these oneofs is set tells 0, '' and false apart from absent. Two at a time, which protobuf allows and
# nobody should send, are refused by the engine when it is asked to tell.
_ONEOFS_TOLD = {"AnyValue", "NumberDataPoint", "Exemplar", "Metric"}


@dataclass(frozen=True, slots=True)
class _Decoding:
    """What differs from form to form.

    Attributes:
        functions: the files of `load/` that a statement has its functions from.
        oneofs_told: messages of which a column of its own tells which member is set.
        nullable_oneofs: messages of which the member that is set is the one not null.
        repeated_text: what is decoded into a dictionary.
        unread: what is passed over besides what has no column.

    Texts and fields are named `Message.field`.
    """

    functions: tuple[str, ...]
    oneofs_told: Set[str] = frozenset()
    nullable_oneofs: Set[str] = frozenset()
    repeated_text: Set[str] = _REPEATED_TEXT
    unread: Set[str] = frozenset()


_DECODINGS: dict[Form, _Decoding] = {
    "protobuf": _Decoding(("protobuf", "protobuf_values", "values", "times"), oneofs_told=_ONEOFS_TOLD),
    "json": _Decoding(("json", "values", "times"), nullable_oneofs=_ONEOFS_TOLD),
    "plain": _Decoding(
        ("protobuf", "plain_values", "times"),
        oneofs_told=_ONEOFS_TOLD - {"AnyValue"},
        repeated_text=_REPEATED_TEXT - {"KeyValue.key"},  # cheaper all at once, when the maps are made
        unread=frozenset(
            {
                *(f"AnyValue.{kind}_value" for kind in ("bool", "int", "double", "bytes")),
                *(f"{kind}DataPoint.exemplars" for kind in ("Number", "Histogram", "ExponentialHistogram")),
            }
        ),
    ),
}


@cache
def proto_schema(signal: str) -> tuple[str, str]:
    """The protobuf schema of a signal's export request as text, and the name of the request in it.

    Enumerations are written as int32: the bytes are the same and unknown values pass.
    """
    messages: dict[str, str] = {}
    root = REQUESTS[signal]
    _add_message(root, messages)
    return 'syntax = "proto3";\n' + "\n".join(messages.values()), _flat_name(root)


@cache
def load_statement(table: str, form: Form) -> str:
    """The INSERT that decodes export requests into one of `OTLP_TABLES`, reading from `input('structure')`.

    Raises:
        ValueError: when requests for that table are never of that form.
    """
    kind = _metric_kind(table)
    if form == "plain" and kind is None:
        raise ValueError(f"{table} is loaded as protobuf or json: only metrics are plain")
    text = sql.load_statement(table.removeprefix("otel_"))
    if kind is not None:
        text = text.replace("{points}", _metric_points(kind))
    exemplars = {"exemplar_columns": _EXEMPLAR_COLUMNS, "exemplars": sql.load_statement("exemplars")}
    for name, filled_in in exemplars.items():
        text = text.replace(f"{{{name}}}", f"{filled_in},\n    " if form != "plain" else "")
    functions = ",\n".join(map(sql.load_statement, _DECODINGS[form].functions))
    return text.replace("{functions}", functions).replace("{source}", _source(table, form))


@cache
def column_structure(table: str, form: Form) -> str:
    """What the engine decodes of an export request for one table: the only column of a request and its type."""
    (column,) = _columns(REQUESTS[OTLP_TABLES[table]], table, form)
    return column


def read_fields(message: Descriptor, signal: str) -> list[FieldDescriptor]:
    """The fields of a message that some table of the signal has a place for; the engine passes over all others."""
    name = _short_name(message)
    unread = _UNREAD_FIELDS.get(name, set())
    if name == "InstrumentationScope":
        unread = unread | _UNREAD_SCOPE_FIELDS.get(signal, set())
    return [field for field in message.fields if field.name not in unread]


def _source(table: str, form: Form) -> str:
    structure = column_structure(table, form)
    if form != "json":
        return f"input({sql.quoted(structure)})"
    column, type_name = structure.split(" ", 1)
    text = sql.load_statement("json_documents").replace("{column}", column)
    return text.replace("{name}", sql.quoted(column)).replace("{type}", sql.quoted(type_name))


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
        declaration = f"{type_name} {field.json_name} = {field.number};"
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


def _columns(message: Descriptor, table: str, form: Form) -> list[str]:
    name = _short_name(message)
    decoding = _DECODINGS[form]
    columns = []
    if name in decoding.oneofs_told:
        (oneof,) = message.oneofs
        members = [f"'{field.json_name}' = {field.number}" for field in oneof.fields]
        columns.append(f"{oneof.name} Enum8('unset' = 0, {', '.join(members)})")
    other_kinds = set(METRIC_KINDS) - {_metric_kind(table)} if name == "Metric" else set()
    columns += [
        f"{field.json_name} {_column_type(field, name, table, form)}"
        for field in read_fields(message, OTLP_TABLES[table])
        if field.name not in other_kinds and f"{name}.{field.name}" not in decoding.unread
    ]
    return columns


def _column_type(field: FieldDescriptor, message: str, table: str, form: Form) -> str:
    decoding = _DECODINGS[form]
    if field.message_type is not None:
        element = f"Tuple({', '.join(_columns(field.message_type, table, form))})"
    elif field.enum_type is not None:
        element = "Int32"
    elif f"{message}.{field.name}" in decoding.repeated_text:
        element = "LowCardinality(String)"
    else:
        element = _COLUMN_TYPES[_PROTO_TYPES[field.type]]
        if message in decoding.nullable_oneofs and field.containing_oneof is not None:
            element = f"Nullable({element})"
    return f"Array({element})" if field.is_repeated else element


def _short_name(message: Descriptor) -> str:
    return str(message.full_name).removeprefix(f"{message.file.package}.")


def _metric_kind(table: str) -> str | None:
    """The member of `Metric.data` that a table holds the points of."""
    return table.removeprefix("otel_metrics_") if OTLP_TABLES[table] == "metrics" else None


def _metric_points(kind: str) -> str:
    data: Any = Metric.DESCRIPTOR.fields_by_name[kind]
    path = f"metric.{data.json_name}"
    of_metric = [
        f"{path}.{field.json_name} AS {field.name}, " for field in data.message_type.fields if not field.is_repeated
    ]
    text = sql.load_statement("metric_points")
    return text.replace("{of_metric}", "".join(of_metric)).replace("{kind}", data.json_name)
