from collections.abc import Mapping, Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from analytics.port_states import (
    DISCARDS,
    DOUBTS,
    DOWNED,
    FAULTS,
    INTEGRITY_ERRORS,
    PERFQUERY,
    PHYSICAL_STATE,
    RATE,
    RECEIVE_ERRORS,
    RECEIVED,
    RECOVERIES,
    SENT,
    STATE,
    SYMBOL_ERRORS,
    WAIT,
    WIDTH,
    Port,
    PortSamples,
    PortState,
    port_findings,
    port_states,
)

ABSENT = float("nan")
STEPS = 30
STEP_S = 15
NDR = 50e9
PINNED_32 = 2.0**32 - 1

Values = Sequence[float] | float | NDArray[np.float64]


def growing(per_s: Sequence[float] | float, start: float = 1e6) -> NDArray[np.float64]:
    return start + np.cumsum(np.broadcast_to(np.asarray(per_s, dtype=np.float64), (STEPS,)) * STEP_S)


def during(first: int, end: int, usual: float, then: float) -> list[float]:
    return [then if first <= step < end else usual for step in range(STEPS)]


def device(changes: Mapping[tuple[int, str], Values] | None = None, count: int = 4) -> PortSamples:
    """Ports of one device at 40 % use; `changes` by (port, name)."""
    one: dict[str, Values] = {
        SENT: growing(0.4 * NDR),
        RECEIVED: growing(0.35 * NDR),
        WAIT: growing(4000),
        SYMBOL_ERRORS: 3,
        RECEIVE_ERRORS: 0,
        RECOVERIES: 1,
        DOWNED: 1,
        DISCARDS: 0,
        INTEGRITY_ERRORS: 0,
        RATE: NDR,
        STATE: 4,
        PHYSICAL_STATE: 5,
        WIDTH: 4,
    }
    values = {name: np.broadcast_to(level, (count, STEPS)).astype(np.float64) for name, level in one.items()}
    for (row, name), changed in (changes or {}).items():
        values[name][row] = changed
    return PortSamples(tuple(Port("leaf-0", str(row)) for row in range(count)), values, STEP_S)


def told(samples: PortSamples, step: int = -1, row: int = 0) -> tuple[PortState, ...]:
    return tuple(finding.state for finding in port_findings(samples, step)[row].findings)


def timeline(samples: PortSamples, state: PortState, row: int = 0) -> list[int]:
    return np.flatnonzero(port_states(samples).holds(state)[row]).tolist()


def reason_at(samples: PortSamples, step: int) -> str:
    return port_findings(samples, step)[0].worst.reason


def test_a_port_at_ease_is_ok_and_says_how_much_it_is_used() -> None:
    (found, *_) = port_findings(device())
    assert found.worst.state is PortState.OK
    assert found.worst.numbers["utilization_ratio"] == pytest.approx(0.4)
    assert found.worst.numbers["transmit_wait_ratio"] == pytest.approx(4000 * 8 / NDR)


def test_a_full_port_is_saturated_whichever_way_the_data_go() -> None:
    for name in (SENT, RECEIVED):
        samples = device({(0, name): growing(during(10, 20, 0.4 * NDR, 0.97 * NDR))})
        assert timeline(samples, PortState.SATURATED) == list(range(10, 20))


def test_a_port_that_waits_without_being_full_is_a_victim() -> None:
    ticks_per_s = 0.2 * NDR / 8
    samples = device({(0, WAIT): growing(during(10, 20, 0, ticks_per_s))})
    assert timeline(samples, PortState.CONGESTED) == list(range(10, 20))
    (found, *_) = port_findings(samples, 15)
    assert found.worst.numbers["transmit_wait_ratio"] == pytest.approx(0.2)
    assert "downstream" in found.worst.reason


def test_a_full_port_that_waits_is_the_cause_not_a_victim() -> None:
    samples = device({(0, WAIT): growing(0.2 * NDR / 8), (0, SENT): growing(0.97 * NDR)})
    assert told(samples) == (PortState.SATURATED,)


def test_a_tick_is_as_many_bytes_as_the_switch_says() -> None:
    samples = device({(0, WAIT): growing(0.005 * NDR / 8)})
    assert told(samples) == (PortState.OK,)
    older = PortSamples(samples.devices, samples.values, samples.step_s, tick_bytes=32)
    assert told(older) == (PortState.CONGESTED,)


