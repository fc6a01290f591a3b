"""Numbers, times and names as people read them. Everything is UTC; what is not known is an em dash, never 0."""

import math
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from types import MappingProxyType

from analytics.knowledge import Knowledge
from domain.cause import CauseKind, Evidence
from domain.entity import Entity, EntityKind
from domain.incident import Incident, Indicator
from domain.money import usd_text
from domain.quantity import HARDLY, is_moment
from domain.slo import Objective, sli_percent
from domain.window import Window

UNKNOWN = "—"
NO_NAMES: Mapping[str, str] = MappingProxyType({})

INDICATORS = {
    Indicator.TTFT: "TTFT",
    Indicator.LATENCY: "Latency",
    Indicator.TPOT: "Time per output token",
    Indicator.ERRORS: "Availability",
    Indicator.THROUGHPUT: "Throughput",
    Indicator.GOODPUT: "Goodput",
    Indicator.GPU_AVAILABILITY: "GPU availability",
    Indicator.DATA_FRESHNESS: "Data freshness",
}
INDICATORS_IN_FULL = INDICATORS | {Indicator.TTFT: "Time to first token"}

CONFIDENCE_MEANING = "of the first causes given so much, that share was right on simulated incidents"
"""What a confidence is, for whoever hovers over one."""

_ABBREVIATIONS = {EntityKind.GPU: "GPU"}
_UNITS = {"1": "", "1/s": "/s", "By": "B", "By/s": "B/s", "bytes": "B", "bytes/s": "B/s"}
_SCALED = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))


def significant(value: float, digits: int = 3) -> str:
    """`0.0491`, `3.7`, `85.4`, `18,420`: that many significant digits, whole numbers kept whole."""
    if value == 0:
        return "0"
    decimals = max(0, digits - 1 - math.floor(math.log10(abs(value))))
    text = f"{value:,.{decimals}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def compact(value: float | None, digits: int = 3) -> tuple[str, str]:
    """A number and its prefix: 312_000 is `("312", "k")`."""
    if value is None:
        return UNKNOWN, ""
    for factor, prefix in _SCALED:
        if abs(value) >= factor:
            return significant(value / factor, digits), prefix
    return significant(value, digits), ""


def count(value: int | None) -> str:
    """`18,420`."""
    return UNKNOWN if value is None else f"{value:,}"


def percent(ratio: float | None, digits: int = 3) -> str:
    """`31 %` of 0.31."""
    return UNKNOWN if ratio is None else f"{significant(ratio * 100, digits)} %"


def percent_whole(ratio: float) -> str:
    """`12 %`, and `<1 %` where there is something but less than that."""
    return "<1 %" if 0 < ratio < 0.01 else f"{round(ratio * 100)} %"


def percent_floor(ratio: float | None) -> str:
    """Whole per cent, rounded down: a budget never looks fuller than it is, and is the same on every page."""
    return UNKNOWN if ratio is None else f"{math.floor(ratio * 100)} %".replace("-", "−")


def percent_of_target(ratio: float | None, target_ratio: float) -> str:
    """`98.99 %`: an SLI beside its target, as `sli_percent` has it."""
    return UNKNOWN if ratio is None else f"{sli_percent(ratio, target_ratio)} %"


def usd(value: float | None) -> str:
    """`$12,345`, `$3.70`, `$0.0177`."""
    return UNKNOWN if value is None else usd_text(value)


def change_ratio(value: float | None, before: float | None) -> float | None:
    """How much more than before, as a ratio; None where either is not known, or there was nothing before."""
    return None if value is None or not before else value / before - 1


def signed_percent(ratio: float) -> str:
    """`+12 %`, `−3 %`, `±0 %`."""
    whole = round(ratio * 100)
    return f"{'+' if whole > 0 else '−' if whole < 0 else '±'}{abs(whole):,} %"


