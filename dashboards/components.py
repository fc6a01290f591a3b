"""The pieces that pages are put together from: icons, sparks, charts, badges, empty states."""

from collections.abc import Sequence
from typing import Any, TypeAlias
from urllib.parse import quote

from dash import dcc, html
from dash.development.base_component import Component

from dashboards import text
from dashboards.freshness import Gap, as_known

Children: TypeAlias = str | Component | Sequence[str | Component | None] | None

_SPARK_HEIGHT = 30
_BLANK = {
    "data": [],
    "layout": {
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "xaxis": {"visible": False},
        "yaxis": {"visible": False},
    },
}


def icon(name: str, class_name: str = "") -> Component:
    """A Lucide icon of assets/icons.css, in the colour of the text around it; words beside it say what it means."""
    return html.Span(className=f"icon icon-{name} {class_name}".strip(), **{"aria-hidden": "true"})


def page_link(children: Children, href: str, class_name: str = "", **attributes: Any) -> Component:
    """A link to one of our pages, followed without a reload."""
    return html.A(children, href=href, className=class_name, **{"data-page": "yes"}, **attributes)


def badge(word: str, tone: str, icon_name: str | None = None) -> Component:
    """A status: a colour, a word and, where there is room, an icon."""
    return html.Span([icon(icon_name) if icon_name else None, word], className=f"badge tone-{tone}")


def state_badge(word: str, tone: str, icon_name: str | None, hidden: Gap | None) -> Component:
    """The badge of a state of now: where that is hidden, the state as it was known, and as of when.

    Args:
        word: the state.
        tone: its colour; `unknown` claims nothing that could be hidden.
        icon_name: left out where there is no room.
        hidden: the gap that hides it; None where it is seen.
    """
    if hidden is None or tone == "unknown":
        return badge(word, tone, icon_name)
    tone, known_icon = as_known(tone, icon_name or "", hidden)
    return html.Span(
        [icon(known_icon) if icon_name else None, state_words(word, hidden)],
        className=f"badge noted tone-{tone}",
        title=hidden.meaning,
    )


def state_words(word: str, hidden: Gap | None) -> Component:
    """The word of a state of now, and as of when, where it is hidden."""
    return html.Span(word if hidden is None else [word, " ", html.Span(hidden.as_of, className="as-of")])


def spark(
    values: Sequence[float | None], tone: str, *, low: float | None = None, high: float | None = None
) -> Component:
    """A small line of values; what is missing is a gap. An axis would say more than it tells: it has none."""
    known = [value for value in values if value is not None]
    if len(known) < 2:
        return html.Div(className="spark")
    bottom = min(known) if low is None else low
    top = max(known) if high is None else high
    line, area = _spark_paths(values, bottom, top)
    return html.Div(
        className=f"spark tone-{tone}",
        style={"--spark-line": _spark_image(line, filled=False), "--spark-area": _spark_image(area, filled=True)},
        **{"aria-hidden": "true"},
    )


def since_known(values: Sequence[float | None]) -> Sequence[float | None]:
    """A course without what is before it began: a spark of a week in a month would fill a quarter of its box."""
    return values[next((at for at, value in enumerate(values) if value is not None), len(values)) :]


def chart(name: str, height: int, *, selectable: bool = False) -> Component:
    """A place for a figure: callbacks fill its store, the browser paints it in the colours of the theme."""
    return html.Div(
        [
            html.Div(className="skeleton"),
            dcc.Store(id={"type": "figure", "name": name}),
            dcc.Graph(
                id={"type": "chart", "name": name},
                className="plot",
                figure=_BLANK,
                responsive=True,
                config={"displayModeBar": False, "doubleClick": False, "showTips": False, "scrollZoom": False},
            ),
        ],
        id={"type": "chart-frame", "name": name},
        className="chart chart-selectable" if selectable else "chart",
        style={"--chart-height": f"{height}px"},
        role="img",
        **{"aria-label": "Loading", "data-empty": ""},
    )


def figure_of(name: str) -> dict[str, str]:
    """The id of the store that a callback puts the chart's figure into."""
    return {"type": "figure", "name": name}


