from datetime import datetime, timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analytics.spikes import (
    Spike,
    SpikeSettings,
    begun_with_others,
    find_spikes,
    led_in_by_failures,
    one_for_overlapping,
    rise_within,
    until_failures_end,
    usual_and_failing,
    usual_and_raised,
)
from domain.incident import Indicator
from domain.window import Window
from tests import naive
from tests.analytics.frames import STEP_S, at, request_series

SETTINGS = SpikeSettings()
SHORT = SpikeSettings(history_s=300)
STEP = timedelta(seconds=STEP_S)

percentiles = st.lists(st.floats(1, 1e5), max_size=60)


def calm(count: int, usual_ms: float = 200.0, seed: int = 1) -> list[float]:
    """p99 that varies as that of a busy service does: by some per cent."""
    return list(usual_ms * np.random.default_rng(seed).lognormal(0, 0.05, count))


def spikes_of(values: list[float | None], settings: SpikeSettings = SETTINGS) -> list[Spike]:
    return found_in(request_series(values), settings)


def found_in(series: pl.DataFrame, settings: SpikeSettings = SETTINGS) -> list[Spike]:
    """The spikes of a look that ends with the data."""
    return find_spikes(series, series["time"].to_list()[-1] + STEP, settings)


@settings(max_examples=60, deadline=None)
@given(percentiles, st.data())
def test_what_is_said_of_a_bucket_does_not_depend_on_what_came_later(p99: list[float], data: st.DataObject) -> None:
    cut = data.draw(st.integers(0, len(p99)))
    seconds = STEP_S * np.arange(len(p99), dtype=float)
    usual, raised = usual_and_raised(seconds, np.array(p99), SHORT)
    usual_then, raised_then = usual_and_raised(seconds[:cut], np.array(p99[:cut]), SHORT)
    np.testing.assert_array_equal(usual[:cut], usual_then)
    np.testing.assert_array_equal(raised[:cut], raised_then)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 6), st.floats(1, 1e5)), max_size=50))
def test_buckets_are_raised_as_by_the_rule_read_out_loud(buckets: list[tuple[int, float]]) -> None:
    seconds = np.cumsum([STEP_S * steps for steps, _ in buckets], dtype=float)
    p99 = np.array([value for _, value in buckets])
    _, raised = usual_and_raised(seconds, p99, SHORT)
    assert raised.tolist() == naive.raised(
        seconds.tolist(),
        p99.tolist(),
        history_s=SHORT.history_s,
        history_buckets_min=SHORT.history_buckets_min,
        sigmas=SHORT.sigmas,
        ratio_min=SHORT.ratio_min,
        excess_ms_min=SHORT.excess_ms_min,
        raised_of=SHORT.raised_of,
        held_min=SHORT.held_min,
        held_of=SHORT.held_of,
    )


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 6), st.integers(1, 40), st.floats(0, 1)), max_size=50))
def test_more_fail_than_usual_as_by_the_rule_read_out_loud(buckets: list[tuple[int, int, float]]) -> None:
    seconds = np.cumsum([STEP_S * steps for steps, _, _ in buckets], dtype=float)
    requests = np.array([count for _, count, _ in buckets], dtype=np.int64)
    failed = np.array([round(ratio**3 * count) for _, count, ratio in buckets], dtype=np.int64)
    _, failing = usual_and_failing(seconds, failed, requests, SHORT)
    assert failing.tolist() == naive.failing(
        seconds.tolist(),
        failed.tolist(),
        requests.tolist(),
        history_s=SHORT.history_s,
        history_buckets_min=SHORT.history_buckets_min,
        failures_min=SHORT.failures_min,
        chance_max=SHORT.failures_chance_max,
    )


@pytest.mark.parametrize("factor", [2.0, 5.0, 50.0])
def test_a_step_change_is_found_at_its_first_bucket_and_detected_one_bucket_later(factor: float) -> None:
    (spike,) = spikes_of([*calm(100), *(factor * value for value in calm(20, seed=2)), *calm(20, seed=3)])
    assert spike.window == Window(at(100 * STEP_S), at(120 * STEP_S))
    assert spike.detected_at == at(102 * STEP_S), "two raised buckets are known when the second one ends"
    assert not spike.ongoing
    assert spike.baseline_ms_p99 == pytest.approx(200, rel=0.05)
    assert spike.peak_ms_p99 == pytest.approx(200 * factor, rel=0.2)


