"""Why a bill changed, and budgets: the words and figures of both panels."""

from dataclasses import replace
from datetime import timedelta

import polars as pl
import pytest

from analytics.cost.forecast import Total
from analytics.cost.runaway import Budget, BudgetState, BudgetStatus
from analytics.cost.variance import Part, Variance
from dashboards import cost_change, cost_figures
from dashboards.cost_words import PARTS
from dashboards.freshness import gaps
from dashboards.pages import cost
from domain.cost import NANOUSD
from domain.window import Window
from tests.dashboards.frames import NOON, minutes_ago
from tests.dashboards.reading import classes, words
from tests.dashboards.test_cost_pages import costs_of, paid

_GROUPS = pl.DataFrame({"group": ["llama-70b", None], "difference_nanousd": [240 * NANOUSD, -1 * NANOUSD]})


def _variance(**usd: int) -> Variance:
    parts = {part: usd.get(part.value, 0) * NANOUSD for part in Part}
    after = 1_000 * NANOUSD + sum(parts.values())
    return Variance("model", 1_000 * NANOUSD, after, parts, _GROUPS, (0.0, 0.0), (168, 168))


def test_the_waterfall_leads_from_the_one_bill_to_the_other_without_a_gap() -> None:
    figure = cost_figures.waterfall(_variance(volume=300, price=-50, idle=20))
    bars, bills = figure["data"]
    assert bills["x"] == [1_000, 1_270]
    level = 1_000.0
    for base, usd in zip(bars["base"], bars["x"], strict=True):
        assert base == pytest.approx(level)
        level += usd
    assert level == pytest.approx(1_270)
    assert len(bars["x"]) == 3  # what changed nothing is left out
    colours = dict(zip(bars["y"], bars["marker"]["color"], strict=True))
    assert (colours["Volume"], colours["Price"]) == ("$warning", "$good")
    low, high = figure["layout"]["xaxis"]["range"]
    assert low < 950
    assert high > 1_300
    label = figure["layout"]["meta"]["label"]
    assert label == "From $1,000 to $1,270: Price −$50.00, Volume +$300, Idle +$20.00"


def test_why_is_told_in_words_worst_first_and_what_hardly_moved_is_not() -> None:
    told = words(cost_change.why_words(_variance(volume=300, price=-50, idle=3)))
    assert told.startswith("+$300 Volume more tokens were asked for −$50.00 Price GPU time cost less")
    assert "Idle" not in told
    assert told.endswith("By model: llama-70b +$240")
    assert words(cost_change.why_words(_variance(idle=3))) == "Nothing moved by more than 2 % of the bill."


def test_every_part_of_a_difference_has_words() -> None:
    assert set(PARTS) == set(Part)


def test_a_time_before_that_is_not_known_whole_or_cost_nothing_is_nothing_to_compare_with() -> None:
    whole = costs_of(*(paid(ago, 5.0) for ago in (1, 2, 3, 4)), hours=4)
    in_part = costs_of(*(paid(ago, 5.0) for ago in (1, 2, 3)), hours=4)
    free = costs_of(*(paid(ago, 0.0) for ago in (1, 2, 3, 4)), hours=4)
    assert cost_change.compared(whole, whole) is not None
    for before in (in_part, free):
        assert cost_change.compared(whole, before) is None
    for costs in (in_part, free):
        assert cost_change.compared(costs, whole) is None


def test_two_bills_are_held_against_each_other_by_the_hours_that_are_known_in_both() -> None:
    now = costs_of(*(paid(ago, 3.0) for ago in range(1, 101) if ago != 7), hours=100)
    then = costs_of(*(paid(ago, 2.0) for ago in range(101, 201) if ago != 150), hours=100)
    before = replace(then, window=Window(NOON - timedelta(hours=200), NOON - timedelta(hours=100)))
    found = cost_change.compared(now, before)
    assert found is not None
    assert (found.hours, found.before_usd, found.after_usd) == (98, 196.0, 294.0)
    told = cost.change(now, before)
    assert words(told) == "+50 %"
    assert told.title.endswith("both of the 98 hours that are known in both")


def test_a_budget_of_few_known_hours_says_so() -> None:
    status = replace(_status(BudgetState.MET, 300.0, 900.0), known_hours=50, hours=704)
    told = words(cost_change.budgets_panel([status], NOON))
    assert "50 of 704 h known" in told
    assert "of the known hours, and the rest" in told
    known = words(cost_change.budgets_panel([replace(status, known_hours=704)], NOON))
    assert "known" not in known


_BUDGET = Budget("gpus", 1_000.0)


def _status(state: BudgetState, spent: float | None, ahead: float | None) -> BudgetStatus:
    total = None if ahead is None else Total(NOON, NOON + timedelta(days=7), ahead, {}, {})
    return BudgetStatus(
        _BUDGET, state, NOON - timedelta(days=22), NOON + timedelta(days=8), spent,
        None if spent is None else spent / 1_000, total, None if ahead is None else ahead / 1_000,
    )  # fmt: skip


def test_a_budget_tells_what_is_spent_what_will_be_and_until_when() -> None:
    panel = cost_change.budgets_panel([_status(BudgetState.AT_RISK, 640.0, 1_310.0)], NOON)
    told = words(panel)
    assert "At risk gpus $1,000 a month $640 64 % $1,310 131 % 1 Dec 12:00" in told
    assert "fill-critical" not in classes(panel)


def test_a_spent_budget_stands_out_and_one_without_a_forecast_says_so() -> None:
    panel = cost_change.budgets_panel([_status(BudgetState.MISSED, 1_200.0, None)], NOON)
    assert "no forecast" in words(panel)
    assert "fill-critical" in classes(panel)
    unknown = cost_change.budgets_panel([_status(BudgetState.NO_DATA, None, None)], NOON)
    assert "No data gpus $1,000 a month — no forecast" in words(unknown)


def test_without_budgets_there_is_no_panel_and_while_the_first_is_made_it_says_so() -> None:
    assert cost_change.budgets_panel([], NOON) is None
    assert "Looking ahead" in words(cost_change.budgets_panel(None, NOON))


def test_a_budget_of_one_tenant_says_whose_it_is() -> None:
    own = replace(_status(BudgetState.MET, 1.0, 2.0), budget=Budget("acme", 1_000.0, tenant="acme-search"))
    assert "a month, acme-search" in words(cost_change.budgets_panel([own], NOON))


def test_a_budget_of_gpus_that_tell_nothing_is_met_as_of_when_they_did() -> None:
    (stale,) = gaps({"samples": minutes_ago(7)}, None, NOON, 120)
    panel = cost_change.budgets_panel([_status(BudgetState.MET, 1.0, 2.0)], NOON, stale)
    assert "Healthy as of 11:53, no data since gpus" in words(panel)
