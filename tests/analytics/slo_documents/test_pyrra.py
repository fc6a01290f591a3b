from typing import Any

import pytest
import yaml

from analytics.slo_documents.documents import MetricSource, RatioMetric, SloDocument, SloObjective
from analytics.slo_documents.pyrra import read_pyrra
from analytics.slo_documents.windows import Duration, RollingWindow
from tests.analytics.slo_documents.samples import changed, refused

PYRRA = """
apiVersion: pyrra.dev/v1alpha1
kind: ServiceLevelObjective
metadata:
  name: shop-errors
  namespace: monitoring
  labels: {pyrra.dev/service: shop, role: alert-rules}
spec:
  target: "99.9"
  window: 4w
  description: Orders are taken.
  indicator:
    ratio:
      errors: {metric: 'requests_total{code=~"5.."}'}
      total: {metric: requests_total}
      grouping: [handler]
"""


def pyrra(indicator: dict[str, Any]) -> str:
    return yaml.safe_dump(changed(yaml.safe_load(PYRRA), "spec", "indicator", value=indicator))


def test_pyrras_ratio_is_read_with_its_target_window_and_labels() -> None:
    (document,) = read_pyrra(PYRRA)
    assert document == SloDocument(
        name="shop-errors",
        description="Orders are taken.",
        annotations={},
        labels={"pyrra.dev/service": ("shop",), "role": ("alert-rules",)},
        service="shop",
        indicator=RatioMetric(
            bad=MetricSource("Prometheus", {"query": 'requests_total{code=~"5.."}', "grouping": ["handler"]}),
            total=MetricSource("Prometheus", {"query": "requests_total", "grouping": ["handler"]}),
            is_counter=True,
        ),
        budgeting_method="Occurrences",
        objectives=(SloObjective(0.999),),
        time_windows=(RollingWindow(Duration(4, "w")),),
    )


def test_pyrras_latency_counts_a_bucket_as_good() -> None:
    success = 'duration_bucket{job="shop",le="0.5"}'
    (document,) = read_pyrra(
        pyrra({"latency": {"success": {"metric": success}, "total": {"metric": "duration_count"}}})
    )
    assert document.indicator == RatioMetric(
        good=MetricSource("Prometheus", {"query": success}),
        total=MetricSource("Prometheus", {"query": "duration_count"}),
        is_counter=True,
    )


def test_pyrras_native_latency_keeps_its_limit() -> None:
    (document,) = read_pyrra(pyrra({"latencyNative": {"total": {"metric": "duration"}, "latency": "200ms"}}))
    assert document.indicator == RatioMetric(
        good=MetricSource("Prometheus", {"query": "duration", "latency": "200ms"}),
        total=MetricSource("Prometheus", {"query": "duration"}),
        is_counter=True,
    )


def test_pyrras_gauge_is_a_ready_ratio_of_success() -> None:
    (document,) = read_pyrra(pyrra({"bool_gauge": {"metric": "up"}}))
    assert document.indicator == RatioMetric(raw=MetricSource("Prometheus", {"query": "up"}), raw_type="success")


@pytest.mark.parametrize(
    ("written", "duration"),
    [
        ("28d", Duration(28, "d")),
        ("1y", Duration(1, "Y")),
        ("1d12h", Duration(2160, "m")),
        ("3600s", Duration(60, "m")),
    ],
)
def test_pyrras_window_is_a_duration_of_prometheus(written: str, duration: Duration) -> None:
    (document,) = read_pyrra(PYRRA.replace("window: 4w", f"window: {written}"))
    assert document.time_windows == (RollingWindow(duration),)


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("v1alpha1", "v2", ("apiVersion", "equal_to")),
        ("kind: ServiceLevelObjective", "kind: SLO", ("kind", "equal_to")),
        ("name: shop-errors", "name: ''", ("metadata.name", "required")),
        ('target: "99.9"', "target: ''", ("spec.target", "required")),
        ('target: "99.9"', "target: most", ("spec.target", "type")),
        ('target: "99.9"', 'target: "101"', ("spec.target", "less_than_or_equal_to")),
        ("window: 4w", "window: 1M", ("spec.window", "duration")),
        ("window: 4w", "window: 0d", ("spec.window", "duration")),
        ("window: 4w", "window: 90s", ("spec.window", "duration")),
        ("total: {metric: requests_total}", "total: {}", ("spec.indicator.ratio.total.metric", "required")),
        ("    ratio:", "    ration:", ("spec.indicator", "mutually_exclusive")),
    ],
    ids=str,
)
def test_what_pyrra_would_refuse_is_refused_with_a_reason(old: str, new: str, problem: tuple[str, str]) -> None:
    assert [(one.path, one.rule) for one in refused(read_pyrra, PYRRA.replace(old, new, 1))] == [problem]


@pytest.mark.parametrize("success", ["duration_bucket", 'duration_bucket{le="quick"}', 'duration_bucket{angle="1"}'])
def test_pyrras_latency_without_a_bucket_is_refused(success: str) -> None:
    text = pyrra({"latency": {"success": {"metric": success}, "total": {"metric": "duration_count"}}})
    assert [(one.path, one.rule) for one in refused(read_pyrra, text)] == [
        ("spec.indicator.latency.success.metric", "query")
    ]
