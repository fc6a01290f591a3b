"""Incidents: a spike that users felt, its impact and its explanation, and the document it is told in."""

from dataclasses import asdict, dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from domain.cause import Cause, CauseKind, EntityShare, Evidence, Explanation, RuledOut, Step, Whereabouts
from domain.entity import Entity, EntityKind, GpuPlace
from domain.window import from_rfc3339, rfc3339


class Indicator(StrEnum):
    """What is measured of a service. Incidents are of the first five; the others are promised, but never spike."""

    TTFT = "ttft"
    LATENCY = "latency"
    TPOT = "tpot"
    ERRORS = "errors"
    THROUGHPUT = "throughput"
    GOODPUT = "goodput"
    GPU_AVAILABILITY = "gpu_availability"
    DATA_FRESHNESS = "data_freshness"


class Status(StrEnum):
    """Is it still going on."""

    OPEN = "open"
    RESOLVED = "resolved"


class Severity(StrEnum):
    """Who is told: someone now, someone tomorrow, nobody."""

    PAGE = "page"
    TICKET = "ticket"
    INFO = "info"


@dataclass(frozen=True, slots=True)
class Incident:
    """One spike, or several of one cause. Ratios are 0-1; a value that could not be known is None, never 0.

    `service` is the one that is told of; `services_affected` has it and every other that spiked for the same cause.
    """

    id: str
    service: str
    model: str | None
    indicator: Indicator
    status: Status
    severity: Severity
    started_at: datetime
    detected_at: datetime
    ended_at: datetime | None
    baseline_ms_p99: float
    peak_ms_p99: float
    slow_requests_count: int
    slow_requests_ratio: float
    budget_spent_ratio: float | None
    cost_usd: float | None
    tenants_affected_count: int | None
    explanation: Explanation
    exemplar_trace_ids: tuple[str, ...]
    services_affected: tuple[str, ...] = ()

    @property
    def cause(self) -> Cause:
        """The likeliest cause."""
        return self.explanation.causes[0]


def to_document(incident: Incident) -> dict[str, Any]:
    """The incident as the outside reads it (JSON-ready; times RFC 3339)."""
    told = explanation_to_document(incident.explanation)
    return {
        "id": incident.id,
        "service": incident.service,
        "model": incident.model,
        "indicator": incident.indicator.value,
        "status": incident.status.value,
        "severity": incident.severity.value,
        "started_at": rfc3339(incident.started_at),
        "detected_at": rfc3339(incident.detected_at),
        "ended_at": rfc3339(incident.ended_at) if incident.ended_at else None,
        "baseline_ms_p99": incident.baseline_ms_p99,
        "peak_ms_p99": incident.peak_ms_p99,
        "slow_requests_count": incident.slow_requests_count,
        "slow_requests_ratio": incident.slow_requests_ratio,
        "budget_spent_ratio": incident.budget_spent_ratio,
        "cost_usd": incident.cost_usd,
        "tenants_affected_count": incident.tenants_affected_count,
        "causes": told["causes"],
        "ruled_out": told["ruled_out"],
        "exemplar_trace_ids": list(incident.exemplar_trace_ids),
        "scope": told["scope"],
        "services_affected": list(incident.services_affected),
    }


def explanation_to_document(explanation: Explanation) -> dict[str, Any]:
    """`{"causes": […], "ruled_out": […], "scope": …}` as the outside reads it."""
    where = explanation.whereabouts
    return {
        "causes": [_cause_to_document(cause) for cause in explanation.causes],
        "ruled_out": [{"kind": ruled_out.kind.value, "why": ruled_out.why} for ruled_out in explanation.ruled_out],
        "scope": None
        if where is None
        else {
            "excess_ms": where.excess_ms,
            "stages_ms": dict(where.stages_ms),
            "shares": [
                {
                    "entity": _entity_to_document(share.entity),
                    "excess_ratio": share.excess_ratio,
                    "traffic_ratio": share.traffic_ratio,
                }
                for share in where.shares
            ],
        },
    }


