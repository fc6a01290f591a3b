"""Money: what a GPU costs, what it was used for, and why it was not."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from fnmatch import fnmatchcase

NANOUSD = 1_000_000_000
"""Billionths of a US dollar in a dollar: money is kept in whole ones, so that parts add up to the bill exactly."""


class Use(StrEnum):
    """What a dollar of the bill went to; the four add up to it."""

    REQUESTS = "requests"
    IDLE = "idle"
    OVERHEAD = "overhead"
    UNATTRIBUTED = "unattributed"


class IdleCause(StrEnum):
    """Why a GPU that is paid for served no request.

    `warm_by_policy` is a warm pool that somebody declared; `no_telemetry` is not known to be idle, but billed;
    `between_steps`: requests run, and the GPU waits for the next step; `held_without_engine`: something holds its
    memory, and no engine tells what.
    """

    UNALLOCATED = "unallocated"
    NO_MODEL = "no_model"
    LOADING = "loading"
    WARM_BY_POLICY = "warm_by_policy"
    NO_TRAFFIC = "loaded_without_traffic"
    BETWEEN_STEPS = "between_steps"
    HELD_WITHOUT_ENGINE = "held_without_engine"
    WAITING_FOR_KV_SPACE = "waiting_for_kv_space"
    THROTTLED = "throttled"
    STALLED_ON_FABRIC = "stalled_on_fabric"
    HUNG = "hung"
    NO_TELEMETRY = "no_telemetry"


IDLE_TITLES: Mapping[IdleCause, str] = {
    IdleCause.UNALLOCATED: "Unallocated",
    IdleCause.NO_MODEL: "Allocated, no model",
    IdleCause.LOADING: "Loading a model",
    IdleCause.WARM_BY_POLICY: "Warm on purpose",
    IdleCause.NO_TRAFFIC: "Loaded, no traffic",
    IdleCause.BETWEEN_STEPS: "Between steps",
    IdleCause.HELD_WITHOUT_ENGINE: "Held, no engine",
    IdleCause.WAITING_FOR_KV_SPACE: "Waiting for KV space",
    IdleCause.THROTTLED: "Throttled",
    IdleCause.STALLED_ON_FABRIC: "Stalled on the fabric",
    IdleCause.HUNG: "Hung",
    IdleCause.NO_TELEMETRY: "No telemetry",
}
"""What pages and reports call each cause."""


class PriceMode(StrEnum):
    """How a GPU is paid for."""

    ON_DEMAND = "on_demand"
    RESERVED = "reserved"
    SPOT = "spot"
    OWNED = "owned"


@dataclass(frozen=True, slots=True)
class Price:
    """US dollars of one whole GPU for an hour, from `starts_at` until the next price of the same `name` starts.

    `source` says where it was read (an address, an invoice), `as_of` when; a price without them does not load.
    """

    name: str
    usd_per_gpu_hour: float
    starts_at: datetime
    mode: PriceMode
    source: str
    as_of: str
    provider: str = ""
    gpu_model: str = ""
    region: str = ""
    zone: str = ""


@dataclass(frozen=True, slots=True)
class PriceMatch:
    """Which GPUs a price is for: each given pattern (`*` and `?`) must match; the first match of a book counts."""

    price: str
    node: str = "*"
    gpu_model: str = "*"
    pool: str = "*"

    def holds(self, node: str, gpu_model: str, pool: str) -> bool:
        """Does it match this GPU, without regard to case in the model's name."""
        return (
            fnmatchcase(node, self.node)
            and fnmatchcase(gpu_model.lower(), self.gpu_model.lower())
            and fnmatchcase(pool, self.pool)
        )
