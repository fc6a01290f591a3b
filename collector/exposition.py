"""Prometheus text to an OTLP export request, as the OpenTelemetry Collector's Prometheus receiver would send it.

https://opentelemetry.io/docs/specs/otel/compatibility/prometheus_and_openmetrics/#prometheus-metric-points-to-otlp
Names and labels stay exactly as the source gives them.

A target says the same again at every scrape, but for the values. So the text before a value is looked up: what it
became the last time is what it becomes now. Only a line that is new is parsed.
"""

import math
import re
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Protocol, TypeAlias
from urllib.parse import urlsplit

from prometheus_client.parser import text_fd_to_metric_families

from collector import points

_SCOPE = "tailsight.collector.scrape"

_NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
_METADATA = re.compile(r"#\s*(TYPE|HELP|UNIT)\s+(\S+)(?:\s+(.*))?")
_ESCAPED = re.compile(r'\\([\\n"])')
# What stands before an exemplar. A label value in its quotes may hold anything.
_BEFORE_EXEMPLAR = re.compile(r'((?:[^"#]|"(?:[^"\\]|\\.)*")*?)\s+#\s*\{')

_KINDS = frozenset({"counter", "gauge", "histogram", "summary", "info", "stateset"})
# The samples of these metrics have names of their own …
_SUFFIXES: Mapping[str, frozenset[str]] = {
    "_bucket": frozenset({"histogram"}),
    "_sum": frozenset({"histogram", "summary"}),
    "_count": frozenset({"histogram", "summary"}),
    "_total": frozenset({"counter"}),  # these two in OpenMetrics
    "_info": frozenset({"info"}),
}
# … but only of these several samples become one point, under the name of the metric.
_MERGED = frozenset({"histogram", "summary"})
_LABEL_OF_PART = {"bucket": "le", "quantile": "quantile"}

# DCGM's "blank" values: not found, not supported, not permitted (dcgm_structs.h). Of the 64-bit ones a double keeps
# only the size; 2^62 and more is nothing that a source has counted. storage/views/samples.sql has the same rule.
_NOTHING_IS_THIS_LARGE = 2.0**62
_DCGM_BLANKS = frozenset(float(base + offset) for base in (0x7FFFFFF0, 2**47) for offset in range(4))

# Of a target at most this many times its lines is remembered; then all of it is learned anew.
_REMEMBERED_PER_LINE = 2
_REMEMBERED_LEAST = 256

# What the labels of a line became: encoded attributes; for a bucket or quantile with its bound, which is no attribute.
_LabelSet: TypeAlias = "bytes | tuple[float | None, bytes]"


@dataclass(frozen=True, slots=True)
class Sample:
    """One line: `time_unix_ns` is None when the line gives no time."""

    name: str
    labels: Mapping[str, str]
    value: float
    time_unix_ns: int | None = None


@dataclass(slots=True)
class Family:
    """The samples of one metric; `kind` is counter, gauge, histogram, summary, info or stateset."""

    name: str
    kind: str
    description: str = ""
    samples: list[Sample] = field(default_factory=list)
    unit: str = ""


class AnyOrigin(Protocol):
    """Where samples come from: a target, or this machine."""

    @property
    def resource(self) -> Mapping[str, str]:
        """The attributes of the resource."""

    def labels_of(self, sample_labels: Mapping[str, str]) -> dict[str, str]:
        """The labels that a sample of this origin has in the end."""


