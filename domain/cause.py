"""Causes: what explains a spike, with the evidence for it and what was ruled out."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum

from domain.entity import Entity, GpuPlace, entity_text
from domain.quantity import move_text


class CauseKind(StrEnum):
    """The kinds of cause, as the outside knows them."""

    GPU_MEMORY_PRESSURE = "gpu_memory_pressure"
    GPU_MEMORY_CONTENTION = "gpu_memory_contention"
    GPU_COMPUTE_CONTENTION = "gpu_compute_contention"
    GPU_THERMAL_THROTTLE = "gpu_thermal_throttle"
    GPU_POWER_THROTTLE = "gpu_power_throttle"
    GPU_FAULT = "gpu_fault"
    PCIE_DEGRADED = "pcie_degraded"
    NVLINK_FAULT = "nvlink_fault"
    NETWORK_SATURATION = "network_saturation"
    NETWORK_CONGESTION = "network_congestion"
    NETWORK_LINK_FAULT = "network_link_fault"
    STRAGGLER = "straggler"
    TRAFFIC_SURGE = "traffic_surge"
    PROMPT_MIX_SHIFT = "prompt_mix_shift"
    COLD_START = "cold_start"
    CAPACITY_LOSS = "capacity_loss"
    BAD_RELEASE = "bad_release"
    HOST_CONTENTION = "host_contention"
    UPSTREAM_DEPENDENCY = "upstream_dependency"
    UNKNOWN = "unknown"


NOT_LOOKED_AT = "not looked at: "
"""So begins the reason why a kind was ruled out that nobody sends a sign of."""

CAUSES_MAX = 4  # of one explanation
CONFIDENCE_SHOWN = 0.25  # a further cause is worth a look from here

OF_THE_LOAD = frozenset({CauseKind.TRAFFIC_SURGE, CauseKind.PROMPT_MIX_SHIFT})
"""What whoever asks brings about; nothing is broken."""

OF_EVERY_DAY = OF_THE_LOAD | {CauseKind.COLD_START, CauseKind.BAD_RELEASE}
"""What there is on healthy days too: more traffic, longer prompts, a start, a release."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """One signal that moved: its level before and during, and how far ahead of the spike it moved.

    `score` is in 0-1; `lead_s` is positive when the signal moved before the spike began, None when
    the time of its move could not be told. `before` is None when there was no sample before. `gpu` says where a GPU
    is; None of any other entity.
    """

    signal: str
    entity: Entity
    before: float | None
    during: float
    unit: str
    score: float
    lead_s: float | None
    gpu: GpuPlace | None = None

    @property
    def whose(self) -> str:
        """What people call the entity: `GPU 2 of gpu-07-03 (chat-5)`."""
        return entity_text(self.entity, self.gpu)

    @property
    def move(self) -> str:
        """From what to what it went, in words: `0.37 → 85.4 per second`."""
        return move_text(self.before, self.during, self.unit, self.entity.kind)


@dataclass(frozen=True, slots=True)
class Step:
    """One link of the chain from a cause to what users felt: what moved, on what, and how far ahead of the spike.

    `gpu` says where a GPU is; None of any other entity.
    """

    entity: Entity
    text: str
    lead_s: float | None
    gpu: GpuPlace | None = None

    @property
    def whose(self) -> str:
        """What people call the entity, as of `Evidence`."""
        return entity_text(self.entity, self.gpu)


@dataclass(frozen=True, slots=True)
class Cause:
    """One explanation, rank 1 being the likeliest; `confidence` in 0-1.

    `explained_ratio` is the share of the added time (or of the added failures) that lies where this cause reaches;
    None when it could not be told. `chain` goes from the cause by what it brought about to the symptom. `gpu` says
    where a GPU is; None of any other entity.
    """

    rank: int
    kind: CauseKind
    entity: Entity
    confidence: float
    lead_s: float | None
    summary: str
    evidence: tuple[Evidence, ...]
    next_steps: tuple[str, ...]
    explained_ratio: float | None = None
    chain: tuple[Step, ...] = ()
    gpu: GpuPlace | None = None

    @property
    def whose(self) -> str:
        """What people call the entity, as of `Evidence`."""
        return entity_text(self.entity, self.gpu)


@dataclass(frozen=True, slots=True)
class RuledOut:
    """A kind that was looked at and set aside, with the reason."""

    kind: CauseKind
    why: str


@dataclass(frozen=True, slots=True)
class EntityShare:
    """What of the added time and of the requests lies on one entity, as ratios of the whole service."""

    entity: Entity
    excess_ratio: float
    traffic_ratio: float


_NOISE_RATIO = 0.005
_UNTOLD_RATIO = 0.05


@dataclass(frozen=True, slots=True)
class Whereabouts:
    """Where the added time lies: by how much a mean request took longer, in which of its stages (ms), and on whom.

    Where the time per token spiked, `excess_ms` is of a mean token; the stages are those of a request all the same.
    """

    excess_ms: float
    stages_ms: Mapping[str, float]
    shares: tuple[EntityShare, ...]

    @property
    def added_ms(self) -> Mapping[str, float]:
        """The stages that took longer by more than noise, in their order."""
        added = {stage: added_ms for stage, added_ms in self.stages_ms.items() if added_ms > 0}
        least_ms = _NOISE_RATIO * sum(added.values())
        return {stage: added_ms for stage, added_ms in added.items() if added_ms > least_ms}

    @property
    def untold_ms(self) -> float:
        """What of the added time no stage tells; 0 where that is little."""
        rest_ms = self.excess_ms - sum(self.stages_ms.values())
        return rest_ms if rest_ms > max(0.0, _UNTOLD_RATIO * self.excess_ms) else 0.0

    @property
    def saved_ms(self) -> float:
        """How much less the other stages took, in all; 0 where that is little."""
        saved_ms = sum(self.added_ms.values()) + self.untold_ms - self.excess_ms
        return saved_ms if self.stages_ms and saved_ms > _UNTOLD_RATIO * self.excess_ms else 0.0


@dataclass(frozen=True, slots=True)
class Explanation:
    """What explains one window of one service: causes by rank (never empty) and what was ruled out.

    `whereabouts` is None where there was nothing to compare with.
    """

    causes: tuple[Cause, ...]
    ruled_out: tuple[RuledOut, ...]
    whereabouts: Whereabouts | None = None

    def against_onset(self, earlier_s: float) -> "Explanation":
        """The same, its times held against an onset so many seconds earlier; users feel it at the onset as before."""

        def lead(lead_s: float | None) -> float | None:
            return None if lead_s is None else lead_s - earlier_s

        def moved(cause: Cause) -> Cause:
            return replace(
                cause,
                lead_s=lead(cause.lead_s),
                evidence=tuple(replace(one, lead_s=lead(one.lead_s)) for one in cause.evidence),
                chain=(*(replace(one, lead_s=lead(one.lead_s)) for one in cause.chain[:-1]), *cause.chain[-1:]),
            )

        return replace(self, causes=tuple(map(moved, self.causes)))

    def with_causes(self, first: Cause, further: Iterable[Cause]) -> "Explanation":
        """The same with other causes: the first, then of each other kind the surest; four in all, and none ruled out.

        A further cause that is hardly believed (`CONFIDENCE_SHOWN`) is not told.
        """
        kinds, kept = {first.kind}, [first]
        for cause in sorted(further, key=lambda one: -one.confidence):
            if cause.kind not in kinds and cause.confidence >= CONFIDENCE_SHOWN and len(kept) < CAUSES_MAX:
                kinds.add(cause.kind)
                kept.append(cause)
        return replace(
            self,
            causes=tuple(replace(cause, rank=rank) for rank, cause in enumerate(kept, start=1)),
            ruled_out=tuple(one for one in self.ruled_out if one.kind not in kinds),
        )
