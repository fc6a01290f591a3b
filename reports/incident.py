"""One incident as Markdown: for a ticket or a chat; its parts are those of a post-mortem too."""

from collections.abc import Mapping
from datetime import datetime
from types import MappingProxyType
from typing import Any

from alerts.handling import timeline
from analytics.incident_times import seconds_of
from analytics.knowledge import Knowledge
from analytics.scope import STAGES
from domain.cause import NOT_LOOKED_AT, Cause, CauseKind, Evidence, RuledOut, Whereabouts
from domain.incident import Incident, Indicator, Severity
from domain.money import usd_text
from domain.window import duration_text, from_rfc3339, rfc3339
from reports import words
from reports.escaping import code, escaped, linked, paragraph, table_lines

_NOTHING: Mapping[str, Any] = MappingProxyType({})


def incident_report(
    incident: Incident, noted: Mapping[str, Any] = _NOTHING, *, knowledge: Knowledge, notifies_anybody: bool = True
) -> str:
    """The incident in plain Markdown, without anything that the incident itself or its notes do not say.

    Args:
        incident: what was found.
        noted: what people noted, of `storage.readers.read_incident_notes`.
        knowledge: how signals and kinds of cause are called.
        notifies_anybody: has the configuration an Alertmanager or a receiver; if not, that is why nobody was notified.
    """
    first, *others = incident.explanation.causes
    handled = handling_rows(incident, noted, notifies_anybody=notifies_anybody)
    lines = [
        f"# {escaped(title(incident))}",
        "",
        f"{SEVERITY_WORDS[incident.severity]} · {code(incident.id)} · {incident.status}",
        "",
        *table_lines([("", ""), *_times(incident), *impact_rows(incident), *handled]),
        "",
        *section("Notes", note_lines(noted)),
        "## Why",
        "",
        *_cause_lines(first, incident.indicator, knowledge),
        *_what_to_do(incident),
    ]
    further = [line for cause in others for line in _cause_lines(cause, incident.indicator, knowledge)][:-1]
    lines += section("How it spread", chain_lines(incident))
    lines += section("Where it lies", whereabouts_lines(incident))
    lines += section("Less likely", further)
    lines += section("Ruled out", ruled_out_lines(incident, knowledge))
    lines += section("Not looked at", not_looked_at_lines(incident, knowledge))
    lines += section("Slowest traces", [f"- {code(trace_id)}" for trace_id in incident.exemplar_trace_ids])
    return "\n".join(lines).rstrip("\n") + "\n"


SEVERITY_WORDS = {Severity.PAGE: "Page", Severity.TICKET: "Ticket", Severity.INFO: "For information"}


# -- Parts: words are plain, lines are Markdown --------------------------------------------------------------------


def title(incident: Incident) -> str:
    """`TTFT p99 at 4.1 s on chat`, `31% of requests fail on chat`."""
    if incident.indicator is Indicator.ERRORS:
        return f"{incident.slow_requests_ratio:.0%} of requests fail on {incident.service}"
    return f"{words.INDICATORS[incident.indicator]} p99 at {duration_text(incident.peak_ms_p99)} on {incident.service}"


def impact_rows(incident: Incident) -> list[tuple[str, str]]:
    """What it did to users, budget and bill; what is not known says so."""
    affected, cost_usd = incident.services_affected, incident.cost_usd
    p99 = f"{duration_text(incident.baseline_ms_p99)} → {duration_text(incident.peak_ms_p99)}"
    return [
        *([("Model", incident.model)] if incident.model else []),
        *([("Services affected", ", ".join(affected))] if len(affected) > 1 else []),
        *([] if incident.indicator is Indicator.ERRORS else [("p99", p99)]),
        ("Slow or failed requests", f"{incident.slow_requests_count:,} ({incident.slow_requests_ratio:.0%})"),
        ("Tenants affected", _or_unknown(incident.tenants_affected_count)),
        ("Error budget spent", _percent(incident.budget_spent_ratio)),
        ("GPU time of slow requests", "not known" if cost_usd is None else usd_text(cost_usd)),
    ]


def handling_rows(incident: Incident, noted: Mapping[str, Any], *, notifies_anybody: bool) -> list[tuple[str, str]]:
    """When somebody was notified, acknowledged and closed it, and how long that and the end took; what is known.

    That nobody was notified is known, and said with the reason.
    """
    took = seconds_of(incident, noted)
    events = {one.name: one for one in timeline(incident, noted)}
    rows = (
        [] if "Notified" in events else [("Notified", _why_not_notified(incident, notifies_anybody=notifies_anybody))]
    )
    rows += [
        (name, moment_text(events[name].at) + (f" by {events[name].by}" if events[name].by else ""))
        for name in ("Notified", "Acknowledged", "Closed")
        if name in events
    ]
    times = (("Time to acknowledge", took.to_acknowledge_s), ("Time to mitigate", took.to_mitigate_s))
    return [*rows, *((name, words.lasting(seconds)) for name, seconds in times if seconds is not None)]


def note_lines(noted: Mapping[str, Any]) -> list[str]:
    """What people noted, in order of time."""
    return [
        f"- {moment_text(from_rfc3339(one['at']))} {escaped(one['by'])}: {linked(one['text'])}"
        for one in noted.get("notes", ())
    ]


def cause_title(cause: Cause, knowledge: Knowledge) -> str:
    """`Bad link on gpu-07-03/mlx5_2/1 (93% sure)`; how sure it is, is calibrated of the first alone."""
    if cause.kind is CauseKind.UNKNOWN:
        return "Not known"
    sure = f" ({cause.confidence:.0%} sure)" if cause.rank == 1 else ""
    return f"{knowledge.cause_title(cause.kind)} on {cause.whose}{sure}"


