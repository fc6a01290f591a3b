"""Causes: shifts held against what we know, ranked; or the admission that nothing explains the spike.

A pattern is believed as far as all of these hold: one of its required signs shows; it was in place when the spike
began; the excess milliseconds lie where it reaches; a way by which it reaches requests shows; what goes with it went
with it; and nothing speaks against it. Each is a factor in 0-1, and the confidence is their product. What a better
explanation brings about is a step of its chain.
"""

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

import numpy as np

from analytics.expected import Load
from analytics.knowledge import Knowledge, Pattern, Sign, step_text
from analytics.neighbourhood import Neighbourhood
from analytics.scope import STAGES, Scope
from analytics.signals import Shift
from domain.cause import (
    CAUSES_MAX,
    CONFIDENCE_SHOWN,
    NOT_LOOKED_AT,
    OF_EVERY_DAY,
    OF_THE_LOAD,
    Cause,
    CauseKind,
    EntityShare,
    Evidence,
    Explanation,
    RuledOut,
    Step,
    Whereabouts,
)
from domain.entity import Entity, EntityKind, entity_text, names_text
from domain.incident import Indicator
from domain.quantity import levels_text, move_text
from domain.window import duration_text

_CONFIDENCE_MIN = 0.45  # below this nothing is blamed
_FELT_STEPS = 2
_PLAIN_MIN = 0.7  # of what few slow requests are blamed on
_CERTAINTY_MAX = 0.99
_MOST = 0.75  # of the parts of a node or switch: then it is the whole that is to blame
_SEVERAL = 3
_TENANT_SHARE_MIN = 0.6
_FOLLOWS = 0.5  # how far what follows from a better explanation is still believed as a cause of its own
_RIGHT_AT = ((0.45, 0.62), (0.6, 0.8), (0.7, 0.9), (0.8, 0.96), (0.9, 0.98), (0.99, 0.99))
_BESIDE_MIN = 0.5  # of its requests came while another version served: then the two can be compared
_NONE_BESIDE = 0.45
_MORE_REQUESTS = 1.5
_DEPENDENCY = 0.5  # how far a called service that is slow for no known reason is believed to be its callers' cause
_NO_LOAD_KNOWN = Load()
_WAY_UNSEEN = 0.85
_LOAD_UNSEEN = 0.5  # so much says of a surge that there never was as much load
_BLIND = 0.8  # how far it is still believed where what must go with it cannot be seen
_CLAIMS = 0.8  # of another's confidence that what brings it about must have itself
_BESIDE_MAX = 0.44
_STANDS_OUT = 0.15
_SHARES_MAX = 6
_NAMES_MAX = 3
_STAGE_OF = {
    "queue_time": "queue_ms",
    "transfer_time": "transfer_ms",
    "prefill_time": "prefill_ms",
    "decode_time": "decode_ms",
}
_SLACK_S = 60  # clocks of scrapes and requests, and the step between samples


@dataclass(frozen=True, slots=True)
class _Candidate:
    """One kind of cause on one entity.

    `explained` is the share of the excess that lies where it reaches, `parts` of how many of a whole's parts it shows.
    """

    pattern: Pattern
    entity: Entity
    confidence: float
    explained: float
    signs: tuple[Shift, ...]
    companions: tuple[Shift, ...]
    brought: tuple["_Candidate", ...] = ()
    parts: tuple[int, int] | None = None

    @property
    def onset(self) -> datetime | None:
        """When its earliest sign showed; None when none tells its time."""
        return min((sign.onset for sign in self.signs if sign.onset is not None), default=None)


@dataclass(frozen=True, slots=True)
class Findings:
    """What was found of one spike of one service, before anything is blamed.

    `onset` is when it began, `scope` which requests were slow and whose, `shifts` how every signal of every entity near
    the service moved, `neighbourhood` which replicas each entity carries, `step_s` the resolution of onsets, `load`
    what as much load brought before, `called_by` the services of which this one, that serves no model, is a dependency.
    `witnesses` is how the signals of the nodes' other GPUs moved, which serve others or nobody: nothing of this service
    is their fault, but they tell a fault of a GPU from one of its node.
    """

    service: str
    onset: datetime
    scope: Scope
    shifts: Sequence[Shift]
    neighbourhood: Neighbourhood
    step_s: int
    load: Load = _NO_LOAD_KNOWN
    indicator: Indicator = Indicator.LATENCY
    called_by: frozenset[str] = frozenset()
    witnesses: Sequence[Shift] = ()


