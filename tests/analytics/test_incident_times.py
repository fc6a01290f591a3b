from dataclasses import replace
from datetime import timedelta

import pytest

from analytics.incident_times import IncidentSeconds, incident_times, seconds_of, times
from domain.incident import Incident
from domain.window import rfc3339
from tests.domain.examples import PAGING


def incident(number: int, *, detected_s: float, lasted_s: float | None) -> Incident:
    ended_at = None if lasted_s is None else PAGING.started_at + timedelta(seconds=lasted_s)
    detected_at = PAGING.started_at + timedelta(seconds=detected_s)
    return replace(PAGING, id=f"inc-{number}", detected_at=detected_at, ended_at=ended_at)


def test_times_are_told_as_count_median_and_interval() -> None:
    incidents = [incident(number, detected_s=30.0 * number, lasted_s=600.0 * number) for number in range(1, 6)]
    found = incident_times(incidents, {})
    assert (found.to_detect.count, found.to_detect.median_s) == (5, 90)
    assert found.to_resolve.median_s == 1800
    assert found.to_resolve.low_s is not None
    assert found.to_resolve.high_s is not None
    assert found.to_resolve.low_s <= 1800 <= found.to_resolve.high_s


def test_what_nobody_acknowledged_and_what_goes_on_is_unknown_and_not_zero() -> None:
    found = incident_times([incident(1, detected_s=60, lasted_s=None)], {})
    assert (found.to_acknowledge.count, found.to_acknowledge.unknown_count, found.to_acknowledge.median_s) == (
        0,
        1,
        None,
    )
    assert found.to_resolve == times([None])


def test_an_acknowledgement_counts_from_when_somebody_was_told() -> None:
    one = incident(1, detected_s=60, lasted_s=900)
    notes = {
        one.id: {
            "notified_at": rfc3339(one.detected_at + timedelta(seconds=10)),
            "acknowledged_at": rfc3339(one.detected_at + timedelta(seconds=130)),
        }
    }
    found = incident_times([one], notes)
    assert (found.to_notify.median_s, found.to_acknowledge.median_s) == pytest.approx((10, 120))


def test_the_same_incidents_give_the_same_interval() -> None:
    assert times([5.0, 9.0, 40.0]) == times([5.0, 9.0, 40.0])


def test_one_incident_is_acknowledged_from_its_detection_where_nobody_noted_who_was_told() -> None:
    one = incident(1, detected_s=60, lasted_s=900)
    noted = {"acknowledged_at": rfc3339(one.detected_at + timedelta(seconds=130))}
    assert seconds_of(one, noted) == IncidentSeconds(60, None, 130, 900)
    assert seconds_of(incident(1, detected_s=60, lasted_s=None), {}) == IncidentSeconds(60, None, None, None)
