from collections.abc import Mapping, Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from analytics.gpu_states import DOUBTS, FAULTS, Gpu, GpuSamples, GpuState, cleaned, gpu_findings, gpu_states

ABSENT = float("nan")
STEPS = 12
STEP_S = 30
UTIL = "DCGM_FI_DEV_GPU_UTIL"
POWER = "DCGM_FI_DEV_POWER_USAGE"
ENERGY = "DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION"
XID = "DCGM_FI_DEV_XID_ERRORS"
REASONS = "DCGM_FI_DEV_CLOCKS_EVENT_REASONS"
LIMIT = "DCGM_FI_DEV_POWER_MGMT_LIMIT"
ENGINE = "DCGM_FI_PROF_GR_ENGINE_ACTIVE"
GENERATION = "DCGM_FI_DEV_PCIE_LINK_GEN"
WIDTH = "DCGM_FI_DEV_PCIE_LINK_WIDTH"
USUAL: Mapping[str, float] = {
    UTIL: 95,
    XID: 0,
    REASONS: 0,
    LIMIT: 700,
    ENGINE: 0.8,
    GENERATION: 5,
    WIDTH: 16,
    "DCGM_FI_DEV_FB_USED": 70_000,
}
METRICS = (*USUAL, POWER, ENERGY)

Values = Sequence[float] | float | NDArray[np.float64]


def node(count: int = 4, changes: Mapping[tuple[int, str], Values] | None = None, steps: int = STEPS) -> GpuSamples:
    """Busy GPUs of one node that differ from each other only in power; `changes` by (GPU, metric)."""
    values = {metric: np.full((count, steps), float(level)) for metric, level in USUAL.items()}
    time = np.arange(steps)
    values[POWER] = np.array([600 + row + time % 7 for row in range(count)], dtype=np.float64)
    values[ENERGY] = np.cumsum(values[POWER] * STEP_S * 1e3, axis=1)
    for (row, metric), changed in (changes or {}).items():
        values.setdefault(metric, np.full((count, steps), ABSENT))[row] = changed
    return GpuSamples(tuple(Gpu(f"GPU-{row}", "node", model="H100") for row in range(count)), values, STEP_S)


def from_step(step: int, before: float, after: float, steps: int = STEPS) -> list[float]:
    return [before if at < step else after for at in range(steps)]


def told(samples: GpuSamples, row: int = 0, step: int = -1) -> tuple[GpuState, ...]:
    return tuple(finding.state for finding in gpu_findings(samples, step)[row].findings)


def timeline(samples: GpuSamples, state: GpuState, row: int = 0) -> list[int]:
    return np.flatnonzero(gpu_states(samples).holds(state)[row]).tolist()


def test_a_busy_gpu_without_a_sign_of_trouble_is_ok_and_says_how_busy() -> None:
    (found, *_) = gpu_findings(node())
    assert found.worst.state is GpuState.OK
    assert found.worst.numbers["activity_ratio"] == 0.95
    assert found.worst.reason == "it is 95 % active"


def test_a_gpu_that_does_nothing_is_idle() -> None:
    assert told(node(changes={(0, UTIL): 0, (0, ENGINE): 0, (0, POWER): 71})) == (GpuState.IDLE,)


def test_a_gpu_that_does_not_say_how_busy_it_is_is_not_called_idle() -> None:
    (found, *_) = gpu_findings(node(changes={(0, UTIL): ABSENT, (0, ENGINE): ABSENT}))
    assert found.worst.state is GpuState.OK
    assert "activity_ratio" not in found.worst.numbers


def test_the_power_cap_at_full_load_is_no_fault() -> None:
    (found, *_) = gpu_findings(node(changes={(0, REASONS): 4, (0, POWER): [698 + at % 2 for at in range(STEPS)]}))
    assert [finding.state for finding in found.findings] == [GpuState.POWER_CAPPED]
    assert GpuState.POWER_CAPPED not in FAULTS
    assert found.worst.numbers["power_limit_watts"] == 700


@pytest.mark.parametrize(
    "changes",
    [
        {(0, LIMIT): from_step(5, 700, 400), (0, REASONS): from_step(5, 0, 4)},
        {(0, LIMIT): 400, (0, REASONS): 4},
        {(0, REASONS): 0x80},
    ],
    ids=["limit lowered", "limit lower than that of its peers", "brake of the power supply"],
)
def test_a_lowered_limit_or_a_brake_holds_a_gpu_down(changes: Mapping[tuple[int, str], Values]) -> None:
    assert told(node(changes=changes)) == (GpuState.POWER_HELD_DOWN,)


