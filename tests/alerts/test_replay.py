from datetime import UTC, datetime, timedelta

from alerts.config import parse_config
from alerts.dispatch import Reason
from alerts.replay import replay
from domain.alert import Alert

START = datetime(2026, 11, 1, tzinfo=UTC)
CONFIG = """
route:
  receiver: tickets
  group_by: [service]
  group_wait: 30s
  group_interval: 5m
  repeat_interval: 1h
  routes: [{matchers: [severity=page], receiver: oncall}]
receivers:
- name: oncall
  webhook_configs: [{url: 'http://127.0.0.1:9/'}]
- name: tickets
  webhook_configs: [{url: 'http://127.0.0.1:9/'}]
"""


def alert(severity: str, begins_min: float, ends_min: float) -> Alert:
    start = START + timedelta(minutes=begins_min)
    labels = {"alertname": "SLOBurnRate", "service": "chat", "severity": severity}
    return Alert(labels, {"summary": "slow"}, start, START + timedelta(minutes=ends_min), start)


def test_a_past_month_can_be_played_through_a_tree() -> None:
    told = replay(parse_config(CONFIG), [alert("page", 0, 130), alert("ticket", 10, 12)])
    pages = [one for one in told if one.receiver == "oncall"]
    assert [one.reason for one in pages] == [Reason.FIRST, Reason.REPEAT, Reason.ALL_RESOLVED]
    assert pages[0].at == START + timedelta(seconds=30)
    tickets = [one.reason for one in told if one.receiver == "tickets"]
    assert tickets == [Reason.FIRST, Reason.ALL_RESOLVED]


def test_what_was_over_before_its_group_was_told_wakes_nobody() -> None:
    assert replay(parse_config(CONFIG), [alert("page", 0, 0.2)]) == []
    assert replay(parse_config(CONFIG), []) == []
