"""The times of the data points of a metrics request, without walking its points.

To look at each point in Python costs as much as to parse the whole request. So the request is parsed once more, by a
schema in which nothing is repeated but the time: in protobuf, several of a message that is not repeated are one, with
the fields of all. So there is one list of times for each kind of points, and all else is passed over by its length.
"""

from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.descriptor import Descriptor

from storage.otlp import METRIC_KINDS, REQUESTS

_PATH = ("resource_metrics", "scope_metrics", "metrics")
_PACKAGE = "tailsight.point_times"


def point_times(payload: bytes, count: int) -> set[int] | None:
    """The times of all points (Unix nanoseconds), each once; None when it takes a look at each point to tell.

    Args:
        payload: an encoded metrics request that has been parsed.
        count: its points. One without a time, or with several, is one time too few or too many. Only a request that is
            written to deceive has both; then a point without a time passes, which lies in 1970 and is soon dropped.
    """
    metrics = _MERGED.FromString(payload).resource_metrics.scope_metrics.metrics
    times: set[int] = set()
    found = 0
    for kind in METRIC_KINDS:
        of_kind = getattr(metrics, kind).data_points.time_unix_nano
        found += len(of_kind)
        times.update(of_kind)
    return times if found == count else None


def _merged_request() -> Any:
    """The class of a request that holds the times only; names and numbers are the official ones."""
    file = descriptor_pb2.FileDescriptorProto(name="tailsight/point_times.proto", package=_PACKAGE, syntax="proto3")
    message = REQUESTS["metrics"]
    for name in _PATH:
        message = _add_message(file, message, (name,))[0]
    for data in _add_message(file, message, METRIC_KINDS):
        (points,) = _add_message(file, data, ("data_points",))
        if points.name not in {added.name for added in file.message_type}:
            time: Any = points.fields_by_name["time_unix_nano"]
            file.message_type.add(name=points.name).field.add(
                name=time.name, number=time.number, type=time.type, label=time.LABEL_REPEATED
            )
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{_PACKAGE}.{REQUESTS['metrics'].name}"))


def _add_message(
    file: descriptor_pb2.FileDescriptorProto, message: Descriptor, names: tuple[str, ...]
) -> list[Descriptor]:
    """Add a message with some of its fields, none of them repeated; the messages that these are."""
    added = file.message_type.add(name=message.name)
    inner = []
    for name in names:
        field: Any = message.fields_by_name[name]
        type_name = f".{_PACKAGE}.{field.message_type.name}"
        added.field.add(name=name, number=field.number, type=field.TYPE_MESSAGE, type_name=type_name)
        inner.append(field.message_type)
    return inner


_MERGED: Any = _merged_request()
