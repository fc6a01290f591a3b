"""Causes: shifts held against what we know, ranked; or the admission that nothing explains the spike.

A pattern is believed as far as all of these hold: one of its required signs shows; it was in place when the spike
began; the excess milliseconds lie on the replicas its entity carries; what goes with it went with it; and nothing
speaks against it. Each is a factor in 0-1, and the confidence is their product.
"""

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from analytics.knowledge import Knowledge, Pattern, Sign
from analytics.scope import Neighbourhood, Scope
from analytics.signals import Shift
from domain.cause import Cause, CauseKind, Evidence, Explanation, RuledOut
from domain.entity import Entity, EntityKind

_CONFIDENCE_MIN = 0.45  # below this nothing is blamed
_CONFIDENCE_SHOWN = 0.25  # a further cause is worth a look from here
_CAUSES_MAX = 4
_CERTAINTY_MAX = 0.99


@dataclass(frozen=True, slots=True)
class _Candidate:
    pattern: Pattern
    entity: Entity
    confidence: float
    signs: tuple[Shift, ...]
    companions: tuple[Shift, ...]


def explain(
    service: str,
    onset: datetime,
    scope: Scope,
    shifts: Sequence[Shift],
    neighbourhood: Neighbourhood,
    knowledge: Knowledge,
    step_s: int,
) -> Explanation:
    """Rank what explains the spike of a service that began at `onset`.

    Args:
        service: the service that users felt.
        onset: when its spike began.
        scope: which requests were slow, and whose.
        shifts: how every signal of every entity near the service moved.
        neighbourhood: which replicas each entity carries.
        knowledge: the signs of each kind of cause.
        step_s: the resolution of the shifts' onsets.
    """
    by_signal: dict[str, list[Shift]] = {}
    for shift in shifts:
        by_signal.setdefault(shift.signal.name, []).append(shift)
    best: list[_Candidate] = []
    for pattern in knowledge.patterns.values():
        candidates = list(_candidates(pattern, by_signal, scope, neighbourhood, onset, step_s))
        if candidates:
            best.append(max(candidates, key=lambda candidate: (candidate.confidence, candidate.entity)))
    best.sort(key=lambda candidate: (-candidate.confidence, candidate.pattern.kind))
    named = [candidate for candidate in best if candidate.confidence >= _CONFIDENCE_SHOWN][:_CAUSES_MAX]
    if not named or named[0].confidence < _CONFIDENCE_MIN or not scope.is_unusual:
        looked_at = {shift.signal.layer for shift in shifts} - {"request"}
        causes: tuple[Cause, ...] = (_unknown(service, scope, looked_at),)
        blamed: set[CauseKind] = set()
    else:
        causes = tuple(_cause(rank, candidate, onset) for rank, candidate in enumerate(named, start=1))
        blamed = {cause.kind for cause in causes}
    doubted = {candidate.pattern.kind: candidate for candidate in best if candidate.pattern.kind not in blamed}
    ruled_out = tuple(
        RuledOut(
            pattern.kind,
            _why_not(pattern, doubted.get(pattern.kind), by_signal, neighbourhood, scope, onset, step_s),
        )
        for pattern in knowledge.patterns.values()
        if pattern.kind not in blamed
    )
    return Explanation(causes, ruled_out)


def _candidates(
    pattern: Pattern,
    by_signal: Mapping[str, Sequence[Shift]],
    scope: Scope,
    neighbourhood: Neighbourhood,
    onset: datetime,
    step_s: int,
) -> Iterable[_Candidate]:
    signs: dict[Entity, list[Shift]] = {}
    for sign in pattern.requires:
        for shift in by_signal.get(sign.signal, ()):
            if shift.entity.kind is pattern.entity and _shows(pattern, sign, shift):
                signs.setdefault(shift.entity, []).append(shift)
    for entity, shown in signs.items():
        shown.sort(key=lambda shift: -shift.own_sigmas)
        companions = _near(pattern.supports, entity, by_signal, neighbourhood)
        confidence = (
            max(shift.score(with_peers=_service_wide(pattern)) for shift in shown)
            * _localised(entity, scope, neighbourhood)
            * _in_time(shown, onset, step_s)
            * _supported(pattern, companions)
            * _unopposed(_near(pattern.against, entity, by_signal, neighbourhood))
        )
        moved = tuple(shift for shift in companions if _went_along(pattern, shift) and shift not in shown)
        yield _Candidate(pattern, entity, min(confidence, _CERTAINTY_MAX), tuple(shown), moved)


