import json
from datetime import datetime
from typing import Any

import pytest
import yaml

from analytics.slo_documents.annotations import MORE_WINDOWS
from analytics.slo_documents.checks import OpenSloError
from analytics.slo_documents.documents import (
    AlertConditionDocument,
    AlertNotificationTargetDocument,
    AlertPolicyDocument,
    DataSourceDocument,
    MetricSource,
    RatioMetric,
    ServiceDocument,
    SliDocument,
    SloDocument,
    SloObjective,
    ThresholdMetric,
)
from analytics.slo_documents.openslo import read_documents
from analytics.slo_documents.openslo_rules import problems_of
from analytics.slo_documents.windows import CalendarWindow, Duration, RollingWindow
from tests.analytics.slo_documents.samples import CASES, DOCUMENTS, POLICY, SDK, SLO, needs_cases, only, refused, slo


@needs_cases
@pytest.mark.parametrize("case", DOCUMENTS, ids=lambda case: case["name"])
def test_a_refused_document_is_refused_as_text_too_and_a_good_one_becomes_a_noun(case: dict[str, Any]) -> None:
    if case["valid"]:
        (document,) = read_documents(json.dumps(case["doc"]))
        assert document.name == case["doc"]["metadata"]["name"]
        assert read_documents(yaml.safe_dump(case["doc"])) == [document]
    else:
        assert refused(read_documents, json.dumps(case["doc"])) == problems_of(case["doc"])


@needs_cases
def test_the_examples_of_the_specification_are_taken_but_for_operators_beside_ratios() -> None:
    files = sorted((CASES / "openslo-spec" / "examples").rglob("*.y*ml"))
    taken, rules = [], set()
    for file in files:
        try:
            taken.append(read_documents(file.read_text()))
        except OpenSloError as error:
            rules |= {(problem.path.rpartition(".")[2], problem.rule) for problem in error.problems}
    # Three of the examples carry an operator beside a ratio metric, which the SDK of the same project refuses.
    assert (len(files), len(taken), rules) == (4, 1, {("op", "forbidden")})


@needs_cases
@pytest.mark.parametrize("kind", ["services", "data_sources", "alert_conditions", "alert_notification_targets", "slis"])
def test_the_examples_of_the_go_sdk_are_taken(kind: str) -> None:
    text = (SDK / "openslo" / "v1" / "examples" / f"{kind}.yaml").read_text()
    assert len(read_documents(text)) == len(yaml.safe_load(text))


@needs_cases
@pytest.mark.parametrize("name", ["alert_policies_keep_refs", "alert_policies_remove_refs", "slo"])
def test_documents_with_others_written_out_in_them_are_taken(name: str) -> None:
    text = (SDK / "openslosdk" / "test_data" / "inline" / "inputs" / f"v1_{name}.yaml").read_text()
    assert len(read_documents(text)) == len(yaml.safe_load(text))


def test_an_slo_is_read_with_all_that_it_says() -> None:
    source = MetricSource("Prometheus", {"query": "p99"}, "our-prometheus")
    start = datetime(2026, 1, 1, 12)  # noqa: DTZ001  # its zone stands beside it
    assert only(SLO) == SloDocument(
        name="web-latency",
        display_name="Web latency",
        description="Pages come quickly.",
        annotations={MORE_WINDOWS: "7d rolling, 1M calendar Europe/Berlin"},
        labels={"team": ("a", "b"), "env": ("prod",)},
        service="web",
        indicator=ThresholdMetric(source),
        budgeting_method="Timeslices",
        objectives=(SloObjective(0.999, "lte", 200.0, 0.95, Duration(5, "m"), "Good"),),
        time_windows=(
            CalendarWindow(Duration(1, "Q"), start, "America/New_York"),
            RollingWindow(Duration(7, "d")),
            CalendarWindow(Duration(1, "M"), datetime(2001, 1, 1), "Europe/Berlin"),  # noqa: DTZ001  # the same
        ),
        alert_policies=("page-us",),
    )


def test_a_policy_is_read_with_what_is_written_out_in_it_and_with_the_names_of_others() -> None:
    (policy,) = read_documents(POLICY)
    nothing: dict[str, Any] = {"annotations": {}, "labels": {}}
    condition = AlertConditionDocument(
        name="fast-burn",
        severity="page",
        op="gte",
        threshold=14.4,
        lookback_window=Duration(1, "h"),
        alert_after=Duration(0, "m"),
        **nothing,
    )
    assert policy == AlertPolicyDocument(
        name="page-us",
        alert_when_no_data=False,
        alert_when_resolved=False,
        alert_when_breaching=True,
        condition=condition,
        notification_targets=("on-call", AlertNotificationTargetDocument(name="chat-room", target="slack", **nothing)),
        **nothing,
    )


def test_the_small_kinds_are_read_in_the_order_they_stand_in() -> None:
    source = {"metricSource": {"type": "Prometheus", "spec": {"query": "q"}}}
    specs = {
        "Service": {"description": "A shop."},
        "SLI": {"ratioMetric": {"raw": source, "rawType": "failure"}},
        "DataSource": {"type": "Prometheus", "connectionDetails": [{"url": "http://prometheus"}]},
        "AlertNotificationTarget": {"target": "slack"},
    }
    documents = [
        {"apiVersion": "openslo/v1", "kind": kind, "metadata": {"name": "it"}, "spec": spec}
        for kind, spec in specs.items()
    ]
    service, sli, data_source, target = read_documents(yaml.safe_dump_all(documents))
    assert isinstance(service, ServiceDocument)
    assert service.description == "A shop."
    assert isinstance(sli, SliDocument)
    assert sli.metric == RatioMetric(raw=MetricSource("Prometheus", {"query": "q"}), raw_type="failure")
    assert isinstance(data_source, DataSourceDocument)
    assert (data_source.type, data_source.connection_details) == ("Prometheus", [{"url": "http://prometheus"}])
    assert isinstance(target, AlertNotificationTargetDocument)
    assert target.target == "slack"


def test_each_part_of_a_composite_keeps_its_own_indicator_and_weight() -> None:
    document = slo("spec", "indicator", value=None)
    part = document["spec"]["objectives"][0]
    document["spec"]["objectives"] = [
        {**part, "indicatorRef": "first", "compositeWeight": 2},
        {**part, "indicatorRef": "second"},
    ]
    read = only(yaml.safe_dump(document))
    assert read.indicator is None
    assert [(one.indicator, one.composite_weight) for one in read.objectives] == [("first", 2.0), ("second", 1.0)]
