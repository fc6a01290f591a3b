"""The states of recorded devices are those that were done to them: what `benchmarks.causes` scores, as a test."""

import pytest

from analytics.port_states import FAULTS
from benchmarks.causes import devices, gwdg

pytestmark = pytest.mark.skipif(not devices.DATA.is_dir(), reason=f"no recorded data in {devices.DATA}")


def test_every_state_of_the_recorded_gpus_and_ports_is_right() -> None:
    scores = devices.run()
    assert {score.name: score.wrong for score in scores if score.wrong} == {}
    assert sum(score.total_count for score in scores) > 6000


def test_every_real_gpu_that_fell_off_the_bus_is_told_in_the_same_scrape_and_no_other() -> None:
    outcome = gwdg.run()["XID and what vanished"]
    assert (outcome.found_at_once_count, outcome.events_count, outcome.false_alarms) == (5, 5, ())


def test_what_vanished_finds_each_single_gpu_without_its_xid() -> None:
    outcome = gwdg.run()["what vanished alone"]
    assert (outcome.found_at_once_count, outcome.false_alarms) == (4, ())


def test_no_port_of_a_node_without_a_link_fault_is_said_to_have_one() -> None:
    shares = gwdg.port_shares()
    assert {state for of_host in shares.values() for state in FAULTS if of_host[state]} == set()