def explained_words(cause: Cause, indicator: Indicator) -> str | None:
    """How much of the added time a cause explains; None where that is not known."""
    if cause.explained_ratio is None:
        return None
    return f"Explains {min(cause.explained_ratio, 1.0):.0%} {_of_the_added(indicator)}."


def chain_lines(incident: Incident) -> list[str]:
    """How the first cause spread to the users."""
    steps = enumerate(incident.cause.chain, start=1)
    return [f"{number}. {paragraph(f'{one.whose}: {one.text}{order_words(one.lead_s)}')}" for number, one in steps]


def whereabouts_lines(incident: Incident) -> list[str]:
    """In which stages the time went, most first, and who has more of it than of the traffic."""
    where, indicator = incident.explanation.whereabouts, incident.indicator
    if where is None:
        return []
    lines = []
    if indicator is not Indicator.ERRORS and where.excess_ms > 0:
        lines.append(f"- {escaped(_stages_words(where, indicator))}")
    told = (
        f"{share.entity}: {share.excess_ratio:.0%} {_of_the_added(indicator)}, {share.traffic_ratio:.0%} of the traffic"
        for share in where.shares
    )
    return [*lines, *(f"- {escaped(one)}" for one in told)]


def ruled_out_lines(incident: Incident, knowledge: Knowledge) -> list[str]:
    """Causes that were looked at and are not it."""
    return [
        _set_aside(one, knowledge) for one in incident.explanation.ruled_out if not one.why.startswith(NOT_LOOKED_AT)
    ]


def not_looked_at_lines(incident: Incident, knowledge: Knowledge) -> list[str]:
    """Causes that may be it for all that is known."""
    return [_set_aside(one, knowledge) for one in incident.explanation.ruled_out if one.why.startswith(NOT_LOOKED_AT)]


def next_steps(incident: Incident) -> list[str]:
    """What the runbook of the first cause says, in its order."""
    return [f"{number}. {paragraph(step)}" for number, step in enumerate(incident.cause.next_steps, start=1)]


def section(heading: str, lines: list[str], level: int = 2) -> list[str]:
    """Lines under a heading; nothing where there are none."""
    return [f"{'#' * level} {heading}", "", *lines, ""] if lines else []


def order_words(lead_s: float | None) -> str:
    """When something moved, where that is known and not the beginning of the spike itself."""
    if lead_s is None or round(lead_s) == 0:
        return ""
    return f", {lead_s:.0f} s before the spike" if lead_s > 0 else f", {-lead_s:.0f} s after the spike began"


def moment_text(moment: datetime) -> str:
    """`2026-11-23T02:41:20Z`."""
    return rfc3339(moment.replace(microsecond=0))


def _times(incident: Incident) -> list[tuple[str, str]]:
    return [
        ("Began", moment_text(incident.started_at)),
        ("Detected", moment_text(incident.detected_at)),
        ("Ended", moment_text(incident.ended_at) if incident.ended_at else "still going on"),
    ]


def _cause_lines(cause: Cause, indicator: Indicator, knowledge: Knowledge) -> list[str]:
    explained = explained_words(cause, indicator)
    return [
        f"### {cause.rank}. {escaped(cause_title(cause, knowledge))}",
        "",
        paragraph(cause.summary),
        "",
        *([] if explained is None else [explained, ""]),
        *(_evidence_line(evidence, knowledge) for evidence in cause.evidence),
        "",
    ]


def _evidence_line(evidence: Evidence, knowledge: Knowledge) -> str:
    of = f"{knowledge.signal_title(evidence.signal)} of {evidence.whose}"
    return f"- {escaped(f'{of}: {evidence.move}{order_words(evidence.lead_s)}')}"


def _what_to_do(incident: Incident) -> list[str]:
    """What to do about what goes on; what to look after, once it is over."""
    steps = next_steps(incident)
    if incident.ended_at is None or not steps:
        return section("Next steps", steps)
    over = f"It has been over since {moment_text(incident.ended_at)}. Is the cause still there? What fixes it:"
    return section("So that it does not come back", [over, "", *steps])


def _why_not_notified(incident: Incident, *, notifies_anybody: bool) -> str:
    if incident.severity is Severity.INFO:
        return "nobody: it is for information only"
    if not notifies_anybody:
        return "nobody: no receiver is configured (docs/alerts.md)"
    return "not by Tailsight so far" if incident.ended_at is None else "not by Tailsight"


def _stages_words(where: Whereabouts, indicator: Indicator) -> str:
    per_token = indicator is Indicator.TPOT
    took = f"token took {where.excess_ms:.1f} ms" if per_token else f"request took {where.excess_ms:,.0f} ms"
    added = sorted(where.added_ms.items(), key=lambda stage: -stage[1])
    stages = [f"{added_ms:,.0f} ms {STAGES.get(stage, stage)}" for stage, added_ms in added]
    stages += [f"{where.untold_ms:,.0f} ms in no known stage"] if where.untold_ms else []
    stages += [f"{where.saved_ms:,.0f} ms less in the others"] if where.saved_ms and not per_token else []
    return f"A mean {took} longer" + (f": {'; '.join(stages)}" if stages else "")


def _set_aside(one: RuledOut, knowledge: Knowledge) -> str:
    return f"- {escaped(f'{knowledge.cause_title(one.kind)}: {one.why.removeprefix(NOT_LOOKED_AT)}')}"


def _of_the_added(indicator: Indicator) -> str:
    return "of the failures" if indicator is Indicator.ERRORS else "of the added time"


def _percent(ratio: float | None) -> str:
    return "not known" if ratio is None else f"{ratio:.1%}"


def _or_unknown(count: int | None) -> str:
    return "not known" if count is None else str(count)