def test_a_plateau_longer_than_the_history_stays_one_spike() -> None:
    plateau = [10 * value for value in calm(200, seed=2)]
    (spike,) = spikes_of([*calm(50), *plateau], SHORT)
    assert spike.window.seconds == len(plateau) * STEP_S
    assert spike.ongoing
    assert spike.baseline_ms_p99 == pytest.approx(200, rel=0.1)


def test_a_spike_closes_after_enough_calm_buckets_and_ends_with_its_last_raised_one() -> None:
    raised, calm_buckets = [2000.0, 2000.0, 2000.0], SETTINGS.calm_buckets
    (one,) = spikes_of([*calm(50), *raised, *calm(calm_buckets - 1, seed=2), *raised, *calm(20, seed=3)])
    assert one.window.seconds == (2 * 3 + calm_buckets - 1) * STEP_S, "a shorter break is within one spike"
    first, second = spikes_of([*calm(50), *raised, *calm(calm_buckets, seed=2), *raised, *calm(20, seed=3)])
    assert first.window.end == at(53 * STEP_S)
    assert second.window.start == at((53 + calm_buckets) * STEP_S)


def test_a_faint_pair_of_raised_buckets_long_before_is_not_where_the_spike_began() -> None:
    stray = [330.0, 330.0]
    (spike,) = spikes_of([*calm(50), *stray, *calm(8, seed=2), *([8000.0] * 20), *calm(20, seed=3)])
    assert spike.window == Window(at(60 * STEP_S), at(80 * STEP_S))


def test_one_slow_bucket_alone_is_no_spike() -> None:
    assert spikes_of([*calm(50), 5000.0, *calm(20, seed=2)]) == []


def test_a_rise_of_few_milliseconds_is_no_spike_however_steep() -> None:
    assert spikes_of([*calm(50, usual_ms=5.0), *([15.0] * 10)]) == []


def test_noise_alone_gives_less_than_one_spike_in_four_thousand_buckets() -> None:
    """p99 of thirty lognormal requests a bucket: what a small service shows on a calm day."""
    random = np.random.default_rng(20261123)
    p99 = np.quantile(random.lognormal(np.log(200), 0.5, (20_000, 30)), 0.99, axis=1)
    found = spikes_of(list(p99))
    assert len(found) / len(p99) < 1 / 4000, f"{len(found)} spikes in {len(p99)} buckets of noise"


def test_the_first_buckets_are_not_judged_because_nothing_says_what_is_usual() -> None:
    seconds = STEP_S * np.arange(7, dtype=float)
    usual, raised = usual_and_raised(seconds, np.array([100.0, 100.0, 9000.0, *[100.0] * 4]), SETTINGS)
    assert np.isnan(usual[:6]).all()
    assert not raised[:6].any()
    assert usual[6] == pytest.approx(100)


def test_a_gap_longer_than_the_history_makes_what_was_usual_unknown() -> None:
    seconds = [*(STEP_S * step for step in range(30)), *(STEP_S * (30 + step) + 400 for step in range(5))]
    series = request_series([*calm(30), *([2000.0] * 5)], seconds=seconds)
    assert found_in(series, SHORT) == []


def test_a_gap_within_a_spike_does_not_end_it() -> None:
    seconds = [*(STEP_S * step for step in range(50)), 50 * STEP_S, 51 * STEP_S, 58 * STEP_S, 59 * STEP_S]
    (spike,) = found_in(request_series([*calm(50), *([2000.0] * 4)], seconds=seconds), SETTINGS)
    assert spike.window == Window(at(50 * STEP_S), at(60 * STEP_S))


@pytest.mark.parametrize(("requests", "is_over"), [(100, False), (1, True)])
def test_a_spike_goes_on_while_nothing_comes_where_much_should(requests: int, *, is_over: bool) -> None:
    series = request_series([*calm(50), *([2000.0] * 5)]).with_columns(pl.lit(requests, pl.UInt64).alias("requests"))
    ends = at(55 * STEP_S)
    (soon,), (later,) = (find_spikes(series, ends + quiet, SETTINGS) for quiet in (STEP, 2 * SETTINGS.calm))
    assert soon.ongoing
    assert later.ongoing is not is_over
    assert soon.window == later.window


