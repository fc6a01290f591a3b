"""One incident as Markdown: for a ticket, a chat, or the start of a post-mortem."""

from datetime import datetime

from domain.cause import Cause, Evidence
from domain.incident import Incident, Severity
from domain.window import duration_text, rfc3339


def incident_report(incident: Incident) -> str:
    """The incident in plain Markdown, without anything that the incident itself does not say."""
    lines = [
        f"# {incident.indicator.upper()} p99 at {duration_text(incident.peak_ms_p99)} on {incident.service}",
        "",
        f"{_SEVERITY_WORDS[incident.severity]} · `{incident.id}` · {incident.status}",
        "",
        "| | |",
        "|---|---|",
        f"| Began | {_moment(incident.started_at)} |",
        f"| Detected | {_moment(incident.detected_at)} |",
        f"| Ended | {_moment(incident.ended_at) if incident.ended_at else 'still going on'} |",
        *([f"| Model | {incident.model} |"] if incident.model else []),
        f"| p99 | {duration_text(incident.baseline_ms_p99)} → {duration_text(incident.peak_ms_p99)} |",
        f"| Slow or failed requests | {incident.slow_requests_count:,} ({incident.slow_requests_ratio:.0%}) |",
        f"| Tenants affected | {_or_unknown(incident.tenants_affected_count)} |",
        f"| Error budget spent | {_percent(incident.budget_spent_ratio)} |",
        f"| GPU cost | {'not known' if incident.cost_usd is None else f'${incident.cost_usd:,.2f}'} |",
        "",
        "## Why",
        "",
    ]
    for cause in incident.explanation.causes:
        lines += _cause_lines(cause)
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


def _cause_lines(cause: Cause) -> list[str]:
    head = f"### {cause.rank}. {_words(cause.kind)}: {cause.entity.name} ({cause.confidence:.0%})"
    return [head, "", cause.summary, "", *[_evidence_line(evidence) for evidence in cause.evidence], ""]


def _evidence_line(evidence: Evidence) -> str:
    before = "no data" if evidence.before is None else _quantity(evidence.before)
    order = ""
    if evidence.lead_s is not None and evidence.lead_s > 0:
        order = f", {evidence.lead_s:.0f} s before the spike"
    elif evidence.lead_s is not None and evidence.lead_s < 0:
        order = f", {-evidence.lead_s:.0f} s after its beginning"
    move = f"{before} → {_quantity(evidence.during)} {evidence.unit}"
    return f"- {_words(evidence.signal)} of {evidence.entity.name}: {move}{order}"


def _quantity(value: float) -> str:
    """Three digits, or all before the point: no exponents for people."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _words(name: str) -> str:
    return name.replace("_", " ")


def _moment(moment: datetime) -> str:
    return rfc3339(moment.replace(microsecond=0))


def _percent(ratio: float | None) -> str:
    return "not known" if ratio is None else f"{ratio:.1%}"


def _or_unknown(count: int | None) -> str:
    return "not known" if count is None else str(count)
