"""From findings to alerts: an incident, a budget that burns, data that stays away.

An alert's labels never change while it lasts, because they are its identity; all that does is an annotation.
"""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict
from datetime import datetime, timedelta
from functools import partial
from urllib.parse import quote, urlencode

from alerts.catalogue import ALERTS, runbook_url
from alerts.matchers import Matcher, written
from analytics.burn_rates import BurnAlert
from analytics.cost.runaway import BudgetState, BudgetStatus, SpendRunaway
from analytics.knowledge import Knowledge, shipped_knowledge
from analytics.traffic_stops import StoppedTraffic
from domain.alert import VALID, Alert, Page
from domain.cause import Cause, CauseKind, Evidence
from domain.entity import EntityKind
from domain.incident import Incident, Indicator, Severity
from domain.money import usd_text
from domain.slo import Objective, SloState, SloStatus
from domain.window import Window, duration_text, from_rfc3339, rfc3339

_INDICATOR_WORDS = {Indicator.TTFT: "TTFT", Indicator.TPOT: "time per token"}  # the others bear their names
_EVIDENCE_MAX, _CAUSES_MAX, _TENANTS_MAX, _TRACES_MAX = 2, 3, 3, 3  # that an annotation names
_STAYS_FACTOR = 1.5  # a forecast that wavers about the horizon is one ticket


def page_for(incident: Incident, web_url: str, knowledge: Knowledge | None = None) -> Page | None:
    """What the on-call engineer is notified of; None when nobody needs to be.

    The label `severity` says whether it wakes someone (`page`) or waits for the morning (`ticket`). Labels hold only
    what never changes while the incident lasts, because they are the alert's identity.

    Args:
        incident: a spike with its explanation.
        web_url: where the pages are reached, e.g. http://127.0.0.1:8080.
        knowledge: how signals and kinds of cause are called; what is shipped when None.
    """
    if incident.severity is Severity.INFO:
        return None
    known = knowledge or shipped_knowledge()
    cause = incident.cause
    annotations = {
        "summary": f"{incident.service}: {_felt(incident)}; {_likeliest(cause)}",
        "impact": _impact(incident),
        "cause": cause.summary,
        "since": rfc3339(incident.started_at),
        "incident_url": f"{web_url}/incidents/{quote(incident.id, safe='')}",
    }
    if cause.kind is not CauseKind.UNKNOWN:
        annotations["cause_confidence"] = f"{cause.confidence:.0%}"
    if cause.evidence:
        strongest = sorted(cause.evidence, key=lambda one: -one.score)[:_EVIDENCE_MAX]
        annotations["evidence"] = "; ".join(_evidence(one, known) for one in strongest)
    others = incident.explanation.causes[1:_CAUSES_MAX]
    if others:
        annotations["other_causes"] = "; ".join(_other_cause(one, known) for one in others)
    if cause.next_steps:
        annotations["next_step"] = cause.next_steps[0]
    if incident.budget_spent_ratio is not None:
        annotations["budget_spent"] = f"{incident.budget_spent_ratio:.1%} of the error budget"
    if incident.cost_usd is not None:
        annotations["cost"] = f"{usd_text(incident.cost_usd)} of GPU time"
    if incident.exemplar_trace_ids:
        annotations["exemplar_trace_id"] = incident.exemplar_trace_ids[0]
        annotations["exemplar_traces"] = ", ".join(incident.exemplar_trace_ids[:_TRACES_MAX])
    labels = {
        "alertname": "TailsightLatencySpike",
        "severity": incident.severity.value,
        "service": incident.service,
        "indicator": incident.indicator.value,
        "incident": incident.id,
    }
    if incident.model is not None:
        labels["model"] = incident.model
    named = labels["alertname"] if cause.kind is CauseKind.UNKNOWN else cause.kind.value
    annotations["runbook_url"] = runbook_url(web_url, named)
    annotations["silence_url"] = silence_url(labels, web_url)
    ends_at = rfc3339(incident.ended_at) if incident.ended_at is not None else None
    return Page(labels, annotations, rfc3339(incident.started_at), ends_at)


def _felt(incident: Incident) -> str:
    """What users feel: a percentile beside the usual one; of failures their share, for what fails has no time."""
    if incident.indicator is Indicator.ERRORS:
        percent = incident.slow_requests_ratio * 100
        return f"{percent:.0f} % of requests fail" if percent >= 1 else f"{percent:.1g} % of requests fail"
    what = _INDICATOR_WORDS.get(incident.indicator, incident.indicator.value)
    return f"{what} p99 {duration_text(incident.peak_ms_p99)}, usually {duration_text(incident.baseline_ms_p99)}"


