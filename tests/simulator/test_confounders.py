from datetime import timedelta

import pytest

from domain.cause import CauseKind
from simulator.cloud import build_cloud
from simulator.confounders import plan_confounders
from simulator.faults import PLANNERS, Fault, Harmless, hit_replicas, plan_fault
from simulator.run import Simulation
from tests.simulator.scenes import FAULT_AT, FAULT_S, START, felt_by


@pytest.mark.parametrize("kind", PLANNERS)
def test_nothing_beside_a_fault_touches_whom_it_hurts(kind: CauseKind) -> None:
    for seed in range(8):
        cloud = build_cloud(seed, varied=True)
        fault = plan_fault(kind, cloud, seed, FAULT_AT, FAULT_S)
        hurt = {replica.service.name for replica in hit_replicas(cloud, fault)}
        for happening in plan_confounders(cloud, seed, [fault], FAULT_AT):
            touched = {replica.service.name for replica in hit_replicas(cloud, happening)}
            if happening.kind in {Harmless.NIGHTLY_BATCH, Harmless.ALARM_ELSEWHERE}:
                assert touched.isdisjoint(hurt)
            if kind is CauseKind.BAD_RELEASE and happening.kind is Harmless.DEPLOY:
                assert touched.isdisjoint(hurt)


def test_they_follow_from_the_seed_and_each_sort_comes_now_and_then() -> None:
    cloud = build_cloud(1)
    drawn = [plan_confounders(cloud, seed, (), FAULT_AT) for seed in range(20)]
    assert drawn[3] == plan_confounders(cloud, 3, (), FAULT_AT)
    kinds = [{happening.kind for happening in happenings} for happenings in drawn]
    assert all(3 < sum(sort in found for found in kinds) < 18 for sort in Harmless)
    assert any(not found for found in kinds)


def test_a_clean_day_with_everything_beside_hurts_nobody() -> None:
    cloud = build_cloud(2)
    happenings: dict[object, Fault] = {}
    for seed in range(20):
        happenings |= {(one.kind, one.variant): one for one in plan_confounders(cloud, seed, (), FAULT_AT)}
    assert {kind for kind, _ in happenings} == set(Harmless)  # type: ignore[misc]
    simulation = Simulation(2, START, list(happenings.values()), cloud=cloud)
    everyone = simulation.advance(FAULT_AT + timedelta(seconds=FAULT_S)).requests
    assert simulation.faults == ()
    assert len(simulation.harmless) == len(happenings)
    for service in cloud.services:
        felt = felt_by(cloud, service.name, everyone)
        assert felt.growth < 1.4
        assert felt.error_ratio == (0.0, 0.0)
    assert 2 in everyone["version"].tolist()
