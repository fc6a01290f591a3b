"""Advice over the store: reads what the questions of `analytics.cost` need of the last seven days, and asks them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import polars as pl

from analytics.cost import spot, warm_pool
from analytics.cost.advice import Advice, AdviceGap, AdviceKind, Ranking, ranked
from analytics.cost.allocation import used
from analytics.cost.consolidation import Fleet, consolidation
from analytics.cost.idle_gpus import held_idle, release, repair
from analytics.cost.jobs import Pricing, costs_of, of_known_hours
from analytics.cost.latency_value import LatencyWorth, latency_worth
from analytics.cost.minutes import read_demand
from analytics.cost.price_book import shipped_prices
from analytics.cost.step_models import Fit, fit_for, fits_table
from analytics.cost.whatif import Curve, LatencyObjective, Today, TokenMix, WhatIf, advise, curves_of, slowdown, what_if
from analytics.request_times import tpot_ms
from domain.cost import NANOUSD, IdleCause, Use
from domain.incident import Indicator
from domain.slo import Objective, Selection
from domain.window import Window, hour_of
from storage.readers import read_latency, read_requests, read_traffic
from storage.store import Store

_WEEK = timedelta(days=7)
_DAY_S = 86_400
_MEASURED = timedelta(days=1)  # times and tokens are of the last day
_SAMPLE = 20_000  # requests that times are measured on
_GPU_NAMES: Mapping[str, str] = {
    "a100": "NVIDIA A100-SXM4-80GB",
    "h100": "NVIDIA H100 80GB HBM3",
    "h200": "NVIDIA H200",
    "b200": "NVIDIA B200",
    "l40s": "NVIDIA L40S",
}
"""By the name of a curve's GPU, that of DCGM: what the price book matches."""


@dataclass(frozen=True, slots=True)
class _Served:
    """A model as one service serves it: `replicas` are all pods of the time, `replicas_mean` how many were there."""

    service: str
    model: str
    gpu_model: str
    replicas: tuple[str, ...]
    replicas_mean: int
    gpus_per_replica: int
    usd_per_gpu_hour: float
    coverage_ratio: float
    hours_seen: float


def cost_advice(store: Store, now: datetime, pricing: Pricing, objectives: Sequence[Objective] = ()) -> Ranking:
    """What could be saved, judged by the last seven days.

    Args:
        store: migrated, hours settled.
        now: the week ends with the last hour that is over.
        pricing: prices, warm pools, and what a load and a missed request take.
        objectives: what every other way of serving must keep to.
    """
    end = hour_of(now)
    week = Window(end - _WEEK, end)
    known = of_known_hours(costs_of(store, week, pricing).allocation)
    found = [*release(known), *held_idle(known), *repair(known)]
    for served in _all_served(known):
        found += _of_model(store, served, week, pricing, objectives)
    found += _spot(known, week, pricing)
    return replace(ranked(found), latency_value=latency_of_services(store, end, pricing))


def latency_of_services(store: Store, end: datetime, pricing: Pricing) -> tuple[LatencyWorth, ...]:
    """What sooner answers are worth, by the times of the seven days before `end` and of the seven before them."""
    weeks = (Window(end - _WEEK, end), Window(end - 2 * _WEEK, end - _WEEK))
    return tuple(
        latency_worth(value, *(_median_ms(store, week, value.service, value.indicator) for week in weeks))
        for value in pricing.latency
    )


def _median_ms(store: Store, window: Window, service: str, indicator: Indicator) -> float | None:
    """The mean of the days' medians, by their requests; None without requests."""
    column = "ttft_ms_p50" if indicator is Indicator.TTFT else "latency_ms_p50"
    days = read_latency(store, window, service, _DAY_S).drop_nulls(column)
    return float(np.average(days[column], weights=days["requests"])) if days.height else None


