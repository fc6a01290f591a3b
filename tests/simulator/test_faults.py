"""Each fault must hurt its target clearly, move its own signals, and leave the others' alone."""

from collections.abc import Mapping
from datetime import datetime, timedelta

import numpy as np
import pytest

from domain.cause import CauseKind
from domain.entity import EntityKind
from simulator.cloud import build_cloud
from simulator.effects import EFFECTS, OUTAGES
from simulator.faults import PLANNERS, Harmless, capacity_requests_per_s, hit_replicas, leaked_kv_ratio, plan_fault
from simulator.run import Simulation
from simulator.signs import SIGNS, Place, ordinals_of
from simulator.spans import RequestColumns
from tests.simulator.scenes import FAULT_AT, FAULT_S, QUIET_S, START, Scene, felt_by, play, scene, signals_in, table

SEEDS = (0, 1, 2)


def _cases() -> list[tuple[CauseKind, int]]:
    """Three seeds of each kind, and the first seed of each of its variants."""
    cases = []
    for kind in PLANNERS:
        variants: dict[str, int] = {}
        for seed in range(60):
            variants.setdefault(plan_fault(kind, build_cloud(seed), seed, FAULT_AT, FAULT_S).variant, seed)
        cases += [(kind, seed) for seed in sorted({*SEEDS, *variants.values()})]
    return cases


CASES = _cases()
_CRASHED = {"xid": "gpu", "bit errors": "gpu", "rows remapped": "gpu"}
_THROTTLED_BY_POWER = {"clock low": "gpu", "power violation": "gpu"}
# Kind and variant → the signals that must show, and on what.
EXPECTED: Mapping[tuple[CauseKind, str], Mapping[str, str]] = {
    (CauseKind.GPU_MEMORY_PRESSURE, ""): {"cache full": "pods", "preemptions": "pods"},
    (CauseKind.GPU_MEMORY_CONTENTION, ""): {"memory taken": "gpu"},
    (CauseKind.GPU_COMPUTE_CONTENTION, ""): {"SMs taken": "gpu"},
    (CauseKind.GPU_THERMAL_THROTTLE, "gpu"): {
        "gpu hot": "gpu",
        "clock low": "gpu",
        "throttle bits": "gpu",
        "thermal violation": "gpu",
    },
    (CauseKind.GPU_POWER_THROTTLE, "gpu_limit"): {**_THROTTLED_BY_POWER, "power limit": "gpu"},
    (CauseKind.GPU_POWER_THROTTLE, "gpu_brake"): {**_THROTTLED_BY_POWER, "throttle bits": "gpu"},
    (CauseKind.GPU_FAULT, "off_bus"): {"gpu gone": "gpu"},
    (CauseKind.GPU_FAULT, "contained_ecc"): _CRASHED,
    (CauseKind.GPU_FAULT, "uncontained_ecc"): _CRASHED,
    (CauseKind.GPU_FAULT, "double_bit"): _CRASHED,
    (CauseKind.GPU_FAULT, "row_remap"): {"xid": "gpu", "bit errors corrected": "gpu"},
    (CauseKind.GPU_FAULT, "high_sbe_rate"): {"xid": "gpu", "bit errors corrected": "gpu"},
    (CauseKind.GPU_FAULT, "gsp_timeout"): {"xid": "gpu"},
    (CauseKind.PCIE_DEGRADED, ""): {"pcie generation": "gpu", "pcie width": "gpu", "pcie replays": "gpu"},
    (CauseKind.NVLINK_FAULT, "errors"): {"nvlink errors": "gpu", "nvlink recoveries": "gpu"},
    (CauseKind.NVLINK_FAULT, "xid"): {"nvlink errors": "gpu", "nvlink recoveries": "gpu", "xid": "gpu"},
    # A full port is full at both ends of its cable.
    (CauseKind.NETWORK_SATURATION, "port"): {"port full": "port", "port waits": "port", "switch port full": "far end"},
    (CauseKind.NETWORK_SATURATION, "uplink"): {"switch port full": "fabric", "switch port waits": "fabric"},
    (CauseKind.NETWORK_CONGESTION, "port"): {"port waits": "port", "port discards": "port"},
    (CauseKind.NETWORK_CONGESTION, "switch"): {
        "port waits": "port",
        "port discards": "port",
        "switch port waits": "fabric",
    },
    (CauseKind.NETWORK_LINK_FAULT, "errors"): {"symbol errors": "port", "link downs": "port"},
    (CauseKind.NETWORK_LINK_FAULT, "rate_drop"): {"symbol errors": "port", "link slow": "port", "link downs": "port"},
    (CauseKind.NETWORK_LINK_FAULT, "flap"): {"symbol errors": "port", "link downs": "port", "link down": "port"},
    (CauseKind.HOST_CONTENTION, "cpu"): {"cpu pressure": "node", "load": "node"},
    (CauseKind.HOST_CONTENTION, "disk"): {"io pressure": "node", "load": "node"},
    (CauseKind.HOST_CONTENTION, "memory"): {
        "cpu pressure": "node",
        "io pressure": "node",
        "host memory low": "node",
        "load": "node",
    },
    (CauseKind.COLD_START, "scale_up"): {"new process": "pods"},
    (CauseKind.COLD_START, "restart"): {"new process": "pods", "replica gone": "pods", "memory freed": "group"},
    (CauseKind.CAPACITY_LOSS, "drained"): {"replica gone": "pods", "memory freed": "group"},
    (CauseKind.CAPACITY_LOSS, "evicted"): {"replica gone": "pods", "memory freed": "group"},
    (CauseKind.BAD_RELEASE, ""): {"new process": "pods"},
}
# Where an engine has more to do or is lost, this follows by itself.
CONSEQUENCES = {"SMs taken", "cache full", "preemptions", "replica gone", "new process", "memory freed"}


