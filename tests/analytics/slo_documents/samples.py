"""Documents that the tests of this package share, and where the makers' own cases lie."""

import copy
import json
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from analytics.slo_documents.checks import OpenSloError, Problem
from analytics.slo_documents.documents import SloDocument
from analytics.slo_documents.openslo import read_documents
from domain.incident import Indicator
from domain.slo import Calendar, CreditTier, Objective, Period, Selection, Sla, Slices

CASES = Path(__file__).parents[4] / "shared" / "data" / "slo"
TRANSCRIBED = CASES / "openslo-transcribed" / "v1_validation_cases.json"
SDK = CASES / "openslo-go-sdk" / "pkg"
SLOTH = CASES / "sloth" / "test" / "integration" / "prometheus" / "testdata"
needs_cases = pytest.mark.skipif(not CASES.is_dir(), reason=f"no conformance cases in {CASES}")
DOCUMENTS: list[dict[str, Any]] = json.loads(TRANSCRIBED.read_text())["cases"] if TRANSCRIBED.is_file() else []
MONDAY = datetime.fromisoformat("2001-01-01")  # on the clock of a place
OBJECTIVES = (
    Objective("chat-ttft", "chat", Indicator.TTFT, 0.99, 30, 800.0),
    Objective("chat-errors", "chat", Indicator.ERRORS, 0.999, 7),
    Objective("tpot", "chat", Indicator.TPOT, 0.99, 30, 50.0, selection=Selection("llama", "v2", "acme", "blue")),
    Objective("goodput", "chat", Indicator.GOODPUT, 0.95, 30, 800.0, tpot_threshold_ms=60.0),
    Objective("throughput", "chat", Indicator.THROUGHPUT, 0.95, 30, floor_per_s=2.5, slices=Slices(300, 1.0)),
    Objective("gpus", "fleet", Indicator.GPU_AVAILABILITY, 0.995, 30, selection=Selection(node="gpu-07-*")),
    Objective("requests-are-fresh", "chat", Indicator.DATA_FRESHNESS, 0.99, 30, age_max_s=300.0),
    Objective("samples-are-fresh", "all", Indicator.DATA_FRESHNESS, 0.99, 30, age_max_s=120.0, data="samples"),
    Objective(
        "further",
        "chat",
        Indicator.ERRORS,
        0.999,
        30,
        more_periods=(Period(7), Period(90, Calendar(1, "Q", "Europe/Berlin", MONDAY))),
        sla=Sla(12_000.0, (CreditTier(0.999, 0.1), CreditTier(0.99, 0.25)), "Europe/Berlin"),
    ),
    Objective("month", "chat", Indicator.ERRORS, 0.999, 30, calendar=Calendar(1, "M", "Europe/Berlin", MONDAY)),
    Objective("slices", "chat", Indicator.LATENCY, 0.99, 28, 2000.0, slices=Slices(60, 0.95)),
    Objective("ratios", "chat", Indicator.LATENCY, 0.99, 28, 2000.0, slices=Slices(300, None)),
)
SLO = """
apiVersion: openslo/v1
kind: SLO
metadata:
  name: web-latency
  displayName: Web latency
  labels: {team: [a, b], env: prod}
  annotations:
    tailsight.io/more-windows: 7d rolling, 1M calendar Europe/Berlin
spec:
  description: Pages come quickly.
  service: web
  indicator:
    metadata: {name: latency}
    spec:
      thresholdMetric:
        metricSource:
          type: Prometheus
          metricSourceRef: our-prometheus
          spec: {query: p99}
  timeWindow:
    - duration: 1Q
      isRolling: false
      calendar: {startTime: 2026-01-01 12:00:00, timeZone: America/New_York}
  budgetingMethod: Timeslices
  objectives:
    - displayName: Good
      op: lte
      value: 200
      targetPercent: 99.9
      timeSliceTarget: 0.95
      timeSliceWindow: 5m
  alertPolicies:
    - alertPolicyRef: page-us
"""
POLICY = """
apiVersion: openslo/v1
kind: AlertPolicy
metadata: {name: page-us}
spec:
  alertWhenBreaching: true
  conditions:
    - kind: AlertCondition
      metadata: {name: fast-burn}
      spec:
        severity: page
        condition: {kind: burnrate, op: gte, threshold: 14.4, lookbackWindow: 1h}
  notificationTargets:
    - targetRef: on-call
    - kind: AlertNotificationTarget
      metadata: {name: chat-room}
      spec: {target: slack}
"""
V1ALPHA = """
apiVersion: openslo/v1alpha
kind: SLO
metadata: {name: slo1, displayName: One}
spec:
  service: svc01
  description: this is one
  budgetingMethod: Occurrences
  objectives:
  - ratioMetrics:
      incremental: true
      good: {source: prometheus, queryType: promql, query: good}
      total: {source: prometheus, queryType: promql, query: total}
    target: 0.999
  timeWindows: [{count: 30, unit: Day}]
"""


def changed(document: dict[str, Any], *path: Any, value: Any) -> dict[str, Any]:
    document = copy.deepcopy(document)
    where: Any = document
    for name in path[:-1]:
        where = where[name]
    where[path[-1]] = value
    return document


def slo(*path: Any, value: Any) -> dict[str, Any]:
    return changed(yaml.safe_load(SLO), *path, value=value)


def refused(read: Callable[[str], object], text: str) -> list[Problem]:
    with pytest.raises(OpenSloError) as error:
        read(text)
    return list(error.value.problems)


def only(text: str) -> SloDocument:
    (document,) = read_documents(text)
    assert isinstance(document, SloDocument)
    return document
