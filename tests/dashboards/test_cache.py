"""Answers that are kept for a while, or made in the background."""

import threading
from collections.abc import Callable

import pytest

from dashboards.cache import AnswerCache, BackgroundAnswer


def answers(*values: int) -> Callable[[], int]:
    left = iter(values)
    return lambda: next(left)


def test_an_answer_is_kept_for_its_time_and_then_asked_for_again() -> None:
    clock = [0.0]
    kept: AnswerCache[int] = AnswerCache(60.0, clock=lambda: clock[0])
    ask = answers(1, 2)
    assert [kept.get("a", ask), kept.get("a", ask)] == [1, 1]
    clock[0] = 61.0
    assert kept.get("a", ask) == 2


def test_nobody_waits_for_the_answer_to_another_question() -> None:
    kept: AnswerCache[int] = AnswerCache(60.0)
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
    kept: AnswerCache[int] = AnswerCache(60.0)
    for number in range(30):
        kept.get(number, lambda: 0)
    assert kept.get(0, answers(5)) == 5
    assert kept.get(29, answers(5)) == 0


def test_what_takes_long_is_made_aside_and_the_older_answer_stands_meanwhile() -> None:
    go = threading.Event()

    def slow() -> int:
        go.wait(30)
        return 2

    aside: BackgroundAnswer[int] = BackgroundAnswer()
    assert aside.get("10:00", lambda: 1, wait_s=30) == 1
    assert aside.get("11:00", slow, wait_s=0) == 1
    go.set()
    assert aside.get("11:00", slow, wait_s=30) == 2


def test_a_first_answer_that_is_not_made_yet_is_none() -> None:
    go = threading.Event()
    aside: BackgroundAnswer[bool] = BackgroundAnswer()
    assert aside.get("10:00", lambda: go.wait(30), wait_s=0) is None
    go.set()
    assert aside.get("10:00", lambda: go.wait(30), wait_s=30) is True


def test_what_failed_is_tried_again_and_leaves_a_trace(caplog: pytest.LogCaptureFixture) -> None:
    def fail() -> int:
        raise RuntimeError("the store is gone")

    aside: BackgroundAnswer[int] = BackgroundAnswer()
    assert aside.get("10:00", fail, wait_s=30) is None
    assert "the store is gone" in caplog.text
    assert aside.get("10:00", lambda: 3, wait_s=30) == 3
