"""The weekly cost and SLO report as one JSON document, from which every format is made.

`weekly_document` is pure: the same facts give the same document. In it times are RFC 3339, ratios 0-1, the unit is the
last part of a key (`cost_usd`, `lasted_s`, `threshold_ms`), numbers carry twelve digits. What is not known is null;
a part that nobody set up is null as a whole (`cost`, `forecast`, `variance`, `advice`, `sla`, `users`, `alerts`,
`latency`, `gpus`, `links`, `data_gaps`), and each format says so instead of showing 0.

| key | what |
|---|---|
| schema, week, site, web_url, time_zone, from, to, read_at, is_complete | which week; was it over when read |
| headline | `state` (met, at_risk, missed, no_data; null without objectives), counts of states now and a week before |
| answers | the three questions: `answer`, `detail`, `items`, `tone` (good, warning, critical, unknown or plain) |
| actions | what to do, most urgent first: `kind` (incident, policy, saving), `text`, `why`, `worth` |
| slos | one row an objective, worst first |
| incidents | counts, `all` (one row an incident by beginning, notes in it), `by_budget`, `by_cost` (ids, worst first) |
| policy | the steps that the error budget policy asks for |
| alerts | pages, tickets, how many were useful of those that somebody judged, rules by how often they fired |
| times | to detect, to notify, to acknowledge, to resolve: count, median, 90th percentile, interval, a week before |
| sla, forecast, variance, advice, users | as `WeeklyFacts` has them |
| cost | `reports.weekly_cost.cost_document` |
| latency | p99 of each service by time |
| gpus, links | rows that were not healthy, and of how many |
| data_gaps, method_notes | what was not seen, and how figures were made |
"""

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import polars as pl

from alerts.decide import promise
from analytics.incident_times import IncidentTimes, Times, incident_times, seconds_of
from analytics.knowledge import Knowledge
from domain.alert import Alert
from domain.cause import CauseKind
from domain.entity import names_text
from domain.incident import Incident, Severity, Status
from domain.slo import Objective, SloState, SloStatus
from domain.window import Window, duration_text, rfc3339
from domain.wording import readable, sentence
from reports import words
from reports.weekly_cost import cost_document

Document = dict[str, Any]

SCHEMA = "tailsight.weekly/1"
POSTMORTEM_RATIO = 0.2
"""One incident that spends more than that of a budget is due a post-mortem (Site Reliability Workbook, appendix B)."""

NOISY_COUNT = 5
"""A rule that fires so often in a week is called noisy, unless those who judged it found it useful."""


@dataclass(frozen=True, slots=True)
class FiredAlert:
    """An alert of the week; `is_useful` is what somebody judged of it, None where nobody did."""

    alert: Alert
    is_useful: bool | None = None


@dataclass(frozen=True, slots=True)
class HealthRow:
    """A GPU or link that was not healthy: `what` was seen of it, since when, and whether it still is so."""

    name: str
    where: str
    what: str
    since: datetime | None
    is_over: bool = False


@dataclass(frozen=True, slots=True)
class Health:
    """Things of a kind: how many there are, and those that were not healthy."""

    count: int | None
    rows: tuple[HealthRow, ...] = ()


@dataclass(frozen=True, slots=True)
class DataGap:
    """Something that was not seen for a while; `ended_at` is None while it is still not."""

    source: str
    started_at: datetime
    ended_at: datetime | None
    what: str


