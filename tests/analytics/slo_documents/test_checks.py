import pytest
import yaml

from analytics.slo_documents.checks import OpenSloError
from analytics.slo_documents.objectives import document_of
from analytics.slo_documents.openslo import read_documents
from analytics.slo_documents.openslo_rules import problems_of
from tests.analytics.slo_documents.samples import OBJECTIVES, refused, slo


def test_every_problem_of_a_document_is_told_at_once() -> None:
    document = slo("spec", "objectives", 0, "target", value=1.5)
    document["spec"]["budgetingMethod"] = "Timeslice"
    document["metadata"]["name"] = "Web Latency"
    problems = refused(read_documents, yaml.safe_dump(document))
    assert [(one.path, one.rule) for one in problems] == [
        ("metadata.name", "string_dns_label"),
        ("spec.budgetingMethod", "one_of"),
        ("spec.objectives[0]", "mutually_exclusive"),
        ("spec.objectives[0].target", "less_than"),
    ]
    assert problems[1].message == (
        "is 'Timeslice' (did you mean Timeslices?); valid are Occurrences, Timeslices, RatioTimeslices"
    )
    assert problems[3].message == "is 1.5; it must be less than 1.0"


def test_an_unknown_field_names_the_nearest_valid_one_and_all_others() -> None:
    (problem,) = problems_of(slo("spec", "alertPolicy", value=[]))
    assert (problem.path, problem.rule) == ("spec.alertPolicy", "unknown_field")
    assert problem.message.startswith("is not known (did you mean alertPolicies?); valid are description, service, ")


def test_of_several_documents_each_problem_says_where() -> None:
    text = yaml.safe_dump_all([document_of(OBJECTIVES[0]), slo("spec", "service", value="")])
    with pytest.raises(OpenSloError, match=r"\[1\]\.spec\.service: is missing"):
        read_documents(text)


@pytest.mark.parametrize(
    "target", [float("nan"), float("inf"), 10**400, True, "0.9"], ids=lambda target: repr(target)[:8]
)
def test_a_target_is_a_finite_number(target: object) -> None:
    document = slo("spec", "objectives", 0, "targetPercent", value=target)
    assert [one.path for one in problems_of(document)] == ["spec.objectives[0].targetPercent"]
