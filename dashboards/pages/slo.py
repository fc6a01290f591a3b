"""One objective: where it stands, how its budget went and burns, what it leaves out, what another would bring."""

import asyncio
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

import polars as pl
from dash import Dash, Input, Output, dcc, html
from dash.development.base_component import Component

from alerts.decide import promise
from analytics.burn_rates import WINDOWS, BurnAlert, burn_rate_course, never_pages
from analytics.jobs.objectives import backtest, kept_exclusions, slo_statuses
from analytics.slo import budget_history, excluded_windows, overlap_s
from analytics.slo_windows import judged_window, slo_window
from dashboards import figures, slo_backtest, slo_exclusions, slo_figures, text
from dashboards.callbacks import callback
from dashboards.components import (
    cell_of,
    chart,
    empty_state,
    fact,
    figure_of,
    icon,
    page_link,
    panel,
    since_known,
    spark,
    state_badge,
)
from dashboards.context import PageContext
from dashboards.freshness import Gap, hiding_objective
from dashboards.going_on import read_going_on
from dashboards.severity import STATES
from dashboards.state import SLO_RANGE, SLO_RANGES, PageState, incident_path, parse_state, slo_name_of, slo_path
from dashboards.verdict import line_tone, look_of, pace, status_of
from domain.incident import Incident, Indicator
from domain.slo import Counted, CreditExposure, Exclusion, Objective, Period, Sla, SloState, SloStatus
from domain.window import Window, rfc3339
from domain.wording import sentence

_POINTS = 240
_BUCKETS_MOST = 50_000  # of evidence, as the API has it
_HOUR_S = 3_600
_LEAD = timedelta(seconds=max(pair.long_s for pair in WINDOWS))
_UNITS = {"d": "day", "w": "week", "M": "month", "Q": "quarter", "Y": "year"}
_WINDOW_HEADS = ("Window", "State", "SLI", "Budget left", "Bad", "Coverage")
_OF_A_WINDOW = {SloState.MET: "Met"}
"""A window is met; whether the objective is healthy is said of now, at the head."""
_NOUNS = {
    Indicator.THROUGHPUT: "minutes",
    Indicator.DATA_FRESHNESS: "minutes",
    Indicator.GPU_AVAILABILITY: "GPU minutes",
}

_OUTPUTS = {
    "head": Output("slo-head", "children"),
    "facts": Output("slo-facts", "children"),
    "budget_note": Output("slo-budget-note", "children"),
    "budget": Output(figure_of("slo-budget"), "data"),
    "windows": Output("slo-windows", "children"),
    "credit": Output("slo-credit", "children"),
    "burn_note": Output("slo-burn-note", "children"),
    "burn": Output(figure_of("slo-burn"), "data"),
    "events_note": Output("slo-events-note", "children"),
    "events": Output(figure_of("slo-events"), "data"),
    "exclusions": Output("slo-exclusions", "children"),
}


def layout() -> Component:
    """Where things are."""
    return html.Div(
        [
            dcc.Store(id="slo-changed"),
            html.Div(id="slo-head"),
            html.Div(id="slo-facts"),
            html.Div(
                [
                    html.Div(
                        panel("Error budget left", chart("slo-budget", 268), note=html.Span(id="slo-budget-note")),
                        className="stack",
                    ),
                    html.Div(
                        [
                            panel("Windows", html.Div(id="slo-windows")),
                            html.Div(id="slo-credit"),
                        ],
                        className="stack",
                    ),
                ],
                className="columns slo-columns",
            ),
            panel("Burn rates", chart("slo-burn", 220), note=html.Span(id="slo-burn-note"), aside=_burn_legend()),
            panel("Good and bad events", chart("slo-events", 230), note=html.Span(id="slo-events-note")),
            slo_backtest.layout(),
            panel("Exclusions", slo_exclusions.layout(), note="time that this objective is not judged by"),
        ],
        className="slo",
    )


def register(app: Dash, context: PageContext) -> None:
    """The callbacks of this page and its parts."""

    @callback(
        app,
        Input("url", "pathname"),
        Input("url", "search"),
        Input("tick", "n_intervals"),
        Input("slo-changed", "data"),
        outputs=_OUTPUTS,
    )
    async def show_objective(path: str | None, search: str | None, _ticks: int | None, _changed: Any) -> dict[str, Any]:
        name, now = slo_name_of(path), context.now()
        return await asyncio.to_thread(_page, context, name, parse_state(search), now)

    slo_backtest.register(app, context)
    slo_exclusions.register(app, context)


