"""The one sentence at the top of the overview: what burns, worst first, what is not seen, or that all is well. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from analytics.knowledge import Knowledge
from analytics.slo import BURN_WINDOWS
from dashboards import text
from dashboards.freshness import LOOKS, REQUESTS, Gap, hiding, hiding_objective, told_once
from dashboards.severity import SEVERITIES, STATES
from dashboards.text import NO_NAMES
from domain.cause import CauseKind
from domain.freshness import known_until
from domain.incident import Incident, Indicator, Severity
from domain.slo import SloState, SloStatus
from storage.readers import FRESHNESS_DAYS

_SEVERITY_ORDER = (Severity.PAGE, Severity.TICKET, Severity.INFO)
_ORDER: tuple[Severity | SloState, ...] = (
    Severity.PAGE,
    SloState.MISSED,
    Severity.TICKET,
    SloState.AT_RISK,
    SloState.NO_DATA,
    Severity.INFO,
    SloState.MET,
)
_SHORT_WINDOWS = ("5m", "30m", "1h")


@dataclass(frozen=True, slots=True)
class Verdict:
    """`tone` is critical, warning, good or unknown; `details` are pieces of text, each with whether it is strong."""

    tone: str
    headline: str
    details: tuple[tuple[str, bool], ...]
    incident_id: str | None


def verdict(
    statuses: Sequence[SloStatus],
    going_on: Sequence[Incident],
    newest: Mapping[str, datetime | None],
    now: datetime,
    knowledge: Knowledge,
    unseen: Sequence[Gap] = (),
    names: Mapping[str, str] = NO_NAMES,
) -> Verdict:
    """The verdict on everything shown: open incidents first, then objectives in trouble, what is not seen, calm.

    Args:
        statuses: the objectives.
        going_on: the incidents that go on.
        newest: the newest data by kind.
        now: when it is asked.
        knowledge: how the cause of an incident is called.
        unseen: what is not seen now.
        names: what people call a GPU, by its UUID.
    """
    if going_on:
        worst = min(going_on, key=_badness)
        hidden = hiding(unseen, (LOOKS, REQUESTS), worst.service)
        others = len(going_on) - 1
        return _with_gaps(_burning(worst, statuses, others, now, knowledge, hidden, names), unseen)
    ordered = worst_first(statuses)
    judged = [status for status in ordered if status.state is not SloState.NO_DATA]
    last = known_until(newest)
    seen = f"Last data {text.clock_seconds(last)} UTC." if last else f"No data in the last {FRESHNESS_DAYS[-1]} days."
    if judged and judged[0].state is not SloState.MET:
        return _with_gaps(_objective_in_trouble(judged[0], seen, hiding(unseen, (LOOKS, REQUESTS))), unseen)
    if any(gap.is_missed for gap in unseen):
        return _unseen(sorted(told_once(unseen), key=lambda gap: not gap.is_missed), judged)
    if not judged:
        return Verdict(
            "unknown", "Nothing to judge yet", ((f"No objective has data in its window. {seen}", False),), None
        )
    unjudged = len(ordered) - len(judged)
    headline = "All objectives met" if not unjudged else f"All objectives with data met, {unjudged} without data"
    of_judged = [gap for status in judged if (gap := hiding_objective(unseen, status.objective)) is not None]
    hidden = min(of_judged, key=lambda gap: gap.since, default=None)
    details = (*_lowest_budget(judged), (f" {seen}", False))
    tone = "good" if hidden is None else "unknown"
    return _with_gaps(Verdict(tone, _as_known(headline, hidden), details, None), unseen)


def worst_first(statuses: Sequence[SloStatus], going_on: Sequence[Incident] = ()) -> list[SloStatus]:
    """What pages, what is missed, what makes a ticket, at risk, unknown, met; in each the emptiest budget first."""
    return sorted(
        statuses,
        key=lambda status: (_ORDER.index(_trouble(status, going_on)), _budget(status), status.objective.name),
    )


def look_of(status: SloStatus, going_on: Sequence[Incident]) -> tuple[str, str, str]:
    """Word, tone and icon of an objective, the same on every page: the worse of its state and what spends it now."""
    trouble = _trouble(status, going_on)
    return SEVERITIES[trouble] if isinstance(trouble, Severity) else STATES[trouble]


def _trouble(status: SloStatus, going_on: Sequence[Incident]) -> Severity | SloState:
    """The worst that is to be said of an objective: its state, or how an open incident that spends it is told."""
    spending = (incident.severity for incident in going_on if status_of(incident, [status]))
    found: list[Severity | SloState] = [status.state, *spending]
    return min(found, key=_ORDER.index)


@dataclass(frozen=True, slots=True)
class Pace:
    """How many times as fast as it may a budget goes, and over which time before now that was counted."""

    rate: float
    span: timedelta

    @property
    def words(self) -> str:
        """`29× over 5 min`."""
        return f"{text.significant(self.rate, 2)}× over {text.lasting(self.span.total_seconds())}"


def pace(status: SloStatus, going_on: Sequence[Incident]) -> Pace | None:
    """The burn rate that goes with an objective's state; None where nothing was counted.

    While an incident pages or makes a ticket of it, the worst of the short windows: an hour that was mostly good hides
    what began five minutes ago. Else that of the last hour.
    """
    names = _SHORT_WINDOWS if _trouble(status, going_on) in (Severity.PAGE, Severity.TICKET) else ("1h",)
    known = [Pace(rate, BURN_WINDOWS[name]) for name in names if (rate := _rate(status, name)) is not None]
    return max(known, key=lambda one: one.rate, default=None)


def _rate(status: SloStatus, window: str) -> float | None:
    return status.burn_rate if window == "1h" else status.burn_rates.get(window)


def line_tone(status: SloStatus, going_on: Sequence[Incident]) -> str:
    """The colour of an objective's numbers and lines: calm unless it wants attention."""
    tone = look_of(status, going_on)[1]
    return tone if tone in ("critical", "warning") else "calm"


