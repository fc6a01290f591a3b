"""The table of sources: what each tells, how often it is evaluated anew, and that none suppresses another."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from alerts.catalogue import ALERTS
from alerts.replay import NOT_REPLAYED
from alerts.settings import AlertsSettings
from alerts.sources import (
    ALERTNAMES_BY_SOURCE,
    RESOLVED_RETENTION,
    AlertContext,
    AlertSources,
    Evaluation,
    SourceFailures,
)
from analytics.burn_rates import WINDOWS, BurnAlert
from analytics.cost.runaway import BudgetState
from analytics.knowledge import shipped_knowledge
from analytics.traffic_stops import StoppedTraffic
from domain.alert import Alert
from domain.incident import Incident, Severity, Status
from domain.slo import Objective, SloState
from domain.window import Window
from tests.alerts.test_decide import OBJECTIVE, SPENDING, spending_of
from tests.alerts.test_decide import status as slo_status
from tests.alerts.test_devices import GPU
from tests.domain.examples import PAGING

NOW = datetime(2026, 11, 23, 3, 50, tzinfo=UTC)
BURN = BurnAlert(OBJECTIVE, Severity.PAGE, WINDOWS[0], 31.2, PAGING.started_at, None)
MISSED = replace(slo_status(None, -0.2), state=SloState.MISSED)
RUNS_OUT = slo_status(NOW + timedelta(hours=80) - datetime(2026, 11, 23, 3, tzinfo=UTC))
OF_SOURCE = {
    "incidents": "TailsightLatencySpike",
    "burn rates": "SLOBurnRate",
    "objectives": "SLOBudgetSpent",
    "devices": "TailsightGpuUnhealthy",
    "traffic": "TailsightTrafficStopped",
    "late data": "TailsightDataLate",
    "spend": "TailsightCostRunaway",
    "budgets of dollars": "TailsightBudgetOverspent",
}
ASKED_FOR = {"burn rates": "burns", "objectives": "statuses", "devices": "faults", "traffic": "stopped",
             "late data": "newest", "spend": "runaways", "budgets of dollars": "budgets"}  # fmt: skip


@dataclass
class Known:
    """Findings that are given; what is broken raises, and every question is counted."""

    answers: dict[str, Any] = field(
        default_factory=lambda: {
            "burns": [BURN],
            "statuses": [MISSED],
            "faults": [GPU],
            "stopped": [StoppedTraffic("chat", NOW - timedelta(minutes=9), 12.0)],
            "newest": {"requests": NOW - timedelta(minutes=9), "samples": NOW, "nothing": None},
            "runaways": [SPENDING],
            "budgets": [spending_of(BudgetState.MISSED, 1200.0, None)],
        }
    )
    broken: set[str] = field(default_factory=set)
    asked: list[str] = field(default_factory=list)
    is_new: bool = False

    def _of(self, name: str) -> Any:
        self.asked.append(name)
        if name in self.broken:
            raise RuntimeError("cannot be asked")
        return self.answers[name]

    def burns(self, *_: Any) -> Any:
        return self._of("burns")

    def statuses(self, *_: Any) -> Any:
        return self._of("statuses")

    def faults(self, *_: Any) -> Any:
        return self._of("faults")

    def stopped(self, _: datetime) -> Any:
        return self._of("stopped")

    def newest(self, _: datetime) -> Any:
        return self._of("newest")

    def has_new_spend(self, _: datetime) -> bool:
        return self.is_new

    def runaways(self, _: datetime) -> Any:
        return self._of("runaways")

    def budgets(self, _: datetime) -> Any:
        return self._of("budgets")


@dataclass
class Promised:
    objectives: Sequence[Objective] = (OBJECTIVE,)
    are_proposed: bool = False

    def __call__(self) -> Sequence[Objective]:
        return self.objectives


class Sources:
    """The table over what is known, and what it could not tell."""

    def __init__(self, known: Known | None = None, **given: Any) -> None:
        self.known = known or Known()
        self.registry = CollectorRegistry()
        self.firing: list[dict[str, str]] = []
        settings = AlertsSettings(**given.pop("settings", {}))
        knowledge = given.pop("knowledge", shipped_knowledge())
        promised = given.pop("promised", Promised())
        context = AlertContext(settings, knowledge, "http://t", SourceFailures(self.registry))
        self._sources = AlertSources(self.known, promised, context, lambda: self.firing, **given)
        self.table = self._sources.table

    @property
    def unknown(self) -> frozenset[str]:
        return self._sources.unknown

    def alerts(self, now: datetime = NOW, incidents: Sequence[Incident] = (PAGING,)) -> list[Alert]:
        return self._sources.alerts(Evaluation(incidents, Window(now - timedelta(minutes=30), now), now))

    def names(self, now: datetime = NOW, incidents: Sequence[Incident] = (PAGING,)) -> set[str]:
        return {one.labels["alertname"] for one in self.alerts(now, incidents)}

    def failures(self, source: str) -> float:
        return self.registry.get_sample_value("tailsight_alert_sources_failed_total", {"source": source}) or 0.0


def broken_incident() -> Incident:
    """One that nothing can be told of: it has no cause."""
    return replace(PAGING, id="inc-broken", explanation=replace(PAGING.explanation, causes=()))


def test_every_source_is_documented_and_so_is_whether_it_can_be_replayed() -> None:
    page = (Path(__file__).parents[2] / "docs" / "alerts.md").read_text()
    rows = page.split("| source | evaluated |")[1].split("\n\n")[0].splitlines()[2:]
    cells = [row.strip("| ").split(" | ") for row in rows]
    documented = {name.strip("`"): replayed for name, _, _, replayed in cells}
    assert list(documented) == list(Sources().table)
    for source, answer in documented.items():
        assert answer == f"no: {NOT_REPLAYED[source]}" if source in NOT_REPLAYED else answer.startswith("yes"), source


def test_every_source_tells_its_alert_and_every_alert_is_of_one_source() -> None:
    sources = Sources()
    assert sources.names() == set(OF_SOURCE.values())
    assert list(ALERTNAMES_BY_SOURCE) == list(sources.table)
    assert all(name in ALERTNAMES_BY_SOURCE[source] for source, name in OF_SOURCE.items())
    assert sorted(name for names in ALERTNAMES_BY_SOURCE.values() for name in names) == sorted(ALERTS)


@pytest.mark.parametrize("source", ASKED_FOR)
def test_a_source_that_cannot_be_asked_keeps_no_other_quiet_and_is_asked_again(source: str) -> None:
    sources = Sources(Known(broken={ASKED_FOR[source]}))
    for count in (1, 2):
        assert sources.names(NOW + timedelta(seconds=30 * count)) == set(OF_SOURCE.values()) - {OF_SOURCE[source]}
        assert {name: sources.failures(name) for name in OF_SOURCE} == dict.fromkeys(OF_SOURCE, 0) | {source: count}
        assert sources.unknown == set(ALERTNAMES_BY_SOURCE[source])
    sources.known.broken.clear()
    assert sources.names(NOW + timedelta(seconds=90)) == set(OF_SOURCE.values())
    assert sources.unknown == set()


def test_an_incident_that_cannot_be_told_costs_no_other_alert() -> None:
    sources = Sources()
    found = sources.alerts(incidents=[broken_incident(), PAGING])
    assert {one.labels["alertname"] for one in found} == set(OF_SOURCE.values())
    assert [one.labels["incident"] for one in found if "incident" in one.labels] == [PAGING.id]
    assert sources.failures("incidents") == 1
    assert "TailsightLatencySpike" in sources.unknown


def test_a_budget_that_burns_is_told_without_the_incident_that_cannot_be() -> None:
    sources = Sources()
    worst = replace(broken_incident(), slow_requests_count=PAGING.slow_requests_count + 1)
    (page,) = [one for one in sources.alerts(incidents=[worst, PAGING]) if one.labels["alertname"] == "SLOBurnRate"]
    assert "cause" not in page.annotations
    assert sources.failures("burn rates") == 1


def test_what_is_known_of_signals_and_causes_is_what_the_site_gave() -> None:
    knowledge = shipped_knowledge()
    signal = PAGING.cause.evidence[0].signal
    ours = replace(knowledge.signals[signal], title="Our own words")
    sources = Sources(knowledge=replace(knowledge, signals={**knowledge.signals, signal: ours}))
    pages = [one for one in sources.alerts() if one.labels["alertname"] in ("TailsightLatencySpike", "SLOBurnRate")]
    assert [one.annotations["evidence"].startswith("Our own words of ") for one in pages] == [True, True]


def test_an_end_is_told_for_a_quarter_of_an_hour() -> None:
    names = ("incidents", "burn rates")
    sources = Sources(asks=lambda name: name in names)
    for ago, are_told in ((RESOLVED_RETENTION - timedelta(seconds=1), True), (RESOLVED_RETENTION, False)):
        sources.known.answers["burns"] = [replace(BURN, ended_at=NOW - ago)]
        over = replace(PAGING, status=Status.RESOLVED, ended_at=NOW - ago)
        found = sources.alerts(incidents=[over])
        assert [one.ends_at for one in found] == ([NOW - ago] * 2 if are_told else [])


def test_of_first_promises_nobodys_budget_is_spent() -> None:
    sources = Sources(promised=Promised(are_proposed=True))
    assert sources.names() == set(OF_SOURCE.values()) - {"SLOBudgetSpent"}
    assert "statuses" not in sources.known.asked


def test_where_objectives_stand_is_looked_at_each_five_minutes_and_when_others_are_promised() -> None:
    promised = Promised()
    sources = Sources(promised=promised, asks=lambda name: name == "objectives")
    for minutes in (0, 1, 5, 6):
        assert sources.names(NOW + timedelta(minutes=minutes)) == {"SLOBudgetSpent"}
    assert sources.known.asked == ["statuses"] * 2
    promised.objectives = (OBJECTIVE, replace(OBJECTIVE, name="another"))
    sources.names(NOW + timedelta(minutes=7))
    assert sources.known.asked == ["statuses"] * 3


def test_a_budget_that_runs_out_is_told_on_beyond_the_horizon_once_it_is() -> None:
    sources = Sources(Known(answers={"statuses": [RUNS_OUT]}), asks=lambda name: name == "objectives")
    assert sources.names() == set()
    sources.firing = [{"alertname": "SLOBudgetRunsOut", "slo": OBJECTIVE.name}, {"alertname": "other"}]
    assert sources.names() == {"SLOBudgetRunsOut"}


def test_devices_are_looked_at_by_the_minute_and_page_where_the_settings_say_so() -> None:
    sources = Sources(asks=lambda name: name == "devices", settings={"page_on_faults": (GPU.rule.name,)})
    for seconds in (0, 30, 60):
        (alert,) = sources.alerts(NOW + timedelta(seconds=seconds))
        assert alert.labels["severity"] == "page"
    assert sources.known.asked == ["faults"] * 2


@pytest.mark.parametrize(("pages", "severity"), [(True, "page"), (False, "ticket")])
def test_silence_counts_when_what_was_missed_had_time_to_come_in(*, pages: bool, severity: str) -> None:
    names = ("traffic", "late data")
    sources = Sources(asks=lambda name: name in names, began=lambda: NOW, settings={"page_on_silence": pages})
    assert sources.names(NOW + timedelta(minutes=5)) == set()
    assert sources.known.asked == []
    assert sources.unknown == {"TailsightTrafficStopped", "TailsightDataLate"}
    sources.known.answers["newest"] = {"requests": NOW}
    stopped, late = sources.alerts(NOW + timedelta(minutes=5, seconds=1))
    assert (stopped.labels["severity"], stopped.labels["service"]) == (severity, "chat")
    assert (late.labels["severity"], late.labels["source"]) == ("ticket", "requests")


def test_nobody_is_silent_whose_requests_may_wait_in_our_own_log() -> None:
    waits: list[float | None] = [600.0]
    sources = Sources(asks=lambda name: name in ("traffic", "late data"), waits=lambda: waits[-1])
    sources.known.answers["newest"] = {"requests": NOW - timedelta(minutes=20)}
    assert sources.names() == set()
    assert sources.unknown == {"TailsightTrafficStopped", "TailsightDataLate"}
    waits.append(3.0)
    assert sources.names(NOW + timedelta(minutes=5)) == set(), "what senders kept comes in yet"
    assert sources.names(NOW + timedelta(minutes=6)) == {"TailsightTrafficStopped", "TailsightDataLate"}


def test_several_services_that_are_all_silent_are_told_as_one() -> None:
    sources = Sources(asks=lambda name: name in ("traffic", "late data"))
    sources.known.answers["newest"] = {"requests": NOW - timedelta(minutes=6), "samples": NOW}
    sources.known.answers["stopped"] = [
        StoppedTraffic(name, NOW - timedelta(minutes=6), 12.0) for name in ("chat", "assist")
    ]
    (late,) = sources.alerts(NOW)
    assert (late.labels["alertname"], late.labels["severity"]) == ("TailsightDataLate", "page")
    assert sources.unknown == {"TailsightTrafficStopped"}
    sources.known.answers["newest"] = {"requests": NOW, "samples": NOW}
    assert sources.names(NOW + timedelta(minutes=1)) == {"TailsightTrafficStopped"}
    assert sources.unknown == frozenset()


def test_spend_is_looked_at_when_more_of_it_came_in() -> None:
    sources = Sources(asks=lambda name: name == "spend")
    for seconds in (0, 30):
        assert sources.names(NOW + timedelta(seconds=seconds)) == {"TailsightCostRunaway"}
    assert sources.known.asked == ["runaways"]
    sources.known.is_new, sources.known.answers["runaways"] = True, []
    assert sources.names() == set()


def test_budgets_of_dollars_are_looked_at_once_an_hour_is_settled() -> None:
    sources = Sources(asks=lambda name: name == "budgets of dollars")
    hour = NOW.replace(minute=0)
    assert sources.names(hour + timedelta(minutes=12)) == set()
    for minutes in (13, 14, 71):
        assert sources.names(hour + timedelta(minutes=minutes)) == {"TailsightBudgetOverspent"}
    assert sources.known.asked == ["budgets"]
    sources.names(hour + timedelta(minutes=73))
    assert sources.known.asked == ["budgets"] * 2
