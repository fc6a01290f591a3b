"""What could be saved: each piece of advice with its dollars, how sure it is, why, how, and what would break it."""

import asyncio
from typing import Any

from dash import Dash, Input, Output, html
from dash.development.base_component import Component

from analytics.cost.advice import Advice, AdviceGap, AdviceKind, Ranking
from analytics.cost.latency_value import LatencyWorth
from dashboards import text
from dashboards.callbacks import callback
from dashboards.components import Children, badge, empty_state, icon, panel
from dashboards.context import PageContext
from dashboards.cost_parts import page_head, waiting
from dashboards.cost_reading import CostReader, hour_before
from dashboards.text import INDICATORS_IN_FULL
from domain.money import usd_change_text, usd_text
from domain.window import duration_text

KINDS = {
    AdviceKind.WEIGHT_FORMAT: ("Smaller weights", "memory-stick"),
    AdviceKind.TENSOR_PARALLEL: ("Other parallelism", "network"),
    AdviceKind.GPU_TYPE: ("Another GPU", "gpu"),
    AdviceKind.CONSOLIDATION: ("Share GPUs", "layers"),
    AdviceKind.RELEASE: ("Give GPUs back", "server-off"),
    AdviceKind.HELD_IDLE: ("Scale down when quiet", "circle-pause"),
    AdviceKind.REPAIR: ("Repair", "activity"),
    AdviceKind.WARM_POOL: ("Size the warm pool", "thermometer"),
    AdviceKind.SPOT: ("Spot capacity", "zap"),
}
_BEING_MADE = "Trying what could be done otherwise. It shows by itself when it is made."
_CONFIDENCE_MEANING = (
    "how likely the saving lies in that range: by how well such ranges held, how long was seen, and how much of it"
)


def layout() -> Component:
    """A heading, a line that sums it up, and places for advice and gaps."""
    return html.Div(
        [
            page_head("Cost advice", "advice-note"),
            html.Div(waiting(72, _BEING_MADE), id="advice-sum"),
            html.Div(html.Div(waiting(260), id="advice-list"), className="cost-body"),
            html.Div(id="advice-latency"),
            html.Div(id="advice-gaps"),
        ]
    )


def register(app: Dash, context: PageContext, reader: CostReader) -> None:
    """The one callback of this page."""

    @callback(
        app,
        Output("advice-note", "children"),
        Output("advice-sum", "children"),
        Output("advice-list", "children"),
        Output("advice-latency", "children"),
        Output("advice-gaps", "children"),
        Input("url", "search"),
        Input("tick", "n_intervals"),
    )
    async def show_advice(_search: str | None, _ticks: int | None) -> tuple[Any, ...]:
        now = context.now()
        found = await asyncio.to_thread(reader.advice, now)
        told = f"by the seven days to {text.day_and_clock(hour_before(now))} UTC"
        if found is None:
            return told, waiting(72, _BEING_MADE), waiting(260), None, None
        return (
            told,
            summary(found),
            [card(rank, one) for rank, one in enumerate(found.advice, start=1)],
            latency(found.latency_value),
            gaps(found.gaps),
        )


def summary(found: Ranking) -> Component:
    """What following it brings; or that there is nothing worth saying, or nothing that can be said yet."""
    if not found.advice:
        words = (
            "What is missing stands below; nothing that can be judged is worth $50 a month."
            if found.gaps
            else "Nothing that can be judged is worth $50 a month."
        )
        return empty_state("lightbulb", "No advice now", html.P(words))
    count = len(found.advice)
    pieces = f"{count} {'piece' if count == 1 else 'pieces'} of advice"
    return html.Section(
        [
            html.Span(icon("lightbulb"), className="verdict-icon"),
            html.Div(
                [
                    html.H2(f"About {text.usd(found.expected_usd_per_month)} a month can be expected"),
                    html.P(f"from {pieces}. Of those about the same model or pool only the best counts: they overlap."),
                ],
                className="verdict-words",
            ),
        ],
        className="verdict tone-good",
    )