def _likeliest(cause: Cause) -> str:
    """`network_link_fault on gpu-07-03/mlx5_2/1, 93 %`: the cause in the few words that a title has for it."""
    if cause.kind is CauseKind.UNKNOWN:
        return "cause unknown"
    return f"{cause.kind.value} on {cause.whose}, {cause.confidence * 100:.0f} %"


def _impact(incident: Incident) -> str:
    text = f"{incident.slow_requests_count:,} slow or failed requests, {incident.slow_requests_ratio:.0%} of all"
    where = incident.explanation.whereabouts
    tenants = [one for one in (where.shares if where else ()) if one.entity.kind is EntityKind.TENANT]
    tenants.sort(key=lambda one: -one.excess_ratio)
    if incident.tenants_affected_count is not None:
        count = incident.tenants_affected_count
        text += f", {count} tenant{'' if count == 1 else 's'}"
    what = "failures" if incident.indicator is Indicator.ERRORS else "added time"
    hit = [f"{one.entity.name} ({one.excess_ratio:.0%} of the {what})" for one in tenants[:_TENANTS_MAX]]
    return text + (f"; hit hardest: {', '.join(hit)}" if hit else "")


def _evidence(evidence: Evidence, knowledge: Knowledge) -> str:
    """`Symbol errors of gpu-07-03/mlx5_2/1: 0.37 → 85.4 per second`."""
    signal = knowledge.signals.get(evidence.signal)
    title = signal.title if signal is not None else evidence.signal.replace("_", " ")
    return f"{title} of {evidence.whose}: {evidence.move}"


def _other_cause(cause: Cause, knowledge: Knowledge) -> str:
    pattern = knowledge.patterns.get(cause.kind)
    title = pattern.title if pattern is not None else cause.kind.value.replace("_", " ")
    return f"{cause.rank}. {title} on {cause.whose}"


def silence_url(labels: Mapping[str, str], web_url: str) -> str:
    """Where these labels can be silenced: a form that is filled in."""
    return f"{web_url}/alerts?{urlencode({'silence': written(silence_matchers(labels))})}"


def alertmanager_silence_url(labels: Mapping[str, str], alertmanager_url: str) -> str:
    """The same form of Alertmanager's own pages."""
    return f"{alertmanager_url}/#/silences/new?filter={quote(written(silence_matchers(labels)), safe='')}"


def silence_matchers(labels: Mapping[str, str]) -> tuple[Matcher, ...]:
    """The matchers that silence an alert of these labels, and the next of its kind: all labels but the incident's."""
    return tuple(Matcher(name, value) for name, value in sorted(labels.items()) if name != "incident")


def incident_alert(incident: Incident, web_url: str, now: datetime, knowledge: Knowledge | None = None) -> Alert | None:
    """The alert that an incident is; None when nobody needs to be notified."""
    page = page_for(incident, web_url, knowledge)
    if page is None:
        return None
    ends_at = now + VALID if page.ends_at is None else from_rfc3339(page.ends_at)
    url = page.annotations["incident_url"]
    return Alert(page.labels, page.annotations, from_rfc3339(page.starts_at), ends_at, now, generator_url=url)


_SHARED = (
    "impact",
    "cause",
    "cause_confidence",
    "evidence",
    "other_causes",
    "next_step",
    "budget_spent",
    "cost",
    "exemplar_trace_id",
    "exemplar_traces",
    "incident_url",
    "runbook_url",
)
"""What a budget's page takes over from the incident beside it."""


