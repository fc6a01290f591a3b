"""Each fault must hurt its target clearly, move its own signals, and leave the others' alone."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache

import numpy as np
import pytest
from numpy.typing import NDArray

from domain.cause import CauseKind
from domain.entity import EntityKind
from simulator.cloud import Cloud, Replica, Service, build_cloud
from simulator.faults import PLANNERS, Fault, capacity_requests_per_s, leaked_kv_ratio, plan_fault
from simulator.run import Simulation, Slice
from simulator.spans import RequestColumns

SEEDS = (0, 1, 2)
QUIET_S = 1800.0
FAULT_S = 300.0
STEP_S = 15.0
START = datetime.fromisoformat("2026-11-20T12:00:00+00:00")
FAULT_AT = START + timedelta(seconds=QUIET_S)


@dataclass(frozen=True)
class Scene:
    """A quiet half hour and then the fault, for five minutes."""

    cloud: Cloud
    fault: Fault
    quiet: Slice
    faulty: Slice

    @property
    def hit(self) -> tuple[Replica, ...]:
        """The replicas that the fault touches."""
        name = self.fault.entity.name
        return tuple(
            replica
            for replica in self.cloud.replicas
            if name in (replica.service.name, replica.pod, replica.port.name)
            or name in [gpu.uuid for gpu in replica.gpus]
        )

    @property
    def service(self) -> Service:
        return self.hit[0].service

    def series(self, target: str, family: str, which: Slice, **labels: str) -> NDArray[np.float64]:
        """The values of one series at the ticks of a slice."""
        (scrape,) = [s for s in which.scrapes if s.target.name == target]
        position = 0
        for candidate in scrape.target.families:
            for series in candidate.labels:
                if candidate.name == family and labels.items() <= series.items():
                    values: NDArray[np.float64] = scrape.values[:, position]
                    return values
                position += 1
        raise AssertionError(f"{target} has no {family} {labels}")

    def engine(self, family: str, which: Slice, replica: Replica | None = None) -> NDArray[np.float64]:
        return self.series(f"vllm/{(replica or self.hit[0]).pod}", f"vllm:{family}", which)

    def port(self, family: str, which: Slice) -> NDArray[np.float64]:
        node, device, _ = self.fault.entity.name.split("/")
        return self.series(f"node-exporter/{node}", f"node_infiniband_{family}", which, device=device)

    def port_rate(self, family: str, which: Slice) -> float:
        """Mean growth per second, once the ramp is over."""
        values = self.port(family, which)[6:]
        return float((values[-1] - values[0]) / (STEP_S * (len(values) - 1)))

    def gpu(self, family: str, which: Slice, uuid: str) -> NDArray[np.float64]:
        (gpu,) = [gpu for gpu in self.cloud.gpus if gpu.uuid == uuid]
        return self.series(f"dcgm-exporter/{gpu.node}", f"DCGM_FI_{family}", which, UUID=uuid)


@lru_cache(maxsize=1)  # scenes are asked for one after another, and hold a lot
def scene(kind: CauseKind, seed: int) -> Scene:
    simulation = Simulation(seed, START)
    fault = plan_fault(kind, simulation.cloud, seed, FAULT_AT, FAULT_S)
    simulation.inject(fault)
    quiet = simulation.advance(FAULT_AT, scrape_step_s=STEP_S)
    faulty = simulation.advance(FAULT_AT + timedelta(seconds=FAULT_S), scrape_step_s=STEP_S)
    # Those that came in the fault may end after it.
    later = simulation.advance(FAULT_AT + timedelta(seconds=FAULT_S + 120), scrape_step_s=STEP_S)
    everyone = np.concatenate([quiet.requests, faulty.requests, later.requests])
    since = everyone["arrived_at"] >= FAULT_AT.timestamp()
    during = everyone[since & (everyone["arrived_at"] < fault.ended_at.timestamp())]
    return Scene(simulation.cloud, fault, quiet, Slice(during, faulty.ticks_s, faulty.scrapes))


def first_token_s_p99(requests: NDArray[np.void], replicas: tuple[Replica, ...]) -> float:
    chosen = requests[np.isin(requests["replica"], [replica.ordinal for replica in replicas])]
    return float(np.nanquantile(RequestColumns(chosen).first_token_s, 0.99))


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("kind", PLANNERS)
def test_every_fault_more_than_triples_the_p99_of_its_service(kind: CauseKind, seed: int) -> None:
    it = scene(kind, seed)
    of_service = it.cloud.replicas_of(it.service.name)
    before = first_token_s_p99(it.quiet.requests, of_service)
    assert first_token_s_p99(it.faulty.requests, of_service) > 3 * before


@pytest.mark.parametrize("kind", PLANNERS)
def test_a_fault_leaves_the_other_service_alone(kind: CauseKind) -> None:
    it = scene(kind, 0)
    others = tuple(replica for replica in it.cloud.replicas if replica.service != it.service)
    before = first_token_s_p99(it.quiet.requests, others)
    assert first_token_s_p99(it.faulty.requests, others) < 1.6 * before


def test_memory_pressure_fills_the_kv_cache_of_one_replica_and_nothing_else_moves() -> None:
    it = scene(CauseKind.GPU_MEMORY_PRESSURE, 2)
    assert it.fault.entity.kind is EntityKind.REPLICA
    usage = it.engine("kv_cache_usage_perc", it.faulty)
    assert it.engine("kv_cache_usage_perc", it.quiet).max() < 0.2
    assert usage[6:].min() > 0.93
    assert usage.max() > 0.99
    assert it.engine("num_requests_waiting", it.faulty).max() >= 2
    assert it.engine("num_preemptions_total", it.faulty)[-1] > it.engine("num_preemptions_total", it.quiet)[-1]
    used = it.gpu("DEV_FB_USED", it.faulty, it.hit[0].gpus[0].uuid)
    assert (used == used[0]).all()
    peer = next(r for r in it.cloud.replicas_of(it.service.name) if r != it.hit[0])
    assert it.engine("kv_cache_usage_perc", it.faulty, peer).max() < 0.2


def test_memory_contention_takes_one_gpus_memory_and_bandwidth_and_starves_its_peers() -> None:
    it = scene(CauseKind.GPU_MEMORY_CONTENTION, 2)
    victim = it.fault.entity.name
    free = it.gpu("DEV_FB_FREE", it.faulty, victim)
    assert it.gpu("DEV_FB_FREE", it.quiet, victim).min() > 7000
    assert free[4:].max() < 100
    assert free[0] > free[1] > free[4]  # it fills over tens of seconds
    assert it.gpu("PROF_DRAM_ACTIVE", it.faulty, victim)[6:].mean() > 0.85
    assert it.gpu("DEV_MEM_COPY_UTIL", it.faulty, victim)[6:].mean() > 85
    assert it.gpu("DEV_GPU_UTIL", it.faulty, victim)[6:].min() >= 99
    peers = [gpu.uuid for gpu in it.hit[0].gpus if gpu.uuid != victim]
    for peer in peers:
        assert it.gpu("DEV_FB_FREE", it.faulty, peer).min() > 7000
        tensor = [it.gpu("PROF_PIPE_TENSOR_ACTIVE", which, peer).mean() for which in (it.quiet, it.faulty)]
        busy = [it.gpu("DEV_GPU_UTIL", which, peer).mean() for which in (it.quiet, it.faulty)]
        assert tensor[1] < 0.8 * tensor[0]
        assert busy[1] > busy[0]
    assert it.engine("kv_cache_usage_perc", it.faulty).max() < 0.5


@pytest.mark.parametrize("seed", SEEDS)
def test_saturation_fills_the_port_without_errors(seed: int) -> None:
    it = scene(CauseKind.NETWORK_SATURATION, seed)
    for family in ("port_data_transmitted_bytes_total", "port_data_received_bytes_total"):
        assert it.port_rate(family, it.quiet) / 5e10 < 0.15
        assert 0.95 < it.port_rate(family, it.faulty) / 5e10 < 1.0
    assert it.port_rate("port_transmit_wait_total", it.faulty) > 100 * it.port_rate(
        "port_transmit_wait_total", it.quiet
    )
    for family in ("symbol_error_total", "link_error_recovery_total", "port_errors_received_total"):
        assert it.port_rate(family, it.faulty) == 0


@pytest.mark.parametrize("seed", SEEDS)
def test_a_link_fault_shows_errors_while_the_port_carries_less(seed: int) -> None:
    it = scene(CauseKind.NETWORK_LINK_FAULT, seed)
    assert it.port_rate("symbol_error_total", it.quiet) == 0
    assert it.port_rate("symbol_error_total", it.faulty) > 10
    assert it.port_rate("port_errors_received_total", it.faulty) > 1
    for family in ("link_error_recovery_total", "link_downed_total"):
        assert it.port(family, it.faulty)[-1] > it.port(family, it.quiet)[-1]
    sent = "port_data_transmitted_bytes_total"
    assert it.port_rate(sent, it.faulty) < 0.5 * it.port_rate(sent, it.quiet)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_surge_multiplies_arrivals_and_queues_on_every_replica(seed: int) -> None:
    it = scene(CauseKind.TRAFFIC_SURGE, seed)

    def arrivals_per_s(which: Slice, seconds: float) -> float:
        return float(np.isin(which.requests["replica"], [r.ordinal for r in it.hit]).sum()) / seconds

    grown = arrivals_per_s(it.faulty, FAULT_S) / arrivals_per_s(it.quiet, QUIET_S)
    assert grown == pytest.approx(it.fault.strength, rel=0.2)
    assert it.fault.strength >= 3
    assert all(it.engine("num_requests_waiting", it.faulty, replica).max() >= 2 for replica in it.hit)
    prompts = [which.requests["prompt_tokens"].mean() for which in (it.quiet, it.faulty)]
    assert len(it.hit) == len(it.cloud.replicas_of(it.service.name))
    assert it.service.name == "chat" or prompts[1] < prompts[0]  # the mix of services shifts, not the mix within


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
    it = scene(CauseKind.UNKNOWN, seed)
    before, during = (RequestColumns(which.requests) for which in (it.quiet, it.faulty))
    mine = [np.isin(c.replica, [replica.ordinal for replica in it.hit]) for c in (before, during)]
    assert np.nanmedian(during.prefill_s[mine[1]]) > 5 * np.nanmedian(before.prefill_s[mine[0]])
    for replica in it.hit:
        for family in ("num_requests_waiting", "num_requests_running", "kv_cache_usage_perc"):
            quiet, faulty = (it.engine(family, which, replica) for which in (it.quiet, it.faulty))
            chance = 4 * quiet.std() / len(faulty) ** 0.5
            assert faulty.mean() <= quiet.mean() + max(chance, 0.01 if "kv" in family else 0.2)


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
    with pytest.raises(ValueError, match=r"cannot play the fault cold_start; it can play gpu_memory_contention, "):
        plan_fault(CauseKind.COLD_START, build_cloud(1), 1, start, 60)


def test_a_fault_that_ends_before_it_starts_is_refused(start: datetime) -> None:
    with pytest.raises(ValueError, match="not after its start"):
        plan_fault(CauseKind.UNKNOWN, build_cloud(1), 1, start, -5)


def test_a_fault_ramps_up_and_goes_quickly(start: datetime) -> None:
    fault = plan_fault(CauseKind.NETWORK_SATURATION, build_cloud(1), 1, start, 300)
    offsets = np.array([-1.0, 0.0, fault.ramp_s / 2, fault.ramp_s, 300.0, 302.5, 305.0, 400.0])
    levels = fault.level(start.timestamp() + offsets)
    assert levels == pytest.approx([0, 0, 0.5, 1, 1, 0.5, 0, 0])
    assert [fault.level_at(start.timestamp() + o) for o in offsets.tolist()] == pytest.approx(levels.tolist())


def test_no_kv_block_is_lost_without_a_leak() -> None:
    assert leaked_kv_ratio((), np.array([0.0, 1.0])).tolist() == [0.0, 0.0]


def test_a_kind_given_by_its_name_is_that_kind(start: datetime) -> None:
    named = plan_fault("network_saturation", build_cloud(1), 1, start, 60)  # type: ignore[arg-type]
    assert named.kind is CauseKind.NETWORK_SATURATION
