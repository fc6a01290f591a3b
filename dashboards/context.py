"""What every page needs to answer: the store, the clock, the objectives."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from alerts.service import Alerting
from analytics.cost.jobs import Pricing
from analytics.cost.price_book import shipped_prices
from analytics.jobs.explaining import AnalyzeSettings
from analytics.jobs.objectives import RecentCounts
from analytics.knowledge import Knowledge
from collector.report import IngestReport
from dashboards.freshness import Gap, gaps, silence_of
from dashboards.settings import DashboardSettings
from domain.alert import Alert
from domain.freshness import Looks
from domain.incident import Indicator
from domain.slo import Objective, Selection
from domain.window import Window, from_rfc3339
from storage.readers import read_freshness, read_slo_newest
from storage.store import Store


class KeptReport(Protocol):
    """A weekly report that was kept, in a line; `state` is None without objectives."""

    @property
    def week(self) -> str:
        """`2026-W47`."""

    @property
    def state(self) -> str | None:
        """A `SloState`."""

    @property
    def read_at(self) -> datetime:
        """When it was made."""

    @property
    def cost_usd(self) -> float | None:
        """The bill."""

    @property
    def incidents_count(self) -> int:
        """Incidents that began in the week."""


class WeeklyReports(Protocol):
    """The weekly reports: `reports.service.WeeklyReports`."""

    @property
    def week_under_way(self) -> str:
        """The week of now."""

    @property
    def week_over(self) -> str:
        """The newest week that is over."""

    def kept(self) -> Sequence[KeptReport]:
        """What was kept, the newest week first."""


def list_prices() -> Pricing:
    """The bill of who has set no prices."""
    return Pricing(shipped_prices())


@dataclass(frozen=True, slots=True)
class PageContext:
    """Handed to each page's `register`. `objectives` may ask the store, so call it in a worker thread.

    `analysis` is how incidents were explained, so that pages know the signals that they were explained by; `counts` is
    what it has counted already. `ingest` tells of the collector of this process; None when it has none. `alerting` is
    None where nobody is told of anything. `pricing` is how the bill is made.
    `reports` is None where none are made; `report_problems` are what went wrong with the newest. `looks` are those of
    the analysis of this process; None when it has none.
    """

    store: Store
    settings: DashboardSettings
    now: Callable[[], datetime]
    objectives: Callable[[], Sequence[Objective]]
    analysis: AnalyzeSettings
    counts: RecentCounts
    ingest: Callable[[], IngestReport | None] = lambda: None
    alerting: Alerting | None = None
    pricing: Callable[[], Pricing] = list_prices
    reports: WeeklyReports | None = None
    report_problems: Callable[[], Sequence[str]] = tuple
    looks: Callable[[], Looks | None] = lambda: None

    @property
    def knowledge(self) -> Knowledge:
        """The signals and causes that incidents are explained by, and what they are called."""
        return self.analysis.knowledge

    @property
    def notifies_nobody(self) -> bool:
        """Is there no receiver and no Alertmanager, so that alerts are only shown."""
        return self.alerting is None or self.alerting.notifies_nobody

    def objective(self, name: str | None) -> Objective | None:
        """The objective of that name; None when there is none."""
        return next((one for one in self.objectives() if one.name == name), None)

    def gaps(self, newest: Mapping[str, datetime | None], now: datetime) -> list[Gap]:
        """What is not seen of anything now, by the newest data of each kind."""
        return gaps(newest, self.looks(), now, self.settings.stale_after_s)

    def unseen(self, newest: Mapping[str, datetime | None], now: datetime, service: str | None = None) -> list[Gap]:
        """The same, and that a service (any, unless said) is silent; asks the store, so call it in a worker thread."""
        firing = () if self.alerting is None else self.alerting.firing()
        silent = [
            self._silence(alert, now)
            for alert in firing
            if alert.labels["alertname"] == "TailsightTrafficStopped" and service in (None, alert.labels["service"])
        ]
        return [*self.gaps(newest, now), *(gap for gap in silent if gap is not None)]

    def read_unseen(self, now: datetime, service: str | None = None) -> list[Gap]:
        """What is not seen, by the newest data that the store has."""
        return self.unseen(read_freshness(self.store, now), now, service)

    def _silence(self, alert: Alert, now: datetime) -> Gap | None:
        stopped = Window(from_rfc3339(alert.annotations["since"]), now)
        came = read_slo_newest(self.store, stopped, alert.labels["service"], "requests", Selection())
        return silence_of(alert, max(came["newest"], default=stopped.start), now)

    def threshold_ms(self, service: str, indicator: Indicator) -> float | None:
        """What the service's objective for this indicator allows; None when there is no such objective.

        One of all its requests comes before one of a tenant, a model or the like.
        """
        own = [one for one in self.objectives() if (one.service, one.indicator) == (service, indicator)]
        matching = iter(sorted(own, key=lambda one: one.selection != Selection()))
        return next((objective.threshold_ms for objective in matching), None)
