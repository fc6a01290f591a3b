"""Half-open spans of event time, always in UTC."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta


@dataclass(frozen=True, slots=True, order=True)
class Window:
    """The instants t with `start <= t < end`.

    Raises:
        ValueError: when a bound has no time zone, or `end` is not after `start`.
    """

    start: datetime
    end: datetime

    def __post_init__(self) -> None:
        for name in ("start", "end"):
            value: datetime = getattr(self, name)
            if value.tzinfo is None:
                raise ValueError(
                    f"window {name} {value.isoformat()} has no time zone; give UTC, e.g. 2026-11-23T02:41:00Z"
                )
            object.__setattr__(self, name, value.astimezone(UTC))
        if self.end <= self.start:
            raise ValueError(f"window ends at {self.end.isoformat()}, not after its start {self.start.isoformat()}")

    @property
    def seconds(self) -> float:
        """Length in seconds."""
        return (self.end - self.start).total_seconds()

    def before(self, seconds: float) -> "Window":
        """The window of that many seconds that ends where this one starts."""
        return Window(self.start - timedelta(seconds=seconds), self.start)

    def widened(self, before_s: float = 0, after_s: float = 0) -> "Window":
        """This window with that many seconds added before and after."""
        return Window(self.start - timedelta(seconds=before_s), self.end + timedelta(seconds=after_s))

    def stretches(self, length: timedelta) -> list["Window"]:
        """This window in parts of that length, the last one shorter where it does not divide it."""
        parts, start = [], self.start
        while start < self.end:
            parts.append(Window(start, min(start + length, self.end)))
            start = parts[-1].end
        return parts


def rfc3339(moment: datetime) -> str:
    """`2026-11-23T02:41:20Z`; with fractional seconds only where there are any."""
    text = moment.astimezone(UTC).isoformat(timespec="auto")
    return text.replace("+00:00", "Z")


def from_rfc3339(text: str) -> datetime:
    """Read an RFC 3339 time.

    Raises:
        ValueError: when the text is no time, or carries no offset.
    """
    try:
        moment = datetime.fromisoformat(text.strip())
    except ValueError:
        raise ValueError(f"{text!r} is not an RFC 3339 time; expected e.g. 2026-11-23T02:41:20Z") from None
    if moment.tzinfo is None:
        raise ValueError(f"{text!r} has no time zone; add Z for UTC, e.g. {text.strip()}Z")
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        raise ValueError(f"{text!r} is outside of the years 1 to 9999 in UTC") from None


def duration_text(milliseconds: float) -> str:
    """`850 ms`, `4.1 s` from a second on, then `5 min`, `1.5 h`, `3 d`: for people."""
    if milliseconds < 1000:
        return f"{milliseconds:.0f} ms"
    for unit, unit_ms in (("d", 86_400_000.0), ("h", 3_600_000.0), ("min", 60_000.0)):
        if milliseconds >= (2 if unit == "min" else 1) * unit_ms:
            return f"{milliseconds / unit_ms:.1f}".removesuffix(".0") + f" {unit}"
    return f"{milliseconds / 1000:.1f} s"


def hour_of(moment: datetime) -> datetime:
    """When the hour (UTC) began that a moment lies in."""
    return moment.astimezone(UTC).replace(minute=0, second=0, microsecond=0)


def step_of(moment: datetime, step_s: int) -> datetime:
    """When the step began that a moment lies in; steps are counted from 1970."""
    return datetime.fromtimestamp(int(moment.timestamp()) // step_s * step_s, UTC)