@dataclass(frozen=True, slots=True)
class Origin:
    """A target where samples come from.

    Attributes:
        job: becomes `service.name`.
        url: says `service.instance.id`, and where that is.
        labels: added to every sample.
        honor_labels: whose label counts when sample and target both have it: the sample's, or else the target's, and
            the sample's is renamed to `exported_NAME`, as Prometheus does.
    """

    job: str
    url: str
    labels: Mapping[str, str]
    honor_labels: bool = False

    @property
    def instance(self) -> str:
        """HOST:PORT of the target."""
        return urlsplit(self.url).netloc.rpartition("@")[2]

    @property
    def resource(self) -> Mapping[str, str]:
        """The attributes of the resource."""
        parts = urlsplit(self.url)
        return {
            "service.name": self.job,
            "service.instance.id": self.instance,
            "server.address": parts.hostname or "",
            "server.port": str(parts.port or {"http": 80, "https": 443}[parts.scheme]),
            "url.scheme": parts.scheme,
        }

    def labels_of(self, sample_labels: Mapping[str, str]) -> dict[str, str]:
        """The labels of a sample and of its target. An empty label is no label (Prometheus data model)."""
        if self.honor_labels:
            labels = {**self.labels, **sample_labels}
        else:
            taken = self.labels.keys() | {"job", "instance"}
            labels = {name: text for name, text in sample_labels.items() if text and name not in taken}
            # The prefix again until the name is free, the shorter names first (Prometheus, scrape/scrape.go).
            for name in sorted((name for name in taken & sample_labels.keys() if sample_labels[name]), key=len):
                renamed = f"exported_{name}"
                while renamed in labels or renamed in taken:
                    renamed = f"exported_{renamed}"
                labels[renamed] = sample_labels[name]
            labels.update(self.labels)
        return {name: text for name, text in labels.items() if text}


@dataclass(frozen=True, slots=True)
class Series:
    """The series of one metric whose end is ours to say: encoded attributes, one for each point.

    Counters among them have been watched since `start_unix_ns`, None for gauges.
    """

    kind: str
    attributes: Sequence[bytes]
    start_unix_ns: int | None


@dataclass(frozen=True, slots=True)
class Exposition:
    """What a target exposed.

    Attributes:
        metrics: encoded, one after the other.
        series: what they hold, by metric.
        samples_count: samples that were kept.
        dropped: how many were left out, by reason.
    """

    metrics: Sequence[bytes] = ()
    series: Mapping[str, Series] = field(default_factory=dict)
    samples_count: int = 0
    dropped: Mapping[str, int] = field(default_factory=dict)

    def beside(self, other: "Exposition") -> "Exposition":
        """This one with the metrics of another; the counts stay."""
        return replace(self, metrics=[*self.metrics, *other.metrics], series={**self.series, **other.series})


def to_request(origin: AnyOrigin, exposition: Exposition, before: Mapping[str, Series], time_unix_ns: int) -> bytes:
    """An encoded ExportMetricsServiceRequest. A series that was there before, and is gone, gets a point without value.

    Args:
        origin: whose samples these are.
        exposition: what there is now; `Exposition()` when nothing is left.
        before: the series that were logged the last time.
        time_unix_ns: when what is gone was missed.
    """
    metrics = [*exposition.metrics, *_ends(before, exposition.series, time_unix_ns)]
    return points.request(origin.resource, _SCOPE, metrics)


def own_families(*, up: bool, duration_s: float, samples_count: int) -> list[Family]:
    """What Prometheus itself records about each scrape."""
    values = {
        "up": float(up),
        "scrape_duration_seconds": duration_s,
        "scrape_samples_scraped": float(samples_count),
    }
    return [Family(name, "gauge", samples=[Sample(name, {}, value)]) for name, value in values.items()]


def encoded(families: Iterable[Family], origin: AnyOrigin, *, time_unix_ns: int, start_unix_ns: int) -> Exposition:
    """Samples that we have read ourselves; nothing is left out but repeated series. All are ours to end.

    Args:
        families: what was read.
        origin: where.
        time_unix_ns: when, for samples that give no time themselves.
        start_unix_ns: since when counters have been watched.
    """
    metrics: dict[str, _Metric] = {}
    for family in families:
        metric = metrics[family.name] = _Metric(family.name, family.kind, family.description, family.unit)
        for sample in family.samples:
            part = metric.part(sample.name)
            part.add(part.label_set(sample.labels, origin), sample.value, sample.time_unix_ns)
    return _exposition(metrics.values(), time_unix_ns, start_unix_ns, Counter(), ends_timed=True)


