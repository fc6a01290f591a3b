"""Where alerts come from: a table of sources, each asked at every evaluation for the alerts that fire then.

The same table is asked live and in a replay (`alerts.replay`); what differs is where findings come from (`Findings`).
A source knows how often it is evaluated anew, how long a resolved alert is sent, and when it has nothing to say;
`alerts.decide` and `alerts.devices` make the alert. A source that fails holds back no other.
"""

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Protocol

from prometheus_client import CollectorRegistry, Counter, Gauge

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
from alerts.matchers import Labels
from alerts.settings import AlertsSettings
from analytics.burn_rates import BurnAlert
from analytics.cost.jobs import Pricing, SpendWatch, budget_statuses
from analytics.cost.runaway import BudgetStatus, SpendRunaway
from analytics.device_faults import DeviceFault
from analytics.jobs.devices import device_faults
from analytics.jobs.fleet import stopped_services
from analytics.jobs.objectives import RecentCounts, slo_burns, slo_statuses
from analytics.knowledge import Knowledge
from analytics.traffic_stops import StoppedTraffic
from domain.alert import Alert
from domain.freshness import LATE_AFTER
from domain.incident import Incident, Severity
from domain.slo import Objective, SloStatus
from domain.window import Window
from storage.errors import StoreError
from storage.readers import read_freshness
from storage.store import Store

log = logging.getLogger(__name__)

RESOLVED_RETENTION = timedelta(minutes=15)
"""A resolved alert is sent for so long; what ended earlier is over for good."""

ALERTNAMES_BY_SOURCE: Mapping[str, tuple[str, ...]] = {
    "incidents": ("TailsightLatencySpike",),
    "burn rates": ("SLOBurnRate",),
    "objectives": ("SLOBudgetSpent", "SLOBudgetRunsOut", "SLONoData"),
    "devices": ("TailsightGpuUnhealthy", "TailsightLinkUnhealthy"),
    "traffic": ("TailsightTrafficStopped",),
    "late data": ("TailsightDataLate",),
    "spend": ("TailsightCostRunaway",),
    "budgets of dollars": ("TailsightBudgetOverspent",),
}
"""The alerts (`alertname`) of each source, as `alerts.catalogue` has them."""

_DATA_LATE_S = LATE_AFTER.total_seconds()
_BACKLOG_S = 60.0
_STATUSES_KEPT = timedelta(minutes=5)
_FAULTS_KEPT = timedelta(seconds=55)  # they are evaluated by the minute
_COST_SETTLES = timedelta(minutes=12)  # after an hour's end
_NEVER = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Evaluation:
    """One evaluation at `now`: `incidents` are those of the `window` that was analyzed."""

    incidents: Sequence[Incident]
    window: Window
    now: datetime


Source = Callable[[Evaluation], Iterable[Alert]]
"""Gives the alerts of an evaluation: those that fire, and those that were resolved of late."""


class Objectives(Protocol):
    """What was promised."""

    @property
    def are_proposed(self) -> bool:
        """Are they first promises that we made up, because nobody made any."""

    def __call__(self) -> Sequence[Objective]:
        """Those that hold now."""


class Findings(Protocol):
    """What is known at a time; each is asked as often as its source is evaluated anew."""

    def burns(self, objectives: Sequence[Objective], now: datetime) -> Sequence[BurnAlert]:
        """The intervals of the last days in which a budget burnt too fast."""

    def statuses(self, objectives: Sequence[Objective], now: datetime) -> Sequence[SloStatus]:
        """Where the objectives stand, over all of their windows."""

    def faults(self, incidents: Sequence[Incident], now: datetime) -> Sequence[DeviceFault]:
        """What is broken in GPUs and links."""

    def stopped(self, now: datetime) -> Sequence[StoppedTraffic]:
        """The services that nobody reaches any more."""

    def newest(self, now: datetime) -> Mapping[str, datetime | None]:
        """The newest data of each kind that has come in; None where none ever did."""

    def has_new_spend(self, now: datetime) -> bool:
        """Has spend come in since `runaways` was asked last."""

    def runaways(self, now: datetime) -> Sequence[SpendRunaway]:
        """Spend that runs away."""

    def budgets(self, now: datetime) -> Sequence[BudgetStatus]:
        """Where the budgets of dollars stand, over weeks of hours that are over."""


