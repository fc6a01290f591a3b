"""A release is worse when it is so beside the other one, at the same work."""

from typing import Any

import pytest

from analytics.knowledge import shipped_knowledge
from analytics.releases import release_shifts
from analytics.scope import localise, stage_split
from analytics.signals import Shift
from domain.incident import Indicator
from domain.window import Window
from tests.analytics.frames import at, requests

KNOWLEDGE = shipped_knowledge()
REFERENCE = Window(at(0), at(600))
SPIKE = Window(at(600), at(900))


def traffic(version: str, start_s: int, count: int, ttft_ms: float, **more: Any) -> list[dict[str, Any]]:
    return [
        {"time": at(start_s + number * 2), "version": version, "replica": version, "ttft_ms": ttft_ms + number % 10}
        | more
        for number in range(count)
    ]


def found(rows: list[dict[str, Any]], indicator: Indicator = Indicator.TTFT) -> dict[tuple[str, str], Shift]:
    frame = stage_split(requests(rows))
    scope = localise(frame, indicator, SPIKE, REFERENCE)
    shifts = release_shifts(frame, "ttft_ms", scope, SPIKE, REFERENCE, KNOWLEDGE)
    return {(shift.entity.name, shift.signal.name): shift for shift in shifts}


OLD = traffic("1", 0, 250, 100.0)


def test_a_canary_that_is_slower_than_the_version_beside_it_is_told_with_both_times() -> None:
    shifts = found([*OLD, *traffic("1", 600, 100, 100.0), *traffic("2", 600, 100, 500.0)])
    slow = shifts["2", "version_time"]
    assert (slow.before, slow.during) == (pytest.approx(104.5, abs=1), pytest.approx(504.5, abs=2))
    assert slow.moved()
    assert slow.onset == at(600)
    assert ("1", "version_time") not in shifts, "the old version is no news"


def test_a_release_that_is_as_slow_as_the_old_one_at_the_same_time_is_not_to_blame() -> None:
    shifts = found([*OLD, *traffic("1", 600, 100, 500.0), *traffic("2", 600, 100, 500.0)])
    assert not shifts["2", "version_time"].moved()


def test_a_release_that_has_replaced_the_old_one_is_held_against_what_was_usual() -> None:
    slow = found([*OLD, *traffic("2", 600, 150, 500.0)])["2", "version_time"]
    assert slow.moved()
    assert slow.before == pytest.approx(104.5, abs=1)


def test_a_release_that_fails_is_told_by_its_failures() -> None:
    failing = traffic("2", 600, 100, 100.0)
    for row in failing[::5]:
        row["is_error"] = True
    shifts = found([*OLD, *traffic("1", 600, 100, 100.0), *failing])
    assert shifts["2", "version_errors"].moved()
    assert shifts["2", "version_errors"].during == pytest.approx(0.2)
    assert not shifts["2", "version_time"].moved()


def test_longer_prompts_on_the_canary_are_no_fault_of_its() -> None:
    old = [row | {"input_tokens": 100 + 10 * (n % 50), "ttft_ms": 100.0 + 10 * (n % 50)} for n, row in enumerate(OLD)]
    beside = traffic("1", 600, 100, 200.0, input_tokens=200)
    canary = traffic("2", 600, 100, 1000.0, input_tokens=1000)
    assert not found([*old, *beside, *canary])["2", "version_time"].moved()
