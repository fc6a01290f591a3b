"""`tailsight cost` and `cost forecast`: which hours they are about, and what is said where little is known."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import TypeAlias

import polars as pl
import pytest
from typer.testing import CliRunner

import analytics.cost.jobs
import tailsight.cli.cost
from analytics.cost.forecast import Forecast, NoForecast, forecast
from storage.cost_hours import whole_hours
from tailsight.settings import Settings

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)

Ask: TypeAlias = Callable[..., str]


def made(hours: int, usd_per_hour: float | None = None) -> Forecast | NoForecast:
    times = [NOON - timedelta(hours=ago) for ago in range(hours, 0, -1)]
    spend = [usd_per_hour or 10.0 + moment.hour + moment.day % 3 for moment in times]
    return forecast(pl.DataFrame({"time": times, "cost_usd": spend}), 24 * 8)


@pytest.fixture
def ask(monkeypatch: pytest.MonkeyPatch) -> Ask:
    @contextmanager
    def configured_store(_config: object) -> Iterator[tuple[None, Settings]]:
        yield None, Settings()

    def ask_it(found: Forecast | NoForecast, *arguments: str) -> str:
        monkeypatch.setattr(tailsight.cli.cost, "configured_store", configured_store)
        monkeypatch.setattr(analytics.cost.jobs, "spend_forecast", lambda *_: found)
        told = CliRunner().invoke(tailsight.cli.cost.app, ["forecast", *arguments])
        assert told.exit_code == 0, told.output
        return " ".join(told.output.split())  # wherever its lines break

    return ask_it


def test_the_last_day_is_24_whole_hours_that_are_over() -> None:
    window = tailsight.cli.cost._last_day(None, None)
    assert window.end - window.start == timedelta(hours=24)
    assert whole_hours(window) == window
    assert window.end <= datetime.now(UTC)
    until = tailsight.cli.cost._last_day(None, "2026-11-23T12:00:00Z")
    assert (until.start, until.end) == (NOON - timedelta(days=1), NOON)


def test_a_months_end_of_which_little_is_known_is_not_told(ask: Ask) -> None:
    told = ask(made(96))
    assert "November at its end: not known; $" in told
    assert "in 96 of 540 hours so far that are known" in told
    assert "no interval: the past is long enough to try the forecast 3 times; an interval needs 4" in told
    assert "8 times in 10" not in told
    answer = json.loads(ask(made(96), "--json"))
    assert answer["month_end"] is None
    assert answer["month_end_unknown"] == "nothing is known of 444 of the 540 hours before the forecast"
    assert answer["month_so_far"]["known_hours"] == 96
    assert answer["month_rest"]["lower_usd"] == {}


def test_a_months_end_that_is_known_is_told_with_its_interval(ask: Ask) -> None:
    told = ask(made(540))
    assert "November: $" in told
    assert "8 times in 10 $" in told
    answer = json.loads(ask(made(540), "--json"))
    assert answer["month_end"]["to"] == "2026-12-01T00:00:00Z"
    assert answer["month_end"]["lower_usd"]
    assert len(answer["days"]) == 9


def test_errors_that_cannot_be_scaled_are_told_in_dollars(ask: Ask) -> None:
    told = ask(made(540, 5.0))
    assert "all alike: none erred by a cent in the backtest" in told
    assert "an hour" in told
    assert "–" not in told
