"""What will be spent: the forecast with its intervals, the month's end, and how well it would have done before."""

import asyncio
from datetime import datetime, timedelta
from typing import Any

import polars as pl
from dash import Dash, Input, Output, html
from dash.development.base_component import Component

from analytics.cost.forecast import Forecast, NoForecast, Total, daily_totals, month_end, until
from analytics.cost.forecast_models import DAY, WEEK, Model
from dashboards import cost_figures, figures, text
from dashboards.callbacks import callback
from dashboards.components import chart, empty_state, fact, figure_of, panel
from dashboards.context import PageContext
from dashboards.cost_parts import page_head, waiting
from dashboards.cost_reading import CostReader, hour_before
from domain.wording import sentence

MODELS = {
    Model.SEASONAL_NAIVE: "The last day or week again",
    Model.ETS: "Exponential smoothing",
    Model.GRADIENT_BOOSTED: "Gradient-boosted trees",
    Model.MEDIAN: "The median of the three",
}
_LEVEL = 0.8
_DAYS_SHOWN = 14
_BEING_MADE = "Trying three ways to forecast on the last weeks. It shows by itself when it is made."


def layout() -> Component:
    """Where things are."""
    return html.Div(
        [
            page_head("Cost forecast", "forecast-note"),
            html.Div(waiting(86, _BEING_MADE), id="forecast-facts"),
            html.Div(
                [
                    panel("Spend an hour", chart("forecast-fan", 320), note="the shades hold 50, 80 and 95 % of hours"),
                    html.Div(
                        [
                            panel("By day", chart("forecast-days", 280), note="the whiskers hold 80 % of days; UTC"),
                            panel(
                                "How good it is", html.Div(waiting(260), id="forecast-score"), note="in the backtest"
                            ),
                        ],
                        className="columns",
                    ),
                    panel(
                        "Backtest",
                        chart("forecast-backtest", 260),
                        note="what was spent, and what would have been forecast of it from each dotted line on",
                    ),
                ],
                className="cost-body",
            ),
        ]
    )


def register(app: Dash, context: PageContext, reader: CostReader) -> None:
    """The one callback of this page."""

    @callback(
        app,
        Output("forecast-note", "children"),
        Output("forecast-facts", "children"),
        Output(figure_of("forecast-fan"), "data"),
        Output(figure_of("forecast-days"), "data"),
        Output("forecast-score", "children"),
        Output(figure_of("forecast-backtest"), "data"),
        Input("url", "search"),
        Input("tick", "n_intervals"),
    )
    async def show_forecast(_search: str | None, _ticks: int | None) -> tuple[Any, ...]:
        return await asyncio.to_thread(_page, reader, context.now())


def no_forecast(reason: str) -> Component:
    """Why there is none, and when there will be."""
    return empty_state(
        "chart-line",
        "No forecast yet",
        [html.P(f"{sentence(reason)}."), html.P("It comes by itself as hours of GPU metrics come in.")],
    )


def facts(found: Forecast, total: Total, spent_usd: float, known_hours: int) -> Component:
    """The month's end, what of it is spent, and the next week."""
    begin = found.hours["time"][0]
    month_hours = int((begin - total.start).total_seconds() // 3_600)
    week = until(found, min(begin + timedelta(hours=WEEK), found.hours["time"][-1] + timedelta(hours=1)))
    day = until(found, begin + timedelta(hours=min(DAY, found.hours.height)))
    told = f"{total.start:%B} so far"
    return html.Div(
        [
            fact(
                f"{total.start:%B} at its end",
                text.usd(total.median_usd),
                _interval(total),
                title=f"What is spent, and what is forecast until {text.day_and_clock(total.end)} UTC",
            ),
            fact(
                told,
                text.usd(spent_usd),
                f"{known_hours} of {month_hours} hours are known" if known_hours < month_hours else "spent",
                title="Hours that nothing is known of are in no sum",
            ),
            fact("Next 24 hours", text.usd(day.median_usd), _interval(day)),
            fact("Next 7 days", text.usd(week.median_usd), _interval(week)),
            fact(
                "Forecast by",
                MODELS[found.model],
                "least error in the backtest",
                class_name="fact-words",
            ),
        ],
        className="strip cost-strip",
    )


def score(found: Forecast) -> Component:
    """Each candidate's error, and what share of hours the intervals held."""
    known = [error for error in found.mase.values() if error is not None]
    worst = max(known, default=1.0) or 1.0
    candidates = [
        html.Div(
            [
                html.Dt(
                    [MODELS[model], html.Span("chosen", className="badge tone-good") if model is found.model else None]
                ),
                html.Dd(
                    html.Span(
                        className="bar-slow" if model is found.model else "bar-rest",
                        style={"width": f"{(error or 0) / worst:.1%}"},
                    ),
                    className="bars",
                ),
                html.Dd(text.UNKNOWN if error is None else f"{error:.2f}", className="share"),
            ],
            className="pair standing-out" if model is found.model else "pair",
        )
        for model, error in found.mase.items()
    ]
    intervals = [
        html.Div(
            [
                html.Dt(f"{level * 100:g} % interval"),
                html.Dd(
                    [
                        html.Span(className="bar-slow", style={"width": f"{held:.1%}"}),
                        html.Span(className="bar-rest", style={"width": f"{level:.1%}"}),
                    ],
                    className="bars",
                ),
                html.Dd(text.percent_whole(held), className="share", title=f"of hours; {level:.0%} would be exact"),
            ],
            className="pair",
        )
        for level, held in sorted(found.coverage.items())
    ]
    return html.Div(
        [
            html.H3("Error of each candidate"),
            html.P(
                "MASE: over the mean change from a day, or a week, to the next. Below 1 beats saying “as before”.",
                className="note",
            ),
            html.Dl(candidates),
            html.H3("Hours that each interval held"),
            html.P("Above: found. Below: meant.", className="note"),
            html.Dl(intervals),
        ],
        className="score",
    )


def _interval(total: Total) -> str:
    low, high = text.usd(total.lower_usd[_LEVEL]), text.usd(total.upper_usd[_LEVEL])
    return f"80 %: {low} to {high}" if low != high else f"80 %: {low}"


def _page(reader: CostReader, now: datetime) -> tuple[Any, ...]:
    found = reader.forecast(now)
    told = f"from {text.day_and_clock(hour_before(now))} UTC"
    if found is None:
        blank = figures.empty("It is being made")
        return told, waiting(86, _BEING_MADE), blank, blank, None, blank
    if isinstance(found, NoForecast):
        blank = figures.empty("No forecast yet")
        return told, no_forecast(found.reason), blank, blank, None, blank
    history = reader.history(now)
    begin: datetime = found.hours["time"][0]
    this_month = history.filter(pl.col("time") >= begin.replace(day=1, hour=0), pl.col("time") < begin)
    spent_usd = float(this_month["cost_usd"].sum())
    days = daily_totals(found)[:_DAYS_SHOWN]
    return (
        told,
        facts(found, month_end(found, spent_usd), spent_usd, this_month.height),
        cost_figures.forecast_fan(history, found),
        cost_figures.forecast_days(days),
        score(found),
        cost_figures.backtest(found),
    )
