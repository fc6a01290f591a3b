"""What latency, throughput and errors share: the question, and the rollup's rows cut into series."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from math import ceil
from typing import Annotated, Any

import polars as pl
from pydantic import BeforeValidator, Field, WithJsonSchema

from api.context import Context
from api.problems import invalid_field
from api.times import ROLLUP_STEP_S, Step, WindowQuestion, widened_to_steps
from domain.window import Window
from storage.readers import read_traffic
from storage.store import Store

DIMENSIONS = ("model", "replica", "tenant", "version")
"""What traffic can be told apart by."""

Row = Mapping[str, Any]
Point = dict[str, Any]

_STEPS_S = (15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10_800, 21_600, 43_200, 86_400)
_POINTS_WANTED = 240  # about what a chart can show


def split_list(value: str | Sequence[str]) -> tuple[str, ...]:
    """The different words of a list with commas, or of a parameter that was given several times."""
    texts = [value] if isinstance(value, str) else value
    words = (word.strip() for text in texts for word in text.split(","))
    return tuple(dict.fromkeys(word for word in words if word))


def read_dimensions(value: str | Sequence[str]) -> tuple[str, ...]:
    """Read a list of dimensions.

    Raises:
        ValueError: naming those that there are not.
    """
    names = split_list(value)
    unknown = [name for name in names if name not in DIMENSIONS]
    if unknown:
        raise ValueError(f"cannot tell apart by {', '.join(unknown)}; valid are {', '.join(DIMENSIONS)}")
    return names


class TrafficQuestion(WindowQuestion):
    """Whose traffic, when, how finely, told apart by what."""

    service: str = Field(min_length=1, description="the service", examples=["chat"])
    by: Annotated[
        tuple[str, ...], BeforeValidator(read_dimensions), WithJsonSchema({"type": "string", "default": ""})
    ] = Field((), description=f"tell apart by any of {', '.join(DIMENSIONS)}", examples=["model,version"])
    step: Step | None = Field(None, description=f"a multiple of {ROLLUP_STEP_S}s: 60s, 5m, 1h", examples=["60s"])


def default_step_s(window: Window) -> int:
    """The shortest usual step, in seconds, that cuts the window into no more points than a chart can show."""
    fitting = (step_s for step_s in _STEPS_S if window.seconds <= step_s * _POINTS_WANTED)
    return next(fitting, _STEPS_S[-1])


Reader = Callable[[Store, Window, str, int, tuple[str, ...]], pl.DataFrame]
"""`storage.readers.read_traffic`, or `read_latency` for percentiles too."""


def read_rows(
    given: Context, question: TrafficQuestion, window: Window, step_s: int, reader: Reader
) -> dict[tuple[str | None, ...], list[Row]]:
    """The rows of the rollup by step, for each combination of the dimensions asked for, by name (unknown last).

    Raises:
        Problem: when they are more points than one answer holds.
    """
    frame = reader(given.store, window, question.service, step_s, question.by)
    groups: dict[tuple[str | None, ...], list[Row]] = {}
    for row in frame.iter_rows(named=True):
        groups.setdefault(tuple(row[name] for name in question.by), []).append(row)
    check_points(frame.height, given.settings.points_max)
    return dict(sorted(groups.items(), key=lambda group: [(name is None, name or "") for name in group[0]]))


def read_even_series(
    given: Context, question: TrafficQuestion, point: Callable[[datetime, Row | None, float], Point]
) -> dict[str, Any]:
    """The answer to a question by steps: for each group a point for every step, also where there was no traffic.

    Args:
        given: the context.
        question: the question.
        point: makes a point of the start of its step, its row (None without traffic) and the seconds that the step
            has lasted.

    Raises:
        Problem: when there are more points than one answer holds.
    """
    now = given.now()
    asked = question.window(now)
    step_s = question.step or default_step_s(asked)
    window = widened_to_steps(asked, step_s)
    steps = ceil(window.seconds / step_s)
    check_points(steps, given.settings.points_max)
    groups = read_rows(given, question, window, step_s, read_traffic)
    if not question.by:
        groups = groups or {(): []}
    check_points(steps * len(groups), given.settings.points_max)
    times = [window.start + timedelta(seconds=step_s * index) for index in range(steps)]
    series = []
    for names, rows in groups.items():
        by_time = {row["time"]: row for row in rows}
        points = [point(time, by_time.get(time), lasted_s(time, step_s, now)) for time in times]
        series.append({"labels": labels(question.by, names), "points": points})
    return answer(question, window, step_s, series)


def lasted_s(time: datetime, step_s: int, now: datetime) -> float:
    """Seconds of a step that have passed: the step that is under way would else look quieter than it is."""
    return min(max((now - time).total_seconds(), ROLLUP_STEP_S), step_s)


def per_second(count: int | None, seconds: float) -> float | None:
    """A rate; None when there is no count."""
    return None if count is None else count / seconds


def labels(by: Sequence[str], names: Iterable[str | None]) -> dict[str, str | None]:
    """What tells a series apart."""
    return dict(zip(by, names, strict=True))


def answer(
    question: TrafficQuestion, window: Window, step_s: int | None, series: list[dict[str, Any]]
) -> dict[str, Any]:
    """The answer, with the question as it was understood."""
    return {
        "service": question.service,
        "from": window.start,
        "to": window.end,
        "step_s": step_s,
        "by": question.by,
        "series": series,
    }


def check_points(points: int, points_max: int) -> None:
    """Refuse an answer of more points than one may hold.

    Raises:
        Problem: saying what makes it smaller.
    """
    if points > points_max:
        raise invalid_field(
            "step",
            f"the answer would hold {points} points; at most {points_max} are valid: "
            "use a longer step, a shorter window or fewer dimensions in `by`",
        )
