import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import polars as pl
import pytest

from dashboards.cost_reading import Aside, Kept, cost_window, known_costs
from dashboards.state import PageState

NOW = datetime(2026, 11, 23, 14, 20, 7, tzinfo=UTC)


def answers(*values: int) -> Callable[[], int]:
    left = iter(values)
    return lambda: next(left)


def test_the_window_is_of_whole_hours_that_are_over() -> None:
    window = cost_window(PageState(range_name="24h"), NOW)
    assert (window.start, window.end) == (
        datetime(2026, 11, 22, 14, tzinfo=UTC),
        datetime(2026, 11, 23, 14, tzinfo=UTC),
    )


@pytest.mark.parametrize("name", [None, "15m", "3h"])
def test_a_range_that_says_too_little_of_cost_is_the_usual_one(name: str | None) -> None:
    window = cost_window(PageState(range_name=name), NOW)
    assert window.end - window.start == timedelta(days=7)


def test_an_answer_is_kept_for_its_time_and_then_asked_for_again() -> None:
    clock = [0.0]
    kept: Kept[int] = Kept(60.0, clock=lambda: clock[0])
    ask = answers(1, 2)
    assert [kept.get("a", ask), kept.get("a", ask)] == [1, 1]
    clock[0] = 61.0
    assert kept.get("a", ask) == 2


def test_nobody_waits_for_the_answer_to_another_question() -> None:
    kept: Kept[int] = Kept(60.0)
    begun, go = threading.Event(), threading.Event()

    def slow() -> int:
        begun.set()
        go.wait(30)
        return 1

    asking = threading.Thread(target=kept.get, args=("a week", slow))
    asking.start()
    assert begun.wait(30)
    assert kept.get("a day", answers(2)) == 2
    go.set()
    asking.join(30)
    assert kept.get("a week", answers(3)) == 1


def test_only_the_newest_answers_are_kept() -> None:
    kept: Kept[int] = Kept(60.0)
    for number in range(30):
        kept.get(number, lambda: 0)
    assert kept.get(0, answers(5)) == 5
    assert kept.get(29, answers(5)) == 0


def test_what_takes_long_is_made_aside_and_the_older_answer_stands_meanwhile() -> None:
    go = threading.Event()

    def slow() -> int:
        go.wait(30)
        return 2

    aside: Aside[int] = Aside()
    assert aside.get("10:00", lambda: 1, wait_s=30) == 1
    assert aside.get("11:00", slow, wait_s=0) == 1
    go.set()
    assert aside.get("11:00", slow, wait_s=30) == 2


def test_a_first_answer_that_is_not_made_yet_is_none() -> None:
    go = threading.Event()
    aside: Aside[bool] = Aside()
    assert aside.get("10:00", lambda: go.wait(30), wait_s=0) is None
    go.set()
    assert aside.get("10:00", lambda: go.wait(30), wait_s=30) is True


def test_what_failed_is_tried_again_and_leaves_a_trace(caplog: pytest.LogCaptureFixture) -> None:
    def fail() -> int:
        raise RuntimeError("the store is gone")

    aside: Aside[int] = Aside()
    assert aside.get("10:00", fail, wait_s=30) is None
    assert "the store is gone" in caplog.text
    assert aside.get("10:00", lambda: 3, wait_s=30) == 3


def test_dollars_of_what_no_gpu_time_is_known_of_are_unknown_and_not_nothing() -> None:
    units = pl.DataFrame(
        {
            "model": ["a", "b"],
            "cost_usd": [2.0, 0.0],
            "full_cost_usd": [3.0, 0.0],
            "gpu_hours": [1.0, 0.0],
            "requests": [4, 5],
        }
    )
    assert known_costs(units).rows() == [("a", 2.0, 3.0, 1.0, 4), ("b", None, 0.0, 0.0, 5)]
