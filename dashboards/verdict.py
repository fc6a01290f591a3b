"""The one sentence at the top of the overview: what burns, worst first, what is not seen, or that all is well. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from analytics.knowledge import Knowledge
from dashboards import text
from dashboards.freshness import LOOKS, REQUESTS, Gap, hiding, hiding_objective, told_once
from dashboards.severity import SEVERITIES, STATES
from domain.freshness import known_until
from domain.incident import Incident, Severity
from domain.slo import SloState, SloStatus
from storage.readers import FRESHNESS_DAYS

_STATE_ORDER = (SloState.MISSED, SloState.AT_RISK, SloState.NO_DATA, SloState.MET)
_SEVERITY_ORDER = (Severity.PAGE, Severity.TICKET, Severity.INFO)


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
) -> Verdict:
    """The verdict on everything shown: open incidents first, then objectives in trouble, what is not seen, calm.

    `knowledge` says how the cause of an incident is called.
    """
    if going_on:
        worst = min(going_on, key=_badness)
        hidden = hiding(unseen, (LOOKS, REQUESTS), worst.service)
        return _with_gaps(_burning(worst, statuses, len(going_on) - 1, now, knowledge, hidden), unseen)
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


def worst_first(statuses: Sequence[SloStatus]) -> list[SloStatus]:
    """Missed, at risk, unknown, met; in each the emptiest budget first."""
    return sorted(
        statuses, key=lambda status: (_STATE_ORDER.index(status.state), _budget(status), status.objective.name)
    )


def look_of(status: SloStatus, going_on: Sequence[Incident]) -> tuple[str, str, str]:
    """Word, tone and icon of an objective: those of the worst open incident that spends it, else of its state."""
    spending = [incident for incident in going_on if status_of(incident, [status])]
    return SEVERITIES[min(spending, key=_badness).severity] if spending else STATES[status.state]


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


def budget_gone_in(status: SloStatus) -> timedelta | None:
    """Time until the budget is spent at the burn rate of the last hour; None when unknown, or not being overspent.

    A burn rate of 1 spends the whole budget in exactly the window (Site Reliability Workbook, chapter 5), so what is
    left lasts `budget_left_ratio * window / burn_rate`.
    """
    left, burn = status.budget_left_ratio, status.burn_rate
    if left is None or burn is None or burn <= 1 or left <= 0:
        return None
    return timedelta(days=status.objective.window_days) * (left / burn)


def _as_known(words: str, hidden: Gap | None) -> str:
    return words if hidden is None else f"{words} {hidden.as_of}"


def _burning(
    incident: Incident,
    statuses: Sequence[SloStatus],
    others: int,
    now: datetime,
    knowledge: Knowledge,
    hidden: Gap | None,
) -> Verdict:
    status = status_of(incident, statuses)
    indicator = text.INDICATORS[incident.indicator]
    burn = status.burn_rate if status else None
    headline = (
        f"{incident.service} is spending its {indicator} budget {text.significant(burn, 2)}× too fast"
        if burn is not None and burn > 1
        else text.incident_title(incident)
    )
    gone_in = budget_gone_in(status) if status else None
    ago = text.lasting((now - incident.started_at).total_seconds())
    details = [(f"Began {text.since(incident.started_at, now)} UTC, {ago} ago. ", False)]
    if gone_in is not None:
        details += [("Budget runs out in ", False), (text.lasting(gone_in.total_seconds()), True), (". ", False)]
    elif status is not None and status.budget_left_ratio is not None and status.budget_left_ratio <= 0:
        details += [("The budget is spent", True), (". ", False)]
    details += [("Likely cause: ", False), (text.likely_cause(incident, knowledge), True), (".", False)]
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
