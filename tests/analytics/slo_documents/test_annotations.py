import pytest

from analytics.slo_documents.annotations import MORE_WINDOWS, SLA
from analytics.slo_documents.objectives import document_of, objective_of
from analytics.slo_documents.openslo_rules import problems_of
from domain.slo import CreditTier, Sla
from tests.analytics.slo_documents.samples import OBJECTIVES, slo


@pytest.mark.parametrize(
    "written", ["7d", "7 rolling", "0d rolling", "1M calendar", "1M calendar Mars/Olympus", "7d rolling,", "rolling 7d"]
)
def test_a_further_window_that_is_none_is_refused(written: str) -> None:
    (problem,) = problems_of(slo("metadata", "annotations", MORE_WINDOWS, value=written))
    assert (problem.path, problem.rule) == (f"metadata.annotations.{MORE_WINDOWS}", "time_window")


@pytest.mark.parametrize(
    ("written", "tiers"),
    [
        ("12000 usd monthly; below 99.9%: 10%; below 99%: 25%", ((0.999, 0.1), (0.99, 0.25))),
        ("12000.00 usd monthly;below 0.999: 0.1", ((0.999, 0.1),)),
    ],
)
def test_an_sla_is_an_annotation(written: str, tiers: tuple[tuple[float, float], ...]) -> None:
    document = document_of(OBJECTIVES[0])
    document["metadata"]["annotations"] = {SLA: written}
    assert problems_of(document) == []
    assert objective_of(document).sla == Sla(12_000.0, tuple(CreditTier(*one) for one in tiers))


@pytest.mark.parametrize(
    "written",
    [
        "",
        "12000 usd",
        "12000 usd monthly",
        "12000 eur monthly; below 99.9%: 10%",
        "12000 usd monthly; below 99.9%: 10",
        "12000 usd monthly; below 99.9: 10%",
        "12000 usd monthly; below 99%: 25%; below 99.9%: 10%",
        "12000 usd monthly; below 99.9%: 25%; below 99%: 10%",
    ],
)
def test_an_sla_that_cannot_be_meant_is_refused(written: str) -> None:
    document = document_of(OBJECTIVES[0])
    document["metadata"]["annotations"] = {SLA: written}
    assert [(one.path, one.rule) for one in problems_of(document)] == [(f"metadata.annotations.{SLA}", "sla")]