def status_of(incident: Incident, statuses: Sequence[SloStatus]) -> SloStatus | None:
    """The objective that an incident spends: same service, same indicator."""
    matching = (
        s for s in statuses if (s.objective.service, s.objective.indicator) == (incident.service, incident.indicator)
    )
    return next(matching, None)


def days_seen(status: SloStatus) -> str | None:
    """`7 of 30 days seen`, where an objective's window reaches back beyond its data; None where it does not."""
    history, days = status.budget_left_history, status.objective.window_days
    unseen = next((at for at, left in enumerate(history) if left is not None), 0)
    return None if not unseen else f"{max(1, days * (len(history) - unseen) // len(history))} of {days} days seen"


def budget_gone_in(status: SloStatus, burning: Pace | None) -> timedelta | None:
    """Time until the budget is spent at this pace; None when unknown, or not being overspent.

    A burn rate of 1 spends the whole budget in exactly the window (Site Reliability Workbook, chapter 5), so what is
    left lasts `budget_left_ratio * window / burn_rate`.
    """
    left = status.budget_left_ratio
    if left is None or burning is None or burning.rate <= 1 or left <= 0:
        return None
    return timedelta(days=status.objective.window_days) * (left / burning.rate)


def _as_known(words: str, hidden: Gap | None) -> str:
    return words if hidden is None else f"{words} {hidden.as_of}"


def _burning(
    incident: Incident,
    statuses: Sequence[SloStatus],
    others: int,
    now: datetime,
    knowledge: Knowledge,
    hidden: Gap | None,
    names: Mapping[str, str],
) -> Verdict:
    status = status_of(incident, statuses)
    indicator = text.INDICATORS[incident.indicator]
    burning = pace(status, [incident]) if status else None
    headline = (
        f"{incident.service} is spending its {indicator} budget {text.significant(burning.rate, 2)}× too fast"
        if burning is not None and burning.rate > 1
        else text.incident_title(incident)
    )
    gone_in = budget_gone_in(status, burning) if status else None
    ago = text.lasting((now - incident.started_at).total_seconds())
    details = [(f"Began {text.since(incident.started_at, now)} UTC, {ago} ago. ", False)]
    if incident.indicator is not Indicator.ERRORS and incident.slow_requests_count:
        details += [(text.percent(incident.slow_requests_ratio, 2), True), (" of its requests slow or failed. ", False)]
    if gone_in is not None and burning is not None:
        over = text.lasting(burning.span.total_seconds())
        details += [(f"As in the last {over} the budget runs out in ", False)]
        details += [(text.lasting(gone_in.total_seconds()), True), (". ", False)]
    elif status is not None and status.budget_left_ratio is not None and status.budget_left_ratio <= 0:
        details += [("The budget is spent", True), (". ", False)]
    details += [("Likely cause: ", False), (text.likely_cause(incident, knowledge, names), True)]
    sure = incident.cause.kind is not CauseKind.UNKNOWN
    details.append((f", {text.percent_floor(incident.cause.confidence)} sure." if sure else ".", False))
    if others:
        details.append((f" {others} more open {'incident' if others == 1 else 'incidents'}.", False))
    tone = "critical" if incident.severity is Severity.PAGE else "warning"
    return Verdict(tone, _as_known(headline, hidden), tuple(details), incident.id)


def _unseen(unseen: Sequence[Gap], judged: Sequence[SloStatus]) -> Verdict:
    """What is not seen, in place of a claim that all is well; budgets are those of what had come in."""
    worst, *others = unseen
    found = Verdict("warning", worst.words, ((worst.meaning, False),), None)
    known = ((" By what is known: ", False), *_lowest_budget(judged, "lowest")) if judged else ()
    found = _with_gaps(found, others)
    return replace(found, details=(*found.details, *known))


def _with_gaps(found: Verdict, unseen: Sequence[Gap]) -> Verdict:
    return replace(found, details=(*found.details, *((f" {gap.words}.", True) for gap in told_once(unseen))))


def _lowest_budget(judged: Sequence[SloStatus], lowest_word: str = "Lowest") -> tuple[tuple[str, bool], ...]:
    lowest = min(judged, key=_budget)
    return (
        (f"{lowest_word} budget ", False),
        (text.percent_floor(lowest.budget_left_ratio), True),
        (f" left, {lowest.objective.service} {text.objective_title(lowest.objective)}.", False),
    )


def _objective_in_trouble(status: SloStatus, seen: str, hidden: Gap | None) -> Verdict:
    missed = status.state is SloState.MISSED
    objective = status.objective
    reached = text.percent_of_target(status.sli_ratio, objective.target_ratio)
    return Verdict(
        "critical" if missed else "warning",
        f"{objective.service} {'missed' if missed else 'may miss'} its objective {text.objective_title(objective)}",
        (
            (f"{reached} of {text.percent(objective.target_ratio, 6)} over {objective.window_days} days, ", False),
            (f"{text.percent_floor(status.budget_left_ratio)} of the budget left", True),
            (f". {_as_known('No incident is open', hidden)}. {seen}", False),
        ),
        None,
    )


def _badness(incident: Incident) -> tuple[int, float]:
    return _SEVERITY_ORDER.index(incident.severity), -incident.started_at.timestamp()


def _budget(status: SloStatus) -> float:
    return 2.0 if status.budget_left_ratio is None else status.budget_left_ratio
