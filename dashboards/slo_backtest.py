"""What another target or threshold would have brought: two sliders, a range, and the answer against today's setting."""

import asyncio
import json
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, TypeAlias
from urllib.parse import urlencode

import polars as pl
from dash import ClientsideFunction, Dash, Input, Output, State, dcc, html, no_update
from dash.development.base_component import Component

from analytics.jobs.objectives import backtest, backtest_counts, kept_exclusions
from analytics.slo import excluded_windows
from dashboards import figures, slo_figures, text
from dashboards.cache import AnswerCache
from dashboards.callbacks import callback
from dashboards.components import badge, chart, figure_of, page_link, panel
from dashboards.context import PageContext
from dashboards.severity import SEVERITIES
from dashboards.slo_figures import Trial
from dashboards.state import incident_path, slo_name_of, slo_path
from domain.incident import Incident, Severity
from domain.slo import Objective
from domain.window import Window, rfc3339
from domain.wording import sentence
from storage.incidents import read_incidents

DAYS = (7, 14, 28)
_DAYS = 14
_TARGETS = (0.9, 0.95, 0.97, 0.98, 0.985, 0.99, 0.993, 0.995, 0.997, 0.998, 0.999, 0.9995, 0.9998, 0.9999, 0.99999)
_FACTORS = (0.25, 0.33, 0.5, 0.67, 0.8, 0.9, 1.1, 1.25, 1.5, 2.0, 3.0, 4.0)
_KEPT_S = 120.0
_TOLD_MAX = 8
_DAY_S = 86_400

CountsCache: TypeAlias = AnswerCache[pl.DataFrame]


@dataclass(frozen=True, slots=True)
class Stops:
    """What the sliders stop at, in order; no thresholds where the objective has none."""

    targets: tuple[float, ...]
    thresholds_ms: tuple[float, ...]


def stops_of(objective: Objective) -> Stops:
    """Round targets and multiples of the threshold; today's setting is always among them."""
    threshold_ms = objective.threshold_ms
    thresholds = (
        ()
        if threshold_ms is None
        else tuple(sorted({threshold_ms, *(float(f"{threshold_ms * factor:.2g}") for factor in _FACTORS)}))
    )
    return Stops(tuple(sorted({objective.target_ratio, *_TARGETS})), thresholds)


def layout() -> Component:
    """A place for the controls, which an objective decides, and the answer."""
    return panel(
        "Backtest",
        [
            dcc.Store(id="backtest-setting"),
            html.Div(id="backtest-controls"),
            html.Div(id="backtest-words", className="backtest-words", role="status"),
            chart("slo-backtest", 280),
            html.Div(id="backtest-alerts"),
        ],
        note="what another setting would have brought",
        aside=html.Span(id="backtest-link"),
    )


def register(app: Dash, context: PageContext) -> None:
    """The callbacks of this part. Not at each tick: the answer is of days, and a hand may be on a slider."""
    counted: CountsCache = AnswerCache(_KEPT_S)

    @callback(app, Output("backtest-controls", "children"), Input("url", "pathname"))
    async def show_controls(path: str | None) -> Component:
        return controls(await asyncio.to_thread(context.objective, slo_name_of(path)))

    @callback(
        app,
        Output("backtest-words", "children"),
        Output(figure_of("slo-backtest"), "data"),
        Output("backtest-alerts", "children"),
        Output("backtest-link", "children"),
        Input("backtest-setting", "data"),
        Input("slo-changed", "data"),
        State("url", "pathname"),
    )
    async def show_backtest(setting: list[Any] | None, _changed: Any, path: str | None) -> tuple[Any, ...]:
        name = slo_name_of(path)
        if name is None or setting is None:
            return (no_update,) * 4  # another page is on its way, or the controls are
        return await asyncio.to_thread(_answer, context, counted, name, setting)

    # A slider tells every stop that it passes; asked is what it stays at.
    app.clientside_callback(
        ClientsideFunction("tailsight", "settled"),
        Output("backtest-setting", "data"),
        Input("backtest-target", "value"),
        Input("backtest-threshold", "value"),
        Input("backtest-days", "value"),
    )


