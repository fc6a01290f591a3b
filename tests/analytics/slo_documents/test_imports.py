from datetime import datetime

from analytics.slo_documents.imports import imported_documents
from analytics.slo_documents.objectives import objective_of
from analytics.slo_documents.openslo_rules import problems_of
from domain.incident import Indicator
from domain.slo import Calendar
from tests.analytics.slo_documents.samples import CASES, SDK, SLOTH, V1ALPHA, needs_cases


@needs_cases
def test_slos_of_sloth_become_documents_of_ours_that_are_valid() -> None:
    text = (CASES / "sloth" / "examples" / "getting-started.yml").read_text()
    (document, *_) = imported_documents(text)
    assert problems_of(document) == []
    assert objective_of(document).target_ratio == 0.999
    assert "query" in document["metadata"]["annotations"]["tailsight.io/imported-queries"]


def test_v1alpha_is_imported_with_its_calendar() -> None:
    calendar = "{count: 1, unit: Month, isRolling: false, calendar: {startTime: 2022-01-01 12:00:00, timeZone: UTC}}"
    (document,) = imported_documents(V1ALPHA.replace("{count: 30, unit: Day}", calendar))
    assert problems_of(document) == []
    objective = objective_of(document)
    assert objective.calendar == Calendar(1, "M", "UTC", datetime.fromisoformat("2022-01-01 12:00:00"))
    assert "total" in document["metadata"]["annotations"]["tailsight.io/imported-queries"]


@needs_cases
def test_v1alpha_as_sloth_and_the_sdk_have_it_can_be_imported() -> None:
    files = [
        *(CASES / "sloth" / "examples").glob("openslo-*.yml"),
        SLOTH / "in-openslo.yaml",
        SLOTH / "validate" / "good" / "good-openslo.yaml",
        SDK / "openslo" / "v1alpha" / "examples" / "slos.yaml",
    ]
    for file in files:
        for document in imported_documents(file.read_text()):
            assert problems_of(document) == [], file
            assert objective_of(document).indicator is Indicator.ERRORS
