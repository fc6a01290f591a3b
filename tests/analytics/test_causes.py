from collections.abc import Mapping
from datetime import timedelta

import pytest

from analytics.causes import explain
from analytics.knowledge import shipped_knowledge
from analytics.scope import Neighbourhood, Scope
from analytics.signals import Shift
from domain.cause import CauseKind, Explanation
from domain.entity import Entity, EntityKind
from tests.analytics.frames import at

KNOWLEDGE = shipped_knowledge()
ONSET = at(600)
STEP_S = 15
REPLICAS = ("chat-1", "chat-2", "chat-3", "chat-4")
SERVICE = Entity(EntityKind.SERVICE, "chat")
SICK = Entity(EntityKind.REPLICA, "chat-1")
GPU = Entity(EntityKind.GPU, "GPU-1")
PORT = Entity(EntityKind.PORT, "gpu-1/mlx5_0/1")
OTHER_PORT = Entity(EntityKind.PORT, "gpu-2/mlx5_0/1")
NEAR = Neighbourhood(
    {
        SERVICE: frozenset(REPLICAS),
        **{Entity(EntityKind.REPLICA, replica): frozenset({replica}) for replica in REPLICAS},
        GPU: frozenset({"chat-1"}),
        PORT: frozenset({"chat-1"}),
        OTHER_PORT: frozenset({"chat-2"}),
    }
)


def scope(excess_ratio: Mapping[str, float]) -> Scope:
    return Scope(
        slow_over_ms=300.0,
        slow_count=500,
        slow_ratio=0.3,
        slow_by_chance=0.0,
        tenants_count=None,
        excess_ratio=excess_ratio,
        traffic_ratio=dict.fromkeys(REPLICAS, 0.25),
        stage_excess_ms={"queue_ms": 700.0, "prefill_ms": 3.0},
        exemplar_trace_ids=(),
    )


ONE_SICK = scope({"chat-1": 1.0})
ALL_SLOW = scope(dict.fromkeys(REPLICAS, 0.25))


def moved(
    name: str, entity: Entity, before: float, during: float, *, sigmas: float = 30.0, lead_s: float | None = 0.0
) -> Shift:
    onset = None if lead_s is None else ONSET - timedelta(seconds=lead_s)
    return Shift(KNOWLEDGE.signals[name], entity, before, during, sigmas=sigmas, own_sigmas=sigmas, onset=onset)


def still(name: str, entity: Entity, level: float) -> Shift:
    return moved(name, entity, level, level, sigmas=0.1, lead_s=None)


def explained(shifts: list[Shift], who: Scope = ONE_SICK) -> Explanation:
    return explain("chat", ONSET, who, shifts, NEAR, KNOWLEDGE, STEP_S)


SIGNS = {
    CauseKind.GPU_MEMORY_PRESSURE: (
        SICK,
        ONE_SICK,
        [
            moved("kv_cache_usage", SICK, 0.4, 0.97, lead_s=30),
            moved("preemptions", SICK, 0, 3),
            moved("queue_time", SICK, 2, 900),
        ],
    ),
    CauseKind.GPU_MEMORY_CONTENTION: (
        GPU,
        ONE_SICK,
        [
            moved("gpu_memory_free", GPU, 9000, 200, lead_s=15),
            moved("gpu_memory_used", GPU, 71_000, 80_000),
            moved("decode_time", SICK, 25, 60),
        ],
    ),
    CauseKind.NETWORK_SATURATION: (
        PORT,
        ONE_SICK,
        [
            moved("port_utilisation", PORT, 0.3, 0.98, lead_s=15),
            moved("transmit_wait", PORT, 3e3, 5e7),
            moved("transfer_time", SICK, 15, 800),
        ],
    ),
    CauseKind.NETWORK_LINK_FAULT: (
        PORT,
        ONE_SICK,
        [
            moved("symbol_errors", PORT, 0, 60, lead_s=45),
            moved("link_recoveries", PORT, 0, 0.05),
            moved("transfer_time", SICK, 15, 800),
        ],
    ),
    CauseKind.TRAFFIC_SURGE: (
        SERVICE,
        ALL_SLOW,
        [
            moved("request_rate", SERVICE, 10, 30, lead_s=15),
            *(moved("queue_time", Entity(EntityKind.REPLICA, replica), 2, 900) for replica in REPLICAS),
        ],
    ),
}


def test_every_kind_that_we_know_signs_of_is_tested_with_them() -> None:
    assert SIGNS.keys() == KNOWLEDGE.patterns.keys()


@pytest.mark.parametrize("kind", SIGNS)
def test_each_cause_is_named_first_by_its_signs_on_its_entity(kind: CauseKind) -> None:
    entity, who, shifts = SIGNS[kind]
    explanation = explained(shifts, who)
    first = explanation.causes[0]
    assert (first.rank, first.kind, first.entity) == (1, kind, entity)
    assert 0.8 < first.confidence < 1
    assert first.next_steps
    assert {evidence.signal for evidence in first.evidence} == {shift.signal.name for shift in shifts}
    assert "{" not in first.summary + " ".join(first.next_steps)
    assert kind not in {one.kind for one in explanation.ruled_out}