def _service_wide(pattern: Pattern) -> bool:
    """What meets a whole service moves all its replicas alike; what meets one of them moves it beyond its peers."""
    return pattern.entity is EntityKind.SERVICE


def _shows(pattern: Pattern, sign: Sign, shift: Shift) -> bool:
    return (
        shift.moved(with_peers=_service_wide(pattern))
        and (sign.at_least is None or shift.during >= sign.at_least)
        and (sign.at_most is None or shift.during <= sign.at_most)
        and (sign.times is None or shift.during >= sign.times * shift.before)
    )


def _localised(entity: Entity, scope: Scope, neighbourhood: Neighbourhood) -> float:
    """How much of the excess this entity can explain: the root, as a part-cause is still a cause."""
    if entity.kind is EntityKind.SERVICE:  # what meets every request alike cannot explain an excess on few of them
        return math.sqrt(max(0.0, 1.0 - scope.concentration))
    return math.sqrt(min(1.0, neighbourhood.explained(entity, scope)))


def _in_time(signs: Sequence[Shift], onset: datetime, step_s: int) -> float:
    """A cause is there when its effect begins, give or take both clocks' steps; an unknown order is a mild doubt."""
    late_s = _late_s(signs, onset, step_s)
    return 0.8 if late_s is None else math.exp(-late_s / (8 * step_s))


def _late_s(signs: Sequence[Shift], onset: datetime, step_s: int) -> float | None:
    """Seconds that the earliest sign came too late to be the cause; None when none tells its time."""
    leads = [(onset - shift.onset).total_seconds() for shift in signs if shift.onset is not None]
    return max(0.0, -max(leads) - 2 * step_s) if leads else None


def _supported(pattern: Pattern, companions: Sequence[Shift]) -> float:
    """From 0.7 when nothing that usually goes with it moved, to 1 when all did. Signals without data do not count."""
    best: dict[str, float] = {}
    for shift in companions:
        score = shift.score(with_peers=_service_wide(pattern)) if _went_along(pattern, shift) else 0.0
        best[shift.signal.name] = max(best.get(shift.signal.name, 0.0), score)
    if not pattern.supports or not best:
        return 0.85
    return 0.7 + 0.3 * sum(best.values()) / len(best)


def _went_along(pattern: Pattern, shift: Shift) -> bool:
    return shift.moved(with_peers=_service_wide(pattern))


def _unopposed(contradictions: Sequence[Shift]) -> float:
    return 1.0 - 0.7 * max((shift.score() for shift in contradictions if shift.moved()), default=0.0)


def _near(
    names: Iterable[str],
    entity: Entity,
    by_signal: Mapping[str, Sequence[Shift]],
    neighbourhood: Neighbourhood,
) -> list[Shift]:
    """Shifts of these signals on the entity, and on what shares its replicas; never on another of its own kind."""
    own = neighbourhood.replicas_of.get(entity, frozenset())
    return [
        shift
        for name in names
        for shift in by_signal.get(name, ())
        if shift.entity == entity
        or (shift.entity.kind is not entity.kind and own & neighbourhood.replicas_of.get(shift.entity, frozenset()))
    ]


def _cause(rank: int, candidate: _Candidate, onset: datetime) -> Cause:
    first = candidate.signs[0]
    evidence = tuple(_evidence(shift, onset, with_peers=_service_wide(candidate.pattern)) for shift in _told(candidate))
    leads = [item.lead_s for item in evidence[: len(candidate.signs)] if item.lead_s is not None]
    return Cause(
        rank=rank,
        kind=candidate.pattern.kind,
        entity=candidate.entity,
        confidence=round(candidate.confidence, 3),
        lead_s=max(leads) if leads else None,
        summary=_filled(candidate.pattern.summary, candidate.entity, first),
        evidence=evidence,
        next_steps=tuple(step.replace("{entity}", candidate.entity.name) for step in candidate.pattern.next_steps),
    )


def _told(candidate: _Candidate) -> list[Shift]:
    """The signs, then of each companion signal the strongest."""
    companions: dict[str, Shift] = {}
    for shift in sorted(candidate.companions, key=lambda shift: -shift.sigmas):
        companions.setdefault(shift.signal.name, shift)
    return [*candidate.signs, *companions.values()]


def _evidence(shift: Shift, onset: datetime, *, with_peers: bool) -> Evidence:
    return Evidence(
        signal=shift.signal.name,
        entity=shift.entity,
        before=shift.before,
        during=shift.during,
        unit=shift.signal.unit,
        score=round(shift.score(with_peers=with_peers), 3),
        lead_s=None if shift.onset is None else (onset - shift.onset).total_seconds(),
    )