@dataclass(frozen=True, slots=True)
class _Spike:
    """What candidates are held against: the findings, by signal."""

    service: Entity
    onset: datetime
    scope: Scope
    near: Neighbourhood
    by_signal: Mapping[str, Sequence[Shift]]
    load: Load
    step_s: int
    indicator: Indicator
    starts: frozenset[str] = frozenset()
    crashed: frozenset[str] = frozenset()
    witnesses: Sequence[Shift] = ()

    def replicas_of(self, entity: Entity) -> frozenset[str]:
        return self.near.replicas_of.get(entity, frozenset())

    def is_common(self, pattern: Pattern, entity: Entity) -> bool:
        """Does it meet most replicas alike: then what moved on all of them is what it did, and no peers' move."""
        if "service" in pattern.reach or "upstream" in pattern.reach:
            return True
        return 2 * len(self.replicas_of(entity)) > len(self.replicas_of(self.service))

    def alike(self, shift: Shift) -> float:
        """Of what can be wrong with one alone (`starts`): the share of the others that show it too; else 0."""
        if shift.signal.name not in self.starts:
            return 0.0
        others = [one for one in self.by_signal.get(shift.signal.name, ()) if one.entity != shift.entity]
        return sum(one.moved() for one in others) / len(others) if others else 0.0


def explain(findings: Findings, knowledge: Knowledge) -> Explanation:
    """Rank what explains a spike, by what is known of the signs of each kind of cause."""
    service, scope = findings.service, findings.scope
    by_signal: dict[str, list[Shift]] = {}
    for shift in findings.shifts:
        by_signal.setdefault(shift.signal.name, []).append(shift)
    spike = _Spike(
        Entity(EntityKind.SERVICE, service),
        findings.onset,
        scope,
        findings.neighbourhood,
        by_signal,
        findings.load,
        findings.step_s,
        findings.indicator,
        frozenset(sign.signal for one in knowledge.patterns.values() if one.alone for sign in one.requires),
        frozenset(one.entity.name for one in by_signal.get("replica_crash", ()) if one.moved()),
        findings.witnesses,
    )
    best: list[_Candidate] = []
    for pattern in knowledge.patterns.values():
        candidates = list(_candidates(pattern, spike))
        if candidates:
            best.append(_pinned(max(candidates, key=_standing), candidates, spike))
    best = _chained(best, spike)
    named = [candidate for candidate in best if candidate.confidence >= CONFIDENCE_SHOWN][:CAUSES_MAX]
    if not named or not _is_believed(named[0], scope):
        looked_at = {shift.signal.layer for shift in findings.shifts} - {"request"}
        unknown = _unknown(service, scope, looked_at)
        causes: tuple[Cause, ...] = (_of_its_callers(unknown, findings, knowledge) or unknown,)
    else:
        causes = tuple(_cause(rank, candidate, spike) for rank, candidate in enumerate(named, start=1))
    blamed = {cause.kind for cause in causes}
    doubted = {candidate.pattern.kind: candidate for candidate in best if candidate.pattern.kind not in blamed}
    ruled_out = tuple(
        RuledOut(pattern.kind, _why_not(pattern, doubted.get(pattern.kind), spike, knowledge))
        for pattern in knowledge.patterns.values()
        if pattern.kind not in blamed
    )
    return Explanation(causes, ruled_out, _whereabouts(scope))


def _of_its_callers(unknown: Cause, findings: Findings, knowledge: Knowledge) -> Cause | None:
    """A service that others call, slow for no known reason, is their cause; None for one that nobody calls so."""
    pattern = knowledge.patterns.get(CauseKind.UPSTREAM_DEPENDENCY)
    if not findings.called_by or not findings.scope.is_unusual or pattern is None:
        return None
    callers = ", ".join(sorted(findings.called_by)[:_NAMES_MAX])
    summary = f"{findings.service}, called by {callers}, is slow by itself, and nothing measured on it explains why."
    return replace(
        unknown,
        kind=CauseKind.UPSTREAM_DEPENDENCY,
        confidence=round(calibrated(_DEPENDENCY), 3),
        summary=summary,
        next_steps=tuple(step_text(step, findings.service) for step in pattern.next_steps),
        explained_ratio=1.0,
    )


def not_explained(service: str, error: Exception) -> Explanation:
    """What is told of a spike whose explanation failed: that it is there, and why nobody knows more."""
    cause = _unknown_because(service, f"The spike could not be explained ({type(error).__name__}: {error}).")
    return Explanation((cause,), (), None)


def _is_believed(first: _Candidate, scope: Scope) -> bool:
    """Is it sure enough for so many slow requests; few of them are blamed on what broke, not on what is every day."""
    if scope.is_unusual:
        return first.confidence >= _CONFIDENCE_MIN
    return scope.is_notable and first.confidence >= _PLAIN_MIN and first.pattern.kind not in OF_EVERY_DAY


# -- candidates --------------------------------------------------------------------------------------------------------


