from datetime import UTC, datetime, timedelta

import polars as pl
import pytest

from analytics.traffic_stops import TRAFFIC_STEPS, PastTraffic, stopped_traffic

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


def test_at_any_moment_of_the_past_it_is_what_was_told_then():
    day = timedelta(days=1)
    nightly = [(NOW - day - timedelta(minutes=30), NOW - day + timedelta(hours=1))]
    paused = [(NOW - timedelta(hours=3), NOW - timedelta(hours=2, minutes=45))]
    known = pl.concat(
        [
            steps("chat", until_min=40, hours=60),
            steps("back", until_min=0, hours=60, also=paused),
            steps("batch", until_min=30, hours=60, also=nightly),
            steps("rare", until_min=0, hours=60, every=3),
        ]
    )
    seen = PastTraffic(known)
    told = set()
    for minutes in range(-240, 1):
        now = NOW + timedelta(minutes=minutes)
        until = known.filter(pl.col("oldest").lt(now) & pl.col("time").ge(now - timedelta(hours=26)))
        newest = pl.when(pl.col("newest") < now).then("newest").otherwise("oldest")
        as_it_was = stopped_traffic(until.with_columns(newest.alias("newest")), now)
        assert seen.stopped(now) == as_it_was, minutes
        told |= {one.service for one in as_it_was}
    assert told == {"chat", "back", "batch"}
    assert PastTraffic(pl.DataFrame(schema=TRAFFIC_STEPS)).stopped(NOW) == []
