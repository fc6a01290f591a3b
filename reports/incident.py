"""One incident as Markdown: for a ticket, a chat, or the start of a post-mortem."""

from datetime import datetime

from analytics.scope import STAGES
from domain.cause import Cause, CauseKind, Evidence, Step, Whereabouts
from domain.incident import Incident, Indicator, Severity
from domain.money import usd_text
from domain.quantity import move_text
from domain.window import duration_text, rfc3339


def incident_report(incident: Incident) -> str:
    """The incident in plain Markdown, without anything that the incident itself does not say."""
    lines = [
        f"# {_title(incident)}",
        "",
        f"{_SEVERITY_WORDS[incident.severity]} · `{incident.id}` · {incident.status}",
        "",
        "| | |",
        "|---|---|",
        f"| Began | {_moment(incident.started_at)} |",
        f"| Detected | {_moment(incident.detected_at)} |",
        f"| Ended | {_moment(incident.ended_at) if incident.ended_at else 'still going on'} |",
        *([f"| Model | {incident.model} |"] if incident.model else []),
        *(
            [f"| Services affected | {', '.join(affected)} |"]
            if len(affected := incident.services_affected) > 1
            else []
        ),
        *(
            []
            if incident.indicator is Indicator.ERRORS
            else [f"| p99 | {duration_text(incident.baseline_ms_p99)} → {duration_text(incident.peak_ms_p99)} |"]
        ),
        f"| Slow or failed requests | {incident.slow_requests_count:,} ({incident.slow_requests_ratio:.0%}) |",
        f"| Tenants affected | {_or_unknown(incident.tenants_affected_count)} |",
        f"| Error budget spent | {_percent(incident.budget_spent_ratio)} |",
        f"| GPU time of slow requests | {'not known' if incident.cost_usd is None else usd_text(incident.cost_usd)} |",
        "",
        "## Why",
        "",
    ]
    for cause in incident.explanation.causes:
        lines += _cause_lines(cause, incident.indicator)
    if incident.cause.chain:
        lines += ["## How it spread", ""]
        lines += [f"{number}. {_step_words(step)}" for number, step in enumerate(incident.cause.chain, start=1)]
        lines.append("")
    if (where := incident.explanation.whereabouts) and (found := _whereabouts_lines(where, incident.indicator)):
        lines += ["## Where it lies", "", *found, ""]
    not_looked_at = "not looked at: "
    for title, unseen in (("Ruled out", False), ("Not looked at", True)):
        of_title = [one for one in incident.explanation.ruled_out if one.why.startswith(not_looked_at) == unseen]
        if of_title:
            lines += [f"## {title}", ""]
            lines += [f"- {_words(one.kind)}: {one.why.removeprefix(not_looked_at)}" for one in of_title]
            lines.append("")
    lines += ["## Next steps", ""]
    lines += [f"{number}. {step}" for number, step in enumerate(incident.cause.next_steps, start=1)]
    if incident.exemplar_trace_ids:
        lines += ["", "## Slowest traces", ""]
        lines += [f"- `{trace_id}`" for trace_id in incident.exemplar_trace_ids]
    return "\n".join(lines) + "\n"


_SEVERITY_WORDS = {Severity.PAGE: "Page", Severity.TICKET: "Ticket", Severity.INFO: "For information"}


def _title(incident: Incident) -> str:
    if incident.indicator is Indicator.ERRORS:
        return f"{incident.slow_requests_ratio:.0%} of requests fail on {incident.service}"
    return f"{incident.indicator.upper()} p99 at {duration_text(incident.peak_ms_p99)} on {incident.service}"


def _cause_lines(cause: Cause, indicator: Indicator) -> list[str]:
    sure = f" ({cause.confidence:.0%})" if cause.rank == 1 and cause.kind is not CauseKind.UNKNOWN else ""
    head = f"### {cause.rank}. {_words(cause.kind)}: {cause.entity.name}{sure}"
    explained = (
        []
        if cause.explained_ratio is None
        else [f"Explains {min(cause.explained_ratio, 1.0):.0%} {_of_the_added(indicator)}.", ""]
    )
    return [head, "", cause.summary, "", *explained, *[_evidence_line(evidence) for evidence in cause.evidence], ""]


def _step_words(step: Step) -> str:
    return f"{step.entity.name}: {step.text}{_order(step.lead_s)}"


def _whereabouts_lines(where: Whereabouts, indicator: Indicator) -> list[str]:
    """In which stages the time went, most first, and who has more of it than of the traffic."""
    lines = []
    if indicator is not Indicator.ERRORS and where.excess_ms > 0:
        per_token = indicator is Indicator.TPOT
        took = f"token took {where.excess_ms:.1f} ms" if per_token else f"request took {where.excess_ms:,.0f} ms"
        added = sorted(where.added_ms.items(), key=lambda stage: -stage[1])
        stages = [f"{added_ms:,.0f} ms {STAGES.get(stage, stage)}" for stage, added_ms in added]
        stages += [f"{where.untold_ms:,.0f} ms in no stage that is told"] if where.untold_ms else []
        lines.append(f"- A mean {took} longer" + (f": {'; '.join(stages)}" if stages else ""))
    lines += [
        f"- {share.entity}: {share.excess_ratio:.0%} {_of_the_added(indicator)}, "
        f"{share.traffic_ratio:.0%} of the traffic"
        for share in where.shares
    ]
    return lines


def _of_the_added(indicator: Indicator) -> str:
    return "of the failures" if indicator is Indicator.ERRORS else "of the added time"


def _evidence_line(evidence: Evidence) -> str:
    move = move_text(evidence.before, evidence.during, evidence.unit)
    return f"- {_words(evidence.signal)} of {evidence.entity.name}: {move}{_order(evidence.lead_s)}"


def _order(lead_s: float | None) -> str:
    """When it moved, where that is known and not the beginning of the spike itself."""
    if lead_s is None or round(lead_s) == 0:
        return ""
    return f", {lead_s:.0f} s before the spike" if lead_s > 0 else f", {-lead_s:.0f} s after its beginning"


def _words(name: str) -> str:
    return name.replace("_", " ")


def _moment(moment: datetime) -> str:
    return rfc3339(moment.replace(microsecond=0))


def _percent(ratio: float | None) -> str:
    return "not known" if ratio is None else f"{ratio:.1%}"


def _or_unknown(count: int | None) -> str:
    return "not known" if count is None else str(count)