class Reader:
    """Reads what one target exposes, scrape after scrape.

    Its counters have been watched since the first, and stay so: that one fell, and so began anew, is for those to see
    who read it. To tell would be to remember every value.

    Args:
        origin: the target.
        ranges: by metric, the least and greatest value that can be true.
    """

    def __init__(self, origin: Origin, ranges: Mapping[str, tuple[float, float]] | None = None) -> None:
        self.origin = origin
        self._ranges = ranges or {}
        self._start_unix_ns: int | None = None
        self._metadata: dict[tuple[str, str], str] = {}
        self._metrics: dict[str, _Metric] = {}
        self._parts: dict[str, _Part] = {}  # by the name of their samples
        # The text between the braces → what it became. Parts that treat labels alike share theirs.
        self._label_sets: dict[tuple[str | None, str], dict[str, _LabelSet]] = {}

    def read(self, text: str, time_unix_ns: int, *, openmetrics: bool = False) -> Exposition:
        """Read what the target exposed. A line that cannot be read costs that line only.

        Left out and counted: lines that are no sample (`unreadable`), values that stand for none (`sentinel`, `nan`)
        or cannot be true (`out_of_range`), repeated series (`duplicate`), creation times, which say nothing about the
        source (`created`), exemplars, without their samples (`exemplar`), and what there is of a histogram or summary
        that does not tell how many were observed (`incomplete`).

        Args:
            text: the exposition.
            time_unix_ns: when it was asked for: the time of samples that give none.
            openmetrics: it is OpenMetrics: times are in seconds, and samples may have exemplars.
        """
        if self._start_unix_ns is None:
            self._start_unix_ns = time_unix_ns
        dropped: Counter[str] = Counter()
        lines = self._without_metadata(text)
        parts = self._parts
        for line in lines:
            if openmetrics and " # " in line and (sample := _BEFORE_EXEMPLAR.match(line)):
                dropped["exemplar"] += 1
                line = sample[1]  # noqa: PLW2901  # the rest is the exemplar
            name, labels_text, value_text = _cut(line)
            part = parts.get(name) or self._plainly_named(name)
            label_set = None if part is None else part.label_sets.get(labels_text)
            value = None if label_set is None else _number(value_text)
            if part is None or label_set is None or value is None:
                self._read_slowly(line, dropped, openmetrics=openmetrics)
            elif part.least <= value <= part.greatest or (reason := part.reason_to_drop(value)) is None:
                part.found.append(label_set)
                part.values.append(value)
            else:
                dropped[reason] += 1
        exposition = _exposition(self._metrics.values(), time_unix_ns, self._start_unix_ns, dropped)
        remembered = len(self._parts) + sum(map(len, self._label_sets.values()))
        if remembered > _REMEMBERED_PER_LINE * len(lines) + _REMEMBERED_LEAST:
            self._forget()
        return exposition

    def _without_metadata(self, text: str) -> list[str]:
        """The lines that should be samples. What the others say of the metrics is learned."""
        lines = []
        metadata: dict[tuple[str, str], str] = {}
        for line in map(str.strip, text.split("\n")):
            if not line.startswith("#"):
                if line:
                    lines.append(line)
            elif (told := _metadata(line)) is not None:
                keyword, name, content = told
                metadata[keyword, name] = content
        if metadata != self._metadata:
            self._forget()
            self._metadata = metadata
        return lines

    def _forget(self) -> None:
        self._metrics.clear()
        self._parts.clear()
        self._label_sets.clear()

    def _read_slowly(self, line: str, dropped: Counter[str], *, openmetrics: bool) -> None:
        """Parse a line, and remember what the text before its value became."""
        try:
            sample = _parsed(line, openmetrics=openmetrics)
        except (ValueError, IndexError, OverflowError):
            dropped["unreadable"] += 1
            return
        part = self._parts.get(sample.name) or self._learned(sample.name)
        label_set = part.label_set(sample.labels, self.origin)
        name, labels_text, _ = _cut(line)
        if name == sample.name:
            label_set = part.label_sets.setdefault(labels_text, label_set)
        reason = part.reason_to_drop(sample.value)
        if reason is None:
            part.add(label_set, sample.value, sample.time_unix_ns)
        else:
            dropped[reason] += 1

    def _plainly_named(self, name: str) -> "_Part | None":
        return self._learned(name) if _NAME.fullmatch(name) else None

    def _learned(self, sample_name: str) -> "_Part":
        """What the comments say of the samples with this name."""
        name, described = sample_name, sample_name
        if ("TYPE", sample_name) not in self._metadata:
            for suffix, kinds in _SUFFIXES.items():
                base = sample_name.removesuffix(suffix)
                kind = self._metadata.get(("TYPE", base))
                if base != sample_name and kind in kinds:
                    name, described = base if kind in _MERGED else sample_name, base
        kind, description, unit = (self._metadata.get((keyword, described), "") for keyword in ("TYPE", "HELP", "UNIT"))
        metric = self._metrics.get(name)
        if metric is None:
            metric = self._metrics[name] = _Metric(name, kind if kind in _KINDS else "gauge", description, unit)
        part = self._parts[sys.intern(sample_name)] = metric.part(sample_name)
        part.label_sets = self._label_sets.setdefault((part.own_label, metric.kind), part.label_sets)
        part.range = self._ranges.get(sample_name)
        base = sample_name.removesuffix("_created")
        part.is_created = base != sample_name and any(("TYPE", it) in self._metadata for it in (base, f"{base}_total"))
        part.least, part.greatest = part.surely_true()
        return part


