from typing import Any

import pytest
import yaml

from analytics.slo_documents.annotations import MORE_WINDOWS
from analytics.slo_documents.openslo_rules import problems_of
from tests.analytics.slo_documents.samples import DOCUMENTS, POLICY, changed, needs_cases, slo


@needs_cases
@pytest.mark.parametrize("case", DOCUMENTS, ids=lambda case: case["name"])
def test_documents_are_taken_or_refused_as_the_go_sdk_does_by_the_same_rules(case: dict[str, Any]) -> None:
    found = {(problem.path, problem.rule) for problem in problems_of(case["doc"])}
    wanted = {(error["path"], error["code"]) for error in case["errors"]}
    assert wanted <= found
    assert bool(found) is not case["valid"]


def test_a_part_of_a_composite_without_an_indicator_is_refused() -> None:
    document = slo("spec", "indicator", value=None)
    part = document["spec"]["objectives"][0]
    document["spec"]["objectives"] = [{**part, "indicatorRef": "first"}, part]
    assert [problem.path for problem in problems_of(document)] == ["spec.objectives[1]"]


def test_a_document_of_another_kind_than_it_says_is_told_so() -> None:
    (problem,) = problems_of(slo("kind", value="Service"))
    assert str(problem) == "kind: is 'Service', but the fields of spec are those of SLO"


@pytest.mark.parametrize(
    "path",
    [
        ("metadata",),
        ("metadata", "labels"),
        ("metadata", "annotations"),
        ("spec",),
        ("spec", "indicator"),
        ("spec", "indicator", "spec"),
        ("spec", "indicator", "spec", "thresholdMetric"),
        ("spec", "indicator", "spec", "thresholdMetric", "metricSource"),
        ("spec", "timeWindow"),
        ("spec", "timeWindow", 0),
        ("spec", "timeWindow", 0, "calendar"),
        ("spec", "timeWindow", 0, "duration"),
        ("spec", "objectives"),
        ("spec", "objectives", 0),
        ("spec", "objectives", 0, "value"),
        ("spec", "alertPolicies"),
        ("spec", "alertPolicies", 0),
        ("spec", "service"),
        ("spec", "budgetingMethod"),
        ("kind",),
    ],
    ids=lambda path: ".".join(map(str, path)),
)
@pytest.mark.parametrize("value", [0, "text", [1], {"a": 1}], ids=repr)
def test_a_value_of_another_type_is_a_problem_and_never_a_crash(path: tuple[Any, ...], value: object) -> None:
    is_fine = (path, value) in [(("spec", "service"), "text"), (("spec", "objectives", 0, "value"), 0)]
    assert bool(problems_of(slo(*path, value=value))) is not is_fine


@pytest.mark.parametrize("field", ["conditions", "notificationTargets"])
def test_what_is_written_out_in_a_policy_must_have_a_spec(field: str) -> None:
    policy = changed(yaml.safe_load(POLICY), "spec", field, -1, "spec", value=0)
    number = len(policy["spec"][field]) - 1
    assert (f"spec.{field}[{number}].spec", "type") in [(one.path, one.rule) for one in problems_of(policy)]


def test_a_condition_is_either_written_out_or_named() -> None:
    policy = changed(yaml.safe_load(POLICY), "spec", "conditions", 0, "conditionRef", value="fast-burn")
    (problem,) = problems_of(policy)
    assert (problem.path, problem.rule) == ("spec.conditions[0]", "mutually_exclusive")


def test_only_the_wait_before_an_alert_may_be_nothing() -> None:
    condition = ("spec", "conditions", 0, "spec", "condition")
    policy = changed(yaml.safe_load(POLICY), *condition, "alertAfter", value="0m")
    assert problems_of(policy) == []
    (problem,) = problems_of(changed(policy, *condition, "lookbackWindow", value="0m"))
    assert problem.message == "is '0m'; write a whole number, 1 or more, and one of m h d w M Q Y, as in 30d"


def test_the_domain_of_an_annotation_has_at_most_253_characters() -> None:
    for length, found in ((252, []), (254, ["string_match_regexp"])):
        key = "a." * (length // 2 - 1) + "bc/key"
        assert [one.rule for one in problems_of(slo("metadata", "annotations", value={key: "x"}))] == found


def test_two_windows_in_the_document_itself_are_refused_and_the_annotation_is_named() -> None:
    window = {"duration": "7d", "isRolling": True}
    (problem,) = problems_of(slo("spec", "timeWindow", value=[window, window]))
    assert (problem.path, problem.rule) == ("spec.timeWindow", "slice_length")
    assert MORE_WINDOWS in problem.message
