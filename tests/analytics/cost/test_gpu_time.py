from datetime import UTC, datetime, timedelta

import polars as pl
import pytest

from analytics.cost.gpu_time import (
    BUSY,
    ENGINE_MINUTES,
    EXTENTS,
    GPU_MINUTES,
    GPU_TIME,
    STALL_MINUTES,
    gpu_time,
    held,
    with_gaps,
    with_slices,
)
from domain.window import Window

START = datetime(2026, 11, 23, 2, tzinfo=UTC)
HOUR = Window(START, START + timedelta(hours=1))
NOTHING = pl.DataFrame(schema=ENGINE_MINUTES)
NO_STALLS = pl.DataFrame(schema=STALL_MINUTES)


def minute(number):
    return START + timedelta(minutes=number)


def gpu(numbers=range(60), gpu="GPU-1", **told):
    row = {"node": "n1", "gpu_model": "H100", "pool": "prod", "replica": "chat-0", "slice_ratio": 1.0}
    row |= {"busy_ratio": 0.0, "memory_used_mib": 70_000.0, "clock_mhz": 1980.0, "clock_reasons": 0, "is_gone": False}
    return pl.DataFrame([{"time": minute(number), "gpu": gpu, **row, **told} for number in numbers], schema=GPU_MINUTES)


def engine(numbers=range(60), **told):
    row = {"replica": "chat-0", "service": "chat", "model": "llama", "running": 0.0, "waiting": 0.0}
    row |= {"kv_usage_ratio": 0.2, "tokens_per_second": 100.0}
    return pl.DataFrame([{"time": minute(number), **row, **told} for number in numbers], schema=ENGINE_MINUTES)


def extents(first=-600, last=600, gpu="GPU-1", slice_ratio=1.0):
    row = {"gpu": gpu, "node": "n1", "gpu_model": "H100", "slice_ratio": slice_ratio}
    return pl.DataFrame([{**row, "first_seen": minute(first), "last_seen": minute(last)}], schema=EXTENTS)


def states(frame):
    return {state: round(seconds, 6) for state, seconds in frame.group_by("state").agg(pl.col("seconds").sum()).rows()}


def told(gpus, engines=NOTHING, stalls=NO_STALLS, seen=None, warm=()):
    return gpu_time(gpus, engines, stalls, extents() if seen is None else seen, HOUR, warm)


def test_an_hour_is_busy_as_far_as_work_ran_and_the_rest_had_no_traffic():
    found = told(gpu(busy_ratio=0.25), engine(running=0.25))
    assert states(found) == {BUSY: 900.0, "loaded_without_traffic": 2700.0}
    row = found.filter(pl.col("state") == BUSY).row(0, named=True)
    assert (row["time"], row["service"], row["model"], row["pool"]) == (START, "chat", "llama", "prod")


@pytest.mark.parametrize(
    ("gpu_told", "engine_told", "cause"),
    [
        ({"replica": None, "memory_used_mib": 4.0}, None, "unallocated"),
        ({"replica": None}, None, "held_without_engine"),
        ({}, None, "held_without_engine"),
        ({}, {"running": 3.0}, "between_steps"),
        ({"memory_used_mib": 4.0}, None, "no_model"),
        ({}, {"waiting": 3.0, "kv_usage_ratio": 0.99}, "waiting_for_kv_space"),
        ({}, {}, "loaded_without_traffic"),
        ({"is_gone": True}, {"running": 2.0}, "hung"),
        ({"busy_ratio": 1.0}, {"running": 2.0, "tokens_per_second": 0.0}, "hung"),
        ({"busy_ratio": None}, None, "no_telemetry"),
    ],
)
def test_idle_time_is_told_by_its_cause(gpu_told, engine_told, cause):
    found = told(gpu(**gpu_told), NOTHING if engine_told is None else engine(**engine_told))
    assert max(states(found), key=states(found).get) == cause
    assert sum(states(found).values()) == 3600


def test_a_warm_pool_is_idle_by_policy():
    assert states(told(gpu(), engine(), warm=["chat-*"])) == {"warm_by_policy": 3600.0}
    assert states(told(gpu(), engine(), warm=["assist-*"])) == {"loaded_without_traffic": 3600.0}


def test_a_replica_loads_until_its_engine_tells_of_itself():
    found = told(gpu(), engine(range(5, 60), running=1.0))
    assert states(found) == {"loading": 300.0, "between_steps": 3300.0}


def test_what_a_lowered_clock_and_a_waiting_port_took_is_not_busy():
    usual = gpu(busy_ratio=1.0, clock_mhz=2000.0, gpu="GPU-2", replica="chat-1")
    slowed = gpu(busy_ratio=1.0, clock_mhz=1500.0, clock_reasons=0x40)
    seen = pl.concat([extents(), extents(gpu="GPU-2")])
    waits = pl.DataFrame([{"time": minute(n), "node": "n1", "stall_ratio": 0.2} for n in range(60)], STALL_MINUTES)
    found = told(pl.concat([usual, slowed]), seen=seen).filter(pl.col("gpu") == "GPU-1")
    assert states(found) == {"throttled": 900.0, BUSY: 2700.0}
    lowered_for_no_load = gpu(busy_ratio=1.0, clock_mhz=1500.0, clock_reasons=0x1)
    found = told(pl.concat([usual, lowered_for_no_load]), stalls=waits, seen=seen).filter(pl.col("gpu") == "GPU-1")
    assert states(found) == {"stalled_on_fabric": 720.0, BUSY: 2880.0}


