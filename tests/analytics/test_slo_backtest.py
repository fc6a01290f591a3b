"""What may be tried of an objective, and how what it had brought is told."""

from datetime import UTC, datetime, timedelta
from math import inf, nan

import pytest

from analytics.burn_rates import WINDOWS, BurnAlert
from analytics.slo_backtest import TrialError, backtest_document, tried
from domain.incident import Indicator, Severity
from domain.slo import Objective

TTFT = Objective("chat-ttft", "chat", Indicator.TTFT, 0.99, 30, threshold_ms=2000.0)
ERRORS = Objective("chat-errors", "chat", Indicator.ERRORS, 0.999, 30)


def test_what_is_not_tried_stays_as_it_is_promised() -> None:
    assert tried(TTFT, None, None) == TTFT
    assert tried(TTFT, 0.995, None).target_ratio == 0.995
    assert tried(TTFT, None, 800.0).threshold_ms == 800.0
    assert tried(ERRORS, 0.995, None).target_ratio == 0.995


@pytest.mark.parametrize("target", [0.0, 1.0, -0.1, 99.5, nan, inf])
def test_a_target_that_leaves_no_budget_or_promises_nothing_is_refused(target: float) -> None:
    with pytest.raises(TrialError, match="above 0 and below 1") as caught:
        tried(TTFT, target, None)
    assert caught.value.field == "target"


@pytest.mark.parametrize(
    ("objective", "threshold", "told"),
    [
        (TTFT, 0.0, "expected milliseconds above 0"),
        (TTFT, -1.0, "expected milliseconds above 0"),
        (TTFT, nan, "expected milliseconds above 0"),
        (TTFT, inf, "expected milliseconds above 0"),
        (ERRORS, 800.0, "an objective of errors has no threshold_ms to be another"),
    ],
)
def test_a_threshold_that_nothing_could_be_judged_by_is_refused(
    objective: Objective, threshold: float, told: str
) -> None:
    with pytest.raises(TrialError, match=told) as caught:
        tried(objective, None, threshold)
    assert caught.value.field == "threshold"


def test_what_it_had_brought_is_told_with_counts() -> None:
    began = datetime(2026, 11, 23, 2, 43, tzinfo=UTC)
    page = BurnAlert(TTFT, Severity.PAGE, WINDOWS[0], 16.2, began, began + timedelta(minutes=48))
    ticket = BurnAlert(TTFT, Severity.TICKET, WINDOWS[2], 3.5, began, None)
    assert backtest_document(TTFT, [page, ticket]) == {
        "name": "chat-ttft",
        "target_ratio": 0.99,
        "threshold_ms": 2000.0,
        "pages_count": 1,
        "tickets_count": 1,
        "alerts": [
            {
                "severity": "page",
                "window_s": 3600,
                "burn_rate": 16.2,
                "started_at": "2026-11-23T02:43:00Z",
                "ended_at": "2026-11-23T03:31:00Z",
            },
            {
                "severity": "ticket",
                "window_s": 86400,
                "burn_rate": 3.5,
                "started_at": "2026-11-23T02:43:00Z",
                "ended_at": None,
            },
        ],
    }
