"""What a protobuf export request holds, told without a walk over its items.

To look at each item in Python costs more than to parse the whole request. So a request is parsed by schemas of our own,
made from the official descriptors, in which no message is repeated: in protobuf, several of a message that is not
repeated are one, with the fields of all. One parse reads every field, as the official one does, makes no object for an
item, and ends with one list of the times of all items. Others count: they pass over what does not lead to the items.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import accumulate
from operator import attrgetter, lt
from typing import Any, NamedTuple

from google.protobuf import descriptor_pool, message_factory
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.descriptor_pb2 import DescriptorProto, FieldDescriptorProto, FileDescriptorProto
from google.protobuf.message import DecodeError

from collector.composites import COMPOSITES, LISTS
from storage.otlp import METRIC_KINDS, REQUESTS

DELTA = 1
"""Of AggregationTemporality: a point tells what came since the one before."""

_COMPOSITE = "Composite"
# Of these all are kept; of any other field, the last stands for all.
_KEPT = {
    *("start_time_unix_nano", "end_time_unix_nano", "time_unix_nano", "observed_time_unix_nano"),
    "aggregation_temporality",
}
# Of metrics these too: keys are counted against texts, and of a value 0 is told from none.
_KEPT_MESSAGES_OF_METRICS = {"KeyValue", "AnyValue"}


@dataclass(frozen=True, slots=True)
class Survey:
    """What a request holds.

    Attributes:
        items: spans, data points or log records by upstream table; only tables with any.
        times: what their days are told by (Unix nanoseconds): of spans when they started; of points each time once.
        resource_bytes: the length of each resource.
        has_composites: an array or a map may be among the values.
        is_plain: it may be decoded as `storage.otlp.Form` says. Only a request written to deceive is taken for plain
            and is not: one value or key in several pieces, beside another that has none.
        is_told: False when it takes a look at each item to tell what there is: one has no time or several, a metric has
            data of two kinds, or deltas are to be counted. Only a request that is written to deceive escapes that, with
            as many too few as too many, or with times in packed form, which are none: then its own counts are wrong,
            and an item without a time lies in 1970.
        ends: when spans ended, in the order of `times`.
    """

    items: Mapping[str, int]
    times: Collection[int]
    resource_bytes: Sequence[int]
    has_composites: bool
    is_told: bool
    is_plain: bool = False
    ends: Collection[int] = ()

    @property
    def ends_before_start(self) -> int:
        """Spans that end before they start."""
        return sum(map(lt, self.ends, self.times))


def survey(signal: str, payload: bytes) -> Survey:
    """What an export request holds. Of one that cannot be decoded, or oddly only, nothing is told."""
    try:
        merged = _merged_type(signal).FromString(payload)
    except DecodeError:  # what is wrong, if anything is, the official schema says
        return Survey(items={}, times=(), resource_bytes=(), has_composites=True, is_told=False)
    path = ".".join(LISTS[signal])
    resources, items = _occurrences(signal, payload, (f"{LISTS[signal][0]}.resource", path))
    told = _TELLERS[signal](attrgetter(path)(merged), payload, len(items))
    values = _holders(signal, COMPOSITES[0])(merged)
    return Survey(
        items={table: count for table, count in told.counts.items() if count},
        times=told.times,
        resource_bytes=[*map(len, resources)],
        has_composites=any(value.HasField(kind) for value in values for kind in COMPOSITES),
        is_told=told.is_all,
        is_plain=signal == "metrics" and _is_plain(merged),
        ends=told.ends,
    )


class _Told(NamedTuple):
    """What a signal's own part of a survey tells: counts by table, times as of `Survey`, and whether that is all."""

    counts: Mapping[str, int]
    times: Collection[int]
    is_all: bool
    ends: Collection[int] = ()


def _tell_spans(spans: Any, _payload: bytes, count: int) -> _Told:
    starts, ends = list(spans.start_time_unix_nano), list(spans.end_time_unix_nano)
    return _Told({"otel_traces": count}, starts, count == len(starts) == len(ends), ends)


def _tell_records(records: Any, _payload: bytes, count: int) -> _Told:
    times = list(records.time_unix_nano or records.observed_time_unix_nano)
    return _Told({"otel_logs": count}, times, count == len(times))


def _tell_points(metrics: Any, payload: bytes, count: int) -> _Told:
    path = ".".join(LISTS["metrics"])
    data = _occurrences("metrics", payload, tuple(f"{path}.{kind}" for kind in METRIC_KINDS))
    points = _occurrences("metrics", payload, tuple(f"{path}.{kind}.data_points" for kind in METRIC_KINDS))
    times = [getattr(metrics, kind).data_points.time_unix_nano for kind in METRIC_KINDS]
    is_of_one_kind_each = sum(map(len, data)) == count
    has_deltas = DELTA in metrics.sum.aggregation_temporality
    counts = {f"otel_metrics_{kind}": len(of_kind) for kind, of_kind in zip(METRIC_KINDS, points, strict=True)}
    is_all = is_of_one_kind_each and not has_deltas and [*counts.values()] == [*map(len, times)]
    return _Told(counts, set().union(*times), is_all)


