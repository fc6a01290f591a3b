"""Causes as the outside reads them; the documents are written by `domain.incident`."""

from typing import Any

from pydantic import BaseModel, Field

from domain.cause import CauseKind
from domain.entity import EntityKind


class EntityDocument(BaseModel):
    """A thing that a signal or a cause is pinned on."""

    kind: EntityKind
    name: str


class EvidenceDocument(BaseModel):
    """A signal that moved."""

    signal: str
    entity: EntityDocument
    before: float | None = Field(description="null when there was no sample before")
    during: float
    unit: str
    score: float = Field(description="0 to 1")
    lead_s: float | None = Field(description="seconds that it moved before the spike; null when that cannot be told")


class StepDocument(BaseModel):
    """A link of the chain from the cause to what users felt."""

    entity: EntityDocument
    text: str
    lead_s: float | None = Field(description="seconds before the spike began; null when that cannot be told")


class GpuPlaceDocument(BaseModel):
    """Where a GPU is."""

    node: str | None = Field(description="null when it is not known")
    index: int | None = Field(description="its number there, as nvidia-smi has it; null when it is not known")
    replica: str | None = Field(None, description="that it serves; null when it is not known, or several share the GPU")


class CauseDocument(BaseModel):
    """One explanation."""

    rank: int = Field(description="1 is the likeliest")
    kind: CauseKind
    entity: EntityDocument
    confidence: float = Field(description="0 to 1, calibrated")
    lead_s: float | None
    summary: str
    evidence: list[EvidenceDocument]
    next_steps: list[str]
    explained_ratio: float | None = Field(description="share of the added time that lies where this cause reaches")
    chain: list[StepDocument] = Field(description="from the cause by what it brought about to the symptom")
    gpu: GpuPlaceDocument | None = Field(description="where the GPU is; null of any other entity")
    gpus: dict[str, GpuPlaceDocument] = Field({}, description="where the GPUs of evidence and chain are, by their UUID")


class RuledOutDocument(BaseModel):
    """A kind of cause that was looked at and set aside."""

    kind: CauseKind
    why: str


class ShareDocument(BaseModel):
    """What of the added time and of the requests lies on one entity; ratios of the whole service."""

    entity: EntityDocument
    excess_ratio: float
    traffic_ratio: float


class ScopeDocument(BaseModel):
    """Where the added time lies."""

    excess_ms: float = Field(description="by how much a mean request took longer")
    stages_ms: dict[str, float] = Field(description="the same by stage of the request; they add up as far as told")
    shares: list[ShareDocument] = Field(description="who has more of it than of the traffic, most first")


class ExplanationDocument(BaseModel):
    """What explains a spike, and what does not."""

    causes: list[CauseDocument] = Field(description="by rank, never empty")
    ruled_out: list[RuledOutDocument]
    scope: ScopeDocument | None = Field(description="null when there was no usual time to compare with")


EXPLANATION_EXAMPLE: dict[str, Any] = {
    "causes": [
        {
            "rank": 1,
            "kind": "network_link_fault",
            "entity": {"kind": "port", "name": "gpu-07-03/mlx5_2/1"},
            "confidence": 0.93,
            "lead_s": 50.0,
            "summary": "Symbol errors on gpu-07-03/mlx5_2/1 began 50 s before the spike: swap the cable.",
            "evidence": [
                {
                    "signal": "node_infiniband_symbol_error_total",
                    "entity": {"kind": "port", "name": "gpu-07-03/mlx5_2/1"},
                    "before": 0.37,
                    "during": 85.4,
                    "unit": "1/s",
                    "score": 0.99,
                    "lead_s": 50.0,
                }
            ],
            "next_steps": ["Drain gpu-07-03", "Swap the cable of mlx5_2/1"],
            "explained_ratio": 0.97,
            "chain": [
                {
                    "entity": {"kind": "port", "name": "gpu-07-03/mlx5_2/1"},
                    "text": "symbol errors 0.37 → 85.4 per second",
                    "lead_s": 50.0,
                },
                {
                    "entity": {"kind": "service", "name": "chat"},
                    "text": "a mean request takes 1,240 ms longer, most of it in the queue",
                    "lead_s": 0.0,
                },
            ],
            "gpu": None,
            "gpus": {},
        }
    ],
    "ruled_out": [{"kind": "traffic_surge", "why": "request rate within 3 % of usual"}],
    "scope": {
        "excess_ms": 1240.0,
        "stages_ms": {"queue_ms": 1105.0, "prefill_ms": 135.0},
        "shares": [{"entity": {"kind": "replica", "name": "chat-3"}, "excess_ratio": 0.97, "traffic_ratio": 0.17}],
    },
}
"""An explanation, for the descriptions of endpoints."""