def duration_ms(value: float | None) -> str:
    """`840 ms`, `4.1 s`, `2.5 min`."""
    if value is None:
        return UNKNOWN
    if value < 1_000:
        return f"{significant(value, 2 if value < 10 else 3)} ms"
    if value < 60_000:
        return f"{value / 1_000:.2f} s" if value < 2_000 else f"{value / 1_000:.1f} s"
    return f"{value / 60_000:.1f} min"


def milliseconds(value: float) -> str:
    """`1,105 ms`, `0.2 ms`: one unit throughout, where values stand beside each other to be compared."""
    return f"{significant(value, 1) if value < 1 else f'{value:,.0f}'} ms"


def lasting(seconds: float) -> str:
    """`90 s`, `2 min 15 s`, `26 min`, `2 h 43 min`, `3 d 4 h`; no line break between a number and its unit."""
    whole = round(seconds)
    if whole < 120:
        return _joined((whole, "s"))
    minutes = whole // 60
    if minutes < 60:
        return _joined((minutes, "min"), (whole % 60 if minutes < 10 else 0, "s"))
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return _joined((hours, "h"), (minutes, "min"))
    days, hours = divmod(hours, 24)
    return _joined((days, "d"), (hours, "h"))


def lead(lead_s: float | None) -> str:
    """When a signal moved, against the spike: `50 s earlier`, `same time`, `30 s later`."""
    if lead_s is None:
        return "time of move unknown"
    if abs(lead_s) < 1:
        return "same time"
    return f"{lasting(abs(lead_s))} {'earlier' if lead_s > 0 else 'later'}"


def against_onset(lead_s: float | None) -> str:
    """The same on a time line: `−45 s`, `+15 s`, `at the onset`."""
    if lead_s is None:
        return "time unknown"
    if abs(lead_s) < 1:
        return "at the onset"
    return f"{'−' if lead_s > 0 else '+'}{lasting(abs(lead_s))}"


def clock(moment: datetime) -> str:
    """`02:41`."""
    return f"{moment:%H:%M}"


def clock_seconds(moment: datetime) -> str:
    """`02:41:20`."""
    return f"{moment:%H:%M:%S}"


def day_and_clock(moment: datetime) -> str:
    """`23 Nov 2026, 03:07`."""
    return f"{moment.day} {moment:%b %Y, %H:%M}"


def since(moment: datetime, now: datetime) -> str:
    """`02:41` today, `22 Nov 02:41` on another day."""
    return clock(moment) if moment.date() == now.date() else f"{moment.day} {moment:%b} {clock(moment)}"


def hours_words(window: Window) -> str:
    """`16 Nov 14:00 to 23 Nov 14:00 UTC`, of whole hours."""
    start, end = window.start, window.end
    return f"{start.day} {start:%b} {clock(start)} to {end.day} {end:%b} {clock(end)} UTC"


def window_words(window: Window) -> str:
    """`23 Nov, 02:41:00 to 03:05:00 UTC`; both days where there are two."""
    start, end = window.start, window.end
    until = "" if start.date() == end.date() else f"{end.day} {end:%b}, "
    return f"{start.day} {start:%b}, {clock_seconds(start)} to {until}{clock_seconds(end)} UTC"


def quantity(value: float | None, unit: str) -> str:
    """A value with its unit: ratios as per cent, bytes and counts scaled."""
    if value is None:
        return UNKNOWN
    if unit in ("ratio", "flag"):
        return percent(value) if unit == "ratio" else _flag(value)
    if is_moment(value, unit):
        return f"{datetime.fromtimestamp(value, UTC):%d %b %H:%M:%S}"
    if unit in ("ms", "s"):
        return duration_ms(value * (1_000 if unit == "s" else 1))
    if unit in ("MiB", "MHz"):
        return _prefixed(value, unit)
    number, prefix = compact(value)
    shown = _UNITS.get(unit, unit)
    return f"{number} {prefix}{shown}".strip()


