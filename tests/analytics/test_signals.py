import math
from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analytics.knowledge import Signal, shipped_knowledge
from analytics.scope import stage_split
from analytics.signals import (
    Grid,
    Shift,
    SignalMatrix,
    concerning,
    metric_signals,
    request_signals,
    row_quantiles,
    shifts,
)
from domain.entity import Entity, EntityKind
from domain.window import Window
from tests.analytics.frames import STEP_S, at, requests, samples, series

STEPS = 80
GRID = Grid(Window(at(0), at(STEPS * STEP_S)), STEP_S)
SPIKE = Window(at(60 * STEP_S), at(80 * STEP_S))
REFERENCE = Window(at(0), at(56 * STEP_S))
KNOWLEDGE = shipped_knowledge()
ABSENT = math.nan


@given(
    st.lists(st.lists(st.one_of(st.just(ABSENT), st.floats(-1e9, 1e9)), min_size=5, max_size=5), min_size=1),
    st.floats(0, 1),
)
@pytest.mark.filterwarnings("ignore:All-NaN slice:RuntimeWarning")
def test_quantiles_of_rows_are_those_of_numpy(rows: list[list[float]], quantile: float) -> None:
    values = np.array(rows)
    median, other = row_quantiles(values, 0.5, quantile)
    np.testing.assert_allclose(median, np.nanmedian(values, axis=1), atol=1e-6)
    np.testing.assert_allclose(other, np.nanquantile(values, quantile, axis=1), atol=1e-6)


def test_the_series_of_an_entity_are_found_by_whatever_label_names_it() -> None:
    frame = series(
        [
            {"metric": "a", "gpu": "GPU-1", "node": "n1", "replica": "chat-1"},
            {"metric": "b", "gpu": "GPU-2", "node": "n2", "replica": "chat-2"},
            {"metric": "c", "node": "n1", "port": "mlx5_0/1"},
            {"metric": "d", "instance": "chat-3:8000"},
            {"metric": "e"},
        ]
    )

    def found(kind: EntityKind, name: str) -> str:
        return "".join(concerning(frame, {Entity(kind, name)})["metric"])

    assert found(EntityKind.GPU, "GPU-1") == "a"
    assert found(EntityKind.REPLICA, "chat-2") == "b"
    assert found(EntityKind.REPLICA, "chat-3:8000") == "d"
    assert found(EntityKind.PORT, "n1/mlx5_0/1") == "c"
    assert found(EntityKind.NODE, "n1") == "ac"
    assert found(EntityKind.SERVICE, "n1") == ""
    assert concerning(frame, set()).is_empty()


def matrix(rows: dict[str, list[float]], name: str = "gpu_memory_used", **changed: object) -> SignalMatrix:
    signal = replace(KNOWLEDGE.signals[name], **changed)  # type: ignore[arg-type]
    entities = tuple(Entity(signal.entity, entity) for entity in sorted(rows))
    return SignalMatrix(signal, entities, np.array([rows[entity.name] for entity in entities]))


def steady(level: float, spread: float = 0.0, seed: int = 1) -> list[float]:
    return list(level + spread * np.random.default_rng(seed).normal(size=STEPS))


def stepped(level: float, to: float, step: int = 60) -> list[float]:
    return [level] * step + [to] * (STEPS - step)


def by_name(found: list[Shift]) -> dict[str, Shift]:
    return {shift.entity.name: shift for shift in found}


def test_a_level_that_rises_has_moved_and_is_told_with_its_before_and_during() -> None:
    (shift,) = shifts(matrix({"GPU-1": stepped(70_000, 76_000)}), GRID, SPIKE, REFERENCE)
    assert shift.moved()
    assert (shift.before, shift.during) == (70_000, 76_000)
    assert 0.5 < shift.score() <= 1
    assert shift.onset == SPIKE.start


def test_a_level_that_moves_in_the_harmless_direction_has_not_moved() -> None:
    (shift,) = shifts(matrix({"GPU-1": stepped(70_000, 60_000)}), GRID, SPIKE, REFERENCE)
    assert not shift.moved()
    assert shift.score() == 0
    assert shift.onset is None


def test_a_change_below_the_floor_is_noise_however_steady_the_past_was() -> None:
    floor = KNOWLEDGE.signals["gpu_memory_used"].floor
    (shift,) = shifts(matrix({"GPU-1": stepped(500, 500 + floor / 2)}), GRID, SPIKE, REFERENCE)
    assert not shift.moved()


