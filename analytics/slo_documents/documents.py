"""What documents of OpenSLO v1 say, as frozen nouns.

Sections are named as in the specification's README. What other dialects call an SLO is read into the same nouns.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from analytics.slo_documents.windows import Duration, TimeWindow

BudgetingMethod = Literal["Occurrences", "Timeslices", "RatioTimeslices"]
Operator = Literal["lte", "gte", "lt", "gt"]


@dataclass(frozen=True, slots=True)
class MetricSource:
    """Whom to ask and what (section SLI). `type` is None where `data_source` names a document that says it."""

    type: str | None
    spec: Mapping[str, Any]
    data_source: str | None = None


@dataclass(frozen=True, slots=True)
class ThresholdMetric:
    """A number that the objectives compare with their `value` (section SLI)."""

    source: MetricSource


@dataclass(frozen=True, slots=True)
class RatioMetric:
    """`good` or `bad` of `total`, or the ready ratio `raw` (section Ratio Metric)."""

    total: MetricSource | None = None
    good: MetricSource | None = None
    bad: MetricSource | None = None
    raw: MetricSource | None = None
    raw_type: Literal["success", "failure"] | None = None
    is_counter: bool = False


Metric: TypeAlias = RatioMetric | ThresholdMetric


@dataclass(frozen=True, slots=True)
class SloObjective:
    """One target of an SLO (section Objectives). `indicator` is that of this part of a composite, a name or a metric.

    `target_ratio` is below 1, but Sloth and Pyrra take a target of 100%, which leaves no budget.
    """

    target_ratio: float
    op: Operator | None = None
    value: float | None = None
    time_slice_target: float | None = None
    time_slice_window: Duration | None = None
    display_name: str | None = None
    indicator: Metric | str | None = None
    composite_weight: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Named:
    """What every document has (section General Schema)."""

    name: str
    display_name: str | None = None
    description: str | None = None
    annotations: Mapping[str, str]
    labels: Mapping[str, tuple[str, ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceDocument(_Named):
    """A group of SLOs (section Service)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SliDocument(_Named):
    """How something is measured (section SLI)."""

    metric: Metric


@dataclass(frozen=True, slots=True, kw_only=True)
class DataSourceDocument(_Named):
    """How a source of metrics is reached (section DataSource); `connection_details` is whatever was written."""

    type: str
    connection_details: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertConditionDocument(_Named):
    """When to alert (section AlertCondition): once the burn rate has been past `threshold` for `alert_after`."""

    severity: str
    op: Operator
    threshold: float
    lookback_window: Duration
    alert_after: Duration


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertNotificationTargetDocument(_Named):
    """Whom to tell (section AlertNotificationTarget)."""

    target: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertPolicyDocument(_Named):
    """Which condition tells whom (section AlertPolicy); each written out, or the name of its document."""

    alert_when_no_data: bool
    alert_when_resolved: bool
    alert_when_breaching: bool
    condition: AlertConditionDocument | str
    notification_targets: tuple[AlertNotificationTargetDocument | str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class SloDocument(_Named):
    """What is promised (section SLO).

    `indicator` is a metric, the name of an SLI's document, or None where each objective has its own. `time_windows`
    are that of the document and then those of its annotation. `service` is empty where the source names none.
    """

    service: str
    indicator: Metric | str | None
    budgeting_method: BudgetingMethod
    objectives: tuple[SloObjective, ...]
    time_windows: tuple[TimeWindow, ...]
    alert_policies: tuple[AlertPolicyDocument | str, ...] = ()


Document: TypeAlias = (
    SloDocument
    | SliDocument
    | ServiceDocument
    | AlertPolicyDocument
    | AlertConditionDocument
    | AlertNotificationTargetDocument
    | DataSourceDocument
)