@dataclass(frozen=True, slots=True)
class WeeklyFacts:
    """What was read of a week; None is not known, or not configured.

    Args:
        week: `2026-W47`.
        read_at: when it was read; a week that was not over then is said to be incomplete.
        slos: where each objective stood at the end of the week.
        incidents: those that began within the week.
        knowledge: how kinds of cause are called.
        time_zone: on whose clock the week and its days begin.
        slos_before: where they stood a week before; those of the same name are compared.
        slo_counts: good and all events within the week, by name of the objective.
        incidents_before: those that began in the week before.
        incident_notes: `storage.readers.read_incident_notes`.
        alerts: what fired, see `alerts.replay.past_alerts`.
        alerts_before: the same of the week before.
        latency: columns time, service, p99_ms; one row a step and service, null where it is not known.
        allocation: the bill of the week, of schema `analytics.cost.allocation.ALLOCATION`.
        allocation_before: that of the week before.
        forecast: `{model, mase, coverage_ratio, horizon: [{time, median_usd, lower_usd, upper_usd}],
            month_end: {median_usd, lower_usd, upper_usd, budget_usd}}`; a point is a day's cost, its time RFC 3339.
        variance: `{known_hours, hours, before_usd, after_usd, parts: [{name, cost_usd}], groups: [{name, cost_usd,
            why}]}`, of the hours that are known in both weeks; the parts add up to the change of the bill in these.
        advice: `[{about, title, saves_usd_per_month_low, saves_usd_per_month_high, confidence, why}]`, confidence 0-1
            or a word; savings about the same thing overlap, so that of them only the best is counted.
        sla: `[{customer, service, promised_ratio, achieved_ratio, credit_usd, claim_until}]`, of the month so far.
        users: `[{user, tenant, cost_usd, requests_count}]`.
        gpus: GPUs, and those that were not healthy.
        links: the same of links.
        data_gaps: what was not seen; empty when all was.
        method_notes: sentences on how figures were made.
        site: name of the installation.
        web_url: where the pages are reached.
    """

    week: str
    read_at: datetime
    slos: Sequence[SloStatus]
    incidents: Sequence[Incident]
    knowledge: Knowledge
    time_zone: str = "UTC"
    slos_before: Sequence[SloStatus] = ()
    slo_counts: Mapping[str, tuple[float, int]] = field(default_factory=dict)
    incidents_before: Sequence[Incident] | None = None
    incident_notes: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    alerts: Sequence[FiredAlert] | None = None
    alerts_before: Sequence[FiredAlert] | None = None
    latency: pl.DataFrame | None = None
    allocation: pl.DataFrame | None = None
    allocation_before: pl.DataFrame | None = None
    forecast: Mapping[str, Any] | None = None
    variance: Mapping[str, Any] | None = None
    advice: Sequence[Mapping[str, Any]] | None = None
    sla: Sequence[Mapping[str, Any]] | None = None
    users: Sequence[Mapping[str, Any]] | None = None
    gpus: Health | None = None
    links: Health | None = None
    data_gaps: Sequence[DataGap] | None = None
    method_notes: Sequence[str] = ()
    site: str = ""
    web_url: str = ""


# -- Weeks ---------------------------------------------------------------------------------------------------------


def week_of(week: str, time_zone: str = "UTC") -> Window:
    """An ISO 8601 week, Monday to Sunday on the clock of a place; 167 or 169 hours long where that clock is changed.

    Raises:
        ValueError: for something that is no week, a week the year does not have, or an unknown time zone.
    """
    zone = zone_of(time_zone)
    found = re.fullmatch(r"(\d{4})-W(\d{2})", week)
    if found is None:
        raise ValueError(f"{week!r} is not a week; expected a year and an ISO week, e.g. 2026-W47")
    year, number = int(found[1]), int(found[2])
    try:
        monday = date.fromisocalendar(year, number, 1)
        after = monday + timedelta(days=7)
    except (ValueError, OverflowError):
        last = 0 if year == 0 else date(year, 12, 28).isocalendar().week
        raise ValueError(f"{week!r} is not a week: {year:04d} has the weeks 01 to {last:02d}") from None
    return Window(*(datetime(one.year, one.month, one.day, tzinfo=zone) for one in (monday, after)))


def week_at(moment: datetime, time_zone: str = "UTC") -> str:
    """The week that a moment lies in: `2026-W47`."""
    year, number, _ = moment.astimezone(zone_of(time_zone)).isocalendar()
    return f"{year:04d}-W{number:02d}"


def week_before(week: str) -> str:
    """The week before: `2026-W01` is followed back by `2025-W52`."""
    return week_at(week_of(week).start - timedelta(days=7))


