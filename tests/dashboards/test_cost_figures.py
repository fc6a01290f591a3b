from dataclasses import replace
from datetime import UTC, datetime, timedelta

import polars as pl
import pytest

from analytics.cost.allocation import rows_of
from analytics.cost.forecast import Forecast, daily_totals, forecast
from dashboards import cost_figures as figures
from domain.cost import NANOUSD
from domain.window import Window

DAWN = datetime(2026, 11, 20, tzinfo=UTC)
DAY = Window(DAWN, DAWN + timedelta(days=1))


def hour(number: int) -> datetime:
    return DAWN + timedelta(hours=number)


def paid(number: int, usd: float, use: str = "requests", **of: object) -> dict[str, object]:
    return {"time": hour(number), "use": use, "cost_nanousd": round(usd * NANOUSD), "gpu_seconds": 3_600.0, **of}


@pytest.fixture(scope="module")
def found() -> Forecast:
    known = forecast(history(), 30)
    assert isinstance(known, Forecast)
    return known


def history() -> pl.DataFrame:
    hours = range(-144, 0)
    return pl.DataFrame(
        {
            "time": [hour(number) for number in hours],
            "cost_usd": [100.0 + number % 24 + number % 7 for number in hours],
        },
        schema_overrides={"time": pl.Datetime("us", "UTC")},
    )


def test_spend_is_stacked_by_use_and_adds_up_to_the_bill() -> None:
    bill = rows_of(
        [
            paid(0, 3),
            paid(0, 2),
            paid(0, 4, "idle", idle_cause="unallocated"),
            paid(1, 7, "overhead"),
        ]
    )
    figure = figures.spend_over_time(bill, DAY)
    assert {trace["name"]: trace["y"] for trace in figure["data"]} == {
        "Served requests": [5.0],
        "Idle": [4.0],
        "Overhead": [7.0],
    }
    assert figure["data"][2]["x"] == ["2026-11-20 01:00:00"]
    assert figure["layout"]["barmode"] == "stack"
    assert figure["layout"]["meta"]["label"] == (
        "Spend an hour, $16.00 in all; most in the hour of 20 Nov 2026, 00:00 UTC: $9.00"
    )


def test_a_month_of_spend_is_summed_by_the_day() -> None:
    month = Window(DAWN, DAWN + timedelta(days=30))
    figure = figures.spend_over_time(rows_of([paid(1, 3), paid(23, 4), paid(24, 5)]), month)
    assert figure["data"][0]["x"] == ["2026-11-20 00:00:00", "2026-11-21 00:00:00"]
    assert figure["data"][0]["y"] == [7.0, 5.0]
    assert figure["layout"]["meta"]["label"].startswith("Spend a day, $12.00 in all")


def test_a_time_without_gpus_is_said_and_not_drawn_as_nothing() -> None:
    for draw in (figures.spend_over_time, figures.idle_over_time, figures.idle_heatmap):
        figure = draw(rows_of([]), DAY)
        assert figure["layout"]["meta"]["empty"] == "No GPU has been heard of in this time"


def test_a_busy_fleet_has_no_idle_spend_and_says_so() -> None:
    assert figures.idle_over_time(rows_of([paid(0, 3)]), DAY)["layout"]["meta"]["empty"] == (
        "No GPU was idle in this time"
    )


def test_the_dearest_are_told_apart_and_the_others_stand_together() -> None:
    bill = rows_of(
        [paid(0, 5, tenant="a"), paid(0, 3, tenant="b"), paid(1, 2), paid(1, 1, tenant="c"), paid(1, 1, tenant="d")]
    )
    figure = figures.cost_over_time(bill, "tenant", ["a", "b", None], DAY)
    assert [(trace["name"], trace["y"], trace["marker"]["color"]) for trace in figure["data"]] == [
        ("a", [5.0], "$series-1"),
        ("b", [3.0], "$series-2"),
        ("not known", [2.0], "$series-3"),
        ("others", [2.0], "$faint"),
    ]


def test_idle_spend_is_stacked_by_cause_in_one_order() -> None:
    bill = rows_of(
        [
            paid(0, 1, "idle", idle_cause="hung"),
            paid(0, 2, "idle", idle_cause="loaded_without_traffic"),
            paid(0, 9),
        ]
    )
    figure = figures.idle_over_time(bill, DAY)
    assert [trace["name"] for trace in figure["data"]] == ["Loaded, no traffic", "Hung"]
    assert [trace["marker"]["color"] for trace in figure["data"]] == ["$idle-no-traffic", "$idle-hung"]