@dataclass(frozen=True, slots=True)
class _Reading:
    """What is known of an objective: its events by the minute, from before all that is shown."""

    status: SloStatus
    counts: pl.DataFrame
    exclusions: tuple[Exclusion, ...]
    alerts: Sequence[BurnAlert]


def _page(context: PageContext, name: str | None, state: PageState, now: datetime) -> dict[str, Any]:
    """What each of `_OUTPUTS` shows."""
    objective = context.objective(name)
    if objective is None:
        blank = figures.empty("Nothing to show")
        return dict.fromkeys(_OUTPUTS) | {"head": unknown(name or ""), "budget": blank, "burn": blank, "events": blank}
    shown = shown_window(state, now)
    found = _read(context, objective, shown, now)
    unseen = context.read_unseen(now)
    hidden, going_on = hiding_objective(unseen, objective), read_going_on(context, unseen, now, objective.service)
    status, window = found.status, slo_window(objective, now)
    excluded = excluded_windows(objective, found.exclusions)
    step_s, noun = slo_figures.step_of(shown), _NOUNS.get(objective.indicator, "requests")
    steps = slo_figures.by_step(found.counts, shown, step_s)
    courses = burn_rate_course(
        objective, found.counts, shown, list(slo_figures.BURN_SPANS_S.values()), max(60, step_s // 3 // 60 * 60),
        found.exclusions,
    )  # fmt: skip
    history = budget_history(objective, found.counts, now, found.exclusions, _POINTS)
    view = slo_figures.budget_window(history, window).words
    concerned = [one for one in found.exclusions if one.concerns(objective) and one.ends_at > window.start]
    return {
        "head": head(status, now, hidden, going_on),
        "facts": facts(status, noun, now, hidden, going_on),
        "budget_note": f"{window_words(Period(objective.window_days, objective.calendar))}, UTC"
        + (f"; {view}" if view else ""),
        "budget": slo_figures.burn_down(history, window, found.alerts, excluded, tone=line_tone(status, going_on)),
        "windows": windows_table(status, hidden),
        "credit": credit_panel(objective.sla, status.credit),
        "burn_note": f"last {range_words(shown)}",
        "burn": slo_figures.burn_rates(courses, objective, shown, excluded),
        "events_note": f"last {range_words(shown)}, {noun} by {text.lasting(step_s)}"
        + (", with what is excluded" if overlap_s(excluded, shown) else ""),
        "events": slo_figures.events(steps, shown, step_s, noun, excluded),
        "exclusions": slo_exclusions.table(concerned, now),
    }


def _read(context: PageContext, objective: Objective, shown: Window, now: datetime) -> _Reading:
    exclusions = kept_exclusions(context.store)
    window = slo_window(objective, now)
    start = min(judged_window(objective, now).start, window.start - _LEAD, shown.start - _LEAD)
    counts = context.counts.of(objective, now, start)
    (status,) = slo_statuses(context.store, [objective], now, context.counts)
    alerts = backtest(context.store, objective, Window(window.start, now), counts)
    return _Reading(status, counts, exclusions, alerts)


# -- Pieces, from what was read ------------------------------------------------------------------------------------


def shown_window(state: PageState, now: datetime) -> Window:
    """What the charts of burn rates and events show, in whole minutes."""
    chosen = SLO_RANGES.get(state.range_name or SLO_RANGE, SLO_RANGES[SLO_RANGE])
    end = now.replace(second=0, microsecond=0)
    return Window(end - timedelta(seconds=chosen.seconds), end)


def range_words(window: Window) -> str:
    """`24 hours`, `30 days`."""
    hours = round(window.seconds / _HOUR_S)
    return f"{hours} hours" if hours <= 24 else f"{hours // 24} days"


def window_words(period: Period) -> str:
    """`last 30 days`, `calendar month (Europe/Berlin)`, `2 calendar weeks (UTC)`."""
    if period.calendar is None:
        return f"last {period.days} day{'' if period.days == 1 else 's'}"
    count, unit = period.calendar.count, _UNITS[period.calendar.unit]
    what = f"calendar {unit}" if count == 1 else f"{count} calendar {unit}s"
    return f"{what} ({period.calendar.time_zone})"


def unknown(name: str) -> Component:
    """No objective has this name."""
    return empty_state(
        "target",
        "There is no objective of this name",
        [html.P(f"Nothing is promised as {name!r}."), page_link("All objectives", "/slos", "button")],
    )


def head(status: SloStatus, now: datetime, hidden: Gap | None = None, going_on: Sequence[Incident] = ()) -> Component:
    """State (as it is known, where it is `hidden`), name and promise, the ways to the evidence and the document."""
    objective = status.objective
    spending = next((one for one in going_on if status_of(one, [status])), None)
    open_incident = None if spending is None else page_link(
        ["Open incident", icon("arrow-right")], incident_path(spending.id), "button small"
    )  # fmt: skip
    chosen = {name: value for name, value in asdict(objective.selection).items() if value is not None}
    marks = [
        state_badge(*look_of(status, going_on), hidden),
        open_incident,
        worst_window(status, is_shown=look_of(status, going_on) == STATES[status.state]),
        html.Span(objective.service, className="note"),
        *(html.Span([html.Span(f"{name} ", className="note"), html.Code(value)]) for name, value in chosen.items()),
        html.Span(f"in {objective.file}", className="note") if objective.file is not None else None,
    ]
    warning = never_pages(objective)
    api, query = f"/api/v1{slo_path(objective.name)}", evidence_query(objective, now)
    return html.Header(
        [
            html.Div(
                [
                    html.Div(marks, className="incident-marks"),
                    html.H1(objective.name),
                    html.P(sentence(promise(objective)) + ".", className="promise"),
                    None if warning is None else html.P([icon("bell-off"), f" {warning}."], className="note"),
                ]
            ),
            html.Div(
                [
                    html.A(
                        [icon("download"), "Evidence JSON"], href=f"{api}/evidence?{query}", className="button",
                        title="Every count that this rests on, with a SHA-256",
                    ),
                    html.A(
                        [icon("download"), "CSV"], href=f"{api}/evidence.csv?{query}", className="button",
                        title="The same evidence as a table",
                    ),
                    html.A(
                        [icon("braces"), "OpenSLO"], href=api, className="button", target="_blank",
                        title="The objective as an OpenSLO document",
                    ),
                ],
                className="actions",
            ),
        ],
        className="incident-head",
    )  # fmt: skip


def worst_window(status: SloStatus, *, is_shown: bool = True) -> Component | None:
    """Which window the state is of, where it is not the objective's own; and the state, unless it `is_shown` beside."""
    own = status.periods[0]
    worst = next((one for one in status.periods if one.state is status.state), own)
    return (
        None
        if worst is own
        else html.Span(
            f"{'' if is_shown else f'{STATES[status.state][0]} '}over the {window_words(worst.period)}",
            className="note",
        )
    )


def evidence_query(objective: Objective, now: datetime) -> str:
    """The objective's window, in buckets that divide its slices: an hour unless those are shorter."""
    step_s = _HOUR_S if objective.slices is None else math.gcd(_HOUR_S, objective.slices.length_s)
    window = slo_window(objective, now)
    start = max(window.start, now - timedelta(seconds=step_s * (_BUCKETS_MOST - 1)))
    end = now.replace(microsecond=0)
    return urlencode(
        {"from": rfc3339(start.replace(microsecond=0)), "to": rfc3339(end), "step": f"{step_s}s"}, safe=":"
    )


def facts(
    status: SloStatus, noun: str, now: datetime, hidden: Gap | None = None, going_on: Sequence[Incident] = ()
) -> Component:
    """The big numbers: what is reached, what is left, how fast it goes, when it is gone; grey where it is `hidden`."""
    objective = status.objective
    tone = line_tone(status, going_on)
    burn = pace(status, going_on)
    bad = status.total_count - status.good_count
    return html.Div(
        [
            fact(
                "SLI",
                text.percent_of_target(status.sli_ratio, objective.target_ratio),
                f"of {text.percent(objective.target_ratio, 6)}",
                title="Good over all events of the window, without what is excluded",
            ),
            fact(
                "Budget left",
                text.percent_floor(status.budget_left_ratio),
                extra=spark(since_known(status.budget_left_history), tone, low=0.0, high=1.0),
                class_name=f"toned tone-{tone}",
                title="Share of the error budget; below zero it is overspent",
            ),
            fact(
                "Burns",
                text.UNKNOWN if burn is None else f"{text.significant(burn.rate, 2)}×",
                f"in the last {text.lasting(burn.span.total_seconds())}" if burn else f"no {noun} in the last hour",
                class_name=f"toned tone-{tone}" if burn is not None and burn.rate > 1 else "",
                title="How many times as fast as the budget allows; 1× spends it exactly in the window",
            ),
            fact("Runs out", *spent_words(status, now), title="If the last day goes on"),
            fact(
                sentence(f"bad {noun}"),
                slo_figures.sentence_count(bad) if status.total_count else text.UNKNOWN,
                f"of {text.count(status.total_count)}" if status.total_count else None,
            ),
            fact(
                "Coverage",
                text.percent_floor(status.coverage_ratio),
                "of the hours",
                title="Hours of the window in which there was something to judge",
            ),
        ],
        className="strip slo-strip" if hidden is None else "strip slo-strip greyed",
    )


def spent_words(status: SloStatus, now: datetime) -> tuple[str, str]:
    """When the budget will be gone, and in how long: `09:40`, `in 6 h 33 min`."""
    if status.budget_left_ratio is None:
        return text.UNKNOWN, "nothing to judge"
    if status.budget_left_ratio <= 0:
        return "it is spent", "and more" if status.budget_left_ratio < 0 else "exactly"
    if status.exhausted_at is None:
        return "not foreseen", "within the window"
    left_s = (status.exhausted_at - now).total_seconds()
    return text.since(status.exhausted_at, now), f"in {text.lasting(left_s)}"


def windows_table(status: SloStatus, hidden: Gap | None = None) -> Component:
    """One row a window, the objective's own first; with what is excluded below it where that makes a difference.

    Args:
        status: where the objective stands.
        hidden: the gap since which that is not seen.
    """
    target = status.objective.target_ratio
    rows: list[tuple[Any, ...]] = []
    for number, one in enumerate(status.periods):
        word, tone, _ = STATES[one.state]
        state = state_badge(_OF_A_WINDOW.get(one.state, word), tone, None, hidden)
        name = sentence(window_words(one.period))
        rows.append((name, state, *_counted_cells(one.counted, target), text.percent_floor(one.coverage_ratio)))
        if number == 0 and status.excluded_s > 0 and status.with_excluded is not None:
            words = html.Span(f"with {text.lasting(status.excluded_s)} that are excluded", className="note indented")
            rows.append((words, None, *_counted_cells(status.with_excluded, target), None))
    body = [
        html.Tr([cell_of(name, cell, is_wide=name == "Window") for name, cell in zip(_WINDOW_HEADS, row, strict=True)])
        for row in rows
    ]
    heads = html.Tr([html.Th(name, scope="col") for name in _WINDOW_HEADS])
    return html.Div(html.Table([html.Thead(heads), html.Tbody(body)]), className="table listing windows")


def _counted_cells(counted: Counted, target_ratio: float) -> tuple[str, str, str]:
    """SLI, budget left, bad events."""
    bad = counted.total_count - counted.good_count
    return (
        text.percent_of_target(counted.sli_ratio, target_ratio),
        text.percent_floor(counted.budget_left_ratio),
        slo_figures.sentence_count(bad) if counted.total_count else text.UNKNOWN,
    )


def credit_panel(sla: Sla | None, credit: CreditExposure | None) -> Component | None:
    """What the contract gives back for this month; None where there is none."""
    if sla is None or credit is None:
        return None
    tiers = "; ".join(
        f"below {text.percent(one.below_ratio, 6)}: {text.percent(one.credit_ratio)}" for one in sla.tiers
    )
    is_due = bool(credit.credit_usd)
    will_be = bool(credit.forecast_usd)
    return panel(
        "SLA credit",
        [
            html.Div(
                [
                    fact(
                        "If the month ended now",
                        text.usd(credit.credit_usd),
                        f"at {text.percent_of_target(credit.sli_ratio, _strictest(sla))}",
                        class_name="toned tone-critical" if is_due else "",
                    ),
                    fact(
                        "At its end",
                        text.usd(credit.forecast_usd),
                        f"at {text.percent_of_target(credit.forecast_sli_ratio, _strictest(sla))}",
                        class_name="toned tone-critical" if will_be else "",
                        title="If the rest of the month goes as the last day did",
                    ),
                ],
                className="credit",
            ),
            html.P(f"Of {text.usd(sla.monthly_fee_usd)} a month: {tiers}. Check the contract.", className="note foot"),
        ],
        note=f"{credit.month_start.astimezone(ZoneInfo(sla.time_zone)):%B %Y}, {sla.time_zone}",
    )


def _strictest(sla: Sla) -> float:
    return max(one.below_ratio for one in sla.tiers)


def _burn_legend() -> Component:
    """Which line is which."""
    return html.Span(
        [
            html.Span(
                [html.Span(className=f"line-mark mark-{name}"), f"over {name[:-1]} {name[-1]}"], className="legend"
            )
            for name in slo_figures.BURN_SPANS_S
        ],
        className="legends",
    )