def _candidates(pattern: Pattern, spike: _Spike) -> Iterable[_Candidate]:
    signs: dict[Entity, list[Shift]] = {}
    if len(spike.replicas_of(spike.service)) < pattern.replicas_min:
        return
    for sign in pattern.requires:
        for shift in spike.by_signal.get(sign.signal, ()):
            if shift.entity.kind not in pattern.entities or not _measured(sign.needs, shift.entity, spike):
                continue
            if _shows(sign, shift, common=_has_no_peers(shift, spike)):
                signs.setdefault(shift.entity, []).append(shift)
    for entity, shown in signs.items():
        candidate = _candidate(pattern, entity, shown, spike)
        if pattern.alone:
            alike = sum(_names_of(shown) <= _names_of(theirs) for theirs in signs.values()) - 1
            others = sum(one.kind is entity.kind for one in spike.near.replicas_of) - 1
            candidate = replace(candidate, confidence=candidate.confidence * (1.0 - alike / max(others, 1)))
        yield candidate


def _names_of(shifts: Iterable[Shift]) -> set[str]:
    return {shift.signal.name for shift in shifts}


def _measured(signal: str | None, entity: Entity, spike: _Spike) -> bool:
    return signal is None or any(shift.entity == entity for shift in spike.by_signal.get(signal, ()))


def _has_no_peers(shift: Shift, spike: _Spike) -> bool:
    """A service has none, nor has anything of a sole replica; of all else a sign must go beyond its peers."""
    return shift.entity.kind is EntityKind.SERVICE or len(spike.replicas_of(spike.service)) == 1


def _candidate(pattern: Pattern, entity: Entity, shown: Sequence[Shift], spike: _Spike) -> _Candidate:
    common = spike.is_common(pattern, entity)
    alone = len(spike.replicas_of(spike.service)) == 1
    ordered = sorted(shown, key=lambda shift: -shift.own_sigmas)
    ways = _near(pattern.through, entity, spike)
    expected = _near(pattern.expects, entity, spike)
    companions = _near(pattern.supports, entity, spike)
    explained = _explained(pattern, entity, spike)
    unseen = _is_transfer_unseen(pattern, spike)
    beside = max((shift.score() for shift in expected if shift.moved()), default=0.0)
    if pattern.kind in OF_THE_LOAD and spike.load.is_unseen:
        beside = max(beside, _LOAD_UNSEEN)
    confidence = (
        pattern.weight
        * _strength(ordered, beside, with_peers=alone or entity.kind is EntityKind.SERVICE)
        * max(_placed(explained), _felt_beside([*ways, *(sign for sign in ordered if _is_felt(sign))]))
        * _in_time(ordered, spike)
        * (
            _reached(ways, _told_by_stages(pattern, entity, spike), unseen=unseen, common=common)
            if pattern.through
            else 1.0
        )
        * (_expected(expected) if pattern.expects else 1.0)
        * _supported(pattern, companions, common=common)
        * _unopposed(_near(pattern.against, entity, spike), entity, spike, of_requests=_is_of_requests(ordered))
        * _as_load(pattern.kind, spike)
    )
    moved = [shift for shift in (*ways, *companions) if shift.moved(with_peers=common) and shift not in ordered]
    return _Candidate(pattern, entity, min(confidence, _CERTAINTY_MAX), explained, tuple(ordered), tuple(moved))


def _standing(candidate: _Candidate) -> tuple[float, bool, float, Entity]:
    """Which of several of a kind is named: near equals by whose sign moved furthest, the cable's end at the node."""
    is_near_end = candidate.entity.name.count("/") != 1
    sigmas = max(shift.own_sigmas for shift in candidate.signs)
    return round(candidate.confidence, 1), is_near_end, sigmas, candidate.entity


def _pinned(best: _Candidate, candidates: Sequence[_Candidate], spike: _Spike) -> _Candidate:
    """The best of a kind: on the whole if most of its parts show it, on the tenant who adds most of the work.

    Most of the parts that serve, or with those that serve others or nobody most of all.
    """
    kinds = best.pattern.entities
    whole = spike.near.whole(best.entity)
    if whole is not None and whole.kind in kinds:
        parts = spike.near.parts[whole]
        showing = [one for one in candidates if one.entity in parts]
        known = {shift.entity for sign in best.pattern.requires for shift in spike.by_signal.get(sign.signal, ())}
        measured = {(shift.signal.name, shift.entity) for shift in spike.witnesses}
        told = [
            (shift.entity, _shows(sign, shift, common=True))
            for sign in best.pattern.requires
            for shift in spike.witnesses
            if shift.entity in parts
            and shift.signal.name == sign.signal
            and (sign.needs is None or (sign.needs, shift.entity) in measured)
        ]
        others, alike = {entity for entity, _ in told}, {entity for entity, shows in told if shows}
        serving = len(parts & known)
        if _are_most(len(showing), serving) or _are_most(len(showing) + len(alike), serving + len(others)):
            found = _candidate(best.pattern, whole, [shift for one in showing for shift in one.signs], spike)
            return replace(found, parts=(len(showing) + len(alike), serving + len(others)))
    if EntityKind.TENANT in kinds and best.entity.kind is EntityKind.SERVICE and spike.scope.added_tokens_ratio:
        tenant, share = max(spike.scope.added_tokens_ratio.items(), key=lambda item: item[1])
        usual = spike.scope.shares.get(EntityKind.TENANT, {}).get(tenant)
        if share >= _TENANT_SHARE_MIN and usual is not None and share >= 2 * usual.usual_traffic_ratio:
            return replace(best, entity=Entity(EntityKind.TENANT, tenant))
    return best