def card(rank: int, advice: Advice) -> Component:
    """One thing to do."""
    word, icon_name = KINDS[advice.kind]
    low, high = advice.saves_usd_per_month
    return html.Article(
        [
            html.Header(
                [
                    html.Span(str(rank), className="rank"),
                    html.Div([badge(word, "calm", icon_name), html.H2(advice.title)], className="advice-title"),
                    html.Div(
                        [
                            html.Div([html.Strong(_range(low, high)), html.Span(" a month", className="note")]),
                            html.Div(
                                [
                                    html.Span(html.Span(style={"width": f"{advice.confidence:.0%}"}), className="bar"),
                                    html.Span(f"{text.percent_whole(advice.confidence)} sure"),
                                ],
                                className="confidence",
                                title=_CONFIDENCE_MEANING,
                            ),
                        ],
                        className="advice-money",
                    ),
                ],
                className="advice-head",
            ),
            html.Div(
                [
                    _told("Why", html.Ul([html.Li(one) for one in advice.why])),
                    _told("How", html.Ol([html.Li(one) for one in advice.how], className="steps")),
                    _told("What would break it", html.Ul([html.Li(one) for one in advice.breaks_if]))
                    if advice.breaks_if
                    else None,
                    _told("Taken for granted", html.Ul([html.Li(one) for one in advice.assumptions]))
                    if advice.assumptions
                    else None,
                ],
                className="advice-body",
            ),
        ],
        className="panel advice",
    )


def latency(found: tuple[LatencyWorth, ...]) -> Component:
    """What sooner answers are worth, by what was configured; no figure of ours."""
    if not found:
        words = (
            "Not configured. Nobody has published what the latency of a language model costs, so none is built in: say "
            "in cost.latency_value what depends on it, and how much of that 100 ms cost you."
        )
        return panel("What sooner answers are worth", html.P(words, className="note"))
    return panel(
        "What sooner answers are worth",
        html.Ul([_worth(one) for one in found], className="gaps"),
        note="by the elasticity that you gave",
    )


def _worth(one: LatencyWorth) -> Component:
    name = f"{INDICATORS_IN_FULL[one.indicator]} of {one.service}"
    told = f"100 ms sooner: {_range(*one.usd_per_month_of_100_ms)} a month."
    if one.change_usd_per_month is not None and one.median_ms is not None and one.median_before_ms is not None:
        low, high = (usd_change_text(usd) for usd in one.change_usd_per_month)
        worth = low if low == high else f"{low} to {high}"
        medians = [duration_text(ms) for ms in (one.median_before_ms, one.median_ms)]
        told += f" The median went from {medians[0]} to {medians[1]} in a week: {worth} a month."
    source = html.Span(f" Source: {one.source}", className="note")
    return html.Li([icon("gauge"), html.Div([html.Strong(name), html.P([told, source])])])


def gaps(found: tuple[AdviceGap, ...]) -> Component | None:
    """What could not be judged: which data is missing, and how to bring it; None when all could."""
    if not found:
        return None
    rows = [
        html.Li(
            [
                icon(KINDS[gap.kind][1]),
                html.Div(
                    [
                        html.Strong(f"{KINDS[gap.kind][0]}: {gap.about}"),
                        html.P([f"Missing: {gap.missing.rstrip('.')}. ", html.Span(gap.remedy, className="note")]),
                    ]
                ),
            ]
        )
        for gap in found
    ]
    return panel("Not judged", html.Ul(rows, className="gaps"), note="for want of data")


def _range(low: float, high: float) -> str:
    return usd_text(high) if usd_text(low) == usd_text(high) else f"{usd_text(low)} to {usd_text(high)}"


def _told(title: str, body: Children) -> Component:
    return html.Section([html.H3(title), *([body] if body is not None else [])])
