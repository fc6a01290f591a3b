from datetime import datetime, timedelta

import numpy as np
import pytest

from simulator.quirks import CLAMPED_AT, Quirks
from simulator.run import Simulation, Slice
from simulator.spans import RequestColumns
from tests.simulator.scenes import table


def play(start: datetime, quirks: Quirks, minutes: float = 10, cuts: int = 1) -> list[Slice]:
    simulation = Simulation(1, start, quirks=quirks)
    ends = [start + timedelta(minutes=minutes * (number + 1) / cuts) for number in range(cuts)]
    return [simulation.advance(end, scrape_step_s=30) for end in ends]


def test_without_quirks_everything_is_seen_as_it_is_shown(start: datetime) -> None:
    (plain,) = play(start, Quirks())
    assert not any(np.isnan(scrape.values).any() for scrape in plain.scrapes if scrape.target.job != "dcgm-exporter")
    assert all(scrape.up.all() for scrape in plain.scrapes)


def test_a_wait_counter_of_32_bits_stays_at_its_end(start: datetime) -> None:
    (seen,) = play(start, Quirks(clamped_wait=True))
    for family in ("node_infiniband_port_transmit_wait_total", "infiniband_switch_port_transmit_wait_total"):
        waits = table(seen, family, lambda labels: "/".join(labels.values()))
        assert {float(value) for values in waits.values() for value in values} == {CLAMPED_AT}


def test_cleared_counters_begin_anew_however_time_is_cut(start: datetime) -> None:
    def sent(slices: list[Slice]) -> dict[str, np.ndarray]:
        family = "node_infiniband_port_data_transmitted_bytes_total"
        tables = [table(piece, family, lambda labels: f"{labels['node']}/{labels['device']}") for piece in slices]
        return {name: np.concatenate([one[name] for one in tables]) for name in tables[0]}

    whole, cut = (sent(play(start, Quirks(cleared_counters=True), 40, cuts)) for cuts in (1, 7))
    falls = [int((np.diff(values) < 0).sum()) for values in whole.values()]
    assert min(falls) >= 1
    for name, values in whole.items():
        assert cut[name] == pytest.approx(values)


def test_the_labels_of_gpus_are_spelt_in_other_ways(start: datetime) -> None:
    (seen,) = play(start, Quirks(lower_case_hostname=True, exported_pod=True), 1)
    (dcgm,) = [scrape.target for scrape in seen.scrapes if scrape.target.name == "dcgm-exporter/gpu-01-01"]
    labels = dcgm.families[0].labels[0]
    assert labels["hostname"] == "gpu-01-01"
    assert "Hostname" not in labels
    assert labels["exported_pod"] == "chat-0"
    assert labels["pod"] == "dcgm-exporter-gpu-01-01"


def test_a_blind_node_reads_zero_where_a_gpu_is_busy(start: datetime) -> None:
    (seen,) = play(start, Quirks(blind_profiling=True))
    active, used = (
        table(seen, f"DCGM_FI_{name}", lambda labels: labels["UUID"]) for name in ("PROF_DRAM_ACTIVE", "DEV_GPU_UTIL")
    )
    blind = [uuid for uuid, values in active.items() if not values.any()]
    assert any(used[uuid].max() > 20 for uuid in blind)
    assert len(blind) < len(active)


def test_a_frozen_exporter_repeats_itself_and_says_that_it_is_well(start: datetime) -> None:
    (seen,) = play(start, Quirks(frozen_sensors=True), 150)
    energy = table(seen, "DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION", lambda labels: labels["UUID"])
    for values in energy.values():
        assert 10 <= (np.diff(values) == 0).sum() <= 2 * 25
    assert all(scrape.up.all() for scrape in seen.scrapes)


def test_exporters_restart_and_scrapes_are_missed(start: datetime) -> None:
    (restarting,) = play(start, Quirks(exporter_restarts=True), 65)
    away = [(~scrape.up).sum() for scrape in restarting.scrapes if scrape.target.job == "node-exporter"]
    assert all(1 <= count <= 4 for count in away)
    (missing,) = play(start, Quirks(missed_scrapes=True), 60)
    missed = np.mean([(~scrape.up).mean() for scrape in missing.scrapes])
    assert 0.005 < missed < 0.05


def test_clocks_of_nodes_are_some_seconds_off(start: datetime) -> None:
    simulation = Simulation(1, start, quirks=Quirks(clock_skew=True))
    skews_s = simulation.skews_s
    assert 0.5 < np.abs(skews_s).max() <= 3.0
    by_node = {replica.node: skews_s[replica.ordinal] for replica in simulation.cloud.replicas}
    assert [by_node[replica.node] for replica in simulation.cloud.replicas] == skews_s.tolist()
    requests = simulation.advance(start + timedelta(minutes=2)).requests
    plain, skewed = RequestColumns(requests), RequestColumns(requests, skews_s)
    assert (skewed.start_ns - plain.start_ns) / 1e9 == pytest.approx(skews_s[requests["replica"]], abs=1e-6)
    assert (skewed.end_ns - skewed.start_ns).tolist() == (plain.end_ns - plain.start_ns).tolist()


def test_a_seed_draws_some_of_all_quirks() -> None:
    drawn = [Quirks.drawn(seed) for seed in range(40)]
    assert Quirks.drawn(7) == drawn[7]
    for name in Quirks.__dataclass_fields__:
        if name != "seed":
            assert 5 < sum(getattr(quirks, name) for quirks in drawn) < 30
