"""What the pages of one objective and of the routes show, on top of the made-up cloud (`fixture_data`)."""

from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from alerts.settings import AlertsSettings
from analytics.slo_exclusions import exclusion_document
from domain.incident import Indicator
from domain.slo import Calendar, CreditTier, Exclusion, Objective, Period, Selection, Sla
from storage.documents import SLO_EXCLUSIONS, change_document
from storage.store import Store
from tests.browser.fixture_data import BEGAN, NOW, OBJECTIVES

MONTH = Calendar(1, "M", "Europe/Berlin", datetime(2001, 1, 1))  # noqa: DTZ001  # on the clock of the place

CHAT = replace(
    OBJECTIVES[0],
    more_periods=(Period(7), Period(30, MONTH)),
    sla=Sla(12_000.0, (CreditTier(0.999, 0.1), CreditTier(0.95, 0.25)), "Europe/Berlin"),
)
ACME = Objective(
    "acme/chat-latency", "chat", Indicator.LATENCY, 0.95, 7, threshold_ms=12_000.0,
    selection=Selection(tenant="acme-search"), file="slo/acme.yaml",
)  # fmt: skip
SILENT = Objective("ghost-availability", "ghost", Indicator.ERRORS, 0.999, 30)
ALL = (CHAT, *OBJECTIVES[1:], ACME, SILENT)

FIRMWARE = Exclusion(
    "leaf-01-firmware", NOW - timedelta(days=12.4), NOW - timedelta(days=12.1), "firmware of leaf-01 is being changed",
    "ann", ("chat-ttft",),
)  # fmt: skip

ROUTING = """
route:
  receiver: tickets
  group_by: [alertname, service]
  group_wait: 30s
  group_interval: 5m
  repeat_interval: 12h
  routes:
  - matchers: [severity="page"]
    receiver: oncall
    group_wait: 10s
    repeat_interval: 1h
    continue: true
    routes:
    - matchers: [service=~"rerank|embed.*"]
      receiver: search-team
      active_time_intervals: [office]
  - matchers: [severity="page"]
    receiver: audit
    group_by: ['...']
  - matchers: [alertname=~"TailsightGpuUnhealthy|TailsightLinkUnhealthy"]
    receiver: hardware
    group_by: [node]
    mute_time_intervals: [nights]
  - matchers: [alertname=~"TailsightCost.*"]
    receiver: finance
receivers:
- name: oncall
  pagerduty_configs: [{routing_key: '0123456789abcdef0123456789abcdef'}]
  slack_configs: [{api_url: 'http://127.0.0.1:9/slack', channel: '#gpu-oncall'}]
- name: tickets
  webhook_configs: [{url: 'http://127.0.0.1:9/tickets'}]
- name: search-team
  slack_configs: [{api_url: 'http://127.0.0.1:9/slack', channel: '#search'}]
- name: audit
  webhook_configs: [{url: 'http://127.0.0.1:9/audit', send_resolved: false}]
- name: hardware
  webhook_configs: [{url: 'http://127.0.0.1:9/hardware'}]
- name: finance
inhibit_rules:
- source_matchers: [alertname="SLOBurnRate", severity="page"]
  target_matchers: [severity="ticket"]
  equal: [service]
time_intervals:
- name: nights
  time_intervals: [{times: [{start_time: '00:00', end_time: '07:00'}]}]
- name: office
  time_intervals: [{weekdays: ['monday:friday'], times: [{start_time: '09:00', end_time: '17:00'}]}]
"""


def fill(store: Store) -> None:
    """An exclusion; what receivers took and refused; a silence. The store holds the made-up cloud."""
    _keep(store, SLO_EXCLUSIONS, FIRMWARE.id, exclusion_document(FIRMWARE, None, NOW))
    notified_at = BEGAN + timedelta(minutes=3)
    told = {"group": "{}", "firing": ["0" * 16], "resolved": [], "at": notified_at.isoformat()}
    letter = {
        "receiver": "oncall", "place": 1, "integration": "slack", "group_key": "{}", "alerts_count": 1,
        "error": "HTTP 404: no_service", "attempts_count": 6,
        "failed_at": (notified_at + timedelta(seconds=4)).isoformat(),
    }  # fmt: skip
    silence = {
        "id": "s-1", "matchers": [{"name": "slo", "value": "rerank-latency", "isRegex": False, "isEqual": True}],
        "startsAt": "2026-11-23T01:00:00Z", "endsAt": "2026-11-23T09:00:00Z", "createdBy": "ben",
        "comment": "being resized", "updatedAt": "2026-11-23T01:00:00Z",
    }  # fmt: skip
    state = {
        "silences": [silence],
        "told": [{**told, "receiver": receiver, "place": 0} for receiver in ("oncall", "tickets")],
        "dead_letters": [letter],
    }
    _keep(store, "alerting", "state", state)


def clear(store: Store) -> None:
    """Take it away again: other tests look at the made-up cloud alone."""
    for kind, name in ((SLO_EXCLUSIONS, FIRMWARE.id), ("alerting", "state")):
        _keep(store, kind, name, None)


def _keep(store: Store, kind: str, name: str, document: Any) -> None:
    """In place of what another test has kept there at the same time."""
    change_document(store, kind, name, lambda _: document, NOW)


def routing(folder: Path) -> AlertsSettings:
    """The settings of alerting with that tree."""
    path = folder / "alerting.yml"
    path.write_text(ROUTING)
    return AlertsSettings(config_file=path)
