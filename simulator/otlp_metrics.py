"""Scrapes as OTLP metric requests with past timestamps, as a Collector's Prometheus receiver would send them.

All requests of one target have one shape and differ only in times and values, which protobuf writes in fixed
width. So each target is encoded once, with markers, and every tick is a copy with the markers overwritten.
"""

import struct
from urllib.parse import urlsplit

import numpy as np
from numpy.typing import NDArray
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, InstrumentationScope, KeyValue
from opentelemetry.proto.metrics.v1.metrics_pb2 import (
    AggregationTemporality,
    Gauge,
    Metric,
    NumberDataPoint,
    ResourceMetrics,
    ScopeMetrics,
    Sum,
)
from opentelemetry.proto.resource.v1.resource_pb2 import Resource

from simulator.samples import Family, Target

SCOPE = "github.com/open-telemetry/opentelemetry-collector-contrib/receiver/prometheusreceiver"
SCOPE_VERSION = "0.141.0"
# Markers that no label or name can hold by chance: they are searched for in order.
_TIME_MARKER = 0xA55A_C33C_0000_0000
_VALUE_MARKER = 0x3CC3_5AA5_0000_0000
_FLAGS_MARKER = 0x5AC3_0000
_BYTES_PER_NUMBER = 8
# A point without a value bears this flag, as the Collector's receiver writes when a series ends.
_NO_RECORDED_VALUE = 1


class TargetEncoder:
    """Encodes the scrapes of one target.

    `instance` is the `host:port` where it is (or would be) scraped; `started_at_s` (seconds since the epoch)
    is the first scrape, which the receiver takes for the start of all counters.
    """

    def __init__(self, target: Target, instance: str, started_at_s: float) -> None:
        message = _marked_request(target, instance, round(started_at_s * 1e9))
        template = message.SerializeToString()
        self._template = np.frombuffer(template, np.uint8)
        self._time_slots = _slots(template, _TIME_MARKER, target.series_count)
        self._value_slots = _slots(template, _VALUE_MARKER, target.series_count)
        self._flags_slots = _flags_slots(template, target.series_count)

    def encode(self, ticks_s: NDArray[np.float64], values: NDArray[np.float64]) -> bytes:
        """One request per tick, concatenated (which protobuf reads as one request).

        `ticks_s` has shape (ticks,), in seconds since the epoch; `values` has shape (ticks, series), NaN where a series
        is not there.
        """
        absent = np.isnan(values)
        copies = np.repeat(self._template[None, :], len(ticks_s), axis=0)
        times_ns = np.rint(np.asarray(ticks_s) * 1e9).astype("<u8")
        time_bytes = times_ns.view(np.uint8).reshape(-1, 1, _BYTES_PER_NUMBER)
        value_bytes = np.ascontiguousarray(np.where(absent, 0.0, values), "<f8").view(np.uint8)
        copies[:, self._time_slots] = time_bytes
        copies[:, self._value_slots] = value_bytes.reshape(len(ticks_s), -1, _BYTES_PER_NUMBER)
        # A varint of five bytes, whatever it says: every byte but the last has its continuation bit.
        copies[:, self._flags_slots] = np.array([0x80, 0x80, 0x80, 0x80, 0], np.uint8)
        copies[:, self._flags_slots[:, 0]] |= np.where(absent, _NO_RECORDED_VALUE, 0).astype(np.uint8)
        return copies.tobytes()


def _marked_request(target: Target, instance: str, started_at_ns: int) -> ExportMetricsServiceRequest:
    address = urlsplit(f"//{instance}")
    resource = Resource(
        attributes=[
            _attribute(name, value)
            for name, value in {
                "service.name": target.job,
                "service.instance.id": instance,
                "server.address": address.hostname or "",
                "server.port": str(address.port),
                "url.scheme": "http",
            }.items()
        ]
    )
    metrics = []
    numbered = 0
    for family in target.families:
        metrics.append(_marked_metric(family, target, numbered, started_at_ns))
        numbered += len(family.labels)
    scope = InstrumentationScope(name=SCOPE, version=SCOPE_VERSION)
    scope_metrics = ScopeMetrics(scope=scope, metrics=metrics)
    return ExportMetricsServiceRequest(
        resource_metrics=[ResourceMetrics(resource=resource, scope_metrics=[scope_metrics])]
    )


def _marked_metric(family: Family, target: Target, first: int, started_at_ns: int) -> Metric:
    counts = family.kind == "counter"
    points = [
        NumberDataPoint(
            attributes=[_attribute(name, value) for name, value in (labels | dict(target.labels)).items()],
            start_time_unix_nano=started_at_ns if counts else 0,
            time_unix_nano=_TIME_MARKER + number,
            flags=_FLAGS_MARKER + number,
            as_double=struct.unpack("<d", struct.pack("<Q", _VALUE_MARKER + number))[0],
        )
        for number, labels in enumerate((dict(labels) for labels in family.labels), start=first)
    ]
    if not counts:
        return Metric(name=family.name, description=family.help_text, gauge=Gauge(data_points=points))
    cumulative = AggregationTemporality.AGGREGATION_TEMPORALITY_CUMULATIVE
    total = Sum(data_points=points, aggregation_temporality=cumulative, is_monotonic=True)
    return Metric(name=family.name, description=family.help_text, sum=total)


def _attribute(name: str, value: str) -> KeyValue:
    return KeyValue(key=name, value=AnyValue(string_value=value))


def _slots(template: bytes, marker: int, count: int) -> NDArray[np.intp]:
    """Where each marker's bytes stand, shape (count, 8)."""
    offsets = [template.index(struct.pack("<Q", marker + number)) for number in range(count)]
    return np.array(offsets, np.intp)[:, None] + np.arange(_BYTES_PER_NUMBER)


def _flags_slots(template: bytes, count: int) -> NDArray[np.intp]:
    """Where the flags of each point stand, shape (count, 5)."""
    offsets, reached = [], 0
    for number in range(count):
        value = _FLAGS_MARKER + number
        marker = bytes([*(value >> 7 * group & 0x7F | 0x80 for group in range(4)), value >> 28])
        reached = template.index(marker, reached)
        offsets.append(reached)
    return np.array(offsets, np.intp).reshape(count, 1) + np.arange(5)
