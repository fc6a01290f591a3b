from dataclasses import replace
from datetime import timedelta

import pytest

from analytics.incidents import BudgetDamage, incident_id, incident_of, one_for_shared_cause, reconcile
from analytics.scope import Scope
from analytics.spikes import Spike
from domain.cause import Cause, CauseKind
from domain.entity import Entity, EntityKind
from domain.incident import Incident, Indicator, Severity, Status
from domain.slo import Objective
from domain.window import Window
from tests.analytics.frames import at
from tests.domain.examples import PAGING

SPIKE = Spike(
    service="chat",
    model="llama-70b",
    indicator=Indicator.TTFT,
    window=Window(at(600), at(900)),
    detected_at=at(630),
    ongoing=False,
    baseline_ms_p99=540.0,
    peak_ms_p99=4100.0,
)
SCOPE = Scope(
    slow_over_ms=700.0,
    slow_count=180,
    slow_ratio=0.3,
    slow_by_chance=0.0,
    tenants_count=None,
    excess_ms=900.0,
    shares={},
    stage_excess_ms={},
    exemplar_trace_ids=("slowest",),
)
UNTIL = at(1800)
OBJECTIVE = Objective("chat-ttft", "chat", Indicator.TTFT, 0.99, 30, 700)


def incident(spike: Spike = SPIKE, damage: BudgetDamage | None = None) -> Incident:
    return incident_of(spike, SCOPE, PAGING.explanation, damage)


def test_the_id_depends_on_what_and_when_alone() -> None:
    assert incident_id(SPIKE) == incident_id(replace(SPIKE, peak_ms_p99=9999.0, ongoing=True, detected_at=at(700)))
    others = [
        replace(SPIKE, service="search"),
        replace(SPIKE, model=None),
        replace(SPIKE, indicator=Indicator.LATENCY),
        replace(SPIKE, window=Window(at(615), at(900))),
    ]
    assert len({incident_id(spike) for spike in [SPIKE, *others]}) == 5


def test_an_incident_says_what_the_spike_the_scope_and_the_explanation_say() -> None:
    found = incident()
    assert (found.started_at, found.detected_at, found.ended_at) == (at(600), at(630), at(900))
    assert found.status is Status.RESOLVED
    assert (found.slow_requests_count, found.slow_requests_ratio) == (180, 0.3)
    assert found.explanation is PAGING.explanation
    assert found.exemplar_trace_ids == ("slowest",)
    assert (found.cost_usd, found.tenants_affected_count, found.budget_spent_ratio) == (None, None, None)


def test_a_spike_that_goes_on_is_open_and_has_no_end() -> None:
    found = incident(replace(SPIKE, ongoing=True))
    assert found.status is Status.OPEN
    assert found.ended_at is None


@pytest.mark.parametrize(("bad_count", "severity"), [(5, Severity.TICKET), (7, Severity.PAGE), (100, Severity.PAGE)])
def test_someone_is_woken_only_when_the_budget_burns_six_times_too_fast(bad_count: int, severity: Severity) -> None:
    damage = BudgetDamage(OBJECTIVE, bad_count, total_count=100, window_count=100_000)
    assert incident(damage=damage).severity is severity


def test_where_nothing_was_promised_nobody_is_woken() -> None:
    assert incident(damage=None).severity is Severity.TICKET


def test_without_events_a_spike_neither_pages_nor_spends_a_known_share() -> None:
    damage = BudgetDamage(OBJECTIVE, 0, 0, 0)
    assert not damage.pages
    assert damage.spent_ratio is None


def test_the_share_of_the_budget_is_that_of_the_whole_window() -> None:
    assert BudgetDamage(OBJECTIVE, 50, 100, 100_000).spent_ratio == pytest.approx(0.05)


def test_what_is_stored_already_is_not_stored_again() -> None:
    found = incident()
    assert reconcile([found], [], UNTIL) == [found]
    assert reconcile([found], [found], UNTIL) == []


def test_a_spike_that_seems_to_begin_elsewhere_on_a_second_look_keeps_its_name_and_beginning() -> None:
    first = incident(replace(SPIKE, ongoing=True))
    again = incident(replace(SPIKE, window=Window(at(615), at(1200)), detected_at=at(645)))
    (changed,) = reconcile([again], [first], UNTIL)
    assert (changed.id, changed.started_at, changed.detected_at) == (first.id, first.started_at, first.detected_at)
    assert changed.ended_at == at(1200)
    assert reconcile([again], [changed], UNTIL) == [], "a third look changes nothing"


