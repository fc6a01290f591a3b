"""The strip of the overview: what flows now, against the same time a day or a week earlier."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TypeAlias

import polars as pl

from dashboards import text
from dashboards.cache import AnswerCache
from dashboards.state import Range
from domain.incident import Indicator
from domain.window import Window
from storage.readers import read_latency
from storage.store import Store

_NEWEST_STEP_S_MIN = 60  # below, a step holds too few requests for a steady number
_NEWEST_STEP_S_MAX = 300  # above, the newest number would be about the past
_NOTABLE_RATIO = 0.2
_LAGS = (
    (timedelta(days=1), "the same time a day earlier"),
    (timedelta(days=7), "the same time a week earlier"),
)
_AROUND_S, _EARLIER_STEP_S = 1_800, 300  # of an earlier day half an hour is taken: its own moments were chance too
_TONES = ("calm", "warning", "critical")

Levels: TypeAlias = Mapping[str, float | None]
"""The levels of one time, by their names in `levels`."""
KeptLevels: TypeAlias = AnswerCache[tuple[str | None, Levels | None]]
"""What is usual at a time of an earlier day, and what that time is called."""

SETTLES_AFTER = timedelta(seconds=30)
"""A request is told when it has ended, and belongs to the time when it began."""


@dataclass(frozen=True, slots=True)
class Measure:
    """One number of the strip, ready to show, with its course over the range."""

    title: str
    value: str
    unit: str
    change: str
    tone: str
    values: tuple[float | None, ...]


@dataclass(frozen=True, slots=True)
class Traffic:
    """What the strip shows. The newest numbers are those of the `step_s` seconds up to `end`.

    `against` says what they are compared with; None where no such time is stored.
    """

    end: datetime
    step_s: int
    measures: tuple[Measure, ...]
    against: str | None


def traffic_of(
    store: Store,
    now: datetime,
    shown: Range,
    services: Sequence[str],
    *,
    focus: str,
    indicator: Indicator,
    kept: KeptLevels,
) -> Traffic:
    """The traffic of these services.

    Args:
        store: where it is read.
        now: the end of what is shown, but for what is still to settle.
        shown: the range of the course.
        services: whose; their counts add up.
        focus: the service of which the latency is taken, because percentiles of services do not add up.
        indicator: TTFT or LATENCY.
        kept: the levels of earlier days that were read before: they change every five minutes only.
    """

    def read(step_s: int, seconds: int) -> tuple[Window, pl.DataFrame]:
        end = datetime.fromtimestamp((now - SETTLES_AFTER).timestamp() // step_s * step_s, now.tzinfo)
        window = Window(end - timedelta(seconds=seconds), end)
        frames = {service: read_latency(store, window, service, step_s) for service in services}
        return window, levels(frames, window, step_s, focus, indicator)

    newest_step_s = min(max(shown.step_s, _NEWEST_STEP_S_MIN), _NEWEST_STEP_S_MAX)
    newest_window, newest = read(newest_step_s, newest_step_s)
    _, course = read(max(shown.step_s, _NEWEST_STEP_S_MIN), shown.seconds)
    _, last = read(_NEWEST_STEP_S_MIN, _NEWEST_STEP_S_MIN)
    middle = newest_window.start + (newest_window.end - newest_window.start) / 2
    around_s = (middle.timestamp() - _AROUND_S / 2) // _EARLIER_STEP_S * _EARLIER_STEP_S
    around = datetime.fromtimestamp(around_s, now.tzinfo)
    key = (around, tuple(services), focus, indicator)
    against, earlier = kept.get(key, lambda: _earlier(store, around, services, focus, indicator))
    told = measures(course, newest.row(0, named=True), indicator, earlier=earlier, last=last.row(0, named=True))
    return Traffic(newest_window.end, newest_step_s, told, against)


def _earlier(
    store: Store, around: datetime, services: Sequence[str], focus: str, indicator: Indicator
) -> tuple[str | None, Levels | None]:
    """The usual levels of the half hour from `around` a day or a week earlier, and what that is called.

    Whichever is stored, with requests throughout; None for neither.
    """
    for lag, words in _LAGS:
        window = Window(around - lag, around - lag + timedelta(seconds=_AROUND_S))
        frames = {service: read_latency(store, window, service, _EARLIER_STEP_S) for service in services}
        found = levels(frames, window, _EARLIER_STEP_S, focus, indicator)
        if (found["requests"] > 0).all():
            return words, usual(found)
    return None, None


def usual(course: pl.DataFrame) -> Levels:
    """The median of each level; None where nothing was measured."""
    return {name: course[name].cast(pl.Float64).median() for name in course.columns}  # type: ignore[misc]  # of floats


def levels(
    frames: Mapping[str, pl.DataFrame], window: Window, step_s: int, focus: str, indicator: Indicator
) -> pl.DataFrame:
    """One row a step of the window.

    Args:
        frames: of each service, as of `storage.readers.read_latency`.
        window: whole steps.
        step_s: seconds.
        focus: the service of which the latency is taken.
        indicator: TTFT or LATENCY.

    Returns:
        Columns requests and tokens (per second; 0 where nothing came), errors (ratio; null without requests), p99
        (ms; null where nothing was measured). Tokens are null throughout when no request told any.
    """
    times = pl.datetime_range(
        window.start, window.end, f"{step_s}s", closed="left", time_unit="us", time_zone="UTC", eager=True
    ).alias("time")
    counts = ["requests", "errors", "output_tokens"]
    total = pl.concat([frame.select("time", *counts) for frame in frames.values()])
    column = "ttft_ms_p99" if indicator is Indicator.TTFT else "latency_ms_p99"
    grid = (
        pl.DataFrame(times)
        .join(total.group_by("time").agg(pl.col(counts).sum()), on="time", how="left")
        .join(frames[focus].select("time", p99=column), on="time", how="left")
        .sort("time")
    )
    told = bool(grid["output_tokens"].sum())
    return grid.select(
        requests=pl.col("requests").fill_null(0) / step_s,
        errors=pl.col("errors") / pl.col("requests"),
        p99="p99",
        tokens=pl.col("output_tokens").fill_null(0) / step_s if told else pl.lit(None, pl.Float64),
    )


def measures(
    course: pl.DataFrame,
    newest: Levels,
    indicator: Indicator,
    *,
    earlier: Levels | None = None,
    last: Levels | None = None,
) -> tuple[Measure, ...]:
    """The strip, from levels (columns and keys as of `levels`).

    The day has its rhythm: a change is told against the same time of an earlier day only. A colour says that something
    stands badly now: in the last minute too, not only on the whole of the newest while.

    Args:
        course: over the range.
        newest: those of the newest while, which are shown.
        indicator: what p99 is of.
        earlier: those of the same time of an earlier day; None where that is not stored: then no change is told, and
            latency and errors are coloured against the median of the range.
        last: those of the last minute; the newest unless given.
    """
    last = newest if last is None else last
    shift = {name: _shift(newest[name], earlier[name] if earlier else None) for name in course.columns}
    base = usual(course) if earlier is None else earlier
    values = {name: tuple(course[name]) for name in course.columns}
    requests, requests_prefix = text.compact(newest["requests"])
    tokens, tokens_prefix = text.compact(newest["tokens"])
    p99, _, p99_unit = text.duration_ms(newest["p99"]).partition(" ")
    error = newest["errors"]

    def standing(tone: Callable[[Levels], str]) -> str:
        return min(tone(newest), tone(last), key=_TONES.index)

    return (
        Measure("Requests", requests, f"{requests_prefix}/s", _signed(shift["requests"]), "calm", values["requests"]),
        Measure(
            "Errors",
            text.UNKNOWN if error is None else text.significant(error * 100, 2),
            "%",
            "",
            standing(lambda level: "critical" if _jumped(level["errors"], base["errors"]) else "calm"),
            values["errors"],
        ),
        Measure(
            f"{text.INDICATORS[indicator]} p99",
            p99,
            p99_unit,
            _signed(shift["p99"]),
            standing(lambda level: _rise_tone(_shift(level["p99"], base["p99"]))),
            values["p99"],
        ),
        Measure(
            "Output tokens",
            tokens,
            f"{tokens_prefix}/s",
            _signed(shift["tokens"]),
            standing(lambda level: "warning" if earlier and _fell_behind(level, earlier) else "calm"),
            values["tokens"],
        ),
    )


def _shift(newest: float | None, usual: object) -> float | None:
    """The newest value against the usual one, as a ratio; None where either is unknown."""
    return None if newest is None or not isinstance(usual, float) or usual == 0 else newest / usual - 1


def _fell_behind(level: Levels, earlier: Levels) -> bool:
    """Fewer tokens come of as many requests: a quiet night is no trouble."""
    tokens, requests = (_shift(level[name], earlier[name]) for name in ("tokens", "requests"))
    return tokens is not None and requests is not None and tokens < requests - _NOTABLE_RATIO


def _rise_tone(shift: float | None) -> str:
    if shift is None or shift <= _NOTABLE_RATIO:
        return "calm"
    return "critical" if shift > 1 else "warning"


def _jumped(error_ratio: float | None, usual: object) -> bool:
    """More than a request in a hundred fails, and more than twice the usual share."""
    return error_ratio is not None and isinstance(usual, float) and error_ratio > max(2 * usual, 0.01)


def _signed(shift: float | None) -> str:
    if shift is None:
        return ""
    rounded = round(shift * 100)
    return "±0" if rounded == 0 else f"{'+' if rounded > 0 else '−'}{abs(rounded):,} %"
