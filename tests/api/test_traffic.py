"""Latency, throughput and errors answer from the rollup what the requests were."""

from datetime import timedelta
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.latency import read_quantiles
from api.traffic import default_step_s, lasted_s, read_dimensions
from domain.window import Window, rfc3339
from tests.api.clock import NOW

HOUR_AGO = rfc3339(NOW - timedelta(hours=1))


@pytest.fixture(scope="module")
def service(insert_requests: Any) -> str:
    """A service with a request a second for 50 minutes, then none for ten: half v1, half unknown; each tenth fails."""
    seconds = list(range(3600, 600, -1))
    insert_requests(
        "traffic-chat",
        seconds,
        version=["v1" if second % 2 else "" for second in seconds],
        is_error=[second % 10 == 0 for second in seconds],
        latency_ms=[100.0 + second for second in seconds],
        ttft_ms=[None if second % 4 else 10.0 + second for second in seconds],
        input_tokens=[200] * len(seconds),
    )
    return "traffic-chat"


def percentiles(point: dict[str, Any], name: str) -> dict[float, float]:
    return {one["quantile"]: one["value_ms"] for one in point[name]}


def test_without_a_step_latency_is_one_value_for_the_whole_window(ask: Any, service: str) -> None:
    answer = ask.get("/api/v1/latency", service=service, from_=HOUR_AGO).json()

    assert (answer["step_s"], answer["from"], answer["to"]) == (None, HOUR_AGO, rfc3339(NOW))
    (series,) = answer["series"]
    (point,) = series["points"]
    assert (series["labels"], point["time"], point["requests"], point["errors"]) == ({}, HOUR_AGO, 3000, 300)
    measured = pl.Series([100.0 + second for second in range(601, 3601) if second % 10])
    for quantile, value_ms in percentiles(point, "latency_ms").items():
        assert value_ms == pytest.approx(measured.quantile(quantile), rel=0.01)
    assert {one["n"] for one in point["latency_ms"]} == {2700}
    assert {one["error_bound_ratio"] for one in point["latency_ms"] + point["ttft_ms"]} == {0.01}


def test_latency_by_step_has_a_point_for_each_step_with_traffic(ask: Any, service: str) -> None:
    answer = ask.get("/api/v1/latency", service=service, from_=HOUR_AGO, step="10m", quantiles="0.99").json()

    (series,) = answer["series"]
    assert answer["step_s"] == 600
    assert [point["time"] for point in series["points"]] == [
        rfc3339(NOW - timedelta(minutes=minutes)) for minutes in (60, 50, 40, 30, 20)
    ]
    assert [list(percentiles(point, "latency_ms")) for point in series["points"]] == [[0.99]] * 5
    assert percentiles(series["points"][0], "latency_ms")[0.99] == pytest.approx(3693, rel=0.01)


def test_series_are_told_apart_by_name_and_the_unknown_comes_last(ask: Any, service: str) -> None:
    answer = ask.get("/api/v1/latency", service=service, from_=HOUR_AGO, by="version,model").json()

    assert answer["by"] == ["version", "model"]
    assert [series["labels"] for series in answer["series"]] == [
        {"version": "v1", "model": "llama-70b"},
        {"version": None, "model": "llama-70b"},
    ]
    assert [series["points"][0]["errors"] for series in answer["series"]] == [0, 300]


def test_a_parameter_that_is_given_twice_is_a_list(ask: Any, service: str) -> None:
    answer = ask("GET", f"/api/v1/latency?service={service}&from={HOUR_AGO}&by=version&by=model").json()

    assert answer["by"] == ["version", "model"]


def test_a_percentile_of_nothing_is_null(ask: Any, insert_requests: Any) -> None:
    insert_requests("traffic-all-failed", [60.0, 61.0], is_error=True)

    (series,) = ask.get("/api/v1/latency", service="traffic-all-failed").json()["series"]

    assert percentiles(series["points"][0], "latency_ms") == {0.5: None, 0.95: None, 0.99: None}
    assert percentiles(series["points"][0], "ttft_ms") == {0.5: None, 0.95: None, 0.99: None}
    assert series["points"][0]["latency_ms"][0]["n"] == 0


def test_a_service_without_traffic_has_no_latency(ask: Any) -> None:
    assert ask.get("/api/v1/latency", service="traffic-none").json()["series"] == []


def test_throughput_has_every_step_and_nulls_where_there_was_no_traffic(ask: Any, service: str) -> None:
    answer = ask.get("/api/v1/throughput", service=service, from_=HOUR_AGO, step="10m").json()

    (series,) = answer["series"]
    busy = {"requests_per_s": 1.0, "input_tokens_per_s": 200.0, "output_tokens_per_s": None}
    assert [{**point, "time": None} for point in series["points"]] == [
        *[{"time": None, **busy}] * 5,
        {"time": None, "requests_per_s": None, "input_tokens_per_s": None, "output_tokens_per_s": None},
    ]


