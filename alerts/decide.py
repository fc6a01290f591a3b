"""From an incident to at most one page, in the shape that Alertmanager takes (API v2)."""

from domain.alert import Page
from domain.cause import CauseKind
from domain.incident import Incident, Indicator, Severity
from domain.window import duration_text, rfc3339

_INDICATOR_WORDS = {
    Indicator.TTFT: "Time to first token",
    Indicator.LATENCY: "Latency",
    Indicator.TPOT: "Time per output token",
    Indicator.ERRORS: "Errors",
    Indicator.THROUGHPUT: "Throughput",
}


def page_for(incident: Incident, web_url: str) -> Page | None:
    """What the on-call engineer is told; None when nobody needs to be.

    The label `severity` says whether it wakes someone (`page`) or waits for the morning (`ticket`). Labels hold only
    what never changes while the incident lasts, because they are the alert's identity.

    Args:
        incident: a spike with its explanation.
        web_url: where the pages are reached, e.g. http://127.0.0.1:8080.
    """
    if incident.severity is Severity.INFO:
        return None
    words = _INDICATOR_WORDS[incident.indicator]
    cause = incident.cause
    annotations = {
        "summary": f"{words} of {incident.service}: p99 {duration_text(incident.peak_ms_p99)}, "
        f"usual {duration_text(incident.baseline_ms_p99)}",
        "impact": f"{incident.slow_requests_count:,} slow or failed requests, {incident.slow_requests_ratio:.0%} of all"
        + (f", {incident.tenants_affected_count} tenants" if incident.tenants_affected_count is not None else ""),
        "cause": cause.summary,
        "since": rfc3339(incident.started_at),
        "incident_url": f"{web_url}/incidents/{incident.id}",
    }
    if cause.kind is not CauseKind.UNKNOWN:
        annotations["cause_confidence"] = f"{cause.confidence:.0%}"
    if cause.next_steps:
        annotations["next_step"] = cause.next_steps[0]
    if incident.budget_spent_ratio is not None:
        annotations["budget_spent"] = f"{incident.budget_spent_ratio:.1%} of the error budget"
    if incident.exemplar_trace_ids:
        annotations["exemplar_trace_id"] = incident.exemplar_trace_ids[0]
    labels = {
        "alertname": "TailsightLatencySpike",
        "severity": incident.severity.value,
        "service": incident.service,
        "indicator": incident.indicator.value,
        "incident": incident.id,
    }
    if incident.model is not None:
        labels["model"] = incident.model
    ends_at = rfc3339(incident.ended_at) if incident.ended_at is not None else None
    return Page(labels, annotations, rfc3339(incident.started_at), ends_at)