def burn_alert(
    burn: BurnAlert, incidents: Sequence[Incident], web_url: str, now: datetime, knowledge: Knowledge | None = None
) -> Alert:
    """The alert that a budget which burns too fast is: what users feel, and the cause of the incident beside it.

    Args:
        burn: which objective, how fast, since when.
        incidents: what is known of the time. The cause is that of one of the same service that overlaps: rather of one
            that goes on, of the same indicator, and of more requests.
        web_url: where the pages are reached.
        now: when it is evaluated.
        knowledge: as `page_for` takes it.
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
    annotations["runbook_url"] = runbook_url(web_url, "SLOBurnRate")
    beside = [one for one in incidents if _beside(one, burn, now)]
    nearest = max(beside, key=partial(_nearness, objective), default=None)
    page = None if nearest is None else page_for(nearest, web_url, knowledge)
    if nearest is not None and page is not None:
        annotations |= {name: page.annotations[name] for name in _SHARED if name in page.annotations}
        annotations["summary"] += f"; {_likeliest(nearest.cause)}"
        if nearest.ended_at is not None:
            over = f"over since {nearest.ended_at:%d %b %H:%M} UTC"
            annotations["summary"] += f", {over}"
            annotations["cause"] = f"{over[:1].upper()}{over[1:]}: {annotations['cause']}"
            annotations.pop("next_step", None)
    labels = {
        "alertname": "SLOBurnRate",
        "severity": burn.severity.value,
        "service": objective.service,
        "slo": objective.name,
        "indicator": objective.indicator.value,
    }
    annotations["silence_url"] = silence_url(labels, web_url)
    ends_at = now + VALID if burn.ended_at is None else burn.ended_at
    return Alert(labels, annotations, burn.started_at, ends_at, now, generator_url=annotations["slo_url"])


def _nearness(objective: Objective, incident: Incident) -> tuple[bool, bool, int]:
    return incident.ended_at is None, incident.indicator is objective.indicator, incident.slow_requests_count


def _beside(incident: Incident, burn: BurnAlert, now: datetime) -> bool:
    services = {incident.service, *incident.services_affected}
    before = burn.started_at - timedelta(seconds=burn.windows.long_s)  # a slow pair tells of what began long ago
    ended = incident.ended_at or now
    return burn.objective.service in services and incident.started_at <= now and ended >= before


def slo_url(objective: Objective, web_url: str) -> str:
    """Where people see an objective."""
    return f"{web_url}/slos/{quote(objective.name, safe='')}"


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


def status_alerts(statuses: Sequence[SloStatus], window: Window, web_url: str, now: datetime) -> list[Alert]:
    """Tickets for budgets that are spent, and for objectives that nothing is known of any more.

    Args:
        statuses: where each objective stands.
        window: the time that was evaluated; its end is the beginning of the alerts.
        web_url: where the pages are reached.
        now: when it is evaluated.
    """
    found = []
    for status in statuses:
        objective = status.objective
        worst = min(
            (one.counted.budget_left_ratio for one in status.periods if one.counted.budget_left_ratio is not None),
            default=status.budget_left_ratio,
        )
        if status.state is SloState.MISSED and worst is not None:
            summary = f"{objective.service}: the error budget of {objective.name} is spent"
            annotations = {
                "summary": summary,
                "budget": f"{-worst:.0%} more than all of it",
                "promise": promise(objective),
            }
            found.append(_ticket("SLOBudgetSpent", objective, annotations, window.end, web_url, now))
        elif status.state is SloState.NO_DATA:
            summary = f"{objective.service}: no {_kept(objective)[0]}, so nothing is known of {objective.name}"
            found.append(_ticket("SLONoData", objective, {"summary": summary}, window.end, web_url, now))
    return found


def exhaustion_alerts(
    statuses: Sequence[SloStatus], horizon_s: float, firing: Collection[str], web_url: str, now: datetime
) -> list[Alert]:
    """Tickets for budgets that will be spent within a horizon if the last day goes on.

    Args:
        statuses: where each objective stands. One whose budget is spent already has another ticket.
        horizon_s: how far ahead somebody wants to know, in seconds; 0 for not at all.
        firing: names of the objectives whose ticket fires already: it ends only well beyond the horizon.
        web_url: where the pages are reached.
        now: when it is evaluated.
    """
    found = []
    for status in statuses:
        objective, left = status.objective, status.budget_left_ratio
        if status.exhausted_at is None or left is None or left <= 0:
            continue
        in_s = (status.exhausted_at - now).total_seconds()
        if in_s > horizon_s * (_STAYS_FACTOR if objective.name in firing else 1):
            continue
        annotations = {
            "summary": f"{objective.service}: the error budget of {objective.name} will be spent in "
            f"{duration_text(max(in_s, 0) * 1000)}",
            "budget": f"{left:.1%} is left, and will be gone at {rfc3339(status.exhausted_at.replace(microsecond=0))} "
            "if the last day goes on",
            "promise": promise(objective),
        }
        found.append(_ticket("SLOBudgetRunsOut", objective, annotations, now, web_url, now))
    return found


def _ticket(
    name: str, objective: Objective, annotations: dict[str, str], starts_at: datetime, web_url: str, now: datetime
) -> Alert:
    labels = {"alertname": name, "severity": "ticket", "service": objective.service, "slo": objective.name}
    url = slo_url(objective, web_url)
    links = {"slo_url": url, "runbook_url": runbook_url(web_url, name), "silence_url": silence_url(labels, web_url)}
    return Alert(labels, annotations | links, starts_at, now + VALID, now, generator_url=url)


def runaway_alert(runaway: SpendRunaway, web_url: str, now: datetime) -> Alert:
    """The ticket that spending out of hand is; one that is not posted again is over."""
    spend = runaway.spend
    actual, expected, beyond = (
        usd_text(usd) for usd in (spend.total_actual_spend_usd, spend.total_expected_spend_usd, spend.total_impact_usd)
    )
    whose = f"{runaway.dimension} {runaway.scope}" if runaway.dimension is not None else runaway.scope
    more = f", {spend.impact_ratio:.0%} more" if spend.impact_ratio is not None else ""
    why = _why_dearer(runaway)
    labels = {"alertname": "TailsightCostRunaway", "severity": "ticket", "scope": runaway.scope}
    if runaway.dimension is not None:
        labels["dimension"] = runaway.dimension
    annotations = {
        "summary": f"GPU spending of {whose}: {beyond} more than expected{why}",
        "impact": f"{actual} spent where {expected} was to be expected{more}{why}",
        "cost": f"{beyond} so far",
        "since": rfc3339(spend.began_at),
        "next_step": ALERTS["TailsightCostRunaway"].first[0],
        "cost_url": f"{web_url}/cost",
        "runbook_url": runbook_url(web_url, "TailsightCostRunaway"),
        "silence_url": silence_url(labels, web_url),
    }
    return Alert(labels, annotations, spend.began_at, now + VALID, now, generator_url=annotations["cost_url"])


def _why_dearer(runaway: SpendRunaway) -> str:
    """What is known of the reason, as the end of a sentence."""
    mover = runaway.spend.mover
    if mover is not None:
        before, since = (usd_text(usd) for usd in (mover.before_usd_per_hour, mover.since_usd_per_hour))
        return f"; {mover.dimension} {mover.value} rose most, from {before} to {since} an hour"
    if runaway.dearer_ratio is None:
        return ""
    if math.isinf(runaway.dearer_ratio):
        return "; nobody asks it any more"
    return f"; a request costs {runaway.dearer_ratio:.1f} times as much as before"


def budget_alerts(statuses: Sequence[BudgetStatus], web_url: str, now: datetime) -> list[Alert]:
    """Tickets for budgets of dollars that are spent, or will be before their period is over."""
    found = []
    for status in statuses:
        if status.spent_usd is None or status.state not in (BudgetState.MISSED, BudgetState.AT_RISK):
            continue
        budget = status.budget
        is_spent = status.state is BudgetState.MISSED
        ahead = "" if status.forecast is None else f", {usd_text(status.forecast.median_usd)} by its end as it looks"
        labels = {"alertname": "TailsightBudgetOverspent", "severity": "ticket", "budget": budget.name}
        spent = f"{usd_text(status.spent_usd)} of {usd_text(budget.amount_usd)} spent{ahead}"
        verdict = "is spent" if is_spent else "will be overspent"
        annotations = {
            "summary": f"The {budget.period}'s budget {budget.name} {verdict}: {spent}",
            "cost": spent,
            "since": rfc3339(status.start),
            "next_step": ALERTS["TailsightBudgetOverspent"].first[0],
            "cost_url": f"{web_url}/cost",
            "runbook_url": runbook_url(web_url, "TailsightBudgetOverspent"),
            "silence_url": silence_url(labels, web_url),
        }
        found.append(Alert(labels, annotations, status.start, now + VALID, now, generator_url=annotations["cost_url"]))
    return found


def traffic_stopped_alerts(
    stopped: Sequence[StoppedTraffic], severity: Severity, web_url: str, now: datetime
) -> list[Alert]:
    """Services that nobody reaches any more: no failure is counted there, and no latency rises."""
    found = []
    for one in stopped:
        labels = {"alertname": "TailsightTrafficStopped", "severity": severity.value, "service": one.service}
        silent = duration_text((now - one.last_at).total_seconds() * 1000)
        annotations = {
            "summary": f"{one.service} has had no request for {silent}",
            "impact": f"usually {one.usual_per_minute:,.0f} a minute: users do not reach it, or it tells of none",
            "since": rfc3339(one.last_at),
            "next_step": ALERTS["TailsightTrafficStopped"].first[0],
            "data_url": f"{web_url}/data",
            "runbook_url": runbook_url(web_url, "TailsightTrafficStopped"),
            "silence_url": silence_url(labels, web_url),
        }
        found.append(Alert(labels, annotations, one.last_at, now + VALID, now, generator_url=annotations["data_url"]))
    return found


def data_late_alert(
    source: str, newest: datetime, late_s: float, severity: Severity, web_url: str, now: datetime
) -> Alert:
    """No requests, or no samples, have come in since `newest`, which is longer ago than `late_s`."""
    annotations = {
        "summary": f"No {source} have come in for {duration_text((now - newest).total_seconds() * 1000)}",
        "impact": "Nothing that happens now is seen: no incident, no page"
        if source == "requests"
        else "What GPUs, engines and links do now is not seen: incidents stay without a cause",
        "since": rfc3339(newest),
        "next_step": "See which source is silent, and whether the collector refuses or waits.",
        "data_url": f"{web_url}/data",
    }
    labels = {"alertname": "TailsightDataLate", "severity": severity.value, "service": "tailsight", "source": source}
    annotations["runbook_url"] = runbook_url(web_url, "TailsightDataLate")
    annotations["silence_url"] = silence_url(labels, web_url)
    return Alert(labels, annotations, newest + timedelta(seconds=late_s), now + VALID, now)
