"""What will be spent: the forecast with its intervals, the month's end, and how well it would have done before."""

import asyncio
from datetime import datetime, timedelta
from typing import Any

from dash import Dash, Input, Output, html
from dash.development.base_component import Component

from analytics.cost.forecast import Forecast, Month, NoForecast, Total, daily_totals, month_of, until
from analytics.cost.forecast_models import DAY, WEEK, Model
from dashboards import cost_figures, figures, text
from dashboards.callbacks import callback
from dashboards.components import chart, empty_state, fact, figure_of, panel
from dashboards.context import PageContext
from dashboards.cost_parts import hours_known, note_of, page_head, waiting
from dashboards.cost_reading import CostReader, hour_before
from domain.window import Window
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
            html.Div(id="forecast-rests-on"),
            html.Div(waiting(86, _BEING_MADE), id="forecast-facts"),
            html.Div(
                [
                    panel("Spend an hour", chart("forecast-fan", 320), note=html.Span(id="forecast-fan-note")),
                    html.Div(
                        [
                            panel("By day", chart("forecast-days", 280), note=html.Span(id="forecast-days-note")),
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
        Output("forecast-rests-on", "children"),
        Output("forecast-facts", "children"),
        Output("forecast-fan-note", "children"),
        Output(figure_of("forecast-fan"), "data"),
        Output("forecast-days-note", "children"),
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


def facts(found: Forecast) -> Component:
    """The month's end, what of it is spent, the next day and week, and what the forecast is made with."""
    month, begin = month_of(found), found.hours["time"][0]
    name = f"{month.start:%B}"
    week = until(found, min(begin + timedelta(hours=WEEK), found.hours["time"][-1] + timedelta(hours=1)))
    day = until(found, begin + timedelta(hours=min(DAY, found.hours.height)))
    return html.Div(
        [
            _month_end(name, month),
            fact(
                f"{name} so far",
                text.usd(month.spent_usd) if month.known_hours or not month.hours else text.UNKNOWN,
                _known(month) or "spent",
                title="Hours that nothing is known of are in no sum",
            ),
            fact(f"Rest of {name}", text.usd(month.rest.median_usd), _interval(month.rest))
            if month.not_whole
            else None,
            fact("Next 24 hours", text.usd(day.median_usd), _interval(day)),
            fact("Next 7 days", text.usd(week.median_usd), _interval(week)),
            fact("Forecast by", MODELS[found.model], found.chosen_because, class_name="fact-words"),
        ],
        className="strip cost-strip",
    )


def _month_end(name: str, month: Month) -> Component:
    label = f"{name} at its end"
    if month.whole is None:
        unknown = month.hours - month.known_hours
        return fact(
            label,
            "not known",
            html.Span(f"nothing is known of {unknown:,} of {month.hours:,} h so far", className="tone-warning"),
            title="Hours before the first GPU was heard of did not cost nothing: nobody knows what they cost",
            class_name="fact-words",
        )
    words = f"What is spent, and what is forecast until {text.day_and_clock(month.end)} UTC"
    return fact(label, text.usd(month.whole.median_usd), _interval(month.whole), title=words)


def _known(month: Month) -> Component | None:
    """`50 of 704 h known`; None where all are."""
    return hours_known(month.known_hours, month.hours, is_whole=not month.not_whole)


def rests_on(found: Forecast) -> Component:
    """The hours that the forecast is made from, how often it was tried on them, and why there is no interval."""
    history = found.history
    first, last = history["time"][0], history["time"][-1] + timedelta(hours=1)
    whole = int((last - first).total_seconds() // 3_600)
    of = f" of {whole:,}" if history.height < whole else ""
    span = text.hours_words(Window(first, last))
    notes = [
        note_of(
            "hourglass",
            f"Made from {history.height:,}{of} hours known, {span}; tried on them {times(found.tries)}",
            "calm" if history.height >= 2 * WEEK else "warning",
        )
    ]
    if found.no_interval is not None:
        notes.append(note_of("chart-line", f"No interval: {found.no_interval}", "warning"))
    return html.Div(notes, className="rests-on")


def times(count: int) -> str:
    """`once`, `6 times`."""
    return "once" if count == 1 else f"{count} times"


def score(found: Forecast) -> Component:
    """Each candidate's error, and what share of hours the intervals held."""
    known = [error for error in found.mase.values() if error is not None]
    worst = max(known, default=1.0) or 1.0
    scaled = "MASE: over the mean change from a day, or a week, to the next. Below 1 beats saying “as before”."
    unscaled = "Dollars an hour: spend did not change from day to day, so there is no change to hold an error against."
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
                html.Dd(
                    text.usd(round(found.errors_usd[model], 6)) if error is None else f"{error:.2f}", className="share"
                ),
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
            html.P(scaled if known else unscaled, className="note"),
            html.Dl(candidates),
            html.P(f"Chosen: {found.chosen_because}; it was tried {times(found.tries)}.", className="note"),
            html.H3("Hours that each interval held"),
            *(
                [html.P("Above: found. Below: meant.", className="note"), html.Dl(intervals)]
                if found.no_interval is None
                else [html.P(f"No interval: {found.no_interval}.", className="note")]
            ),
        ],
        className="score",
    )


def _interval(total: Total) -> str:
    """Between what and what, or that this is not known: no interval is one of no width."""
    low, high = total.lower_usd[_LEVEL], total.upper_usd[_LEVEL]
    if total.no_interval is not None or low >= high:
        return "no interval"
    told = text.usd(low), text.usd(high)
    return f"80 %: {told[0]} to {told[1]}" if told[0] != told[1] else f"80 %: within {text.usd(high - low)}"


def _page(reader: CostReader, now: datetime) -> tuple[Any, ...]:
    found = reader.forecast(now)
    told = f"from {text.day_and_clock(hour_before(now))} UTC"
    if found is None:
        blank = figures.empty("It is being made")
        return told, None, waiting(86, _BEING_MADE), "", blank, "", blank, None, blank
    if isinstance(found, NoForecast):
        blank = figures.empty("No forecast yet")
        return told, None, no_forecast(found.reason), "", blank, "", blank, None, blank
    days = daily_totals(found)[:_DAYS_SHOWN]
    has_interval = found.no_interval is None
    return (
        told,
        rests_on(found),
        facts(found),
        "the shades hold 50, 80 and 95 % of hours" if has_interval else "without an interval",
        cost_figures.forecast_fan(found.history, found),
        "the whiskers hold 80 % of days; UTC" if has_interval else "UTC",
        cost_figures.forecast_days(days),
        score(found),
        cost_figures.backtest(found),
    )
