from collections.abc import Mapping
from datetime import datetime
from typing import Any

import pytest
import yaml

from analytics.slo_documents.checks import OpenSloError
from analytics.slo_documents.imports import CHANGES, as_text, imported
from analytics.slo_documents.objectives import objective_of, objectives_in
from analytics.slo_documents.openslo_rules import problems_of
from domain.incident import Indicator
from domain.slo import Calendar
from tests.analytics.slo_documents.samples import CASES, SDK, SLOTH, V1ALPHA, needs_cases
from tests.analytics.slo_documents.test_pyrra import PYRRA

BARE = """
apiVersion: pyrra.dev/v1alpha1
kind: ServiceLevelObjective
metadata: {name: NAME, labels: {team: inference}}
spec:
  target: "100"
  window: 12h
  indicator: {ratio: {errors: {metric: 'http_errors_total{job="chat"}'}, total: {metric: 'http_total{job="chat"}'}}}
"""


def imported_documents(text: str) -> list[Mapping[str, Any]]:
    """Those of somebody who means failures."""
    return [one.document for one in imported([text], Indicator.ERRORS)]


def test_what_nobody_has_said_yet_is_refused_when_it_is_loaded() -> None:
    text = as_text(imported([BARE]))
    assert text.count("indicator: TODO  # valid are errors, ttft, latency, tpot, goodput,") == 2
    assert "service:  # TODO: whose requests" in text
    with pytest.raises(OpenSloError, match=r"spec\.service: is missing"):
        objectives_in(text)
    with pytest.raises(OpenSloError, match="indicator: is 'TODO'; valid are errors, ttft"):
        objectives_in(text.replace("service:  #", "service: chat  #"))


def test_whoever_means_failures_says_so() -> None:
    text = as_text(imported([BARE.replace("labels: {", "labels: {pyrra.dev/service: chat, ")], Indicator.ERRORS))
    (objective,) = objectives_in(text)
    assert (objective.indicator, objective.service) == (Indicator.ERRORS, "chat")


def test_what_was_changed_or_left_out_is_told() -> None:
    (one,) = imported([BARE])
    assert one.changes == (
        "the name was NAME",
        "the target of 100% leaves no error budget; it is 99.9999% here",
        "the window of 12h is no whole number of days; it is 1d rolling here",
        "left out: labels team",
        "the source names no service: write whose requests it is about",
    )


def test_a_name_that_is_cut_does_not_end_in_a_dash() -> None:
    (one,) = imported([BARE.replace("NAME", "a" * 62 + "-latency")], Indicator.ERRORS)
    assert one.name == "a" * 62
    assert [problem.path for problem in problems_of(one.document)] == ["spec.service"]


def test_two_that_would_bear_one_name_are_refused() -> None:
    files = [BARE.replace("NAME", "a" * 63 + end) for end in ("-one", "-two")]
    with pytest.raises(OpenSloError, match="would be the name of several"):
        imported(files)


def test_what_is_printed_is_yaml_with_all_that_was_said() -> None:
    (one,) = imported([BARE])
    assert yaml.safe_load(as_text([one])) == one.document


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