class SpendFindings:
    """What the store knows of spend, at times that are asked for one after the other.

    Args:
        store: migrated.
        pricing: what GPUs cost, and what may be spent.
    """

    def __init__(self, store: Store, pricing: Pricing) -> None:
        self._store = store
        self._pricing = pricing
        self._spend = SpendWatch(store, pricing)

    def has_new_spend(self, now: datetime) -> bool:
        """By windows of ten minutes."""
        return self._spend.is_due(now)

    def runaways(self, now: datetime) -> Sequence[SpendRunaway]:
        """Of the whole bill and its large parts."""
        return self._spend.look(now)

    def budgets(self, now: datetime) -> Sequence[BudgetStatus]:
        """By the settled hours of five weeks."""
        return budget_statuses(self._store, now, self._pricing)


class StoreFindings(SpendFindings):
    """What the store knows now.

    Args:
        store: migrated.
        counts: events of objectives, kept between evaluations.
        pricing: what GPUs cost, and what may be spent.
    """

    def __init__(self, store: Store, counts: RecentCounts, pricing: Pricing) -> None:
        super().__init__(store, pricing)
        self._counts = counts

    def burns(self, objectives: Sequence[Objective], now: datetime) -> Sequence[BurnAlert]:
        """See `Findings`, as for all of these."""
        return slo_burns(self._counts, objectives, now)

    def statuses(self, objectives: Sequence[Objective], now: datetime) -> Sequence[SloStatus]:
        """What the counts have in memory is not read again."""
        return slo_statuses(self._store, objectives, now, self._counts)

    def faults(self, incidents: Sequence[Incident], now: datetime) -> Sequence[DeviceFault]:
        """What was found is remembered in the store."""
        return device_faults(self._store, now, incidents)

    def stopped(self, now: datetime) -> Sequence[StoppedTraffic]:
        """By the requests of the last day."""
        return stopped_services(self._store, now)

    def newest(self, now: datetime) -> Mapping[str, datetime | None]:
        """Of requests and of samples."""
        return read_freshness(self._store, now)


@dataclass(frozen=True, slots=True)
class AlertContext:
    """What every source needs to make alerts, whatever they are of.

    `on_failure` is called for what could not be evaluated, with the name of the source; it may raise to end the
    evaluation.
    """

    settings: AlertsSettings
    knowledge: Knowledge
    web_url: str
    on_failure: Callable[[str, Exception], None]


class _NotKnownError(Exception):
    """Nobody can say yet whether what fired fires on."""


class AlertSources:
    """The sources, asked one after the other.

    Args:
        findings: what is known.
        objectives: what was promised.
        context: what they need to make alerts.
        firing: labels of the alerts that fire now, as they were posted before.
        began: when we began to look; what was missed before may still come in for some minutes.
        waits: for how many seconds the oldest of what we took in has waited to be stored; None when nothing waits.
        asks: whether the source of a name is asked.
    """

    def __init__(
        self,
        findings: Findings,
        objectives: Objectives,
        context: AlertContext,
        firing: Callable[[], Iterable[Labels]],
        *,
        began: Callable[[], datetime] = lambda: _NEVER,
        waits: Callable[[], float | None] = lambda: None,
        asks: Callable[[str], bool] = lambda _: True,
    ) -> None:
        self._failing: set[str] = set()
        self._on_failure = context.on_failure
        context = replace(context, on_failure=self._failed)
        backlog = _Backlog(began, waits)
        table: Mapping[str, Source] = {
            "incidents": _Incidents(context),
            "burn rates": _BurnRates(context, findings, objectives),
            "objectives": _SloStatuses(context, findings, objectives, firing),
            "devices": _Devices(context, findings),
            "traffic": _Traffic(context, findings, backlog),
            "late data": _LateData(context, findings, backlog),
            "spend": _Spend(context, findings),
            "budgets of dollars": _Budgets(context, findings),
        }
        self.table = {name: source for name, source in table.items() if asks(name)}

    @property
    def unknown(self) -> frozenset[str]:
        """Names of the alerts of which the last evaluation could not say whether all that fired before fire on."""
        return frozenset(alert for source in self._failing for alert in ALERTNAMES_BY_SOURCE[source])

    def alerts(self, evaluation: Evaluation) -> list[Alert]:
        """The alerts of all sources at an evaluation; a source that fails is asked again at the next."""
        self._failing.clear()
        found: list[Alert] = []
        for name, source in self.table.items():
            try:
                found += source(evaluation)
            except _NotKnownError:
                self._failing.add(name)
            except Exception as error:  # one source that fails must not hold back the others
                self._failed(name, error)
        return found

    def _failed(self, name: str, error: Exception) -> None:
        self._failing.add(name)
        self._on_failure(name, error)