def expected(it: Scene) -> Mapping[str, str]:
    kind, variant = it.fault.kind, it.fault.variant.replace("node", "gpu")
    assert isinstance(kind, CauseKind)
    return EXPECTED.get((kind, variant), EXPECTED.get((kind, ""), {}))


def names(it: Scene, place: str) -> frozenset[str]:
    """What the truth's entity is or carries, of that sort."""
    cloud, fault = it.cloud, it.fault
    hit = hit_replicas(cloud, fault)
    found = {
        "gpu": {cloud.gpus[n].uuid for n in ordinals_of(cloud, fault, Place.GPU)},
        "group": {gpu.uuid for replica in hit for gpu in replica.gpus},
        "port": {cloud.ports[n].name for n in ordinals_of(cloud, fault, Place.PORT)},
        "far end": {
            f"{peer.switch}/{peer.port}"
            for peer in (cloud.ports[n].peer for n in ordinals_of(cloud, fault, Place.PORT))
        },
        "fabric": {cloud.fabric_ports[n].name for n in ordinals_of(cloud, fault, Place.FABRIC)},
        "node": {cloud.nodes[n] for n in ordinals_of(cloud, fault, Place.HOST)},
        "pods": {replica.pod for replica in hit},
    }
    return frozenset(found[place])


@pytest.mark.parametrize(("kind", "seed"), CASES)
def test_users_of_the_truths_service_feel_every_fault(kind: CauseKind, seed: int) -> None:
    it = scene(kind, seed)
    felt = [it.felt[service] for service in it.services]
    assert any(f.growth > 1.4 or f.error_ratio[1] > 0.015 + 3 * f.error_ratio[0] for f in felt), felt


@pytest.mark.parametrize(("kind", "seed"), CASES)
def test_a_fault_leaves_the_other_service_alone(kind: CauseKind, seed: int) -> None:
    it = scene(kind, seed)
    others = [felt for service, felt in it.felt.items() if service not in it.services]
    assert all(felt.growth < 1.4 and felt.error_ratio[1] == 0 for felt in others)


