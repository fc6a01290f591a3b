"""The catalogue: every alert that there is, and the same in docs/alerts.md."""

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from alerts.catalogue import ALERTS, AlertKind, runbook_url
from alerts.decide import (
    budget_alerts,
    burn_alert,
    data_late_alert,
    exhaustion_alerts,
    incident_alert,
    runaway_alert,
    status_alerts,
    traffic_stopped_alerts,
)
from alerts.devices import device_alerts
from analytics.burn_rates import WINDOWS, BurnAlert
from analytics.cost.runaway import BudgetState
from analytics.device_faults import RULES
from analytics.traffic_stops import StoppedTraffic
from domain.alert import Alert
from domain.incident import Severity
from domain.slo import SloState
from domain.window import Window
from tests.alerts.test_decide import HORIZON_S, OBJECTIVE, SPENDING, spending_of
from tests.alerts.test_decide import status as slo_status
from tests.alerts.test_devices import GPU, LINK
from tests.domain.examples import PAGING

PAGE = (Path(__file__).parents[2] / "docs" / "alerts.md").read_text()
NOW = datetime(2026, 11, 23, 3, 0, tzinfo=UTC)


def every_alert() -> list[Alert]:
    burn = BurnAlert(OBJECTIVE, Severity.PAGE, WINDOWS[0], 31.2, NOW, None)
    missed = replace(slo_status(None, -0.2), state=SloState.MISSED)
    unknown = replace(slo_status(None, None), state=SloState.NO_DATA)
    seen = Window(NOW - timedelta(hours=1), NOW)
    found = [
        incident_alert(PAGING, "", NOW),
        burn_alert(burn, [], "", NOW),
        *status_alerts([missed, unknown], seen, "", NOW),
        *exhaustion_alerts([slo_status(timedelta(hours=1))], HORIZON_S, [], "", NOW),
        data_late_alert("samples", NOW - timedelta(hours=1), 300, Severity.TICKET, "", NOW),
        *traffic_stopped_alerts([StoppedTraffic("chat", NOW - timedelta(minutes=9), 12.0)], Severity.PAGE, "", NOW),
        runaway_alert(SPENDING, "", NOW),
        *budget_alerts([spending_of(BudgetState.MISSED, 1200.0, None)], "", NOW),
        *device_alerts([GPU, replace(LINK, incident="inc-1")], "", NOW),
    ]
    return [one for one in found if one is not None]


def test_every_alert_is_in_the_catalogue_with_its_severity_and_labels_and_a_link_there() -> None:
    alerts = every_alert()
    assert {one.labels["alertname"] for one in alerts} == set(ALERTS)
    for one in alerts:
        kind = ALERTS[one.labels["alertname"]]
        own = set(one.labels) - {"alertname", "severity"}
        always = {label for label in kind.labels if not label.startswith("[")}
        assert always <= own <= {label.strip("[]") for label in kind.labels}, kind.name
        assert one.labels["severity"] in kind.severities
        assert one.annotations["runbook_url"].startswith("/alerts#")
        assert one.annotations["silence_url"].startswith("/alerts?silence=")


@pytest.mark.parametrize("kind", ALERTS.values(), ids=ALERTS)
def test_the_documentation_says_of_each_what_the_page_says(kind: AlertKind) -> None:
    section = PAGE.split(f"### {kind.name}\n")[1].split("\n### ")[0]
    assert kind.meaning in section
    for step in kind.first:
        assert step in section
    for label in kind.labels:
        assert f"`{label.strip('[]')}`" in section


def test_the_documentation_names_no_alert_that_there_is_not() -> None:
    catalogue = PAGE.split("## The catalogue\n")[1]
    assert re.findall(r"^### (.+)$", catalogue, re.MULTILINE) == list(ALERTS)


def test_the_documentation_tells_the_patience_with_each_fault() -> None:
    for state, rule in RULES.items():
        patience = f"{rule.for_s // 60} min" if rule.for_s else "at once"
        assert re.search(rf"^\| `{rule.name}` \| \w+: {state.value} \| {patience} \|", PAGE, re.MULTILINE), rule.name


def test_a_runbook_is_found_by_the_name_of_an_alert_or_a_cause() -> None:
    assert runbook_url("https://x.example", "SLOBurnRate") == "https://x.example/alerts#SLOBurnRate"
