"""Forecast and runaway of spend, on ServeGen's fortnights: the request rates of three models, taken for dollars.

    make bench-cost_forecast [BENCH_ARGS="--every 12 --data ../shared/data"]

The data (alibaba/ServeGen, Apache-2.0) are not in the repository. Windows of 10 minutes that are 0, or below a
twentieth of the median (the edges of such holes), are not known: they are holes of the recording.

1. Forecast: from day 7 on, every 12 hours, the next 24 hours and the next 72, from what was known before. Error over
   the mean change from day to day (MASE) of each candidate, of their median, of what was chosen, and of both naive
   ones; coverage of the intervals of hours, and of their sum.
2. Runaway: from day 3 on, alarms on the traffic as it was, each of them false; and spend doubled, or tripled, from
   every second hour on, in turns at the beginning of a window of 10 minutes and in its middle. "all" is the three at
   equal cost, as a bill has them, and "shifted" are twelve such bills of the same three a few whole days apart.
   Intervals of the share caught come from drawing days again, those of false alarms from the Poisson law. Then the same
   by the ratio (that of each window with it): what is gained by more false alarms, and, so that no figure is of the
   days that it was chosen on, the least ratio of at most one a month on one half of the days, stated on the other.
3. The product: each of these bills with its services, as alerts are sent: one for all that is noticed at one look, a
   service only where it is a tenth of the bill or more and a request costs so many times as much. Services are the
   three models, or "halves" of each one's clients; their dollars follow requests at once, or as GPUs do that an
   autoscaler adds ten minutes later, whole ones, and holds for half an hour. Doubled is the price, of all or of one
   service: its requests stay what they were. Once more, the least ratio on one half of the days, stated on the other.

The last line is one JSON object.
"""

import argparse
import json
import math
import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from scipy.stats import chi2

