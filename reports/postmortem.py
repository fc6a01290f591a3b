"""A post-mortem that is begun: all that is known of an incident, in order, and headings for what people alone know.

The same incident with the same notes gives the same bytes.
"""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

from alerts.catalogue import runbook_url
from alerts.handling import TIMELINE_EVENTS, timeline
from analytics.incident_times import seconds_of
from analytics.knowledge import Knowledge
from domain.cause import Cause, CauseKind, Evidence
from domain.incident import Incident, Indicator
from domain.quantity import amounts, is_moment
from domain.window import duration_text, from_rfc3339
from reports import words
from reports.escaping import code, escaped, linked, paragraph, table_lines
from reports.incident import (
    SEVERITY_WORDS,
    cause_title,
    chain_lines,
    explained_words,
    impact_rows,
    next_steps,
    not_looked_at_lines,
    ruled_out_lines,
    section,
    title,
    whereabouts_lines,
)

_HEADINGS = ("Evidence", "Of", "Before", "During", "Against the onset")
_NUMBERS = (False, False, True, True, False)
_TO_FILL_IN = ("What went well", "What went badly", "Actions")


def postmortem(
    incident: Incident,
    noted: Mapping[str, Any],
    *,
    knowledge: Knowledge,
    web_url: str = "",
    trace_link: Callable[[str], str | None] = lambda _: None,
) -> str:
    """The post-mortem of an incident in Markdown, as GitHub has it.

    Args:
        incident: what was found.
        noted: what people noted, of `storage.readers.read_incident_notes`.
        knowledge: how signals and kinds of cause are called.
        web_url: where the pages are reached; without it nothing leads there.
        trace_link: where a trace is seen whole.
    """
    lines = [
        f"# Post-mortem: {escaped(title(incident))}",
        "",
        " · ".join((code(incident.id), SEVERITY_WORDS[incident.severity], incident.status)),
        "",
        *section("Summary", _summary(incident, knowledge)),
        *section("Impact", table_lines([("What", "How much"), *impact_rows(incident)])),
        *section("Timeline", ["All times are UTC.", "", *_timeline(incident, noted)]),
        *section("How long it took", table_lines([("Time", "Took", "From"), *_took(incident, noted)])),
        "## Cause",
        "",
        *_cause(incident.cause, incident.indicator, knowledge),
        *section("How it spread", chain_lines(incident), level=3),
        *section("Where the time lay", whereabouts_lines(incident), level=3),
        *section("Less likely", _less_likely(incident, knowledge), level=3),
        *section("What was ruled out", ruled_out_lines(incident, knowledge) or ["Nothing."]),
        *section("What was not looked at", not_looked_at_lines(incident, knowledge) or ["Nothing."]),
        *section("Next steps", next_steps(incident) or ["None."]),
        *(line for heading in _TO_FILL_IN for line in (f"## {heading}", "")),
        *section("Slowest traces", [_trace(one, trace_link(one)) for one in incident.exemplar_trace_ids]),
        *section("Links", _links(incident, web_url) if web_url else []),
    ]
    return "\n".join(lines).rstrip("\n") + "\n"


def _summary(incident: Incident, knowledge: Knowledge) -> list[str]:
    began, goes_on = f"{_clock(incident.started_at)} UTC", incident.ended_at is None
    when = f"Since {began}" if goes_on else f"For {words.lasting(seconds_of(incident, {}).to_mitigate_s)} from {began}"
    requests = f"{incident.slow_requests_count:,} requests of {incident.service} ({incident.slow_requests_ratio:.0%})"
    if incident.indicator is Indicator.ERRORS:
        hurt = f"{requests} failed"
    else:
        usual, peak = duration_text(incident.baseline_ms_p99), duration_text(incident.peak_ms_p99)
        hurt = f"{requests} were slow or failed; p99 went from {usual} to {peak}"
    end = " It is still going on." if goes_on else ""
    return [escaped(f"{when}, {hurt}.{end} {_cause_words(incident.cause, knowledge)}")]


def _cause_words(cause: Cause, knowledge: Knowledge) -> str:
    if cause.kind is CauseKind.UNKNOWN:
        return "The cause is not known."
    return f"Likely cause: {cause_title(cause, knowledge)}."