def controls(objective: Objective | None) -> Component:
    """The sliders at today's setting, and the range. A slider that has no stops is there, but hidden."""
    if objective is None:
        return html.Div([_slider("target", "", (), 0), _slider("threshold", "", (), 0), _range()], hidden=True)
    stops = stops_of(objective)
    targets = [text.percent(one, 6) for one in stops.targets]
    thresholds = [text.duration_ms(one) for one in stops.thresholds_ms]
    at_threshold = stops.thresholds_ms.index(objective.threshold_ms) if objective.threshold_ms is not None else 0
    return html.Div(
        [
            _slider("target", "Target", targets, stops.targets.index(objective.target_ratio)),
            _slider("threshold", "Threshold", thresholds, at_threshold),
            _range(),
        ],
        className="backtest-controls",
    )


def _range() -> Component:
    days = dcc.RadioItems(
        id="backtest-days",
        options=[{"label": f"{days} days", "value": days} for days in DAYS],
        value=_DAYS,
        inline=True,
        className="segments radios",
    )
    return html.Fieldset([html.Legend("Over the last", className="unseen"), days])


def _slider(name: str, title: str, labels: Sequence[str], at: int) -> Component:
    """A native range input over stops: app.js says the stop beside it, and to a screen reader, while it moves."""
    value = labels[at] if labels else ""
    return html.Label(
        [
            html.Span(
                [title, html.Output(value), html.Span(f"today {value}", className="note")], className="slider-head"
            ),
            dcc.Input(
                id=f"backtest-{name}",
                type="range",
                min=0,
                max=max(0, len(labels) - 1),
                step=1,
                value=at,
            ),
        ],
        className="slider",
        hidden=not labels,
        **{"data-stops": json.dumps(labels, ensure_ascii=False)},
    )


def tried(objective: Objective, target: float | str | None, threshold: float | str | None) -> Objective:
    """The objective with the setting of the sliders; what they cannot mean is as today."""
    stops = stops_of(objective)
    return replace(
        objective,
        target_ratio=_stop(stops.targets, target, objective.target_ratio),
        threshold_ms=_stop(stops.thresholds_ms, threshold, objective.threshold_ms),
    )


def _stop(stops: Sequence[float], place: float | str | None, today: Any) -> Any:
    try:
        at = int(float(place))  # type: ignore[arg-type]  # None is a TypeError
    except (TypeError, ValueError, OverflowError):
        return today
    return stops[at] if 0 <= at < len(stops) else today


def words(
    trial: Trial, today: Trial, days: int, seen_days: int, paged: Sequence[Incident], now: datetime
) -> list[Component]:
    """What the trial would have brought, what today's setting did, and which incidents paged meanwhile.

    Args:
        trial: the setting of the sliders.
        today: the setting in force.
        days: that were asked for.
        seen_days: how many of them have data.
        paged: the incidents of the objective that paged in them.
        now: the clock.
    """
    if not seen_days:
        return [html.P([html.Strong("Nothing to judge"), f": none of the {days} days has data."]), *_paged(paged, now)]
    is_today = _setting(trial.objective) == _setting(today.objective)
    over = f"in {days} days" if seen_days >= days else f"in the {seen_days} of {days} days that have data"
    told = [
        html.P(
            [
                html.Strong(sentence(_brought(trial))),
                f" {over} with {_setting(trial.objective)}" + (", today's setting." if is_today else "."),
            ]
        )
    ]
    if not is_today:
        told.append(
            html.P(f"Today's {_setting(today.objective)} would have brought {_brought(today)}.", className="note")
        )
    elif not trial.alerts:
        told.append(html.P("Move a slider to see when another setting would have told somebody.", className="note"))
    return [*told, *_paged(paged, now)]


def _paged(paged: Sequence[Incident], now: datetime) -> list[Component]:
    """The incidents that paged, each with its link: they do so by their own spike, which no burn rate need tell."""
    if not paged:
        return []
    shown = sorted(paged, key=lambda one: one.started_at, reverse=True)[:_TOLD_MAX]
    links = [
        part
        for one in shown
        for part in (page_link(text.since(one.started_at, now), incident_path(one.id), title=one.id), ", ")
    ][:-1]
    count = f"{len(paged)} incident{'' if len(paged) == 1 else 's'} paged"
    rest = f" and {len(paged) - len(shown)} before" if len(paged) > len(shown) else ""
    why = ". An incident pages by its own spike, which may be too short for a burn rate; no setting here changes that."
    return [html.P([html.Strong(count), " by a spike in this time: ", *links, rest, why], className="paged")]