def _ends(before: Mapping[str, Series], now: Mapping[str, Series], time_unix_ns: int) -> Iterator[bytes]:
    for name, ours in before.items():
        left = now.get(name)
        if left is not None and left.attributes == ours.attributes:
            continue  # nearly always
        still = set(left.attributes) if left is not None else set()
        gone = [attributes for attributes in ours.attributes if attributes not in still]
        if gone:
            ends = points.ended(ours.kind, points.times(time_unix_ns, ours.start_unix_ns), gone)
            yield points.metric(name, "", "", ours.kind, ends)


class _Part:
    """The samples of one name: all of a gauge or counter, or the buckets, sums or counts of a histogram.

    `found` and `values` are those of the scrape that is being read.
    """

    __slots__ = (
        "found",
        "found_before",
        "greatest",
        "in_histogram",
        "is_created",
        "is_dcgm",
        "label_sets",
        "least",
        "own_label",
        "range",
        "role",
        "times",
        "values",
    )

    def __init__(self, sample_name: str, kind: str) -> None:
        self.role = _role(sample_name, kind)
        self.own_label = _LABEL_OF_PART.get(self.role)
        self.in_histogram = kind == "histogram"
        self.is_dcgm = sample_name.upper().startswith("DCGM_")
        self.is_created = False
        self.range: tuple[float, float] | None = None
        self.least, self.greatest = -math.inf, math.inf
        self.label_sets: dict[str, _LabelSet] = {}
        self.found: list[_LabelSet] = []
        self.found_before: list[_LabelSet] = []
        self.values: list[float] = []
        self.times: dict[int, int] = {}  # position in `found` → Unix nanoseconds, where the sample tells

    def label_set(self, labels: Mapping[str, str], origin: AnyOrigin) -> _LabelSet:
        """What these labels of a sample become."""
        field_number = points.HISTOGRAM_ATTRIBUTES if self.in_histogram else points.NUMBER_ATTRIBUTES
        if self.own_label is None:
            return points.attributes(origin.labels_of(labels), field_number)
        others = {name: text for name, text in labels.items() if name != self.own_label}
        return _bound(labels.get(self.own_label, "")), points.attributes(origin.labels_of(others), field_number)

    def add(self, label_set: _LabelSet, value: float, time_unix_ns: int | None) -> None:
        if time_unix_ns is not None:
            self.times[len(self.found)] = time_unix_ns
        self.found.append(label_set)
        self.values.append(value)

    def surely_true(self) -> tuple[float, float]:
        """Least and greatest value that `reason_to_drop` need not look at."""
        if self.is_created:
            return math.inf, -math.inf
        least, greatest = self.range or (-sys.float_info.max, math.nextafter(_NOTHING_IS_THIS_LARGE, 0))
        return least, min(greatest, min(_DCGM_BLANKS) - 1) if self.is_dcgm else greatest

    def reason_to_drop(self, value: float) -> str | None:
        if self.is_created:
            return "created"
        if math.isnan(value):
            return "nan"
        if _NOTHING_IS_THIS_LARGE <= value < math.inf or (self.is_dcgm and value in _DCGM_BLANKS):
            return "sentinel"
        if self.range is not None and not self.range[0] <= value <= self.range[1]:
            return "out_of_range"
        return None

    def drop_repeated(self) -> int:
        """Keep the first sample of each series; how many others there were."""
        if self.found == self.found_before or len(set(self.found)) == len(self.found):
            return 0
        first = {label_set: at for at, label_set in reversed(list(enumerate(self.found)))}
        kept = sorted(first.values())
        repeated = len(self.found) - len(kept)
        self.times = {new: self.times[old] for new, old in enumerate(kept) if old in self.times}
        self.found, self.values = [self.found[at] for at in kept], [self.values[at] for at in kept]
        return repeated

    def next_scrape(self) -> None:
        self.found_before = self.found
        self.found, self.values, self.times = [], [], {}


