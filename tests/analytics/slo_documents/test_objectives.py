from typing import Any

import pytest
import yaml

from analytics.slo_documents.annotations import MORE_WINDOWS
from analytics.slo_documents.checks import OpenSloError
from analytics.slo_documents.objectives import document_of, objective_of, objectives_in
from analytics.slo_documents.openslo_rules import problems_of
from domain.incident import Indicator
from domain.slo import Objective, Selection
from tests.analytics.slo_documents.samples import OBJECTIVES, changed, only
from tests.documents import yaml_blocks


@pytest.mark.parametrize("objective", OBJECTIVES, ids=lambda one: one.name)
def test_what_is_written_is_valid_and_read_again(objective: Objective) -> None:
    document = document_of(objective)
    assert problems_of(document) == []
    assert only(yaml.safe_dump(document)).objectives[0].target_ratio == objective.target_ratio
    assert objective_of(document) == objective


def measured(objective: Objective) -> dict[str, Any]:
    """What our metric source says of all events."""
    ratio = document_of(objective)["spec"]["indicator"]["spec"]["ratioMetric"]
    found: dict[str, Any] = ratio["total"]["metricSource"]["spec"]
    return found


def test_a_metric_source_says_of_whom_and_how_much() -> None:
    goodput = Objective(
        "g", "chat", Indicator.GOODPUT, 0.95, 30, 800.0, tpot_threshold_ms=60.0, selection=Selection(tenant="acme")
    )
    assert measured(goodput) == {
        "requests": "all",
        "indicator": "goodput",
        "threshold_ms": 800.0,
        "tpot_threshold_ms": 60.0,
        "tenant": "acme",
    }


@pytest.mark.parametrize(
    ("name", "change", "problem"),
    [
        ("chat-ttft", {"threshold_ms": None}, ("threshold_ms", "type")),
        ("chat-ttft", {"tennant": "acme"}, ("tennant", "unknown_field")),
        ("chat-ttft", {"node": "n1"}, ("node", "unknown_field")),
        ("chat-ttft", {"tenant": ""}, ("tenant", "type")),
        ("chat-ttft", {"indicator": ["ttft"]}, ("indicator", "one_of")),
        ("goodput", {"tpot_threshold_ms": None}, ("tpot_threshold_ms", "type")),
        ("throughput", {"floor_per_s": "5"}, ("floor_per_s", "type")),
        ("gpus", {"tenant": "acme"}, ("tenant", "unknown_field")),
        ("samples-are-fresh", {"tenant": "acme"}, ("tenant", "unknown_field")),
        ("requests-are-fresh", {"data": "logs"}, ("data", "one_of")),
    ],
    ids=str,
)
def test_what_a_metric_source_must_not_say_is_refused(
    name: str, change: dict[str, Any], problem: tuple[str, str]
) -> None:
    document = document_of(next(one for one in OBJECTIVES if one.name == name))
    document["spec"]["indicator"]["spec"]["ratioMetric"]["total"]["metricSource"]["spec"] |= change
    with pytest.raises(OpenSloError) as error:
        objective_of(document)
    field, rule = problem
    path = f"spec.indicator.spec.ratioMetric.total.metricSource.spec.{field}"
    assert [(one.path, one.rule) for one in error.value.problems] == [(path, rule)]


def test_a_further_window_of_hours_cannot_be_judged() -> None:
    document = document_of(OBJECTIVES[0])
    document["metadata"]["annotations"] = {MORE_WINDOWS: "7d rolling, 6h rolling"}
    with pytest.raises(OpenSloError) as error:
        objective_of(document)
    assert [(one.path, one.rule) for one in error.value.problems] == [
        (f"metadata.annotations.{MORE_WINDOWS}", "unsupported")
    ]


def test_an_indicator_may_stand_in_a_document_of_its_own() -> None:
    objective = OBJECTIVES[0]
    document = document_of(objective)
    indicator = document["spec"].pop("indicator")
    sli = {"apiVersion": "openslo/v1", "kind": "SLI", "metadata": {"name": "quick"}, "spec": indicator["spec"]}
    service = {"apiVersion": "openslo/v1", "kind": "Service", "metadata": {"name": "chat"}, "spec": {}}
    document["spec"]["indicatorRef"] = "quick"
    assert objectives_in(yaml.safe_dump_all([service, document, sli])) == [objective]
    with pytest.raises(OpenSloError, match=r"spec\.indicatorRef: is 'quick'; no document of kind SLI beside it"):
        objectives_in(yaml.safe_dump_all([service, document]))


def test_the_example_of_the_documentation_can_be_judged() -> None:
    (block,) = yaml_blocks("slos.md")
    (objective,) = objectives_in(block)
    assert objective.selection == Selection(tenant="acme")
    assert (len(objective.more_periods), objective.sla and objective.sla.time_zone) == (2, "Europe/Berlin")


@pytest.mark.parametrize(
    ("path", "value", "problem"),
    [
        (("timeWindow", 0, "duration"), "6h", "spec.timeWindow[0].duration"),
        (
            ("indicator", "spec", "ratioMetric", "total", "metricSource", "type"),
            "Prometheus",
            "spec.indicator.spec.ratioMetric.total.metricSource",
        ),
    ],
)
def test_what_cannot_be_judged_yet_is_refused_by_name(path: tuple[Any, ...], value: object, problem: str) -> None:
    with pytest.raises(OpenSloError) as error:
        objective_of(changed(document_of(OBJECTIVES[0]), "spec", *path, value=value))
    assert problem in {one.path for one in error.value.problems}