def _spot(known: pl.DataFrame, week: Window, pricing: Pricing) -> list[Advice | AdviceGap]:
    """Spot for the work that may be interrupted; a gap where nobody says which that is."""
    seconds = float(known["gpu_seconds"].sum())
    if not seconds:
        return []
    seen = Window(known["time"].min(), week.end)  # type: ignore[arg-type]  # times
    hours = seen.seconds / 3600
    silent = float(known.filter(pl.col("idle_cause") == IdleCause.NO_TELEMETRY.value)["gpu_seconds"].sum())
    coverage = 1 - silent / seconds
    found = [
        spot.advise(spot.spot_plan(work, known, pricing.book, seen), hours, coverage, f"pool {work.pool}")
        for work in pricing.spot
    ]
    return [one for one in found or [spot.advise(None, hours, coverage, "batch work")] if one is not None]


def _all_served(allocation: pl.DataFrame) -> list[_Served]:
    """Every model that a service served on GPUs that are known, with what it was served on."""
    own = allocation.filter(used(Use.REQUESTS) | used(Use.IDLE)).drop_nulls(["service", "model", "replica"])
    hours = allocation["time"].n_unique()
    found = []
    for (service, model), rows in own.group_by("service", "model", maintain_order=True):
        seconds = float(rows["gpu_seconds"].sum())
        replica_hours = rows.select(pl.struct("time", "replica").n_unique()).item()
        gpu_model = rows.drop_nulls("gpu_model")["gpu_model"].mode()
        if not seconds or gpu_model.is_empty():
            continue
        silent = float(rows.filter(pl.col("idle_cause") == IdleCause.NO_TELEMETRY.value)["gpu_seconds"].sum())
        found.append(
            _Served(
                service=str(service),
                model=str(model),
                gpu_model=str(gpu_model[0]),
                replicas=tuple(rows["replica"].unique().sort()),
                replicas_mean=max(1, round(replica_hours / rows["time"].n_unique())),
                gpus_per_replica=max(1, round(seconds / 3600 / replica_hours)),
                usd_per_gpu_hour=int(rows["cost_nanousd"].sum()) / NANOUSD / (seconds / 3600),
                coverage_ratio=1 - silent / seconds,
                hours_seen=float(hours),
            )
        )
    return found


def _of_model(
    store: Store, served: _Served, week: Window, pricing: Pricing, objectives: Sequence[Objective]
) -> list[Advice | AdviceGap]:
    """Other GPUs, fewer replicas, other spares for one model."""
    fit = fit_for(served.model, served.gpu_model, served.gpus_per_replica)
    promise, percentile = _promise(objectives, served.service)
    if fit is None or promise is None:
        missing, remedy = "no curve of this model", "Its name, its GPU or its weights are in no table."
        if promise is None:
            missing = f"{served.service} has no objective for times"
            remedy = "Set one for time to first token or per token: what is saved must not cost it."
        return [AdviceGap(AdviceKind.GPU_TYPE, served.model, missing, remedy)]
    demand = read_demand(store, week, served.replicas)
    measured = _measured(store, served, week, percentile)
    if measured is None or demand.is_empty():
        return [AdviceGap(AdviceKind.GPU_TYPE, served.model, "no requests with tokens", "Send spans that tell them.")]
    mix, first_token_ms, output_token_ms, peak = measured
    running = demand["running"].drop_nulls()
    sequences = float(running.filter(running > 0).mean() or 0.0) / served.replicas_mean  # type: ignore[arg-type]  # a number
    today = Today(
        fit.family, fit.gpu, fit.gpus, fit.weights, served.replicas_mean, sequences, first_token_ms, output_token_ms,
        peak, served.hours_seen, served.coverage_ratio,
    )  # fmt: skip
    curves = curves_of(fits_table())
    compared = what_if(today, curves, mix, promise, _prices(pricing, served, fit, week.end))
    if isinstance(compared, AdviceGap):
        return [compared]
    return [*advise(compared), *_of_demand(demand, served, compared, mix, _own_curve(curves, fit), pricing)]


