"""Slow and obvious twins of fast code, to be compared with it."""

import math
import statistics
from collections.abc import Sequence

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


def good_and_total(
    latencies_ms: Sequence[float], failed: Sequence[bool], threshold_ms: float | None
) -> tuple[int, int]:
    """How many requests are good by an objective, and how many there are."""
    good = 0
    for latency_ms, bad in zip(latencies_ms, failed, strict=True):
        if not bad and (threshold_ms is None or latency_ms <= threshold_ms):
            good += 1
    return good, len(latencies_ms)