@pytest.mark.parametrize(("kind", "seed"), CASES)
def test_a_fault_shows_on_the_truths_entity_and_nowhere_else(kind: CauseKind, seed: int) -> None:
    it = scene(kind, seed)
    wanted = {signal: names(it, place) for signal, place in expected(it).items()}
    for signal, where in wanted.items():
        # Of the GPUs of a node whose clocks drop, those that nobody uses had no higher clock before.
        found = it.shown[signal]
        assert found == where or (signal == "clock low" and found and found < where), signal
    consequences = {replica.pod for replica in hit_replicas(it.cloud, it.fault)}
    consequences |= {gpu.uuid for replica in hit_replicas(it.cloud, it.fault) for gpu in replica.gpus}
    for signal, shown in it.shown.items():
        if signal not in wanted:
            assert not shown or (signal in CONSEQUENCES and shown <= consequences), signal


@pytest.mark.parametrize("seed", SEEDS)
def test_a_clean_day_has_neither_a_rise_nor_a_sign(seed: int) -> None:
    cloud = build_cloud(seed)
    quiet, later, everyone = play(cloud, seed, None)
    for service in cloud.services:
        felt = felt_by(cloud, service.name, everyone)
        assert felt.growth < 1.4
        assert felt.error_ratio == (0.0, 0.0)
    idle = {gpu.uuid for gpu in cloud.gpus if gpu.ordinal not in cloud.replica_by_gpu}
    for signals in (signals_in(quiet), signals_in(later)):
        shown = {signal: names for signal, names in signals.items() if names - idle}
        assert not shown


def test_every_kind_of_the_contracts_can_be_played() -> None:
    assert set(PLANNERS) == set(CauseKind)


def test_the_tables_name_only_what_can_be_planned() -> None:
    planned = {(kind, plan_fault(kind, build_cloud(s), s, FAULT_AT, FAULT_S).variant) for kind, s in CASES}
    for table_of in (EFFECTS, SIGNS, OUTAGES):
        named = {key for key in table_of if not isinstance(key[0], Harmless)}
        assert {key for key in named if key[1]} <= planned
        assert {kind for kind, _ in named} <= set(PLANNERS)


def test_strength_varies_from_clearly_felt_to_drastic() -> None:
    growths = [max(it.felt[s].growth for s in it.services) for it in (scene(kind, seed) for kind, seed in CASES)]
    assert min(growths) < 3
    assert max(growths) > 20
    assert np.quantile(growths, 0.25) < 4


@pytest.mark.parametrize("seed", SEEDS)
def test_a_surge_multiplies_arrivals(seed: int) -> None:
    cloud = build_cloud(seed)
    fault = plan_fault(CauseKind.TRAFFIC_SURGE, cloud, seed, FAULT_AT, FAULT_S)
    _, _, everyone = play(cloud, seed, fault)
    hit = [replica.ordinal for replica in hit_replicas(cloud, fault)]
    arrived_at = everyone["arrived_at"][np.isin(everyone["replica"], hit)] - FAULT_AT.timestamp()
    grown = (((arrived_at >= 0) & (arrived_at < FAULT_S)).sum() / FAULT_S) / ((arrived_at < 0).sum() / QUIET_S)
    assert grown == pytest.approx(fault.strength, rel=0.25)
    assert fault.strength >= 2.5


def test_heat_comes_before_the_throttle_that_it_causes() -> None:
    cloud = build_cloud(0)
    fault = plan_fault(CauseKind.GPU_THERMAL_THROTTLE, cloud, 0, FAULT_AT, FAULT_S)
    _, faulty, _ = play(cloud, 0, fault)
    temperature, clock = (
        table(faulty, f"DCGM_FI_DEV_{name}", lambda labels: labels["UUID"])[fault.entity.name]
        for name in ("GPU_TEMP", "SM_CLOCK")
    )
    before_throttle = temperature[clock > 1900]
    assert len(before_throttle) >= 2
    assert before_throttle[-1] > before_throttle[0] + 5