def _of_demand(
    demand: pl.DataFrame, served: _Served, compared: WhatIf, mix: TokenMix, curve: Curve, pricing: Pricing
) -> list[Advice | AdviceGap]:
    """Whether the requests fit into fewer replicas, and how many spares pay."""
    most = compared.need.capacity.sequences
    slower = slowdown(curve, mix, compared.slowness, compared.today.sequences, most)
    fleet = Fleet(
        served.model, served.replicas_mean, served.gpus_per_replica, served.usd_per_gpu_hour, (most, most),
        (1.0, max(1.0, slower)), served.coverage_ratio,
    )  # fmt: skip
    found = [consolidation(demand, fleet)]
    if pricing.load_s is not None:
        replica = warm_pool.Replica(served.model, most, served.gpus_per_replica, served.usd_per_gpu_hour)
        today = compared.today
        request_s = ((today.first_token_ms or 0.0) + mix.output_tokens * (today.output_token_ms or 0.0)) / 1000
        loads = warm_pool.lognormal_load_s(*pricing.load_s)
        curve_of_spares = warm_pool.warm_pool(demand, loads, replica, request_s, pricing.usd_per_missed_request)
        if isinstance(curve_of_spares, AdviceGap):
            found.append(curve_of_spares)
        else:
            spares = sum(pricing.is_warm(name) for name in served.replicas)
            found.append(
                warm_pool.advise(
                    curve_of_spares, spares, replica, pricing.usd_per_missed_request, served.coverage_ratio
                )
            )
    return [one for one in found if one is not None]


def _promise(objectives: Sequence[Objective], service: str) -> tuple[LatencyObjective | None, float]:
    """What the service promises of all its requests, and at which percentile."""
    own = [one for one in objectives if one.service == service and one.selection == Selection()]
    first = next((one for one in own if one.indicator is Indicator.TTFT), None)
    token = next((one for one in own if one.indicator is Indicator.TPOT), None)
    goodput = next((one for one in own if one.indicator is Indicator.GOODPUT), None)
    first, token = first or goodput, token or goodput
    if first is None and token is None:
        return None, 0.0
    ratios = [one.target_ratio for one in (first, token) if one is not None]
    token_ms = None if token is None else token.tpot_threshold_ms if token is goodput else token.threshold_ms
    return LatencyObjective(None if first is None else first.threshold_ms, token_ms), min(ratios)


def _measured(
    store: Store, served: _Served, week: Window, percentile: float
) -> tuple[TokenMix, float | None, float | None, float] | None:
    """Tokens of a request, times at a percentile, requests a second at the busiest; None without tokens."""
    day = Window(week.end - _MEASURED, week.end)
    traffic = read_traffic(store, week, served.service, 60, models=[served.model])
    lately = int(traffic.filter(pl.col("time") >= day.start)["requests"].sum())
    if not lately:
        return None
    requests = read_requests(store, day, served.service, served.model, max(1, lately // _SAMPLE))
    fine = requests.filter(~pl.col("is_error")).drop_nulls(["input_tokens", "output_tokens"])
    if fine.is_empty():
        return None
    token_ms = fine.select(tpot_ms()).to_series()
    mix = TokenMix(*(float(fine[name].mean() or 0.0) for name in ("input_tokens", "output_tokens")))  # type: ignore[arg-type]  # numbers
    peak = float(traffic["requests"].quantile(0.99) or 0.0) / 60
    return mix, fine["ttft_ms"].quantile(percentile), token_ms.quantile(percentile), peak


def _prices(pricing: Pricing, served: _Served, fit: Fit, moment: datetime) -> dict[str, float]:
    """Dollars of a GPU-hour by GPU: what is paid of the own one, of others the book's, else list prices."""
    found = {}
    for gpu, dcgm_name in _GPU_NAMES.items():
        for book in (pricing.book, shipped_prices()):
            name = book.price_for(None, dcgm_name, None)
            price = None if name is None else book.price_at(name, moment)
            if price is not None:
                found[gpu] = price.usd_per_gpu_hour
                break
    return found | {fit.gpu: served.usd_per_gpu_hour}


def _own_curve(curves: Sequence[Curve], fit: Fit) -> Curve:
    wanted: tuple[Any, ...] = (fit.family, fit.gpu, fit.gpus, fit.weights)
    return next(one for one in curves if (one.model, one.gpu, one.tensor_parallel, one.weights) == wanted)
