import polars as pl
import pytest

from analytics.scaling import ENGINES, scaling_signal


def engines(*rows):
    return pl.DataFrame(rows, schema=ENGINES, orient="row")


@pytest.mark.parametrize(
    ("rows", "pressure", "desired"),
    [
        ([("a", 10.0, 0.0, 0.72), ("b", 10.0, 0.0, 0.72)], 0.9, 2),
        ([("a", 10.0, 10.0, 0.5), ("b", 10.0, 10.0, 0.5)], 2.0, 4),
        ([("a", 10.0, 0.0, 0.96), ("b", 10.0, 0.0, 0.96)], 1.2, 3),
        ([("a", 1.0, 0.0, 0.08), ("b", 1.0, 0.0, 0.08), ("c", 1.0, 0.0, 0.08)], 0.1, 1),
        ([("a", 0.0, 0.0, 0.0)], 0.0, 1),
        ([("a", 1.0, 30.0, 0.1)], 31.0, 2),
        ([("a", 5.0, None, None), ("b", 5.0, None, None)], 1.0, 2),
    ],
)
def test_replicas_follow_what_the_engines_bear(rows, pressure, desired):
    found = scaling_signal(engines(*rows))
    assert found.pressure_ratio == pytest.approx(pressure)
    assert found.desired_replicas == desired
    assert found.replicas == len(rows)


def test_nothing_is_wanted_where_nothing_is_known():
    assert scaling_signal(engines()) is None
    assert scaling_signal(engines(("a", None, 3.0, 0.4))) is None


def test_engines_that_hang_ask_for_no_more_of_them():
    assert scaling_signal(engines(("a", 0.0, 50.0, 0.2), ("b", 0.0, 50.0, 0.2))) is None


def test_what_engines_do_not_tell_stays_unknown():
    found = scaling_signal(engines(("a", 5.0, None, None)))
    assert (found.waiting, found.kv_usage_ratio) == (None, None)
