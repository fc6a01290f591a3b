from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from analytics.causes import Findings, explain
from analytics.expected import Load
from analytics.incidents import is_incident
from analytics.knowledge import shipped_knowledge
from analytics.neighbourhood import Neighbourhood
from analytics.scope import Scope, Share
from analytics.signals import Shift
from domain.cause import OF_EVERY_DAY, Cause, CauseKind, Explanation
from domain.entity import Entity, EntityKind, GpuPlace
from domain.incident import Indicator
from tests.analytics.frames import at

KNOWLEDGE = shipped_knowledge()
ONSET = at(600)
STEP_S = 15
UNKNOWN_LOAD = Load()
REPLICAS = ("chat-1", "chat-2", "chat-3", "chat-4")
SERVICE = Entity(EntityKind.SERVICE, "chat")
SICK = Entity(EntityKind.REPLICA, "chat-1")
GPU = Entity(EntityKind.GPU, "GPU-1")
NODE = Entity(EntityKind.NODE, "gpu-1")
OTHER_GPUS = tuple(Entity(EntityKind.GPU, f"GPU-1{number}") for number in range(3))
PORT = Entity(EntityKind.PORT, "gpu-1/mlx5_0/1")
OTHER_PORT = Entity(EntityKind.PORT, "gpu-2/mlx5_0/1")
CALLED = Entity(EntityKind.SERVICE, "retriever")
VERSION = Entity(EntityKind.VERSION, "2.0")
NEAR = Neighbourhood(
    {
        SERVICE: frozenset(REPLICAS),
        **{Entity(EntityKind.REPLICA, replica): frozenset({replica}) for replica in REPLICAS},
        GPU: frozenset({"chat-1"}),
        **dict.fromkeys(OTHER_GPUS, frozenset({"chat-1"})),
        NODE: frozenset({"chat-1"}),
        PORT: frozenset({"chat-1"}),
        OTHER_PORT: frozenset({"chat-2"}),
    },
    {NODE: frozenset({GPU, *OTHER_GPUS})},
)


def share(excess_ratio: float, traffic_ratio: float = 0.25, usual_traffic_ratio: float = 0.25) -> Share:
    return Share(excess_ratio, traffic_ratio, usual_traffic_ratio, 0.0, 700.0 * excess_ratio, 20.0 * excess_ratio)


def scope(excess_ratio: Mapping[str, float], **more: Any) -> Scope:
    usual: dict[str, Any] = {
        "slow_over_ms": 300.0,
        "slow_count": 500,
        "slow_ratio": 0.3,
        "slow_by_chance": 0.0,
        "tenants_count": None,
        "excess_ms": 703.0,
        "shares": {
            EntityKind.REPLICA: {name: share(excess_ratio.get(name, 0.0)) for name in REPLICAS},
            EntityKind.VERSION: {"1.0": share(0.0, 0.75, 1.0), "2.0": share(1.0, 0.25, 0.0)},
            EntityKind.TENANT: {"acme": share(0.5, 0.5, 0.2), "umbra": share(0.5, 0.5, 0.8)},
        },
        "stage_excess_ms": {"queue_ms": 700.0, "prefill_ms": 3.0},
        "exemplar_trace_ids": (),
    }
    return Scope(**usual | more)


ONE_SICK = scope({"chat-1": 1.0})
ALL_SLOW = scope(dict.fromkeys(REPLICAS, 0.25))
CALLS_SLOW = scope(dict.fromkeys(REPLICAS, 0.25), upstream_ratio={"retriever": 0.9})
ONE_LOST = scope(dict.fromkeys(REPLICAS[1:], 1 / 3), lost=frozenset({"chat-1"}))


def moved(
    name: str, entity: Entity, before: float, during: float, *, sigmas: float = 30.0, lead_s: float | None = 0.0
) -> Shift:
    onset = None if lead_s is None else ONSET - timedelta(seconds=lead_s)
    return Shift(KNOWLEDGE.signals[name], entity, before, during, sigmas=sigmas, own_sigmas=sigmas, onset=onset)


def still(name: str, entity: Entity, level: float) -> Shift:
    return moved(name, entity, level, level, sigmas=0.1, lead_s=None)


def explained(
    shifts: list[Shift],
    who: Scope = ONE_SICK,
    load: Load = UNKNOWN_LOAD,
    indicator: Indicator = Indicator.LATENCY,
    near: Neighbourhood = NEAR,
) -> Explanation:
    return explain(Findings("chat", ONSET, who, shifts, near, STEP_S, load, indicator), KNOWLEDGE)