def _are_most(showing: int, of: int) -> bool:
    return showing >= _SEVERAL and showing >= _MOST * of


def _shows(sign: Sign, shift: Shift, *, common: bool) -> bool:
    return (
        shift.moved(with_peers=common)
        and (sign.at_least is None or shift.during >= sign.at_least)
        and (sign.at_most is None or shift.during <= sign.at_most)
        and (sign.times is None or _times(shift) >= sign.times)
    )


def _times(shift: Shift) -> float:
    """By what factor it moved in its bad direction."""
    more, less = (shift.during, shift.before) if shift.signal.worse == "up" else (shift.before, shift.during)
    return more / less if less > 0 else math.inf


def _explained(pattern: Pattern, entity: Entity, spike: _Spike) -> float:
    """The share of the excess that lies where the cause reaches, 0-1."""
    scope = spike.scope
    everywhere = max(0.0, 1.0 - scope.concentration())
    found = 0.0
    for reach in pattern.reach:
        if reach == "own":
            found = max(found, spike.near.explained(entity, scope))
        elif reach == "service" or (reach == "lost" and spike.replicas_of(entity) & scope.lost):
            found = max(found, everywhere)
        elif reach == "crashed":
            gone = [scope.replicas[name] for name in spike.crashed if name in scope.replicas]
            found = max(found, sum(share.failures_ratio for share in gone))
        elif reach == "work":
            found = max(found, scope.work_ratio)
        elif reach == "upstream":
            found = max(found, scope.upstream_ratio.get(entity.name, 0.0))
        elif reach == "version" and entity.name in scope.shares.get(EntityKind.VERSION, {}):
            share = scope.shares[EntityKind.VERSION][entity.name]
            # What one replica alone, or a called service, holds is not the version's doing.
            elsewhere = min(1.0, sum(scope.upstream_ratio.values()))
            own = max(share.excess_ratio * (1.0 - elsewhere), share.failures_ratio) * scope.evenness(entity.name)
            # Once it serves everybody there is none beside it to compare with: what came with it may be chance.
            is_beside = scope.beside_ratio.get(entity.name, 1.0) >= _BESIDE_MIN
            found = max(found, own * (1.0 if is_beside else _NONE_BESIDE))
    return min(1.0, found)


def _placed(explained: float) -> float:
    """The root of the share explained, as a part-cause is still a cause; less than half of it explains nothing much."""
    return math.sqrt(explained) if explained >= 0.5 else math.sqrt(2) * explained


def _felt_beside(ways: Sequence[Shift]) -> float:
    """What is felt on its own replicas, but little beside what the whole service waits for, may be named second.

    The greater of two causes holds nearly all of the added time. Never enough to be blamed alone.
    """
    own = max((shift.score() for shift in ways if shift.moved()), default=0.0)
    return _BESIDE_MAX * own


def _is_felt(sign: Shift) -> bool:
    """Is it time that requests spent: then the sign itself says that they felt it, as of a slow called service."""
    return sign.signal.layer == "request" and sign.signal.unit == "ms"


def _in_time(signs: Sequence[Shift], spike: _Spike) -> float:
    """A cause is there when its effect begins, give or take both clocks' steps; an unknown order is a mild doubt."""
    late_s = _late_s(signs, spike)
    return 0.9 if late_s is None else math.exp(-late_s / (8 * spike.step_s))


def _late_s(signs: Sequence[Shift], spike: _Spike) -> float | None:
    """Seconds that the earliest sign came too late to be the cause; None when none tells its time."""
    leads = [(spike.onset - shift.onset).total_seconds() for shift in signs if shift.onset is not None]
    return max(0.0, -max(leads) - _late_after_s(spike)) if leads else None


def _late_after_s(spike: _Spike) -> float:
    """Both clocks' steps, and half a minute by which the onset of a percentile is uncertain."""
    return 2 * spike.step_s + 30.0


def _reached(ways: Sequence[Shift], told_by_stages: float, *, unseen: bool, common: bool) -> float:
    """From 0.35 when no way by which it reaches requests shows to 1; at least 0.85 when it may have, unseen."""
    scores = [shift.score(with_peers=common) if shift.moved(with_peers=common) else 0.0 for shift in ways]
    return max(_WAY_UNSEEN if unseen or not ways else 0.35, 0.35 + 0.65 * max(*scores, told_by_stages, 0.0))


def _is_transfer_unseen(pattern: Pattern, spike: _Spike) -> bool:
    """Is the time to first token slow, of which requests do not say how much they waited for a transfer."""
    is_first = spike.indicator is Indicator.TTFT
    return is_first and "transfer_time" in pattern.through and not spike.by_signal.get("transfer_time")


