"""Forecast and runaway of spend, on ServeGen's fortnights: the request rates of three models, taken for dollars.

    make bench-cost_forecast [BENCH_ARGS="--every 12 --data ../shared/data"]

The data (alibaba/ServeGen, Apache-2.0) are not in the repository. Windows of 10 minutes that are 0, or below a
twentieth of the median (the edges of such holes), are not known: they are holes of the recording.

1. Forecast: from day 7 on, every 12 hours, the next 24 hours and the next 72, from what was known before. Error over
   the mean change from day to day (MASE) of each candidate, of the chosen one, and of both naive ones; coverage of the
   intervals of hours, and of their sum.
2. Runaway: from day 3 on, alarms on the traffic as it was, each of them false; and spend doubled, or tripled, from
   every second hour on: caught within the hour, and after how long. "all" is the three at equal cost, as a bill has
   them; "halves" are two halves of each model's clients, for which nothing was tuned.

The last line is one JSON object.
"""

import argparse
import json
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from analytics.cost.forecast import Forecast, forecast, until
from analytics.cost.forecast_models import CANDIDATES, DAY, WEEK, Model
from analytics.cost.runaway import Runaway, runaways
from benchmarks.server import machine

DATA = Path(__file__).parents[2] / "shared" / "data"
MODELS = ("m-small", "m-mid", "m-large")
START = datetime(2026, 3, 2, tzinfo=UTC)
LEVELS = (0.5, 0.8, 0.95)
HORIZONS = (24, 72)
WINDOWS_A_DAY, WINDOWS_AN_HOUR = 144, 6
FORECAST_FROM_HOURS, RUNAWAY_FROM_DAYS = 7 * DAY, 3
HOLE_RATIO = 0.05
FACTORS = (2.0, 3.0)

Floats = NDArray[np.float64]


def rates(data: Path) -> dict[str, Floats]:
    """Rates by 10 minutes over a fortnight, NaN in holes: of each model, of all, of halves of each one's clients."""
    table = pl.read_parquet(data / "workloads" / "servegen" / "client_windows.parquet")
    found: dict[str, Floats] = {}
    halves: dict[str, Floats] = {}
    for model in MODELS:
        of_model = table.filter(pl.col("model") == model)
        found[model] = _summed(of_model)
        by_client = of_model.group_by("client_id").agg(pl.col("rate_rps").sum())
        clients = by_client.sort("rate_rps", "client_id", descending=True)["client_id"].to_list()
        for half in range(2):
            halves[f"{model}, half {half + 1}"] = _summed(of_model.filter(pl.col("client_id").is_in(clients[half::2])))
    equal = np.stack([found[model] / np.nanmean(found[model]) for model in MODELS])
    return {**found, "all": 1000 * equal.sum(axis=0), **halves}


def _summed(windows: pl.DataFrame) -> Floats:
    by_time = windows.group_by("window_start_s").agg(pl.col("rate_rps").cast(pl.Float64).sum()).sort("window_start_s")
    rate: Floats = by_time["rate_rps"].to_numpy().copy()
    rate[rate < HOLE_RATIO * np.median(rate)] = np.nan
    return rate


def _frame(values: Floats, step: timedelta, name: str) -> pl.DataFrame:
    times = pl.datetime_range(START, START + step * (len(values) - 1), step, eager=True)
    return pl.DataFrame({"time": times, name: values}).with_columns(pl.col(name).fill_nan(None))


def hourly(rate: Floats) -> Floats:
    """The mean of each hour's known windows, NaN where none is."""
    by_hour = rate.reshape(-1, WINDOWS_AN_HOUR)
    known = np.isfinite(by_hour)
    spend: Floats = np.where(known.any(axis=1), np.nansum(by_hour, axis=1) / np.maximum(known.sum(axis=1), 1), np.nan)
    return spend


@dataclass(frozen=True, slots=True)
class Forecasts:
    """How a series was forecast: MASE by what forecast it, and by level whether each hour and each sum was within."""

    series: str
    mase: dict[str, float]
    won: dict[Model, int]
    hours_within: dict[float, list[bool]]
    sums_within: dict[float, list[bool]]