def zone_of(time_zone: str) -> ZoneInfo:
    """A time zone by its IANA name.

    Raises:
        ValueError: when there is none of that name.
    """
    try:
        return ZoneInfo(time_zone)
    except (KeyError, ValueError, OSError):
        raise ValueError(f"{time_zone!r} is not a time zone; expected e.g. UTC or Europe/Prague") from None


# -- The document --------------------------------------------------------------------------------------------------


def weekly_document(facts: WeeklyFacts) -> Document:
    """The report of a week, ready for JSON: no clock, no I/O, nothing infinite, nothing that is not a number.

    Raises:
        ValueError: for a week or time zone that is none.
    """
    window = week_of(facts.week, facts.time_zone)
    zone = zone_of(facts.time_zone)
    slos = _slo_rows(facts)
    incidents = _incidents(facts)
    cost = None if facts.allocation is None else cost_document(facts.allocation, facts.allocation_before, window, zone)
    policy = _policy(slos, incidents["all"])
    document = {
        "schema": SCHEMA,
        "week": facts.week,
        "site": facts.site or None,
        "web_url": facts.web_url or None,
        "time_zone": facts.time_zone,
        "from": rfc3339(window.start),
        "to": rfc3339(window.end),
        "read_at": rfc3339(facts.read_at),
        "is_complete": facts.read_at >= window.end,
        "headline": _headline(facts),
        "slos": slos,
        "incidents": incidents,
        "policy": policy,
        "alerts": _alerts(facts, window),
        "times": _times(facts),
        "sla": _listed(facts.sla),
        "cost": cost,
        "users": _listed(facts.users),
        "variance": None if facts.variance is None else dict(facts.variance),
        "forecast": None if facts.forecast is None else dict(facts.forecast),
        "advice": None if facts.advice is None else sorted(map(dict, facts.advice), key=_least_saved),
        "latency": _latency(facts.latency),
        "gpus": _health(facts.gpus),
        "links": _health(facts.links),
        "data_gaps": None if facts.data_gaps is None else [_gap(gap, window) for gap in facts.data_gaps],
        "method_notes": list(facts.method_notes),
    }
    document["actions"] = _actions(document)
    document["answers"] = _answers(document)
    clean: Document = _clean(document)
    return clean