class _Metric:
    """One metric and its parts."""

    __slots__ = ("description", "kind", "name", "parts", "unit")

    def __init__(self, name: str, kind: str, description: str, unit: str) -> None:
        self.name = sys.intern(name)
        self.kind = kind
        self.description = description
        self.unit = unit
        self.parts: dict[str, _Part] = {}

    def part(self, sample_name: str) -> _Part:
        found = self.parts.get(sample_name)
        if found is None:
            found = self.parts[sample_name] = _Part(sample_name, self.kind)
        return found

    def encoded(self, time_unix_ns: int, start_unix_ns: int, *, ends_timed: bool) -> tuple[bytes, Series, int]:
        """Its points, the series whose end is ours to say, and how many samples made no point.

        Points without a time of their own are from `time_unix_ns`.
        """
        start = None if self.kind == "gauge" else start_unix_ns
        encode = _merged if self.kind in _MERGED else _single
        data_points, attributes, incomplete = encode(self, time_unix_ns, start, ends_timed=ends_timed)
        content = points.metric(self.name, self.description, self.unit, self.kind, data_points) if data_points else b""
        return content, Series(self.kind, attributes, start), incomplete


def _exposition(
    metrics: Iterable[_Metric],
    time_unix_ns: int,
    start_unix_ns: int,
    dropped: Counter[str],
    *,
    ends_timed: bool = False,
) -> Exposition:
    """What the parts of these metrics have found, which they then forget.

    Of a series whose samples tell their time it is theirs to say when it ends, unless `ends_timed`.
    """
    encoded_metrics: list[bytes] = []
    series: dict[str, Series] = {}
    count = 0
    for metric in metrics:
        parts = metric.parts.values()
        if repeated := sum(part.drop_repeated() for part in parts):
            dropped["duplicate"] += repeated
        found = sum(len(part.found) for part in parts)
        if found:
            content, of_metric, incomplete = metric.encoded(time_unix_ns, start_unix_ns, ends_timed=ends_timed)
            if content:
                encoded_metrics.append(content)
                series[metric.name] = of_metric
            if incomplete:
                dropped["incomplete"] += incomplete
            count += found - incomplete
        for part in parts:
            part.next_scrape()
    return Exposition(encoded_metrics, series, count, dropped)


def _single(
    metric: _Metric, time_unix_ns: int, start_unix_ns: int | None, *, ends_timed: bool
) -> tuple[bytes, list[bytes], int]:
    """The points of a metric each of whose samples is one, and the attributes of those that are ours to end."""
    (part,) = metric.parts.values()
    attributes: list[bytes] = part.found  # type: ignore[assignment]  # only buckets and quantiles have a bound
    if not part.times:
        return points.numbers(points.times(time_unix_ns, start_unix_ns), attributes, part.values), attributes, 0
    times = [points.times(part.times.get(at, time_unix_ns), start_unix_ns) for at in range(len(attributes))]
    each = zip(times, attributes, part.values, strict=True)
    data_points = b"".join(points.numbers(point_times, (labels,), (value,)) for point_times, labels, value in each)
    return data_points, [labels for at, labels in enumerate(attributes) if ends_timed or at not in part.times], 0


class _MergedPoint:
    """The samples that make one point of a histogram or summary."""

    __slots__ = ("bounds", "count", "samples_count", "time_unix_ns", "total")

    def __init__(self) -> None:
        self.samples_count = 0
        self.bounds: dict[float, float] = {}
        self.count: float | None = None
        self.total: float | None = None
        self.time_unix_ns: int | None = None


def _merged(
    metric: _Metric, time_unix_ns: int, start_unix_ns: int | None, *, ends_timed: bool
) -> tuple[bytes, list[bytes], int]:
    """The points of a histogram or summary, the attributes of those that are ours to end, and the samples left over.

    What does not tell how many were observed makes no point: the count would be 0, which nobody said.
    """
    data_points = []
    ours = []
    incomplete = 0
    for attributes, point in _merged_points(metric).items():
        times = points.times(point.time_unix_ns or time_unix_ns, start_unix_ns)
        if metric.kind == "histogram" and point.bounds:
            data_points.append(points.histogram(times, attributes, point.bounds, point.total))
        elif metric.kind == "summary" and point.count is not None:
            quantiles = point.bounds.items()
            data_points.append(points.summary(times, attributes, quantiles, point.count, point.total))
        else:
            incomplete += point.samples_count
            continue
        if ends_timed or point.time_unix_ns is None:
            ours.append(attributes)
    return b"".join(data_points), ours, incomplete