def test_a_lowered_limit_that_is_not_reached_holds_nothing_down() -> None:
    assert told(node(changes={(0, LIMIT): 400, (0, POWER): [200 + at % 3 for at in range(STEPS)]})) == (GpuState.OK,)


def test_heat_is_told_with_the_temperature_and_the_clock() -> None:
    samples = node(changes={(0, REASONS): 0x60, (0, "DCGM_FI_DEV_GPU_TEMP"): 88, (0, "DCGM_FI_DEV_SM_CLOCK"): 1215})
    (found, *_) = gpu_findings(samples)
    assert [finding.state for finding in found.findings] == [GpuState.THERMAL_THROTTLE]
    assert found.worst.numbers["gpu_temperature_celsius"] == 88
    assert found.worst.numbers["sm_clock_mhz"] == 1215


def test_heat_too_short_for_the_bitmask_shows_in_the_counter_of_violations() -> None:
    grows = from_step(6, 0, 2e9)
    assert timeline(node(changes={(0, "DCGM_FI_DEV_THERMAL_VIOLATION"): grows}), GpuState.THERMAL_THROTTLE) == [6]


def test_a_slowdown_by_the_hardware_is_told_before_the_heat_behind_it() -> None:
    assert told(node(changes={(0, REASONS): 0x48})) == (GpuState.HARDWARE_SLOWDOWN, GpuState.THERMAL_THROTTLE)


@pytest.mark.parametrize("code", [48, 63, 64, 92, 94, 95])
def test_an_xid_of_memory_is_a_fault_from_its_scrape_on(code: int) -> None:
    samples = node(changes={(0, XID): from_step(7, 0, code)})
    assert timeline(samples, GpuState.MEMORY_FAULT) == [7, 8, 9, 10, 11]
    assert gpu_findings(samples)[0].worst.reason.startswith(f"XID {code}: ")


def test_an_xid_that_was_there_all_the_time_is_history() -> None:
    (found, *_) = gpu_findings(node(changes={(0, XID): 94}))
    assert [finding.state for finding in found.findings] == [GpuState.PAST_ERROR]
    assert found.worst.numbers == {"xid": 94}


def test_an_xid_that_is_not_described_is_told_without_a_class() -> None:
    samples = node(changes={(0, XID): from_step(7, 0, 999)})
    assert timeline(samples, GpuState.PAST_ERROR) == [7, 8, 9, 10, 11]
    assert gpu_findings(samples)[0].worst.reason.startswith("XID 999 is its last error: ")


def test_an_xid_first_seen_with_the_gpu_is_history_too() -> None:
    samples = node(changes={(0, XID): from_step(4, ABSENT, 94)})
    assert timeline(samples, GpuState.MEMORY_FAULT) == []


def test_a_memory_fault_outlasts_a_later_xid_and_ends_with_a_reset() -> None:
    samples = node(changes={(0, XID): [0, 0, 94, 94, 45, 45, 45, 0, 0, 0, 0, 0]})
    assert timeline(samples, GpuState.MEMORY_FAULT) == [2, 3, 4, 5, 6]


@pytest.mark.parametrize(
    "metric", ["DCGM_FI_DEV_ECC_DBE_VOL_TOTAL", "DCGM_FI_DEV_UNCORRECTABLE_REMAPPED_ROWS", "DCGM_FI_DEV_RETIRED_DBE"]
)
def test_a_counter_of_broken_memory_that_grows_is_a_fault(metric: str) -> None:
    assert timeline(node(changes={(0, metric): from_step(9, 3, 4)}), GpuState.MEMORY_FAULT) == [9, 10, 11]
    assert timeline(node(changes={(0, metric): 3}), GpuState.MEMORY_FAULT) == []


def test_a_row_of_memory_that_could_not_be_replaced_is_a_fault_without_any_change() -> None:
    assert told(node(changes={(0, "DCGM_FI_DEV_ROW_REMAP_FAILURE"): 1})) == (GpuState.MEMORY_FAULT,)


