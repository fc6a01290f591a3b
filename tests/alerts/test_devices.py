"""What a fault of a GPU or a link is told as."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from alerts.config import parse_config
from alerts.decide import incident_alert
from alerts.devices import device_alerts
from alerts.dispatch import Dispatcher
from alerts.settings import DEFAULT_CONFIG, AlertsSettings
from analytics.device_faults import RULES, DeviceFault
from analytics.gpu_states import GpuState
from analytics.port_states import PortState
from domain.alert import Alert
from domain.entity import Entity, EntityKind
from tests.domain.examples import PAGING, PORT

URL = "http://127.0.0.1:8080"
NOW = datetime(2026, 11, 23, 3, 0, tzinfo=UTC)
GPU = DeviceFault(
    device=Entity(EntityKind.GPU, "GPU-7c"),
    state=GpuState.OFF_THE_BUS,
    node="gpu-07-03",
    since=NOW - timedelta(minutes=9),
    seen_at=NOW,
    reason="all its series vanished while other GPUs of the node still report",
    replicas=("chat-3", "chat-4"),
    services=("chat",),
)
LINK = replace(
    GPU, device=PORT, state=PortState.BAD_LINK, reason="on the link itself, in the last 300 s: 84 symbol errors"
)


def told(fault: DeviceFault, **more: object) -> Alert:
    (alert,) = device_alerts([fault], URL, NOW, **more)  # type: ignore[arg-type]
    return alert


def test_a_broken_gpu_is_a_ticket_that_says_what_since_when_who_rides_on_it_and_what_to_do() -> None:
    alert = told(GPU)
    assert alert.labels == {
        "alertname": "TailsightGpuUnhealthy",
        "severity": "ticket",
        "gpu": "GPU-7c",
        "node": "gpu-07-03",
    }
    assert alert.annotations["summary"] == "GPU-7c of gpu-07-03: off the bus; serves chat"
    assert told(replace(GPU, index=2)).annotations["summary"] == "GPU 2 of gpu-07-03: off the bus; serves chat"
    assert alert.annotations["cause"] == "All its series vanished while other GPUs of the node still report"
    assert alert.annotations["impact"] == "chat-3, chat-4 of chat depend on it"
    assert alert.annotations["since"] == "2026-11-23T02:51:00Z"
    assert "Cordon gpu-07-03 and move " in alert.annotations["next_step"]
    assert alert.annotations["runbook_url"] == f"{URL}/alerts#TailsightGpuUnhealthy"


def test_a_bad_link_is_told_with_the_next_step_of_its_cause() -> None:
    alert = told(LINK)
    assert alert.labels["alertname"] == "TailsightLinkUnhealthy"
    assert alert.labels["port"] == PORT.name
    assert PORT.name in alert.annotations["next_step"]
    assert "{" not in alert.annotations["next_step"]


@pytest.mark.parametrize(
    ("rides", "told_of"),
    [
        ({"services": ("chat", "assist", "rerank")}, "serves chat, assist and 1 more"),
        ({"services": ()}, "2 replicas on it"),
        ({"services": (), "replicas": ("chat-3",)}, "1 replica on it"),
        ({"services": (), "replicas": ()}, "no replica known on it"),
    ],
)
def test_the_summary_of_a_device_says_whom_it_may_hurt(rides: dict[str, tuple[str, ...]], told_of: str) -> None:
    alert = told(replace(GPU, **rides))  # type: ignore[arg-type]
    assert alert.annotations["summary"].endswith(f": off the bus; {told_of}")


def test_each_fault_has_a_next_step_without_gaps() -> None:
    for state in RULES:
        step = told(replace(GPU, state=state)).annotations["next_step"]
        assert step
        assert "{" not in step


def test_nobody_is_woken_unless_a_setting_says_so() -> None:
    assert told(GPU).labels["severity"] == "ticket"
    assert told(GPU, page_on=("off_the_bus",)).labels["severity"] == "page"
    assert told(LINK, page_on=("off_the_bus",)).labels["severity"] == "ticket"


def test_a_fault_that_does_not_exist_cannot_be_paged_on() -> None:
    with pytest.raises(ValueError, match=r"no fault 'gremlins'; valid are off_the_bus, memory_fault"):
        AlertsSettings(page_on_faults=("gremlins",))


def test_a_device_is_one_alert_whatever_ails_it_and_the_worst_comes_first() -> None:
    reduced = replace(
        LINK, state=PortState.REDUCED, since=NOW - timedelta(minutes=20), reason="100 instead of 400 Gb/s"
    )
    both, gpu = device_alerts([reduced, LINK, GPU], URL, NOW)
    assert both.annotations["summary"] == f"{PORT.name}: bad link, reduced rate; serves chat"
    assert both.annotations["faults"] == "link_errors, link_reduced"
    assert both.annotations["cause"].endswith("84 symbol errors; 100 instead of 400 Gb/s")
    assert both.starts_at == NOW - timedelta(minutes=20)
    assert both.fingerprint == told(LINK).fingerprint
    assert gpu.labels["gpu"] == "GPU-7c"
    (woken,) = device_alerts([reduced, LINK], URL, NOW, page_on=("link_reduced",))
    assert woken.labels["severity"] == "page"


def test_what_changes_is_no_label() -> None:
    later = replace(GPU, reason="XID 79", replicas=(), services=(), seen_at=NOW + timedelta(hours=1))
    assert told(later).fingerprint == told(GPU).fingerprint


def test_a_gpu_on_which_nothing_runs_is_told_as_such() -> None:
    assert told(replace(GPU, replicas=())).annotations["impact"] == "No replica is known to depend on it"
    many = replace(GPU, replicas=tuple(f"chat-{number}" for number in range(8)))
    assert told(many).annotations["impact"].startswith("chat-0, chat-1, chat-2, chat-3, chat-4 and 3 more of chat")


def test_the_page_that_names_a_device_keeps_its_ticket_quiet_and_no_other() -> None:
    page = incident_alert(PAGING, URL, NOW)
    assert page is not None
    named, other = told(replace(LINK, incident=PAGING.id)), told(GPU)
    assert named.annotations["incident_url"] == f"{URL}/incidents/{PAGING.id}"
    dispatcher = Dispatcher(parse_config(DEFAULT_CONFIG))
    dispatcher.post([page, named, other], NOW)
    quiet = {alert.labels["alertname"]: bool(suppressed) for alert, suppressed in dispatcher.firing(NOW)}
    assert quiet == {"TailsightLatencySpike": False, "TailsightLinkUnhealthy": True, "TailsightGpuUnhealthy": False}


def test_a_fault_that_wakes_somebody_is_kept_quiet_by_nothing() -> None:
    page = incident_alert(PAGING, URL, NOW)
    assert page is not None
    dispatcher = Dispatcher(parse_config(DEFAULT_CONFIG))
    dispatcher.post([page, told(replace(LINK, incident=PAGING.id), page_on=("link_errors",))], NOW)
    assert not any(suppressed for _, suppressed in dispatcher.firing(NOW))
