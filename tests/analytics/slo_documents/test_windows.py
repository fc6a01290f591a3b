from datetime import UTC, datetime

import pytest
import yaml

from analytics.slo_documents.openslo import read_documents
from analytics.slo_documents.openslo_rules import problems_of
from analytics.slo_documents.windows import RollingWindow
from tests.analytics.slo_documents.samples import SLO, only, refused, slo


@pytest.mark.parametrize(("written", "days"), [("2w", 14), ("1M", 30), ("1Q", 90), ("1Y", 365), ("36h", 1.5)])
def test_a_duration_has_the_length_that_the_go_sdk_gives_it(written: str, days: float) -> None:
    window = only(yaml.safe_dump(slo("spec", "timeWindow", value=[{"duration": written, "isRolling": True}])))
    assert isinstance(window.time_windows[0], RollingWindow)
    assert window.time_windows[0].duration.length_s == days * 86_400
    assert str(window.time_windows[0].duration) == written


@pytest.mark.parametrize(
    "start", ["2026-01-01", "2026-01-01 12:00:00+01:00", "2026-01-01T12:00:00", "2026-13-01 12:00:00"]
)
def test_a_calendar_starts_at_a_time_without_a_zone(start: str) -> None:
    problems = refused(read_documents, SLO.replace("2026-01-01 12:00:00", start))
    assert [one.path for one in problems] == ["spec.timeWindow[0].calendar.startTime"]


@pytest.mark.parametrize("zone", ["Europe", "Berlin", "../zone"])
def test_a_calendar_has_a_zone_of_the_database(zone: str) -> None:
    problems = refused(read_documents, SLO.replace("America/New_York", zone))
    assert [one.path for one in problems] == ["spec.timeWindow[0].calendar.timeZone"]


def test_a_time_that_another_reader_of_yaml_made_is_taken_unless_it_has_a_zone() -> None:
    start = datetime(2026, 1, 1, 12, tzinfo=UTC)
    place = ("spec", "timeWindow", 0, "calendar", "startTime")
    assert problems_of(slo(*place, value=start.replace(tzinfo=None))) == []
    assert [one.rule for one in problems_of(slo(*place, value=start))] == ["string_date_time"]