@pytest.mark.parametrize("code", [13, 31, 43, 45])
def test_an_xid_of_the_application_is_told_for_five_minutes_and_is_no_fault_of_the_hardware(code: int) -> None:
    samples = node(changes={(0, XID): from_step(1, 0, code, 20)}, steps=20)
    assert timeline(samples, GpuState.APPLICATION_ERROR) == list(range(1, 12))
    assert told(samples, step=5) == (GpuState.APPLICATION_ERROR,)
    assert "no hardware fault" in gpu_findings(samples, 5)[0].worst.reason
    assert not FAULTS & set(told(samples))


def test_a_fault_of_memory_ends_when_the_driver_starts_anew() -> None:
    restarted = np.cumsum(np.full(STEPS, 2e7)) - np.where(np.arange(STEPS) < 9, 0, 1.7e8)
    samples = node(changes={(0, "DCGM_FI_DEV_UNCORRECTABLE_REMAPPED_ROWS"): from_step(5, 3, 4), (0, ENERGY): restarted})
    assert timeline(samples, GpuState.MEMORY_FAULT) == [5, 6, 7, 8]


def test_an_xid_of_the_firmware_asks_for_a_reset() -> None:
    assert told(node(changes={(0, XID): from_step(3, 0, 119)})) == (GpuState.FIRMWARE_FAULT,)


def test_nvlink_is_at_fault_by_xid_by_recoveries_and_by_many_errors() -> None:
    recovery, crc = (f"DCGM_FI_DEV_NVLINK_{name}_ERROR_COUNT_TOTAL" for name in ("RECOVERY", "CRC_FLIT"))
    assert told(node(changes={(0, XID): from_step(3, 0, 74)})) == (GpuState.NVLINK_FAULT,)
    assert told(node(changes={(0, recovery): from_step(9, 0, 1)})) == (GpuState.NVLINK_FAULT,)
    assert told(node(changes={(0, crc): from_step(9, 0, 300)})) == (GpuState.NVLINK_FAULT,)
    assert told(node(changes={(0, crc): from_step(9, 0, 1)})) == (GpuState.OK,)


def lose(samples: GpuSamples, row: int, metrics: Sequence[str], steps: Sequence[int]) -> GpuSamples:
    values = {metric: matrix.copy() for metric, matrix in samples.values.items()}
    for metric in metrics:
        values[metric][row, list(steps)] = ABSENT
    return GpuSamples(samples.devices, values, samples.step_s)


def test_a_gpu_whose_series_vanish_while_others_of_its_node_report_is_off_the_bus() -> None:
    samples = lose(node(), 0, METRICS, range(8, STEPS))
    assert timeline(samples, GpuState.OFF_THE_BUS) == [8, 9, 10, 11]
    assert told(samples) == (GpuState.OFF_THE_BUS,)
    assert timeline(samples, GpuState.OFF_THE_BUS, row=1) == []


def test_two_metrics_lost_at_once_are_enough_until_they_come_back() -> None:
    samples = lose(node(), 0, [ENERGY, "DCGM_FI_DEV_FB_USED"], [5, 6, 7])
    assert timeline(samples, GpuState.OFF_THE_BUS) == [5, 6, 7]
    assert gpu_findings(samples, 6)[0].worst.numbers == {"metrics_lost": 2}


def test_one_metric_lost_is_a_hole() -> None:
    assert timeline(lose(node(), 0, [ENERGY], range(5, STEPS)), GpuState.OFF_THE_BUS) == []


def test_profiling_metrics_that_stop_do_not_take_a_gpu_off_the_bus() -> None:
    samples = node(changes={(0, "DCGM_FI_PROF_DRAM_ACTIVE"): 0.4, (0, "DCGM_FI_PROF_SM_ACTIVE"): 0.4})
    lost = lose(samples, 0, [ENGINE, "DCGM_FI_PROF_DRAM_ACTIVE", "DCGM_FI_PROF_SM_ACTIVE"], range(5, STEPS))
    assert told(lost) == (GpuState.OK,)


def test_a_metric_that_turns_to_a_blank_value_is_lost() -> None:
    changes = {(0, "DCGM_FI_DEV_FB_USED"): from_step(5, 7e4, 2**31 - 14), (0, GENERATION): from_step(5, 5, 2**31 - 16)}
    assert timeline(node(changes=changes), GpuState.OFF_THE_BUS)[0] == 5