@pytest.mark.parametrize("kind", SIGNS)
def test_every_other_kind_is_ruled_out_with_a_reason(kind: CauseKind) -> None:
    _, who, shifts = SIGNS[kind]
    explanation = explained(shifts, who)
    blamed = {cause.kind for cause in explanation.causes}
    assert {one.kind for one in explanation.ruled_out} == KNOWLEDGE.patterns.keys() - blamed
    assert all(one.why and "{" not in one.why for one in explanation.ruled_out)


def test_when_nothing_moved_the_cause_is_unknown_and_says_where_the_time_went() -> None:
    explanation = explained([still("kv_cache_usage", SICK, 0.4), still("symbol_errors", PORT, 0.0)])
    (cause,) = explanation.causes
    assert (cause.kind, cause.entity, cause.confidence) == (CauseKind.UNKNOWN, SERVICE, 0.0)
    assert "in the queue" in cause.summary
    assert cause.next_steps


def test_with_no_data_at_all_the_cause_is_unknown_and_every_kind_says_what_it_would_need() -> None:
    explanation = explained([])
    assert explanation.causes[0].kind is CauseKind.UNKNOWN
    why = {one.kind: one.why for one in explanation.ruled_out}
    assert why[CauseKind.TRAFFIC_SURGE] == "not looked at: no data of request_rate near these requests"
    assert why.keys() == KNOWLEDGE.patterns.keys()


def test_a_move_on_an_entity_that_carries_none_of_the_excess_explains_nothing() -> None:
    explanation = explained([moved("symbol_errors", OTHER_PORT, 0, 60, lead_s=30)])
    assert explanation.causes[0].kind is CauseKind.UNKNOWN
    why = {one.kind: one.why for one in explanation.ruled_out}
    assert "only 0% of the added time lies there" in why[CauseKind.NETWORK_LINK_FAULT]


def test_a_sign_that_comes_long_after_the_effect_is_no_cause() -> None:
    early, late = (explained([moved("symbol_errors", PORT, 0, 60, lead_s=lead_s)]) for lead_s in (30, -900))
    assert early.causes[0].kind is CauseKind.NETWORK_LINK_FAULT
    assert late.causes[0].kind is CauseKind.UNKNOWN
    why = {one.kind: one.why for one in late.ruled_out}
    assert "900 s after the spike began" in why[CauseKind.NETWORK_LINK_FAULT]


def test_errors_on_a_full_link_speak_against_saturation() -> None:
    _, who, shifts = SIGNS[CauseKind.NETWORK_SATURATION]
    explanation = explained([*shifts, moved("symbol_errors", PORT, 0, 60, lead_s=30)], who)
    assert explanation.causes[0].kind is CauseKind.NETWORK_LINK_FAULT
    confidence = {cause.kind: cause.confidence for cause in explanation.causes}
    alone = explained(shifts, who).causes[0].confidence
    assert confidence.get(CauseKind.NETWORK_SATURATION, 0.0) < alone / 2


def test_more_traffic_does_not_explain_one_sick_replica_among_well_ones() -> None:
    shifts = [moved("request_rate", SERVICE, 10, 20, lead_s=15), *SIGNS[CauseKind.GPU_MEMORY_PRESSURE][2]]
    assert explained(shifts, ONE_SICK).causes[0].kind is CauseKind.GPU_MEMORY_PRESSURE
    assert explained(shifts, ALL_SLOW).causes[0].kind is CauseKind.TRAFFIC_SURGE


def test_a_surge_must_be_a_multiple_of_the_usual_rate() -> None:
    explanation = explained([moved("request_rate", SERVICE, 10, 12)], ALL_SLOW)
    assert explanation.causes[0].kind is CauseKind.UNKNOWN
    why = {one.kind: one.why for one in explanation.ruled_out}
    assert why[CauseKind.TRAFFIC_SURGE] == "request rate at 12 per second, usual 10"


def test_a_kv_cache_that_fills_but_is_not_full_is_no_pressure() -> None:
    explanation = explained([moved("kv_cache_usage", SICK, 0.2, 0.7, lead_s=30)])
    assert explanation.causes[0].kind is CauseKind.UNKNOWN


def test_what_usually_goes_with_a_cause_and_did_not_makes_it_less_likely() -> None:
    alone = [moved("symbol_errors", PORT, 0, 60), still("transfer_time", SICK, 15)]
    together = [moved("symbol_errors", PORT, 0, 60), moved("transfer_time", SICK, 15, 800)]
    assert explained(alone).causes[0].confidence < explained(together).causes[0].confidence


def test_causes_are_ranked_by_confidence_without_gaps() -> None:
    shifts = [*SIGNS[CauseKind.GPU_MEMORY_PRESSURE][2], moved("symbol_errors", PORT, 0, 1, sigmas=5)]
    causes = explained(shifts).causes
    assert [cause.rank for cause in causes] == [1, 2]
    assert causes[0].confidence >= causes[1].confidence


def test_evidence_keeps_the_order_in_which_things_happened() -> None:
    _, who, shifts = SIGNS[CauseKind.NETWORK_LINK_FAULT]
    first = explained(shifts, who).causes[0]
    assert first.lead_s == 45
    assert {evidence.signal: evidence.lead_s for evidence in first.evidence} == {
        "symbol_errors": 45,
        "link_recoveries": 0,
        "transfer_time": 0,
    }


def test_the_same_shifts_give_the_same_explanation_in_whatever_order() -> None:
    _, who, shifts = SIGNS[CauseKind.NETWORK_SATURATION]
    assert explained(shifts[::-1], who).causes[0].entity == explained(shifts, who).causes[0].entity