def test_what_is_slow_again_when_requests_come_again_is_the_same_spike() -> None:
    back_s = 55 * STEP_S + 1800
    before, after = [*calm(50), *([2000.0] * 5)], [*([2000.0] * 4), *calm(20, seed=2)]
    seconds = [*(STEP_S * step for step in range(55)), *(back_s + STEP_S * step for step in range(24))]
    (spike,) = found_in(request_series(before + after, seconds=seconds))
    assert spike.window == Window(at(50 * STEP_S), at(back_s + 4 * STEP_S))
    assert not spike.ongoing
    (over,) = found_in(request_series(before + calm(24, seed=2), seconds=seconds))
    assert (over.window.end, over.ongoing) == (at(55 * STEP_S), False)


def test_a_bucket_without_a_measurement_is_neither_raised_nor_usual() -> None:
    values: list[float | None] = [*calm(50), 2000.0, None, 2000.0, *calm(20, seed=2)]
    (spike,) = spikes_of(values)
    assert spike.window == Window(at(50 * STEP_S), at(53 * STEP_S))


def test_time_to_first_token_and_latency_that_spike_together_are_one_spike_named_by_the_earlier() -> None:
    early = [*calm(50), *([2000.0] * 30), *calm(30, seed=3)]
    late = [*calm(60), *([2000.0] * 20), *calm(30, seed=2)]

    def told(ttft: list[float], latency: list[float]) -> Indicator:
        both = found_in(request_series(ttft, latency), SETTINGS)
        assert len(both) == 2
        (one,) = one_for_overlapping(both)
        return one.indicator

    assert told(early, late) is Indicator.TTFT
    assert told(late, early) is Indicator.LATENCY
    assert told(early, early) is Indicator.TTFT, "where both begin together the first token tells more"


def test_a_spike_begins_with_the_others_where_the_minutes_before_them_are_nothing_by_themselves() -> None:
    def spike(indicator: Indicator, first: int, end: int = 990) -> Spike:
        return Spike(
            "chat",
            None,
            indicator,
            Window(at(first), at(end)),
            at(first + 30),
            ongoing=False,
            baseline_ms_p99=200.0,
            peak_ms_p99=9000.0,
        )

    early, others = spike(Indicator.TTFT, 600), [spike(Indicator.LATENCY, 750), spike(Indicator.TPOT, 765)]
    asked: list[Window] = []

    def begun(others: list[Spike], *, notable: bool = False) -> Window:
        def is_notable(window: Window) -> bool:
            asked.append(window)
            return notable

        return begun_with_others(early, [early, *others], is_notable).window

    assert begun(others) == Window(at(750), at(990))
    assert asked == [Window(at(600), at(750))]
    assert begun(others, notable=True) == early.window
    assert begun(others[:1]) == early.window, "one other alone says little"
    assert begun([spike(Indicator.LATENCY, 660), *others]) == early.window, "a minute is no gap"
    assert begun([spike(Indicator.LATENCY, 1200, 1300), others[0]]) == early.window, "another time is no other"


@pytest.mark.parametrize(
    ("before", "after", "told"), [(3, 12, True), (3, 4, False), (12, 3, False), (0, 6, True), (0, 1, False)]
)
def test_a_spike_rose_again_where_clearly_more_of_its_requests_are_slow(before: int, after: int, *, told: bool) -> None:
    slow = [before + wave for wave in (0, 1, 0, -1)] * 4 + [after + wave for wave in (0, 1, 0, -1)] * 5
    slow = [max(0, one) for one in slow]
    counts = pl.DataFrame({"time": [at(STEP_S * step) for step in range(len(slow))], "requests": 60, "slow": slow})
    assert rise_within(counts) == (at(STEP_S * 16) if told else None)


def test_a_part_of_a_spike_lasts_some_steps_and_one_step_full_of_slow_requests_begins_none() -> None:
    def rose(*slow: int) -> datetime | None:
        times = [at(STEP_S * step) for step in range(len(slow))]
        return rise_within(pl.DataFrame({"time": times, "requests": 60, "slow": list(slow)}))

    assert rose(0, 0, 0, 0, *[20] * 12) == at(STEP_S * 4)
    assert rose(0, 0, 0, *[20] * 12) is None
    assert rose(0, 0, 0, 0, 20, 20, 20) is None
    assert rose(*[2] * 8, 50, *[2] * 8) is None


