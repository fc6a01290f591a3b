"""What every endpoint is given: the store, the clock, and what the wiring injects."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Protocol

from fastapi import Depends, Request

from alerts.service import Alerting
from analytics.cost.jobs import Pricing
from api.settings import ApiSettings
from domain.cause import Explanation
from domain.incident import Incident, Indicator
from domain.slo import Objective
from domain.window import Window
from storage.store import Store


class ExplainFunction(Protocol):
    """Explains one window of one service: `analytics.jobs.explain_window`, or the same with other settings."""

    def __call__(self, store: Store, service: str, window: Window, indicator: Indicator | None, /) -> Explanation:
        """The causes by rank, never empty, and what was ruled out."""


@dataclass(frozen=True, slots=True)
class LoaderState:
    """How the loader stands.

    `lag_seconds` is the age of the oldest item that was acknowledged and cannot be queried yet; None when nothing
    waits.
    """

    alive: bool
    lag_seconds: float | None


@dataclass(frozen=True, slots=True)
class Health:
    """What the process knows of itself: the state of its loader, None in a role that has no loader."""

    loader: Callable[[], LoaderState | None]


@dataclass(frozen=True, slots=True)
class Context:
    """Everything that endpoints ask. `now` is the only clock."""

    store: Store
    settings: ApiSettings
    now: Callable[[], datetime]
    health: Health
    metrics_text: Callable[[], bytes]
    objectives: Callable[[], Sequence[Objective]]
    explain: ExplainFunction
    render_report: Callable[[Incident], str]
    alerting: Alerting
    pricing: Callable[[], Pricing]


def _context(request: Request) -> Context:
    context: Context = request.app.state.context
    return context


Given = Annotated[Context, Depends(_context)]
"""The type of an endpoint's parameter that takes the context."""
