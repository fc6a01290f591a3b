import os
from pathlib import Path

import pytest

from domain.incident import Incident
from reports.incident import incident_report
from tests.domain.examples import PAGING, UNEXPLAINED

GOLDEN = Path(__file__).parents[1] / "golden"
REGENERATE = "TAILSIGHT_TEST_REGENERATE_GOLDEN"


def check_golden(name: str, text: str) -> None:
    """Compare with the committed text, or write it when that is asked for."""
    file = GOLDEN / name
    if os.environ.get(REGENERATE):
        file.write_text(text)
    assert text == file.read_text(), f"differs from {file}; if that is meant, run again with {REGENERATE}=1 and look"


@pytest.mark.parametrize(("name", "incident"), [("incident_page.md", PAGING), ("incident_unexplained.md", UNEXPLAINED)])
def test_the_report_of_an_incident_is_the_committed_one(name: str, incident: Incident) -> None:
    check_golden(name, incident_report(incident))


def test_what_is_not_known_is_said_to_be_and_never_zero() -> None:
    report = incident_report(UNEXPLAINED)
    for row in ("Tenants affected", "Error budget spent", "GPU cost"):
        assert f"| {row} | not known |" in report
    assert "no data → 1,340 ms" in incident_report(PAGING)


def test_an_incident_that_goes_on_has_no_end() -> None:
    assert "| Ended | still going on |" in incident_report(PAGING)
    assert "| Ended | 2026-11-23T02:55:00Z |" in incident_report(UNEXPLAINED)
