from datetime import UTC, datetime, timedelta

import polars as pl
import pytest

from dashboards.cost_reading import cost_window, known_costs
from dashboards.state import PageState

NOW = datetime(2026, 11, 23, 14, 20, 7, tzinfo=UTC)


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