def _unknown(service: str, scope: Scope, looked_at: Collection[str]) -> Cause:
    if scope.slow_over_ms is None:
        summary = "There is no usual time before this window to compare with."
    elif not scope.is_unusual:
        summary = f"Nothing is unusual: {scope.slow_ratio:.1%} of the requests were slower than 99 % of usual ones are."
    else:
        nearby = (
            "no signal near these requests moved in a way that explains it"
            if looked_at
            else ("no engine, GPU or fabric metric of these replicas is known, so only the requests could be looked at")
        )
        summary = f"No cause clears the bar: {_where(scope)}, and {nearby}."
    return Cause(
        rank=1,
        kind=CauseKind.UNKNOWN,
        entity=Entity(EntityKind.SERVICE, service),
        confidence=0.0,
        lead_s=None,
        summary=summary,
        evidence=(),
        next_steps=(
            "Open the slowest traces below: what do they share (replica, tenant, prompt length, version)?",
            "Check what no signal covers yet: the host (CPU, disk), the application's own locks, upstream services.",
        ),
    )


def _where(scope: Scope) -> str:
    """In which stage and on which replica the added time lies, as far as one stands out."""
    stage = _main_stage(scope)
    where = f"most of the added time is {_STAGE_WORDS[stage]}" if stage else "no single stage holds the added time"
    worst = max(scope.excess_ratio, key=lambda name: scope.excess_ratio[name], default="")
    if worst and len(scope.traffic_ratio) > 1 and scope.excess_ratio[worst] > 2 * scope.traffic_ratio[worst]:
        where += f", {scope.excess_ratio[worst]:.0%} of it on {worst}"
    return where


def _main_stage(scope: Scope) -> str | None:
    """The stage that holds more than half of the added time; None when none does."""
    added = {stage: excess_ms for stage, excess_ms in scope.stage_excess_ms.items() if excess_ms > 0}
    return next((stage for stage, excess_ms in added.items() if excess_ms > sum(added.values()) / 2), None)


_STAGE_WORDS = {
    "queue_ms": "in the queue",
    "prefill_ms": "in prefill",
    "transfer_ms": "between queue and first token, outside prefill",
    "decode_ms": "in decode",
}


def _why_not(
    pattern: Pattern,
    candidate: _Candidate | None,
    by_signal: Mapping[str, Sequence[Shift]],
    neighbourhood: Neighbourhood,
    scope: Scope,
    onset: datetime,
    step_s: int,
) -> str:
    if candidate is not None:
        return _why_doubted(candidate, neighbourhood, scope, onset, step_s)
    seen = [
        shift
        for sign in pattern.requires
        for shift in by_signal.get(sign.signal, ())
        if shift.entity.kind is pattern.entity
    ]
    if not seen:
        wanted = ", ".join(sign.signal for sign in pattern.requires)
        return f"not looked at: no data of {wanted} near these requests"
    first_name = seen[0].signal.name
    worst = max((shift for shift in seen if shift.signal.name == first_name), key=lambda shift: shift.sigmas)
    return _filled(pattern.absent, worst.entity, worst)


def _why_doubted(
    candidate: _Candidate, neighbourhood: Neighbourhood, scope: Scope, onset: datetime, step_s: int
) -> str:
    moved = f"{candidate.signs[0].signal.title.lower()} moved on {candidate.entity.name}"
    share = (
        1.0 - scope.concentration
        if candidate.entity.kind is EntityKind.SERVICE
        else neighbourhood.explained(candidate.entity, scope)
    )
    if share < 0.5:
        return f"{moved}, but only {share:.0%} of the added time lies there"
    late_s = _late_s(candidate.signs, onset, step_s)
    if late_s:
        return f"{moved}, but {late_s + 2 * step_s:.0f} s after the spike began"
    return f"{moved}, but what usually goes with it did not, or something else explains it better"


def _filled(template: str, entity: Entity, shift: Shift) -> str:
    return (
        template.format(
            entity=entity.name,
            signal=shift.signal.title.lower(),
            before=_quantity(shift.before, shift.signal.unit),
            during=_quantity(shift.during, shift.signal.unit),
            unit=_UNIT_WORDS.get(shift.signal.unit, shift.signal.unit),
        )
        .replace(" ,", ",")
        .replace("  ", " ")
        .replace(" )", ")")
    )


_UNIT_WORDS = {"ratio": "", "1/s": "per second"}


def _quantity(value: float, unit: str) -> str:
    if unit == "ratio":
        return f"{value:.0%}"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
