"""Silences that traffic does not explain are no time in which a service was heard."""

import numpy as np
import pytest

from analytics.silences import HeardTime

STEP_S, HISTORY_S = 15, 7200


def heard(starts_s: list[float], until_s: float, requests: int = 10) -> HeardTime:
    return HeardTime(np.array(starts_s), np.full(len(starts_s), requests), until_s, STEP_S, HISTORY_S)


def steps(first_s: int, end_s: int, every_s: int = STEP_S) -> list[float]:
    return [float(second) for second in range(first_s, end_s, every_s)]


def test_without_silences_all_time_is_heard() -> None:
    time = heard(steps(0, 7200), 7200.0)
    assert time.until_s == 7200.0
    assert time.of(np.array([0.0, 3600.0])).tolist() == [0.0, 3600.0]


def test_an_unexplained_silence_is_taken_out_of_what_follows() -> None:
    time = heard([*steps(0, 3600), *steps(4800, 6000)], 6000.0)
    assert time.of(np.array([3585.0, 4800.0, 5400.0])).tolist() == [3585.0, 3600.0, 4200.0]
    assert time.until_s == 4800.0


@pytest.mark.parametrize(
    ("silent_s", "unheard_s"),
    [(30, 0), (60, 60), (600, 600), (7190, 0)],
    ids=["few would have come", "soon", "long", "a history long: it is silent as usual"],
)
def test_silent_until_now(silent_s: int, unheard_s: int) -> None:
    until_s = 7200.0 + silent_s
    assert heard(steps(0, 7200), until_s).until_s == until_s - unheard_s


def test_between_bursts_a_service_is_silent_as_usual() -> None:
    bursts = [second for start in range(0, 7200, 600) for second in steps(start, start + 60)]
    for silent_s, unheard_s in ((540, 0), (900, 900)):
        until_s = 6660.0 + silent_s
        time = heard(bursts, until_s, requests=100)
        assert time.until_s - time.of(np.array([6600.0]))[0] == 60 + silent_s - unheard_s


def test_a_service_that_few_ask_is_heard_whenever() -> None:
    assert heard(steps(0, 7200, 600), 7200.0, requests=1).until_s == 7200.0
    assert heard(steps(0, 7200, 600), 9000.0, requests=1).until_s == 9000.0