def test_the_onset_leads_the_spike_when_the_signal_moved_before_it() -> None:
    (shift,) = shifts(matrix({"GPU-1": stepped(70_000, 76_000, step=58)}), GRID, SPIKE, REFERENCE)
    assert shift.onset == SPIKE.start - timedelta(seconds=2 * STEP_S)


def test_a_move_that_all_peers_make_together_is_nobodys_own() -> None:
    rows = {f"GPU-{number}": stepped(70_000, 76_000) for number in range(8)}
    together = shifts(matrix(rows), GRID, SPIKE, REFERENCE)
    assert not any(shift.moved() for shift in together)
    assert all(shift.moved(with_peers=True) for shift in together)
    rows["GPU-3"] = stepped(70_000, 90_000)
    moved = [name for name, shift in by_name(shifts(matrix(rows), GRID, SPIKE, REFERENCE)).items() if shift.moved()]
    assert moved == ["GPU-3"]


def test_what_varies_as_ever_is_told_to_be_where_it_was() -> None:
    ratios = []
    for seed in range(40):
        level = list(1000 * np.random.default_rng(seed).lognormal(0, 0.25, STEPS))
        (shift,) = shifts(matrix({"GPU-1": level}), GRID, SPIKE, REFERENCE)
        ratios.append(shift.during / shift.before)
    assert np.median(ratios) == pytest.approx(1.0, abs=0.03)


def test_an_entity_without_a_sample_during_the_spike_has_no_shift() -> None:
    silent = [70_000.0] * 60 + [ABSENT] * 20
    found = by_name(shifts(matrix({"GPU-1": silent, "GPU-2": steady(70_000)}), GRID, SPIKE, REFERENCE))
    assert set(found) == {"GPU-2"}


def test_of_an_entity_without_a_past_nothing_can_be_said_to_have_moved() -> None:
    newcomer = [ABSENT] * 60 + [70_000.0] * 20
    found = by_name(shifts(matrix({"GPU-1": newcomer, "GPU-2": steady(70_000)}), GRID, SPIKE, REFERENCE))
    assert set(found) == {"GPU-2"}


def test_an_earlier_spike_is_not_part_of_what_is_usual() -> None:
    earlier = Window(at(10 * STEP_S), at(50 * STEP_S))
    twice = [70_000.0] * 10 + [76_000.0] * 40 + [70_000.0] * 10 + [76_000.0] * 20
    (with_it,) = shifts(matrix({"GPU-1": twice}), GRID, SPIKE, REFERENCE)
    (without_it,) = shifts(matrix({"GPU-1": twice}), GRID, SPIKE, REFERENCE, excluded=[earlier])
    assert not with_it.moved()
    assert without_it.moved()
    assert without_it.before == 70_000


def test_rare_events_are_compared_by_their_mean_because_their_median_is_zero() -> None:
    rare = [0.0] * 60 + [0.0, 0.0, 0.0, 2.0] * 5
    found = shifts(matrix({"node/mlx5_0/1": rare}, "symbol_errors"), GRID, SPIKE, REFERENCE)
    assert found[0].during == pytest.approx(10 / 24), (
        "with the minute before, when what happened once may have happened"
    )
    assert found[0].moved()


def test_what_stops_half_way_through_a_long_spike_is_told_by_its_first_minutes() -> None:
    spike = Window(SPIKE.start, SPIKE.start + timedelta(seconds=40 * STEP_S))
    brief = [0.0] * 60 + [2.0] * 20 + [0.0] * 20
    grid = Grid(Window(at(0), spike.end), STEP_S)
    found = shifts(matrix({"node/mlx5_0/1": brief}, "symbol_errors"), grid, spike, REFERENCE)
    assert found[0].during == pytest.approx(40 / 24)


# -- from sampled metrics ----------------------------------------------------------------------------------------------


def signal_values(name: str, found: list[SignalMatrix]) -> dict[str, list[float]]:
    (one,) = (matrix for matrix in found if matrix.signal.name == name)
    return {entity.name: values.tolist() for entity, values in zip(one.entities, one.values, strict=True)}


PORT = {"node": "gpu-1", "port": "mlx5_0/1"}


def test_utilisation_is_the_rate_over_the_capacity_and_the_busier_direction_counts() -> None:
    frame = series(
        [
            {"metric": "node_infiniband_port_data_transmitted_bytes_total", **PORT},
            {"metric": "node_infiniband_port_data_received_bytes_total", **PORT},
            {"metric": "node_infiniband_rate_bytes_per_second", **PORT},
        ]
    )
    values = samples({1: [0, 1500, 3000, 4500], 2: [0, 7500, 7500, 9000], 3: [1000] * 4})
    found = metric_signals(frame, values, values, Grid(Window(at(0), at(60)), STEP_S), KNOWLEDGE)
    utilisation = signal_values("port_utilisation", found)["gpu-1/mlx5_0/1"]
    assert math.isnan(utilisation[0])
    assert utilisation[1:] == [0.5, 0.1, 0.1]


