"""Prometheus text to an OTLP export request, as the OpenTelemetry Collector's Prometheus receiver would send it.

https://opentelemetry.io/docs/specs/otel/compatibility/prometheus_and_openmetrics/#prometheus-metric-points-to-otlp
Names and labels stay exactly as the source gives them.
"""

import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.metrics.v1.metrics_pb2 import AGGREGATION_TEMPORALITY_CUMULATIVE
from prometheus_client.parser import text_fd_to_metric_families

_METADATA = re.compile(r"#\s*(TYPE|HELP)\s+(\S+)(?:\s+(.*))?")
_TYPES = frozenset({"counter", "gauge", "histogram", "summary"})
_PARTS = {"histogram": ("_bucket", "_sum", "_count"), "summary": ("_sum", "_count")}

# DCGM's "blank" values: not found, not supported, not permitted (dcgm_structs.h). Of the 64-bit ones a double keeps
# only the size; 2^62 and more is nothing that a source has counted. storage/views/samples.sql has the same rule.
_NOTHING_IS_THIS_LARGE = 2.0**62
_DCGM_BLANKS = frozenset(float(base + offset) for base in (0x7FFFFFF0, 2**47) for offset in range(4))


@dataclass(frozen=True, slots=True)
class Sample:
    """One line: `time_unix_ns` is None when the line gives no time."""

    name: str
    labels: Mapping[str, str]
    value: float
    time_unix_ns: int | None = None


@dataclass(slots=True)
class Family:
    """The samples of one metric; `kind` is counter, gauge, histogram or summary."""

    name: str
    kind: str
    description: str = ""
    samples: list[Sample] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Exposition:
    """What a target exposed, and how many samples were left out, by reason."""

    families: Sequence[Family]
    dropped: Mapping[str, int]

    @property
    def samples_count(self) -> int:
        """Samples that were kept."""
        return sum(len(family.samples) for family in self.families)


@dataclass(frozen=True, slots=True)
class Origin:
    """Where samples come from: `job` and `url` become the resource, `labels` are added to every sample."""

    job: str
    url: str
    labels: Mapping[str, str]

    @property
    def instance(self) -> str:
        """HOST:PORT of the target."""
        return urlsplit(self.url).netloc.rpartition("@")[2]


def parsed(text: str) -> Exposition:
    """Read what a target exposed. A line that cannot be read costs that line only.

    Left out and counted: lines that are no sample (`unreadable`), values that stand for none (`sentinel`, `nan`),
    repeated series (`duplicate`), and creation times (`created`), which say nothing about the source.
    """
    kinds: dict[str, str] = {}
    descriptions: dict[str, str] = {}
    sample_lines = []
    for line in text.splitlines():
        stripped = line.strip()
        if not stripped.startswith("#"):
            sample_lines.append(stripped)
        elif metadata := _METADATA.match(stripped):
            keyword, name, content = metadata.groups(default="")
            if keyword == "HELP":
                descriptions[name] = content.replace("\\n", "\n").replace("\\\\", "\\")
            else:
                kinds[name] = content if content in _TYPES else "gauge"
    dropped: Counter[str] = Counter()
    families: dict[str, Family] = {}
    seen: set[tuple[str, frozenset[tuple[str, str]]]] = set()
    for sample in _samples(sample_lines, dropped):
        series = (sample.name, frozenset(sample.labels.items()))
        reason = "duplicate" if series in seen else _reason_to_drop(sample, kinds)
        seen.add(series)
        if reason is not None:
            dropped[reason] += 1
            continue
        name = _family_name(sample.name, kinds)
        family = families.get(name)
        if family is None:
            family = families[name] = Family(name, kinds.get(name, "gauge"), descriptions.get(name, ""))
        family.samples.append(sample)
    return Exposition(list(families.values()), dropped)


def to_request(families: Iterable[Family], origin: Origin, *, time_unix_ns: int, start_unix_ns: int) -> bytes:
    """An encoded ExportMetricsServiceRequest.

    Args:
        families: what was scraped.
        origin: where.
        time_unix_ns: when, for samples that give no time themselves.
        start_unix_ns: since when counters have been watched.
    """
    request = ExportMetricsServiceRequest()
    resource_metrics = request.resource_metrics.add()
    _add_attributes(resource_metrics.resource.attributes, _resource(origin))
    scope_metrics = resource_metrics.scope_metrics.add()
    scope_metrics.scope.name = "tailsight.collector.scrape"
    for family in families:
        metric = scope_metrics.metrics.add(name=family.name, description=family.description)
        for points in _grouped(family, origin.labels):
            point = _ADD_POINT[family.kind](metric, points)
            point.time_unix_nano = points[0].time_unix_ns or time_unix_ns
            if family.kind != "gauge":
                point.start_time_unix_nano = min(start_unix_ns, point.time_unix_nano)
            _add_attributes(point.attributes, _point_labels(points[0], family.kind))
    payload: bytes = request.SerializeToString()
    return payload


def _samples(lines: Iterable[str], dropped: Counter[str]) -> Iterator[Sample]:
    """The samples of lines without metadata.

    Without metadata the parser takes each line for itself, and renames nothing. It stops at a line that it cannot
    read; the iterator stands behind that line then, so a new run goes on from there.
    """
    rest = iter(lines)
    while True:
        try:
            for metric in text_fd_to_metric_families(rest):  # type: ignore[arg-type]  # any iterator of lines will do
                (found,) = metric.samples
                yield Sample(found.name, found.labels, float(found.value), _unix_ns(found.timestamp))
        except (ValueError, IndexError, OverflowError):
            dropped["unreadable"] += 1
        else:
            return


