"""Prometheus text to OTLP the slow and obvious way: each line by the library's parser, each point by protobuf."""

import itertools
import math
import re
from collections import Counter
from collections.abc import Mapping
from typing import Any

from opentelemetry.proto.metrics.v1.metrics_pb2 import AGGREGATION_TEMPORALITY_CUMULATIVE, Metric
from prometheus_client.parser import text_fd_to_metric_families

from collector.exposition import Origin

BLANKS = {float(base + offset) for base in (0x7FFFFFF0, 2**47) for offset in range(4)}
MERGED = {"histogram": ("_bucket", "_sum", "_count"), "summary": ("_sum", "_count")}


def metrics_of(text: str, origin: Origin, now: int, start: int) -> tuple[dict[str, Any], Counter[str]]:
    """The metrics that a text of the classic format becomes, by name, and what was dropped, by reason."""
    kinds: dict[str, str] = {}
    helps: dict[str, str] = {}
    lines = []
    for line in text.split("\n"):
        words = line.strip().split(None, 3)
        if words[:1] == ["#"] and len(words) > 2 and words[1] in ("TYPE", "HELP"):
            content = words[3] if len(words) > 3 else ""
            (kinds if words[1] == "TYPE" else helps)[words[2]] = content
        elif line.strip() and not line.strip().startswith("#"):
            lines.append(line)
    dropped: Counter[str] = Counter()
    metrics: dict[str, Any] = {}
    points: dict[tuple[str, frozenset[tuple[str, str]]], Any] = {}
    samples: dict[tuple[str, frozenset[tuple[str, str]]], list[str]] = {}
    told: dict[tuple[str, frozenset[tuple[str, str]]], list[int]] = {}
    seen = set()
    for line in lines:
        try:
            assert re.match(r"\s*({|[a-zA-Z_:][a-zA-Z0-9_:]*({|\s))", line)
            ((sample,),) = (metric.samples for metric in text_fd_to_metric_families([line]))  # type: ignore[arg-type]
            value = float(sample.value)
            time = now if sample.timestamp is None else round(sample.timestamp * 1000) * 10**6
            assert 0 < time < 2**63
        except (AssertionError, ValueError, IndexError, OverflowError):
            dropped["unreadable"] += 1
            continue
        name, kind = belongs_to(sample.name, kinds)
        reason = reason_to_drop(sample.name, value, kinds)
        if reason is not None:
            dropped[reason] += 1
            continue
        labels = point_labels(sample.labels, origin)
        own = {"histogram": "le", "summary": "quantile"}.get(kind, "")
        bound = labels.pop(own, "") if not sample.name.endswith(("_sum", "_count")) else ""
        series = (sample.name, frozenset(labels.items()), bound)
        if series in seen:
            dropped["duplicate"] += 1
            continue
        seen.add(series)
        metric = metrics.get(name)
        if metric is None:
            described = name if name in kinds else name.removesuffix("_total") if kind == "counter" else name
            metric = metrics[name] = Metric(name=name, description=helps.get(described, ""))
        add(metric, points, kind, sample.name, labels, bound, value)
        key = (name, frozenset(labels.items()))
        samples.setdefault(key, []).append(f"{kind} {sample.name} {bound}".strip())
        told.setdefault(key, []).extend(() if sample.timestamp is None else [time])
    set_times(metrics, points, told, now, start)
    drop_uncounted(metrics, points, samples, dropped)
    for metric in metrics.values():
        for point in metric.histogram.data_points:
            count_buckets(point)
    return metrics, dropped


def set_times(
    metrics: dict[str, Any], points: dict[Any, Any], told: Mapping[Any, list[int]], now: int, start: int
) -> None:
    """A point is of the newest time that one of its samples tells."""
    for key, point in points.items():
        point.time_unix_nano = max(told[key], default=now)
        if metrics[key[0]].WhichOneof("data") != "gauge":
            point.start_time_unix_nano = min(start, point.time_unix_nano)


