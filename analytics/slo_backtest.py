"""Backtests as they are asked for and told: an objective with another target or threshold, and what it had brought."""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal

from analytics.burn_rates import BurnAlert
from domain.incident import Severity
from domain.slo import Objective
from domain.window import rfc3339


class TrialError(ValueError):
    """An objective that cannot be tried so; `field` says which of the two is at fault."""

    def __init__(self, field: Literal["target", "threshold"], told: str) -> None:
        super().__init__(told)
        self.field = field


def tried(objective: Objective, target: float | None, threshold: float | None) -> Objective:
    """The objective with another target ratio, another threshold in ms, or both; None leaves what is promised.

    Of goodput the threshold is that of the first token.

    Raises:
        TrialError: when nothing could be judged by it.
    """
    if target is not None:
        if not 0 < target < 1:
            raise TrialError("target", f"is {target}; expected a ratio above 0 and below 1, e.g. 0.995")
        objective = replace(objective, target_ratio=target)
    if threshold is not None:
        if objective.threshold_ms is None:
            told = f"an objective of {objective.indicator} has no threshold_ms to be another"
            raise TrialError("threshold", told)
        if not 0 < threshold < math.inf:
            raise TrialError("threshold", f"is {threshold}; expected milliseconds above 0, e.g. 800")
        objective = replace(objective, threshold_ms=threshold)
    return objective


def backtest_document(objective: Objective, alerts: Sequence[BurnAlert]) -> dict[str, Any]:
    """What was tried, and the pages and tickets that it would have brought, as the outside reads it."""
    return {
        "name": objective.name,
        "target_ratio": objective.target_ratio,
        "threshold_ms": objective.threshold_ms,
        "pages_count": sum(one.severity is Severity.PAGE for one in alerts),
        "tickets_count": sum(one.severity is Severity.TICKET for one in alerts),
        "alerts": [
            {
                "severity": one.severity.value,
                "window_s": one.windows.long_s,
                "burn_rate": one.burn_rate,
                "started_at": rfc3339(one.started_at),
                "ended_at": None if one.ended_at is None else rfc3339(one.ended_at),
            }
            for one in alerts
        ],
    }
