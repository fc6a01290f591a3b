"""Slow and obvious twins of fast code, to be compared with it."""

import math
import statistics
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from domain.incident import Indicator
from domain.slo import Objective

CLAMPED_32_BIT = 2.0**32 - 1


def counter_rates(counter: Sequence[float], step_s: int) -> list[float]:
    """Growth per second of one counter, step by step; NaN is "no sample" in, and "not known" out."""
    rates = []
    last_step: int | None = None
    for step, value in enumerate(counter):
        rate = math.nan
        if not math.isnan(value):
            if last_step is not None:
                before = counter[last_step]
                elapsed_s = (step - last_step) * step_s
                if value == CLAMPED_32_BIT and before == CLAMPED_32_BIT:
                    rate = math.nan
                elif value < before:
                    rate = value / elapsed_s
                else:
                    rate = (value - before) / elapsed_s
            last_step = step
        rates.append(rate)
    return rates


def raised(
    seconds: Sequence[float],
    p99_ms: Sequence[float],
    *,
    history_s: float,
    history_buckets_min: int,
    sigmas: float,
    ratio_min: float,
    excess_ms_min: float,
    raised_of: int,
    held_min: int,
    held_of: int,
) -> list[bool]:
    """Is each bucket raised above the usual ones before it: the rule, one bucket after the other."""
    verdicts: list[bool] = []
    held: set[int] = set()
    known: tuple[float, float] | None = None
    for now, value in enumerate(p99_ms):
        usual = [
            math.log(p99_ms[past])
            for past in range(now)
            if seconds[now] - seconds[past] <= history_s and past not in held
        ]
        recently_raised = any(verdicts[max(0, now - raised_of) : now])
        if len(usual) >= history_buckets_min:
            median = statistics.median(usual)
            spread = 1.4826 * statistics.median(abs(log - median) for log in usual)
            known = (median, max(spread, math.log(1.05)) * (1.0 + 8.0 / len(usual)))
        elif not recently_raised:
            known = None
        if known is None:
            verdicts.append(False)
            continue
        median, spread = known
        verdicts.append(
            math.log(value) > median + sigmas * spread
            and value > ratio_min * math.exp(median)
            and value - math.exp(median) > excess_ms_min
        )
        lately = [past for past in range(max(0, now + 1 - held_of), now + 1) if verdicts[past]]
        if verdicts[now] and len(lately) >= held_min:
            held.update(lately)
    return verdicts


def failing(
    seconds: Sequence[float],
    failed: Sequence[int],
    requests: Sequence[int],
    *,
    history_s: float,
    history_buckets_min: int,
    failures_min: int,
    chance_max: float,
) -> list[bool]:
    """Did more of each bucket fail than chance explains by the usual ones before it: one bucket after the other."""
    verdicts: list[bool] = []
    for now, count in enumerate(requests):
        past = [one for one in range(now) if seconds[now] - seconds[one] <= history_s and not verdicts[one]]
        if len(past) < history_buckets_min:
            verdicts.append(False)
            continue
        usual = (sum(failed[one] for one in past) + 0.5) / (sum(requests[one] for one in past) + 1)
        chance = sum(
            math.comb(count, bad) * usual**bad * (1 - usual) ** (count - bad) for bad in range(failed[now], count + 1)
        )
        verdicts.append(failed[now] >= failures_min and chance < chance_max)
    return verdicts


def good_and_total(
    latencies_ms: Sequence[float], failed: Sequence[bool], threshold_ms: float | None
) -> tuple[int, int]:
    """How many requests are good by an objective, and how many there are."""
    good = 0
    for latency_ms, bad in zip(latencies_ms, failed, strict=True):
        if not bad and (threshold_ms is None or latency_ms <= threshold_ms):
            good += 1
    return good, len(latencies_ms)