def _told_by_stages(pattern: Pattern, entity: Entity, spike: _Spike) -> float:
    """The share of the added time that lies in the stages through which it reaches requests, 0-1.

    Of what meets the whole service alone: a queue of few requests in a hundred moves no level of a replica.
    """
    if entity.kind is not EntityKind.SERVICE:
        return 0.0
    added = {stage: excess_ms for stage, excess_ms in spike.scope.stage_excess_ms.items() if excess_ms > 0}
    reached = {_STAGE_OF[signal] for signal in pattern.through if signal in _STAGE_OF}
    return sum(added.get(stage, 0.0) for stage in reached) / sum(added.values()) if added else 0.0


def _supported(pattern: Pattern, companions: Sequence[Shift], *, common: bool) -> float:
    """From 0.8 when nothing that usually goes with it moved, to 1 when all did. Signals without data do not count."""
    best: dict[str, float] = {}
    for shift in companions:
        score = shift.score(with_peers=common) if shift.moved(with_peers=common) else 0.0
        best[shift.signal.name] = max(best.get(shift.signal.name, 0.0), score)
    if not pattern.supports:
        return 1.0
    return 0.8 + 0.2 * sum(best.values()) / len(best) if best else 0.9


def _strength(signs: Sequence[Shift], beside: float, *, with_peers: bool) -> float:
    """That of the strongest sign; what is expected to go with it and did (`beside`, 0-1) is nearly as good as one."""
    best = max(shift.score(with_peers=with_peers) for shift in signs)
    return 1.0 - (1.0 - best) * (1.0 - 0.8 * beside)


def _expected(companions: Sequence[Shift]) -> float:
    """A mild doubt when what hardly fails to go with it did not move, a milder one when nobody measures it."""
    if not companions:
        return _BLIND
    return 1.0 if any(shift.moved() for shift in companions) else 0.7


def _unopposed(contradictions: Sequence[Shift], entity: Entity, spike: _Spike, *, of_requests: bool) -> float:
    """What speaks for something else, by the strongest; not a start that the others had too, and are well after.

    On parts of a whole it speaks by their share: one GPU with a fault does not explain what all of its node show. What
    sends a replica more requests than its peers (`of_requests`) is no device.
    """
    parts = spike.near.parts.get(entity, frozenset())
    told = 0.0
    for shift in contradictions:
        if not shift.moved() or (of_requests and shift.signal.layer != "request"):
            continue
        score = shift.score() * (1.0 - spike.alike(shift))
        if shift.entity in parts:
            same = [one for one in contradictions if one.signal.name == shift.signal.name and one.entity in parts]
            score *= sum(one.moved() for one in same) / len(same)
        told = max(told, score)
    return 1.0 - 0.7 * told


def _is_of_requests(signs: Sequence[Shift]) -> bool:
    """Does a replica get clearly more requests than its peers: the router's doing, whatever else ails it."""
    return any(sign.signal.name == "replica_rate" and _times(sign) >= _MORE_REQUESTS for sign in signs)


def _as_load(kind: CauseKind, spike: _Spike) -> float:
    """Of more requests and longer ones, the less is believed as its growth is the lesser part of the added work, 0-1.

    Work is requests times their length, so the logarithms of both growths add up to that of the work. More requests
    are doubted, down to 0.3, as far as as many brought no such excess before.
    """
    if kind not in OF_THE_LOAD:
        return 1.0
    more, longer = (math.log(_growth(names, spike)) for names in (("request_rate",), ("input_tokens", "output_tokens")))
    own = more if kind is CauseKind.TRAFFIC_SURGE else longer
    part = min(1.0, 2.0 * own / (more + longer)) if more + longer > 0 else 1.0
    if kind is CauseKind.PROMPT_MIX_SHIFT or spike.load.explains is None:
        return part
    return part * min(1.0, 0.3 + 1.4 * spike.load.explains)


def _growth(names: Iterable[str], spike: _Spike) -> float:
    """The greatest factor, at least 1, by which one of these signals of the service rose."""
    moves = [shift for name in names for shift in spike.by_signal.get(name, ()) if shift.entity == spike.service]
    return max((shift.during / shift.before for shift in moves if shift.before > 0 and shift.moved()), default=1.0)


def _near(names: Iterable[str], entity: Entity, spike: _Spike) -> list[Shift]:
    """Shifts of these signals on the entity, and on what shares its replicas; never on another of its own kind."""
    own = spike.replicas_of(entity) or spike.replicas_of(spike.service)
    parts = spike.near.parts.get(entity, frozenset())
    return [
        shift
        for name in names
        for shift in spike.by_signal.get(name, ())
        if shift.entity == entity
        or shift.entity in parts
        or (shift.entity.kind is not entity.kind and own & spike.replicas_of(shift.entity))
    ]


# -- chains ------------------------------------------------------------------------------------------------------------


