"""What uses and idle causes are called, what to do about them, and their colours: the same on every page of cost."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from analytics.cost.variance import Part
from domain.cost import IDLE_TITLES, IdleCause, Use


@dataclass(frozen=True, slots=True)
class Words:
    """A title, a hint in plain words, and the colour token."""

    title: str
    hint: str
    tone: str


USES = MappingProxyType(
    {
        Use.REQUESTS: Words("Served requests", "GPU time that went into requests", "accent"),
        Use.IDLE: Words("Idle", "GPU time that is paid for and served no request", "use-idle"),
        Use.OVERHEAD: Words("Overhead", "what the price book names beside the GPUs", "calm"),
        Use.UNATTRIBUTED: Words(
            "Not attributed", "busy, but no request is known of it: send the traces of every service", "line-neutral"
        ),
    }
)

_HINTS: Mapping[IdleCause, tuple[str, str]] = {
    IdleCause.NO_TRAFFIC: ("Scale down in quiet hours, or share the GPUs with another model.", "idle-no-traffic"),
    IdleCause.BETWEEN_STEPS: ("Requests run, the GPU waits: look at the engine's CPU, or at batching.", "idle-between"),
    IdleCause.HELD_WITHOUT_ENGINE: (
        "Something holds memory and tells nothing: scrape its engine, or end it.",
        "idle-held",
    ),
    IdleCause.UNALLOCATED: ("Give the GPUs back, or let other work have them.", "idle-unallocated"),
    IdleCause.NO_MODEL: ("See which pods hold a GPU and serve nothing.", "idle-no-model"),
    IdleCause.LOADING: ("Keep the weights near: a local cache makes each start shorter.", "idle-loading"),
    IdleCause.WARM_BY_POLICY: ("Is the warm pool larger than the bursts that it is for?", "idle-warm"),
    IdleCause.WAITING_FOR_KV_SPACE: ("Make room: shorter contexts, an 8-bit KV cache, or more GPU memory.", "idle-kv"),
    IdleCause.THROTTLED: ("See cooling and power limits of the worst nodes.", "idle-throttled"),
    IdleCause.STALLED_ON_FABRIC: ("See which ports wait for credits, and what loads their links.", "idle-fabric"),
    IdleCause.HUNG: ("Restart the replica, and look for XID errors of its GPUs.", "idle-hung"),
    IdleCause.NO_TELEMETRY: ("Not known to be idle: run the DCGM exporter on these nodes.", "idle-no-telemetry"),
}
IDLE_CAUSES = MappingProxyType({cause: Words(IDLE_TITLES[cause], *told) for cause, told in _HINTS.items()})
"""In the order in which they are stacked."""

LIST_PRICES = "List prices, not yours: set cost.price_book"


@dataclass(frozen=True, slots=True)
class Change:
    """What a part of a difference is called, and what it means where it cost more, or less."""

    title: str
    more: str
    less: str


PARTS = MappingProxyType(
    {
        Part.PRICE: Change("Price", "GPU time cost more", "GPU time cost less"),
        Part.VOLUME: Change("Volume", "more tokens were asked for", "fewer tokens were asked for"),
        Part.MIX: Change("Mix", "a greater share went to what is dearer", "a greater share went to what is cheaper"),
        Part.EFFICIENCY: Change("Efficiency", "a token took more GPU time", "a token took less GPU time"),
        Part.IDLE: Change("Idle", "more paid GPU time stood idle", "less paid GPU time stood idle"),
        Part.OVERHEAD: Change("Overhead", "what is beside the GPUs cost more", "what is beside the GPUs cost less"),
        Part.UNATTRIBUTED: Change(
            "Not attributed", "more busy time that no request is known of", "less busy time that no request is known of"
        ),
    }
)


def name_of_group(name: str | None) -> str:
    """A group of a difference: what has no name belongs to nobody."""
    return name or "nobody's"