class SourceFailures:
    """Counts and logs what sources could not evaluate."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._counter = Counter(
            "tailsight_alert_sources_failed",
            "Evaluations at which a source of alerts could not be asked",
            ["source"],
            registry=registry,
        )
        self._newest = Gauge(
            "tailsight_alert_sources_failed_timestamp_seconds",
            "When a source of alerts could last not be asked",
            ["source"],
            registry=registry,
        )

    def __call__(self, name: str, error: Exception) -> None:
        """One failure of the source of that name."""
        log.error("alerts_failed: %s: %s", name, error, exc_info=None if isinstance(error, StoreError) else error)
        self._counter.labels(name).inc()
        self._newest.labels(name).set_to_current_time()


# -- The sources ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Incidents:
    context: AlertContext

    def __call__(self, evaluation: Evaluation) -> list[Alert]:
        context, found = self.context, []
        for one in evaluation.incidents:
            if one.ended_at is not None and one.ended_at <= evaluation.now - RESOLVED_RETENTION:
                continue
            try:
                found.append(incident_alert(one, context.web_url, evaluation.now, context.knowledge))
            except Exception as error:  # of the other incidents somebody is to be notified
                context.on_failure("incidents", error)
        return [alert for alert in found if alert is not None]


@dataclass(frozen=True, slots=True)
class _BurnRates:
    context: AlertContext
    findings: Findings
    objectives: Objectives

    def __call__(self, evaluation: Evaluation) -> list[Alert]:
        return [
            self._alert(one, evaluation)
            for one in self.findings.burns(self.objectives(), evaluation.now)
            if one.ended_at is None or one.ended_at > evaluation.now - RESOLVED_RETENTION
        ]

    def _alert(self, burn: BurnAlert, evaluation: Evaluation) -> Alert:
        url, knowledge = self.context.web_url, self.context.knowledge
        try:
            return burn_alert(burn, evaluation.incidents, url, evaluation.now, knowledge)
        except Exception as error:  # an incident that is broken: the page goes out without it
            self.context.on_failure("burn rates", error)
            return burn_alert(burn, (), url, evaluation.now, knowledge)


@dataclass(slots=True)
class _SloStatuses:
    """Tickets of budgets of errors; of first promises nobody's budget is spent."""

    context: AlertContext
    findings: Findings
    objectives: Objectives
    firing: Callable[[], Iterable[Labels]]
    _evaluated_at: datetime = _NEVER
    _statuses: Sequence[SloStatus] = ()

    def __call__(self, evaluation: Evaluation) -> list[Alert]:
        objectives, now, url = self.objectives(), evaluation.now, self.context.web_url
        if self.objectives.are_proposed:
            return []
        is_known = {one.objective for one in self._statuses} == set(objectives)
        if not is_known or now - self._evaluated_at > _STATUSES_KEPT:
            self._statuses, self._evaluated_at = self.findings.statuses(objectives, now), now
        horizon_s = self.context.settings.exhaustion_horizon_hours * 3600
        running_out = {one["slo"] for one in self.firing() if one["alertname"] == "SLOBudgetRunsOut"}
        found = status_alerts(self._statuses, evaluation.window, url, now)
        return found + exhaustion_alerts(self._statuses, horizon_s, running_out, url, now)