def test_what_all_gpus_of_a_node_lose_at_once_was_turned_off() -> None:
    samples = node()
    for row in range(4):
        samples = lose(samples, row, [ENERGY, "DCGM_FI_DEV_FB_USED"], range(5, STEPS))
    assert not gpu_states(samples).holds(GpuState.OFF_THE_BUS).any()


def test_all_gpus_of_a_node_fall_off_the_bus_at_once_when_their_xids_say_so() -> None:
    samples = node(changes={(row, XID): from_step(5, 0, 79) for row in range(4)})
    for row in range(4):
        samples = lose(samples, row, [ENERGY, "DCGM_FI_DEV_FB_USED"], range(5, STEPS))
    assert gpu_states(samples).holds(GpuState.OFF_THE_BUS)[:, 5:].all()
    assert gpu_findings(samples)[3].worst.reason.startswith("XID 79: ")


def test_a_gpu_is_back_when_its_metrics_are_although_its_last_xid_stays() -> None:
    samples = lose(node(changes={(0, XID): from_step(5, 0, 79)}), 0, [ENERGY, "DCGM_FI_DEV_FB_USED"], [5, 6, 7])
    assert timeline(samples, GpuState.OFF_THE_BUS) == [5, 6, 7]


def test_a_node_that_answers_nothing_has_no_data_and_lost_no_gpu() -> None:
    samples = node()
    for row in range(4):
        samples = lose(samples, row, METRICS, [6])
    states = gpu_states(samples)
    assert not states.holds(GpuState.OFF_THE_BUS).any()
    assert np.flatnonzero(states.holds(GpuState.NO_DATA).all(axis=0)).tolist() == [6]
    assert told(samples, step=6) == (GpuState.NO_DATA,)
    assert GpuState.NO_DATA in DOUBTS


def test_what_a_node_no_longer_tells_after_a_long_silence_is_not_compared() -> None:
    samples = lose(node(), 0, [ENERGY, "DCGM_FI_DEV_FB_USED"], range(9, STEPS))
    for row in range(4):
        samples = lose(samples, row, METRICS, [5, 6, 7, 8])
    assert timeline(samples, GpuState.OFF_THE_BUS) == []


def test_a_busy_gpu_below_its_peers_or_its_own_maximum_has_a_degraded_pcie_link() -> None:
    (found, *_) = gpu_findings(node(changes={(0, GENERATION): 1, (0, WIDTH): 8}))
    assert found.worst.state is GpuState.PCIE_DEGRADED
    assert found.worst.numbers["pcie_generation_usual"] == 5
    assert "generation 1 instead of 5 and width 8 instead of 16" in found.worst.reason
    alone = node(1, changes={(0, WIDTH): 8, (0, "DCGM_FI_DEV_PCIE_MAX_LINK_WIDTH"): 16})
    assert told(alone) == (GpuState.PCIE_DEGRADED,)


def test_an_idle_gpu_lowers_its_pcie_generation_to_save_power() -> None:
    assert told(node(changes={(0, GENERATION): 1, (0, UTIL): 0, (0, ENGINE): 0, (0, POWER): 71})) == (GpuState.IDLE,)


def test_profiling_of_zero_on_a_busy_gpu_is_blind_not_idle() -> None:
    (found, *_) = gpu_findings(node(changes={(0, ENGINE): 0}))
    assert [finding.state for finding in found.findings] == [GpuState.BLIND_SENSOR]
    assert "not idle" in found.worst.reason
    assert GpuState.BLIND_SENSOR in DOUBTS


def test_power_alone_shows_that_a_sensor_is_blind() -> None:
    assert told(node(changes={(0, ENGINE): 0, (0, UTIL): ABSENT})) == (GpuState.BLIND_SENSOR,)


def test_one_scrape_at_the_start_of_work_makes_nobody_blind() -> None:
    starts = [*[0.0] * 6, *[0.8] * (STEPS - 6)]
    samples = node(changes={(0, ENGINE): starts, (0, UTIL): from_step(5, 0, 95), (0, POWER): from_step(5, 71, 600)})
    assert timeline(samples, GpuState.BLIND_SENSOR) == []


def test_absent_profiling_is_not_a_zero() -> None:
    assert told(node(changes={(0, ENGINE): ABSENT})) == (GpuState.OK,)


def test_energy_that_stands_still_is_a_frozen_sensor() -> None:
    samples = node(changes={(0, ENERGY): 5e11})
    assert timeline(samples, GpuState.FROZEN_SENSOR) == list(range(3, STEPS))
    assert told(samples) == (GpuState.FROZEN_SENSOR,)


