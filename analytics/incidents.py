"""Incidents: a spike with its impact and explanation, under an id that stays the same however often it is found."""

import hashlib
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import numpy as np

from analytics.burn_rates import Guard, wilson_lower
from analytics.causes import PLAIN
from analytics.scope import Scope
from analytics.slo import PAGE_BURN_RATE, burn_rate
from analytics.spikes import Spike
from domain.cause import OF_EVERY_DAY, OF_THE_LOAD, Cause, CauseKind, Explanation
from domain.incident import Incident, Severity, Status
from domain.slo import Objective
from domain.window import rfc3339

_MANY_SLOW = 0.5  # of the requests: no healthy day has that
_SHARED_START = timedelta(minutes=4)  # one service feels it before another


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
        """Does it spend the budget so fast that someone must be woken, and too many failed for it to be chance.

        The same guard against few requests as of burn-rate alerts (ADR 14).
        """
        guard = Guard()
        if not self.total_count or self.bad_count < guard.failures_min:
            return False
        budget = 1.0 - self.objective.target_ratio
        least = wilson_lower(np.array([float(self.bad_count)]), np.array([float(self.total_count)]), guard.z)[0]
        burns = burn_rate(self.objective, self.total_count - self.bad_count, self.total_count)
        return burns >= PAGE_BURN_RATE and bool(least > budget * math.sqrt(PAGE_BURN_RATE))


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
        cost_usd=None,  # worked out where prices are known: absent is not zero
        tenants_affected_count=scope.tenants_count,
        explanation=explanation,
        exemplar_trace_ids=scope.exemplar_trace_ids,
        services_affected=(spike.service,),
    )


def is_incident(scope: Scope, explanation: Explanation, *, faint: bool = False) -> bool:
    """Is a spike worth telling: with a cause, or if it is unusual and no arrivals that came close together.

    A few more slow requests than usual, which only many minutes together tell (`Spike.faint`), are worth it where
    something plainly broke: what there is on healthy days, and what nobody knows, brings as many. Where half of the
    requests are slow it is judged like any other.
    """
    first = explanation.causes[0]
    if faint and scope.slow_ratio < _MANY_SLOW:
        return first.confidence >= PLAIN and first.kind not in OF_EVERY_DAY
    return first.kind is not CauseKind.UNKNOWN or (scope.is_unusual and not scope.may_be_burst)


def incident_id(spike: Spike) -> str:
    """Ten letters and digits that depend on what and when alone."""
    key = f"{spike.service}\n{spike.model}\n{spike.indicator}\n{rfc3339(spike.window.start)}"
    return "inc-" + hashlib.sha256(key.encode()).hexdigest()[:10]


def one_for_shared_cause(found: Sequence[Incident]) -> list[Incident]:
    """Incidents that are one: at the same time, for the same cause, in several services or models.

    The one that is surest of the cause stands for all, of near equals the first: it is nearest to it. What a called
    service is blamed for by its caller is the caller's incident, unless the called service knows why itself.
    """
    kept: list[Incident] = []
    ordered = sorted(
        found, key=lambda one: (-round(one.cause.confidence, 1), one.started_at, one.service, one.model or "")
    )
    for incident in ordered:
        place = next((place for place, other in enumerate(kept) if _shared(incident, other)), None)
        if place is None:
            kept.append(incident)
        else:
            kept[place] = _joined(kept[place], incident)
    return sorted(kept, key=lambda one: (one.started_at, one.service, one.model or ""))


def _shared(one: Incident, other: Incident) -> bool:
    if not (_overlap(one, other) and abs(one.started_at - other.started_at) <= _SHARED_START):
        return False
    first, second = one.cause, other.cause
    if first.kind is second.kind is not CauseKind.UNKNOWN:
        # Load comes to a service through another: the same surge, told of each by its own name.
        return first.entity == second.entity or first.kind in OF_THE_LOAD
    return _blames(one, other) or _blames(other, one)


def _blames(caller: Incident, called: Incident) -> bool:
    """Does the caller's cause lie in the called service, which knows no better one itself."""
    cause = caller.cause
    return (
        cause.kind is CauseKind.UPSTREAM_DEPENDENCY
        and cause.entity.name == called.service
        and called.cause.confidence < cause.confidence
    )


def _joined(incident: Incident, other: Incident) -> Incident:
    severities = list(Severity)
    return replace(
        incident,
        explanation=_with_further(incident, other.explanation.causes[1:]),
        severity=min(incident.severity, other.severity, key=severities.index),
        services_affected=tuple(dict.fromkeys((*incident.services_affected, *other.services_affected))),
    )


def _with_further(incident: Incident, causes: Sequence[Cause]) -> Explanation:
    """The explanation, and what else the other service suffers from: of two causes one may be felt there alone.

    That it waits for the service of this incident is no further cause: the incident says why.
    """
    first, *further = incident.explanation.causes
    own = (CauseKind.UPSTREAM_DEPENDENCY, incident.service)
    further += [cause for cause in causes if (cause.kind, cause.entity.name) != own]
    return incident.explanation.with_causes(first, further)


def reconcile(found: Iterable[Incident], stored: Sequence[Incident], until: datetime) -> list[Incident]:
    """Incidents that are new or have changed, an earlier finding of the same spike keeping its id and beginning.

    A spike looked at again may seem to begin a step or two elsewhere; it is the same incident when service and model
    are the same, or one affects the service of the other, and their times overlap, each stored incident being at most
    one of those found. What is stored as open and was not found again is over. What is known to have ended after the
    look is left as it is: a look at its first minutes knows less.

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
            if known.ended_at is not None and known.ended_at > until:
                continue
            # The same incident, under its first name; as severe as it ever was: severity is a label of its alert, and a
            # page that became a ticket would be told as resolved while users still suffer.
            severities = list(Severity)
            earlier_s = (incident.started_at - known.started_at).total_seconds()
            incident = replace(  # noqa: PLW2901
                incident, id=known.id, started_at=known.started_at, detected_at=known.detected_at,
                severity=min(incident.severity, known.severity, key=severities.index),
                explanation=incident.explanation.against_onset(earlier_s),
            )  # fmt: skip
        if incident != known:
            changed.append(incident)
    changed += [
        replace(incident, status=Status.RESOLVED, ended_at=max(until, incident.detected_at))
        for incident in free
        if incident.status is Status.OPEN
    ]
    return changed


def _same(one: Incident, other: Incident, until: datetime) -> bool:
    slack = timedelta(minutes=1)
    of_one = {one.service, *one.services_affected}
    if one.service == other.service:
        same = one.model == other.model
    else:  # told of another of the services that it affects, and of the model there
        same = bool(of_one & {other.service, *other.services_affected})
    return (
        same
        and one.started_at <= (other.ended_at or until) + slack
        and other.started_at <= (one.ended_at or until) + slack
    )


def _overlap(one: Incident, other: Incident) -> bool:
    return (one.ended_at is None or one.ended_at > other.started_at) and (
        other.ended_at is None or other.ended_at > one.started_at
    )