def request_events(requests: Sequence[Mapping[str, Any]], objective: Objective) -> dict[datetime, tuple[int, int]]:
    """All and good requests of each minute by an objective: the rules of docs/slos.md, one request after the other."""
    by_minute: dict[datetime, tuple[int, int]] = {}
    for request in requests:
        wanted = {name: getattr(objective.selection, name) for name in ("model", "version", "tenant", "pool")}
        if any(value is not None and request[name] != value for name, value in wanted.items()):
            continue
        verdict = _is_good(request, objective)
        if verdict is not None:
            minute = request["time"].replace(second=0, microsecond=0)
            total, good = by_minute.get(minute, (0, 0))
            by_minute[minute] = (total + 1, good + verdict)
    return by_minute


def _is_good(request: Mapping[str, Any], objective: Objective) -> bool | None:
    """None: not counted."""
    limit_ms, tokens = objective.threshold_ms or 0.0, request["output_tokens"]
    token_ms: float | None = None
    if tokens is not None and tokens >= 2:
        decode_ms = request["decode_ms"]
        if decode_ms is None and request["ttft_ms"] is not None:
            decode_ms = request["latency_ms"] - request["ttft_ms"]
        token_ms = None if decode_ms is None else decode_ms / (tokens - 1)
    if objective.indicator is Indicator.TPOT and (tokens is None or tokens < 2):
        return None
    if request["is_error"]:
        return False
    first = None if request["ttft_ms"] is None else request["ttft_ms"] <= limit_ms
    if objective.indicator is Indicator.GOODPUT:
        pace = None if token_ms is None else token_ms <= (objective.tpot_threshold_ms or 0.0)
        if tokens is not None and tokens < 2:
            pace = True
        return False if False in (first, pace) else None if None in (first, pace) else True
    return {
        Indicator.ERRORS: True,
        Indicator.TTFT: first,
        Indicator.LATENCY: request["latency_ms"] <= limit_ms,
        Indicator.TPOT: None if token_ms is None else token_ms <= limit_ms,
    }[objective.indicator]


def throughput_events(
    requests: Mapping[int, tuple[int, int]], waiting: set[int], minutes: range, floor_per_s: float
) -> dict[int, tuple[int, int]]:
    """All and good minutes: `requests` are (all, not failed) by minute, `waiting` the minutes with a queue."""
    events = {}
    for minute in minutes:
        asked, predictions = requests.get(minute, (0, 0))
        if asked or minute in waiting:
            events[minute] = (1, int(predictions / 60 >= floor_per_s))
    return events


def freshness_events(times_s: Sequence[float], minutes: range, age_max_s: float) -> dict[int, tuple[int, int]]:
    """All and good minutes, by the times at which something came: the newest before a minute's end was young enough."""
    events = {}
    for minute in minutes:
        end = (minute + 1) * 60
        earlier = [time for time in times_s if time < end]
        if earlier:
            events[minute] = (1, int(end - max(earlier) <= age_max_s))
    return events


def gpu_events(
    samples: Mapping[tuple[str, str], Mapping[int, bool]],
    up: Mapping[str, Mapping[int, bool]],
    minutes: range,
    expected_minutes: int,
) -> dict[int, tuple[int, int]]:
    """All and good minutes of GPUs.

    Args:
        samples: by (exporter, GPU) the minutes in which it told of itself, and whether of no fault.
        up: by exporter the minutes in which it was asked, and whether it answered.
        minutes: those that are judged.
        expected_minutes: how long a GPU is waited for after it told of itself last.
    """
    events: dict[int, tuple[int, int]] = {}
    for minute in minutes:
        for (exporter, _), told in samples.items():
            neighbours = [other for (of, _), other in samples.items() if of == exporter]
            answers = up.get(exporter, {}).get(minute, False) or any(minute in other for other in neighbours)
            expected = minute in told or (min(told) <= minute and minute - max(told) <= expected_minutes)
            if answers and expected:
                total, good = events.get(minute, (0, 0))
                events[minute] = (total + 1, good + told.get(minute, False))
    return events