def forecasts(name: str, rate: Floats, horizon: int, every: int) -> Forecasts:
    """Forecast a series from every so many hours, and hold it against what came."""
    spend = hourly(rate)
    frame = _frame(spend, timedelta(hours=1), "cost_usd")
    change = float(np.nanmean(np.abs(spend[DAY:] - spend[:-DAY])))
    errors: dict[str, list[float]] = {}
    won = dict.fromkeys(Model, 0)
    hours: dict[float, list[bool]] = {level: [] for level in LEVELS}
    sums: dict[float, list[bool]] = {level: [] for level in LEVELS}
    for origin in range(FORECAST_FROM_HOURS, len(spend) - horizon + 1, every):
        made = forecast(frame[:origin], horizon, LEVELS)
        if not isinstance(made, Forecast):
            raise TypeError(made.reason)
        actual = spend[origin : origin + horizon]
        for who, predicted in _predictions(spend[:origin], horizon, made).items():
            errors.setdefault(who, []).append(float(np.nanmean(np.abs(predicted - actual))) / change)
        won[made.model] += 1
        _within(made, actual, hours, sums)
    return Forecasts(name, {who: float(np.mean(all_of)) for who, all_of in errors.items()}, won, hours, sums)


def _predictions(spend: Floats, horizon: int, made: Forecast) -> dict[str, Floats]:
    """What each would have said: the candidates on what was known, holes filled in a straight line."""
    places, known = np.arange(len(spend)), np.isfinite(spend)
    levels = np.log(np.interp(places, places[known], spend[known]))
    return {
        "chosen": made.hours["median_usd"].to_numpy(),
        "naive, day": np.exp(np.resize(levels[-DAY:], horizon)),
        "naive, week": np.exp(np.resize(levels[-WEEK:], horizon)),
        **{model.value: np.exp(candidate(levels, horizon, 0)) for model, candidate in CANDIDATES.items()},
    }


def _within(made: Forecast, actual: Floats, hours: dict[float, list[bool]], sums: dict[float, list[bool]]) -> None:
    known = np.isfinite(actual)
    total = until(made, made.hours["time"][-1] + timedelta(hours=1))
    for level in LEVELS:
        lower, upper = (made.hours[f"{side}_{level * 100:g}_usd"].to_numpy() for side in ("lower", "upper"))
        hours[level] += ((lower <= actual) & (actual <= upper))[known].tolist()
        if known.all():
            sums[level].append(bool(total.lower_usd[level] <= actual.sum() <= total.upper_usd[level]))


@dataclass(frozen=True, slots=True)
class Caught:
    """Alarms for nothing in so many days, and delays of real ones in minutes, infinite where not within the hour."""

    series: str
    days: int
    false: list[Runaway]
    delays: dict[float, list[float]]