def test_a_gpu_is_there_from_first_to_last_sight_and_silent_minutes_are_no_telemetry():
    found = told(gpu([10, 11, 40], busy_ratio=1.0), engine([10, 11, 40], running=1.0), seen=extents(10, 40))
    assert states(found) == {BUSY: 180.0, "no_telemetry": 28 * 60.0}
    assert set(found["replica"]) == {"chat-0"}
    # Whether an hour of silence was paid for is seen by what lies on both sides of it: test_a_gpu_that_comes_back.
    assert told(gpu([]), seen=extents(-60, 120)).is_empty()


def test_requests_that_run_for_a_part_of_the_minute_wait_between_steps_for_what_of_it_is_not_busy():
    found = told(gpu(busy_ratio=0.4), engine(running=0.7))
    assert states(found) == {BUSY: 1440.0, "between_steps": 1080.0, "loaded_without_traffic": 1080.0}
    full = told(gpu(busy_ratio=0.6), engine(running=5.0))
    assert states(full) == {BUSY: 2160.0, "between_steps": 1440.0}


def test_a_slice_that_misses_a_scrape_is_not_taken_for_free_room():
    seen = pl.concat([extents(gpu=name, slice_ratio=ratio) for name, ratio in (("G/1", 3 / 7), ("G/2", 4 / 7))])
    one, other = gpu(gpu="G/1", slice_ratio=3 / 7), gpu(set(range(60)) - {7}, gpu="G/2", slice_ratio=4 / 7)
    found = told(pl.concat([one, other]), engine(), seen=seen)
    whole = found.select((pl.col("seconds") * pl.col("slice_ratio")).sum()).item()
    assert whole == pytest.approx(3600.0)
    assert set(found["gpu"]) == {"G/1", "G/2"}


def test_gpus_that_are_slowed_all_together_are_held_against_what_they_could_do():
    found = told(gpu(busy_ratio=1.0, clock_mhz=990.0, clock_reasons=0x40, gpu_model="NVIDIA H100 80GB HBM3"), engine())
    assert states(found) == {"throttled": 1800.0, BUSY: 1800.0}


def test_an_engine_that_tells_of_requests_stands_in_for_a_gpu_that_does_not_say_how_busy_it_is():
    assert states(told(gpu(busy_ratio=None), engine(running=3.0))) == {BUSY: 3600.0}


def test_slices_of_a_gpu_and_what_is_left_of_it_make_the_whole():
    cut = [gpu(gpu="GPU-1/1", slice_ratio=3 / 7, busy_ratio=1.0), gpu(gpu="GPU-1/2", slice_ratio=2 / 7, replica="b-0")]
    seen = pl.concat([extents(gpu=name, slice_ratio=ratio) for name, ratio in (("GPU-1/1", 3 / 7), ("GPU-1/2", 2 / 7))])
    for gpus, known in ((cut, seen), ([*cut, gpu()], pl.concat([seen, extents()]))):
        found = told(pl.concat(gpus), engine(running=1.0), seen=known)
        whole = found.group_by("gpu").agg((pl.col("seconds") * pl.col("slice_ratio")).sum().round(6)).sort("gpu").rows()
        assert whole == [("GPU-1", round(3600 * 2 / 7, 6)), ("GPU-1/1", round(3600 * 3 / 7, 6)),
                         ("GPU-1/2", round(3600 * 2 / 7, 6))]  # fmt: skip
        assert set(found.filter(pl.col("gpu") == "GPU-1")["state"]) == {"unallocated"}


def test_what_is_not_cut_stays_as_it_is():
    assert with_slices(gpu()).equals(gpu())


def test_a_gpu_that_comes_back_within_a_day_was_paid_for_meanwhile():
    row = {"gpu": "GPU-1", "node": "n1", "gpu_model": "H100", "pool": "prod", "replica": "chat-0", "service": "chat"}
    row |= {"model": "llama", "slice_ratio": 1.0, "state": BUSY}

    def hours(*told):
        rows = [{**row, "time": START + timedelta(hours=hour), "seconds": seconds} for hour, seconds in told]
        return pl.DataFrame(rows, schema=GPU_TIME)

    def seconds(frame):
        whole = frame.group_by("time").agg(pl.col("seconds").sum()).sort("time")
        return [(int((time - START).total_seconds() // 3600), total) for time, total in whole.rows()]

    found = with_gaps(hours((0, 1800.0), (1, 3000.0), (4, 3600.0), (5, 60.0)))
    assert seconds(found) == [(0, 1800.0), (1, 3600.0), (2, 3600.0), (3, 3600.0), (4, 3600.0), (5, 60.0)]
    assert states(found) == {BUSY: 8460.0, "no_telemetry": 7800.0}
    assert seconds(with_gaps(hours((0, 3600.0), (30, 3600.0)))) == [(0, 3600.0), (30, 3600.0)]


def test_what_is_scraped_each_five_minutes_holds_until_it_is_scraped_again():
    found = held(gpu(range(0, 60, 5), busy_ratio=0.5), "gpu")
    assert found.filter(pl.col("time") < minute(60))["time"].sort().to_list() == [minute(one) for one in range(60)]
    every_minute = gpu()
    assert held(every_minute, "gpu").equals(every_minute)


def test_a_pace_that_changes_is_followed_and_silence_is_not_filled_up():
    def told(*numbers):
        found = held(gpu(numbers, busy_ratio=0.5), "gpu")
        return sorted(int((time - START).total_seconds() // 60) for time in found["time"])

    assert told(0, 15, 30, 31, 32) == list(range(33))
    assert told(0, 1, 2, 12, 13, 14) == [0, 1, 2, 12, 13, 14]
    assert told(0, 120) == [*range(30), *range(120, 150)]