def from_document(document: dict[str, Any]) -> Incident:
    """The inverse of `to_document`.

    Raises:
        KeyError, ValueError: when the document was not written by `to_document`.
    """
    ended_at = document["ended_at"]
    return Incident(
        id=document["id"],
        service=document["service"],
        model=document["model"],
        indicator=Indicator(document["indicator"]),
        status=Status(document["status"]),
        severity=Severity(document["severity"]),
        started_at=from_rfc3339(document["started_at"]),
        detected_at=from_rfc3339(document["detected_at"]),
        ended_at=from_rfc3339(ended_at) if ended_at else None,
        baseline_ms_p99=document["baseline_ms_p99"],
        peak_ms_p99=document["peak_ms_p99"],
        slow_requests_count=document["slow_requests_count"],
        slow_requests_ratio=document["slow_requests_ratio"],
        budget_spent_ratio=document["budget_spent_ratio"],
        cost_usd=document["cost_usd"],
        tenants_affected_count=document["tenants_affected_count"],
        explanation=Explanation(
            causes=tuple(_cause_from_document(cause) for cause in document["causes"]),
            ruled_out=tuple(RuledOut(CauseKind(r["kind"]), r["why"]) for r in document["ruled_out"]),
            whereabouts=_whereabouts_from_document(document.get("scope")),
        ),
        exemplar_trace_ids=tuple(document["exemplar_trace_ids"]),
        services_affected=tuple(document.get("services_affected", ())),  # as the rest below: unknown before 0.3
    )


def _cause_to_document(cause: Cause) -> dict[str, Any]:
    return {
        "rank": cause.rank,
        "kind": cause.kind.value,
        "entity": _entity_to_document(cause.entity),
        "confidence": cause.confidence,
        "lead_s": cause.lead_s,
        "summary": cause.summary,
        "evidence": [
            {
                "signal": evidence.signal,
                "entity": _entity_to_document(evidence.entity),
                "before": evidence.before,
                "during": evidence.during,
                "unit": evidence.unit,
                "score": evidence.score,
                "lead_s": evidence.lead_s,
            }
            for evidence in cause.evidence
        ],
        "next_steps": list(cause.next_steps),
        "explained_ratio": cause.explained_ratio,
        "chain": [
            {"entity": _entity_to_document(step.entity), "text": step.text, "lead_s": step.lead_s}
            for step in cause.chain
        ],
        "gpu": None if cause.gpu is None else asdict(cause.gpu),
        "gpus": {name: asdict(place) for name, place in _gpus_of(cause).items()},
    }


def _gpus_of(cause: Cause) -> dict[str, GpuPlace]:
    """Where the GPUs of its evidence and its chain are, by their UUID."""
    told = [(one.entity, one.gpu) for one in cause.evidence] + [(one.entity, one.gpu) for one in cause.chain]
    return {entity.name: place for entity, place in told if place is not None}


def _cause_from_document(document: dict[str, Any]) -> Cause:
    gpus = {name: GpuPlace(**place) for name, place in document.get("gpus", {}).items()}
    return Cause(
        rank=document["rank"],
        kind=CauseKind(document["kind"]),
        entity=_entity_from_document(document["entity"]),
        confidence=document["confidence"],
        lead_s=document["lead_s"],
        summary=document["summary"],
        evidence=tuple(
            Evidence(
                signal=evidence["signal"],
                entity=_entity_from_document(evidence["entity"]),
                before=evidence["before"],
                during=evidence["during"],
                unit=evidence["unit"],
                score=evidence["score"],
                lead_s=evidence["lead_s"],
                gpu=gpus.get(evidence["entity"]["name"]),
            )
            for evidence in document["evidence"]
        ),
        next_steps=tuple(document["next_steps"]),
        explained_ratio=document.get("explained_ratio"),
        chain=tuple(
            Step(_entity_from_document(step["entity"]), step["text"], step["lead_s"], gpus.get(step["entity"]["name"]))
            for step in document.get("chain", ())
        ),
        gpu=GpuPlace(**document["gpu"]) if document.get("gpu") else None,
    )


def _whereabouts_from_document(document: dict[str, Any] | None) -> Whereabouts | None:
    if document is None:
        return None
    return Whereabouts(
        excess_ms=document["excess_ms"],
        stages_ms=document["stages_ms"],
        shares=tuple(
            EntityShare(_entity_from_document(share["entity"]), share["excess_ratio"], share["traffic_ratio"])
            for share in document["shares"]
        ),
    )


def _entity_to_document(entity: Entity) -> dict[str, str]:
    return {"kind": entity.kind.value, "name": entity.name}


def _entity_from_document(document: dict[str, str]) -> Entity:
    return Entity(EntityKind(document["kind"]), document["name"])
