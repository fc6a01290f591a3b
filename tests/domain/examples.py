"""An incident with everything in it, and one with nothing that could be left out."""

from datetime import UTC, datetime

from domain.cause import Cause, CauseKind, EntityShare, Evidence, Explanation, RuledOut, Step, Whereabouts
from domain.entity import Entity, EntityKind
from domain.incident import Incident, Indicator, Severity, Status

PORT = Entity(EntityKind.PORT, "gpu-07-03/mlx5_2/1")
REPLICA = Entity(EntityKind.REPLICA, "chat-3")
BAD_LINK = Cause(
    rank=1,
    kind=CauseKind.NETWORK_LINK_FAULT,
    entity=PORT,
    confidence=0.93,
    lead_s=50.0,
    summary="gpu-07-03/mlx5_2/1 has a bad link: symbol errors 0.37 → 85.4 per second; every transfer is slowed.",
    evidence=(
        Evidence("symbol_errors", PORT, 0.37, 85.4, "1/s", 0.99, 50.0),
        Evidence("transfer_time", REPLICA, None, 1340.0, "ms", 0.97, -15.0),
        Evidence("link_recoveries", PORT, 0.0, 0.05, "1/s", 0.6, None),
    ),
    next_steps=("Drain the node from the service.", "Reset the port."),
    explained_ratio=0.97,
    chain=(
        Step(PORT, "symbol errors 0.37 → 85.4 per second", 50.0),
        Step(REPLICA, "time to first token outside queue and prefill 41 ms → 1.34 s", -15.0),
        Step(Entity(EntityKind.SERVICE, "chat"), "a mean request takes 1,240 ms longer, most of it in the queue", 0.0),
    ),
)
PAGING = Incident(
    id="inc-0123456789",
    service="chat",
    model="llama-70b",
    indicator=Indicator.TTFT,
    status=Status.OPEN,
    severity=Severity.PAGE,
    started_at=datetime(2026, 11, 23, 2, 41, tzinfo=UTC),
    detected_at=datetime(2026, 11, 23, 2, 41, 30, tzinfo=UTC),
    ended_at=None,
    baseline_ms_p99=540.0,
    peak_ms_p99=4100.0,
    slow_requests_count=18420,
    slow_requests_ratio=0.31,
    budget_spent_ratio=0.037,
    cost_usd=312.0,
    tenants_affected_count=41,
    explanation=Explanation(
        causes=(BAD_LINK,),
        ruled_out=(RuledOut(CauseKind.TRAFFIC_SURGE, "request rate within 3 % of usual"),),
        whereabouts=Whereabouts(
            excess_ms=1240.0,
            stages_ms={"queue_ms": 1108.0, "transfer_ms": 0.2, "prompt_ms": -3.0, "prefill_ms": 134.8},
            shares=(EntityShare(REPLICA, 0.97, 0.17),),
        ),
    ),
    exemplar_trace_ids=("4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7a3ce929d0e0e4736"),
    services_affected=("chat", "assistant"),
)
UNEXPLAINED = Incident(
    id="inc-9876543210",
    service="embeddings",
    model=None,
    indicator=Indicator.LATENCY,
    status=Status.RESOLVED,
    severity=Severity.TICKET,
    started_at=datetime(2026, 11, 23, 2, 41, tzinfo=UTC),
    detected_at=datetime(2026, 11, 23, 2, 41, 30, tzinfo=UTC),
    ended_at=datetime(2026, 11, 23, 2, 55, tzinfo=UTC),
    baseline_ms_p99=80.0,
    peak_ms_p99=310.0,
    slow_requests_count=12,
    slow_requests_ratio=0.04,
    budget_spent_ratio=None,
    cost_usd=None,
    tenants_affected_count=None,
    explanation=Explanation(
        causes=(
            Cause(
                rank=1,
                kind=CauseKind.UNKNOWN,
                entity=Entity(EntityKind.SERVICE, "embeddings"),
                confidence=0.0,
                lead_s=None,
                summary="No known cause fits.",
                evidence=(),
                next_steps=(),
            ),
        ),
        ruled_out=(),
    ),
    exemplar_trace_ids=(),
)