def panel(title: str | Component, body: Children, *, note: Children = None, aside: Children = None) -> Component:
    """A titled section."""
    return html.Section(
        [
            html.Header(
                [
                    html.H2(title),
                    html.Span(note, className="note") if note is not None else None,
                    html.Span(aside, className="aside") if aside is not None else None,
                ],
                className="panel-head",
            ),
            *([body] if isinstance(body, str | Component) or body is None else body),
        ],
        className="panel",
    )


def empty_state(icon_name: str, title: str, body: Children) -> Component:
    """What a page says when there is nothing to show: why, and what to do."""
    return html.Div([icon(icon_name, "big"), html.H2(title), html.Div(body, className="empty-body")], className="empty")


def fact(
    label: str,
    value: str,
    detail: Children = None,
    *,
    extra: Component | None = None,
    title: str = "",
    class_name: str = "",
) -> Component:
    """One big number with its label; `title` says what it rests on."""
    return html.Div(
        [
            html.Div(label, className="fact-label"),
            html.Div(
                [
                    html.Span(value, className="fact-value"),
                    html.Span(detail, className="fact-detail") if detail else None,
                ]
            ),
            extra,
        ],
        className=f"fact {class_name}".strip(),
        title=title,
    )


def cell_of(head: str, children: Children, *, is_wide: bool) -> Component:
    """A cell of a listing. On a phone its row is a card, where it says its head, or is as wide as the card."""
    name = "" if is_wide else head
    return html.Td(children, className="wide" if is_wide else "", **{"data-head": name})


def pair_of_bars(
    label: Children, ratio: float, other_ratio: float, *, name: str, meaning: str, standing_out: bool
) -> Component:
    """One line of a comparison: two shares of the same thing (0-1) as bars above each other, the first in figures.

    Args:
        label: what is compared.
        ratio: its share that matters.
        other_ratio: the share to hold it against.
        name: the label in words, told in full where it is too long to show.
        meaning: both shares in words.
        standing_out: is the first so much larger that it deserves attention.
    """
    return html.Div(
        [
            html.Dt(label, className="clip", title=name),
            html.Dd(
                [
                    html.Span(className="bar-slow", style={"width": f"{min(max(ratio, 0), 1):.1%}"}),
                    html.Span(className="bar-rest", style={"width": f"{min(max(other_ratio, 0), 1):.1%}"}),
                ],
                className="bars",
            ),
            html.Dd(text.percent_whole(ratio), className="share", title=meaning),
        ],
        className="pair standing-out" if standing_out else "pair",
    )


def _spark_paths(values: Sequence[float | None], bottom: float, top: float) -> tuple[str, str]:
    reach = (top - bottom) or 1.0
    lines: list[str] = []
    areas: list[str] = []
    run: list[tuple[float, float]] = []
    for index, value in enumerate([*values, None]):
        if value is not None:
            share = 0.5 if top == bottom else (min(max(value, bottom), top) - bottom) / reach
            run.append(
                (round(index * 100 / max(1, len(values) - 1), 2), round(1 + (_SPARK_HEIGHT - 2) * (1 - share), 2))
            )
        elif run:
            points = " ".join(f"{x} {y}" for x, y in run)
            lines.append(f"M{points}")
            areas.append(f"M{run[0][0]} {_SPARK_HEIGHT} L{points} L{run[-1][0]} {_SPARK_HEIGHT}Z")
            run = []
    return "".join(lines), "".join(areas)


def _spark_image(path: str, *, filled: bool) -> str:
    paint = (
        "fill='black'"
        if filled
        else "fill='none' stroke='black' stroke-width='1.5' stroke-linejoin='round' vector-effect='non-scaling-stroke'"
    )
    svg = (
        f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 100 {_SPARK_HEIGHT}' preserveAspectRatio='none'>"
        f"<path d='{path}' {paint}/></svg>"
    )
    encoded = quote(svg, safe=" =:/',.-")
    return f'url("data:image/svg+xml,{encoded}")'
