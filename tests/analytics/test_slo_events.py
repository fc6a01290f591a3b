"""Events that are no requests, against a loop over minutes."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from analytics.slo_events import FAULTY_XIDS, freshness_counts, gpu_counts, throughput_counts
from domain.window import Window
from storage.readers import SLO_COUNTS, SLO_GPU_SEEN, SLO_GPUS, SLO_NEWEST, SLO_WAITING
from tests import naive
from tests.analytics.frames import START

MINUTES = range(30)
WINDOW = Window(START, START + timedelta(minutes=30))


def minute(number: int) -> datetime:
    return START + timedelta(minutes=number)


def told(counts: pl.DataFrame) -> dict[int, tuple[int, int]]:
    """(all, good) by the number of the minute."""
    return {round((time - START).total_seconds() / 60): (total, good) for time, total, good in counts.iter_rows()}


def requests(by_minute: Mapping[int, tuple[int, int]]) -> pl.DataFrame:
    rows = [(minute(number), total, good) for number, (total, good) in sorted(by_minute.items())]
    return pl.DataFrame(rows, schema=SLO_COUNTS, orient="row")


def waiting(minutes: set[int]) -> pl.DataFrame:
    return pl.DataFrame([(minute(number), 3.0) for number in sorted(minutes)], schema=SLO_WAITING, orient="row")


numbers = st.integers(-3, 33)
asked = st.dictionaries(numbers, st.tuples(st.integers(1, 200), st.integers(0, 200)), max_size=30)


@settings(max_examples=60, deadline=None)
@given(asked, st.sets(numbers, max_size=10), st.sampled_from([0.5, 1.0, 2.5]))
def test_throughput_is_counted_as_by_a_loop_over_the_minutes(
    by_minute: dict[int, tuple[int, int]], queued: set[int], floor_per_s: float
) -> None:
    by_minute = {number: (total, min(total, good)) for number, (total, good) in by_minute.items()}
    counts = throughput_counts(requests(by_minute), waiting(queued), WINDOW, floor_per_s)
    assert told(counts) == naive.throughput_events(by_minute, queued, MINUTES, floor_per_s)


def test_a_minute_in_which_nobody_asked_is_neither_fast_nor_slow() -> None:
    counts = throughput_counts(requests({3: (120, 120), 5: (60, 0)}), waiting({7}), WINDOW, 2.0)
    assert told(counts) == {3: (1, 1), 5: (1, 0), 7: (1, 0)}


def test_a_minute_that_goes_on_is_not_judged() -> None:
    half = Window(minute(0) + timedelta(seconds=30), minute(2) + timedelta(seconds=30))
    counts = throughput_counts(requests({0: (60, 60), 1: (60, 60), 2: (60, 60)}), waiting(set()), half, 0.5)
    assert list(told(counts)) == [1]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(-1200, 1800), max_size=12), st.sampled_from([30.0, 90.0, 600.0]))
def test_freshness_is_counted_as_by_a_loop_over_the_minutes(seconds: list[float], age_max_s: float) -> None:
    times = sorted({START + timedelta(seconds=round(one, 3)) for one in seconds})
    newest = {time.replace(second=0, microsecond=0): time for time in times}
    frame = pl.DataFrame(list(newest.items()), schema=SLO_NEWEST, orient="row")
    counts = freshness_counts(frame, times[0] if times else None, WINDOW, age_max_s)
    since = [(time - START).total_seconds() for time in times]
    assert told(counts) == naive.freshness_events(since, MINUTES, age_max_s)


def test_before_the_first_data_ever_nothing_is_late() -> None:
    frame = pl.DataFrame([(minute(10), minute(10))], schema=SLO_NEWEST, orient="row")
    counts = told(freshness_counts(frame, minute(10), WINDOW, 120.0))
    assert (min(counts), [number for number, (_, good) in counts.items() if good]) == (10, [10, 11])
    assert freshness_counts(frame.clear(), None, WINDOW, 120.0).is_empty()


Gpus = dict[tuple[str, str], dict[int, bool]]


def gpu_frames(samples: Gpus, up: dict[str, dict[int, bool]]) -> tuple[pl.DataFrame, pl.DataFrame]:
    """What the store answers of these samples."""
    rows = []
    for exporter in {one for one, _ in samples} | set(up):
        for number in range(-60, 40):
            told = [minutes[number] for (of, _), minutes in samples.items() if of == exporter and number in minutes]
            answer = up.get(exporter, {}).get(number)
            if told or answer is not None:
                said = None if answer is None else float(answer)
                rows.append((minute(number), "dcgm", exporter, len(told), sum(told), said))
    seen = [
        ("dcgm", exporter, gpu, minute(min(minutes)), minute(max(minutes)))
        for (exporter, gpu), minutes in samples.items()
    ]
    return (
        pl.DataFrame(rows, schema=SLO_GPUS, orient="row"),
        pl.DataFrame(seen, schema=SLO_GPU_SEEN, orient="row"),
    )


gpu_minutes = st.dictionaries(st.integers(-40, 33), st.booleans(), min_size=1, max_size=40)


@settings(max_examples=60, deadline=None)
@given(
    st.dictionaries(st.tuples(st.sampled_from("ab"), st.sampled_from("0123")), gpu_minutes, max_size=6),
    st.dictionaries(st.sampled_from("ab"), gpu_minutes, max_size=2),
    st.sampled_from([5, 20, 1000]),
)
def test_gpus_are_counted_as_by_a_loop_over_the_minutes(
    samples: Gpus, up: dict[str, dict[int, bool]], expected_minutes: int
) -> None:
    frames = gpu_frames(samples, up)
    counts = gpu_counts(*frames, WINDOW, expected_minutes * 60)
    assert told(counts) == naive.gpu_events(samples, up, MINUTES, expected_minutes)


def test_a_gpu_is_lost_while_its_exporter_answers_and_unknown_while_it_does_not() -> None:
    whole = dict.fromkeys(range(10), True)
    gone = {number: True for number in whole if number not in (4, 5)}
    samples = {("a", "0"): whole, ("a", "1"): gone, ("b", "0"): gone}
    up = {"a": dict.fromkeys(range(10), True), "b": {number: number in gone for number in range(10)}}
    counts = told(gpu_counts(*gpu_frames(samples, up), Window(START, minute(10)), 86_400))
    assert (counts[3], counts[4], counts[5], counts[6]) == ((3, 3), (2, 1), (2, 1), (3, 3))


def test_an_exporter_that_answers_without_a_single_gpu_lost_them_all() -> None:
    samples = {("a", "0"): {0: True}, ("a", "1"): {0: True}}
    counts = told(gpu_counts(*gpu_frames(samples, {"a": {1: True, 2: False}}), Window(START, minute(4)), 86_400))
    assert counts == {0: (2, 2), 1: (2, 0)}


def test_an_xid_of_a_program_is_no_fault_of_the_gpu() -> None:
    assert 79 in FAULTY_XIDS
    assert 48 in FAULTY_XIDS
    assert not {0, 13, 31, 43, 45} & set(FAULTY_XIDS)


def test_times_are_utc() -> None:
    counts = throughput_counts(requests({3: (120, 120)}), waiting(set()), WINDOW, 1.0)
    assert counts["time"].to_list() == [datetime(2026, 11, 23, 0, 3, tzinfo=UTC)]
