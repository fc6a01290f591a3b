"""Times, windows and steps as the outside writes them."""

import re
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, WithJsonSchema

from api.problems import invalid_field
from domain.window import Window, from_rfc3339, rfc3339

ROLLUP_STEP_S = 15
"""Seconds: the resolution of the request rollup, which every step is a multiple of."""

_EARLIEST = datetime(1970, 1, 1, tzinfo=UTC)
_LATEST = datetime(2106, 1, 1, tzinfo=UTC)  # the engine counts seconds since 1970 in 32 bits
_UNIT_SECONDS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86_400}
_DURATION = re.compile(r"([0-9]{1,9})([smhd]?)")


def read_moment(value: Any) -> datetime:
    """Read an RFC 3339 time that the store can hold.

    Raises:
        ValueError: saying what was found and what is valid.
    """
    if isinstance(value, datetime):
        return value
    if not isinstance(value, str):
        raise ValueError(f"{value!r} is not an RFC 3339 time in quotes; expected e.g. 2026-11-23T02:41:20Z")  # noqa: TRY004  # pydantic reports ValueErrors only
    try:
        moment = from_rfc3339(value)
    except ValueError as error:
        if " " in value.strip():
            raise ValueError(f"{error}; in an address, write + as %2B") from None
        raise
    if not _EARLIEST <= moment < _LATEST:
        raise ValueError(f"{value!r} is out of range; valid are the years 1970 to 2105")
    return moment


def read_step(value: Any) -> int:
    """Read a step as seconds: `60`, `60s`, `5m`, `1h`, `1d`.

    Raises:
        ValueError: when it is no duration, or no positive multiple of the rollup's resolution.
    """
    found = _DURATION.fullmatch(str(value))
    if found is None:
        raise ValueError(f"{value!r} is no duration; expected e.g. 60s, 5m, 1h")
    step_s = int(found[1]) * _UNIT_SECONDS[found[2]]
    if step_s == 0 or step_s % ROLLUP_STEP_S or step_s > 366 * 86_400:
        raise ValueError(f"{value!r} is no step; expected a multiple of {ROLLUP_STEP_S}s, at most 366d")
    return step_s


Moment = Annotated[
    datetime,
    BeforeValidator(read_moment),
    PlainSerializer(rfc3339, return_type=str),
    WithJsonSchema({"type": "string", "format": "date-time"}),
]
"""An instant: RFC 3339 outside, UTC inside."""

Step = Annotated[
    int,
    BeforeValidator(read_step),
    WithJsonSchema({"type": "string", "pattern": "^[0-9]+[smhd]?$"}),
]
"""A step: a duration outside, seconds inside."""


class WindowQuestion(BaseModel):
    """The parameters of a question about a window of event time."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    start: Moment | None = Field(
        None,
        alias="from",
        description="start of the window, RFC 3339; 24 h before `to` when not given",
        examples=["2026-11-23T02:00:00Z"],
    )
    end: Moment | None = Field(
        None,
        alias="to",
        description="end of the window, RFC 3339, not included; now when not given",
        examples=["2026-11-23T03:00:00Z"],
    )

    def window(self, now: datetime) -> Window:
        """The window asked about.

        Raises:
            Problem: when it does not end after it starts.
        """
        return window_between(self.start, self.end, now)


def window_between(start: datetime | None, end: datetime | None, now: datetime) -> Window:
    """From `start` (24 h before the end when None) to `end` (`now` when None).

    Raises:
        Problem: when the end is not after the start.
    """
    last = now if end is None else end
    first = last - timedelta(hours=24) if start is None else start
    if last <= first:
        end_name = "now, which the window ends at without `to`" if end is None else "`to`"
        raise invalid_field("from", f"{rfc3339(first)} is not before {rfc3339(last)}, {end_name}")
    return Window(first, last)


def widened_to_steps(window: Window, step_s: int) -> Window:
    """The smallest window of whole steps since 1970 that holds `window`."""
    step = timedelta(seconds=step_s)
    start = _EARLIEST + (window.start - _EARLIEST) // step * step
    end = _EARLIEST - (_EARLIEST - window.end) // step * step
    return Window(start, end)
