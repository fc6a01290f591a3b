"""What the pages of cost read, each answer kept for a while.

An open page asks again every few seconds, while the hours that make its figures are over and seldom change.
"""

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Generic, TypeVar

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
)
from analytics.cost.runaway import BudgetStatus
from analytics.cost.variance import Variance, alike, variance
from dashboards.context import PageContext
from dashboards.state import COST_RANGE, COST_RANGES, PageState
from domain.window import Window

_log = logging.getLogger(__name__)

_COSTS_KEPT_S = 60.0
_LIVE_HOURS_MAX = 2  # the others are there once they are settled: nobody waits for a page until then
_WAIT_S = 3.0  # for a forecast or advice: to try what could be takes longer than a page may
_KEPT_MAX = 24

Answer = TypeVar("Answer")


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


class Kept(Generic[Answer]):
    """The newest answers, each for so many seconds. Whoever asks for one that is being made waits for that one."""

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds = seconds
        self._clock = clock
        self._answers: OrderedDict[Hashable, tuple[float, Answer]] = OrderedDict()
        self._making: dict[Hashable, threading.Lock] = {}
        self._lock = threading.Lock()

    def get(self, key: Hashable, ask: Callable[[], Answer]) -> Answer:
        """The answer kept, or a new one."""
        with self._lock:
            making = self._making.setdefault(key, threading.Lock())
        with making:
            with self._lock:
                known = self._answers.get(key)
            if known is None or self._clock() - known[0] > self._seconds:
                known = (self._clock(), ask())
                with self._lock:
                    self._answers[key] = known
                    while len(self._answers) > _KEPT_MAX:
                        oldest, _ = self._answers.popitem(last=False)
                        self._making.pop(oldest, None)
            return known[1]


class Aside(Generic[Answer]):
    """The newest answer to a question that takes too long to wait for: a thread of its own makes the next."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._key: Hashable = None
        self._answer: Answer | None = None
        self._made: threading.Event | None = None

    def get(self, key: Hashable, ask: Callable[[], Answer], wait_s: float) -> Answer | None:
        """The answer for that key when it is there in time, else the one before; None when there was none."""
        with self._lock:
            if key == self._key:
                return self._answer
            if self._made is None:
                self._made = threading.Event()
                threading.Thread(target=self._make, args=(key, ask), name="looking ahead", daemon=True).start()
            made = self._made
        made.wait(wait_s)
        with self._lock:
            return self._answer

    def _make(self, key: Hashable, ask: Callable[[], Answer]) -> None:
        try:
            answer = ask()
        except Exception:
            _log.exception("what takes long for a page could not be made; the next refresh tries again")
        else:
            with self._lock:
                self._key, self._answer = key, answer
        with self._lock:
            made, self._made = self._made, None
        if made is not None:
            made.set()


class CostReader:
    """Bills, unit costs, forecast and advice. Call it in a worker thread."""

    def __init__(self, context: PageContext) -> None:
        self._context = context
        self._costs: Kept[Costs] = Kept(_COSTS_KEPT_S)
        self._units: Kept[pl.DataFrame] = Kept(_COSTS_KEPT_S)
        self._variances: Kept[Variance] = Kept(_COSTS_KEPT_S)
        self._budgets: Aside[list[BudgetStatus]] = Aside()
        self._forecast: Aside[Forecast | NoForecast] = Aside()
        self._ranking: Aside[Ranking] = Aside()

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

        def ask() -> Variance:
            before, after = self.before(window).allocation, self.costs(window).allocation
            return variance(*alike(before, after, window.end - window.start))

        return self._variances.get(window, ask)

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