def caught(name: str, rate: Floats, every: int) -> Caught:
    """Alarms on the traffic as it was, and on it multiplied from every so many hours on.

    No start while an alarm is on, nor where the hour has a hole.
    """
    step = timedelta(minutes=60 // WINDOWS_AN_HOUR)
    frame = _frame(rate, step, "usd_per_hour")
    false = runaways(frame, START + step * len(rate), since=START + timedelta(days=RUNAWAY_FROM_DAYS))
    delays: dict[float, list[float]] = {factor: [] for factor in FACTORS}
    first = RUNAWAY_FROM_DAYS * WINDOWS_A_DAY
    for begin in range(first, len(rate) - WINDOWS_AN_HOUR, every * WINDOWS_AN_HOUR):
        start = START + step * begin
        is_on = any(one.noticed_at <= start and (one.ended_at is None or one.ended_at > start) for one in false)
        if is_on or not np.isfinite(rate[begin : begin + WINDOWS_AN_HOUR]).all():
            continue
        for factor in FACTORS:
            doubled = rate[: begin + WINDOWS_AN_HOUR].copy()
            doubled[begin:] *= factor
            found = runaways(_frame(doubled, step, "usd_per_hour"), start + timedelta(hours=1), since=start)
            delays[factor].append((found[0].noticed_at - start) / timedelta(minutes=1) if found else math.inf)
    return Caught(name, len(rate) // WINDOWS_A_DAY - RUNAWAY_FROM_DAYS, false, delays)


def _show_forecasts(console: Console, found: Sequence[Forecasts], horizon: int) -> dict[str, float]:
    names = list(found[0].mase)
    table = Table(
        "series", *names, "won", *(f"{level:.0%}" for level in LEVELS), title=f"MASE and coverage, {horizon} h"
    )
    for one in found:
        won = ", ".join(f"{model} {count}" for model, count in one.won.items() if count)
        table.add_row(
            one.series,
            *(f"{one.mase[name]:.3f}" for name in names),
            won,
            *(f"{np.mean(one.hours_within[level]):.1%}" for level in LEVELS),
        )
    main = [one for one in found if one.series in MODELS]
    mean = {name: float(np.mean([one.mase[name] for one in main])) for name in names}
    hours, sums = (
        {level: float(np.mean([x for one in main for x in getattr(one, which)[level]])) for level in LEVELS}
        for which in ("hours_within", "sums_within")
    )
    count = sum(len(one.sums_within[LEVELS[0]]) for one in main)
    table.add_row(
        "three models", *(f"{mean[name]:.3f}" for name in names), "", *(f"{hours[level]:.1%}" for level in LEVELS)
    )
    table.add_row(f"sums ({count})", *("" for _ in names), "", *(f"{sums[level]:.1%}" for level in LEVELS))
    console.print(table)
    figures = {f"mase_{name.replace(', ', '_')}_{horizon}h": round(value, 3) for name, value in mean.items()}
    figures |= {f"coverage_{level * 100:g}_{horizon}h": round(value, 3) for level, value in hours.items()}
    return figures | {f"coverage_of_sums_{level * 100:g}_{horizon}h": round(value, 3) for level, value in sums.items()}


def _show_caught(console: Console, found: Sequence[Caught]) -> dict[str, float]:
    heads = [f"x{factor:g} {what}" for factor in FACTORS for what in ("within 1 h", "median min")]
    table = Table("series", "days", "false alarms", "a month", *heads, "starts", title="Runaway")
    figures: dict[str, float] = {}
    groups = {one.series: [one] for one in found if one.series in (*MODELS, "all")}
    groups["three models"] = [one for one in found if one.series in MODELS]
    groups["halves"] = [one for one in found if one.series not in (*MODELS, "all")]
    for name, members in groups.items():
        days, false = sum(one.days for one in members), sum(len(one.false) for one in members)
        cells = []
        for factor in FACTORS:
            delays = [delay for one in members for delay in one.delays[factor]]
            within = float(np.mean(np.isfinite(delays)))
            cells += [f"{within:.1%}", f"{np.median(delays):.0f}"]
            figures[f"runaway_x{factor:g}_within_1h_{name.replace(' ', '_')}"] = round(within, 3)
        figures[f"runaway_false_a_month_{name.replace(' ', '_')}"] = round(false / days * 30, 2)
        starts = sum(len(one.delays[FACTORS[0]]) for one in members)
        table.add_row(name, str(days), str(false), f"{false / days * 30:.1f}", *cells, str(starts))
    console.print(table)
    for one in found:
        for alarm in one.false:
            if one.series in (*MODELS, "all"):
                console.print(
                    f"{one.series}: false alarm on day {(alarm.began_at - START) / timedelta(days=1):.2f}, "
                    f"spend {alarm.impact_ratio or math.inf:+.0%} over what was expected while it lasted"
                )
    return figures


def main() -> None:
    """Measure and print; the last line is one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--every", type=int, default=12, help="hours between forecasts")
    parser.add_argument("--starts", type=int, default=2, help="hours between starts of a runaway")
    given = parser.parse_args()
    if not (given.data / "workloads" / "servegen").is_dir():
        sys.exit(f"no ServeGen data in {given.data}: say where they are with --data")
    console = Console(width=160)
    console.print(machine())
    series = rates(given.data)
    figures: dict[str, float] = {}
    for horizon in HORIZONS:
        names = [*MODELS, "all"] if horizon == HORIZONS[0] else MODELS
        found = [forecasts(name, series[name], horizon, given.every) for name in names]
        figures |= _show_forecasts(console, found, horizon)
    figures |= _show_caught(console, [caught(name, rate, given.starts) for name, rate in series.items()])
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
