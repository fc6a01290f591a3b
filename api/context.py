"""What every endpoint is given: the store, the clock, and what the wiring injects."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Protocol

from fastapi import Depends, Request

from alerts.service import Alerting
from analytics.cost.jobs import Pricing
from analytics.knowledge import Knowledge
from api.freshness import FreshnessProbe
from api.settings import ApiSettings
from domain.cause import Explanation
from domain.freshness import Looks
from domain.incident import Incident, Indicator
from domain.slo import Objective
from domain.window import Window
from storage.store import Store


class ExplainFunction(Protocol):
    """Explains one window of one service: `explain_window` of `analytics.jobs.explaining`, with some settings."""

    def __call__(self, store: Store, service: str, window: Window, indicator: Indicator | None, /) -> Explanation:
        """The causes by rank, never empty, and what was ruled out."""


@dataclass(frozen=True, slots=True)
class LoaderState:
    """How the loader stands.

    `lag_seconds` is the age of the oldest item that was acknowledged and cannot be queried yet; None when nothing
    waits. `has_begun` is False before the store has answered once.
    """

    alive: bool
    lag_seconds: float | None
    has_begun: bool = True


@dataclass(frozen=True, slots=True)
class Health:
    """What the process knows of itself: the state of its loader and the looks of its analysis.

    Each is None in a role that does not have it.
    """

    loader: Callable[[], LoaderState | None]
    looks: Callable[[], Looks | None] = lambda: None


class RenderedReport(Protocol):
    """A report in one format."""

    @property
    def body(self) -> bytes:
        """What is sent."""

    @property
    def media_type(self) -> str:
        """What kind of thing it is."""

    @property
    def file_name(self) -> str:
        """What it is called where it is saved."""


class KeptReport(Protocol):
    """A report that was kept, in a line."""

    @property
    def week(self) -> str:
        """`2026-W47`."""

    @property
    def state(self) -> str | None:
        """The state of the headline; None without objectives."""

    @property
    def read_at(self) -> datetime:
        """When it was made."""

    @property
    def cost_usd(self) -> float | None:
        """The bill; None where it is not known."""

    @property
    def incidents_count(self) -> int:
        """Incidents that began in the week."""


class WeeklyReports(Protocol):
    """The weekly reports: `reports.service.WeeklyReports`."""

    @property
    def tables(self) -> tuple[str, ...]:
        """Tables that a report may have."""

    @property
    def week_under_way(self) -> str:
        """The week of now."""

    @property
    def week_over(self) -> str:
        """The newest week that is over."""

    def check(self, week: str, /) -> None:
        """Raise a ValueError for a week that there is no report of."""

    def render(self, week: str, format: str, table: str | None, /) -> RenderedReport:  # noqa: A002  # as asked for
        """The report of a week in a format; a LookupError for a table that it does not have."""

    def kept(self) -> Sequence[KeptReport]:
        """What was kept, the newest week first."""


@dataclass(frozen=True, slots=True)
class Context:
    """Everything that endpoints ask. `now` is the only clock."""

    store: Store
    settings: ApiSettings
    now: Callable[[], datetime]
    health: Health
    metrics_text: Callable[[], bytes]
    objectives: Callable[[], Sequence[Objective]]
    knowledge: Knowledge
    explain: ExplainFunction
    render_report: Callable[[Incident, Mapping[str, Any]], str]
    render_postmortem: Callable[[Incident, Mapping[str, Any]], str]
    alerting: Alerting
    pricing: Callable[[], Pricing]
    reports: WeeklyReports
    freshness: FreshnessProbe


def _context(request: Request) -> Context:
    context: Context = request.app.state.context
    return context


Given = Annotated[Context, Depends(_context)]
"""The type of an endpoint's parameter that takes the context."""