@pytest.mark.parametrize(
    ("name", "end"),
    [
        (WAIT, PINNED_32),
        (SENT, 4 * PINNED_32),
        (SYMBOL_ERRORS, 65535),
        (DISCARDS, 65535),
        (DOWNED, 255),
        (RECOVERIES, 255),
        (INTEGRITY_ERRORS, 15),
    ],
)
def test_a_counter_at_the_end_of_its_field_is_unknown_from_the_next_sample_on(name: str, end: float) -> None:
    fills = np.minimum(growing(during(0, 10, 0, end / 200), start=0), end)
    fills[10:] = end
    samples = device({(0, name): fills})
    assert timeline(samples, PortState.PINNED) == list(range(11, STEPS))
    (found, *_) = port_findings(samples)
    (pinned,) = [finding for finding in found.findings if finding.state is PortState.PINNED]
    assert pinned.numbers == {name: end}
    assert "not 0" in pinned.reason
    assert PortState.PINNED in DOUBTS


def test_a_port_whose_wait_is_pinned_does_not_say_that_it_waits_for_nothing() -> None:
    samples = device({(0, WAIT): PINNED_32, (0, SENT): growing(0.97 * NDR)})
    (found, *_) = port_findings(samples)
    assert found.worst.state is PortState.SATURATED
    assert "transmit_wait_ratio" not in found.worst.numbers
    assert "unknown" in found.worst.reason


def test_a_wide_counter_passes_the_end_of_a_narrow_field() -> None:
    passes = growing(1000, start=PINNED_32 - 10 * STEP_S * 1000)
    assert timeline(device({(0, WAIT): passes}), PortState.PINNED) == []


def test_counters_that_fall_together_were_cleared_by_somebody() -> None:
    def cleared(per_s: float) -> NDArray[np.float64]:
        before, after = growing(per_s, 1e13), growing(per_s, 0)
        return np.where(np.arange(STEPS) < 12, before, after - after[12])

    samples = device({(0, SENT): cleared(0.4 * NDR), (0, RECEIVED): cleared(0.35 * NDR)})
    assert timeline(samples, PortState.CLEARED) == [12]
    assert timeline(samples, PortState.SATURATED) == []
    (found, *_) = port_findings(samples, 12)
    assert found.worst.numbers.keys() == {f"{SENT}_before", f"{RECEIVED}_before"}


def test_counters_of_all_ports_that_fall_at_once_may_mean_a_restart() -> None:
    falls = during(0, 12, 0, 200)
    assert reason_at(device({(0, RECOVERIES): falls}), 12).startswith("somebody cleared counters since")
    everywhere = device({(row, RECOVERIES): falls for row in range(4)})
    assert reason_at(everywhere, 12).startswith("its device restarted, or somebody")


def test_a_counter_that_was_nearly_full_is_cleared_alone() -> None:
    assert timeline(device({(0, RECOVERIES): during(0, 12, 0, 250)}), PortState.CLEARED) == [12]
    assert timeline(device({(0, RECOVERIES): during(0, 12, 0, 2)}), PortState.CLEARED) == []


def test_symbol_errors_make_a_bad_link_and_are_told_for_a_minute() -> None:
    samples = device({(0, SYMBOL_ERRORS): growing(during(8, 16, 0, 100), start=3)})
    assert timeline(samples, PortState.BAD_LINK) == list(range(8, 20))
    assert reason_at(samples, 10) == "on the link itself, in the last 300 s: 4500 symbol errors"