def _chained(candidates: Sequence[_Candidate], spike: _Spike) -> list[_Candidate]:
    """By confidence, what a better explanation brings about believed less and told in that one's chain."""
    ordered = sorted(candidates, key=lambda one: (-one.confidence, one.pattern.kind))
    followers: dict[CauseKind, CauseKind] = {}
    for first in ordered:
        if first.confidence < _CONFIDENCE_MIN or first.pattern.kind in followers:
            continue
        for other in ordered:
            if other is not first and other.pattern.kind not in followers and _brings(first, other, spike):
                followers[other.pattern.kind] = first.pattern.kind
    found = []
    for one in ordered:
        if one.pattern.kind in followers:
            found.append(replace(one, confidence=one.confidence * _FOLLOWS))
        else:
            brought = tuple(
                other
                for other in ordered
                if followers.get(other.pattern.kind) == one.pattern.kind and other.confidence >= CONFIDENCE_SHOWN
            )
            found.append(replace(one, brought=brought))
    return sorted(found, key=lambda one: (-one.confidence, one.pattern.kind))


def _brings(first: _Candidate, other: _Candidate, spike: _Spike) -> bool:
    if other.pattern.kind not in first.pattern.brings:
        return False
    if first.confidence < _CLAIMS * other.confidence:
        return False  # what is hardly believed itself does not explain away what is
    own = spike.replicas_of(first.entity) or spike.replicas_of(spike.service)
    theirs = spike.replicas_of(other.entity) or spike.replicas_of(spike.service)
    # What fills the whole service may show on few; what one entity does is not brought about on quite another.
    overlaps = bool(own & theirs) and not _is_of_its_own(first, other, spike)
    in_order = first.onset is None or other.onset is None or (first.onset - other.onset).total_seconds() <= _SLACK_S
    return overlaps and in_order


def _is_of_its_own(first: _Candidate, other: _Candidate, spike: _Spike) -> bool:
    """Does the other show where, or as, what the first does to the replicas it carries cannot make it.

    A GPU does not bring about what most GPUs of its node show, nor a device that its replica gets more requests than
    the others. A node that is short of CPU is short of it for all that runs there: one replica that is slow beside
    several others on the same node has a cause of its own.
    """
    if set(first.pattern.reach) - {"own"}:
        return False
    if first.entity in spike.near.parts.get(other.entity, ()) and other.entity.kind is EntityKind.NODE:
        return True
    if other.entity.kind is not EntityKind.REPLICA:
        return False
    if _is_of_requests(other.signs):
        return True
    met = spike.replicas_of(first.entity)
    names = _names_of(sign for sign in other.signs if _is_felt(sign))
    felt = {
        shift.entity.name
        for name in names
        for shift in spike.by_signal.get(name, ())
        if shift.entity.name in met and shift.moved()
    }
    return len(met) >= _SEVERAL and felt == {other.entity.name}


def _chain(candidate: _Candidate, spike: _Spike) -> tuple[Step, ...]:
    """The cause, what it brought about, and what users felt."""
    told = [candidate.signs[0]]
    told += [other.signs[0] for other in candidate.brought]
    ways = sorted(
        (shift for shift in candidate.companions if shift.signal.name in candidate.pattern.through),
        key=lambda shift: -shift.sigmas,
    )
    for shift in ways[:2]:
        if all(shift.signal.name != other.signal.name for other in told):
            told.append(shift)
    steps = [
        Step(shift.entity, _told(shift), _lead_s(shift, spike), spike.near.gpu_place(shift.entity))
        for shift in dict.fromkeys(told)
    ]
    stage = _main_stage(spike.scope)
    where = f", most of it {STAGES[stage]}" if stage else ""
    felt = f"{spike.scope.slow_ratio:.1%} of the requests are slow or fail"
    if spike.indicator is Indicator.TPOT:
        felt = f"each further token takes {spike.scope.excess_ms:,.1f} ms longer"
    elif spike.indicator is not Indicator.ERRORS and spike.scope.excess_ms > 0:
        felt = f"a mean request takes {duration_text(spike.scope.excess_ms)} longer{where}"
    return (*steps, Step(spike.service, felt, 0.0))


def _told(shift: Shift) -> str:
    return f"{_lower(shift.signal.title)} {move_text(shift.before, shift.during, shift.signal.unit, shift.entity.kind)}"


def calibrated(product: float) -> float:
    """How often a first cause with this product of factors is right, 0-1: a monotone curve through `_RIGHT_AT`.

    Measured on incidents of our simulator and of another make (`make bench-causes`); it changes no order.
    """
    products, ratios = zip(*_RIGHT_AT, strict=True)
    return float(np.interp(product, products, ratios))


PLAIN = round(calibrated(_PLAIN_MIN), 3)
"""From which confidence on a cause is plain: few slow requests are blamed on none that is less sure."""


# -- words -------------------------------------------------------------------------------------------------------------


