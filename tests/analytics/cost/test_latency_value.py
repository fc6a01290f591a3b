import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analytics.cost.latency_value import (
    CORRELATION,
    Elasticity,
    ServiceValue,
    conversion_by_band,
    elasticity_seen,
    latency_value,
    latency_worth,
)
from domain.incident import Indicator

OURS = Elasticity((0.01, 0.03), "our own test of May 2026")


def test_value_is_an_interval_from_the_users_elasticity():
    # 50 ms are half of 100: half of 1 to 3 % of a million dollars a month
    found = latency_value(50, 1_000_000, OURS)
    assert found.usd_per_month == pytest.approx((5_000, 15_000))
    assert found.usd_per_year == pytest.approx((60_000, 180_000))
    assert found.reason == "our own test of May 2026"


def test_slower_answers_cost_and_no_change_is_worth_nothing():
    assert latency_value(-50, 1_000_000, OURS).usd_per_month == pytest.approx((-15_000, -5_000))
    assert latency_value(0, 1_000_000, OURS).usd_per_month == pytest.approx((0, 0))
    assert latency_value(1e6, 1_000, OURS).usd_per_month == (1_000, 1_000)  # never more than the value


def test_without_elasticity_or_value_nothing_is_made_up():
    for value, elasticity in ((1_000.0, None), (None, OURS)):
        found = latency_value(50, value, elasticity)
        assert (found.usd_per_month, found.usd_per_year, found.reason) == (None, None, "not configured")


def test_an_elasticity_has_a_source_and_is_a_share():
    for ratios, source in (((0.01, 0.03), " "), ((0.03, 0.01), "us"), ((-0.1, 0.1), "us"), ((0.1, 1.1), "us")):
        with pytest.raises(ValueError, match="an elasticity is a least and most share"):
            Elasticity(ratios, source)
    with pytest.raises(ValueError, match="milliseconds must be finite"):
        latency_value(float("nan"), 1.0, OURS)
    with pytest.raises(ValueError, match="value not negative"):
        latency_value(1.0, -1.0, OURS)


@given(st.floats(0, 5_000), st.floats(0, 1e9), st.floats(0, 1), st.floats(0, 1), st.floats(1, 4))
def test_value_grows_with_milliseconds_and_stays_within_the_whole(faster_ms, value, one, other, more):
    elasticity = Elasticity((min(one, other), max(one, other)), "us")
    base, greater = (latency_value(ms, value, elasticity).usd_per_month for ms in (faster_ms, faster_ms * more))
    assert base is not None
    assert greater is not None
    assert 0 <= base[0] <= base[1] <= value
    assert base[0] <= greater[0] + 1e-9
    assert base[1] <= greater[1] + 1e-9


def test_the_worth_of_a_service_is_of_100_ms_and_of_what_a_week_changed():
    value = ServiceValue("chat", Indicator.TTFT, 1_000_000.0, OURS)
    slower = latency_worth(value, 350.0, 300.0)
    assert slower.usd_per_month_of_100_ms == pytest.approx((10_000, 30_000))
    assert slower.change_usd_per_month == pytest.approx((-15_000, -5_000))
    assert latency_worth(value, 350.0, None).change_usd_per_month is None


def requests(bands: dict[float, tuple[int, int]]) -> pl.DataFrame:
    """Requests by latency: how many, and how many of them were converted."""
    rows = [(ms, n < converted) for ms, (count, converted) in bands.items() for n in range(count)]
    return pl.DataFrame(rows, schema={"latency_ms": pl.Float64(), "is_converted": pl.Boolean()}, orient="row")


def test_conversion_is_told_by_band_with_wilsons_interval():
    frame = pl.concat(
        [requests({50: (4, 2), 150: (2, 0)}), pl.DataFrame({"latency_ms": [None], "is_converted": [True]})]
    )
    bands = conversion_by_band(frame, [0, 100, 200, 300])
    assert bands.select("from_ms", "to_ms", "requests", "converted", "mean_ms", "ratio").rows() == [
        (0, 100, 4, 2, 50, 0.5),
        (100, 200, 2, 0, 150, 0),
    ]
    # 2 of 4: (0.5 + 1.92/4 ± 1.96·√(0.25/4 + 3.84/64)) / (1 + 3.84/4)
    assert bands.select("ratio_low", "ratio_high").row(0) == pytest.approx((0.1500, 0.8500), abs=1e-4)
    with pytest.raises(ValueError, match="requests lack is_converted"):
        conversion_by_band(frame.drop("is_converted"), [0, 1])
    with pytest.raises(ValueError, match="two or more rising ends"):
        conversion_by_band(frame, [1, 1])


def test_a_fall_by_band_is_read_as_an_elasticity_with_a_warning():
    # 20, 18, 16 %: 2 points by 100 ms of a mean of 18 % is 11.1 %; error 1.96·√(0.18·0.82 / 10,000) / √(2·100²)
    found, told = elasticity_seen(conversion_by_band(
        requests({100: (10_000, 2_000), 200: (10_000, 1_800), 300: (10_000, 1_600)}), [50, 150, 250, 350]
    ))  # fmt: skip
    assert found is not None
    assert found.lost_ratio_per_100_ms == pytest.approx((0.1111 - 0.0296, 0.1111 + 0.0296), abs=1e-4)
    assert told == found.source == CORRELATION
    assert "a correlation" in told


def test_no_fall_and_too_few_requests_tell_nothing():
    flat = conversion_by_band(requests({100: (500, 90), 200: (500, 91), 300: (500, 90)}), [50, 150, 250, 350])
    assert elasticity_seen(flat)[0] is None
    assert "told apart from chance" in elasticity_seen(flat)[1]
    few = conversion_by_band(requests({100: (500, 100), 200: (99, 10), 300: (500, 50)}), [50, 150, 250, 350])
    assert elasticity_seen(few) == (None, "2 bands of 100 or more requests; 3 are needed")
    alike = conversion_by_band(requests({100: (200, 0), 200: (200, 0), 300: (200, 0)}), [50, 150, 250, 350])
    assert elasticity_seen(alike) == (None, "all requests ended alike, so latency tells nothing")
