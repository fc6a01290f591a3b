from datetime import UTC, datetime, timedelta

import polars as pl
import pytest

from analytics.traffic_stops import TRAFFIC_STEPS, stopped_traffic

NOW = datetime(2026, 11, 23, 3, tzinfo=UTC)


def steps(service="chat", until_min=10, requests=50, every=1, hours=26, also=()):
    rows = []
    for number in range(hours * 12):
        time = NOW - timedelta(minutes=5 * (number + 1))
        silent = time > NOW - timedelta(minutes=until_min) or any(first <= time < last for first, last in also)
        if not silent and number % every == 0:
            newest = time + timedelta(seconds=285)
            rows.append({"service": service, "time": time, "requests": requests, "oldest": time, "newest": newest})
    return pl.DataFrame(rows, schema=TRAFFIC_STEPS).sort("time")


def names(frame, now=NOW):
    return [one.service for one in stopped_traffic(frame, now)]


def test_a_service_that_always_had_requests_and_has_none_is_told():
    (found,) = stopped_traffic(steps(until_min=10), NOW)
    assert found.service == "chat"
    assert found.last_at == NOW - timedelta(seconds=315)
    assert found.usual_per_minute == pytest.approx(10.0, rel=0.05)


@pytest.mark.parametrize(
    "known",
    [
        steps(until_min=0),  # it has requests
        steps(until_min=10, requests=1),  # two would have come: chance
        steps(until_min=10, every=2),  # it pauses by itself
        steps(hours=1),  # too little is known
    ],
)
def test_what_chance_or_habit_explains_is_not_told(known):
    assert names(known) == []


def test_a_service_that_is_silent_at_this_time_every_day_is_not_missed():
    day = timedelta(days=1)
    nightly = steps(until_min=30, also=[(NOW - day - timedelta(minutes=30), NOW - day + timedelta(hours=1))])
    assert names(nightly) == []
    assert names(steps(until_min=30)) == ["chat"]


def test_each_service_is_judged_by_itself():
    both = pl.concat([steps("assist", until_min=0), steps("chat", until_min=20)])
    assert names(both) == ["chat"]
    assert names(pl.DataFrame(schema=TRAFFIC_STEPS)) == []
