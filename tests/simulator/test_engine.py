from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest
from numpy.typing import NDArray

from domain.cause import CauseKind
from domain.entity import Entity, EntityKind
from simulator.cloud import Replica, Service, build_cloud
from simulator.engine import LOAD_TOLERANCE, WAIT_LIMIT_S, ServiceEngine
from simulator.faults import Fault
from simulator.workload import ARRIVAL

CLOUD = build_cloud(1)
CHAT = CLOUD.services[0]
T0 = datetime(2026, 11, 20, tzinfo=UTC).timestamp()


def arrivals_of(*requests: tuple[float, int, int, int]) -> NDArray[np.void]:
    """Arrivals at T0 + offset, all routed to the first replica: (offset_s, prompt, cached, output)."""
    arrivals = np.zeros(len(requests), ARRIVAL)
    for row, (offset_s, prompt, cached, output) in zip(arrivals, requests, strict=True):
        row["arrived_at"] = T0 + offset_s
        row["prompt_tokens"], row["cached_tokens"], row["output_tokens"] = prompt, cached, output
    return arrivals


def run(arrivals: NDArray[np.void], replicas: Sequence[Replica] | None = None) -> NDArray[np.void]:
    replicas = replicas or CLOUD.replicas_of("chat")[:1]
    return ServiceEngine(replicas[0].service, replicas).run(arrivals, T0 + 1e6, T0)


def on(service: Service) -> list[Replica]:
    return [replace(CLOUD.replicas[0], service=service)]


def test_a_lone_request_takes_exactly_what_the_physics_say() -> None:
    (request,) = run(arrivals_of((0.0, 8000, 4096, 101)))
    steps = CHAT.model.steps
    pull_s = 4096 * CHAT.model.kv_bytes_per_token / 5e10
    assert request["admitted_at"] - T0 == pytest.approx(pull_s, abs=1e-6)
    prefill_s = request["prefilled_at"] - request["admitted_at"]
    assert prefill_s == pytest.approx(steps.prefill_ms(3904.0, 4096.0) / 1000, abs=1e-6)
    decode_s = request["released_at"] - request["prefilled_at"]
    assert decode_s == pytest.approx(100 * steps.decode_step_ms(1, 8101) / 1000, abs=1e-6)


def test_prefills_of_one_replica_go_one_after_another() -> None:
    first, second = run(arrivals_of((0.0, 20_000, 0, 10), (0.01, 1000, 0, 10)))
    assert second["admitted_at"] == first["prefilled_at"]


def test_a_slow_transfer_does_not_hold_up_requests_that_need_none() -> None:
    pulling, plain = run(arrivals_of((0.0, 30_000, 25_600, 10), (0.01, 1000, 0, 10)))
    assert plain["admitted_at"] < pulling["ready_at"]


def test_transfers_that_back_up_are_given_up_with_their_requests() -> None:
    port = CLOUD.replicas[0].port
    fault = Fault(
        CauseKind.NETWORK_LINK_FAULT,
        Entity(EntityKind.PORT, port.name),
        datetime.fromtimestamp(T0 - 60, UTC),
        datetime.fromtimestamp(T0 + 600, UTC),
        strength=0.005,
        ramp_s=1.0,
    )
    engine = ServiceEngine(CHAT, CLOUD.replicas_of("chat")[:1])
    engine.set_faults(CLOUD, [fault])
    requests = engine.run(arrivals_of(*[(0.1 * n, 32_000, 30_720, 10) for n in range(4)]), T0 + 1000, T0)
    assert requests["failed"].tolist() == [False, True, True, True]
    goodput = 0.005 * 5e10
    size_bytes = 30_720 * CHAT.model.kv_bytes_per_token
    assert requests["ready_at"][0] - T0 == pytest.approx(size_bytes / goodput, rel=0.01)
    assert requests["pulled_bytes"][0] == size_bytes
    assert requests["pulled_bytes"].sum() == pytest.approx(goodput * 60, rel=0.01)
    assert (requests["ended_at"] - requests["arrived_at"])[1:] == pytest.approx(WAIT_LIMIT_S, abs=1e-6)


def test_no_more_sequences_run_than_the_engine_allows() -> None:
    requests = run(arrivals_of(*[(0.001 * n, 600, 0, 500) for n in range(30)]))
    moments = np.sort(requests["admitted_at"])
    running = [((requests["admitted_at"] <= m) & (requests["released_at"] > m)).sum() for m in moments]
    assert max(running) == CHAT.max_sequences


def test_a_request_that_waits_too_long_is_given_up_and_computes_nothing() -> None:
    requests = run(arrivals_of(*[(0.001 * n, 600, 0, 2000) for n in range(40)]))
    failed = requests[requests["failed"]]
    assert len(failed) > 0
    assert (failed["ended_at"] - failed["arrived_at"]) == pytest.approx(WAIT_LIMIT_S, abs=1e-6)
    assert np.isinf(failed["admitted_at"]).all()
    assert (requests["admitted_at"][~requests["failed"]] - T0 < WAIT_LIMIT_S + 1).all()


def test_admission_waits_for_kv_blocks() -> None:
    small = replace(CHAT, model=replace(CHAT.model, kv_bytes_per_token=CHAT.model.kv_bytes_per_token * 60))
    assert small.model.kv_capacity_tokens == pytest.approx(11_300, rel=0.01)
    first, second = run(arrivals_of((0.0, 8000, 0, 200), (1.0, 8000, 0, 50)), on(small))
    assert second["admitted_at"] == first["released_at"]


def test_sequences_that_outgrow_the_kv_cache_are_preempted_and_computed_again() -> None:
    small = replace(CHAT, model=replace(CHAT.model, kv_bytes_per_token=CHAT.model.kv_bytes_per_token * 60))
    _, second = run(arrivals_of((0.0, 5000, 0, 900), (1.0, 5000, 0, 900)), on(small))
    assert second["preemptions"] == 1
    (alone,) = run(arrivals_of((1.0, 5000, 0, 900)), on(small))
    assert second["released_at"] - alone["released_at"] > 5


def test_a_busy_batch_decodes_slower() -> None:
    requests = run(arrivals_of(*[(0.3 * n, 4000, 0, 400) for n in range(5)]))
    decode_s = requests["released_at"] - requests["prefilled_at"]
    assert (np.diff(decode_s) > 0).all()


def test_requests_stay_with_their_replica_until_another_has_many_fewer() -> None:
    arrivals = arrivals_of(*[(0.001 * n, 4000, 0, 400) for n in range(LOAD_TOLERANCE + 9)])
    arrivals["first_choice"], arrivals["second_choice"] = 0, 1
    requests = run(arrivals, CLOUD.replicas_of("chat")[:2])
    assert (requests["replica"][: LOAD_TOLERANCE + 1] == 0).all()
    here, there = np.bincount(requests["replica"]).tolist()
    assert here - there in (LOAD_TOLERANCE, LOAD_TOLERANCE + 1)


def test_requests_that_have_ended_are_forgotten_and_the_others_kept() -> None:
    engine = ServiceEngine(CHAT, CLOUD.replicas_of("chat")[:1])
    engine.run(arrivals_of((0.0, 600, 0, 10), (0.1, 600, 0, 2000)), T0 + 5, T0)
    later = engine.run(arrivals_of(), T0 + 10, T0 + 5)
    assert later["output_tokens"].tolist() == [2000]