_TELLERS: Mapping[str, Callable[[Any, bytes, int], _Told]] = {
    "traces": _tell_spans,
    "metrics": _tell_points,
    "logs": _tell_records,
}


def _is_plain(metrics: Any) -> bool:
    return not any(points.HasField("exemplars") for points in _holders("metrics", "exemplars")(metrics)) and all(
        len(pairs.key) == len(pairs.value.string_value)
        and all(field.name == "string_value" for field, _ in pairs.value.ListFields())
        for pairs in _holders("metrics", "key")(metrics)
    )


def _occurrences(signal: str, payload: bytes, paths: tuple[str, ...]) -> Sequence[Sequence[bytes]]:
    """The bytes of all messages that lie at each of these paths."""
    found: Sequence[Sequence[bytes]] = attrgetter(*paths)(_outline_type(signal, paths).FromString(payload))
    return found


# -- the schemas -------------------------------------------------------------------------------------------------------


@cache
def _merged_type(signal: str) -> Any:
    """The class of a request in which no message is repeated. Of arrays and maps, only that there is one is told."""
    file = FileDescriptorProto(name=f"tailsight/{signal}.proto", package=f"tailsight.{signal}", syntax="proto3")
    file.message_type.add(name=_COMPOSITE)
    return _class_of(file, _add_merged(file, REQUESTS[signal], signal))


def _add_merged(file: FileDescriptorProto, message: Descriptor, signal: str) -> str:
    """Add a message and all that it holds to a file; its name there."""
    name = str(message.full_name).replace(".", "_")
    if name in {added.name for added in file.message_type}:
        return name
    added = file.message_type.add(name=name)
    is_kept_whole = signal == "metrics" and message.name in _KEPT_MESSAGES_OF_METRICS
    for field in message.fields:
        if field.name in COMPOSITES:
            _add_message_field(file, added, field, _COMPOSITE)
        elif field.message_type is not None:
            _add_message_field(file, added, field, _add_merged(file, field.message_type, signal))
        else:
            is_repeated = field.is_repeated or field.name in _KEPT or is_kept_whole
            label = FieldDescriptorProto.LABEL_REPEATED if is_repeated else FieldDescriptorProto.LABEL_OPTIONAL
            kind: Any = FieldDescriptorProto.TYPE_INT32 if field.enum_type is not None else field.type
            added.field.add(name=field.name, number=field.number, type=kind, label=label)
    return name


def _add_message_field(file: FileDescriptorProto, to: DescriptorProto, field: FieldDescriptor, type_name: str) -> None:
    to.field.add(
        name=field.name,
        number=field.number,
        type=FieldDescriptorProto.TYPE_MESSAGE,
        type_name=f".{file.package}.{type_name}",
        label=FieldDescriptorProto.LABEL_OPTIONAL,
    )


@cache
def _outline_type(signal: str, paths: tuple[str, ...]) -> Any:
    """The class of a request of which only what lies at these paths is kept, as bytes. None lies in another."""
    package = f"tailsight.{signal}.{paths[-1].replace('.', '_')}"
    file = FileDescriptorProto(name=f"{package}.proto", package=package, syntax="proto3")
    root = file.message_type.add(name="Outline")
    on_the_way = {"": (root, REQUESTS[signal])}
    for path in paths:
        way, _, last = path.rpartition(".")
        for place in accumulate(way.split("."), "{}.{}".format):
            if place not in on_the_way:
                around, _, name = place.rpartition(".")
                added, message = on_the_way[around]
                field: Any = message.fields_by_name[name]
                inner = file.message_type.add(name=place.replace(".", "_"))
                _add_message_field(file, added, field, inner.name)
                on_the_way[place] = (inner, field.message_type)
        added, message = on_the_way[way]
        added.field.add(
            name=last,
            number=message.fields_by_name[last].number,
            type=FieldDescriptorProto.TYPE_BYTES,
            label=FieldDescriptorProto.LABEL_REPEATED,
        )
    return _class_of(file, root.name)


def _class_of(file: FileDescriptorProto, name: str) -> Any:
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{file.package}.{name}"))


@cache
def _holders(signal: str, name: str) -> Callable[[Any], Sequence[Any]]:
    """The messages of a merged request that have a field of that name: one for each place. There are several."""

    def paths(message: Descriptor) -> Iterator[str]:
        for field in message.fields:
            if field.message_type is None:
                continue
            if name in field.message_type.fields_by_name:
                yield field.name
            else:
                yield from (f"{field.name}.{path}" for path in paths(field.message_type))

    return attrgetter(*paths(_merged_type(signal).DESCRIPTOR))
