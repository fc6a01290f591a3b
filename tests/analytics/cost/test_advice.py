import pytest
from hypothesis import given
from hypothesis import strategies as st

from analytics.cost.advice import Advice, AdviceGap, AdviceKind, confidence, likeness, ranked


def advice(about: str = "chat", saves: tuple[float, float] = (100.0, 300.0), sure: float = 0.5) -> Advice:
    return Advice(AdviceKind.RELEASE, about, f"Give back GPUs of {about}.", saves, sure, (), (), (), ())


GAP = AdviceGap(AdviceKind.SPOT, "batch", "a price of spot", "Add one.")


def test_advice_is_ranked_by_the_middle_of_its_range_times_its_confidence():
    likely, large = advice("likely", (100, 300), 0.9), advice("large", (0, 1000), 0.3)
    assert (likely.expected_usd_per_month, large.expected_usd_per_month) == (180.0, 150.0)
    assert ranked([large, GAP, likely, GAP]).advice == (likely, large)


def test_savings_about_the_same_thing_are_not_added_up():
    found = ranked([advice("chat", (200, 200)), advice("chat", (400, 400)), advice("code", (600, 600))])
    assert found.expected_usd_per_month == 200 + 300


def test_what_is_not_worth_reading_is_dropped_and_a_gap_is_told_once():
    found = ranked([advice(saves=(60, 100), sure=0.5), advice(saves=(0, 0), sure=1.0), GAP, GAP], 40.0)
    assert [one.expected_usd_per_month for one in found.advice] == [40.0]
    assert found.gaps == (GAP,)
    assert ranked([advice(saves=(60, 100), sure=0.5)], 40.01).advice == ()
    assert ranked([advice(saves=(0, 0))], 0.0).advice == ()


def test_a_saving_that_is_negative_or_upside_down_cannot_be_advised():
    for saves in ((-1.0, 5.0), (5.0, 4.0), (0.0, float("inf")), (float("nan"), 1.0)):
        with pytest.raises(ValueError, match="a saving is least then most"):
            advice(saves=saves)
    with pytest.raises(ValueError, match="confidence is 0 to 1; got 1"):
        advice(sure=1.5)
    with pytest.raises(ValueError, match="0 or more dollars"):
        ranked([], -1.0)


def test_confidence_is_the_product_of_method_time_and_coverage():
    assert confidence(1.0, 24, 1.0) == 0.5
    assert confidence(1.0, 168, 1.0) == 0.875
    assert confidence(0.8, 24, 0.5) == pytest.approx(0.2)
    assert confidence(1.0, 0, 1.0) == 0
    for bad in ((1.1, 24, 1.0), (0.5, -1, 1.0), (0.5, 24, -0.1), (float("nan"), 24, 1.0)):
        with pytest.raises(ValueError, match="confidence takes shares"):
            confidence(*bad)


@given(st.floats(0, 1), st.floats(0, 1e6), st.floats(0, 1))
def test_confidence_stays_a_share_and_grows_with_the_time_seen(method, hours, coverage):
    assert 0 <= confidence(method, hours, coverage) <= confidence(method, hours + 24, coverage) <= 1


def test_halves_are_alike_by_the_lesser_over_the_greater():
    assert (likeness(2, 4), likeness(4, 2), likeness(3, 3), likeness(0, 5), likeness(0, 0)) == (0.5, 0.5, 1, 0, 1)
    with pytest.raises(ValueError, match="not negative"):
        likeness(-1, 1)
