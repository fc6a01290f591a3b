"""From faults of GPUs and links to alerts: a ticket a device, unless a setting says that somebody is to be woken.

A cause pages nobody by itself: what users feel does (alerts/decide.py). A fault that a page names as its cause already
carries the label `incident`, by which the page inhibits it (`inhibit_rules`); a fault inhibits nothing.
"""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from urllib.parse import quote

from alerts.catalogue import runbook_url
from alerts.decide import silence_url
from analytics.device_faults import RULES, DeviceFault
from analytics.knowledge import Knowledge, shipped_knowledge, step_text
from domain.alert import VALID, Alert
from domain.entity import Entity, EntityKind, names_text
from domain.window import rfc3339

_NAMES_MAX, _SERVICES_TITLED = 5, 2
_FIRST: Mapping[str, str] = {
    "off_the_bus": "Cordon {node} and move {replicas} elsewhere; no reset reaches a GPU that is off the bus, so reboot "
    "the node once its other GPUs serve nobody; if it happens again, open a hardware ticket.",
    "memory_fault": "Drain {replicas}, stop what else holds the GPU (dcgm-exporter, nvidia-persistenced), reset it "
    "(nvidia-smi -r -i {entity}), and check whether row remaps are still pending: nvidia-smi -q -d ROW_REMAPPER,ECC.",
    "firmware_fault": "Drain {replicas} and reset the GPU (nvidia-smi -r -i {entity}); if it happens again, compare "
    "driver and firmware with the rest of the fleet.",
    "power_held_down": "See on {node} whether the power limit was lowered or the power supply asked for the brake: "
    "nvidia-smi -q -d POWER,PERFORMANCE -i {entity}.",
}
"""What to do first where that is not the first step of the cause of the same kind."""


def device_alerts(
    faults: Sequence[DeviceFault],
    web_url: str,
    now: datetime,
    page_on: Collection[str] = (),
    knowledge: Knowledge | None = None,
) -> list[Alert]:
    """The alerts that faults of GPUs and links are: one for each device, whatever ails it.

    Args:
        faults: those that fire now; one that is not posted again is over.
        web_url: where the pages are reached.
        now: when it is evaluated.
        page_on: names of the faults that wake somebody.
        knowledge: where the next steps of a kind of cause are; what is shipped when None.
    """
    known, of_device = knowledge or shipped_knowledge(), dict[Entity, list[DeviceFault]]()
    for fault in faults:
        of_device.setdefault(fault.device, []).append(fault)
    worst_first = list(RULES)
    return [
        _alert(sorted(ills, key=lambda one: worst_first.index(one.state)), web_url, now, page_on, known)
        for ills in of_device.values()
    ]


def _alert(
    faults: Sequence[DeviceFault], web_url: str, now: datetime, page_on: Collection[str], knowledge: Knowledge
) -> Alert:
    worst, since = faults[0], min(fault.since for fault in faults)
    is_gpu = worst.device.kind is EntityKind.GPU
    labels = {
        "alertname": "TailsightGpuUnhealthy" if is_gpu else "TailsightLinkUnhealthy",
        "severity": "page" if any(fault.rule.name in page_on for fault in faults) else "ticket",
        "gpu" if is_gpu else "port": worst.device.name,
    }
    if worst.node:
        labels["node"] = worst.node
    if worst.incident is not None:
        labels["incident"] = worst.incident
    annotations = {
        "summary": f"{worst.whose}: {', '.join(fault.state.value for fault in faults)}; {_felt_by(worst)}",
        "impact": _impact(worst),
        "cause": "; ".join(dict.fromkeys(fault.reason[:1].upper() + fault.reason[1:] for fault in faults)),
        "faults": ", ".join(fault.rule.name for fault in faults),
        "since": rfc3339(since),
        "next_step": _next_step(worst, knowledge),
        "runbook_url": runbook_url(web_url, labels["alertname"]),
        "silence_url": silence_url(labels, web_url),
    }
    url = f"{web_url}/alerts"
    if worst.incident is not None:
        url = annotations["incident_url"] = f"{web_url}/incidents/{quote(worst.incident, safe='')}"
    return Alert(labels, annotations, since, now + VALID, now, generator_url=url)


def _felt_by(fault: DeviceFault) -> str:
    """Whom it may hurt, in the few words that a title has for it."""
    if fault.services:
        return f"serves {names_text(fault.services, _SERVICES_TITLED)}"
    count = len(fault.replicas)
    return f"{count} replica{'' if count == 1 else 's'} on it" if count else "no replica known on it"


def _impact(fault: DeviceFault) -> str:
    if not fault.replicas:
        return "No replica is known to depend on it"
    replicas = names_text(fault.replicas, _NAMES_MAX)
    services = f" of {', '.join(fault.services[:_NAMES_MAX])}" if fault.services else ""
    return f"{replicas}{services} {'depends' if len(fault.replicas) == 1 else 'depend'} on it"


def _next_step(fault: DeviceFault, knowledge: Knowledge) -> str:
    step = _FIRST.get(fault.rule.name)
    if step is None:
        pattern = knowledge.patterns.get(fault.rule.cause)
        step = pattern.next_steps[0] if pattern is not None and pattern.next_steps else "Look at it before it spreads."
    return step_text(step, fault.device.name, fault.node, fault.replicas)
