"""From findings to alerts: an incident, a budget that burns, data that stays away.

An alert's labels never change while it lasts, because they are its identity; all that does is an annotation.
"""

from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime, timedelta
from urllib.parse import quote

from analytics.burn_rates import BurnAlert
from domain.alert import Alert, Page
from domain.cause import CauseKind
from domain.incident import Incident, Indicator, Severity
from domain.slo import Objective, SloState, SloStatus
from domain.window import Window, duration_text, from_rfc3339, rfc3339

VALID = timedelta(minutes=4)
"""How long an alert is believed that is not told again; an analysis that stopped must not keep it up."""

_INDICATOR_WORDS = {
    Indicator.TTFT: "Time to first token",
    Indicator.LATENCY: "Latency",
    Indicator.TPOT: "Time per output token",
    Indicator.ERRORS: "Errors",
    Indicator.THROUGHPUT: "Throughput",
    Indicator.GOODPUT: "Goodput",
    Indicator.GPU_AVAILABILITY: "GPU availability",
    Indicator.DATA_FRESHNESS: "Data freshness",
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


def incident_alert(incident: Incident, web_url: str, now: datetime) -> Alert | None:
    """The alert that an incident is; None when nobody needs to be told."""
    page = page_for(incident, web_url)
    if page is None:
        return None
    ends_at = now + VALID if page.ends_at is None else from_rfc3339(page.ends_at)
    url = page.annotations["incident_url"]
    return Alert(page.labels, page.annotations, from_rfc3339(page.starts_at), ends_at, now, generator_url=url)


def burn_alert(burn: BurnAlert, incidents: Sequence[Incident], web_url: str, now: datetime) -> Alert:
    """The alert that a budget which burns too fast is: what users feel, and the cause of the incident beside it.

    Args:
        burn: which objective, how fast, since when.
        incidents: what is known of the time; the worst one of the same service that overlaps tells the cause.
        web_url: where the pages are reached.
        now: when it is told.
    """
    objective = burn.objective
    window = duration_text(burn.windows.long_s * 1000)
    annotations = {
        "summary": f"{objective.service}: the budget of {objective.name} burns {burn.burn_rate:,.1f} times too fast",
        "budget": f"over {window}; at this rate the {objective.window_days} days' budget lasts "
        f"{duration_text(objective.window_days * 86_400_000 / max(burn.burn_rate, 1e-9))}",
        "promise": promise(objective),
        "since": rfc3339(burn.started_at),
        "slo_url": slo_url(objective, web_url),
    }
    beside = [one for one in incidents if _beside(one, burn, now)]
    if beside:
        worst = page_for(max(beside, key=lambda one: one.slow_requests_count), web_url)
        shared = (
            "impact",
            "cause",
            "cause_confidence",
            "next_step",
            "budget_spent",
            "exemplar_trace_id",
            "incident_url",
        )
        annotations |= {name: worst.annotations[name] for name in shared if worst and name in worst.annotations}
    labels = {
        "alertname": "SLOBurnRate",
        "severity": burn.severity.value,
        "service": objective.service,
        "slo": objective.name,
        "indicator": objective.indicator.value,
    }
    ends_at = now + VALID if burn.ended_at is None else burn.ended_at
    return Alert(labels, annotations, burn.started_at, ends_at, now, generator_url=annotations["slo_url"])


def _beside(incident: Incident, burn: BurnAlert, now: datetime) -> bool:
    services = {incident.service, *incident.services_affected}
    before = burn.started_at - timedelta(seconds=burn.windows.long_s)  # a slow pair tells of what began long ago
    ended = incident.ended_at or now
    return burn.objective.service in services and incident.started_at <= now and ended >= before


def slo_url(objective: Objective, web_url: str) -> str:
    """Where people see an objective."""
    return f"{web_url}/slos#{quote(objective.name)}"


def promise(objective: Objective) -> str:
    """What was promised, in words: `99 % of the requests see their first token within 2 s, over 30 days`."""
    what, does = _kept(objective)
    share, kept = f"{objective.target_ratio * 100:.6g} % of the {what}", f"{does}{_of_whom(objective)}"
    if objective.calendar is None:
        return f"{share} {kept}, over {objective.window_days} days"
    units = {"d": "day", "w": "week", "M": "month", "Q": "quarter", "Y": "year"}
    unit, count = units[objective.calendar.unit], objective.calendar.count
    return f"{share} {kept}, in each calendar {unit}" if count == 1 else f"{share} {kept}, in each {count} {unit}s"


def _kept(objective: Objective) -> tuple[str, str]:
    """What is counted, and what the good ones do."""
    within, pace = (
        duration_text(limit) if limit is not None else ""
        for limit in (objective.threshold_ms, objective.tpot_threshold_ms)
    )
    aged = duration_text((objective.age_max_s or 0.0) * 1000)
    return {
        Indicator.ERRORS: ("requests", "do not fail"),
        Indicator.TTFT: ("requests", f"see their first token within {within}"),
        Indicator.LATENCY: ("requests", f"finish within {within}"),
        Indicator.TPOT: ("requests", f"write each further token within {within}"),
        Indicator.GOODPUT: ("requests", f"see their first token within {within} and each further one within {pace}"),
        Indicator.THROUGHPUT: ("minutes with demand", f"bring {objective.floor_per_s or 0.0:g} predictions a second"),
        Indicator.GPU_AVAILABILITY: ("minutes of GPUs", "are without a fault"),
        Indicator.DATA_FRESHNESS: ("minutes", f"have {objective.data} not older than {aged}"),
    }[objective.indicator]


def _of_whom(objective: Objective) -> str:
    """` (model llama-70b, tenant acme)`; nothing where all count."""
    chosen = [f"{name} {value}" for name, value in asdict(objective.selection).items() if value is not None]
    return f" ({', '.join(chosen)})" if chosen else ""


def status_alerts(statuses: Sequence[SloStatus], seen: Window, web_url: str, now: datetime) -> list[Alert]:
    """Tickets for budgets that are spent, and for objectives that nothing is known of any more.

    Args:
        statuses: where each objective stands.
        seen: the time within which its service was heard of at all.
        web_url: where the pages are reached.
        now: when it is told.
    """
    found = []
    for status in statuses:
        objective = status.objective
        url = slo_url(objective, web_url)
        worst = min(
            (one.counted.budget_left_ratio for one in status.periods if one.counted.budget_left_ratio is not None),
            default=status.budget_left_ratio,
        )
        if status.state is SloState.MISSED and worst is not None:
            summary = f"{objective.service}: the error budget of {objective.name} is spent"
            told = {"budget": f"{-worst:.0%} more than all of it", "promise": promise(objective)}
            found.append(_ticket("SLOBudgetSpent", objective, {"summary": summary, **told, "slo_url": url}, seen, now))
        elif status.state is SloState.NO_DATA:
            summary = f"{objective.service}: no {_kept(objective)[0]}, so nothing is known of {objective.name}"
            found.append(_ticket("SLONoData", objective, {"summary": summary, "slo_url": url}, seen, now))
    return found


def _ticket(name: str, objective: Objective, annotations: dict[str, str], seen: Window, now: datetime) -> Alert:
    labels = {"alertname": name, "severity": "ticket", "service": objective.service, "slo": objective.name}
    return Alert(labels, annotations, seen.end, now + VALID, now, generator_url=annotations["slo_url"])


def data_late_alert(newest: datetime | None, late_s: float, web_url: str, now: datetime) -> Alert | None:
    """A ticket when nothing has come in for so long; None while data is fresh, or never was."""
    if newest is None or (now - newest).total_seconds() <= late_s:
        return None
    annotations = {
        "summary": f"No request has come in for {duration_text((now - newest).total_seconds() * 1000)}",
        "impact": "Nothing that happens now is seen: no incident, no page",
        "since": rfc3339(newest),
        "next_step": "See which source is silent, and whether the collector refuses or waits.",
        "data_url": f"{web_url}/data",
    }
    labels = {"alertname": "TailsightDataLate", "severity": "ticket", "service": "tailsight"}
    return Alert(labels, annotations, newest + timedelta(seconds=late_s), now + VALID, now)
