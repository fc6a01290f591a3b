"""The strip of the overview: what flows now, against its usual level in the range."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import polars as pl

from dashboards import text
from dashboards.state import Range
from domain.incident import Indicator
from domain.window import Window
from storage.readers import read_latency
from storage.store import Store

_STEP_S_MIN = 60  # below, a step holds too few requests for a steady number
_SETTLED_AFTER_S = 30  # a request is told when it has ended, and belongs to the time when it began
_NOTABLE_RATIO = 0.2


@dataclass(frozen=True, slots=True)
class Measure:
    """One number of the strip, ready to show, with its course over the range."""

    title: str
    value: str
    unit: str
    change: str
    tone: str
    values: tuple[float | None, ...]
    low: float | None


@dataclass(frozen=True, slots=True)
class Traffic:
    """What the strip shows; `step_s` is how long the newest number of each measure covers."""

    step_s: int
    measures: tuple[Measure, ...]


def read_traffic(
    store: Store, now: datetime, shown: Range, services: Sequence[str], focus: str, indicator: Indicator
) -> Traffic:
    """The traffic of these services in steps up to the newest one that is complete; latency is that of `focus`."""
    step_s = max(shown.step_s, _STEP_S_MIN)
    end = datetime.fromtimestamp((now.timestamp() - _SETTLED_AFTER_S) // step_s * step_s, now.tzinfo)
    window = Window(end - timedelta(seconds=max(shown.seconds, 4 * step_s)), end)
    frames = {service: read_latency(store, window, service, step_s) for service in services}
    return summarise(frames, window, step_s, focus, indicator)


def summarise(
    frames: dict[str, pl.DataFrame], window: Window, step_s: int, focus: str, indicator: Indicator
) -> Traffic:
    """The strip from a frame of `storage.readers.read_latency` for each service.

    A step without requests has no error ratio.
    """
    times = pl.datetime_range(
        window.start, window.end, f"{step_s}s", closed="left", time_unit="us", time_zone="UTC", eager=True
    ).alias("time")
    counts = ["requests", "errors", "output_tokens"]
    total = (
        pl.concat([frame.select("time", *counts) for frame in frames.values()])
        .group_by("time")
        .agg(pl.col(counts).sum())
    )
    grid = pl.DataFrame(times).join(total, on="time", how="left").sort("time")
    column = "ttft_ms_p99" if indicator is Indicator.TTFT else "latency_ms_p99"
    latency = pl.DataFrame(times).join(frames[focus].select("time", column), on="time", how="left").sort("time")[column]
    requests = (grid["requests"] / step_s).alias("per_second")
    tokens = (grid["output_tokens"] / step_s).alias("per_second")
    errors = (grid["errors"] / grid["requests"]).fill_nan(None)
    return Traffic(
        step_s,
        (
            _rate("Requests", requests, "/s", fall_is_bad=False),
            _share("Errors", errors),
            _duration(f"{text.INDICATORS[indicator]} p99", latency),
            _rate("Output tokens", tokens, "/s", fall_is_bad=True),
        ),
    )


def _rate(title: str, values: pl.Series, unit: str, *, fall_is_bad: bool) -> Measure:
    value, prefix = text.compact(_last(values))
    shift = _shift(values)
    bad = fall_is_bad and shift is not None and shift < -_NOTABLE_RATIO
    return Measure(title, value, f"{prefix}{unit}", _signed(shift), "warning" if bad else "calm", tuple(values), 0.0)


def _share(title: str, values: pl.Series) -> Measure:
    last, usual = _last(values), values.median()
    risen = last is not None and isinstance(usual, float) and last > max(2 * usual, 0.01)
    shown = text.UNKNOWN if last is None else text.significant(last * 100, 2)
    return Measure(title, shown, "%", "", "critical" if risen else "calm", tuple(values), 0.0)


def _duration(title: str, values: pl.Series) -> Measure:
    value, _, unit = text.duration_ms(_last(values)).partition(" ")
    shift = _shift(values)
    tone = (
        "critical"
        if shift is not None and shift > 1
        else "warning"
        if shift is not None and shift > _NOTABLE_RATIO
        else "calm"
    )
    return Measure(title, value, unit, _signed(shift), tone, tuple(values), 0.0)


def _last(values: pl.Series) -> float | None:
    return None if values.is_empty() else values[-1]


def _shift(values: pl.Series) -> float | None:
    """The newest value against the median of the range, as a ratio; None where either is unknown."""
    last, usual = _last(values), values.median()
    return None if last is None or not isinstance(usual, float) or usual == 0 else last / usual - 1


def _signed(shift: float | None) -> str:
    if shift is None:
        return ""
    rounded = round(shift * 100)
    return "±0" if rounded == 0 else f"{'+' if rounded > 0 else '−'}{abs(rounded):,} %"
