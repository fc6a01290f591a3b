from datetime import datetime, timedelta

import numpy as np
import pytest

from simulator.engine import REQUEST
from simulator.physics import FRAMEBUFFER_MIB, IDLE_POWER_WATTS, LLAMA_70B_FP8_TP4
from simulator.run import Simulation
from simulator.telemetry import Readings, Sensors
from tests.simulator.scenes import table

TICKS_S = np.array([15.0, 30.0, 45.0, 60.0])


def one_request(**fields: float) -> np.ndarray:
    request = np.zeros(1, REQUEST)
    for name in ("prefill_factor", "decode_factor", "done_ratio"):
        request[name] = 1.0
    for name, value in fields.items():
        request[name] = value
    return request


def observe(requests: np.ndarray) -> Readings:
    simulation = Simulation(1, datetime.fromisoformat("1970-01-01T00:00:00+00:00"))
    return Sensors(simulation.cloud, 1, 0.0).observe(requests, (), TICKS_S)


BUSY = one_request(
    arrived_at=5.0,
    entered_at=5.0,
    transfer_started_at=5.0,
    ready_at=10.0,
    admitted_at=20.0,
    prefilled_at=27.5,
    released_at=57.5,
    ended_at=57.5,
    prompt_tokens=8000,
    cached_tokens=4096,
    pulled_bytes=4096 * 327_680.0,
    output_tokens=300,
)


def test_the_gauges_show_what_the_request_is_doing_at_each_tick() -> None:
    replicas = observe(BUSY).replicas
    assert replicas.waiting_capacity[:, 0].tolist() == [1, 0, 0, 0]
    assert replicas.running[:, 0].tolist() == [0, 1, 1, 0]
    capacity = LLAMA_70B_FP8_TP4.kv_capacity_tokens
    assert replicas.kv_cache_usage_ratio[:, 0] * capacity == pytest.approx([0, 8025, 8175, 0])
    assert (replicas.running[:, 1:] == 0).all()


def test_a_request_whose_kv_blocks_are_on_their_way_is_deferred() -> None:
    pulling = BUSY.copy()
    pulling["ready_at"] = 18.0
    assert observe(pulling).replicas.waiting_deferred[:, 0].tolist() == [1, 0, 0, 0]


def test_counters_grow_by_exactly_what_was_done() -> None:
    busy, idle = observe(BUSY), observe(np.zeros(0, REQUEST))
    for name, grown in (("prompt_tokens_total", 8000), ("generation_tokens_total", 300), ("finished_total", 1)):
        counted = getattr(busy.replicas, name) - getattr(idle.replicas, name)
        assert counted[-1, 0] == pytest.approx(grown)
        assert (counted[:, 1:] == 0).all()
    pulled = busy.ports.received_bytes_total - idle.ports.received_bytes_total
    assert pulled[0, 0] == pytest.approx(4096 * 327_680, rel=1e-3)
    assert (pulled[:, 1:] == 0).all()


def test_a_gpu_is_busy_while_any_sequence_runs() -> None:
    twice = np.concatenate([BUSY, BUSY])
    for requests in (BUSY, twice):
        busy = observe(requests).gpus.busy_ratio
        assert busy[:, 0] == pytest.approx([0, 10 / 15, 1, 12.5 / 15])
        assert (busy[:, 4:] == 0).all()


def test_power_temperature_and_energy_follow_the_work() -> None:
    gpus = observe(BUSY).gpus
    assert gpus.power_watts[2, 0] == pytest.approx(441, abs=20)
    assert gpus.power_watts[:, 8:].mean() == pytest.approx(IDLE_POWER_WATTS, abs=1)
    assert gpus.temperature_celsius[3, 0] > gpus.temperature_celsius[0, 0] + 5
    joules = np.diff(gpus.energy_millijoules_total, axis=0) / 1000
    assert joules == pytest.approx(gpus.power_watts[1:] * 15, rel=1e-6)


def test_an_unallocated_gpu_is_idle_and_almost_empty() -> None:
    simulation = Simulation(1, datetime.fromisoformat("2026-11-20T12:00:00+00:00"))
    unallocated = [g.ordinal for g in simulation.cloud.gpus if g.ordinal not in simulation.cloud.replica_by_gpu]
    gpus = observe(BUSY).gpus
    assert len(unallocated) == 4
    assert (gpus.framebuffer_used_mib[:, unallocated] == 4).all()
    allocated = gpus.framebuffer_used_mib[:, :28]
    assert allocated == pytest.approx(0.9 * FRAMEBUFFER_MIB, rel=0.001)


def test_a_real_run_conserves_its_tokens(start: datetime) -> None:
    simulation = Simulation(4, start)
    happened = simulation.advance(start + timedelta(hours=1), scrape_step_s=60)
    simulation.advance(start + timedelta(hours=2), scrape_step_s=60)
    by_pod = table(happened, "vllm:prompt_tokens_total", lambda labels: labels["pod"])
    grown = sum(values[-1] - values[0] for values in by_pod.values())
    since, until = happened.ticks_s[[0, -1]]
    requests = happened.requests
    counted = requests[(requests["prefilled_at"] > since) & (requests["prefilled_at"] <= until)]
    # Requests that got their first token in the hour but ended after it are counted by the engines only.
    assert counted["prompt_tokens"].sum() == pytest.approx(grown, rel=0.01)