def test_power_that_stands_still_is_frozen_only_while_its_peers_move() -> None:
    without = {(row, ENERGY): ABSENT for row in range(4)}
    assert told(node(changes={**without, (0, POWER): 600})) == (GpuState.FROZEN_SENSOR,)
    assert told(node(changes={**without, **{(row, POWER): 600 for row in range(4)}})) == (GpuState.OK,)
    assert told(node(changes={(0, POWER): 600})) == (GpuState.OK,), "its energy moves"


@pytest.mark.parametrize("times", [2, 6])
def test_a_value_that_is_seen_again_because_it_is_collected_seldom_is_not_frozen(times: int) -> None:
    once = node()
    values = {metric: np.repeat(matrix, times, axis=1) for metric, matrix in once.values.items()}
    states = gpu_states(GpuSamples(once.devices, values, STEP_S // times))
    assert not states.holds(GpuState.FROZEN_SENSOR).any()


def test_instances_of_a_gpu_are_kept_apart() -> None:
    whole = node(2)
    gpus = (Gpu("GPU-0", "node", "9", "H100"), Gpu("GPU-0", "node", "10", "H100"))
    values = dict(whole.values)
    values[UTIL] = np.full((2, STEPS), ABSENT)
    values[ENGINE] = np.array([[0.9] * STEPS, [0.0] * STEPS])
    samples = GpuSamples(gpus, values, STEP_S)
    assert told(samples, 0) == (GpuState.OK,)
    assert told(samples, 1) == (GpuState.IDLE,), "the power is that of the whole GPU, on which the other works"


def test_a_gpu_that_is_cut_into_instances_is_not_off_the_bus() -> None:
    samples = node(3)
    gpus = (*samples.devices, Gpu("GPU-0", "node", "9", "H100"))
    values = {metric: np.vstack([matrix, matrix[0]]) for metric, matrix in samples.values.items()}
    cut = lose(GpuSamples(gpus, values, STEP_S), 0, METRICS, range(6, STEPS))
    cut = lose(cut, 3, METRICS, range(6))
    assert not gpu_states(cut).holds(GpuState.OFF_THE_BUS).any()


@pytest.mark.parametrize(
    ("metric", "value"),
    [
        (UTIL, 4294967295),
        (UTIL, 1500),
        (POWER, 2.0**47),
        (POWER, -1),
        ("DCGM_FI_DEV_FB_USED", 2**31 - 15),
        (ENERGY, 9223372036854775794),
        (ENGINE, 1.5),
        ("DCGM_FI_DEV_MEMORY_TEMP", 0),
    ],
)
def test_a_blank_or_impossible_value_is_no_sample(metric: str, value: float) -> None:
    assert np.isnan(cleaned(metric, np.array([[value]]))).all()


def test_what_can_be_true_is_kept() -> None:
    assert cleaned(ENERGY, np.array([[5.5e11]])).item() == 5.5e11
    assert cleaned(UTIL, np.array([[0.0]])).item() == 0
    assert cleaned("DCGM_FI_PROF_PCIE_TX_BYTES", np.array([[6e10]])).item() == 6e10


def test_matrices_of_unlike_shape_are_refused() -> None:
    with pytest.raises(ValueError, match="for 2 devices"):
        GpuSamples((Gpu("a", "n"), Gpu("b", "n")), {UTIL: np.zeros((3, 4))}, 30)


levels: Mapping[str, st.SearchStrategy[float]] = {
    UTIL: st.sampled_from([ABSENT, 0, 3, 95, 4294967295]),
    XID: st.sampled_from([ABSENT, 0, 0, 0, 31, 79, 94, 119]),
    REASONS: st.sampled_from([ABSENT, 0, 1, 4, 0x60, 0x88]),
    LIMIT: st.sampled_from([ABSENT, 700, 700, 400]),
    ENGINE: st.sampled_from([ABSENT, 0, 0.5]),
    GENERATION: st.sampled_from([ABSENT, 1, 5, 5]),
    POWER: st.sampled_from([ABSENT, 71, 390, 600, 699]),
    ENERGY: st.sampled_from([ABSENT, 1e9, 2e9, 3e9]),
    "DCGM_FI_DEV_ECC_DBE_VOL_TOTAL": st.sampled_from([ABSENT, 0, 0, 0, 1]),
}


@st.composite
def anything(draw: st.DrawFn) -> GpuSamples:
    rows, steps = draw(st.integers(1, 5)), draw(st.integers(1, 8))
    values = {
        metric: np.array(
            draw(st.lists(st.lists(level, min_size=steps, max_size=steps), min_size=rows, max_size=rows)), dtype=float
        )
        for metric, level in levels.items()
    }
    gpus = tuple(
        Gpu(f"GPU-{draw(st.integers(row, row + 1))}", f"node-{row % 2}", instance=str(row), model="H100")
        for row in range(rows)
    )
    return GpuSamples(gpus, values, 30)


def held(samples: GpuSamples) -> NDArray[np.bool_]:
    return gpu_states(samples).held


@settings(max_examples=25, deadline=None)
@given(anything())
def test_names_change_nothing(samples: GpuSamples) -> None:
    renamed = tuple(Gpu(f"x-{gpu.uuid}", f"y-{gpu.node}", f"z-{gpu.instance}", "L40S") for gpu in samples.devices)
    np.testing.assert_array_equal(held(GpuSamples(renamed, samples.values, samples.step_s)), held(samples))


@settings(max_examples=25, deadline=None)
@given(anything())
def test_the_order_of_gpus_changes_nothing(samples: GpuSamples) -> None:
    order = list(range(len(samples.devices)))[::-1]
    turned = GpuSamples(
        tuple(samples.devices[row] for row in order),
        {metric: matrix[order] for metric, matrix in samples.values.items()},
        samples.step_s,
    )
    np.testing.assert_array_equal(held(turned), held(samples)[:, order])


@settings(max_examples=25, deadline=None)
@given(anything(), st.integers(1, 5))
def test_steps_before_the_first_sample_change_nothing_after_it(samples: GpuSamples, shift: int) -> None:
    later = {
        metric: np.pad(matrix, ((0, 0), (shift, 0)), constant_values=ABSENT)
        for metric, matrix in samples.values.items()
    }
    np.testing.assert_array_equal(held(GpuSamples(samples.devices, later, samples.step_s))[:, :, shift:], held(samples))


@settings(max_examples=25, deadline=None)
@given(anything(), anything())
def test_gpus_of_other_nodes_change_nothing(samples: GpuSamples, others: GpuSamples) -> None:
    steps = samples.shape[1]
    strangers = tuple(Gpu(f"other-{gpu.uuid}", f"other-{gpu.node}", gpu.instance, "B200") for gpu in others.devices)
    values = {}
    for metric, matrix in samples.values.items():
        theirs = np.full((len(strangers), steps), ABSENT)
        width = min(steps, others.shape[1])
        theirs[:, :width] = others.values[metric][:, :width]
        values[metric] = np.vstack([matrix, theirs])
    both = GpuSamples((*samples.devices, *strangers), values, samples.step_s)
    np.testing.assert_array_equal(held(both)[:, : len(samples.devices)], held(samples))


@settings(max_examples=25, deadline=None)
@given(anything())
def test_what_comes_later_changes_nothing_before_it(samples: GpuSamples) -> None:
    steps = samples.shape[1]
    for end in range(1, steps + 1):
        start = {metric: matrix[:, :end] for metric, matrix in samples.values.items()}
        np.testing.assert_array_equal(
            held(GpuSamples(samples.devices, start, samples.step_s)), held(samples)[:, :, :end]
        )


@settings(max_examples=25, deadline=None)
@given(anything())
def test_a_step_without_a_sample_claims_nothing_but_that(samples: GpuSamples) -> None:
    states = gpu_states(samples)
    blank = np.logical_and.reduce([np.isnan(cleaned(metric, matrix)) for metric, matrix in samples.values.items()])
    allowed = {GpuState.NO_DATA, GpuState.OFF_THE_BUS}
    for row, step in zip(*np.nonzero(blank), strict=True):
        assert set(states.at(int(row), int(step))) <= allowed


@settings(max_examples=25, deadline=None)
@given(anything())
def test_every_gpu_has_a_state_with_a_reason_at_every_step(samples: GpuSamples) -> None:
    for step in range(samples.shape[1]):
        for found in gpu_findings(samples, step):
            assert found.worst.reason
            assert all(
                finding.reason and np.isfinite(list(finding.numbers.values())).all() for finding in found.findings
            )