def test_a_busy_host_adds_time_outside_the_engine_only() -> None:
    cloud = build_cloud(0)
    fault = plan_fault(CauseKind.HOST_CONTENTION, cloud, 0, FAULT_AT, FAULT_S)
    _, _, everyone = play(cloud, 0, fault)
    mine = everyone[np.isin(everyone["replica"], [replica.ordinal for replica in hit_replicas(cloud, fault)])]
    since_s = mine["arrived_at"] - FAULT_AT.timestamp()
    before, during = RequestColumns(mine[since_s < 0]), RequestColumns(mine[(since_s > fault.ramp_s) & (since_s < 300)])
    for stage in ("queue_s", "prefill_s", "decode_s"):
        means = [float(np.nanmean(getattr(columns, stage))) for columns in (before, during)]
        assert means[1] < 1.5 * means[0] + 0.1, stage
    outside_s = during.first_token_s - during.queue_s - during.prefill_s
    assert np.nanmedian(outside_s) > 0.8 * fault.strength


def test_only_the_version_that_was_rolled_out_fails() -> None:
    cloud = build_cloud(5)
    fault = plan_fault(CauseKind.BAD_RELEASE, cloud, 5, FAULT_AT, FAULT_S)
    _, _, everyone = play(cloud, 5, fault)
    assert set(everyone["version"].tolist()) == {0, 1}
    assert not everyone["failed"][everyone["version"] == 0].any()
    assert everyone["failed"][everyone["version"] == 1].mean() > 0.2


def test_a_mix_shift_of_one_tenant_lengthens_the_prompts_of_that_tenant_only() -> None:
    cloud = build_cloud(0)
    fault = plan_fault(CauseKind.PROMPT_MIX_SHIFT, cloud, 0, FAULT_AT, FAULT_S)
    assert fault.entity.kind is EntityKind.TENANT
    plain, shifted = (play(cloud, 0, one)[2] for one in (None, fault))
    lengths = [dict(zip(r["span_id"].tolist(), r["prompt_tokens"].tolist(), strict=True)) for r in (plain, shifted)]
    tenants = dict(zip(plain["span_id"].tolist(), plain["tenant"].tolist(), strict=True))
    longer = [span for span, tokens in lengths[0].items() if lengths[1].get(span, tokens) != tokens]
    assert len(longer) > 20
    assert {tenants[span] for span in longer} == {cloud.tenants.index(fault.entity.name)}


def test_a_lost_gpu_takes_all_its_series_and_its_replica_with_it() -> None:
    cloud = build_cloud(3)
    fault = plan_fault(CauseKind.GPU_FAULT, cloud, 3, FAULT_AT, FAULT_S)
    assert fault.variant == "off_bus"
    _, faulty, everyone = play(cloud, 3, fault)
    (replica,) = hit_replicas(cloud, fault)
    for scrape in faulty.scrapes:
        labels = [labels for family in scrape.target.families for labels in family.labels]
        if scrape.target.job == "dcgm-exporter":
            lost = [number for number, series in enumerate(labels) if series["UUID"] == fault.entity.name]
            assert np.isnan(scrape.values[:, lost]).all()
            rest = [number for number in range(len(labels)) if number not in lost]
            assert scrape.up.all()
            assert rest
        if scrape.target.name == f"vllm/{replica.pod}":
            assert not scrape.up.any()
    failed = everyone[everyone["failed"]]
    assert set(failed["replica"].tolist()) == {replica.ordinal}
    during = (everyone["arrived_at"] > FAULT_AT.timestamp() + 31) & (everyone["replica"] == replica.ordinal)
    assert not during[everyone["arrived_at"] < fault.ended_at.timestamp()].any()


def test_a_surge_at_night_still_overloads_its_service() -> None:
    night = START.replace(hour=3)
    cloud = build_cloud(5)
    fault = plan_fault(CauseKind.TRAFFIC_SURGE, cloud, 5, night, FAULT_S)
    simulation = Simulation(5, night - timedelta(hours=1), [fault], cloud=cloud)
    simulation.advance(night)
    happened = simulation.advance(fault.ended_at)
    (service,) = [service for service in cloud.services if service.name == fault.entity.name]
    replicas = [replica.ordinal for replica in cloud.replicas_of(service.name)]
    mine = np.isin(happened.requests["replica"], replicas)
    assert mine.sum() / FAULT_S > 0.8 * capacity_requests_per_s(cloud, service)