from analytics.cost.forecast import Forecast, forecast, until
from analytics.cost.forecast_models import CANDIDATES, DAY, WEEK, Model
from analytics.cost.runaway import DEARER_MIN, Runaway, RunawaySettings, dearer_ratio, runaways
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
RATIOS = (1.3, 1.4, 1.5, 1.55, 1.6, 1.7, 1.8, 1.9, 2.0)
DEARER = (0.0, 1.1, 1.2, DEARER_MIN, 1.5, 1.8)
LARGE_RATIO = 0.1
GPUS, HELD_WINDOWS = 20, 3  # of a service, in the mean; how long an autoscaler holds those that it added
PRODUCT_HOURS = 7  # between starts: no divisor of the day
SHIFTS = tuple((first, (5 * first + 3) % 14) for first in range(1, 13))
STEP = timedelta(minutes=60 // WINDOWS_AN_HOUR)
WITHIN_HOURS = 2
FALLS, RISES = 0.9, 1.1  # of the hour before: what a start meets by itself
MONTH_DAYS = 30

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
    days = equal.reshape(len(MODELS), -1, WINDOWS_A_DAY)
    shifted = {
        f"shifted, {first} and {second} days": sum(
            np.roll(of_model, shift, axis=0).ravel() for of_model, shift in zip(days, (0, first, second), strict=True)
        )
        for first, second in SHIFTS
    }
    return {**found, "all": 1000 * equal.sum(axis=0), **halves, **{name: 1000 * one for name, one in shifted.items()}}


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
    by_model = {model.value: candidate(levels, horizon, 0) for model, candidate in CANDIDATES.items()}
    return {
        "chosen": made.hours["median_usd"].to_numpy(),
        "naive, day": np.exp(np.resize(levels[-DAY:], horizon)),
        "naive, week": np.exp(np.resize(levels[-WEEK:], horizon)),
        **{model: np.exp(one) for model, one in by_model.items() if model != Model.SEASONAL_NAIVE},
        Model.MEDIAN.value: np.exp(np.median(list(by_model.values()), axis=0)),
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
class Start:
    """When spend was multiplied, what it would have done by itself, and when it was noticed.

    `day` is the day of it; `natural_ratio` the mean of the hour from then on over that of the hour before, None in a
    hole; `minutes` until it was noticed, infinite where it was not within two hours.
    """

    day: int
    natural_ratio: float | None
    minutes: float


@dataclass(frozen=True, slots=True)
class Caught:
    """Alarms for nothing in so many days, and real ones by factor."""

    series: str
    days: int
    false: list[Runaway]
    starts: dict[float, list[Start]]


def caught(
    name: str, rate: Floats, every: int, settings: RunawaySettings | None = None, factors: Sequence[float] = FACTORS
) -> Caught:
    """Alarms on the traffic as it was, and on it multiplied from every so many hours on.

    No start while an alarm is on, nor where the hour has a hole.
    """
    false = _alarms(rate, START + timedelta(days=RUNAWAY_FROM_DAYS), settings)
    starts: dict[float, list[Start]] = {factor: [] for factor in factors}
    for begin, middle in _begins(rate, every, false):
        for factor in factors:
            multiplied = _multiplied(rate, begin, factor, middle=middle)
            found = _alarms(multiplied, START + STEP * begin, settings)
            starts[factor].append(_start(rate, begin, found[0].noticed_at if found else None, middle=middle))
    return Caught(name, len(rate) // WINDOWS_A_DAY - RUNAWAY_FROM_DAYS, false, starts)


def _alarms(rate: Floats, since: datetime, settings: RunawaySettings | None = None) -> list[Runaway]:
    return runaways(_frame(rate, STEP, "usd_per_hour"), START + STEP * len(rate), settings, since)


def _begins(rate: Floats, every: int, false: Sequence[Runaway]) -> Iterator[tuple[int, bool]]:
    """The first windows of which spend is multiplied, and whether it is from their middle on."""
    first, reach = RUNAWAY_FROM_DAYS * WINDOWS_A_DAY, WITHIN_HOURS * WINDOWS_AN_HOUR
    for number, begin in enumerate(range(first, len(rate) - reach, every * WINDOWS_AN_HOUR)):
        start = START + STEP * begin
        is_on = any(one.noticed_at <= start and (one.ended_at is None or one.ended_at > start) for one in false)
        if not is_on and np.isfinite(rate[begin : begin + WINDOWS_AN_HOUR]).all():
            yield begin, number % 2 == 1


def _multiplied(rate: Floats, begin: int, factor: float, *, middle: bool) -> Floats:
    """Until so much later that it should have been noticed."""
    found = rate[: begin + WITHIN_HOURS * WINDOWS_AN_HOUR].copy()
    found[begin:] *= factor
    if middle:
        found[begin] *= (1 + factor) / 2 / factor
    return found


def _start(rate: Floats, begin: int, noticed_at: datetime | None, *, middle: bool) -> Start:
    before, after = rate[begin - WINDOWS_AN_HOUR : begin], rate[begin : begin + WINDOWS_AN_HOUR]
    natural = float(after.mean() / before.mean())
    began = START + STEP * begin + middle * STEP / 2
    minutes = math.inf if noticed_at is None else (noticed_at - began) / timedelta(minutes=1)
    return Start(begin // WINDOWS_A_DAY, natural if math.isfinite(natural) else None, minutes)


@dataclass(frozen=True, slots=True)
class Rate:
    """Shares of starts caught within one and two hours, 0-1, and false alarms a month, with intervals of 95 %."""

    within_1h: float
    within_1h_interval: tuple[float, float]
    within_2h: float
    median_minutes: float
    false: int
    false_a_month: float
    false_a_month_interval: tuple[float, float]


def rate_of(members: Sequence[Caught], factor: float, days: Sequence[int] | None = None) -> Rate:
    """What was caught, and for nothing, of some series; of some days only where given."""
    starts = [one for caught in members for one in caught.starts[factor] if days is None or one.day in days]
    false = [
        alarm
        for caught in members
        for alarm in caught.false
        if days is None or (alarm.noticed_at - START) // timedelta(days=1) in days
    ]
    minutes = np.array([one.minutes for one in starts])
    lower, upper = _drawn_again(np.array([one.day for one in starts]), minutes <= 60)
    all_days = sum(caught.days if days is None else len(days) for caught in members)
    count, month = len(false), MONTH_DAYS / all_days
    least = chi2.ppf(0.025, 2 * count) / 2 if count else 0.0
    return Rate(
        float(np.mean(minutes <= 60)),
        (lower, upper),
        float(np.mean(minutes <= 60 * WITHIN_HOURS)),
        float(np.median(minutes)),
        count,
        count * month,
        (float(least) * month, float(chi2.ppf(0.975, 2 * count + 2) / 2) * month),
    )


def _drawn_again(days: NDArray[np.int64], hits: NDArray[np.bool_]) -> tuple[float, float]:
    """The middle 95 % of the share of hits when whole days are drawn again: the hours of a day go together."""
    names = np.unique(days)
    sums = np.array([[hits[days == name].sum(), (days == name).sum()] for name in names])
    drawn = sums[np.random.default_rng(0).integers(0, len(names), (1_000, len(names)))].sum(axis=1)
    lower, upper = np.quantile(drawn[:, 0] / drawn[:, 1], [0.025, 0.975])
    return float(lower), float(upper)


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


def _groups(names: Sequence[str]) -> dict[str, list[str]]:
    return {"all": ["all"], "shifted": [name for name in names if name.startswith("shifted")]}


def _show_caught(console: Console, found: dict[str, Caught], rates: dict[str, Floats]) -> dict[str, float]:
    heads = [f"x{factor:g} {what}" for factor in FACTORS for what in ("within 1 h", "within 2 h", "median min")]
    table = Table("series", "false", "a month", *heads, "x2 as it falls / stays / rises", title="Runaway")
    figures: dict[str, float] = {}
    for name, of_group in _groups(list(found)).items():
        members = [found[one] for one in of_group]
        cells = []
        for factor in FACTORS:
            one = rate_of(members, factor)
            lower, upper = one.within_1h_interval
            cells += [
                f"{one.within_1h:.1%} ({lower:.0%}-{upper:.0%})",
                f"{one.within_2h:.1%}",
                f"{one.median_minutes:.0f}",
            ]
            figures[f"runaway_x{factor:g}_within_1h_{name.replace(' ', '_')}"] = round(one.within_1h, 3)
        lower, upper = one.false_a_month_interval
        figures[f"runaway_false_a_month_{name.replace(' ', '_')}"] = round(one.false_a_month, 2)
        table.add_row(
            name, str(one.false), f"{one.false_a_month:.1f} ({lower:.1f}-{upper:.1f})", *cells, _by_nature(members)
        )
    console.print(table)
    table = Table("series", "rise of an hour, 99 of 100", "greatest", title="What the series do by themselves")
    for name in (*MODELS, "all"):
        hours = hourly(rates[name])
        rises = hours[1:] / hours[:-1]
        table.add_row(name, f"x{np.nanquantile(rises, 0.99):.2f}", f"x{np.nanmax(rises):.2f}")
    console.print(table)
    for one in found.values():
        for alarm in one.false:
            console.print(
                f"{one.series}: false alarm on day {(alarm.began_at - START) / timedelta(days=1):.2f}, "
                f"spend {alarm.impact_ratio or math.inf:+.0%} over what was expected while it lasted"
            )
    return figures


def _by_nature(members: Sequence[Caught]) -> str:
    starts = [
        (one.natural_ratio, one.minutes <= 60)
        for caught in members
        for one in caught.starts[FACTORS[0]]
        if one.natural_ratio is not None
    ]
    ranges = ((0.0, FALLS), (FALLS, RISES), (RISES, math.inf))
    parts = [[hit for ratio, hit in starts if low <= ratio < high] for low, high in ranges]
    return " / ".join(f"{np.mean(part):.0%} of {len(part)}" if part else "none" for part in parts)


def _show_trade(console: Console, rates: dict[str, Floats], every: int) -> dict[str, float]:
    groups = _groups(list(rates))
    table = Table("ratio", *(f"{name}: 1 h / 2 h, false a month" for name in groups), title="x2 by ratio")
    found: dict[float, dict[str, Caught]] = {}
    usual = RunawaySettings()
    for ratio in RATIOS:
        found[ratio] = {}
        settings = replace(usual, ratio=ratio, each_ratio=ratio / usual.ratio * usual.each_ratio)
        for name in (one for of_group in groups.values() for one in of_group):
            found[ratio][name] = caught(name, rates[name], every, settings, FACTORS[:1])
        cells = []
        for of_group in groups.values():
            one = rate_of([found[ratio][name] for name in of_group], FACTORS[0])
            cells.append(f"{one.within_1h:.1%} / {one.within_2h:.1%}, {one.false_a_month:.1f}")
        table.add_row(f"{ratio:g}", *cells)
    console.print(table)
    figures = {}
    days = range(RUNAWAY_FROM_DAYS, 14)
    table = Table("series", "ratio of even, odd days", "x2 within 1 h", "false a month", title="On the other half")
    for name, of_group in groups.items():
        chosen, within, false = [], [], []
        for parity in (0, 1):
            mine, others = ([day for day in days if day % 2 == half] for half in (parity, 1 - parity))
            fit = [
                ratio
                for ratio in RATIOS
                if rate_of([found[ratio][one] for one in of_group], FACTORS[0], mine).false_a_month <= 1
            ]
            chosen.append(min(fit, default=RATIOS[-1]))
            stated = rate_of([found[chosen[-1]][one] for one in of_group], FACTORS[0], others)
            within.append(stated.within_1h)
            false.append(stated.false_a_month)
        table.add_row(name, ", ".join(f"{one:g}" for one in chosen), f"{np.mean(within):.1%}", f"{np.mean(false):.1f}")
        figures[f"runaway_x2_within_1h_other_half_{name.replace(' ', '_')}"] = round(float(np.mean(within)), 3)
        figures[f"runaway_false_a_month_other_half_{name.replace(' ', '_')}"] = round(float(np.mean(false)), 2)
    console.print(table)
    return figures


@dataclass(frozen=True, slots=True)
class Service:
    """A part of a bill: dollars an hour and requests by window."""

    spend: Floats
    requests: Floats


@dataclass(frozen=True, slots=True)
class Sent:
    """An alert that was sent: `dearer` is infinite for that of a whole bill, 0 where it is not known."""

    noticed_at: datetime
    dearer: float


def products(rates: Mapping[str, Floats], *, by_gpus: bool, halves: bool) -> list[dict[str, Service]]:
    """The bill and twelve more of the same services some whole days apart, each as its services."""
    found = []
    for shifts in ((0, 0), *SHIFTS):
        services = {}
        for model, shift in zip(MODELS, (0, *shifts), strict=True):
            scale = 1000 / np.nanmean(rates[model])
            for name in [f"{model}, half {half}" for half in (1, 2)] if halves else [model]:
                requests = np.roll(rates[name].reshape(-1, WINDOWS_A_DAY), shift, axis=0).ravel()
                services[name] = Service(scale * (_by_gpus(requests) if by_gpus else requests), requests)
        found.append(services)
    return found


def _by_gpus(requests: Floats) -> Floats:
    """What GPUs cost, in requests, that are added a window after they are needed, and held."""
    of_one = float(np.nanmean(requests)) / GPUS
    needed = np.ceil(np.nan_to_num(requests) / of_one)
    held = np.max(
        [np.concatenate([needed[:1].repeat(lag), needed[:-lag]]) for lag in range(1, HELD_WINDOWS + 1)], axis=0
    )
    spend: Floats = np.where(np.isfinite(requests), held * of_one, np.nan)
    return spend


def _of_service(service: Service, spend: Floats, since: datetime) -> list[Sent]:
    """Its alarms, each with how much dearer a request became."""
    dollars, requests = _frame(spend, STEP, "usd_per_hour"), _frame(service.requests, STEP, "requests")
    return [Sent(one.noticed_at, dearer_ratio(dollars, requests, one) or 0.0) for one in _alarms(spend, since)]


def _looks(sent: Sequence[Sent], dearer_min: float, days: Collection[int]) -> int:
    """How many times somebody is told: all that is noticed at one look is one notification."""
    looks = {one.noticed_at for one in sent if one.dearer >= dearer_min}
    return sum((look - START) // timedelta(days=1) in days for look in looks)


@dataclass(frozen=True, slots=True)
class Told:
    """What a product sent for nothing, and of each doubling its day, whose it was, and what was sent within an hour."""

    false: list[Sent]
    doubled: list[tuple[int, str, list[Sent]]]


def told(services: Mapping[str, Service]) -> Told:
    """All alerts of a bill and its services on the traffic as it was, and with the price of each in turn doubled."""
    since = START + timedelta(days=RUNAWAY_FROM_DAYS)
    whole = np.sum([one.spend for one in services.values()], axis=0)
    large = {name: one for name, one in services.items() if np.nansum(one.spend) >= LARGE_RATIO * np.nansum(whole)}
    of_bill = _alarms(whole, since)
    false = [Sent(one.noticed_at, math.inf) for one in of_bill]
    false += [sent for one in large.values() for sent in _of_service(one, one.spend, since)]
    doubled = []
    for begin, middle in _begins(whole, PRODUCT_HOURS, of_bill):
        start = START + STEP * begin
        hour = start + middle * STEP / 2 + timedelta(hours=1)
        for name in ("bill", *large):
            spends = {one: _multiplied(service.spend, begin, 2.0 if name in ("bill", one) else 1.0, middle=middle)
                      for one, service in services.items()}  # fmt: skip
            bill = _alarms(np.sum(list(spends.values()), axis=0), start)
            sent = [Sent(one.noticed_at, math.inf) for one in bill]
            sent += [] if name == "bill" else _of_service(large[name], spends[name], start)
            doubled.append((begin // WINDOWS_A_DAY, name, [one for one in sent if one.noticed_at <= hour]))
    return Told(false, doubled)


def _caught_ratio(found: Sequence[Told], dearer_min: float, days: Collection[int], *, of_bill: bool) -> float:
    """Of the doublings of bills, or of services, the share that was told of within the hour."""
    hits = [
        any(one.dearer >= dearer_min for one in sent)
        for told in found
        for day, name, sent in told.doubled
        if day in days and (name == "bill") is of_bill
    ]
    return float(np.mean(hits))


def _show_product(console: Console, rates: Mapping[str, Floats]) -> dict[str, float]:
    days = range(RUNAWAY_FROM_DAYS, 14)
    parities = [[day for day in days if day % 2 == parity] for parity in (0, 1)]
    figures: dict[str, float] = {}
    table = Table("services", "a request dearer", "false", "a month", "bill x2 within 1 h", "service x2 within 1 h",
                  title="The product: bill and its parts, as alerts are sent")  # fmt: skip
    for halves, by_gpus in ((False, False), (False, True), (True, False), (True, True)):
        who = f"{'halves' if halves else 'models'}, {'by GPUs' if by_gpus else 'at once'}"
        found = [told(services) for services in products(rates, by_gpus=by_gpus, halves=halves)]

        def row(
            dearer_min: float, days: Collection[int], found: Sequence[Told] = found
        ) -> tuple[int, float, float, float]:
            false = sum(_looks(one.false, dearer_min, days) for one in found)
            caught = (_caught_ratio(found, dearer_min, days, of_bill=of_bill) for of_bill in (True, False))
            return false, false * MONTH_DAYS / len(days) / len(found), *caught

        for dearer_min in DEARER:
            false, a_month, bill, service = row(dearer_min, days)
            table.add_row(who, f"x{dearer_min:g}", str(false), f"{a_month:.2f}", f"{bill:.1%}", f"{service:.1%}")
            if dearer_min == DEARER_MIN:
                name = who.replace(", ", "_").replace(" ", "_")
                figures[f"product_false_a_month_{name}"] = round(a_month, 2)
                figures[f"product_bill_x2_within_1h_{name}"] = round(bill, 3)
                figures[f"product_service_x2_within_1h_{name}"] = round(service, 3)
        for mine, others in (parities, parities[::-1]):
            least = next((one for one in DEARER if row(one, mine)[1] <= 1), DEARER[-1])
            false, a_month, bill, service = row(least, others)
            table.add_row(f"{who}, on the other half of the days", f"x{least:g}", str(false), f"{a_month:.2f}",
                          f"{bill:.1%}", f"{service:.1%}")  # fmt: skip
        table.add_section()
    console.print(table)
    return figures


def main() -> None:
    """Measure and print; the last line is one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--every", type=int, default=12, help="hours between forecasts")
    parser.add_argument("--starts", type=int, default=2, help="hours between starts of a runaway")
    parts = ["forecast", "runaway", "product"]
    parser.add_argument("--parts", nargs="+", default=parts, choices=parts)
    given = parser.parse_args()
    if not (given.data / "workloads" / "servegen").is_dir():
        sys.exit(f"no ServeGen data in {given.data}: say where they are with --data")
    console = Console(width=160)
    console.print(machine())
    series = rates(given.data)
    figures: dict[str, float] = {}
    for horizon in HORIZONS if "forecast" in given.parts else ():
        names = [*MODELS, "all"] if horizon == HORIZONS[0] else MODELS
        found = [forecasts(name, series[name], horizon, given.every) for name in names]
        figures |= _show_forecasts(console, found, horizon)
    if "runaway" in given.parts:
        bills = [name for of_group in _groups(list(series)).values() for name in of_group]
        found_caught = {name: caught(name, series[name], given.starts) for name in bills}
        figures |= _show_caught(console, found_caught, series)
        figures |= _show_trade(console, series, 2 * given.starts)
    if "product" in given.parts:
        figures |= _show_product(console, series)
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
