"""Who serves when: a replica is away only when the others serve meanwhile."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from analytics.knowledge import shipped_knowledge
from analytics.signals import Grid, SignalMatrix, shifts
from analytics.turnover import Turnover, turnover
from domain.entity import Entity, EntityKind
from domain.window import Window
from tests.analytics.frames import STEP_S, at, requests

KNOWLEDGE = shipped_knowledge()
STEPS = 80
GRID = Grid(Window(at(0), at(STEPS * STEP_S)), STEP_S)
SPIKE = Window(at(60 * STEP_S), at(STEPS * STEP_S))
REFERENCE = Window(at(0), at(56 * STEP_S))


def served(replica: str, steps: Sequence[int], each: int = 3) -> list[dict[str, Any]]:
    return [{"replica": replica, "time": at(step * STEP_S + number)} for step in steps for number in range(each)]


def seen(rows: list[dict[str, Any]], matrices: Sequence[SignalMatrix] = ()) -> Turnover:
    return turnover(requests(rows), matrices, GRID)


def engine(replica: str, steps: Sequence[int]) -> SignalMatrix:
    values = np.full((1, STEPS), np.nan)
    values[0, list(steps)] = 1.0
    return SignalMatrix(KNOWLEDGE.signals["waiting_requests"], (Entity(EntityKind.REPLICA, replica),), values)


ALL = range(STEPS)
BEFORE = range(60)


def test_a_replica_that_serves_no_more_while_the_other_does_is_lost() -> None:
    found = seen([*served("a", ALL), *served("b", BEFORE)])
    assert found.lost(GRID, SPIKE) == {"b"}
    (matrix,) = found.signals("chat", KNOWLEDGE)
    (shift,) = shifts(matrix, GRID, SPIKE, REFERENCE)
    assert (shift.before, shift.during) == (2.0, 1.0)
    assert shift.moved(with_peers=True)


def test_a_service_that_nobody_asks_for_has_lost_nobody() -> None:
    found = seen([*served("a", BEFORE), *served("b", BEFORE)])
    assert found.lost(GRID, SPIKE) == frozenset()
    assert not any(shift.during for shift in found.starts(GRID, SPIKE, KNOWLEDGE))


def test_a_lull_of_a_replica_with_few_requests_may_be_chance() -> None:
    found = seen([*served("a", ALL), *served("b", range(0, STEPS, 12), each=1)])
    assert found.serving.all()


def test_a_replica_that_comes_while_others_serve_has_started_and_one_that_was_always_there_has_not() -> None:
    found = seen([*served("a", ALL), *served("b", range(58, STEPS))])
    started = {shift.entity.name: shift for shift in found.starts(GRID, SPIKE, KNOWLEDGE)}
    assert (started["a"].during, started["b"].during) == (0.0, 1.0)
    assert started["b"].onset == GRID.time(58)


def test_a_replica_that_was_away_is_felt_from_when_it_went() -> None:
    found = seen([*served("a", ALL), *served("b", [*range(50), *range(65, STEPS)])])
    started = {shift.entity.name: shift for shift in found.starts(GRID, SPIKE, KNOWLEDGE)}
    assert started["b"].onset == GRID.time(50)


def test_the_first_requests_of_all_are_no_start() -> None:
    found = seen([*served("a", range(59, STEPS)), *served("b", range(59, STEPS))])
    assert not any(shift.during for shift in found.starts(GRID, SPIKE, KNOWLEDGE))


def test_an_engine_that_reports_no_more_has_gone_though_requests_are_too_few_to_tell() -> None:
    rows = [*served("a", ALL, each=1), *served("b", range(0, 60, 15), each=1)]
    assert seen(rows, [engine("b", ALL)]).lost(GRID, SPIKE) == frozenset()
    assert seen(rows, [engine("b", BEFORE)]).lost(GRID, SPIKE) == {"b"}


def test_a_replica_that_is_there_and_gets_no_work_is_no_lost_capacity() -> None:
    found = seen([*served("a", ALL), *served("b", BEFORE)], [engine("b", ALL)])
    (matrix,) = found.signals("chat", KNOWLEDGE)
    (shift,) = shifts(matrix, GRID, SPIKE, REFERENCE)
    assert (shift.before, shift.during) == (2.0, 2.0)
    assert found.lost(GRID, SPIKE) == {"b"}, "its work went to the other all the same"


def test_a_missed_scrape_takes_no_replica_away() -> None:
    rows = [*served("a", ALL), *served("b", range(0, STEPS, 12), each=1)]
    assert seen(rows, [engine("b", [step for step in ALL if step not in (65, 66)])]).lost(GRID, SPIKE) == frozenset()


def test_a_replica_that_fails_all_it_is_still_sent_has_gone_with_the_first_scrape_that_is_missed() -> None:
    rows = [*served("a", ALL), *served("b", ALL)]
    all_fail = failing(rows, "b", range(76, STEPS))
    scraped = [engine("b", range(0, end, 2)) for end in (STEPS, 77)]
    assert [list(seen(all_fail, [of_b]).serving[1, -4:]) for of_b in scraped] == [
        [True] * 4,
        [True, False, False, False],
    ]
    assert crashed(all_fail, [scraped[1]]) == {"b": 1.0, "chat": 1}
    assert crashed(all_fail, [scraped[0]]) == {}, "it reports: a release that fails has not gone"
    assert crashed(failing(rows, "b", [*range(76, 78), 79]), [scraped[1]]) == {}, "one that answers has not gone"
    assert crashed(rows, [scraped[1]]) == {}


def failing(rows: list[dict[str, Any]], replica: str, steps: Sequence[int]) -> list[dict[str, Any]]:
    times = {at(step * STEP_S + number) for step in steps for number in range(3)}
    return [row | {"is_error": row["replica"] == replica and row["time"] in times} for row in rows]


def crashed(rows: list[dict[str, Any]], matrices: Sequence[SignalMatrix] = ()) -> dict[str, float]:
    found = seen(rows, matrices).crashes("chat", GRID, SPIKE, KNOWLEDGE)
    return {shift.entity.name: shift.during for shift in found if shift.moved()}


def test_a_replica_whose_requests_fail_as_it_goes_has_crashed_and_one_that_is_drained_has_not() -> None:
    rows = [*served("a", ALL), *served("b", [*range(62), *range(70, STEPS)])]
    assert crashed(rows) == {}
    assert crashed(failing(rows, "b", range(60, 62))) == {"b": 1.0, "chat": 1}
    assert crashed(failing(rows, "b", range(40, 42))) == {}, "long before it went"
    assert crashed(failing(rows, "a", range(60, 62))) == {}, "one that stays has not gone"


def test_a_crash_is_told_from_when_requests_failed() -> None:
    rows = failing([*served("a", ALL), *served("b", range(62))], "b", range(60, 62))
    (of_b, of_all) = (shift for shift in seen(rows).crashes("chat", GRID, SPIKE, KNOWLEDGE) if shift.moved())
    assert of_b.onset == of_all.onset == GRID.time(60)


def test_what_fails_now_and_then_does_not_make_a_crash_of_a_replica_that_is_drained() -> None:
    rows = failing([*served("a", ALL), *served("b", range(62))], "b", range(0, 62, 2))
    assert crashed(rows) == {}