@pytest.mark.parametrize("seed", SEEDS)
def test_an_unknown_stall_slows_prefill_and_shows_in_no_metric(seed: int) -> None:
    cloud = build_cloud(seed)
    fault = plan_fault(CauseKind.UNKNOWN, cloud, seed, FAULT_AT, FAULT_S)
    quiet, faulty, everyone = play(cloud, seed, fault)
    hit = hit_replicas(cloud, fault)
    mine = everyone[np.isin(everyone["replica"], [replica.ordinal for replica in hit])]
    after = mine["arrived_at"] > FAULT_AT.timestamp()
    before, during = (RequestColumns(mine[which]) for which in (~after, after))
    assert np.nanmedian(during.prefill_s) > 3 * np.nanmedian(before.prefill_s)
    for family in ("num_requests_waiting", "num_requests_running", "kv_cache_usage_perc"):
        for replica in hit:
            was, during_fault = (
                table(which, f"vllm:{family}", lambda labels: labels["pod"])[replica.pod] for which in (quiet, faulty)
            )
            chance = 4 * was.std() / len(during_fault) ** 0.5
            assert during_fault.mean() <= was.mean() + max(chance, 0.01 if "kv" in family else 0.2)


@pytest.mark.parametrize("kind", PLANNERS)
def test_the_truth_says_kind_entity_and_times(kind: CauseKind, start: datetime) -> None:
    cloud = build_cloud(3)
    fault = plan_fault(kind, cloud, 3, start, 90)
    assert fault.truth() == {
        "kind": kind.value,
        "entity": {"kind": fault.entity.kind.value, "name": fault.entity.name},
        "started_at": "2026-11-20T12:00:00Z",
        "ended_at": "2026-11-20T12:01:30Z",
    }
    assert fault == plan_fault(kind, cloud, 3, start, 90)


def test_a_kind_that_cannot_be_played_is_refused_with_those_that_can(start: datetime) -> None:
    with pytest.raises(ValueError, match=r"cannot play the fault sunspots; it can play bad_release, "):
        plan_fault("sunspots", build_cloud(1), 1, start, 60)  # type: ignore[arg-type]


def test_a_fault_that_ends_before_it_starts_is_refused(start: datetime) -> None:
    with pytest.raises(ValueError, match="not after its start"):
        plan_fault(CauseKind.UNKNOWN, build_cloud(1), 1, start, -5)


def test_a_fault_ramps_up_and_goes_quickly(start: datetime) -> None:
    fault = plan_fault(CauseKind.NETWORK_SATURATION, build_cloud(1), 1, start, 300)
    offsets = np.array([-1.0, 0.0, fault.ramp_s / 2, fault.ramp_s, 300.0, 302.5, 305.0, 400.0])
    levels = fault.level(start.timestamp() + offsets)
    assert levels == pytest.approx([0, 0, 0.5, 1, 1, 0.5, 0, 0])


def test_a_flapping_link_comes_and_goes(start: datetime) -> None:
    cloud = build_cloud(1)
    fault = plan_fault(CauseKind.NETWORK_LINK_FAULT, cloud, 1, start, 300)
    assert fault.variant == "flap"
    levels = fault.level(start.timestamp() + 60 + np.arange(0, 200, 0.5))
    assert set(levels.tolist()) == {0.0, 1.0}
    assert levels.mean() == pytest.approx(0.5, abs=0.05)


def test_no_kv_block_is_lost_before_a_leak(start: datetime) -> None:
    leak = plan_fault(CauseKind.GPU_MEMORY_PRESSURE, build_cloud(1), 1, start, 60)
    moments = start.timestamp() + np.array([-30.0, -1.0, 0.0])
    assert leaked_kv_ratio(leak, moments).tolist() == [0.0, 0.0, 0.0]


def test_a_kind_given_by_its_name_is_that_kind(start: datetime) -> None:
    named = plan_fault("network_saturation", build_cloud(1), 1, start, 60)  # type: ignore[arg-type]
    assert named.kind is CauseKind.NETWORK_SATURATION