def test_shares_that_wander_by_themselves_seldom_rise_again() -> None:
    random = np.random.default_rng(3)
    found = 0
    for _ in range(200):
        wander = np.zeros(60)
        for step in range(1, 60):
            wander[step] = 0.8 * wander[step - 1] + random.normal(0, 0.25)
        slow = random.binomial(30, 1 / (1 + np.exp(2.5 - wander)))
        counts = pl.DataFrame({"time": [at(STEP_S * step) for step in range(60)], "requests": 30, "slow": slow})
        found += rise_within(counts) is not None
    assert found <= 20


def test_a_spike_of_times_begins_with_the_failures_that_it_follows_upon() -> None:
    def spike(indicator: Indicator, first: int, end: int, model: str | None = None) -> Spike:
        window = Window(at(first), at(end))
        return Spike(
            "chat", model, indicator, window, at(first + 30), ongoing=False, baseline_ms_p99=200.0, peak_ms_p99=9000.0
        )

    slow = spike(Indicator.TTFT, 660, 990)
    failed = spike(Indicator.ERRORS, 600, 645)
    for lead, since in ((failed, 600), (spike(Indicator.ERRORS, 435, 480), 435)):
        begun = led_in_by_failures(slow, [slow, lead], SETTINGS.calm)
        assert (begun.window, begun.indicator) == (Window(at(since), at(990)), Indicator.TTFT)
        assert begun.detected_at == at(since + 30)
    for other in (
        spike(Indicator.ERRORS, 430, 475),  # had closed
        spike(Indicator.ERRORS, 300, 645),  # had failed for long
        spike(Indicator.LATENCY, 600, 645),
        spike(Indicator.ERRORS, 600, 645, "small"),
        spike(Indicator.ERRORS, 675, 690),
    ):
        assert led_in_by_failures(slow, [slow, other], SETTINGS.calm) == slow
    assert led_in_by_failures(failed, [failed, spike(Indicator.ERRORS, 500, 570)], SETTINGS.calm) == failed


def test_a_spike_of_times_goes_on_while_requests_fail_for_what_fails_has_no_time() -> None:
    def spike(indicator: Indicator, first: int, end: int, *, ongoing: bool = False) -> Spike:
        window = Window(at(first), at(end))
        return Spike("chat", None, indicator, window, at(first + 30), ongoing, 200.0, 9000.0)

    slow = spike(Indicator.TTFT, 600, 660)
    failing = spike(Indicator.ERRORS, 645, 990, ongoing=True)
    lasting = until_failures_end(slow, [slow, failing])
    assert (lasting.window, lasting.ongoing, lasting.indicator) == (Window(at(600), at(990)), True, Indicator.TTFT)
    later = spike(Indicator.ERRORS, 900, 990)
    as_long = spike(Indicator.LATENCY, 645, 990)
    assert until_failures_end(slow, [slow, later, as_long]) == slow


def test_spikes_that_do_not_overlap_or_are_not_of_the_same_model_are_kept_apart() -> None:
    first = request_series([*calm(50), *([2000.0] * 10), *calm(40, seed=2)], model="large")
    second = request_series([*calm(50), *([2000.0] * 10), *calm(40, seed=2)], model="small")
    spikes = found_in(pl.concat([first, second]), SETTINGS)
    assert one_for_overlapping(spikes) == spikes
    apart = found_in(request_series([*calm(50), *([2000.0] * 5), *calm(45)], [*calm(90), *([2000.0] * 10)]))
    assert [spike.indicator for spike in one_for_overlapping(apart)] == [Indicator.TTFT, Indicator.LATENCY]


def test_services_and_models_are_judged_each_by_its_own_past() -> None:
    sick = request_series([*calm(50), *([2000.0] * 10)], model="large")
    well = request_series(calm(60, usual_ms=2000.0), model="small")
    other = request_series([*calm(40), *([3000.0] * 20)], service="search")
    found = found_in(pl.concat([well, sick, other]), SETTINGS)
    assert [(spike.service, spike.model) for spike in found] == [("search", None), ("chat", "large")]


def test_a_service_that_never_tells_a_first_token_is_judged_by_its_latency() -> None:
    series = request_series([None] * 60, [*calm(50), *([2000.0] * 10)])
    (spike,) = found_in(series, SETTINGS)
    assert spike.indicator is Indicator.LATENCY