def drop_uncounted(
    metrics: dict[str, Any], points: dict[Any, Any], samples: Mapping[Any, list[str]], dropped: Counter[str]
) -> None:
    """Leave out the points of histograms and summaries that do not tell how many were observed."""
    for key, parts in samples.items():
        metric = metrics[key[0]]
        kind = parts[0].split()[0]
        counts = [part for part in parts if part.endswith("_count") or (kind == "histogram" and part.count(" ") == 2)]
        if kind in MERGED and not counts:
            dropped["incomplete"] += len(parts)
            getattr(metric, kind).data_points.remove(points[key])
    for name in [
        name for name, metric in metrics.items() if not getattr(metric, metric.WhichOneof("data")).data_points
    ]:
        del metrics[name]


def belongs_to(sample: str, kinds: Mapping[str, str]) -> tuple[str, str]:
    if sample in kinds:
        return sample, kinds[sample]
    for kind, suffixes in MERGED.items():
        for suffix in suffixes:
            if sample.endswith(suffix) and kinds.get(sample.removesuffix(suffix)) == kind:
                return sample.removesuffix(suffix), kind
    if sample.endswith("_total") and kinds.get(sample.removesuffix("_total")) == "counter":
        return sample, "counter"
    return sample, "gauge"


def reason_to_drop(sample: str, value: float, kinds: Mapping[str, str]) -> str | None:
    base = sample.removesuffix("_created")
    if base != sample and (base in kinds or f"{base}_total" in kinds):
        return "created"
    if math.isnan(value):
        return "nan"
    if 2.0**62 <= value < math.inf or (sample.upper().startswith("DCGM_") and value in BLANKS):
        return "sentinel"
    return None


def point_labels(labels: Mapping[str, str], origin: Origin) -> dict[str, str]:
    taken = {*origin.labels, "job", "instance"}
    merged = {name: text for name, text in labels.items() if text}
    for name in sorted(merged, key=len):
        if name in taken:
            free = next(n for n in itertools.count(1) if "exported_" * n + name not in {*merged, *taken})
            merged["exported_" * free + name] = merged.pop(name)
    return {name: text for name, text in {**merged, **origin.labels}.items() if text}


def add(
    metric: Any,
    points: dict[tuple[str, frozenset[tuple[str, str]]], Any],
    kind: str,
    sample: str,
    labels: dict[str, str],
    bound: str,
    value: float,
) -> None:
    """Put one sample into its point."""
    key = (metric.name, frozenset(labels.items()))
    point = points.get(key)
    if point is None:
        data = {"counter": metric.sum, "histogram": metric.histogram, "summary": metric.summary}.get(kind, metric.gauge)
        if kind == "counter":
            data.is_monotonic = True
        if kind in ("counter", "histogram"):
            data.aggregation_temporality = AGGREGATION_TEMPORALITY_CUMULATIVE
        point = points[key] = data.data_points.add()
        for name, text in sorted(labels.items()):
            point.attributes.add(key=name).value.string_value = text
    if kind in MERGED and sample.endswith("_sum"):
        point.sum = value
    elif kind in MERGED and sample.endswith("_count"):
        point.count = whole(value)
        if kind == "histogram":
            point.flags = 2  # until the buckets are counted: there was a count
    elif kind == "histogram" and bound:
        point.explicit_bounds.append(float(bound))
        point.bucket_counts.append(whole(value))
    elif kind == "summary" and bound:
        point.quantile_values.add(quantile=float(bound), value=value)
    elif kind not in MERGED:
        point.as_double = value


def whole(value: float) -> int:
    return int(min(max(0.0, value), 2.0**63))


def count_buckets(point: Any) -> None:
    """From how many were at most a bound to how many were between two."""
    cumulative = dict(zip(point.explicit_bounds, point.bucket_counts, strict=True))
    if point.flags:
        cumulative[math.inf] = point.count
    del point.explicit_bounds[:], point.bucket_counts[:]
    below = 0
    for bound in sorted(cumulative):
        if bound < math.inf:
            point.explicit_bounds.append(bound)
        below = max(below, cumulative[bound])
        point.bucket_counts.append(below - sum(point.bucket_counts))
    if math.inf not in cumulative:
        point.bucket_counts.append(0)
    point.flags = 0
    point.count = below
