"""Metric data points as the bytes of an OTLP export request, field by field of opentelemetry/proto/metrics/v1.

Building protobuf's own messages costs some 30 µs a point. A point is a few fixed-width fields before attributes that
are the same at every scrape, so its bytes are put together from pieces.
"""

import struct
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from itertools import chain

NUMBER_ATTRIBUTES = 7
"""The field of the attributes in a NumberDataPoint and in a SummaryDataPoint."""
HISTOGRAM_ATTRIBUTES = 9
"""The field of the attributes in a HistogramDataPoint."""

NO_RECORDED_VALUE = 1
"""The bit of a point's flags that says: the series has ended."""

_DOUBLE = struct.Struct("<d").pack
_FIXED64 = struct.Struct("<Q").pack
_CUMULATIVE = b"\x10\x02"  # aggregation_temporality
_MONOTONIC = b"\x18\x01"  # is_monotonic
_START, _TIME = b"\x11", b"\x19"  # start_time_unix_nano, time_unix_nano: the same in every kind of point
_DATA = {"gauge": 5, "counter": 7, "info": 7, "stateset": 7, "histogram": 9, "summary": 11}
_BEHIND_POINTS = {
    "counter": _CUMULATIVE + _MONOTONIC,
    "info": _CUMULATIVE,
    "stateset": _CUMULATIVE,
    "histogram": _CUMULATIVE,
}
_FLAGS = {"histogram": b"\x50\x01"}  # NO_RECORDED_VALUE as field 10; field 8 in the other kinds
_NUMBER_FLAGS = b"\x40\x01"


def attributes(labels: Mapping[str, str], field: int) -> bytes:
    """These labels as attributes in `field` of a point, sorted, so that equal labels are equal bytes."""
    return b"".join(
        _message(field, _text(1, name) + _message(2, _text(1, value))) for name, value in sorted(labels.items())
    )


def times(time_unix_ns: int, start_unix_ns: int | None) -> bytes:
    """When a point was taken, and since when it counts (None: it does not count)."""
    if start_unix_ns is None:
        return _TIME + _FIXED64(time_unix_ns)
    return _START + _FIXED64(min(start_unix_ns, time_unix_ns)) + _TIME + _FIXED64(time_unix_ns)


def numbers(point_times: bytes, point_attributes: Iterable[bytes], values: Iterable[float]) -> bytes:
    """The points of a gauge or counter that were taken at one time."""
    middle = point_times + b"\x21"  # as_double
    fixed = len(middle) + 8
    pieces: list[bytes] = []
    for labels, value in zip(point_attributes, values, strict=True):
        pieces += (_point(fixed + len(labels)), middle, _DOUBLE(value), labels)
    return b"".join(pieces)


def histogram(
    point_times: bytes, point_attributes: bytes, cumulative: Mapping[float, float], total: float | None
) -> bytes:
    """A point of a histogram.

    Args:
        point_times: of `times`.
        point_attributes: of `attributes`.
        cumulative: by upper bound, how many were at most that; the bound of all may be missing.
        total: the sum of all that was observed; None when it was not told.
    """
    bounds = sorted(cumulative)
    counts = []
    below = 0
    for bound in bounds:
        # A count that falls was read while it changed; the next scrape has it right.
        up_to = _count(max(below, cumulative[bound]))
        counts.append(up_to - below)
        below = up_to
    if bounds and bounds[-1] == float("inf"):
        bounds.pop()
    else:
        counts.append(0)
    content = point_times + b"\x21" + _FIXED64(below)
    if total is not None:
        content += b"\x29" + _DOUBLE(total)
    content += _message(6, struct.pack(f"<{len(counts)}Q", *counts))
    content += _message(7, struct.pack(f"<{len(bounds)}d", *bounds))
    content += point_attributes
    return _point(len(content)) + content


def summary(
    point_times: bytes,
    point_attributes: bytes,
    quantiles: Iterable[tuple[float, float]],
    count: float,
    total: float | None,
) -> bytes:
    """A point of a summary: (quantile, value) pairs, how many were observed, and their sum."""
    content = point_times + b"\x21" + _FIXED64(_count(count))
    if total is not None:
        content += b"\x29" + _DOUBLE(total)
    for quantile, value in quantiles:
        content += _message(6, b"\x09" + _DOUBLE(quantile) + b"\x11" + _DOUBLE(value))
    content += point_attributes
    return _point(len(content)) + content


def ended(kind: str, point_times: bytes, point_attributes: Iterable[bytes]) -> bytes:
    """Points that say of their series: no value since this time (NO_RECORDED_VALUE)."""
    behind = _FLAGS.get(kind, _NUMBER_FLAGS)
    fixed = len(point_times) + len(behind)
    return b"".join(
        chain.from_iterable((_point(fixed + len(labels)), point_times, labels, behind) for labels in point_attributes)
    )


def metric(name: str, description: str, unit: str, kind: str, data_points: bytes) -> bytes:
    """A metric of a ScopeMetrics, with the points of `numbers`, `histogram`, `summary` or `ended`."""
    head = _head(name, description, unit)
    behind = _BEHIND_POINTS.get(kind, b"")
    tag = bytes((_DATA[kind] << 3 | 2,))
    data_length = len(data_points) + len(behind)
    data_prefix = tag + _varint(data_length)
    length = len(head) + len(data_prefix) + data_length
    return b"".join((b"\x12", _varint(length), head, data_prefix, data_points, behind))


def request(resource: Mapping[str, str], scope: str, metrics: Sequence[bytes]) -> bytes:
    """An ExportMetricsServiceRequest with one resource and one scope."""
    scope_metrics = b"".join((_message(1, _text(1, scope)), *metrics))
    resource_metrics = _message(1, attributes(resource, 1)) + _message(2, scope_metrics)
    return _message(1, resource_metrics)


@lru_cache(maxsize=8192)  # shared by all targets of a source
def _head(name: str, description: str, unit: str) -> bytes:
    return _text(1, name) + _text(2, description) + (_text(3, unit) if unit else b"")


def _count(value: float) -> int:
    return int(min(max(0.0, value), 2.0**63))


def _text(field: int, text: str) -> bytes:
    return _message(field, text.encode())


def _message(field: int, content: bytes) -> bytes:
    return b"".join((bytes((field << 3 | 2,)), _varint(len(content)), content))


def _varint(number: int) -> bytes:
    digits = bytearray()
    while number > 0x7F:
        digits.append(number & 0x7F | 0x80)
        number >>= 7
    digits.append(number)
    return bytes(digits)


_SHORT_POINTS = [b"\x0a" + _varint(length) for length in range(4096)]


def _point(length: int) -> bytes:
    """What stands before a data point of this length."""
    return _SHORT_POINTS[length] if length < len(_SHORT_POINTS) else b"\x0a" + _varint(length)