def test_the_step_under_way_is_divided_by_the_seconds_it_has_lasted(make_asker: Any, insert_requests: Any) -> None:
    insert_requests("traffic-under-way", [float(second) for second in range(30, 0, -1)])
    later = NOW + timedelta(seconds=30)

    answer = make_asker(now=lambda: NOW).get(
        "/api/v1/throughput",
        service="traffic-under-way",
        from_=rfc3339(NOW - timedelta(seconds=30)),
        to=rfc3339(later),
        step="1m",
    )

    rates = [point["requests_per_s"] for point in answer.json()["series"][0]["points"]]
    assert rates == [pytest.approx(0.5), None]  # the step of the 30 s before NOW is whole, the next has begun just now


def test_a_step_lasts_from_its_start_until_now() -> None:
    assert lasted_s(NOW - timedelta(seconds=20), 60, NOW) == 20
    assert lasted_s(NOW - timedelta(hours=1), 60, NOW) == 60
    assert lasted_s(NOW - timedelta(seconds=1), 60, NOW) == 15  # no finer than the rollup


def test_errors_have_their_share_and_nulls_where_there_was_no_traffic(ask: Any, service: str) -> None:
    answer = ask.get("/api/v1/errors", service=service, from_=HOUR_AGO, step="30m").json()

    (series,) = answer["series"]
    assert series["points"] == [
        {"time": HOUR_AGO, "requests": 1800, "errors": 180, "error_ratio": 0.1},
        {"time": "2026-11-23T02:30:00Z", "requests": 1200, "errors": 120, "error_ratio": 0.1},
    ]
    (last,) = ask.get("/api/v1/errors", service=service, from_="2026-11-23T02:55:00Z", step="5m").json()["series"]
    assert last["points"] == [{"time": "2026-11-23T02:55:00Z", "requests": None, "errors": None, "error_ratio": None}]


@pytest.mark.parametrize("path", ["/api/v1/throughput", "/api/v1/errors"])
def test_a_service_without_traffic_has_one_series_of_nulls(ask: Any, path: str) -> None:
    answer = ask.get(path, service="traffic-none", from_=HOUR_AGO, step="30m").json()

    assert [len(series["points"]) for series in answer["series"]] == [2]
    assert ask.get(path, service="traffic-none", by="model").json()["series"] == []


@pytest.mark.parametrize("step", ["15s", "7d"])
def test_long_and_short_steps_lie_on_the_grid_of_the_answer(ask: Any, service: str, step: str) -> None:
    answer = ask.get("/api/v1/errors", service=service, from_="2026-11-20T00:00:00Z", step=step).json()

    counts = [point["requests"] for point in answer["series"][0]["points"]]
    assert sum(count for count in counts if count is not None) == 3000


def test_without_a_step_a_window_is_cut_into_about_as_many_points_as_a_chart_shows(ask: Any, service: str) -> None:
    assert ask.get("/api/v1/errors", service=service, from_=HOUR_AGO).json()["step_s"] == 15
    assert ask.get("/api/v1/errors", service=service).json()["step_s"] == 600


@given(st.integers(1, 86_400 * 240))
def test_the_default_step_gives_few_points(seconds: int) -> None:
    assert seconds / default_step_s(Window(NOW - timedelta(seconds=seconds), NOW)) <= 240


@pytest.mark.parametrize("path", ["/api/v1/latency", "/api/v1/throughput", "/api/v1/errors"])
def test_an_answer_of_too_many_points_is_refused_with_what_makes_it_smaller(
    make_asker: Any, service: str, path: str
) -> None:
    response = make_asker(points_max=10).get(path, service=service, from_=HOUR_AGO, step="15s", by="version")

    assert response.status_code == 422
    (error,) = response.json()["errors"]
    assert error["field"] == "step"
    assert "at most 10 are valid: use a longer step" in error["detail"]


@pytest.mark.parametrize(
    ("text", "said"),
    [("0.9", "keeps no quantile 0.9"), ("p99", "p99 is no list of numbers"), ("", "valid are 0.5, 0.95, 0.99")],
)
def test_quantiles_that_the_store_does_not_answer_are_refused(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        read_quantiles(text)


def test_quantiles_are_numbers_and_not_words() -> None:
    assert read_quantiles("0.990, .5,0.5") == (0.99, 0.5)


def test_no_dimension_is_a_valid_list() -> None:
    assert read_dimensions("") == ()