def _cause(rank: int, candidate: _Candidate, spike: _Spike) -> Cause:
    pattern = candidate.pattern
    with_peers = spike.is_common(pattern, candidate.entity)
    evidence = tuple(_evidence(shift, spike, with_peers=with_peers) for shift in _shown(candidate))
    leads = [_lead_s(shift, spike) for shift in candidate.signs]
    node, peer = _node_of(candidate.entity, spike), spike.near.peers.get(candidate.entity)
    return Cause(
        rank=rank,
        kind=pattern.kind,
        entity=candidate.entity,
        confidence=round(calibrated(candidate.confidence) if rank == 1 else candidate.confidence, 3),
        lead_s=max((lead for lead in leads if lead is not None), default=None),
        summary=_filled(pattern.summary, candidate.entity, _summarised(candidate), spike) + _parts_text(candidate),
        evidence=evidence,
        next_steps=tuple(
            step_text(
                step,
                _name_in_commands(candidate.entity),
                node,
                spike.replicas_of(candidate.entity),
                peer.name if peer else None,
            )
            for step in pattern.next_steps
        ),
        explained_ratio=round(candidate.explained, 3),
        chain=_chain(candidate, spike),
        gpu=spike.near.gpu_place(candidate.entity),
    )


def _summarised(candidate: _Candidate) -> Shift:
    """What the summary tells of: the first that moved of the signals that it names, else the strongest sign."""
    moved = {shift.signal.name: shift for shift in _shown(candidate)}
    return next((moved[name] for name in candidate.pattern.summary_from if name in moved), candidate.signs[0])


def _name_in_commands(entity: Entity) -> str:
    """Its exact name, but of a MIG instance that of its GPU: tools take no instance in its place."""
    return entity.name.partition("/")[0] if entity.kind is EntityKind.GPU else entity.name


def _parts_text(candidate: _Candidate) -> str:
    if candidate.parts is None:
        return ""
    showing, known = candidate.parts
    kind = "GPUs" if candidate.entity.kind is EntityKind.NODE else "ports"
    return f" It shows on {showing} of its {known} {kind}."


def _shown(candidate: _Candidate) -> list[Shift]:
    """The signs, of each signal the strongest; then of each companion signal the strongest."""
    strongest: dict[str, Shift] = {}
    for shift in (*candidate.signs, *sorted(candidate.companions, key=lambda shift: -shift.sigmas)):
        strongest.setdefault(shift.signal.name, shift)
    return list(strongest.values())


def _evidence(shift: Shift, spike: _Spike, *, with_peers: bool) -> Evidence:
    return Evidence(
        signal=shift.signal.name,
        entity=shift.entity,
        before=shift.before,
        during=shift.during,
        unit=shift.signal.unit,
        score=round(shift.score(with_peers=with_peers), 3),
        lead_s=_lead_s(shift, spike),
        gpu=spike.near.gpu_place(shift.entity),
    )


def _lead_s(shift: Shift, spike: _Spike) -> float | None:
    """How long before the onset it moved. What requests spend is felt as it moves, and neither is known to a step."""
    if shift.onset is None:
        return None
    lead_s = (spike.onset - shift.onset).total_seconds()
    return 0.0 if _is_felt(shift) and 0 < lead_s <= _FELT_STEPS * spike.step_s else lead_s


def _unknown(service: str, scope: Scope, looked_at: Collection[str]) -> Cause:
    if scope.slow_over_ms is None:
        summary = "There is no usual time before this window to compare with."
    elif not scope.is_unusual:
        summary = f"Nothing is unusual: {scope.slow_ratio:.1%} of the requests were slower than the usual p99."
    else:
        nearby = (
            "no signal near these requests moved in a way that explains it"
            if looked_at
            else ("no engine, GPU or fabric metric of these replicas is known, so only the requests could be looked at")
        )
        summary = f"No known cause fits: {_where(scope)}, and {nearby}."
    return _unknown_because(service, summary)


def _unknown_because(service: str, summary: str) -> Cause:
    return Cause(
        rank=1,
        kind=CauseKind.UNKNOWN,
        entity=Entity(EntityKind.SERVICE, service),
        confidence=0.0,
        lead_s=None,
        summary=summary,
        evidence=(),
        next_steps=(
            "Open the slowest traces on the incident's page: what do they share (replica, tenant, length, version)?",
            "Check what no signal covers yet: the application's own locks, the router, DNS, storage.",
        ),
    )


def _where(scope: Scope) -> str:
    """In which stage and on which replica the added time lies, as far as one stands out."""
    stage = _main_stage(scope)
    where = f"most of the added time is {STAGES[stage]}" if stage else "no single stage holds the added time"
    worst = max(scope.replicas, key=lambda name: scope.replicas[name].excess_ratio, default="")
    if worst and len(scope.replicas) > 1:
        share = scope.replicas[worst]
        if share.excess_ratio > 2 * share.traffic_ratio:
            where += f", {share.excess_ratio:.0%} of it on {worst}"
    return where


def _main_stage(scope: Scope) -> str | None:
    """The stage that holds more than half of the added time; None when none does."""
    added = {stage: excess_ms for stage, excess_ms in scope.stage_excess_ms.items() if excess_ms > 0}
    return next((stage for stage, excess_ms in added.items() if excess_ms > sum(added.values()) / 2), None)