def days_with_data(counts: pl.DataFrame, window: Window) -> int:
    """How many days of the window, counted back from its end, have events; the oldest only if half of it may."""
    times = counts.filter((pl.col("total") > 0) & pl.col("time").is_between(window.start, window.end, closed="left"))
    ago_s = (window.end - times["time"]).dt.total_seconds() if times.height else pl.Series([], dtype=pl.Int64)
    days = set((ago_s // _DAY_S).to_list())
    if not days:
        return 0
    oldest = max(days)
    is_half = (ago_s.max() or 0) - oldest * _DAY_S >= _DAY_S / 2
    return max(1, len(days) if is_half else len(days) - 1)


def _brought(trial: Trial) -> str:
    parts = [
        found for severity in (Severity.PAGE, Severity.TICKET)
        if (found := slo_figures.severity_count(trial.alerts, severity))
    ]  # fmt: skip
    return " and ".join(parts) or "no burn-rate page or ticket"


def _setting(objective: Objective) -> str:
    target = text.percent(objective.target_ratio, 6)
    return target if objective.threshold_ms is None else f"{target} within {text.duration_ms(objective.threshold_ms)}"


def alert_list(trial: Trial, now: datetime) -> Component | None:
    """The alerts of the trial, the newest first; None without any."""
    if not trial.alerts:
        return None
    rows = [
        html.Li(
            [
                badge(*SEVERITIES[one.severity][:2]),
                html.Strong(f"{text.since(one.started_at, now)} UTC"),
                html.Span(f"{slo_figures.lasting_of(one)}; {slo_figures.burnt(one)}", className="note"),
            ]
        )
        for one in sorted(trial.alerts, key=lambda one: one.started_at, reverse=True)[:_TOLD_MAX]
    ]
    rest = len(trial.alerts) - _TOLD_MAX
    if rest > 0:
        rows.append(html.Li(html.Span(f"and {rest} before", className="note")))
    return html.Ul(rows, className="fired", **{"aria-label": "What the trial would have brought"})


def _answer(context: PageContext, counted: CountsCache, name: str, setting: Sequence[Any]) -> tuple[Any, ...]:
    objective = context.objective(name)
    if objective is None:
        return None, figures.empty("Nothing to try"), None, None
    target, threshold, days = setting
    days = days if days in DAYS else _DAYS
    now = context.now().replace(second=0, microsecond=0)
    window = Window(now - timedelta(days=days), now)
    with_trial = tried(objective, target, threshold)
    trial, today = (
        Trial(one, backtest(context.store, one, window, _counts(context, counted, one, window)))
        for one in (with_trial, objective)
    )
    step_s = slo_figures.step_of(window)
    counts = _counts(context, counted, with_trial, window)
    steps = slo_figures.by_step(counts, window, step_s)
    excluded = excluded_windows(objective, kept_exclusions(context.store))
    asked = {"from": rfc3339(window.start), "to": rfc3339(window.end), "objective": with_trial.target_ratio}
    if with_trial.threshold_ms is not None:
        asked["threshold"] = with_trial.threshold_ms
    link = html.A(
        "JSON", href=f"/api/v1{slo_path(name)}/backtest?{urlencode(asked, safe=':')}", title="The same from the API"
    )
    return (
        words(trial, today, days, days_with_data(counts, window), _paging(context, objective, window), context.now()),
        slo_figures.backtest(steps, trial, today, window, excluded),
        alert_list(trial, now),
        link,
    )


def _paging(context: PageContext, objective: Objective, window: Window) -> list[Incident]:
    """The incidents of a window that spend the objective and page."""
    found = read_incidents(context.store, window, service=objective.service)
    model = objective.selection.model
    return [
        one
        for one in found
        if one.indicator is objective.indicator
        and one.severity is Severity.PAGE
        and (model is None or one.model in (None, model))
    ]


def _counts(context: PageContext, counted: CountsCache, objective: Objective, window: Window) -> pl.DataFrame:
    """The counts of a setting, kept for a while: a target needs no others, and a hand comes back to a stop."""
    key: Hashable = (replace(objective, target_ratio=0.0), window)
    return counted.get(key, lambda: backtest_counts(context.store, objective, window, context.knowledge))
