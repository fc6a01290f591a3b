"""The jobs of cost: read, split, write. The only module of `analytics.cost` that touches the store."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from fnmatch import fnmatchcase

import numpy as np
import polars as pl

from analytics.cost.allocation import KNOWN_WHOLE_MIN, known_hours
from analytics.cost.attribution import REQUEST_HOURS, allocate
from analytics.cost.focus import FocusAccount
from analytics.cost.forecast import Forecast, NoForecast, forecast, hours_to_month_end
from analytics.cost.gpu_time import HELD_MINUTES_MAX, MINUTE_S, gpu_time, held, with_gaps, with_slices
from analytics.cost.latency_value import ServiceValue
from analytics.cost.minutes import (
    read_engine_minutes,
    read_extents,
    read_gpu_minutes,
    read_gpus_there,
    read_services,
    read_stall_minutes,
)
from analytics.cost.price_book import PriceBook, gpu_costs, overhead_costs
from analytics.cost.request_shares import estimated_shares
from analytics.cost.runaway import (
    DEARER_MIN,
    Budget,
    BudgetStatus,
    Runaway,
    SpendRunaway,
    budget_period,
    budget_status,
    dearer_ratio,
    runaway,
)
from analytics.cost.spot import InterruptibleWork
from analytics.cost.step_models import StepModel, fit_step_model, step_model_for
from analytics.cost.unit_costs import Bill, bill_of, unit_costs
from analytics.cost.variance import Variance, alike, variance
from domain.cost import NANOUSD, Use
from domain.incident import Indicator
from domain.slo import Objective, Selection
from domain.window import Window, hour_of
from storage.cost_hours import (
    Promised,
    read_engine_requests,
    read_gpu_hours,
    read_outcomes,
    read_request_hours,
    read_settled_hours,
    read_unsettled_hours,
    settle_hour,
    whole_hours,
)
from storage.readers import read_traffic_steps
from storage.store import Store

_SHARES = ("engine_ms", "input_engine_ms")
# Of a model of a middle size; where hardly a request is known of an engine, its constants are as good as any others.
_ORDINARY = ("qwen3-32b", "NVIDIA H100 80GB HBM3", 2)
_SETTLED_AGAIN_AFTER = timedelta(minutes=15)  # stragglers come one by one, and each would settle a whole hour
_SETTLED_AFTER = timedelta(minutes=10)  # most requests of an hour have ended, and are sent, by then
_BEFORE = timedelta(minutes=15)  # requests that began earlier and run into an hour take part in it
_GAP = timedelta(hours=25)  # a GPU that falls silent and is back within a day was paid for
_HISTORY = timedelta(days=35)  # what a forecast looks back at
_RUNAWAY_HISTORY = timedelta(days=22)  # three weeks, from which on the hour of the week counts
_LARGE_RATIO = 0.1
_RATE_STEP_S = 600
_FINE_KEPT = timedelta(hours=26)  # a runaway is on for a day at most, and is seen where it began until then
_RATES: Mapping[str, pl.DataType] = {
    "time": pl.Datetime("us", "UTC"),
    "service": pl.String(),
    "usd_per_hour": pl.Float64(),
}
_TOLD_LATE = timedelta(minutes=20)  # of a window: samples of it that come so late still count
_BEFORE_RUNAWAY = timedelta(hours=2)  # the hour before one is within it
_ARRIVES_S = 60  # what the scrapes of a window take to come in
_RECENT_HOURS = 24
_WEEK_HOURS = 168
LIVE_HOURS_MAX = 48
"""Hours that are not settled yet are computed as they are asked for: so many, the newest."""


@dataclass(frozen=True, slots=True)
class Pricing:
    """How the bill is made and split.

    `warm` are patterns of replicas that stand idle because somebody wants them to, `budgets` what may be spent,
    `load_s` median and 95th percentile of the seconds that a replica takes to load, `spot` which work may be
    interrupted, `latency` what depends on how soon services answer, `account` whose bill it is.
    """

    book: PriceBook
    warm: tuple[str, ...] = ()
    budgets: tuple[Budget, ...] = ()
    load_s: tuple[float, float] | None = None
    usd_per_missed_request: float | None = None
    spot: tuple[InterruptibleWork, ...] = ()
    latency: tuple[ServiceValue, ...] = ()
    account: FocusAccount = field(default_factory=lambda: FocusAccount("tailsight", "GPU fleet", "self-hosted"))

    def is_warm(self, replica: str) -> bool:
        """Is the replica of a warm pool."""
        return any(fnmatchcase(replica, pattern) for pattern in self.warm)


def settle(
    store: Store,
    now: datetime,
    pricing: Pricing,
    *,
    reach: timedelta = timedelta(days=35),
    hours_max: int = 24,
    progress: Callable[[float], None] = lambda _: None,
) -> int:
    """Settle the hours that are over and hold requests or samples that they were not settled from, newest first.

    Running it twice changes nothing.

    Args:
        store: migrated.
        now: hours that ended some minutes before are over.
        pricing: which replicas are a warm pool.
        reach: how far back to look.
        hours_max: most hours of one call; the rest is for the next.
        progress: told how much of this call is done, 0-1.

    Returns:
        How many hours were settled.
    """
    over = hour_of(now - _SETTLED_AFTER)
    known_since = now - _SETTLED_AGAIN_AFTER
    found = read_unsettled_hours(store, Window(hour_of(now - reach), over), hours_max, known_since)
    failed: Exception | None = None
    for number, (hour, requests, samples) in enumerate(found.iter_rows()):
        window = Window(hour, hour + timedelta(hours=1))
        try:
            gpus, engine_minutes = _gpu_time(store, window, pricing)
            shares = _request_hours(store, window, gpus, engine_minutes)
            settle_hour(store, hour, shares, gpus, requests=requests, samples=samples, now=now)
        except (ValueError, ArithmeticError, pl.exceptions.PolarsError) as error:
            failed = failed or error  # of this hour alone: the others are settled all the same
        progress((number + 1) / found.height)
    if failed is not None:
        raise failed
    return found.height


@dataclass(frozen=True, slots=True)
class Costs:
    """The bill of whole hours.

    `allocation` is of schema `ALLOCATION`. `unpriced_gpu_seconds` are on no bill, because no price is known of the GPU;
    nor are the hours that begin at `unsettled`, which hold data and wait to be settled.
    """

    window: Window
    allocation: pl.DataFrame
    unpriced_gpu_seconds: float
    unsettled: tuple[datetime, ...] = ()

    @property
    def unsettled_hours(self) -> int:
        """How many hours hold data and are on no bill yet."""
        return len(self.unsettled)

    @property
    def hours(self) -> int:
        """How many hours the window has."""
        return int(self.window.seconds // 3600)

    @property
    def known_hours(self) -> int:
        """In how many of them a GPU was heard of: what the others cost is not known."""
        return len(known_hours(self.allocation))

    @property
    def is_whole(self) -> bool:
        """Are all of its hours known, but for a few."""
        return self.known_hours >= KNOWN_WHOLE_MIN * self.hours

    @property
    def bill(self) -> Bill:
        """What became of it."""
        return bill_of(self.allocation, self.unpriced_gpu_seconds)


def costs_of(
    store: Store,
    window: Window,
    pricing: Pricing,
    *,
    by_user: bool = False,
    live_hours_max: int = LIVE_HOURS_MAX,
) -> Costs:
    """The bill of a window, split.

    The window is rounded out to whole hours.

    Args:
        store: migrated.
        window: event time.
        pricing: prices and warm pools.
        live_hours_max: of the hours that are not settled yet so many, the newest, are computed now, at about half a
            second each of a small fleet; with 0 all of them are left out.
        by_user: put users in the place of tenants; then requests are read again, which takes about a second an hour of
            a large fleet.
    """
    whole = whole_hours(window)
    around = whole.widened(_GAP.total_seconds(), _GAP.total_seconds())
    settled = read_settled_hours(store, around)
    kept = read_gpu_hours(store, around)
    gpus = [kept]
    shares = [] if by_user else [read_request_hours(store, whole)]
    waiting = [hour for hour in read_unsettled_hours(store, whole)["hour"] if hour not in settled]
    for hour in waiting[:live_hours_max]:
        live = Window(hour, hour + timedelta(hours=1))
        found, engine_minutes = _gpu_time(store, live, pricing)
        gpus.append(found)
        if not by_user:
            shares.append(_request_hours(store, live, found, engine_minutes))
    there = pl.col("time").is_between(whole.start, whole.end, closed="left")
    time = with_gaps(pl.concat(gpus)).filter(there)
    if by_user:
        shares = _shares_by_user(store, time)
    priced = _costs(pricing.book, time)
    whole_s = (pl.col("seconds") * pl.col("slice_ratio")).sum()
    unpriced = time.join(priced.filter(pl.col("cost_nanousd").is_null()), on=["time", "gpu"], how="semi")
    split_bill = allocate(time, priced, pl.concat(shares), _overheads(pricing.book, whole))
    return Costs(whole, split_bill, float(unpriced.select(whole_s).item()), tuple(waiting[live_hours_max:]))


def unit_costs_of(
    store: Store, costs: Costs, objectives: Sequence[Objective], by: Collection[str] = ()
) -> pl.DataFrame:
    """What one of something costs, by dimensions. Schema: the dimensions, then `unit_costs.UNIT_COSTS`.

    A request is good when it did not fail and took no longer than the objectives of its service promise to all: of time
    to first token, latency, time per output token, and goodput, the strictest of each.

    Raises:
        ValueError: for something that unit costs are not told by.
    """
    promised: dict[str, Promised] = {}
    for objective in objectives:
        if objective.selection != Selection():
            continue  # what one tenant or model was promised says nothing of the others
        known = promised.get(objective.service, Promised())
        of = {Indicator.TTFT: "ttft_ms", Indicator.GOODPUT: "ttft_ms", Indicator.LATENCY: "latency_ms",
              Indicator.TPOT: "tpot_ms"}.get(objective.indicator)  # fmt: skip
        limits = [(of, objective.threshold_ms)] if of is not None else []
        if objective.indicator is Indicator.GOODPUT:
            limits.append(("tpot_ms", objective.tpot_threshold_ms))
        for name, limit_ms in limits:
            if limit_ms:
                known = replace(known, **{name: min(getattr(known, name) or limit_ms, limit_ms)})
        promised[objective.service] = known
    return unit_costs(costs.allocation, read_outcomes(store, costs.window, promised, by, costs.unsettled), by)


def _overheads(book: PriceBook, window: Window) -> pl.DataFrame:
    """What is paid beside the GPUs, as rows of the bill; `price` is its name."""
    return overhead_costs(book, window).select(
        "time",
        pl.lit(Use.OVERHEAD.value).alias("use"),
        pl.col("overhead").alias("price"),
        "cost_nanousd",
    )


def _shares_by_user(store: Store, time: pl.DataFrame) -> list[pl.DataFrame]:
    """`REQUEST_HOURS` of each hour with users in the place of tenants."""
    hours = time["time"].unique().sort()
    parts = [pl.DataFrame(schema=REQUEST_HOURS)]
    for hour in hours:
        there = time.filter(pl.col("time") == hour)
        live = Window(hour, hour + timedelta(hours=1))
        parts.append(_request_hours(store, live, there, read_engine_minutes(store, live), by_user=True))
    return parts


def _costs(book: PriceBook, time: pl.DataFrame) -> pl.DataFrame:
    """What each GPU-hour cost."""
    hours = time.group_by("time", "gpu", "slice_ratio").agg(
        pl.col("seconds").sum(), pl.col("node", "gpu_model", "pool").drop_nulls().first()
    )
    priced = gpu_costs(book, hours)
    known = pl.col("cost_nanousd").sum()
    cost = pl.when(pl.col("cost_nanousd").is_not_null().all()).then(known).alias("cost_nanousd")
    return priced.group_by("time", "gpu").agg(pl.col("price").drop_nulls().first(), cost)


def _gpu_time(store: Store, window: Window, pricing: Pricing) -> tuple[pl.DataFrame, pl.DataFrame]:
    """What each GPU did in a window, and what the engines told of each minute of it."""
    held_s = HELD_MINUTES_MAX * MINUTE_S  # before it for what is held, after it to see how often things tell
    around = window.widened(before_s=held_s, after_s=held_s)
    engines = _within(held(read_engine_minutes(store, around), "replica"), window)
    slices = pricing.book.mig_slices
    gpus = _within(held(read_gpu_minutes(store, around, slices), "gpu"), window)
    stalls = _within(held(read_stall_minutes(store, around), "node"), window)
    return gpu_time(gpus, engines, stalls, read_extents(store, window, slices), window, pricing.warm), engines


def _within(rows: pl.DataFrame, window: Window) -> pl.DataFrame:
    return rows.filter(pl.col("time").is_between(window.start, window.end, closed="left"))


def _request_hours(
    store: Store, window: Window, gpus: pl.DataFrame, engines: pl.DataFrame, *, by_user: bool = False
) -> pl.DataFrame:
    """Whose requests took how much of an hour of each replica's engine. Schema: `REQUEST_HOURS`.

    A request's engine time is spread evenly from when it left the queue to when it ended; what falls into the hour
    counts in it. A request itself counts in the hour that it began in.
    """
    requests = read_engine_requests(store, window.widened(before_s=_BEFORE.total_seconds()))
    if requests.is_empty():
        return pl.DataFrame(schema=REQUEST_HOURS)
    shared = requests.with_columns(_engine_ms(requests, gpus, engines))
    if by_user:
        shared = shared.with_columns(pl.col("user").alias("tenant"))
    began = pl.col("time") + pl.duration(milliseconds=pl.col("queue_ms").fill_null(0.0))
    ended = pl.col("time") + pl.duration(milliseconds=pl.col("latency_ms"))
    shared = shared.with_columns(began.alias("began"), pl.max_horizontal(ended, began).alias("ended"))
    inside = pl.min_horizontal("ended", pl.lit(window.end)) - pl.max_horizontal("began", pl.lit(window.start))
    length_ms = (pl.col("ended") - pl.col("began")).dt.total_milliseconds()
    part = pl.when(length_ms > 0).then(inside.dt.total_milliseconds() / length_ms).otherwise(1.0).clip(0, 1)
    is_here = pl.col("time") >= window.start
    return (
        shared.with_columns((pl.col(_SHARES) * part), is_here.cast(pl.UInt64).alias("requests"))
        .filter(is_here | (pl.col("engine_ms") > 0))
        .with_columns(
            pl.lit(window.start, dtype=REQUEST_HOURS["time"]).alias("time"),
            pl.col("input_tokens", "output_tokens").fill_null(0).cast(pl.UInt64) * pl.col("requests"),
        )
        .group_by("time", "service", "model", "version", "pool", "tenant", "replica", "node", "is_error")
        .agg(pl.col("requests", "input_tokens", "output_tokens", *_SHARES).sum())
        .select(*REQUEST_HOURS)
    )


def _engine_ms(requests: pl.DataFrame, gpus: pl.DataFrame, engines: pl.DataFrame) -> list[pl.Series]:
    """Each request's share of its engine's time, and the part of it that read the prompt."""
    of_replica = gpus.drop_nulls("replica").group_by("replica").agg(
        pl.col("gpu").n_unique().alias("gpus"), pl.col("gpu_model").drop_nulls().first()
    )  # fmt: skip
    running = engines.select("replica", "time", pl.col("running").alias("value"))
    asked = requests.with_row_index("row").join(of_replica, on="replica", how="left")
    shares, inputs = (pl.Series(name, [0.0]).new_from_index(0, requests.height) for name in _SHARES)
    for (model, gpu_model, count), part in asked.drop_nulls("replica").group_by("model", "gpu_model", "gpus"):
        steps = _step_model(model, gpu_model, count, part)
        if steps is None:  # nothing is known of its work but how long it took
            shares = shares.scatter(part["row"], (part["latency_ms"] - part["queue_ms"].fill_null(0.0)).clip(0))
            continue
        of_engine = estimated_shares(part, running, steps)
        prompts, cached = (
            part[name].fill_null(0).cast(pl.Float64).to_numpy() for name in ("input_tokens", "cached_tokens")
        )
        alone = steps.p0 + steps.prompt_ms(np.maximum(prompts - cached, 0.0), cached)
        shares = shares.scatter(part["row"], of_engine)
        inputs = inputs.scatter(part["row"], np.minimum(alone, of_engine.to_numpy()))
    return [shares.alias(_SHARES[0]), inputs.alias(_SHARES[1])]


def _step_model(model: object, gpu_model: object, gpus: object, requests: pl.DataFrame) -> StepModel | None:
    """How long the steps of an engine take: known, or fitted to its requests; None for one that makes no tokens."""
    if requests["output_tokens"].fill_null(0).sum() == 0:
        return None
    if isinstance(model, str) and isinstance(gpu_model, str) and isinstance(gpus, int):
        known = step_model_for(model, gpu_model, gpus)
        if known is not None:
            return known
    try:
        return fit_step_model(requests)
    except ValueError:  # too few requests to tell
        return step_model_for(*_ORDINARY)


def request_cost_usd(store: Store, service: str, window: Window, pricing: Pricing) -> float | None:
    """What a request of a service cost in GPU time, in dollars; None where nothing is known of it.

    From settled hours only, so that it is quick: the last day of those in the window, else the newest of the day before
    it.
    """
    whole = whole_hours(window)
    settled = sorted(read_settled_hours(store, whole.widened(before_s=86_400)))
    hours = ([hour for hour in settled if hour >= whole.start] or settled[-1:])[-_RECENT_HOURS:]
    if not hours:
        return None
    seen = Window(hours[0], hours[-1] + timedelta(hours=1))
    costs = costs_of(store, seen, pricing, live_hours_max=0)
    own = costs.allocation.filter((pl.col("service") == service) & (pl.col("use") == Use.REQUESTS.value))
    cost_nanousd, requests = int(own["cost_nanousd"].sum()), int(own["requests"].sum())
    return cost_nanousd / NANOUSD / requests if cost_nanousd and requests else None


def spend_forecast(store: Store, now: datetime, pricing: Pricing) -> Forecast | NoForecast:
    """What will be spent an hour until the month (UTC) is over, and at least for a week."""
    end = hour_of(now)
    history = costs_of(store, Window(end - _HISTORY, end), pricing)
    hourly = hourly_spend(history)
    last = hourly["time"].max()
    begin = last + timedelta(hours=1) if isinstance(last, datetime) else end  # of the newest hours nothing may be known
    return forecast(hourly, max(_WEEK_HOURS, hours_to_month_end(begin)))


def hourly_spend(costs: Costs) -> pl.DataFrame:
    """Dollars of each hour: columns time, cost_usd. Hours of which nothing is known are not there."""
    dollars = (pl.col("cost_nanousd").sum() / NANOUSD).round(9).alias("cost_usd")
    return of_known_hours(costs.allocation).group_by("time").agg(dollars).sort("time")


def of_known_hours(allocation: pl.DataFrame) -> pl.DataFrame:
    """The bill of the hours in which a GPU was heard of.

    Requests and overhead are known of other hours too, but not what their GPUs cost: such an hour did not cost nothing.
    """
    return allocation.filter(pl.col("time").is_in(known_hours(allocation)))


class SpendWatch:
    """Looks for spend that runs away: of the whole bill, and of each service that is a large part of it.

    Of a service only where a request costs more than before: those that are asked more double by themselves, and so do
    small ones every other day. What is usual comes from the settled hours of three weeks; what is spent now from the
    GPUs that are there now, by ten minutes, so that nobody waits until an hour is settled. Those windows are kept for a
    day, since within an hour its mean would blur when a rise began.
    """

    def __init__(self, store: Store, pricing: Pricing) -> None:
        self._store = store
        self._pricing = pricing
        self._usual: tuple[datetime, datetime, pl.DataFrame] | None = None
        self._fine = pl.DataFrame(schema=_RATES)
        self._seen_until: datetime | None = None

    def is_due(self, now: datetime) -> bool:
        """Has a window come in since the last look."""
        return self._seen_until is None or _window_end(now) > self._seen_until

    def look(self, now: datetime) -> list[SpendRunaway]:
        """What runs away at `now`; without two days of history, nothing."""
        end = _window_end(now)
        fine = self._now(now, end)
        first = fine["time"].min()
        hour = hour_of(first if isinstance(first, datetime) else now)
        if self._usual is None or self._usual[:2] != (hour, hour_of(now)):
            past = costs_of(self._store, Window(hour - _RUNAWAY_HISTORY, hour), self._pricing)
            self._usual = (hour, hour_of(now), _by_service(of_known_hours(past.allocation)))
        spent = self._usual[2]
        if spent.is_empty():
            return []
        spent = pl.concat([spent, fine])
        whole = spent.group_by("time").agg(pl.col("usd_per_hour").sum()).sort("time")
        of_bill = runaway(whole, end, by=spent)
        found = [] if of_bill is None else [SpendRunaway("all", None, of_bill)]
        share = spent.group_by("service").agg(pl.col("usd_per_hour").sum()).drop_nulls("service").sort("service")
        large = share.filter(pl.col("usd_per_hour") >= _LARGE_RATIO * float(spent["usd_per_hour"].sum()))["service"]
        for name in large:
            own = spent.filter(pl.col("service") == name).select("time", "usd_per_hour")
            # When a service had no dollar is known: nothing.
            rates = whole.select("time").join(own, on="time", how="left").fill_null(0.0)
            of_service = runaway(rates, end)
            if of_service is None:
                continue
            dearer = dearer_ratio(rates, self._requests(name, of_service), of_service)
            if dearer is not None and dearer >= DEARER_MIN:
                found.append(SpendRunaway(name, "service", of_service, dearer))
        return found

    def _requests(self, service: str, found: Runaway) -> pl.DataFrame:
        """Requests of a service by ten minutes, in those that any request is known of; from well before it began."""
        steps = read_traffic_steps(self._store, Window(found.began_at - _BEFORE_RUNAWAY, found.noticed_at))
        own = pl.when(pl.col("service") == service).then(pl.col("requests")).otherwise(0).sum().alias("requests")
        return steps.group_by(pl.col("time").dt.truncate(f"{_RATE_STEP_S}s")).agg(own)

    def _now(self, now: datetime, end: datetime) -> pl.DataFrame:
        """Dollars an hour by ten minutes and service: of the day that was watched, and of what came in since."""
        begin = first = hour_of(now) - _FINE_KEPT
        if self._seen_until is not None and self._seen_until <= end:
            begin = max(first, self._seen_until - _TOLD_LATE)
        kept = self._fine.filter((pl.col("time") >= first) & (pl.col("time") < begin))
        fine = pl.concat([kept, self._rates(Window(begin, end))])
        self._fine, self._seen_until = fine, end
        return fine

    def _rates(self, window: Window) -> pl.DataFrame:
        """Dollars an hour by ten minutes and service, of the GPUs that told of themselves in each."""
        around = window.widened(before_s=HELD_MINUTES_MAX * MINUTE_S)
        gpus = read_gpus_there(self._store, around, self._pricing.book.mig_slices, _RATE_STEP_S)
        there = (
            with_slices(_within(gpus, window))
            .with_columns(pl.lit(float(_RATE_STEP_S)).alias("seconds"))
            .join(read_services(self._store, around), on="replica", how="left")
        )
        priced = gpu_costs(self._pricing.book, there)
        return priced.group_by("time", "service").agg(
            (pl.col("cost_nanousd").sum() / NANOUSD * 3600 / _RATE_STEP_S).alias("usd_per_hour")
        )


def _window_end(now: datetime) -> datetime:
    """When the last window ended whose samples are in."""
    return datetime.fromtimestamp((now.timestamp() - _ARRIVES_S) // _RATE_STEP_S * _RATE_STEP_S, UTC)


def _by_service(allocation: pl.DataFrame) -> pl.DataFrame:
    """Dollars an hour of GPUs by ten minutes and service: those of an hour hold throughout it."""
    of_gpus = allocation.filter(pl.col("use") != Use.OVERHEAD.value)
    rate = (pl.col("cost_nanousd").sum() / NANOUSD).alias("usd_per_hour")
    hourly = of_gpus.group_by("time", "service").agg(rate)
    steps = pl.DataFrame({"step": range(3600 // _RATE_STEP_S)})
    return hourly.join(steps, how="cross").select(
        pl.col("time") + pl.duration(seconds=pl.col("step") * _RATE_STEP_S), "service", "usd_per_hour"
    )


def spend_variance(store: Store, before: Window, after: Window, pricing: Pricing, by: str = "model") -> Variance:
    """Why the bill of one window differs from that of another: `variance_of` both.

    Raises:
        ValueError: for something that the bill is not told by.
    """
    return variance_of(costs_of(store, before, pricing), costs_of(store, after, pricing), by)


def variance_of(before: Costs, after: Costs, by: str = "model") -> Variance:
    """Why one bill differs from another; of windows as long as each other, in the hours that are known in both.

    Raises:
        ValueError: for something that the bill is not told by.
    """
    bills = before.allocation, after.allocation
    if before.hours == after.hours:
        bills = alike(*bills, after.window.start - before.window.start)
    return variance(*bills, by)


def budget_statuses(store: Store, now: datetime, pricing: Pricing) -> list[BudgetStatus]:
    """Where each budget stands, worst first."""
    if not pricing.budgets:
        return []
    end = hour_of(now)
    known = of_known_hours(costs_of(store, Window(end - _HISTORY, end), pricing).allocation)
    dollars = (pl.col("cost_nanousd").sum() / NANOUSD).alias("cost_usd")
    hourly = known.group_by("time", "service", "tenant").agg(dollars).sort("time")
    hours = hourly.select(pl.col("time").unique().sort())
    found = []
    for budget in pricing.budgets:
        own = hourly
        for name, value in (("service", budget.service), ("tenant", budget.tenant)):
            own = own if value is None else own.filter(pl.col(name) == value)
        # In an hour that the bill knows, whoever has no dollar in it spent nothing.
        spent = hours.join(own.group_by("time").agg(pl.col("cost_usd").sum()), on="time", how="left").fill_null(0.0)
        ahead: Forecast | NoForecast | None = None
        if own.height:
            _, ends = budget_period(budget, now)
            last: datetime = hours["time"][-1]
            ahead = forecast(spent, max(1, int((ends - last).total_seconds() // 3600)))
        found.append(budget_status(budget, hourly, ahead if isinstance(ahead, Forecast) else None, now))
    return sorted(found, key=lambda one: (-(one.forecast_ratio or one.spent_ratio or 0.0), one.budget.name))