def _unix_ns(timestamp_s: Any) -> int | None:
    if timestamp_s is None:
        return None
    time_unix_ns = round(float(timestamp_s) * 1e3) * 1_000_000
    if not 0 < time_unix_ns < 2**63:
        raise ValueError(f"{timestamp_s} s is no time of this epoch")
    return time_unix_ns


def _reason_to_drop(sample: Sample, kinds: Mapping[str, str]) -> str | None:
    if math.isnan(sample.value):
        return "nan"
    if _NOTHING_IS_THIS_LARGE <= sample.value < math.inf:
        return "sentinel"
    if sample.value in _DCGM_BLANKS and sample.name.upper().startswith("DCGM_"):
        return "sentinel"
    base = sample.name.removesuffix("_created")
    if base != sample.name and (base in kinds or f"{base}_total" in kinds):
        return "created"
    return None


def _family_name(sample_name: str, kinds: Mapping[str, str]) -> str:
    if sample_name in kinds:
        return sample_name
    for kind, suffixes in _PARTS.items():
        for suffix in suffixes:
            base = sample_name.removesuffix(suffix)
            if base != sample_name and kinds.get(base) == kind:
                return base
    return sample_name


def _grouped(family: Family, target_labels: Mapping[str, str]) -> Iterator[list[Sample]]:
    """The samples that make one data point: one each, but for histograms and summaries."""
    samples = (_with_target_labels(sample, target_labels) for sample in family.samples)
    if family.kind in ("gauge", "counter"):
        yield from ([sample] for sample in samples)
        return
    points: dict[frozenset[tuple[str, str]], list[Sample]] = {}
    for sample in samples:
        points.setdefault(frozenset(_point_labels(sample, family.kind).items()), []).append(sample)
    yield from points.values()


def _with_target_labels(sample: Sample, target_labels: Mapping[str, str]) -> Sample:
    """As Prometheus does without honor_labels: a label of the sample that the target has too is renamed."""
    taken = target_labels.keys() | {"job", "instance"}
    labels = {f"exported_{name}" if name in taken else name: value for name, value in sample.labels.items()}
    return Sample(sample.name, labels | dict(target_labels), sample.value, sample.time_unix_ns)


def _point_labels(sample: Sample, kind: str) -> dict[str, str]:
    own = {"histogram": "le", "summary": "quantile"}.get(kind)
    # An empty label is no label (Prometheus data model).
    return {name: value for name, value in sample.labels.items() if name != own and value}


def _add_gauge(metric: Any, samples: Sequence[Sample]) -> Any:
    return metric.gauge.data_points.add(as_double=samples[0].value)


def _add_counter(metric: Any, samples: Sequence[Sample]) -> Any:
    metric.sum.is_monotonic = True
    metric.sum.aggregation_temporality = AGGREGATION_TEMPORALITY_CUMULATIVE
    return metric.sum.data_points.add(as_double=samples[0].value)


def _add_histogram(metric: Any, samples: Sequence[Sample]) -> Any:
    """Prometheus' buckets count everything below their bound, OTLP's what is between two bounds."""
    metric.histogram.aggregation_temporality = AGGREGATION_TEMPORALITY_CUMULATIVE
    point = metric.histogram.data_points.add()
    cumulative: dict[float, float] = {}
    for sample in samples:
        if sample.name.endswith("_sum"):
            point.sum = sample.value
        elif sample.name.endswith("_count"):
            cumulative[math.inf] = sample.value
        elif (bound := _bound(sample.labels.get("le", ""))) is not None:
            cumulative[bound] = sample.value
    bounds = sorted(cumulative)
    below = 0
    for bound in bounds:
        # A count that falls was read while it changed; the next scrape has it right.
        up_to = max(below, int(cumulative[bound]))
        point.bucket_counts.append(up_to - below)
        below = up_to
    point.count = below
    if bounds and bounds[-1] == math.inf:
        bounds.pop()
    else:
        point.bucket_counts.append(0)
    point.explicit_bounds.extend(bounds)
    return point


def _add_summary(metric: Any, samples: Sequence[Sample]) -> Any:
    point = metric.summary.data_points.add()
    for sample in samples:
        if sample.name.endswith("_sum"):
            point.sum = sample.value
        elif sample.name.endswith("_count"):
            point.count = max(0, int(sample.value))
        elif (quantile := _bound(sample.labels.get("quantile", ""))) is not None:
            point.quantile_values.add(quantile=quantile, value=sample.value)
    return point


_ADD_POINT = {"gauge": _add_gauge, "counter": _add_counter, "histogram": _add_histogram, "summary": _add_summary}


def _bound(text: str) -> float | None:
    try:
        bound = float(text)
    except ValueError:
        return None
    return None if math.isnan(bound) else bound


def _resource(origin: Origin) -> dict[str, str]:
    parts = urlsplit(origin.url)
    port = parts.port or {"http": 80, "https": 443}[parts.scheme]
    return {
        "service.name": origin.job,
        "service.instance.id": origin.instance,
        "server.address": parts.hostname or "",
        "server.port": str(port),
        "url.scheme": parts.scheme,
    }


def _add_attributes(attributes: Any, texts: Mapping[str, str]) -> None:
    for key, text in texts.items():
        attributes.add(key=key).value.string_value = text
