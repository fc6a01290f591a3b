"""What the weekly report rests on, read from the store: nothing here decides what is said of it.

A week under way is read up to now, and held against the same stretch of the week before.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import zip_longest
from typing import Any

import polars as pl

from alerts.replay import INTERVAL_SOURCES, PastObjectives, past_alerts
from alerts.settings import AlertsSettings
from analytics.cost.advice_jobs import cost_advice
from analytics.cost.forecast import NoForecast, Total, daily_totals, month_of
from analytics.cost.jobs import Costs, Pricing, costs_of, spend_forecast, variance_of
from analytics.cost.minutes import read_extents
from analytics.cost.runaway import Period
from analytics.cost.variance import Part, Variance
from analytics.jobs.objectives import StoredCounts, kept_exclusions, slo_counts, slo_statuses
from analytics.knowledge import Knowledge
from analytics.slo import excluded_windows, sliced, without
from domain.cause import CauseKind
from domain.cost import NANOUSD, Use
from domain.entity import EntityKind
from domain.incident import Incident
from domain.slo import Objective, SloState, SloStatus
from domain.window import Window, rfc3339
from domain.wording import readable
from reports import words
from reports.weekly import DataGap, FiredAlert, Health, HealthRow, WeeklyFacts, week_before, week_of
from storage.incidents import read_incident_notes, read_incidents
from storage.readers import (
    read_hours_with_requests,
    read_hours_with_samples,
    read_latency,
    read_series,
    read_services,
    read_user_tenants,
)
from storage.store import Store

_HOUR = timedelta(hours=1)
_WEEK = timedelta(days=7)
_LATE = timedelta(minutes=10)  # what an hour held is known so long after it
_SERVICES_MAX = 50
_USERS_MAX = 20
_USERS_WITHIN = timedelta(hours=48)
_LEVEL = 0.8
_LEAST_USD = 0.005
_UNHEALTHY = {
    CauseKind.GPU_THERMAL_THROTTLE,
    CauseKind.GPU_POWER_THROTTLE,
    CauseKind.GPU_FAULT,
    CauseKind.PCIE_DEGRADED,
    CauseKind.NVLINK_FAULT,
    CauseKind.NETWORK_LINK_FAULT,
}
"""Causes that lie in the thing itself; a full memory or a full link is load, not ill health."""

Progress = Callable[[str, float], None]


def read_facts(
    store: Store,
    week: str,
    *,
    knowledge: Knowledge,
    pricing: Pricing,
    objectives: Sequence[Objective],
    read_at: datetime,
    time_zone: str = "UTC",
    web_url: str = "",
    site: str = "",
    progress: Progress = lambda *_: None,
) -> WeeklyFacts:
    """Read all that the report of a week tells.

    Args:
        store: migrated.
        week: `2026-W47`.
        knowledge: the signals that metrics carry, and how kinds of cause are called.
        pricing: what GPUs cost.
        objectives: what is promised.
        read_at: now; a week that is not over by then is read up to it.
        time_zone: on whose clock the week begins.
        web_url: where the pages are reached.
        site: name of the installation.
        progress: told what is read, and how much is done, 0-1.

    Raises:
        ValueError: for a week that is none, or has not begun.
    """
    stretch = _stretch(week, read_at, time_zone)
    now, before, seen = stretch.now, stretch.before, _seen_hours(store, stretch.now, read_at)
    progress("Objectives", 0.0)
    events = StoredCounts(store, knowledge)
    slos = slo_statuses(store, objectives, now.end, events)
    slos_before = slo_statuses(store, objectives, before.end, events)
    counts = {one.name: _counted(store, one, now, knowledge) for one in objectives}
    progress("Incidents and alerts", 0.15)
    found, earlier = _begun_in(store, now), _begun_in(store, before)
    alerts, alerts_before = (
        _alerts(store, objectives, window, knowledge, pricing, web_url) for window in (now, before)
    )
    was_seen = any(hour < now.start for hours in seen.values() for hour in hours)
    progress("Latency", 0.3)
    latency, services_left = _latency(store, now)
    progress("Health", 0.35)
    gpus, links = _health(store, now, found, knowledge)
    progress("Cost", 0.4)
    money = _money(store, stretch, pricing, objectives, progress)
    progress("Report", 0.98)
    return WeeklyFacts(
        week=week,
        read_at=read_at,
        time_zone=time_zone,
        slos=slos,
        slos_before=slos_before if _any_known(slos_before) else (),
        slo_counts=counts,
        incidents=found,
        knowledge=knowledge,
        incidents_before=earlier if was_seen else None,
        incident_notes=read_incident_notes(store, [one.id for one in (*found, *earlier)]),
        alerts=alerts,
        alerts_before=alerts_before if was_seen else None,
        latency=latency,
        allocation=money.allocation,
        allocation_before=money.allocation_before,
        forecast=money.forecast,
        variance=money.variance,
        advice=money.advice,
        sla=_sla(slos),
        users=money.users,
        gpus=gpus,
        links=links,
        data_gaps=_gaps(seen, now, read_at),
        method_notes=(*_notes(stretch, latency, services_left), *money.notes),
        site=site,
        web_url=web_url,
    )


# -- Which time ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Stretch:
    """The week as far as it is over, and as much of the week before."""

    now: Window
    before: Window
    is_complete: bool


def _stretch(week: str, read_at: datetime, time_zone: str) -> _Stretch:
    whole, whole_before = week_of(week, time_zone), week_of(week_before(week), time_zone)
    if read_at <= whole.start:
        raise ValueError(f"{week} has not begun: it does at {rfc3339(whole.start)}")
    if read_at >= whole.end:
        return _Stretch(whole, whole_before, is_complete=True)
    end = min(whole_before.start + (read_at - whole.start), whole_before.end)
    return _Stretch(Window(whole.start, read_at), Window(whole_before.start, end), is_complete=False)


# -- Promises ------------------------------------------------------------------------------------------------------


def _counted(store: Store, objective: Objective, window: Window, knowledge: Knowledge) -> tuple[float, int]:
    """Good and all events within the window, as the objective counts them."""
    counts = slo_counts(store, objective, window, knowledge)
    counts = without(counts, excluded_windows(objective, kept_exclusions(store)))
    counts = sliced(counts, objective.slices)
    return float(counts["good"].sum()), int(counts["total"].sum())


def _sla(statuses: Sequence[SloStatus]) -> list[dict[str, Any]] | None:
    """What is due to be given back for the month so far; None where no objective is a contract."""
    contracts = [(one.objective, one.objective.sla, one.credit) for one in statuses if one.objective.sla is not None]
    if not contracts:
        return None
    return [
        {
            "customer": objective.selection.tenant or objective.name,
            "service": objective.service,
            "promised_ratio": sla.tiers[0].below_ratio,
            "achieved_ratio": credit.sli_ratio,
            "credit_usd": credit.credit_usd,
            "claim_until": None,
        }
        for objective, sla, credit in contracts
        if sla is not None and credit is not None and credit.credit_usd
    ]


def _any_known(statuses: Iterable[SloStatus]) -> bool:
    return any(status.state is not SloState.NO_DATA for status in statuses)


# -- Incidents, alerts, latency ------------------------------------------------------------------------------------


def _begun_in(store: Store, window: Window) -> list[Incident]:
    found = read_incidents(store, window)
    return [one for one in found if window.start <= one.started_at < window.end]


def _alerts(
    store: Store,
    objectives: Sequence[Objective],
    window: Window,
    knowledge: Knowledge,
    pricing: Pricing,
    web_url: str,
) -> list[FiredAlert]:
    """Those of incidents and burn rates that were told first within the window."""
    past = past_alerts(
        store, window, PastObjectives(objectives),
        settings=AlertsSettings(), knowledge=knowledge, pricing=pricing, web_url=web_url, only=INTERVAL_SOURCES,
    )  # fmt: skip
    return [FiredAlert(one) for one in past if one.starts_at >= window.start or one.updated_at > window.start]


def _latency(store: Store, window: Window) -> tuple[pl.DataFrame, int]:
    """p99 of each hour of the busiest services, and how many services were left out."""
    services = read_services(store, window).group_by("service").agg(pl.col("requests", "requests_with_ttft").sum())
    services = services.drop_nulls("service").sort("requests", "service", descending=[True, False])
    first = window.start.replace(minute=0, second=0, microsecond=0)
    hours = pl.select(pl.datetime_range(first, window.end, "1h", closed="left", time_unit="us").alias("time"))
    parts = [pl.DataFrame(schema={"time": pl.Datetime("us", "UTC"), "service": pl.String, "p99_ms": pl.Float64})]
    for service, _, with_ttft in services.head(_SERVICES_MAX).iter_rows():
        told = read_latency(store, window, service, step_s=3600)
        p99 = pl.col("ttft_ms_p99" if with_ttft else "latency_ms_p99").alias("p99_ms")
        by_hour = hours.join(told.select("time", p99), on="time", how="left")
        parts.append(by_hour.select("time", pl.lit(service).alias("service"), "p99_ms"))
    return pl.concat(parts), max(0, services.height - _SERVICES_MAX)


# -- Health and gaps -----------------------------------------------------------------------------------------------


def _health(
    store: Store, window: Window, incidents: Sequence[Incident], knowledge: Knowledge
) -> tuple[Health | None, Health | None]:
    """GPUs and links: how many told of themselves, and those that an incident was blamed on."""
    extents = read_extents(store, window, {}).select(pl.col("gpu").str.split("/").list.first(), "node").unique("gpu")
    node_of = dict(extents.iter_rows())
    signals = knowledge.signals.values()
    metrics = sorted({metric for one in signals if one.entity is EntityKind.PORT for metric in one.metrics})
    ports = read_series(store, window, metrics).drop_nulls("port").select("node", "port").n_unique()
    rows: dict[EntityKind, dict[tuple[str, str], HealthRow]] = {EntityKind.GPU: {}, EntityKind.PORT: {}}
    for incident in sorted(incidents, key=lambda one: (one.started_at, one.id)):
        cause = incident.cause
        kind = EntityKind.PORT if cause.entity.kind is EntityKind.LINK else cause.entity.kind
        if cause.kind not in _UNHEALTHY or kind not in rows:
            continue
        name = cause.entity.name
        where = node_of.get(name.partition("/")[0]) if kind is EntityKind.GPU else name.partition("/")[0]
        known = rows[kind].get((name, cause.kind))
        rows[kind][name, cause.kind] = HealthRow(
            name=name,
            where=where or "",
            what=cause.summary,
            since=known.since if known else incident.started_at,
            is_over=incident.ended_at is not None,
        )
    counts = {EntityKind.GPU: extents.height, EntityKind.PORT: ports}
    gpus, links = (
        Health(counts[kind] or None, tuple(found.values())) if counts[kind] or found else None
        for kind, found in rows.items()
    )
    return gpus, links


_GAP_WORDS = {
    "requests": "No request came in: there was none, or none was sent to us",
    "samples": "No sample of any GPU, port or engine came in; GPU-hours are billed as not seen",
}


def _seen_hours(store: Store, window: Window, read_at: datetime) -> dict[str, list[datetime]]:
    """Hours with data, of the window and a week to either side, by what was seen."""
    around = Window(window.start - _WEEK, min(max(read_at, window.end), window.end + _WEEK))
    return {"requests": read_hours_with_requests(store, around), "samples": read_hours_with_samples(store, around)}


def _gaps(seen: dict[str, list[datetime]], window: Window, read_at: datetime) -> list[DataGap] | None:
    """Hours of the window of which nothing is known although something is of a time before."""
    if not any(seen.values()):
        return None
    over = _hour(read_at - _LATE)
    gaps = []
    for source, hours in seen.items():
        for one, end in zip_longest(hours, hours[1:]):
            start = one + _HOUR
            if start >= window.end or (end or over) <= max(start, window.start):
                continue
            gaps.append(DataGap(source.capitalize(), start, end, _GAP_WORDS[source]))
    return sorted(gaps, key=lambda gap: (gap.started_at, gap.source))


def _hour(moment: datetime) -> datetime:
    return moment.astimezone(UTC).replace(minute=0, second=0, microsecond=0)


# -- Money ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Money:
    """All that cost is told by; nothing where no GPU was heard of."""

    allocation: pl.DataFrame | None = None
    allocation_before: pl.DataFrame | None = None
    forecast: dict[str, Any] | None = None
    variance: dict[str, Any] | None = None
    advice: list[dict[str, Any]] | None = None
    users: list[dict[str, Any]] | None = None
    notes: tuple[str, ...] = ()


def _money(
    store: Store, stretch: _Stretch, pricing: Pricing, objectives: Sequence[Objective], progress: Progress
) -> _Money:
    now, before = (costs_of(store, window, pricing) for window in (stretch.now, stretch.before))
    if not (_has_gpus(now) or _has_gpus(before)):
        return _Money(notes=("No GPU was heard of, so nothing is known of what was paid.",))
    here = _inside(now, stretch.now)
    earlier = _inside(before, stretch.before) if _has_gpus(before) else None
    progress("Forecast", 0.55)
    ahead, why_not = _forecast(store, stretch.now.end, pricing)
    progress("Advice", 0.75)
    advised = cost_advice(store, stretch.now.end, pricing, objectives)
    progress("Users", 0.85)
    users = _users(store, stretch.now, pricing)
    changed = (
        None if earlier is None else variance_of(replace(before, allocation=earlier), replace(now, allocation=here))
    )
    notes = [*_price_notes(now, pricing), *why_not]
    if users is not None:
        notes.append(f"Users: the {_USERS_MAX} dearest of the last {_USERS_WITHIN // _HOUR} hours.")
    notes += [f"Not judged: {gap.kind.replace('_', ' ')} of {gap.about}: {gap.missing}" for gap in advised.gaps[:5]]
    return _Money(
        allocation=here,
        allocation_before=earlier,
        forecast=ahead,
        variance=None if changed is None or not changed.known_hours[1] else _variance(changed, now.hours),
        advice=[
            {
                "about": one.about,
                "title": one.title,
                "saves_usd_per_month_low": one.saves_usd_per_month[0],
                "saves_usd_per_month_high": one.saves_usd_per_month[1],
                "confidence": one.confidence,
                "why": " ".join(one.why),
            }
            for one in advised.advice
        ],
        users=users,
        notes=tuple(notes),
    )


def _has_gpus(costs: Costs) -> bool:
    return costs.unpriced_gpu_seconds > 0 or bool((costs.allocation["use"] != Use.OVERHEAD.value).any())


def _inside(costs: Costs, window: Window) -> pl.DataFrame:
    """The rows of hours that begin within the window, so that no hour is in two weeks."""
    return costs.allocation.filter(pl.col("time").is_between(window.start, window.end, closed="left"))


def _price_notes(costs: Costs, pricing: Pricing) -> list[str]:
    bill = costs.bill
    listed = sorted(set(costs.allocation["price"].drop_nulls()) & pricing.book.list_prices)
    notes = [
        f"Prices are public list prices, not yours ({', '.join(listed)}): set cost.price_book."
        if listed
        else "Prices are those of your price book."
    ]
    estimated = int(costs.allocation.filter("is_estimated")["cost_nanousd"].sum()) / NANOUSD
    if estimated and bill.bill_usd:
        share = words.percent(estimated / bill.bill_usd)
        notes.append(f"Whose requests took how much of an engine is estimated for {share} of the bill.")
    if bill.telemetry_ratio is not None:
        notes.append(f"GPUs told what they did in {words.percent_down(bill.telemetry_ratio)} of the time paid for.")
    if bill.priced_ratio is not None and bill.priced_ratio < 1:
        notes.append(f"No price is known of {words.percent(1 - bill.priced_ratio, 1)} of GPU time; it is on no bill.")
    return notes


def _forecast(store: Store, at: datetime, pricing: Pricing) -> tuple[dict[str, Any] | None, list[str]]:
    found = spend_forecast(store, at, pricing)
    if isinstance(found, NoForecast):
        return None, [f"There is no forecast: {found.reason}."]
    month = month_of(found)
    whole_days = [one for one in daily_totals(found) if one.end - one.start == timedelta(days=1)]
    horizon = [
        {
            # The middle of the day of UTC, which lies in the same day on nearly every clock.
            "time": rfc3339(one.start + timedelta(hours=12)),
            "median_usd": one.median_usd,
            **_bounds(one),
        }
        for one in whole_days
    ]
    notes = ["Intervals of the forecast hold 8 times in 10 by its backtest; its days and months are those of UTC."]
    if found.no_interval is not None:
        notes = [f"The forecast has no interval: {found.no_interval}; its days and months are those of UTC."]
    if month.not_whole is not None:
        notes.append(f"What the month will cost is not told: {month.not_whole}.")
    return {
        "model": readable(str(found.model)),
        "mase": found.mase[found.model],
        "coverage_ratio": None if found.no_interval else found.coverage[_LEVEL],
        "horizon": horizon,
        "month_end": {
            "median_usd": None if month.whole is None else month.whole.median_usd,
            **_bounds(month.whole),
            "budget_usd": _budget_usd(pricing),
        },
    }, notes


def _bounds(total: Total | None) -> dict[str, float | None]:
    if total is None or total.no_interval is not None:
        return {"lower_usd": None, "upper_usd": None}
    return {"lower_usd": total.lower_usd[_LEVEL], "upper_usd": total.upper_usd[_LEVEL]}


def _budget_usd(pricing: Pricing) -> float | None:
    """What may be spent a month in all; of several budgets the least."""
    whole = [
        one.amount_usd
        for one in pricing.budgets
        if one.period is Period.MONTH and one.service is None and one.tenant is None
    ]
    return min(whole, default=None)


def _users(store: Store, window: Window, pricing: Pricing) -> list[dict[str, Any]] | None:
    """The dearest users of the end of the window; None where no request names one."""
    last = Window(max(window.start, window.end - _USERS_WITHIN), window.end)
    tenant_of = read_user_tenants(store, last)
    if not tenant_of:
        return None
    costs = costs_of(store, last, pricing, by_user=True)
    spent = (
        costs.allocation.filter((pl.col("use") == Use.REQUESTS.value) & pl.col("tenant").is_not_null())
        .group_by("tenant")
        .agg(pl.col("cost_nanousd", "requests").sum())
        .sort("cost_nanousd", "tenant", descending=[True, False])
        .head(_USERS_MAX)
    )
    return [
        {"user": user, "tenant": tenant_of.get(user), "cost_usd": nanousd / NANOUSD, "requests_count": requests}
        for user, nanousd, requests in spent.iter_rows()
    ]


# -- Why the bill changed ------------------------------------------------------------------------------------------


def _variance(found: Variance, hours: int) -> dict[str, Any]:
    groups = [
        row for row in found.groups.iter_rows(named=True) if abs(row["difference_nanousd"]) >= _LEAST_USD * NANOUSD
    ]
    return {
        "known_hours": found.known_hours[1],
        "hours": hours,
        "before_usd": found.before_nanousd / NANOUSD,
        "after_usd": found.after_nanousd / NANOUSD,
        "parts": [{"name": part.value, "cost_usd": amount / NANOUSD} for part, amount in found.parts.items()],
        "groups": [
            {
                "name": row["group"] or "Nobody's: GPUs without a model, overhead",
                "cost_usd": row["difference_nanousd"] / NANOUSD,
                "why": _why(row),
            }
            for row in groups
        ],
    }


_MOVED: dict[Part, tuple[str, str, float, Callable[[float], str]]] = {
    Part.PRICE: ("a GPU-hour", "usd_per_gpu_second", 3600.0, words.money),
    Part.VOLUME: ("tokens", "volume", 1.0, words.count),
    Part.MIX: ("share of all tokens", "share", 1.0, words.percent),
    Part.EFFICIENCY: ("GPU-seconds per million tokens", "gpu_seconds_per_unit", 1e6, words.count),
    Part.IDLE: ("idle GPU-hours", "idle_gpu_seconds", 1 / 3600, words.count),
}
"""What moved where a part did: in words, as `variance` names it, times what, and how it is shown."""


def _why(row: dict[str, Any]) -> str:
    """The part that moved it most, in words."""
    part = max(Part, key=lambda one: abs(row[f"{one}_nanousd"]))
    told = words.money_change(row[f"{part}_nanousd"] / NANOUSD)
    if part not in _MOVED:
        return f"{part.value} {told}"
    what, column, factor, shown = _MOVED[part]
    was, became = (shown((row[f"{column}_{when}"] or 0.0) * factor) for when in ("before", "after"))
    moved = "" if was == became else f": {what} {was} → {became}"
    return f"{part.value} {told}{moved}"


# -- How it was made -----------------------------------------------------------------------------------------------


def _notes(stretch: _Stretch, latency: pl.DataFrame, services_left: int) -> list[str]:
    notes = []
    if not stretch.is_complete:
        notes.append("The week was under way: what stands beside it is the same stretch of the week before.")
    notes.append("Alerts are those that the objectives of today would have brought, worked out from what is stored.")
    if latency.height:
        notes.append(
            "p99 is of the time to first token where a service has one, else of the whole request; within 1 %."
        )
    if services_left:
        notes.append(f"p99 is told of the {_SERVICES_MAX} busiest services; {services_left} more had requests.")
    notes.append("GPUs and links are called unhealthy where an incident of the week was blamed on them.")
    return notes
