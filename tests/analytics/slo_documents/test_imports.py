from datetime import datetime

import pytest

from analytics.slo_documents.imports import CHANGES, imported_documents
from analytics.slo_documents.objectives import objective_of
from analytics.slo_documents.openslo_rules import problems_of
from domain.incident import Indicator
from domain.slo import Calendar
from tests.analytics.slo_documents.samples import CASES, SDK, SLOTH, V1ALPHA, needs_cases
from tests.analytics.slo_documents.test_pyrra import PYRRA


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


@pytest.mark.parametrize(
    ("target", "window", "told"),
    [
        ("99.9", "4w", None),
        ("99.9", "1y", None),
        ("100", "4w", "the target of 100% leaves no error budget; it is 99.9999% here"),
        ("99.9", "12h", "the window of 12h is no whole number of days; it is 1d rolling here"),
        ("99.9", "1d12h", "the window of 2160m is no whole number of days; it is 1d rolling here"),
    ],
)
def test_what_of_pyrra_cannot_stay_as_it_was_is_told(target: str, window: str, told: str | None) -> None:
    (document,) = imported_documents(PYRRA.replace('"99.9"', f'"{target}"').replace("4w", window))
    assert problems_of(document) == []
    assert document["metadata"]["annotations"].get(CHANGES) == told


def test_what_is_left_out_of_v1alpha_is_told() -> None:
    calendar = "{count: 12, unit: Hour, isRolling: true}"
    (document,) = imported_documents(V1ALPHA.replace("{count: 30, unit: Day}", calendar))
    assert "the window of 12h is no whole number" in document["metadata"]["annotations"][CHANGES]


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