@dataclass(slots=True)
class _Devices:
    context: AlertContext
    findings: Findings
    _evaluated_at: datetime = _NEVER
    _faults: Sequence[DeviceFault] = ()

    def __call__(self, evaluation: Evaluation) -> list[Alert]:
        if evaluation.now - self._evaluated_at > _FAULTS_KEPT:
            self._faults, self._evaluated_at = (
                self.findings.faults(evaluation.incidents, evaluation.now),
                evaluation.now,
            )
        context = self.context
        pages = context.settings.page_on_faults
        return device_alerts(self._faults, context.web_url, evaluation.now, pages, context.knowledge)


@dataclass(slots=True)
class _Backlog:
    """What was missed while we or the store were down, and has not come in yet."""

    began: Callable[[], datetime]
    waits: Callable[[], float | None]
    _waited_at: datetime = _NEVER

    def check(self, now: datetime) -> None:
        """Raise where it may hide what is asked for: while much waits, and until its rest had time to come in."""
        if (self.waits() or 0.0) > _BACKLOG_S:
            self._waited_at = now
        if (now - max(self.began(), self._waited_at)).total_seconds() <= _DATA_LATE_S:
            raise _NotKnownError


@dataclass(frozen=True, slots=True)
class _Traffic:
    context: AlertContext
    findings: Findings
    backlog: _Backlog

    def __call__(self, evaluation: Evaluation) -> list[Alert]:
        self.backlog.check(evaluation.now)
        stopped = self.findings.stopped(evaluation.now)
        if len(stopped) > 1 and _is_late(self.findings.newest(evaluation.now).get("requests"), evaluation.now):
            raise _NotKnownError  # no service sends anything: that is one alert, of late data
        severity = Severity.PAGE if self.context.settings.page_on_silence else Severity.TICKET
        return traffic_stopped_alerts(stopped, severity, self.context.web_url, evaluation.now)


@dataclass(frozen=True, slots=True)
class _LateData:
    context: AlertContext
    findings: Findings
    backlog: _Backlog

    def __call__(self, evaluation: Evaluation) -> list[Alert]:
        self.backlog.check(evaluation.now)
        url, now = self.context.web_url, evaluation.now
        return [
            data_late_alert(data, newest, _DATA_LATE_S, self._severity(data, now), url, now)
            for data, newest in self.findings.newest(now).items()
            if newest is not None and _is_late(newest, now)
        ]

    def _severity(self, data: str, now: datetime) -> Severity:
        """A page where it stands for that of each service."""
        if data != "requests" or not self.context.settings.page_on_silence:
            return Severity.TICKET
        try:
            is_blind = len(self.findings.stopped(now)) > 1
        except Exception:  # "traffic" fails too; so no service has an alert
            is_blind = True
        return Severity.PAGE if is_blind else Severity.TICKET


def _is_late(newest: datetime | None, now: datetime) -> bool:
    return newest is not None and (now - newest).total_seconds() > _DATA_LATE_S


@dataclass(slots=True)
class _Spend:
    context: AlertContext
    findings: Findings
    _runaways: Sequence[SpendRunaway] | None = None

    def __call__(self, evaluation: Evaluation) -> list[Alert]:
        if self._runaways is None or self.findings.has_new_spend(evaluation.now):
            self._runaways = None  # what fails is asked again at once
            self._runaways = self.findings.runaways(evaluation.now)
        return [runaway_alert(one, self.context.web_url, evaluation.now) for one in self._runaways]


@dataclass(slots=True)
class _Budgets:
    """Budgets of dollars, each hour once it is settled."""

    context: AlertContext
    findings: Findings
    _evaluated_at: datetime = _NEVER
    _statuses: Sequence[BudgetStatus] = field(default=())

    def __call__(self, evaluation: Evaluation) -> list[Alert]:
        settled_at = evaluation.now.replace(minute=0, second=0, microsecond=0) + _COST_SETTLES
        if evaluation.now > settled_at > self._evaluated_at:
            self._statuses, self._evaluated_at = self.findings.budgets(evaluation.now), evaluation.now
        return budget_alerts(self._statuses, self.context.web_url, evaluation.now)
