"""What the pages of cost read, each answer kept for a while.

An open page asks again every few seconds, while the hours that make its figures are over and seldom change.
"""

from dataclasses import replace
from datetime import datetime, timedelta

import polars as pl

from analytics.cost.advice import Ranking
from analytics.cost.advice_jobs import cost_advice
from analytics.cost.forecast import Forecast, NoForecast
from analytics.cost.jobs import (
    Costs,
    budget_statuses,
    costs_of,
    spend_forecast,
    unit_costs_of,
    variance_of,
)
from analytics.cost.runaway import BudgetStatus
from analytics.cost.variance import Variance
from dashboards.cache import AnswerCache, BackgroundAnswer
from dashboards.context import PageContext
from dashboards.state import COST_RANGE, COST_RANGES, PageState
from domain.window import Window

_COSTS_KEPT_S = 60.0
_LIVE_HOURS_MAX = 2  # the others are there once they are settled: nobody waits for a page until then
_WAIT_S = 3.0  # for a forecast or advice: to try what could be takes longer than a page may


def cost_window(state: PageState, now: datetime) -> Window:
    """The range that is asked for, up to the last hour that is over."""
    end = hour_before(now)
    chosen = COST_RANGES.get(state.range_name or COST_RANGE, COST_RANGES[COST_RANGE])
    return Window(end - timedelta(seconds=chosen.seconds), end)


def hour_before(now: datetime) -> datetime:
    """The end of the last hour that is over."""
    return now.replace(minute=0, second=0, microsecond=0)


def known_costs(units: pl.DataFrame) -> pl.DataFrame:
    """Unit costs with null for dollars of groups that no GPU time with a price is known of: that is not 0.

    Args:
        units: as of `analytics.cost.jobs.unit_costs_of`.
    """
    dollars = [name for name in units.columns if name.endswith("_usd") and name != "full_cost_usd"]
    return units.with_columns(pl.when(pl.col("gpu_hours") > 0).then(pl.col(dollars)))


class CostReader:
    """Bills, unit costs, forecast and advice. Call it in a worker thread."""

    def __init__(self, context: PageContext) -> None:
        self._context = context
        self._costs: AnswerCache[Costs] = AnswerCache(_COSTS_KEPT_S)
        self._units: AnswerCache[pl.DataFrame] = AnswerCache(_COSTS_KEPT_S)
        self._variances: AnswerCache[Variance] = AnswerCache(_COSTS_KEPT_S)
        self._budgets: BackgroundAnswer[list[BudgetStatus]] = BackgroundAnswer()
        self._forecast: BackgroundAnswer[Forecast | NoForecast] = BackgroundAnswer()
        self._ranking: BackgroundAnswer[Ranking] = BackgroundAnswer()

    def costs(self, window: Window) -> Costs:
        """The bill of a window, split."""
        return self._costs.get(window, lambda: self._costs_of(window))

    def _costs_of(self, window: Window) -> Costs:
        return costs_of(self._context.store, window, self._context.pricing(), live_hours_max=_LIVE_HOURS_MAX)

    def before(self, window: Window) -> Costs:
        """The bill of as long a window before."""
        return self.costs(Window(window.start - (window.end - window.start), window.start))

    def variance(self, window: Window) -> Variance:
        """Why the bill of a window differs from that of as long a window before, of the hours known in both."""
        return self._variances.get(window, lambda: variance_of(self.before(window), self.costs(window)))

    def budgets(self, now: datetime) -> list[BudgetStatus] | None:
        """Where the budgets stand, made as the forecast is; none where none is set."""
        pricing = self._context.pricing()
        if not pricing.budgets:
            return []
        key = (hour_before(now), pricing.budgets)
        return self._budgets.get(key, lambda: budget_statuses(self._context.store, now, pricing), _WAIT_S)

    def units(self, window: Window, *by: str) -> pl.DataFrame:
        """What one of something costs in a window, by dimensions."""

        def ask() -> pl.DataFrame:
            return known_costs(unit_costs_of(self._context.store, self.costs(window), self._context.objectives(), by))

        return self._units.get((window, by), ask)

    def units_of_model(self, window: Window, model: str) -> pl.DataFrame:
        """The same of one model by tenants; what they bear in full is the model's own time, busy and idle."""

        def ask() -> pl.DataFrame:
            costs = self.costs(window)
            own = replace(costs, allocation=costs.allocation.filter(pl.col("model") == model), unpriced_gpu_seconds=0.0)
            frame = unit_costs_of(self._context.store, own, self._context.objectives(), ("model", "tenant"))
            return known_costs(frame.filter(pl.col("model") == model).drop("model"))

        return self._units.get((window, "tenants of", model), ask)

    def forecast(self, now: datetime) -> Forecast | NoForecast | None:
        """What will be spent, by the newest fit: at most an hour old, or a little more while the next is made.

        None while the first is being made.
        """
        return self._forecast.get(
            hour_before(now), lambda: spend_forecast(self._context.store, now, self._context.pricing()), _WAIT_S
        )

    def advice(self, now: datetime) -> Ranking | None:
        """What could be saved, made as the forecast is."""

        def ask() -> Ranking:
            return cost_advice(self._context.store, now, self._context.pricing(), self._context.objectives())

        return self._ranking.get(hour_before(now), ask, _WAIT_S)

    def uses_list_prices(self, costs: Costs) -> bool:
        """Does the bill rest on a public list price."""
        return bool(set(costs.allocation["price"].drop_nulls()) & self._context.pricing().book.list_prices)