def _merged_points(metric: _Metric) -> dict[bytes, _MergedPoint]:
    """The points by their attributes, of the newest time that one of their samples tells.

    The count of a histogram is that of its last bucket.
    """
    merged: dict[bytes, _MergedPoint] = {}
    for part in metric.parts.values():
        for at, (label_set, value) in enumerate(zip(part.found, part.values, strict=True)):
            bound, attributes = label_set if isinstance(label_set, tuple) else (None, label_set)
            point = merged.get(attributes)
            if point is None:
                point = merged[attributes] = _MergedPoint()
            point.samples_count += 1
            if at in part.times:
                point.time_unix_ns = max(point.time_unix_ns or 0, part.times[at])
            if part.role == "sum":
                point.total = value
            elif part.role == "count":
                point.count = value
            elif bound is not None:
                point.bounds[bound] = value
    if metric.kind == "histogram":
        for point in merged.values():
            if point.count is not None:
                point.bounds[math.inf] = point.count
    return merged


def _role(sample_name: str, kind: str) -> str:
    """What samples of this name are in a metric of this kind: value, bucket, quantile, sum or count."""
    if kind not in _MERGED:
        return "value"
    for suffix in ("sum", "count"):
        if sample_name.endswith(f"_{suffix}"):
            return suffix
    return "bucket" if kind == "histogram" else "quantile"


def _cut(line: str) -> tuple[str, str, str]:
    """Name, text between the braces, and the rest of a line. The name is empty when it is not written so plainly."""
    name, brace, rest = line.partition("{")
    if not brace:
        name, _, rest = line.partition(" ")
        return name, "", rest
    labels_text, brace, rest = rest.rpartition("} ")
    return (name if brace else ""), labels_text, rest


def _number(text: str) -> float | None:
    """The number that a text is; None when it needs a closer look.

    Python reads more as a number than Prometheus does, and too large a one as infinity.
    """
    try:
        value = float(text)
    except ValueError:
        return None
    return None if "_" in text or math.isinf(value) else value


def _parsed(line: str, *, openmetrics: bool) -> Sample:
    """Read one line by itself: without its metadata the parser renames nothing.

    Raises:
        ValueError, IndexError, OverflowError: when it is no sample.
    """
    bare_name = re.split(r"[{\s]", line, maxsplit=1)[0]
    if bare_name and not _NAME.fullmatch(bare_name):  # the parser lets some pass, before a brace
        raise ValueError(f"{bare_name!r} is no name of a metric")
    (metric,) = text_fd_to_metric_families([line])  # type: ignore[arg-type]  # any iterable of lines will do
    (sample,) = metric.samples
    time_ms = None if sample.timestamp is None else float(sample.timestamp) * 1e3
    if openmetrics and time_ms is not None:
        time_ms *= 1e3  # the parser took seconds for milliseconds
    return Sample(sample.name, sample.labels, float(sample.value), _unix_ns(time_ms))


def _unix_ns(time_ms: float | None) -> int | None:
    if time_ms is None:
        return None
    time_unix_ns = round(time_ms) * 1_000_000
    if not 0 < time_unix_ns < 2**63:
        raise ValueError(f"{time_ms} ms is no time of this epoch")
    return time_unix_ns


@lru_cache(maxsize=16_384)  # all targets of a source say the same
def _metadata(line: str) -> tuple[str, str, str] | None:
    """Keyword (TYPE, HELP or UNIT), metric and content of a comment; None for any other comment."""
    found = _METADATA.match(line)
    if found is None:
        return None
    keyword, name, content = found.groups(default="")
    if keyword == "HELP":
        content = _ESCAPED.sub(lambda escaped: "\n" if escaped[1] == "n" else escaped[1], content)
    return keyword, name, content


def _bound(text: str) -> float | None:
    try:
        bound = float(text)
    except ValueError:
        return None
    return None if math.isnan(bound) else bound