def test_times_are_held_against_the_beginning_that_is_told() -> None:
    first = incident(replace(SPIKE, ongoing=True))
    (changed,) = reconcile([incident(replace(SPIKE, window=Window(at(660), at(1200))))], [first], UNTIL)
    before, after = first.cause, changed.cause
    assert [one.lead_s for one in before.evidence] != [None] * len(before.evidence)
    for one, other in zip(before.evidence, after.evidence, strict=True):
        assert other.lead_s == (None if one.lead_s is None else one.lead_s - 60)
    *steps, felt = before.chain
    assert steps
    assert [one.lead_s for one in after.chain] == [*(one.lead_s and one.lead_s - 60 for one in steps), felt.lead_s]


def test_spikes_of_other_models_or_other_times_are_other_incidents() -> None:
    stored = incident()
    later = incident(replace(SPIKE, window=Window(at(1200), at(1500))))
    other = incident(replace(SPIKE, model="small"))
    assert reconcile([later, other], [stored], UNTIL) == [other, later]
    assert later.started_at - timedelta(minutes=1) > at(900)


def test_what_was_open_and_is_not_found_again_is_over() -> None:
    stored = incident(replace(SPIKE, ongoing=True))
    (closed,) = reconcile([], [stored], UNTIL)
    assert closed.status is Status.RESOLVED
    assert closed.ended_at is not None
    assert reconcile([], [closed], UNTIL) == []


def caused(*causes: Cause, service: str) -> Incident:
    explanation = replace(PAGING.explanation, causes=causes, ruled_out=())
    return replace(incident(replace(SPIKE, service=service)), explanation=explanation)


def cause(kind: CauseKind, name: str, confidence: float, rank: int) -> Cause:
    entity = Entity(EntityKind.SERVICE, name)
    return replace(PAGING.cause, kind=kind, entity=entity, confidence=confidence, rank=rank)


def test_of_incidents_that_share_a_cause_the_further_ones_of_both_are_kept() -> None:
    shared = cause(CauseKind.UPSTREAM_DEPENDENCY, "retriever", 0.9, 1)
    start = cause(CauseKind.COLD_START, "chat-1", 0.6, 2)
    felt = cause(CauseKind.STRAGGLER, "chat-2", 0.3, 3)
    faint = cause(CauseKind.GPU_FAULT, "GPU-1", 0.2, 4)
    surer = caused(replace(shared, confidence=0.98), service="assist")
    (one,) = one_for_shared_cause([surer, caused(shared, start, felt, faint, service="chat")])
    assert [(found.rank, found.kind) for found in one.explanation.causes] == [
        (1, CauseKind.UPSTREAM_DEPENDENCY),
        (2, CauseKind.COLD_START),
        (3, CauseKind.STRAGGLER),
    ]
    assert one.services_affected == ("assist", "chat")


def test_that_a_caller_waits_for_the_service_of_the_incident_is_no_further_cause() -> None:
    fault = cause(CauseKind.NVLINK_FAULT, "GPU-1", 0.9, 1)
    waits = cause(CauseKind.UPSTREAM_DEPENDENCY, "chat", 0.5, 2)
    slow = cause(CauseKind.UPSTREAM_DEPENDENCY, "retriever", 0.5, 2)
    own = caused(replace(fault, confidence=0.98), service="chat")
    for further, kept in ((waits, [fault.kind]), (slow, [fault.kind, slow.kind])):
        (one,) = one_for_shared_cause([own, caused(fault, further, service="gateway")])
        assert [found.kind for found in one.explanation.causes] == kept


def test_an_incident_that_affects_several_services_keeps_its_name_whichever_is_surest_today() -> None:
    first = replace(incident(), services_affected=("chat", "assist"))
    swapped = replace(SPIKE, service="assist", model="llama-8b")
    second = replace(incident(swapped), services_affected=("assist", "chat"))
    (changed,) = reconcile([second], [first], UNTIL)
    assert (changed.id, changed.service) == (first.id, "assist")


def test_what_was_open_for_hours_and_is_not_found_again_lasted_until_the_look() -> None:
    stored = incident(replace(SPIKE, ongoing=True))
    (closed,) = reconcile([], [stored], UNTIL)
    assert closed.ended_at == UNTIL


def test_a_look_that_ends_within_an_incident_leaves_what_is_known_of_its_end() -> None:
    stored = incident()
    cut = incident(replace(SPIKE, window=Window(at(600), at(720)), ongoing=True))
    assert reconcile([cut], [stored], at(720)) == []


def test_of_near_equals_the_incident_that_began_first_stands_for_all() -> None:
    link = cause(CauseKind.NETWORK_LINK_FAULT, "leaf", 0.94, 1)
    early = caused(link, service="chat")
    late = replace(
        caused(replace(link, confidence=0.95), service="assist"), started_at=early.started_at + timedelta(seconds=30)
    )
    (one,) = one_for_shared_cause([late, early])
    assert (one.service, one.services_affected) == ("chat", ("chat", "assist"))