def test_utilisation_without_a_known_capacity_is_unknown() -> None:
    frame = series([{"metric": "node_infiniband_port_data_transmitted_bytes_total", **PORT}])
    counters = samples({1: [0, 1500, 3000]})
    found = metric_signals(frame, counters, samples({}), Grid(Window(at(0), at(45)), STEP_S), KNOWLEDGE)
    assert np.isnan(signal_values("port_utilisation", found)["gpu-1/mlx5_0/1"]).all()


def test_values_that_cannot_be_true_are_absent() -> None:
    frame = series([{"metric": "vllm:kv_cache_usage_perc", "replica": "chat-1"}])
    levels = samples({1: [0.4, 97.0, -1.0, 0.5]})
    found = metric_signals(frame, samples({}), levels, Grid(Window(at(0), at(60)), STEP_S), KNOWLEDGE)
    usage = signal_values("kv_cache_usage", found)["chat-1"]
    assert [value for value in usage if not math.isnan(value)] == [0.4, 0.5]


def test_a_missed_sample_is_absent_and_a_series_without_an_owner_is_left_out() -> None:
    frame = series([{"metric": "dcgm_fi_dev_fb_used", "gpu": "GPU-1"}, {"metric": "dcgm_fi_dev_fb_used"}])
    grid = Grid(Window(at(0), at(45)), STEP_S)
    levels = samples({1: [10, None, 12], 2: [9] * 3})
    used = signal_values("gpu_memory_used", metric_signals(frame, samples({}), levels, grid, KNOWLEDGE))
    assert set(used) == {"GPU-1"}
    assert math.isnan(used["GPU-1"][1])


def test_of_several_series_of_an_entity_rates_add_up_and_of_levels_the_worst_counts() -> None:
    engines = [
        {"metric": "vllm:num_preemptions_total", "replica": "chat-1"},
        {"metric": "vllm:num_preemptions_total", "replica": "chat-1"},
        {"metric": "vllm:kv_cache_usage_perc", "replica": "chat-1"},
        {"metric": "vllm:kv_cache_usage_perc", "replica": "chat-1"},
    ]
    values = samples({1: [0, 15], 2: [0, 30], 3: [0.2, 0.3], 4: [0.9, 0.1]})
    found = metric_signals(series(engines), values, values, Grid(Window(at(0), at(30)), STEP_S), KNOWLEDGE)
    assert signal_values("preemptions", found)["chat-1"][1] == 3.0
    assert signal_values("kv_cache_usage", found)["chat-1"] == [0.9, 0.3]


# -- from request records ----------------------------------------------------------------------------------------------


def test_signals_of_requests_are_means_by_replica_and_rates_by_service() -> None:
    frame = stage_split(
        requests(
            [
                {
                    "time": at(1),
                    "replica": "a",
                    "ttft_ms": 100.0,
                    "queue_ms": 10.0,
                    "prefill_ms": 40.0,
                    "input_tokens": 80,
                },
                {
                    "time": at(2),
                    "replica": "a",
                    "ttft_ms": 200.0,
                    "queue_ms": 30.0,
                    "prefill_ms": 60.0,
                    "input_tokens": 20,
                },
                {"time": at(31), "replica": "b", "queue_ms": 5.0},
            ]
        )
    )
    found = request_signals("chat", frame, Grid(Window(at(0), at(45)), STEP_S), KNOWLEDGE)
    rate = signal_values("request_rate", found)["chat"]
    assert rate[:3] == pytest.approx([2 / 15, 0, 1 / 15]), "between two requests no request is a rate of zero"
    assert signal_values("queue_time", found)["a"][0] == 20
    assert signal_values("transfer_time", found)["a"][0] == 80
    assert signal_values("prefill_time", found)["a"][0] == pytest.approx(1.0), "per prompt token"
    assert math.isnan(signal_values("queue_time", found)["a"][1])
    assert math.isnan(signal_values("transfer_time", found)["b"][2]), "unknown parts are not zero"


def test_a_signal_has_a_score_of_a_half_at_the_least_shift_that_counts() -> None:
    signal: Signal = KNOWLEDGE.signals["queue_time"]
    shift = Shift(signal, Entity(EntityKind.REPLICA, "a"), 1.0, 2.0, sigmas=4.0, own_sigmas=4.0, onset=None)
    assert shift.moved()
    assert shift.score() == 0.5
