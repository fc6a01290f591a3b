"""Incidents: a spike with its impact and explanation, under an id that stays the same however often it is found."""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from analytics.scope import Scope
from analytics.slo import PAGE_BURN_RATE, burn_rate
from analytics.spikes import Spike
from domain.cause import Explanation
from domain.incident import Incident, Severity, Status
from domain.slo import Objective
from domain.window import rfc3339


@dataclass(frozen=True, slots=True)
class BudgetDamage:
    """What a spike did to an objective: bad and all events while it lasted, and all of the objective's window."""

    objective: Objective
    bad_count: int
    total_count: int
    window_count: int

    @property
    def spent_ratio(self) -> float | None:
        """The share of the whole budget that it spent; None without events to count a budget from."""
        budget = (1.0 - self.objective.target_ratio) * self.window_count
        return self.bad_count / budget if budget else None

    @property
    def pages(self) -> bool:
        """Does it spend the budget so fast that someone must be woken."""
        if not self.total_count:
            return False
        return burn_rate(self.objective, self.total_count - self.bad_count, self.total_count) >= PAGE_BURN_RATE


def incident_of(
    spike: Spike,
    scope: Scope,
    explanation: Explanation,
    damage: BudgetDamage | None,
) -> Incident:
    """The incident a spike is.

    Args:
        spike: what users felt.
        scope: who was slow.
        explanation: why.
        damage: what it did to the objective of this indicator; None when nothing was promised.
    """
    return Incident(
        id=incident_id(spike),
        service=spike.service,
        model=spike.model,
        indicator=spike.indicator,
        status=Status.OPEN if spike.ongoing else Status.RESOLVED,
        severity=Severity.PAGE if damage is not None and damage.pages else Severity.TICKET,
        started_at=spike.window.start,
        detected_at=spike.detected_at,
        ended_at=None if spike.ongoing else spike.window.end,
        baseline_ms_p99=spike.baseline_ms_p99,
        peak_ms_p99=spike.peak_ms_p99,
        slow_requests_count=scope.slow_count,
        slow_requests_ratio=scope.slow_ratio,
        budget_spent_ratio=None if damage is None else damage.spent_ratio,
        cost_usd=None,  # no prices are known yet: absent is not zero
        tenants_affected_count=scope.tenants_count,
        explanation=explanation,
        exemplar_trace_ids=scope.exemplar_trace_ids,
    )


def incident_id(spike: Spike) -> str:
    """Ten letters and digits that depend on what and when alone."""
    key = f"{spike.service}\n{spike.model}\n{spike.indicator}\n{rfc3339(spike.window.start)}"
    return "inc-" + hashlib.sha256(key.encode()).hexdigest()[:10]


def reconcile(found: Iterable[Incident], stored: Sequence[Incident], until: datetime) -> list[Incident]:
    """Incidents that are new or have changed, an earlier finding of the same spike keeping its id and beginning.

    A spike looked at again may seem to begin a step or two elsewhere; it is the same incident when service and model
    are the same and their times overlap, each stored incident being at most one of those found. What is stored as
    open and was not found again is over: it ended when it was last known.

    Args:
        found: what a look over all of `stored`'s time found.
        stored: what was known of that time.
        until: the end of the look.
    """
    free = list(stored)
    changed = []
    for incident in sorted(found, key=lambda incident: incident.started_at):
        same = [other for other in free if _same(incident, other, until)]
        known = min(same, key=lambda other: abs(other.started_at - incident.started_at), default=None)
        if known is not None:
            free.remove(known)
            incident = replace(  # noqa: PLW2901  # the same incident, under its first name
                incident, id=known.id, started_at=known.started_at, detected_at=known.detected_at
            )
        if incident != known:
            changed.append(incident)
    changed += [
        replace(incident, status=Status.RESOLVED, ended_at=incident.detected_at)
        for incident in free
        if incident.status is Status.OPEN
    ]
    return changed


def _same(one: Incident, other: Incident, until: datetime) -> bool:
    slack = timedelta(minutes=1)
    return (
        (one.service, one.model) == (other.service, other.model)
        and one.started_at <= (other.ended_at or until) + slack
        and other.started_at <= (one.ended_at or until) + slack
    )