def everywhere(name: str, before: float, during: float) -> list[Shift]:
    return [moved(name, Entity(EntityKind.REPLICA, replica), before, during) for replica in REPLICAS]


SLOW_STEPS = [moved("prefill_time", SICK, 0.02, 0.05), moved("decode_time", SICK, 25, 60)]
SLOW_TRANSFERS = [moved("transfer_time", SICK, 15, 800)]
QUEUES = everywhere("queue_time", 2, 900)

SIGNS: dict[CauseKind, tuple[Entity, Scope, list[Shift]]] = {
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
            *SLOW_STEPS,
        ],
    ),
    CauseKind.GPU_COMPUTE_CONTENTION: (
        GPU,
        ONE_SICK,
        [
            moved("sm_active", GPU, 0.5, 0.98, lead_s=15),
            moved("gpu_busy", GPU, 60, 100),
            moved("gpu_process_memory", GPU, 71_000, 71_400),
            *SLOW_STEPS,
        ],
    ),
    CauseKind.GPU_THERMAL_THROTTLE: (
        GPU,
        ONE_SICK,
        [
            moved("thermal_slowdown", GPU, 0, 1, lead_s=15),
            moved("gpu_temperature", GPU, 60, 90, lead_s=60),
            moved("sm_clock", GPU, 1980, 1100),
            *SLOW_STEPS,
        ],
    ),
    CauseKind.GPU_POWER_THROTTLE: (
        GPU,
        ONE_SICK,
        [moved("power_limit", GPU, 700, 400, lead_s=15), moved("sm_clock", GPU, 1980, 1100), *SLOW_STEPS],
    ),
    CauseKind.GPU_FAULT: (
        GPU,
        ONE_LOST,
        [moved("xid_gone", GPU, 0, 1, lead_s=15), moved("serving_replicas", SERVICE, 4, 3), *QUEUES],
    ),
    CauseKind.PCIE_DEGRADED: (
        GPU,
        ONE_SICK,
        [moved("pcie_width", GPU, 16, 4, lead_s=15), *SLOW_TRANSFERS],
    ),
    CauseKind.NVLINK_FAULT: (
        GPU,
        ONE_SICK,
        [moved("nvlink_errors", GPU, 0, 40, lead_s=15), *SLOW_STEPS],
    ),
    CauseKind.NETWORK_SATURATION: (
        PORT,
        ONE_SICK,
        [
            moved("port_utilisation", PORT, 0.3, 0.98, lead_s=15),
            moved("transmit_wait", PORT, 3e3, 5e7),
            *SLOW_TRANSFERS,
        ],
    ),
    CauseKind.NETWORK_CONGESTION: (
        PORT,
        ONE_SICK,
        [moved("transmit_wait", PORT, 3e3, 5e7, lead_s=15), still("port_utilisation", PORT, 0.3), *SLOW_TRANSFERS],
    ),
    CauseKind.NETWORK_LINK_FAULT: (
        PORT,
        ONE_SICK,
        [
            moved("symbol_errors", PORT, 0, 60, lead_s=45),
            moved("link_recoveries", PORT, 0, 0.05),
            *SLOW_TRANSFERS,
        ],
    ),
    CauseKind.STRAGGLER: (SICK, ONE_SICK, [*SLOW_STEPS, still("sm_clock", GPU, 1980)]),
    CauseKind.TRAFFIC_SURGE: (
        SERVICE,
        ALL_SLOW,
        [moved("request_rate", SERVICE, 10, 30, lead_s=15), *QUEUES],
    ),
    CauseKind.PROMPT_MIX_SHIFT: (
        SERVICE,
        ALL_SLOW,
        [moved("input_tokens", SERVICE, 900, 4000, lead_s=15), *QUEUES],
    ),
    CauseKind.COLD_START: (
        SICK,
        ONE_SICK,
        [moved("replica_start", SICK, 0, 1, lead_s=0), *SLOW_STEPS],
    ),
    CauseKind.CAPACITY_LOSS: (
        SERVICE,
        ONE_LOST,
        [moved("serving_replicas", SERVICE, 4, 3, lead_s=15), *QUEUES],
    ),
    CauseKind.BAD_RELEASE: (
        VERSION,
        ONE_SICK,
        [moved("version_time", VERSION, 200, 900, lead_s=15), *SLOW_STEPS],
    ),
    CauseKind.HOST_CONTENTION: (
        NODE,
        ONE_SICK,
        [moved("cpu_idle", NODE, 0.7, 0.05, lead_s=15), *SLOW_TRANSFERS],
    ),
    CauseKind.UPSTREAM_DEPENDENCY: (
        CALLED,
        CALLS_SLOW,
        [moved("upstream_time", CALLED, 20, 700, lead_s=None)],
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
    assert 0.7 < first.confidence < 1
    assert first.next_steps
    assert {evidence.signal for evidence in first.evidence} <= {shift.signal.name for shift in shifts}
    assert first.evidence[0].signal in {sign.signal for sign in KNOWLEDGE.patterns[kind].requires}
    assert first.chain[0].entity == first.evidence[0].entity
    assert first.chain[-1].entity == SERVICE
    assert "{" not in first.summary + " ".join(first.next_steps)
    assert kind not in {one.kind for one in explanation.ruled_out}


def test_what_to_do_about_a_link_names_both_ends_of_it_and_the_node() -> None:
    switch_port = Entity(EntityKind.PORT, "leaf-1/7")
    near = replace(
        NEAR,
        replicas_of=dict(NEAR.replicas_of) | {switch_port: frozenset({"chat-1"})},
        peers={PORT: switch_port, switch_port: PORT},
    )
    _, who, shifts = SIGNS[CauseKind.NETWORK_LINK_FAULT]
    for end in (PORT, switch_port):
        moves = [replace(one, entity=end) if one.entity == PORT else one for one in shifts]
        cause = explained(moves, who, near=near).causes[0]
        assert cause.entity == end
        assert f"Drain chat-1 on gpu-1, behind {end.name}, from" in cause.next_steps[0]
        assert f"from {end.name} to {near.peers[end].name}" in cause.next_steps[1]


def test_a_cause_on_a_gpu_says_where_it_is_as_far_as_that_is_known() -> None:
    _, who, shifts = SIGNS[CauseKind.NVLINK_FAULT]

    def place(near: Neighbourhood) -> GpuPlace | None:
        return explain(Findings("chat", ONSET, who, shifts, near, STEP_S), KNOWLEDGE).causes[0].gpu

    assert place(replace(NEAR, gpu_indices={GPU: 2, OTHER_GPUS[0]: 3})) == GpuPlace(NODE.name, 2, "chat-1")
    assert place(NEAR) == GpuPlace(NODE.name, None, "chat-1")
    assert place(replace(NEAR, parts={})) == GpuPlace(None, None, "chat-1")
    _, who, shifts = SIGNS[CauseKind.NETWORK_LINK_FAULT]
    assert place(NEAR) is None, "a port's name says where it is"


def _texts(explanation: Explanation) -> list[str]:
    """Every sentence that tells of things: none of them is a command."""
    told = [text for cause in explanation.causes for text in (cause.summary, *(one.text for one in cause.chain))]
    return [*told, *(one.why for one in explanation.ruled_out)]


@pytest.mark.parametrize("kind", [kind for kind, (entity, *_) in SIGNS.items() if entity == GPU])
def test_a_gpu_goes_by_node_number_and_replica_and_only_a_command_takes_its_uuid(kind: CauseKind) -> None:
    uuid = "GPU-5fd4f087-86f3-7a43-b711-4771313afc50"
    gpu, named = Entity(EntityKind.GPU, uuid), "GPU 2 of gpu-1 (chat-1)"
    near = Neighbourhood(
        {gpu if one == GPU else one: replicas for one, replicas in NEAR.replicas_of.items()},
        {NODE: frozenset({gpu, *OTHER_GPUS})},
        {gpu: 2},
    )
    _, who, shifts = SIGNS[kind]
    explanation = explained([replace(one, entity=gpu) if one.entity == GPU else one for one in shifts], who, near=near)
    first = explanation.causes[0]
    assert (first.kind, first.entity.name, first.whose) == (kind, uuid, named)
    assert named in first.summary
    assert first.evidence[0].whose == first.chain[0].whose == named
    assert not [text for text in _texts(explanation) if uuid in text]
    for step in first.next_steps:
        assert step.count(uuid) == step.count(f"-i {uuid}")


def test_a_command_takes_the_gpu_and_not_its_mig_instance() -> None:
    mig = Entity(EntityKind.GPU, f"{GPU.name}/7")
    near = replace(NEAR, replicas_of={**NEAR.replicas_of, mig: frozenset({"chat-1"})}, gpu_indices={mig: 2})
    near = replace(near, parts={NODE: frozenset({mig})})
    _, who, shifts = SIGNS[CauseKind.GPU_MEMORY_CONTENTION]
    first = explained(
        [replace(one, entity=mig) if one.entity == GPU else one for one in shifts], who, near=near
    ).causes[0]
    assert first.whose == "GPU 2 MIG 7 of gpu-1 (chat-1)"
    assert "nvidia-smi -i GPU-1 --query" in first.next_steps[0]


@pytest.mark.parametrize(("excess_ms", "longer"), [(703.0, "703 ms"), (29_875.0, "29.9 s")])
def test_what_users_felt_is_told_in_seconds_from_one_on(excess_ms: float, longer: str) -> None:
    _, who, shifts = SIGNS[CauseKind.STRAGGLER]
    felt = explained(shifts, replace(who, excess_ms=excess_ms)).causes[0].chain[-1]
    assert felt.text.startswith(f"a mean request takes {longer} longer, most of it in the queue")


def test_a_sentence_a_chain_and_the_evidence_write_a_move_alike() -> None:
    _, who, shifts = SIGNS[CauseKind.NETWORK_LINK_FAULT]
    slower = moved("port_rate", PORT, 5e10, 1.25e10, lead_s=45)
    first = explained([slower, *(one for one in shifts if one.entity != PORT)], who).causes[0]
    assert first.evidence[0].move == "400 → 100 Gb/s"
    assert first.evidence[0].unit == "B/s", "as the metric has it"
    assert f"{first.evidence[0].move}" in first.summary
    assert first.chain[0].text.endswith(first.evidence[0].move)
    _, who, shifts = SIGNS[CauseKind.GPU_MEMORY_CONTENTION]
    first = explained([moved("gpu_memory_free", GPU, 7571, 60, lead_s=15), *shifts[1:]], who).causes[0]
    assert first.evidence[0].move == "7.39 GiB → 60 MiB"
    assert first.evidence[0].move in first.summary
    assert first.chain[0].text.endswith(first.evidence[0].move)


def test_what_requests_spend_is_felt_as_it_moves_and_not_half_a_minute_later() -> None:
    def leads(prefill_lead_s: float) -> dict[str, float | None]:
        prefill = moved("prefill_time", SICK, 0.02, 0.05, lead_s=prefill_lead_s)
        first = explained([moved("gpu_memory_free", GPU, 9000, 200, lead_s=30), prefill]).causes[0]
        return {one.signal: one.lead_s for one in first.evidence}

    assert leads(30) == {"gpu_memory_free": 30, "prefill_time": 0}
    assert leads(300)["prefill_time"] == 300
    assert leads(-30)["prefill_time"] == -30


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
    assert why[CauseKind.TRAFFIC_SURGE] == "not looked at: no data on request rate near these requests"
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


def test_when_most_gpus_of_a_node_show_it_the_node_is_named() -> None:
    hot = [moved("thermal_slowdown", gpu, 0, 1, lead_s=15) for gpu in (GPU, *OTHER_GPUS)]
    cause = explained([*hot, *SLOW_STEPS]).causes[0]
    assert (cause.kind, cause.entity) == (CauseKind.GPU_THERMAL_THROTTLE, NODE)


def test_a_node_whose_gpus_are_all_hot_is_named_by_those_that_serve_nobody_too() -> None:
    node = Entity(EntityKind.NODE, "gpu-01-01")
    gpus = [Entity(EntityKind.GPU, f"GPU-{number}") for number in range(8)]
    serving = frozenset({"chat-1"})
    near = Neighbourhood(
        {Entity(EntityKind.SERVICE, "chat"): frozenset(REPLICAS), SICK: serving, node: serving, gpus[0]: serving},
        {node: frozenset(gpus)},
    )
    hot = [moved("thermal_slowdown", gpus[0], 0, 1), moved("decode_time", SICK, 25, 60)]

    def cause(witnesses: list[Shift]) -> Cause:
        findings = Findings("chat", ONSET, ONE_SICK, hot, near, STEP_S, witnesses=witnesses)
        first = explain(findings, KNOWLEDGE).causes[0]
        assert first.kind is CauseKind.GPU_THERMAL_THROTTLE
        return first

    def blamed(witnesses: list[Shift]) -> Entity:
        return cause(witnesses).entity

    assert "on 8 of its 8 GPUs" in cause([moved("thermal_slowdown", gpu, 0, 1) for gpu in gpus[1:]]).summary
    assert blamed([moved("thermal_slowdown", gpu, 0, 1) for gpu in gpus[1:]]) == node
    assert blamed([still("thermal_slowdown", gpu, 0) for gpu in gpus[1:]]) == gpus[0]
    assert blamed([]) == gpus[0]
    mixed = [moved("thermal_slowdown", gpu, 0, 1) for gpu in gpus[1:4]]
    assert blamed([*mixed, *(still("thermal_slowdown", gpu, 0) for gpu in gpus[4:])]) == gpus[0]


def test_when_one_tenant_adds_most_of_the_work_the_tenant_is_named() -> None:
    _, _, shifts = SIGNS[CauseKind.PROMPT_MIX_SHIFT]
    who = scope(dict.fromkeys(REPLICAS, 0.25), added_tokens_ratio={"acme": 0.9, "umbra": 0.1})
    cause = explained(shifts, who).causes[0]
    assert (cause.kind, cause.entity) == (CauseKind.PROMPT_MIX_SHIFT, Entity(EntityKind.TENANT, "acme"))


def test_what_a_cause_brings_about_is_told_in_its_chain_and_ranks_behind_it() -> None:
    _, _, shifts = SIGNS[CauseKind.TRAFFIC_SURGE]
    full = [*everywhere("kv_cache_usage", 0.4, 0.97), *everywhere("preemptions", 0, 3)]
    alone = Neighbourhood({SERVICE: frozenset({"chat-1"}), SICK: frozenset({"chat-1"})})
    who = scope({}, shares={EntityKind.REPLICA: {"chat-1": share(1.0, 1.0)}})
    explanation = explain(Findings("chat", ONSET, who, [*shifts, *full], alone, STEP_S), KNOWLEDGE)
    first, second = explanation.causes[:2]
    assert (first.kind, second.kind) == (CauseKind.TRAFFIC_SURGE, CauseKind.GPU_MEMORY_PRESSURE)
    assert any("KV cache" in step.text or "preemptions" in step.text for step in first.chain)


def test_a_clock_that_falls_is_a_sign_only_where_the_temperature_is_measured_too() -> None:
    slow = [moved("sm_clock", GPU, 1980, 1100), *SLOW_STEPS]
    with_temperature = explained([*slow, still("gpu_temperature", GPU, 60)]).causes[0]
    assert (with_temperature.kind, with_temperature.entity) == (CauseKind.GPU_POWER_THROTTLE, GPU)
    assert explained(slow).causes[0].kind is not CauseKind.GPU_POWER_THROTTLE


def test_traffic_that_brought_no_such_times_before_is_doubted() -> None:
    _, who, shifts = SIGNS[CauseKind.TRAFFIC_SURGE]
    never_seen, harmless = (explained(shifts, who, load) for load in (Load(is_unseen=True), Load(0.02)))
    assert never_seen.causes[0].kind is CauseKind.TRAFFIC_SURGE
    assert harmless.causes[0].kind is CauseKind.UNKNOWN
    why = {one.kind: one.why for one in harmless.ruled_out}
    assert "as much load brought 2% of the added time before" in why[CauseKind.TRAFFIC_SURGE]


def test_a_weak_surge_is_believed_where_there_never_was_as_much_load() -> None:
    weak = [moved("request_rate", SERVICE, 6.0, 8.0, sigmas=4.05), *everywhere("queue_time", 2, 30)]
    uneven = scope(dict(zip(REPLICAS, (0.45, 0.25, 0.2, 0.1), strict=True)))
    seen, unseen = (explained(weak, uneven, Load(is_unseen=one)) for one in (False, True))
    assert seen.causes[0].kind is CauseKind.UNKNOWN
    assert unseen.causes[0].kind is CauseKind.TRAFFIC_SURGE


def test_of_more_and_longer_requests_the_one_that_grew_more_is_named() -> None:
    for rate, tokens, kind in ((3.0, 1.2, CauseKind.TRAFFIC_SURGE), (1.4, 3.0, CauseKind.PROMPT_MIX_SHIFT)):
        loads = [moved("request_rate", SERVICE, 5, 5 * rate), moved("input_tokens", SERVICE, 900, 900 * tokens)]
        assert explained([*loads, *QUEUES], ALL_SLOW).causes[0].kind is kind


def test_a_queue_of_few_requests_in_a_hundred_still_tells_of_a_surge() -> None:
    surge = [moved("request_rate", SERVICE, 5, 8), *(still("queue_time", replica, 2) for replica in (SICK,))]
    assert explained(surge, ALL_SLOW).causes[0].kind is CauseKind.TRAFFIC_SURGE


def test_what_its_own_replica_feels_is_named_second_to_what_all_wait_for() -> None:
    _, _, lost = SIGNS[CauseKind.CAPACITY_LOSS]
    hot = [moved("thermal_violation", GPU, 0, 4e5), *SLOW_STEPS]
    named = [cause.kind for cause in explained([*lost, *hot], ALL_SLOW).causes]
    assert named[0] is CauseKind.CAPACITY_LOSS
    assert CauseKind.GPU_THERMAL_THROTTLE in named[1:3]


def test_a_hot_gpu_is_told_by_its_clock_where_that_is_measured_and_by_its_strongest_sign_where_it_is_not() -> None:
    hot = [moved("thermal_violation", GPU, 0, 4e5), *SLOW_STEPS]
    slower = moved("sm_clock", GPU, 1980, 431)
    assert "(SM clock 1,980 → 431 MHz)" in explained([*hot, slower]).causes[0].summary
    assert "(thermal violation counter 0 → 400,000 per second)" in explained(hot).causes[0].summary


def test_time_in_a_called_service_is_named_second_to_a_queue_that_is_five_times_as_long() -> None:
    surge = [moved("request_rate", SERVICE, 5, 25), *QUEUES]
    called = moved("upstream_time", CALLED, 33, 7000, lead_s=None)
    who = replace(ALL_SLOW, upstream_ratio={"retriever": 0.18})
    named = [cause.kind for cause in explained([*surge, called], who).causes]
    assert named == [CauseKind.TRAFFIC_SURGE, CauseKind.UPSTREAM_DEPENDENCY]


WHOLE_NODE = Neighbourhood(dict(NEAR.replicas_of) | {NODE: frozenset(REPLICAS)}, NEAR.parts)


def named_near(shifts: list[Shift], who: Scope, near: Neighbourhood) -> list[tuple[CauseKind, Entity]]:
    found = explain(Findings("chat", ONSET, who, shifts, near, STEP_S), KNOWLEDGE)
    return [(cause.kind, cause.entity) for cause in found.causes]


def test_one_replica_slow_beside_others_on_the_same_loaded_node_has_a_cause_of_its_own() -> None:
    loaded = [moved("cpu_pressure", NODE, 0.02, 0.8), *everywhere("transfer_time", 15, 5000)]
    others = [still(name, Entity(EntityKind.REPLICA, one), 1) for one in REPLICAS[1:] for name in _PACES]
    named = named_near([*loaded, *SLOW_STEPS, *others], ALL_SLOW, WHOLE_NODE)
    assert named == [(CauseKind.HOST_CONTENTION, NODE), (CauseKind.STRAGGLER, SICK)]
    all_slow = [shift for name in _PACES for shift in everywhere(name, 10, 40)]
    assert named_near([*loaded, *all_slow], ALL_SLOW, WHOLE_NODE) == [(CauseKind.HOST_CONTENTION, NODE)]


_PACES = ("prefill_time", "decode_time")


def test_a_replica_that_gets_more_requests_than_its_peers_owes_that_to_no_bad_link() -> None:
    link = [moved("symbol_errors", PORT, 0, 33), *SLOW_TRANSFERS]
    more = moved("replica_rate", SICK, 0.4, 0.9)
    named = [cause.kind for cause in explained([*link, more]).causes]
    assert named == [CauseKind.NETWORK_LINK_FAULT, CauseKind.STRAGGLER]
    little_more = moved("replica_rate", SICK, 0.4, 0.5)
    assert [cause.kind for cause in explained([*link, little_more]).causes] == [CauseKind.NETWORK_LINK_FAULT]


def test_what_most_gpus_of_a_node_show_is_not_brought_about_by_a_fault_of_one() -> None:
    fault = [moved("xid_memory", GPU, 0, 1), *(still("xid_memory", gpu, 0) for gpu in OTHER_GPUS)]
    brake = [moved("power_brake", gpu, 0, 1) for gpu in (GPU, *OTHER_GPUS)]
    named = named_near([*fault, *brake, *SLOW_STEPS], ONE_SICK, NEAR)
    assert named[:2] == [(CauseKind.GPU_FAULT, GPU), (CauseKind.GPU_POWER_THROTTLE, NODE)]
    assert named_near([*fault, brake[0], *SLOW_STEPS], ONE_SICK, NEAR)[1:] == []


def test_where_nobody_measures_memory_a_busy_gpu_is_hardly_a_sign_of_a_second_process() -> None:
    busy = [moved("sm_active", GPU, 0.27, 0.57, sigmas=7), *SLOW_STEPS]
    assert explained(busy).causes[0].kind is CauseKind.STRAGGLER
    context = moved("gpu_process_memory", GPU, 73_400, 73_820)
    assert explained([*busy, context]).causes[0].kind is CauseKind.GPU_COMPUTE_CONTENTION


def test_a_replica_that_crashed_and_starts_again_is_lost_capacity_before_it_is_a_cold_start() -> None:
    started = [moved("replica_start", SICK, 0, 1), *SLOW_STEPS, moved("replica_errors", SICK, 0, 0.6)]
    failing = {"chat-1": replace(share(1.0), failures_ratio=1.0)}
    who = replace(ONE_SICK, shares={EntityKind.REPLICA: dict(ONE_SICK.replicas) | failing})
    assert explained(started, who).causes[0].kind is CauseKind.COLD_START
    crashed = [moved("replica_crash", SICK, 0, 1), moved("crashed_replicas", SERVICE, 0, 1)]
    first, *others = explained([*started, *crashed], who).causes
    assert (first.kind, first.entity) == (CauseKind.CAPACITY_LOSS, SERVICE)
    assert first.summary.startswith("chat has lost replicas (crashed replicas 0 → 1);")
    assert all(cause.confidence < 0.45 for cause in others)
    first, *_ = explained([*started, *crashed, moved("xid_gone", GPU, 0, 1)], who).causes
    assert (first.kind, first.entity) == (CauseKind.GPU_FAULT, GPU), "where a sensor tells why, that is the cause"


def test_when_a_rollout_starts_all_the_one_that_shows_more_than_the_others_is_still_named() -> None:
    started = [moved("engine_start", Entity(EntityKind.REPLICA, name), 1.7e9, 1.77e9) for name in REPLICAS]
    cause = explained([*started, moved("replica_start", SICK, 0, 1), *SLOW_STEPS]).causes[0]
    assert (cause.kind, cause.entity) == (CauseKind.COLD_START, SICK)


ROLLED_OUT = [moved("engine_start", Entity(EntityKind.REPLICA, name), 1.7e9, 1.77e9) for name in REPLICAS]
RESTARTED = [ROLLED_OUT[0], *(still("engine_start", one.entity, 1.7e9) for one in ROLLED_OUT[1:])]


def test_a_start_that_the_others_had_too_speaks_against_nothing_on_the_one_that_is_slow() -> None:
    taken = [moved("gpu_memory_free", GPU, 9000, 60), moved("gpu_memory_used", GPU, 71_000, 80_900), *SLOW_STEPS]
    after_rollout = explained([*taken, *ROLLED_OUT])
    assert (after_rollout.causes[0].kind, after_rollout.causes[0].entity) == (CauseKind.GPU_MEMORY_CONTENTION, GPU)
    assert explained([*taken, *RESTARTED]).causes[0].kind is CauseKind.COLD_START


def test_memory_tells_of_a_second_process_on_a_gpu_whose_own_work_keeps_it_busy() -> None:
    context = [moved("gpu_process_memory", GPU, 73_400, 73_820, sigmas=7), still("sm_active", GPU, 0.9)]
    assert explained([*context, *SLOW_STEPS]).causes[0].kind is CauseKind.GPU_COMPUTE_CONTENTION
    unmoved = [moved("gpu_busy", GPU, 40, 93, sigmas=9), still("gpu_process_memory", GPU, 73_400)]
    assert explained([*unmoved, *SLOW_STEPS]).causes[0].kind is CauseKind.STRAGGLER


def test_a_version_that_none_served_beside_is_believed_less_than_a_sign_of_the_link() -> None:
    slow = [moved("version_time", VERSION, 350, 12_000, sigmas=17)]
    link = [moved("transmit_discards", PORT, 0, 0.36, sigmas=7), moved("transfer_time", SICK, 15, 800)]
    versions = {EntityKind.VERSION: {"1.0": share(0.0, 0.06, 1.0), "2.0": share(1.0, 0.94, 0.0)}}
    who = scope({"chat-1": 1.0}, shares=dict(ONE_SICK.shares) | versions, replicas_of_version={})
    first, *_ = explained([*slow, *link], replace(who, beside_ratio={"2.0": 1.0})).causes
    assert first.kind is CauseKind.BAD_RELEASE
    first, *_ = explained([*slow, *link], replace(who, beside_ratio={"2.0": 0.06})).causes
    assert first.kind is CauseKind.NETWORK_CONGESTION


def test_waiting_that_nothing_explains_is_an_incident_only_well_beyond_usual_bursts() -> None:
    burst = scope(dict.fromkeys(REPLICAS, 0.25), slow_ratio=0.07, usual_worst_ratio=0.03)
    unexplained, surged = explained([], burst), explained([moved("request_rate", SERVICE, 10, 30), *QUEUES], burst)
    assert burst.is_unusual
    assert not is_incident(burst, unexplained)
    assert is_incident(burst, surged)
    assert is_incident(replace(burst, slow_ratio=0.13), unexplained)
    assert not is_incident(replace(burst, lasted_s=120), unexplained)
    assert is_incident(replace(burst, lasted_s=900), unexplained), "fifteen bursts in a row are no coincidence"


def test_few_slow_requests_are_an_incident_where_what_broke_is_plain_and_not_of_every_day() -> None:
    few = replace(ONE_SICK, slow_by_chance=2e-5)
    assert few.is_notable
    assert not few.is_unusual
    plain = SIGNS[CauseKind.PCIE_DEGRADED][2]
    vague = [moved("transmit_discards", PORT, 0, 0.36, sigmas=7), moved("transfer_time", SICK, 15, 800)]
    assert is_incident(few, explained(plain, few))
    assert not is_incident(few, explained(vague, few))
    assert explained(vague).causes[0].kind is CauseKind.NETWORK_CONGESTION, "of many slow requests it is believed"
    by_chance = replace(few, slow_by_chance=2e-3)
    assert not is_incident(by_chance, explained(plain, by_chance))
    for kind in OF_EVERY_DAY:
        _, many, signs = SIGNS[kind]
        assert explained(signs, many).causes[0].kind is kind
        few = replace(many, slow_by_chance=2e-5)
        assert not is_incident(few, explained(signs, few)), kind


def test_a_faint_spike_is_an_incident_where_something_plainly_broke() -> None:
    some = replace(ONE_SICK, slow_ratio=0.06)
    assert some.is_unusual
    plain = explained(SIGNS[CauseKind.PCIE_DEGRADED][2], some)
    assert is_incident(some, plain, faint=True)
    assert is_incident(some, explained([], some))
    assert not is_incident(some, explained([], some), faint=True)
    assert is_incident(replace(some, slow_ratio=0.6), explained([], some), faint=True)
    for kind in OF_EVERY_DAY:
        _, many, signs = SIGNS[kind]
        some = replace(many, slow_ratio=0.06)
        assert not is_incident(some, explained(signs, some), faint=True), kind


def test_a_sign_that_reached_no_request_is_a_harmless_alarm() -> None:
    calm = [still("transfer_time", SICK, 15), still("prefill_time", SICK, 0.02), still("queue_time", SICK, 2)]
    explanation = explained([moved("symbol_errors", PORT, 0, 60, lead_s=30), *calm])
    assert explanation.causes[0].kind is CauseKind.UNKNOWN
    why = {one.kind: one.why for one in explanation.ruled_out}
    assert "did not reach the requests there" in why[CauseKind.NETWORK_LINK_FAULT]


def test_a_called_service_that_is_slow_for_no_known_reason_is_its_callers_cause() -> None:
    found = Findings("retriever", ONSET, ONE_SICK, [still("cpu_idle", NODE, 0.7)], NEAR, STEP_S)
    alone, called = (
        explain(replace(found, called_by=callers), KNOWLEDGE) for callers in (frozenset(), frozenset({"chat"}))
    )
    assert alone.causes[0].kind is CauseKind.UNKNOWN
    (cause,) = called.causes
    assert (cause.kind, cause.entity) == (CauseKind.UPSTREAM_DEPENDENCY, Entity(EntityKind.SERVICE, "retriever"))
    assert cause.summary.startswith("retriever, called by chat, is slow by itself")
    assert "Page the owner of retriever" in cause.next_steps[0]
    assert CauseKind.UPSTREAM_DEPENDENCY not in {one.kind for one in called.ruled_out}


def test_a_first_token_may_have_waited_for_a_link_where_requests_do_not_tell_their_stages() -> None:
    shifts = [moved("symbol_errors", PORT, 0, 60, lead_s=30), still("decode_time", SICK, 25)]
    of_tokens, of_first_token = (explained(shifts, indicator=one) for one in (Indicator.TPOT, Indicator.TTFT))
    assert of_tokens.causes[0].kind is CauseKind.UNKNOWN
    assert (of_first_token.causes[0].kind, of_first_token.causes[0].entity) == (CauseKind.NETWORK_LINK_FAULT, PORT)
    told = explained([*shifts, still("transfer_time", SICK, 15)], indicator=Indicator.TTFT)
    assert told.causes[0].kind is CauseKind.UNKNOWN


@pytest.mark.parametrize("kind", SIGNS)
def test_irrelevant_series_and_other_names_leave_the_verdict(kind: CauseKind) -> None:
    entity, who, shifts = SIGNS[kind]
    noise = [still("gpu_temperature", Entity(EntityKind.GPU, f"GPU-elsewhere-{number}"), 60.0) for number in range(20)]
    plain, noisy = explained(shifts, who).causes[0], explained([*noise, *shifts], who).causes[0]
    assert (noisy.kind, noisy.entity, noisy.confidence) == (kind, entity, plain.confidence)
