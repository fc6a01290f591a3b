"""Small nouns and frames that several tests of the pages build on."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import polars as pl

from domain.cause import Cause, CauseKind, Evidence, Explanation
from domain.entity import Entity, EntityKind
from domain.incident import Incident, Indicator, Severity, Status
from domain.slo import Objective, SloState, SloStatus
from domain.window import Window

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
HOUR = Window(NOON - timedelta(hours=1), NOON)
PORT = Entity(EntityKind.PORT, "gpu-07-03/mlx5_2/1")
TIME = pl.Datetime("us", "UTC")


def minutes_ago(minutes: float) -> datetime:
    """A moment before NOON."""
    return NOON - timedelta(minutes=minutes)


def objective(service: str = "chat", indicator: Indicator = Indicator.TTFT, target_ratio: float = 0.99) -> Objective:
    """An objective over 30 days, 800 ms where it has a threshold."""
    threshold_ms = None if indicator is Indicator.ERRORS else 800.0
    return Objective(f"{service}-{indicator}", service, indicator, target_ratio, 30, threshold_ms)


def status(
    of: Objective | None = None,
    *,
    state: SloState = SloState.MET,
    left: float | None = 0.6,
    burn: float | None = 0.5,
    history: Sequence[float | None] = (1.0, 0.8, 0.6),
) -> SloStatus:
    """Where an objective stands."""
    sli_ratio = None if left is None else 0.996
    return SloStatus(of or objective(), state, 996, 1_000, sli_ratio, left, burn, tuple(history))


def cause(kind: CauseKind = CauseKind.NETWORK_LINK_FAULT, *evidence: Evidence, rank: int = 1) -> Cause:
    """A cause pinned on `PORT`."""
    return Cause(rank, kind, PORT, 0.93, 50.0, "it has a bad link", evidence, ("Drain the node.",))


def incident(*causes: Cause, **changes: object) -> Incident:
    """An incident that began twenty minutes before NOON and goes on."""
    known = Incident(
        id="chat-1",
        service="chat",
        model="llama-70b",
        indicator=Indicator.TTFT,
        status=Status.OPEN,
        severity=Severity.PAGE,
        started_at=minutes_ago(20),
        detected_at=minutes_ago(19),
        ended_at=None,
        baseline_ms_p99=540.0,
        peak_ms_p99=4_100.0,
        slow_requests_count=18_420,
        slow_requests_ratio=0.31,
        budget_spent_ratio=0.037,
        cost_usd=None,
        tenants_affected_count=41,
        explanation=Explanation(causes or (cause(),), ()),
        exemplar_trace_ids=(),
    )
    return replace(known, **changes)  # type: ignore[arg-type]