def _whereabouts(scope: Scope) -> Whereabouts | None:
    """Where the added time lies: the stages, and whoever has clearly more of it than of the traffic."""
    if scope.slow_over_ms is None:
        return None
    shares = [
        EntityShare(Entity(kind, name), round(share.excess_ratio, 3), round(share.traffic_ratio, 3))
        for kind, of_kind in scope.shares.items()
        if len(of_kind) > 1
        for name, share in of_kind.items()
        if name and share.excess_ratio > share.traffic_ratio + _STANDS_OUT
    ]
    shares.sort(key=lambda share: (share.traffic_ratio - share.excess_ratio, share.entity))
    stages = {stage: round(excess_ms, 3) for stage, excess_ms in scope.stage_excess_ms.items()}
    return Whereabouts(round(scope.excess_ms, 3), stages, tuple(shares[:_SHARES_MAX]))


def _why_not(pattern: Pattern, candidate: _Candidate | None, spike: _Spike, knowledge: Knowledge) -> str:
    if candidate is not None:
        return _why_doubted(candidate, spike)
    seen = [
        shift
        for sign in pattern.requires
        for shift in spike.by_signal.get(sign.signal, ())
        if shift.entity.kind in pattern.entities
    ]
    if not seen:
        wanted = [_lower(knowledge.signal_title(sign.signal)) for sign in pattern.requires]
        return f"{NOT_LOOKED_AT}no data on {names_text(wanted, _NAMES_MAX)} near these requests"
    first_name = seen[0].signal.name
    worst = max((shift for shift in seen if shift.signal.name == first_name), key=lambda shift: shift.sigmas)
    unseen = [sign.signal for sign in pattern.requires if not spike.by_signal.get(sign.signal)]
    if not unseen:
        return _filled(pattern.absent, worst.entity, worst, spike)
    names = names_text([_lower(knowledge.signal_title(name)) for name in unseen], _NAMES_MAX)
    if pattern.requires[0].signal in unseen:  # the sentence is about that
        level = _filled("{during} {unit}", worst.entity, worst, spike).strip()
        return f"{_lower(worst.signal.title)} as usual ({level}); not measured: {names}"
    return f"{_filled(pattern.absent, worst.entity, worst, spike)}; not measured: {names}"


def _why_doubted(candidate: _Candidate, spike: _Spike) -> str:
    moved = f"{_told(candidate.signs[0])} on {_called(candidate.entity, spike)}"
    if candidate.explained < 0.5:
        return f"{moved}, but only {candidate.explained:.0%} of the added time lies there"
    late_s = _late_s(candidate.signs, spike)
    if late_s:
        return f"{moved}, but {late_s + _late_after_s(spike):.0f} s after the spike began"
    if candidate.pattern.kind is CauseKind.TRAFFIC_SURGE and spike.load.explains is not None:
        return f"{moved}, but as much load brought {spike.load.explains:.0%} of the added time before"
    ways = _near(candidate.pattern.through, candidate.entity, spike)
    common = spike.is_common(candidate.pattern, candidate.entity)
    if ways and not any(shift.moved(with_peers=common) for shift in ways):
        titles = sorted({_lower(shift.signal.title) for shift in ways})
        return f"{moved}, but it did not reach the requests there: {', '.join(titles)} stayed as usual"
    return f"{moved}, but what usually goes with it did not, or something else explains it better"


def _node_of(entity: Entity, spike: _Spike) -> str | None:
    """The node that something is on, where that is known; of a node itself its own name.

    Of a switch's port it is the node at the other end of its cable, else the switch.
    """
    if entity.kind is EntityKind.NODE:
        return entity.name
    if entity.kind is EntityKind.PORT:
        ends = (entity, spike.near.peers.get(entity))
        names = [end.name.partition("/")[0] for end in ends if end is not None]
        return next((name for name in names if Entity(EntityKind.NODE, name) in spike.near.replicas_of), names[0])
    whole = spike.near.whole(entity)
    return whole.name if whole is not None and whole.kind is EntityKind.NODE else None


def _called(entity: Entity, spike: _Spike) -> str:
    return entity_text(entity, spike.near.gpu_place(entity))


def _filled(template: str, entity: Entity, shift: Shift, spike: _Spike) -> str:
    (before, during), unit = levels_text(shift.signal.unit, shift.before, shift.during, of=shift.entity.kind)
    named = _called(entity, spike)
    return (
        template.format(entity=named, signal=_lower(shift.signal.title), before=before, during=during, unit=unit)
        .replace(" ,", ",")
        .replace("  ", " ")
        .replace(" )", ")")
        .replace(" ;", ";")
    )


def _lower(title: str) -> str:
    """As within a sentence: names in capitals stay as they are."""
    first = title.partition(" ")[0]
    return title if sum(letter.isupper() for letter in first) > 1 else title[0].lower() + title[1:]