def _prefixed(value: float, unit: str) -> str:
    """A value of a unit that has a prefix already."""
    if unit == "MiB" and abs(value) >= 1_024:
        return f"{significant(value / 1_024)} GiB"
    return f"{value:,.0f} MHz" if unit == "MHz" else f"{significant(value)} {unit}"


def _flag(value: float) -> str:
    """A code or a bit that is there or not, from the share of the samples that had it."""
    return "no" if value < HARDLY else "yes" if value > 1 - HARDLY else f"{percent_whole(value)} of the time"


def change(evidence: Evidence) -> str:
    """`0.37 → 85.4 /s`: before and during, one unit."""
    during = quantity(evidence.during, evidence.unit)
    if evidence.before is None:
        return f"no data before → {during}"
    before = quantity(evidence.before, evidence.unit)
    number, _, unit = before.partition(" ")
    return f"{number if during.endswith(f' {unit}') else before} → {during}"


def entity_title(kind: EntityKind) -> str:
    """What we call a kind of thing: `GPU`, `node`."""
    return _ABBREVIATIONS.get(kind, kind.value)


def of_the_added(indicator: Indicator) -> str:
    """What shares of a spike are shares of: `of the added time`, or of the failures where those were counted."""
    return "of the failures" if indicator is Indicator.ERRORS else "of the added time"


def objective_title(objective: Objective) -> str:
    """`TTFT < 800 ms`, `Availability`."""
    title = INDICATORS[objective.indicator]
    return title if objective.threshold_ms is None else f"{title} < {duration_ms(objective.threshold_ms)}"


def timed(indicator: Indicator) -> Indicator:
    """Which time is shown of an incident: of failures the latency, else what spiked."""
    return Indicator.LATENCY if indicator is Indicator.ERRORS else indicator


def percentile_title(indicator: Indicator) -> str:
    """`TTFT p99`."""
    return f"{INDICATORS[timed(indicator)]} p99"


def incident_title(incident: Incident) -> str:
    """`TTFT p99 at 4.1 s on chat`, `13 % of requests fail on chat`."""
    if incident.indicator is Indicator.ERRORS:
        return f"{percent(incident.slow_requests_ratio, 2)} of requests fail on {incident.service}"
    return f"{INDICATORS[incident.indicator]} p99 at {duration_ms(incident.peak_ms_p99)} on {incident.service}"


def usual_and_peak(incident: Incident) -> str:
    """`540 ms → 4.1 s`; of failures nothing, for what fails has no time."""
    if incident.indicator is Indicator.ERRORS:
        return UNKNOWN
    return f"{duration_ms(incident.baseline_ms_p99)} → {duration_ms(incident.peak_ms_p99)}"


def likely_cause(incident: Incident, knowledge: Knowledge, names: Mapping[str, str] = NO_NAMES) -> str:
    """`Bad link on gpu-07-03/mlx5_2/1`; `names` are what people call a GPU, as `dashboards.gpus` has them."""
    cause = incident.cause
    title = knowledge.cause_title(cause.kind)
    return "Not known" if cause.kind is CauseKind.UNKNOWN else f"{title} on {called(cause.entity, names)}"


def gpu_place(node: str, index: int, replica: str | None) -> str:
    """`gpu-02-02 GPU 7, assist-3`."""
    return f"{node} GPU {index}" + (f", {replica}" if replica else "")


def called(entity: Entity, names: Mapping[str, str]) -> str:
    """What people call it: `gpu-02-02 GPU 7, assist-3` of a GPU that is known, else its own name."""
    return names.get(entity.name, entity.name) if entity.kind is EntityKind.GPU else entity.name


def incident_lasted(incident: Incident, now: datetime) -> timedelta:
    """From its start to its end, or until now."""
    return (incident.ended_at or now) - incident.started_at


def _joined(first: tuple[int, str], *rest: tuple[int, str]) -> str:
    parts = [first, *(part for part in rest if part[0])]
    return " ".join(f"{number}\N{NO-BREAK SPACE}{unit}" for number, unit in parts)