def test_a_slow_leak_of_errors_is_told_steadily() -> None:
    samples = device({(0, SYMBOL_ERRORS): growing([1 / 15, 0] * (STEPS // 2), start=0)})
    bad = timeline(samples, PortState.BAD_LINK)
    assert bad == list(range(bad[0], STEPS))


def test_an_error_now_and_then_is_no_bad_link() -> None:
    assert told(device({(0, SYMBOL_ERRORS): growing(during(8, 9, 0, 5 / STEP_S), start=3)}), 8) == (PortState.OK,)


def test_lost_integrity_is_a_bad_link_at_once() -> None:
    assert told(device({(0, INTEGRITY_ERRORS): during(8, STEPS, 0, 1)}), 8) == (PortState.BAD_LINK,)


def test_a_link_that_went_down_and_is_up_again_flaps() -> None:
    samples = device({(0, DOWNED): during(8, STEPS, 1, 2)})
    assert timeline(samples, PortState.FLAPPING) == [8, 9, 10, 11, 12]
    assert "went down 1 times" in reason_at(samples, 9)


def test_a_link_that_is_retrained_again_and_again_flaps_and_once_does_not() -> None:
    often = [float(min(max(step - 7, 0), 3)) for step in range(STEPS)]
    assert timeline(device({(0, RECOVERIES): often}), PortState.FLAPPING)[0] == 10
    assert timeline(device({(0, RECOVERIES): during(8, STEPS, 1, 2)}), PortState.FLAPPING) == []


def test_a_link_that_is_not_up_is_down_and_flaps_once_it_is_back() -> None:
    samples = device({(0, STATE): during(8, 10, 4, 1), (0, PHYSICAL_STATE): during(8, 10, 5, 2)})
    assert timeline(samples, PortState.DOWN) == [8, 9]
    assert timeline(samples, PortState.FLAPPING) == [10, 11, 12, 13, 14]
    assert {PortState.DOWN, PortState.FLAPPING} <= FAULTS


@pytest.mark.parametrize(
    ("name", "changed", "words"),
    [
        (RATE, during(8, STEPS, NDR, NDR / 2), "200 instead of 400 Gb/s"),
        (RATE, NDR / 2, "200 instead of 400 Gb/s"),
        (WIDTH, 1, "1 instead of 4 lanes"),
    ],
    ids=["its own past", "its peers", "width"],
)
def test_a_link_that_is_less_than_it_was_or_than_its_peers_is_reduced(name: str, changed: Values, words: str) -> None:
    (found, *_) = port_findings(device({(0, name): changed}))
    assert found.worst.state is PortState.REDUCED
    assert words in found.worst.reason


def test_ports_that_are_slower_by_design_are_not_reduced() -> None:
    samples = device({(row, RATE): NDR / 2 for row in (0, 1)})
    assert not port_states(samples).holds(PortState.REDUCED).any()


def without(samples: PortSamples, rows: Sequence[int], steps: Sequence[int]) -> PortSamples:
    values = {name: matrix.copy() for name, matrix in samples.values.items()}
    for matrix in values.values():
        matrix[np.ix_(rows, steps)] = ABSENT
    return PortSamples(samples.devices, values, samples.step_s, samples.answered, samples.tick_bytes)


def test_a_missed_scrape_is_no_data_and_growth_over_it_is_spread() -> None:
    samples = without(device({(0, SENT): growing(0.6 * NDR)}), range(4), [10])
    assert timeline(samples, PortState.NO_DATA) == [10]
    assert told(samples, 10) == (PortState.NO_DATA,)
    assert port_findings(samples, 11)[0].worst.numbers["utilization_ratio"] == pytest.approx(0.6)


def test_why_there_is_no_data_is_told() -> None:
    samples = without(device(), range(4), [10])

    def reason(answered: Mapping[str, NDArray[np.bool_]]) -> str:
        return reason_at(PortSamples(samples.devices, samples.values, STEP_S, answered), 10)

    always, never = np.ones(STEPS, dtype=np.bool_), np.zeros(STEPS, dtype=np.bool_)
    all_gone = "its device answers, but reports no port: one bad file removes all of them"
    assert reason({"leaf-0": always}) == all_gone
    assert reason({"leaf-0": never}) == "its device was not scraped"
    assert reason({}) == "nothing of its device was scraped"
    assert reason_at(without(device(), [0], [10]), 10) == "it reports nothing while other ports of its device do"


def test_a_port_without_a_rate_is_not_called_unused() -> None:
    (found, *_) = port_findings(device({(0, RATE): ABSENT}))
    assert found.worst.state is PortState.OK
    assert "utilization_ratio" not in found.worst.numbers


def test_perfquery_counts_words_of_four_bytes() -> None:
    assert PERFQUERY["PortXmitData"] == (SENT, 4)


def test_matrices_of_unlike_shape_are_refused() -> None:
    with pytest.raises(ValueError, match="for 1 devices"):
        PortSamples((Port("a", "1"),), {SENT: np.zeros((2, 3))}, 15)


levels: Mapping[str, st.SearchStrategy[float]] = {
    SENT: st.sampled_from([ABSENT, 0, 1e11, 2e11, 8e11, 4 * PINNED_32]),
    WAIT: st.sampled_from([ABSENT, 0, 1e6, 1e9, PINNED_32, PINNED_32]),
    SYMBOL_ERRORS: st.sampled_from([ABSENT, 0, 1, 50, 65535]),
    RECOVERIES: st.sampled_from([ABSENT, 0, 1, 3, 255]),
    DOWNED: st.sampled_from([ABSENT, 0, 0, 1, 255]),
    INTEGRITY_ERRORS: st.sampled_from([ABSENT, 0, 0, 1, 15]),
    RATE: st.sampled_from([ABSENT, NDR, NDR, NDR / 2]),
    STATE: st.sampled_from([ABSENT, 4, 4, 1]),
}


@st.composite
def anything(draw: st.DrawFn) -> PortSamples:
    rows, steps = draw(st.integers(1, 5)), draw(st.integers(1, 8))
    values = {
        name: np.array(
            draw(st.lists(st.lists(level, min_size=steps, max_size=steps), min_size=rows, max_size=rows)), dtype=float
        )
        for name, level in levels.items()
    }
    return PortSamples(tuple(Port(f"leaf-{row % 2}", str(row)) for row in range(rows)), values, STEP_S)


def held(samples: PortSamples) -> NDArray[np.bool_]:
    return port_states(samples).held


@settings(max_examples=25, deadline=None)
@given(anything())
def test_names_change_nothing(samples: PortSamples) -> None:
    renamed = tuple(Port(f"x-{port.device}", f"y-{port.name}", "spine") for port in samples.devices)
    np.testing.assert_array_equal(held(PortSamples(renamed, samples.values, STEP_S)), held(samples))


@settings(max_examples=25, deadline=None)
@given(anything(), st.integers(1, 5))
def test_steps_before_the_first_sample_change_nothing_after_it(samples: PortSamples, shift: int) -> None:
    later = {
        name: np.pad(matrix, ((0, 0), (shift, 0)), constant_values=ABSENT) for name, matrix in samples.values.items()
    }
    np.testing.assert_array_equal(held(PortSamples(samples.devices, later, STEP_S))[:, :, shift:], held(samples))


@settings(max_examples=25, deadline=None)
@given(anything(), anything())
def test_ports_of_other_devices_change_nothing(samples: PortSamples, others: PortSamples) -> None:
    steps = samples.shape[1]
    strangers = tuple(Port(f"other-{port.device}", port.name) for port in others.devices)
    values = {}
    for name, matrix in samples.values.items():
        theirs = np.full((len(strangers), steps), ABSENT)
        width = min(steps, others.shape[1])
        theirs[:, :width] = others.values[name][:, :width]
        values[name] = np.vstack([matrix, theirs])
    both = PortSamples((*samples.devices, *strangers), values, STEP_S)
    np.testing.assert_array_equal(held(both)[:, : len(samples.devices)], held(samples))


@settings(max_examples=25, deadline=None)
@given(anything())
def test_what_comes_later_changes_nothing_before_it(samples: PortSamples) -> None:
    for end in range(1, samples.shape[1] + 1):
        start = {name: matrix[:, :end] for name, matrix in samples.values.items()}
        np.testing.assert_array_equal(held(PortSamples(samples.devices, start, STEP_S)), held(samples)[:, :, :end])


@settings(max_examples=25, deadline=None)
@given(anything())
def test_a_step_without_a_sample_claims_nothing_but_that(samples: PortSamples) -> None:
    states = port_states(samples)
    blank = np.logical_and.reduce([np.isnan(matrix) for matrix in samples.values.values()])
    for row, step in zip(*np.nonzero(blank), strict=True):
        assert states.at(int(row), int(step)) == (PortState.NO_DATA,)


@settings(max_examples=25, deadline=None)
@given(anything())
def test_every_port_has_a_state_with_a_reason_at_every_step(samples: PortSamples) -> None:
    for step in range(samples.shape[1]):
        for found in port_findings(samples, step):
            assert found.worst.reason
            assert all(
                finding.reason and np.isfinite(list(finding.numbers.values())).all() for finding in found.findings
            )