def _timeline(incident: Incident, noted: Mapping[str, Any]) -> list[str]:
    """Events and notes in order of time, and which events are not known."""
    events = timeline(incident, noted)
    told = [(one.at, one.name + (f" by {escaped(one.by)}" if one.by else "")) for one in events]
    told += [
        (from_rfc3339(one["at"]), f"{escaped(one['by'])}: {linked(one['text'])}") for one in noted.get("notes", ())
    ]
    lines = [f"- **{_clock(at)}** {what}" for at, what in sorted(told, key=lambda one: one[0])]
    names = {one.name for one in events}
    missing = [name for name in TIMELINE_EVENTS if name not in names]
    return [*lines, *(["", f"Not recorded: {', '.join(missing).lower()}."] if missing else [])]


def _took(incident: Incident, noted: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    took = seconds_of(incident, noted)
    since = "being notified" if took.to_notify_s is not None else "detection"
    return [
        ("To detect", words.lasting(took.to_detect_s), "the onset"),
        ("To notify", words.lasting(took.to_notify_s), "detection"),
        ("To acknowledge", words.lasting(took.to_acknowledge_s), since),
        ("To mitigate", words.lasting(took.to_mitigate_s), "the onset"),
    ]


def _cause(cause: Cause, indicator: Indicator, knowledge: Knowledge) -> list[str]:
    explained = explained_words(cause, indicator)
    lines = [f"**{escaped(cause_title(cause, knowledge))}**", "", paragraph(cause.summary), ""]
    lines += [] if explained is None else [explained, ""]
    if cause.evidence:
        lines += [*table_lines([_HEADINGS, *(_evidence(one, knowledge) for one in cause.evidence)], _NUMBERS), ""]
    return lines


def _evidence(evidence: Evidence, knowledge: Knowledge) -> tuple[str, ...]:
    return (
        knowledge.signal_title(evidence.signal),
        f"{evidence.entity.kind} {evidence.whose}" if evidence.gpu is None else evidence.whose,
        *_levels(evidence),
        _against_onset(evidence.lead_s),
    )


def _against_onset(lead_s: float | None) -> str:
    if lead_s is None:
        return words.NOT_KNOWN
    return "with it" if round(lead_s) == 0 else f"{abs(lead_s):.0f} s {'before' if lead_s > 0 else 'after'}"


def _levels(evidence: Evidence) -> tuple[str, str]:
    """Before and during, each with its unit."""
    before, during, unit = evidence.before, evidence.during, evidence.unit
    levels = (during,) if before is None else (before, during)
    if is_moment(during, unit):
        told = [_moment(one) if is_moment(one, unit) else "0" for one in levels]
    else:
        told = [" ".join(amount).rstrip() for amount in amounts(unit, *levels, of=evidence.entity.kind)]
    return ("no data" if before is None else told[0], told[-1])


def _moment(time_s: float) -> str:
    return f"{_clock(datetime.fromtimestamp(round(time_s), UTC))} UTC"


def _less_likely(incident: Incident, knowledge: Knowledge) -> list[str]:
    return [f"- {escaped(f'{cause_title(one, knowledge)}: {one.summary}')}" for one in incident.explanation.causes[1:]]


def _trace(trace_id: str, url: str | None) -> str:
    return f"- {code(trace_id)}" if url is None else f"- [{code(trace_id)}](<{_in_angles(url)}>)"


def _links(incident: Incident, web_url: str) -> list[str]:
    path = f"incidents/{quote(incident.id, safe='')}"
    told = (
        ("The incident", f"{web_url}/{path}"),
        ("As JSON", f"{web_url}/api/v1/{path}"),
        ("What was noted of it", f"{web_url}/api/v1/{path}/notes"),
        *(
            [("The runbook of this cause", runbook_url(web_url, incident.cause.kind))]
            if incident.cause.kind is not CauseKind.UNKNOWN
            else []
        ),
    )
    return [f"- [{what}](<{_in_angles(url)}>)" for what, url in told]


def _in_angles(url: str) -> str:
    """A URL that cannot end the angle brackets around it."""
    return quote(url, safe="%/:?#[]@!$&'()*+,;=~")


def _clock(moment: datetime) -> str:
    """`2026-11-23 02:41:20`."""
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S}"