def test_the_heatmap_has_the_idle_share_of_each_replica_and_a_gap_where_nothing_is_known() -> None:
    bill = rows_of(
        [
            paid(0, 1, node="n1", replica="chat-0"),
            paid(0, 1, "idle", node="n1", replica="chat-0", idle_cause="unallocated"),
            paid(2, 1, node="n1", replica="chat-0"),
            paid(2, 1, "idle", node="n2", idle_cause="unallocated"),
        ]
    )
    figure = figures.idle_heatmap(bill, DAY)
    (heat,) = figure["data"]
    assert heat["z"][0][:3] == [50.0, None, 0.0]
    assert heat["z"][2][2] == 100.0
    assert [heat["y"][row] for row in (0, 2)] == ["n1 · chat-0", "n2 · no pod"]
    assert figure["layout"]["yaxis"]["ticktext"] == ["n1", "n2"]


def test_a_fleet_too_large_to_tell_replicas_apart_is_shown_by_node() -> None:
    bill = rows_of([paid(0, 1, node=f"n{number % 4}", replica=f"r{number}") for number in range(200)])
    assert len(figures.idle_heatmap(bill, DAY)["data"][0]["z"]) == 4 + 3


def test_the_fan_joins_what_was_spent_with_what_is_forecast(found: Forecast) -> None:
    figure = figures.forecast_fan(history(), found, days_before=2)
    spent, ahead = figure["data"][-2:]
    assert len(spent["y"]) == 48
    assert spent["x"][-1] == "2026-11-19 23:00:00"
    assert (ahead["x"][0], len(ahead["x"])) == ("2026-11-20 00:00:00", 30)
    filled = [trace for trace in figure["data"] if trace.get("fill") == "tonexty"]
    assert len(filled) == 3
    assert all(low <= high for low, high in zip(filled[0]["y"], filled[0]["customdata"], strict=True))


def test_the_fan_breaks_where_hours_are_not_known(found: Forecast) -> None:
    with_a_hole = history().filter(~pl.col("time").is_between(hour(-20), hour(-10)))
    figure = figures.forecast_fan(with_a_hole, found)
    assert None in figure["data"][-2]["y"]


def test_days_that_are_forecast_in_part_are_paler(found: Forecast) -> None:
    totals = daily_totals(found)
    whole, part = totals
    bars, whiskers = figures.forecast_days(totals)["data"]
    assert bars["marker"]["color"] == ["$accent/.8", "$accent/.35"]
    assert bars["y"] == [round(whole.median_usd, 4), round(part.median_usd, 4)]
    assert whiskers["error_y"]["array"][0] == pytest.approx(whole.upper_usd[0.8] - whole.median_usd, abs=1e-3)


def test_an_axis_of_a_few_days_says_the_hour_of_marks_within_a_day(found: Forecast) -> None:
    (within,) = figures.backtest(found)["layout"]["xaxis"]["tickformatstops"]
    assert within == {"dtickrange": [None, 86_399_999], "value": "%d %b %H:%M"}
    assert "tickformatstops" not in figures.spend_over_time(rows_of([paid(0, 3)]), DAY)["layout"]["xaxis"]


def test_without_an_interval_none_is_drawn(found: Forecast) -> None:
    bare = replace(found, no_interval="too few tries")
    fan, tried = figures.forecast_fan(history(), bare), figures.backtest(bare)
    for figure in (fan, tried):
        assert not [trace for trace in figure["data"] if trace.get("fill")]
        assert figure["layout"]["meta"]["label"].endswith("without an interval")
    (bars,) = figures.forecast_days(daily_totals(bare))["data"]
    assert bars["customdata"][0] == "no interval"


def test_folds_shown_do_not_overlap_and_the_newest_is_among_them(found: Forecast) -> None:
    shown = figures.apart(found.folds)
    assert not shown["time"].is_duplicated().any()
    assert shown["origin"].max() == found.folds["origin"].max()


def test_the_backtest_shows_what_was_spent_beside_what_was_forecast(found: Forecast) -> None:
    figure = figures.backtest(found)
    actual = figure["data"][-1]
    drawn = [usd for usd in actual["y"] if usd is not None]  # the line breaks between folds
    assert drawn == [round(usd, 4) for usd in figures.apart(found.folds)["actual_usd"]]
    assert "Backtest of" in figure["layout"]["meta"]["label"]


def test_no_colour_token_is_mistaken_for_money_nor_money_for_a_token(found: Forecast) -> None:
    figure = figures.forecast_fan(history(), found)
    assert figure["layout"]["yaxis"]["tickprefix"] == "$"  # assets/app.js leaves what no letter follows
    assert figure["data"][-1]["line"]["color"] == "$accent"
