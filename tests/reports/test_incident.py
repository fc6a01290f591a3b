import os
from dataclasses import replace
from datetime import timedelta
from functools import partial
from pathlib import Path

import pytest

from analytics.knowledge import shipped_knowledge
from domain.cause import Evidence, Whereabouts
from domain.incident import Incident, Indicator, Severity, Status
from reports import incident as reports
from reports.postmortem import postmortem
from tests.domain.examples import BAD_LINK, PAGING, REPLICA, UNEXPLAINED
from tests.own_titles import OWN_TITLES

incident_report = partial(reports.incident_report, knowledge=shipped_knowledge())

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
    for row in ("Tenants affected", "Error budget spent", "GPU time of slow requests"):
        assert f"| {row} | not known |" in report
    assert "no data → 1.34 s" in incident_report(PAGING)


def test_causes_and_signals_are_called_as_a_site_calls_them() -> None:
    for told in (incident_report(PAGING, knowledge=OWN_TITLES), postmortem(PAGING, {}, knowledge=OWN_TITLES)):
        assert "Dim optics on gpu-07-03/mlx5\\_2/1" in told
        assert "Dirty symbols" in told


def test_an_incident_that_goes_on_has_no_end() -> None:
    assert "| Ended | still going on |" in incident_report(PAGING)
    assert "| Ended | 2026-11-23T02:55:00Z |" in incident_report(UNEXPLAINED)


def test_failures_are_told_as_failures_and_without_stages() -> None:
    report = incident_report(replace(PAGING, indicator=Indicator.ERRORS))
    assert report.startswith("# 31% of requests fail on chat\n")
    assert "Explains 97% of the failures." in report
    assert "- replica chat-3: 97% of the failures, 17% of the traffic" in report
    assert "A mean request" not in report


def test_time_that_no_stage_tells_is_said_to_be_untold() -> None:
    where = Whereabouts(500.0, {"queue_ms": 100.0}, ())
    report = incident_report(replace(PAGING, explanation=replace(PAGING.explanation, whereabouts=where)))
    assert "500 ms longer: 100 ms in the queue; 400 ms in no known stage" in report


def test_where_the_time_per_token_spiked_the_rise_is_that_of_a_token() -> None:
    where = Whereabouts(3.1, {"decode_ms": 499.0}, ())
    paced = replace(PAGING, indicator=Indicator.TPOT, explanation=replace(PAGING.explanation, whereabouts=where))
    assert "- A mean token took 3.1 ms longer: 499 ms in slower decode\n" in incident_report(paced)


def test_an_incident_that_was_stored_before_there_were_chains_has_no_empty_headings() -> None:
    bare = replace(BAD_LINK, chain=(), explained_ratio=None)
    report = incident_report(replace(PAGING, explanation=replace(PAGING.explanation, causes=(bare,), whereabouts=None)))
    assert not [words for words in ("How it spread", "Where it lies", "Explains") if words in report]


NOTED = {
    "notified_at": "2026-11-23T02:42:00Z",
    "acknowledged_at": "2026-11-23T02:46:30Z",
    "acknowledged_by": "ann",
    "notes": [{"at": "2026-11-23T02:47:00Z", "by": "ann", "text": "draining gpu-07-03: https://wiki/drain_it."}],
}


def test_what_was_noted_stands_beside_what_was_found() -> None:
    report = incident_report(replace(UNEXPLAINED), NOTED)
    assert "| Acknowledged | 2026-11-23T02:46:30Z by ann |" in report
    assert "| Time to acknowledge | 4 min |" in report.replace("\N{NO-BREAK SPACE}", " ")
    assert "| Time to mitigate | 14 min |" in report.replace("\N{NO-BREAK SPACE}", " ")
    assert "## Notes\n\n- 2026-11-23T02:47:00Z ann: draining gpu-07-03: <https://wiki/drain_it>.\n" in report
    assert "| Notified | 2026-11-23T02:42:00Z |" in report
    bare = incident_report(UNEXPLAINED)
    assert not [words for words in ("Notes", "Acknowledged", "Time to acknowledge") if words in bare]


@pytest.mark.parametrize(
    ("incident", "given", "told"),
    [
        (PAGING, {}, "not by Tailsight so far"),
        (PAGING, {"notifies_anybody": False}, "nobody: no receiver is configured (docs/alerts.md)"),
        (UNEXPLAINED, {}, "not by Tailsight"),
        (replace(PAGING, severity=Severity.INFO), {}, "nobody: it is for information only"),
    ],
)
def test_that_nobody_was_told_is_said_with_the_reason(incident: Incident, given: dict[str, bool], told: str) -> None:
    assert f"| Notified | {told} |\n" in incident_report(incident, **given)
    assert "Notified | n" not in incident_report(incident, NOTED, **given)


def headings(report: str) -> list[str]:
    return [line.removeprefix("## ") for line in report.splitlines() if line.startswith("## ")]


def test_what_to_do_comes_right_after_the_cause() -> None:
    lesser = replace(BAD_LINK, rank=2, chain=(), next_steps=())
    whole = replace(PAGING.explanation, causes=(BAD_LINK, lesser))
    report = incident_report(replace(PAGING, explanation=whole))
    assert headings(report)[:2] == ["Why", "Next steps"]
    assert headings(report)[-3:] == ["Less likely", "Ruled out", "Slowest traces"]
    assert report.index("## Next steps") < report.index("### 2. Bad link") < report.index("## Ruled out")


def test_of_what_is_over_the_steps_say_how_it_does_not_come_back() -> None:
    over = replace(PAGING, status=Status.RESOLVED, ended_at=PAGING.started_at + timedelta(minutes=14))
    report = incident_report(over)
    assert headings(report)[1] == "So that it does not come back"
    assert "It has been over since 2026-11-23T02:55:00Z. Is the cause still there? What fixes it:\n\n1. Drain" in report


def test_a_name_from_telemetry_brings_no_markup() -> None:
    report = incident_report(replace(PAGING, service="a|b <img> *c*", model="m|`n`"))
    assert "# TTFT p99 at 4.1 s on a\\|b \\<img\\> \\*c\\*\n" in report
    assert "| Model | m\\|\\`n\\` |" in report


def test_the_start_of_an_engine_is_told_as_a_moment() -> None:
    started = Evidence("engine_start", REPLICA, 1_795_479_584.0, 1_795_915_500.0, "s", 1.0, 15.0)
    causes = (replace(BAD_LINK, evidence=(started,)),)
    report = incident_report(replace(PAGING, explanation=replace(PAGING.explanation, causes=causes)))
    assert "- Engine start of chat-3: at 2026-11-29T01:25:00Z, 15 s before the spike" in report