def _clean(value: Any) -> Any:
    """JSON's own types only: twelve digits of a float, none that is not finite; keys in their order."""
    if isinstance(value, float):
        return float(f"{value:.12g}") + 0.0 if math.isfinite(value) else None
    if isinstance(value, datetime):
        return rfc3339(value)
    if isinstance(value, Mapping):
        return {str(name): _clean(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_clean(one) for one in value]
    if isinstance(value, str):
        return str(value)
    return value


def _listed(rows: Sequence[Mapping[str, Any]] | None) -> list[Document] | None:
    return None if rows is None else [dict(row) for row in rows]


# -- Objectives ----------------------------------------------------------------------------------------------------

_STATES_WORST_FIRST = (SloState.MISSED, SloState.AT_RISK, SloState.NO_DATA, SloState.MET)


def _objective_title(objective: Objective) -> str:
    title = words.INDICATORS[objective.indicator]
    return title if objective.threshold_ms is None else f"{title} < {duration_text(objective.threshold_ms)}"


def _slo_rows(facts: WeeklyFacts) -> list[Document]:
    before = {status.objective.name: status for status in facts.slos_before}
    rows = [
        _slo_row(status, before.get(status.objective.name), facts.slo_counts.get(status.objective.name))
        for status in facts.slos
    ]
    order = [state.value for state in _STATES_WORST_FIRST]
    return sorted(
        rows,
        key=lambda row: (
            order.index(row["state"]),
            math.inf if row["budget_left_ratio"] is None else row["budget_left_ratio"],
            row["name"],
        ),
    )


def _slo_row(status: SloStatus, before: SloStatus | None, counted: tuple[float, int] | None) -> Document:
    objective = status.objective
    good, total = counted or (0.0, 0)
    budget = (1 - objective.target_ratio) * status.total_count
    return {
        "name": objective.name,
        "service": objective.service,
        "indicator": objective.indicator.value,
        "title": _objective_title(objective),
        "promise": promise(objective),
        "target_ratio": objective.target_ratio,
        "threshold_ms": objective.threshold_ms,
        "window_days": objective.window_days,
        "is_calendar": objective.calendar is not None,
        "state": status.state.value,
        "state_before": None if before is None else before.state.value,
        "sli_ratio": status.sli_ratio,
        "sli_in_week_ratio": good / total if total else None,
        "budget_left_ratio": status.budget_left_ratio,
        "budget_left_before_ratio": None if before is None else before.budget_left_ratio,
        "budget_spent_in_week_ratio": (total - good) / budget if total and budget else None,
        "burn_rate": status.burn_rate,
        "coverage_ratio": status.coverage_ratio,
        "exhausted_at": None if status.exhausted_at is None else rfc3339(status.exhausted_at),
        "good_count": status.good_count,
        "total_count": status.total_count,
        "budget_left_history_ratio": list(status.budget_left_history),
    }


def _headline(facts: WeeklyFacts) -> Document:
    states = Counter(status.state for status in facts.slos)
    before = Counter(status.state for status in facts.slos_before)
    worst = next((state for state in _STATES_WORST_FIRST if states[state]), None)
    if worst is SloState.NO_DATA and states[SloState.MET]:
        worst = SloState.MET  # what can be judged is met; what cannot is counted beside it
    return {
        "state": None if worst is None else worst.value,
        **{f"{state.value}_count": states[state] for state in SloState},
        **{f"{state.value}_before_count": before[state] if facts.slos_before else None for state in SloState},
    }


# -- Incidents -----------------------------------------------------------------------------------------------------


def _incidents(facts: WeeklyFacts) -> Document:
    rows = [
        _incident_row(one, facts.incident_notes.get(one.id, {}), facts.knowledge)
        for one in sorted(facts.incidents, key=lambda one: (one.started_at, one.id))
    ]
    before = facts.incidents_before
    known_usd = [row["cost_usd"] for row in rows if row["cost_usd"] is not None]
    return {
        "count": len(rows),
        "before_count": None if before is None else len(before),
        "page_count": sum(row["severity"] == Severity.PAGE.value for row in rows),
        "open_count": sum(row["ended_at"] is None for row in rows),
        "explained_count": sum(row["cause_kind"] != CauseKind.UNKNOWN.value for row in rows),
        "cost_usd": sum(known_usd) if known_usd else None,
        "cost_unknown_count": len(rows) - len(known_usd),
        "by_budget": [row["id"] for row in _worst_first(rows, "budget_spent_ratio")],
        "by_cost": [row["id"] for row in _worst_first(rows, "cost_usd")],
        "all": rows,
    }


def _worst_first(rows: Iterable[Document], by: str) -> list[Document]:
    return sorted(
        (row for row in rows if row[by] is not None), key=lambda row: (-row[by], row["started_at"], row["id"])
    )


def _incident_row(incident: Incident, noted: Mapping[str, Any], knowledge: Knowledge) -> Document:
    cause = incident.cause
    unknown = cause.kind is CauseKind.UNKNOWN
    lasted = None if incident.ended_at is None else (incident.ended_at - incident.started_at).total_seconds()
    return {
        "id": incident.id,
        "service": incident.service,
        "services_affected": list(incident.services_affected),
        "model": incident.model,
        "indicator": incident.indicator.value,
        "indicator_title": words.INDICATORS[incident.indicator],
        "severity": incident.severity.value,
        "status": Status.OPEN.value if incident.ended_at is None else incident.status.value,
        "started_at": rfc3339(incident.started_at),
        "detected_at": rfc3339(incident.detected_at),
        "notified_at": noted.get("notified_at"),
        "acknowledged_at": noted.get("acknowledged_at"),
        "acknowledged_by": noted.get("acknowledged_by"),
        "to_acknowledge_s": seconds_of(incident, noted).to_acknowledge_s,
        "resolved_at": noted.get("resolved_at"),
        "resolved_by": noted.get("resolved_by"),
        "notes": [{name: note[name] for name in ("at", "by", "text")} for note in noted.get("notes", ())],
        "ended_at": None if incident.ended_at is None else rfc3339(incident.ended_at),
        "lasted_s": lasted,
        "baseline_ms_p99": incident.baseline_ms_p99,
        "peak_ms_p99": incident.peak_ms_p99,
        "slow_requests_count": incident.slow_requests_count,
        "slow_requests_ratio": incident.slow_requests_ratio,
        "tenants_affected_count": incident.tenants_affected_count,
        "budget_spent_ratio": incident.budget_spent_ratio,
        "cost_usd": incident.cost_usd,
        "cause_kind": cause.kind.value,
        "cause": "Cause not known" if unknown else f"{knowledge.cause_title(cause.kind)} on {cause.whose}",
        "cause_summary": cause.summary,
        "confidence_ratio": None if unknown else cause.confidence,
        "next_step": cause.next_steps[0] if cause.next_steps else None,
        "exemplar_trace_ids": list(incident.exemplar_trace_ids[:3]),
    }


_NETWORK = (CauseKind.NETWORK_SATURATION, CauseKind.NETWORK_CONGESTION, CauseKind.NETWORK_LINK_FAULT)


def _policy(slos: Sequence[Document], incidents: Sequence[Document]) -> list[Document]:
    """What the example error budget policy of the Site Reliability Workbook (appendix B) asks for now."""
    steps: list[Document] = [
        {
            "kind": "budget_spent",
            "about": slo["name"],
            "service": slo["service"],
            "text": f"Freeze all but urgent changes to {slo['service']}",
            "why": f"the budget of {slo['title']} is overspent by {words.percent(-slo['budget_left_ratio'])}",
            "exemption": None,
        }
        for slo in slos
        if slo["state"] == SloState.MISSED.value and slo["budget_left_ratio"] is not None
    ]
    for incident in _worst_first(incidents, "budget_spent_ratio"):
        if incident["budget_spent_ratio"] <= POSTMORTEM_RATIO:
            continue
        is_network = incident["cause_kind"] in {kind.value for kind in _NETWORK}
        steps.append(
            {
                "kind": "postmortem",
                "about": incident["id"],
                "service": incident["service"],
                "text": f"Write the post-mortem of {incident['id']} on {incident['service']}",
                "why": f"it spent {words.percent(incident['budget_spent_ratio'])} of an error budget",
                "exemption": "the cause lies in the network, for which the policy may let the team off a freeze"
                if is_network
                else None,
            }
        )
    return steps


def _times(facts: WeeklyFacts) -> Document:
    now = incident_times(facts.incidents, facts.incident_notes)
    before = None if facts.incidents_before is None else incident_times(facts.incidents_before, facts.incident_notes)
    return {name: _time(name, now, before) for name in ("to_detect", "to_notify", "to_acknowledge", "to_resolve")}


def _time(name: str, now: IncidentTimes, before: IncidentTimes | None) -> Document:
    times: Times = getattr(now, name)
    return {
        "count": times.count,
        "unknown_count": times.unknown_count,
        "median_s": times.median_s,
        "p90_s": times.p90_s,
        "low_s": times.low_s,
        "high_s": times.high_s,
        "median_before_s": None if before is None else getattr(before, name).median_s,
    }


# -- Alerts --------------------------------------------------------------------------------------------------------


def _alerts(facts: WeeklyFacts, window: Window) -> Document | None:
    if facts.alerts is None:
        return None
    before = None if facts.alerts_before is None else Counter(_severity(fired) for fired in facts.alerts_before)
    severities = Counter(_severity(fired) for fired in facts.alerts)
    shifts = Counter(
        int((fired.alert.starts_at - window.start) / timedelta(hours=12))
        for fired in facts.alerts
        if _severity(fired) == Severity.PAGE.value
    )
    rules: dict[tuple[str, str, str], list[FiredAlert]] = {}
    for fired in facts.alerts:
        labels = fired.alert.labels
        rules.setdefault((labels.get("alertname", ""), labels.get("service", ""), _severity(fired)), []).append(fired)
    rows = [_rule(*key, fired) for key, fired in rules.items()]
    return {
        "pages_count": severities[Severity.PAGE.value],
        "pages_before_count": None if before is None else before[Severity.PAGE.value],
        "tickets_count": severities[Severity.TICKET.value],
        "tickets_before_count": None if before is None else before[Severity.TICKET.value],
        "pages_in_busiest_shift_count": max(shifts.values(), default=0),
        **_judged(facts.alerts),
        "rules": sorted(rows, key=lambda row: (-row["count"], row["name"], row["service"], row["severity"])),
    }


def _severity(fired: FiredAlert) -> str:
    return fired.alert.labels.get("severity", "")


def _judged(alerts: Sequence[FiredAlert]) -> Document:
    judged = [fired.is_useful for fired in alerts if fired.is_useful is not None]
    return {
        "judged_count": len(judged),
        "useful_count": sum(judged),
        "precision_ratio": sum(judged) / len(judged) if judged else None,
    }


def _rule(name: str, service: str, severity: str, alerts: Sequence[FiredAlert]) -> Document:
    judged = _judged(alerts)
    lasted = sorted((fired.alert.ends_at - fired.alert.starts_at).total_seconds() for fired in alerts)
    precision = judged["precision_ratio"]
    return {
        "name": name,
        "service": service,
        "severity": severity,
        "count": len(alerts),
        "median_lasted_s": lasted[len(lasted) // 2],
        **judged,
        "is_noisy": precision < 0.5 if precision is not None else len(alerts) >= NOISY_COUNT,
    }


# -- The fleet and what was not seen -------------------------------------------------------------------------------


def _latency(latency: pl.DataFrame | None) -> list[Document] | None:
    if latency is None:
        return None
    rows = latency.sort("service", "time")
    return [
        {
            "service": service[0],
            "points": [
                {"time": rfc3339(time), "p99_ms": p99} for time, p99 in part.select("time", "p99_ms").iter_rows()
            ],
        }
        for service, part in rows.partition_by("service", as_dict=True, maintain_order=True).items()
    ]


def _health(health: Health | None) -> Document | None:
    if health is None:
        return None
    rows = sorted(health.rows, key=lambda row: (row.is_over, row.where, row.name))
    return {
        "count": health.count,
        "unhealthy_count": len({row.name for row in rows if not row.is_over}),
        "rows": [
            {
                "name": row.name,
                "where": row.where,
                "what": row.what,
                "since": None if row.since is None else rfc3339(row.since),
                "is_over": row.is_over,
            }
            for row in rows
        ],
    }


def _gap(gap: DataGap, window: Window) -> Document:
    ended = min(gap.ended_at or window.end, window.end)
    return {
        "source": gap.source,
        "started_at": rfc3339(gap.started_at),
        "ended_at": None if gap.ended_at is None else rfc3339(gap.ended_at),
        "lasted_in_week_s": max(0.0, (ended - max(gap.started_at, window.start)).total_seconds()),
        "what": gap.what,
    }


# -- What it comes to ----------------------------------------------------------------------------------------------


def _least_saved(advice: Mapping[str, Any]) -> tuple[float, str]:
    return -(advice.get("saves_usd_per_month_low") or 0.0), str(advice.get("title", ""))


def saving(advice: Mapping[str, Any]) -> str:
    """`$560 to $690 a month`."""
    low, high = advice.get("saves_usd_per_month_low"), advice.get("saves_usd_per_month_high")
    return words.NOT_KNOWN if low is None and high is None else f"{words.money_range(low, high)} a month"


def _actions(document: Document) -> list[Document]:
    """Open incidents, then steps that a policy asks for, then savings."""
    steps = [
        {
            "kind": "policy",
            "text": step["text"],
            "why": sentence(step["why"]),
            "worth": "due by policy",
            "confidence": None,
        }
        for step in document["policy"]
    ]
    actions = []
    for incident in document["incidents"]["all"]:
        if incident["ended_at"] is None and incident["severity"] != Severity.INFO.value:
            why = f"{incident['cause']}; {incident['id']} is still open"
            step = (incident["next_step"] or f"End {incident['id']}").removesuffix(".")
            text = f"{step} for {incident['service']}" if incident["service"] not in step else step
            actions.append({"kind": "incident", "text": text, "why": why, "worth": "open now", "confidence": None})
    savings = [
        {
            "kind": "saving",
            "text": one["title"],
            "why": one.get("why"),
            "worth": saving(one),
            "confidence": one.get("confidence"),
        }
        for one in _best_first(document["advice"] or [])
    ]
    return [*actions, *steps, *savings]


def _best_first(advice: Sequence[Document]) -> list[Document]:
    """The best about each thing, then the second best, and so on: of steps about the same thing one is taken."""
    seen: Counter[str] = Counter()
    ranks = []
    for one in advice:
        ranks.append(seen[_about(one)])
        seen[_about(one)] += 1
    return [one for _, one in sorted(zip(ranks, advice, strict=True), key=lambda ranked: ranked[0])]


def _about(one: Document) -> str:
    return str(one.get("about") or one.get("title", ""))


def first_actions(actions: Sequence[Document]) -> list[Document]:
    """The three to name where there is room for no more; the largest saving is among them."""
    pressing = [action for action in actions if action["kind"] != "saving"]
    savings = [action for action in actions if action["kind"] == "saving"]
    return [*pressing[: 2 if savings else 3], *savings][:3]


def _answers(document: Document) -> list[Document]:
    return [_kept(document), _spent(document), _to_do(document)]


def _kept(document: Document) -> Document:
    headline, slos = document["headline"], document["slos"]
    of = {state: headline[f"{state.value}_count"] for state in SloState}
    judged = len(slos) - of[SloState.NO_DATA]
    question = "Did we keep our promises?"
    if not slos:
        return _answer(question, "Not known", "No objectives are set, so there is nothing to hold the week against.")
    told = []
    for state, does in ((SloState.MISSED, "missed"), (SloState.AT_RISK, "at risk")):
        rows = [slo for slo in slos if slo["state"] == state.value]
        names = [f"{words.shortened(slo['service'], 40)} {slo['title']} ({_budget(slo)})" for slo in rows]
        if rows:
            told.append(f"{sentence(does)}: {names_text(names, 2)}.")
    if judged and not told:
        told.append(f"All {judged} are met." if judged > 1 else "The one objective that could be judged is met.")
    if of[SloState.NO_DATA]:
        unseen = of[SloState.NO_DATA]
        told.append(
            f"{words.number(unseen, 'objective').capitalize()} had no data and {_is(unseen)} not counted as met."
        )
    if headline["missed_before_count"] is not None:
        were = [
            f"{headline[f'{state.value}_before_count']} {readable(state.value)}"
            for state in (SloState.MISSED, SloState.AT_RISK)
            if headline[f"{state.value}_before_count"]
        ]
        told.append(f"A week before: {' and '.join(were) or 'none missed or at risk'}.")
    if not judged:
        return _answer(question, "Not known", " ".join(told))
    if of[SloState.MISSED]:
        answer = f"Not all: {of[SloState.MISSED]} of {judged} missed"
        return _answer(question, answer, " ".join(told), "critical")
    if of[SloState.AT_RISK]:
        answer = f"Yes, but {of[SloState.AT_RISK]} of {judged} {_is(of[SloState.AT_RISK])} at risk"
        return _answer(question, answer, " ".join(told), "warning")
    return _answer(question, "Yes", " ".join(told), "good")


def _budget(slo: Document) -> str:
    left = slo["budget_left_ratio"]
    if left is None:
        return "budget not known"
    return f"{words.percent_down(left)} of its budget left" if left >= 0 else f"overspent by {words.percent(-left)}"


def _is(number: int) -> str:
    return "is" if number == 1 else "are"


def _spent(document: Document) -> Document:
    cost, question = document["cost"], "What did it cost?"
    if cost is None:
        detail = "No price book is configured, so no GPU-hour has a price. Nothing here means that it was free."
        return _answer(question, "Not known", detail)
    answer = words.money(cost["cost_usd"])
    ratio = cost["cost_change_ratio"]
    if ratio is not None:
        way = "more" if ratio > 0 else "less"
        answer += f", {words.percent(abs(ratio))} {way}" if round(ratio * 100) else ", as the week before"
    told = []
    if cost["per_million_tokens_usd"] is not None:
        moved = cost["per_million_tokens_change_ratio"]
        since = "" if moved is None else f" ({words.change(moved)})"
        told.append(f"{words.money(cost['per_million_tokens_usd'])} per million tokens{since}.")
    if cost["requests_count_before"]:
        grown = cost["requests_count"] / cost["requests_count_before"] - 1
        way = "grew" if grown > 0 else "fell"
        told.append(f"Traffic {way} {words.percent(abs(grown))}." if round(grown * 100) else "Traffic did not change.")
    if cost["idle_gpu_time_ratio"] is not None:
        largest = next(iter(cost["idle_causes"]), None)
        most = "" if largest is None else f", most of the money {_IDLE_WORDS.get(largest['name'], largest['name'])}"
        told.append(f"GPUs idled {words.percent(cost['idle_gpu_time_ratio'])} of the time paid for{most}.")
    month_end = (document["forecast"] or {}).get("month_end")
    if month_end and month_end.get("median_usd") is not None:
        over = month_end.get("budget_usd")
        against = "" if over is None else f" against a budget of {words.money(over)}"
        told.append(f"The month is heading for {words.money(month_end['median_usd'])}{against}.")
    return _answer(question, answer, " ".join(told), "plain")


_IDLE_WORDS = {
    "unallocated": "on GPUs given to nobody",
    "no_model": "on GPUs without a model",
    "loading": "while models load",
    "warm_by_policy": "on pools kept warm on purpose",
    "loaded_without_traffic": "on models loaded without traffic",
    "between_steps": "between steps of running requests",
    "held_without_engine": "on GPUs held by what tells nothing",
    "waiting_for_kv_space": "waiting for KV cache",
    "throttled": "on throttled GPUs",
    "stalled_on_fabric": "stalled on the fabric",
    "hung": "on hung GPUs",
    "no_telemetry": "on GPUs that are not seen",
}


def _to_do(document: Document) -> Document:
    actions, question = document["actions"], "What should we do?"
    if not actions:
        detail = "No step is due by policy and no incident is open."
        if document["advice"] is None:
            detail += " Advice on cost is not configured."
        return _answer(question, "Nothing is due", detail, "good" if document["slos"] else "unknown")
    best: dict[str, float] = {}  # of steps about the same thing, whose savings overlap, the best counts
    for one in document["advice"] or []:
        best[_about(one)] = max(best.get(_about(one), 0.0), one.get("saves_usd_per_month_low") or 0.0)
    saved = sum(best.values())
    due = len(document["policy"])
    open_count = document["incidents"]["open_count"]
    told = [
        f"{number}. {action['text']} ({action['worth']})."
        for number, action in enumerate(first_actions(actions), start=1)
    ]
    parts = [
        *([f"{words.number(open_count, 'incident')} open"] if open_count else []),
        *([f"{words.number(due, 'step')} due"] if due else []),
        *([f"{words.money(saved)} a month to save"] if saved else []),
    ]
    answer = sentence(", ".join(parts)) or sentence(words.number(len(actions), "step"))
    return _answer(question, answer, "", "warning" if due or open_count else "plain", told)


def _answer(question: str, answer: str, detail: str, tone: str = "unknown", items: Sequence[str] = ()) -> Document:
    return {"question": question, "answer": answer, "detail": detail, "items": list(items), "tone": tone}
