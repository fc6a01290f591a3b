"""The hardware as it is now: levels, troubles and order, from samples and from what is remembered."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest

from analytics.device_faults import DeviceFault
from analytics.gpu_states import Gpu, GpuSamples, GpuState
from analytics.hardware import (
    GpuNow,
    Grade,
    Role,
    Trouble,
    errors_of,
    far_ends,
    gpu_totals,
    gpus_now,
    gpus_with_causes,
    ports_now,
    ports_with_causes,
    silent_nodes,
    waits_as_ratio,
    worst_gpus,
    worst_nodes,
)
from analytics.knowledge import shipped_knowledge
from analytics.port_states import DOWNED, RATE, SENT, STATE, SYMBOL_ERRORS, WAIT, Port, PortSamples, PortState
from analytics.signals import SignalMatrix
from domain.entity import Entity, EntityKind
from domain.incident import Incident
from domain.topology import Node, Switch, SwitchPort, Topology
from storage.fleet import WORKLOADS
from storage.readers import SERIES
from tests.domain.examples import PAGING

NOW = datetime(2026, 11, 23, 3, 7, tzinfo=UTC)
STEPS, STEP_S = 4, 90
BITS, UTIL, TEMPERATURE = "DCGM_FI_DEV_CLOCKS_EVENT_REASONS", "DCGM_FI_DEV_GPU_UTIL", "DCGM_FI_DEV_GPU_TEMP"
LEVELS = {
    UTIL: 80.0,
    BITS: 0.0,
    TEMPERATURE: 60.0,
    "DCGM_FI_DEV_FB_USED": 60_000.0,
    "DCGM_FI_DEV_FB_FREE": 20_000.0,
    "DCGM_FI_DEV_POWER_USAGE": 500.0,
    "DCGM_FI_DEV_ENFORCED_POWER_LIMIT": 700.0,
}
NOTHING_SERVED = pl.DataFrame(schema=WORKLOADS)
CABLED = Topology({"n1": Node("n1", ports={"mlx5_0/1": SwitchPort("leaf-1", 3)})}, {"leaf-1": Switch("leaf-1")})


def samples(*gpus: Gpu, changes: Mapping[str, Mapping[str, float]] | None = None) -> GpuSamples:
    """GPUs that tell the same all the time, but for those that change (by UUID and metric)."""
    values = {metric: np.full((len(gpus), STEPS), level) for metric, level in LEVELS.items()}
    for row, gpu in enumerate(gpus):
        for metric, level in (changes or {}).get(gpu.uuid, {}).items():
            values[metric][row] = level
    return GpuSamples(gpus, values, STEP_S)


def silent(gpu: Gpu) -> dict[str, dict[str, float]]:
    """The changes of a GPU that tells nothing."""
    return {gpu.uuid: dict.fromkeys(LEVELS, float("nan"))}


def series(*rows: Mapping[str, object]) -> pl.DataFrame:
    """A frame of series."""
    return pl.DataFrame(rows, schema=SERIES)


def now(
    told: GpuSamples,
    *faults: DeviceFault,
    of: pl.DataFrame | None = None,
    last_seen: Mapping[tuple[str, str], datetime] | None = None,
    workloads: pl.DataFrame = NOTHING_SERVED,
) -> tuple[GpuNow, ...]:
    return gpus_now(told, series() if of is None else of, workloads, last_seen or {}, faults, NOW)


def fault(state: GpuState | PortState, device: Entity, minutes: float = 40) -> DeviceFault:
    """A fault that is remembered, heard of until a minute ago."""
    return DeviceFault(device, state, "n1", NOW - timedelta(minutes=minutes), NOW - timedelta(minutes=1), "it is so")


A, B, C = Gpu("GPU-a", "n1"), Gpu("GPU-b", "n1"), Gpu("GPU-c", "n2")


def test_a_gpu_has_its_newest_levels_and_what_runs_on_it() -> None:
    told = samples(A)
    told.values[TEMPERATURE][0] = [60, 61, 72, np.nan]
    labels = series(
        {"node": "n1", "gpu": "GPU-a", "replica": "chat-0", "labels": ["H100", "3", "prod"]},
        {"node": "n1", "gpu": "GPU-a", "replica": "chat-1", "labels": ["H100", "3", ""]},
    )
    served = pl.DataFrame([{"replica": "chat-1", "service": "chat", "model": "llama"}], schema=WORKLOADS)
    (one,) = now(told, of=labels, workloads=served)
    assert (one.index, one.levels.temperature_celsius, one.levels.utilization_ratio) == (3, 72.0, 0.8)
    assert (one.levels.memory_used_ratio, one.levels.power_ratio) == (0.75, pytest.approx(5 / 7))
    assert (one.workload.replica, one.workload.service, one.workload.model, one.workload.pool) == (
        "chat-1",
        "chat",
        "llama",
        "prod",
    )
    assert one.troubles == ()


def test_a_throttle_is_a_trouble_at_once_and_knows_since_when_once_it_is_remembered() -> None:
    hot = {A.uuid: {BITS: 64.0}}
    (one,) = now(samples(A, changes=hot))
    assert [(trouble.state, trouble.grade, trouble.since) for trouble in one.troubles] == [
        (GpuState.THERMAL_THROTTLE, Grade.FAULT, None)
    ]
    known = fault(GpuState.THERMAL_THROTTLE, Entity(EntityKind.GPU, A.uuid))
    (later,) = now(samples(A, changes=hot), known)
    assert later.troubles[0].since == known.since
    assert later.troubles[0].reason == one.troubles[0].reason


def test_what_only_a_reset_mends_is_told_after_its_sign_has_passed_and_other_faults_are_not() -> None:
    device = Entity(EntityKind.GPU, A.uuid)
    old = fault(GpuState.MEMORY_FAULT, device)
    over = DeviceFault(
        device, GpuState.THERMAL_THROTTLE, "n1", NOW - timedelta(days=1), NOW - timedelta(hours=2), "hot"
    )
    (one,) = now(samples(A), old, over)
    assert [(trouble.state, trouble.reason) for trouble in one.troubles] == [(GpuState.MEMORY_FAULT, "it is so")]


def test_full_load_at_its_power_limit_and_an_idle_gpu_are_no_trouble() -> None:
    told = now(samples(A, B, changes={A.uuid: {BITS: 4.0}, B.uuid: {UTIL: 0.0, BITS: 1.0}}))
    assert [one.troubles for one in told] == [(), ()]


def test_one_silent_gpu_is_a_trouble_and_a_silent_node_is_told_as_one() -> None:
    seen = NOW - timedelta(minutes=30)
    one_of_two = now(samples(A, B, changes=silent(B)), last_seen={("n1", "GPU-b"): seen})
    assert [(one.name, trouble.state) for one, trouble in worst_gpus(one_of_two)] == [("GPU-b", GpuState.NO_DATA)]
    assert silent_nodes(one_of_two) == {}
    node = now(samples(A, C, changes=silent(C)), last_seen={("n2", "GPU-c"): seen})
    assert (worst_gpus(node), silent_nodes(node)) == ([], {"n2": seen})
    totals = gpu_totals(node)
    assert (totals.gpus, totals.nodes, totals.in_trouble, totals.silent_nodes) == (2, 2, 0, {"n2": seen})
    assert (totals.utilization_ratio, totals.power_watts) == (0.8, 500.0)


def test_a_gpu_that_went_to_another_node_is_not_missed_at_the_old_one() -> None:
    moved, old = Gpu("GPU-a", "n2"), Gpu("GPU-a", "n1")
    told = samples(old, moved)
    told.values[UTIL][0] = np.nan
    found = now(told, last_seen={("n1", "GPU-a"): NOW - timedelta(hours=1)})
    assert [one.gpu.node for one in found] == ["n2"]


def test_the_board_of_instances_counts_once() -> None:
    parts = (Gpu("GPU-a", "n1", "1"), Gpu("GPU-a", "n1", "2"))
    totals = gpu_totals(now(samples(*parts, changes={"GPU-a": {BITS: 64.0}})))
    assert (totals.gpus, totals.in_trouble, totals.power_watts, totals.memory_used_mib) == (1, 1, 500.0, 120_000.0)


def test_the_node_with_faults_comes_first_then_the_silent_then_by_name() -> None:
    d, e = Gpu("GPU-d", "n3"), Gpu("GPU-e", "n0")
    told = now(samples(A, C, d, e, changes={d.uuid: {BITS: 64.0}} | silent(C)), last_seen={("n2", "GPU-c"): NOW})
    assert worst_nodes(told) == ["n3", "n2", "n0", "n1"]


def port_samples(*ports: Port, changes: Mapping[str, object] | None = None) -> PortSamples:
    """Ports of 400 Gb/s that carry a fifth of it; the first one changes."""
    steps = np.arange(STEPS) * float(STEP_S)
    usual = {STATE: 4.0, RATE: 50e9, SYMBOL_ERRORS: 7.0, SENT: steps * 10e9, WAIT: steps * 0.0}
    values = {name: np.full((len(ports), STEPS), level) for name, level in usual.items()}
    for name, changed in (changes or {}).items():
        values[name][0] = changed
    return PortSamples(ports, values, STEP_S)


P, Q, FAR = Port("n1", "mlx5_0/1"), Port("n1", "mlx5_1/1"), Port("leaf-1", "3")


def test_a_port_has_its_load_and_the_other_end_of_its_cable() -> None:
    found = ports_now(port_samples(P, FAR), {}, 3600, {}, CABLED, (), NOW)
    far, near = found
    assert (near.far_end, far.far_end) == (
        Entity(EntityKind.PORT, "leaf-1/3"),
        Entity(EntityKind.PORT, "n1/mlx5_0/1"),
    )
    assert (near.rate_bytes_per_s, near.sent_bytes_per_s) == (50e9, pytest.approx(10e9))
    assert (near.utilization_ratio, near.wait_ratio) == (pytest.approx(0.2), 0.0)
    assert not near.says_something


def test_a_port_that_waits_is_strained_and_comes_before_one_with_errors() -> None:
    waits = {WAIT: np.arange(STEPS) * STEP_S * 50e9 * 0.04 / 8}
    found = ports_now(port_samples(P, Q, FAR, changes=waits), {FAR: {SYMBOL_ERRORS: 300.0}}, 3600, {}, CABLED, (), NOW)
    assert [one.port for one in found] == [P, FAR, Q]
    assert [one.grade for one in found] == [Grade.STRAIN, None, None]
    assert found[0].wait_ratio == pytest.approx(0.04)
    assert [one.says_something for one in found] == [True, True, False]


def test_a_port_that_is_down_counts_only_where_somebody_uses_it() -> None:
    down = port_samples(P, Q, changes={STATE: 1.0})
    unused = {one.port: one for one in ports_now(down, {}, 3600, {}, Topology(), (), NOW)}[P]
    assert (unused.is_used, unused.says_something) == (False, False)
    used = ports_now(down, {}, 3600, {}, CABLED, (), NOW)[0]
    assert (used.port, used.is_used, used.troubles[0].state) == (P, True, PortState.DOWN)


def test_the_ports_of_a_silent_device_do_not_crowd_out_the_others() -> None:
    told = port_samples(P, Q)
    for matrix in told.values.values():
        matrix[0] = np.nan
    seen = {("n1", "mlx5_0/1"): NOW - timedelta(minutes=20)}
    one = ports_now(told, {}, 3600, seen, Topology(), (), NOW)[0]
    assert (one.port, one.says_something, one.silent_since) == (P, True, seen["n1", "mlx5_0/1"])
    alone = port_samples(P)
    for matrix in alone.values.values():
        matrix[0] = np.nan
    assert not ports_now(alone, {}, 3600, seen, Topology(), (), NOW)[0].says_something


def test_errors_are_what_counters_grew_by_and_a_counter_that_stands_counts_nothing() -> None:
    found = errors_of(port_samples(P, Q, changes={SYMBOL_ERRORS: [7.0, 9.0, 2.0, 4.0]}))
    assert found == {P: {SYMBOL_ERRORS: 6.0}}


def test_uplinks_of_switches_have_other_ends_too() -> None:
    topology = Topology({}, {"leaf-1": Switch("leaf-1", uplinks={30: SwitchPort("spine-1", 2)})})
    leaf, spine = Entity(EntityKind.PORT, "leaf-1/30"), Entity(EntityKind.PORT, "spine-1/2")
    assert far_ends(topology) == {leaf: spine, spine: leaf}


def test_waiting_is_a_share_of_the_time_where_the_rate_is_known() -> None:
    signals, entity = shipped_knowledge().signals, (Entity(EntityKind.PORT, "n1/mlx5_0/1"),)
    ticks = SignalMatrix(signals["transmit_wait"], entity, np.array([[1e6, 5e8]]))
    rate = SignalMatrix(signals["port_rate"], entity, np.array([[50e9, 50e9]]))
    (told, _) = waits_as_ratio([ticks, rate])
    assert (told.signal.unit, told.values.tolist()) == ("ratio", [[0.00016, 0.08]])
    assert waits_as_ratio([ticks]) == [ticks]


@pytest.mark.parametrize(
    ("errors", "is_shown"),
    [({SYMBOL_ERRORS: 100.0}, False), ({SYMBOL_ERRORS: 130.0}, True), ({DOWNED: 1.0}, True), ({}, False)],
)
def test_a_symbol_error_now_and_then_says_nothing_and_a_link_that_went_down_does(
    errors: Mapping[str, float], *, is_shown: bool
) -> None:
    (one,) = ports_now(port_samples(P), {P: errors}, 3600, {}, CABLED, (), NOW)
    assert one.says_something == is_shown


def blaming(entity: Entity) -> Incident:
    """An incident whose likeliest cause sits on something."""
    causes = (replace(PAGING.cause, entity=entity), *PAGING.explanation.causes[1:])
    return replace(PAGING, explanation=replace(PAGING.explanation, causes=causes))


def test_the_cause_of_an_incident_is_in_trouble_and_once_where_its_fault_names_the_incident() -> None:
    incidents = [blaming(Entity(EntityKind.GPU, A.uuid))]
    blamed, other = gpus_with_causes(now(samples(A, B)), incidents)
    assert blamed.troubles == (Trouble(Role.CAUSE, Grade.STRAIN, PAGING.cause.summary, PAGING.started_at, PAGING.id),)
    assert other.troubles == ()
    named = replace(blamed, troubles=(Trouble(GpuState.OFF_THE_BUS, Grade.FAULT, "gone", None, PAGING.id),))
    assert gpus_with_causes([named], incidents) == (named,)


def test_a_port_that_is_the_cause_of_an_incident_comes_first() -> None:
    quiet = ports_now(port_samples(P, Q), {}, 3600, {}, CABLED, (), NOW)
    found = ports_with_causes(quiet, [blaming(Entity(EntityKind.PORT, f"{Q.device}/{Q.name}"))])
    assert [(one.port, one.says_something) for one in found] == [(Q, True), (P, False)]
