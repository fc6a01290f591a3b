from datetime import timedelta

import polars as pl
import pytest

from analytics.burn_rates import WINDOWS, BurnAlert
from dashboards import slo_figures
from dashboards.drawing import time_text
from dashboards.slo_figures import Trial
from domain.incident import Indicator, Severity
from domain.window import Window
from tests.dashboards.frames import NOON, TIME, minutes_ago, objective

DAY = Window(NOON - timedelta(days=1), NOON)
MAINTENANCE = Window(NOON - timedelta(hours=30), NOON - timedelta(hours=20))


def alert(severity: Severity, minutes: float, *, lasted: float | None = 30) -> BurnAlert:
    pair = next(one for one in WINDOWS if one.severity is severity)
    began = minutes_ago(minutes)
    ended = None if lasted is None else began + timedelta(minutes=lasted)
    assert severity is not Severity.INFO
    return BurnAlert(objective(), severity, pair, 16.2, began, ended)


def counts(rows: list[tuple[float, int, int]]) -> pl.DataFrame:
    """(minutes before noon, total, good)."""
    found = [{"time": minutes_ago(ago), "total": total, "good": good} for ago, total, good in rows]
    return pl.DataFrame(found, schema={"time": TIME, "total": pl.UInt64, "good": pl.UInt64})


def test_events_are_summed_by_step_and_steps_without_any_are_left_out() -> None:
    steps = slo_figures.by_step(
        counts([(61, 5, 5), (59, 10, 8), (31, 10, 9), (5, 0, 0)]), Window(minutes_ago(60), NOON), 1800
    )
    assert steps.select("time", "total", "good", "bad").rows() == [(minutes_ago(60), 20, 17, 3)]


def test_about_a_hundred_steps_fit_into_any_range() -> None:
    for days in (0.25, 1, 7, 30):
        window = Window(NOON - timedelta(days=days), NOON)
        assert 48 <= window.seconds / slo_figures.step_of(window) <= 96


def test_the_burn_down_shades_what_is_excluded_and_marks_what_fired_on_its_line() -> None:
    page, ticket = alert(Severity.PAGE, 6 * 60), alert(Severity.TICKET, 60, lasted=None)
    before = alert(Severity.PAGE, 30 * 60)
    figure = slo_figures.burn_down((1.0, 0.8, 0.4, 0.3), DAY, [before, page, ticket], [MAINTENANCE])
    tickets, pages = figure["data"][2:]
    assert (pages["x"], pages["y"]) == ([time_text(page.started_at)], [40.0])
    assert (tickets["x"], tickets["y"]) == ([time_text(ticket.started_at)], [30.0])
    told = pages["customdata"][0][0].replace("\N{NO-BREAK SPACE}", " ")
    assert told == "23 Nov 06:00, 16× too fast over 1 h, lasted 30 min"
    assert "goes on" in tickets["customdata"][0][0]
    (shade,) = figure["layout"]["shapes"]
    assert (shade["x0"], shade["x1"]) == (time_text(DAY.start), time_text(MAINTENANCE.end))
    assert figure["layout"]["meta"]["label"] == ("Error budget left over its window: 30 %; 1 page, 1 ticket fired")


def test_a_burn_down_of_nothing_says_so() -> None:
    for history in ((), (None, None)):
        assert slo_figures.burn_down(history, DAY)["layout"]["meta"]["empty"] == "Nothing to judge in this window yet"


def _courses(rate: float | None) -> pl.DataFrame:
    spans = {str(span): [rate, rate] for span in slo_figures.BURN_SPANS_S.values()}
    schema = {"time": TIME, **dict.fromkeys(spans, pl.Float64())}
    return pl.DataFrame({"time": [minutes_ago(20), minutes_ago(10)], **spans}, schema=schema)


def test_each_burn_rate_has_the_line_from_which_it_tells_somebody() -> None:
    figure = slo_figures.burn_rates(_courses(0.01), objective(), DAY)
    heights = [shape["y0"] for shape in figure["layout"]["shapes"]]
    assert heights == pytest.approx([14.4, 6.0, 1.0])
    words = [note["text"] for note in figure["layout"]["annotations"] if note["name"] == "end"]
    assert words[0].startswith("Page 14.4×")
    assert words[2].startswith("Ticket 1×")
    for trace in figure["data"]:
        assert set(trace["y"]) == {0.1}  # the axis is logarithmic
        assert set(trace["customdata"]) == {0.01}


def test_a_rate_that_no_failures_could_reach_has_no_line() -> None:
    figure = slo_figures.burn_rates(_courses(1.0), objective(target_ratio=0.9), DAY)
    assert [shape["y0"] for shape in figure["layout"]["shapes"]] == pytest.approx([6.0, 1.0])


def test_burn_rates_of_no_requests_are_not_drawn_as_zero() -> None:
    assert slo_figures.burn_rates(_courses(None), objective(), DAY)["layout"]["meta"]["empty"]


def test_bad_and_good_events_have_scales_of_their_own() -> None:
    steps = slo_figures.by_step(counts([(90, 12_000, 11_990), (30, 9_000, 8_999)]), DAY, 900)
    figure = slo_figures.events(steps, DAY, 900, "requests")
    bad, good = figure["data"]
    assert (bad["y"], good["y"]) == ([10, 1], [11_990, 8_999])
    assert figure["layout"]["yaxis2"]["range"][1] < 11 < figure["layout"]["yaxis"]["range"][1]
    assert figure["layout"]["meta"]["label"] == "11 of 21,000 requests in this time were bad"


def test_a_backtest_draws_the_trials_alerts_over_the_ratio_and_both_settings_as_stretches() -> None:
    steps = slo_figures.by_step(counts([(90, 100, 90), (30, 100, 99)]), DAY, 900)
    trial = Trial(objective(target_ratio=0.95), [alert(Severity.PAGE, 80), alert(Severity.TICKET, 60)])
    today = Trial(objective(), [alert(Severity.PAGE, 85, lasted=None)])
    figure = slo_figures.backtest(steps, trial, today, DAY)
    assert max(y for y in figure["data"][0]["y"] if y is not None) == pytest.approx(10.0)
    marks = {trace["marker"]["symbol"]: trace["x"] for trace in figure["data"][1:]}
    assert marks == {"diamond": [time_text(minutes_ago(60))], "triangle-down": [time_text(minutes_ago(80))]}
    stretches = [one for one in figure["layout"]["shapes"] if one["type"] == "rect" and one["fillcolor"] != "$grid"]
    assert [(one["fillcolor"], one["y0"]) for one in stretches] == [
        ("$warning", 0.16), ("$critical", 0.16), ("$critical", 0.0),
    ]  # fmt: skip
    assert stretches[-1]["x1"] == time_text(NOON)
    budget = next(one for one in figure["layout"]["shapes"] if one.get("xref") == "paper")
    assert budget["y0"] == pytest.approx(5.0)


def test_every_indicator_of_an_objective_has_a_figure_without_events() -> None:
    for indicator in Indicator:
        found = slo_figures.backtest(
            slo_figures.by_step(counts([]), DAY, 900), Trial(objective(indicator=indicator), []),
            Trial(objective(indicator=indicator), []), DAY,
        )  # fmt: skip
        assert found["layout"]["meta"]["empty"] == "Nothing to judge in this time"
