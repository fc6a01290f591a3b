"""Where the added time of an incident lies: in which stage of a request, and on whom."""

from dash import html
from dash.development.base_component import Component

from analytics.scope import STAGES
from dashboards import text
from dashboards.components import icon, pair_of_bars, panel
from dashboards.icons import ENTITY_ICONS
from domain.cause import EntityShare, Whereabouts
from domain.incident import Indicator
from domain.wording import sentence


def show_whereabouts(where: Whereabouts | None, indicator: Indicator) -> Component | None:
    """The panel; None when there is nothing to show in it.

    Args:
        where: of the explanation.
        indicator: what spiked: of failures there is no added time, only who has them.
    """
    if where is None:
        return None
    timed = indicator is not Indicator.ERRORS and where.excess_ms > 0
    if not timed and not where.shares:
        return None
    return panel(
        "Where the time went" if timed else "Who has it",
        html.Div(
            [_stages(where) if timed else None, _who(where.shares, indicator, titled=timed)],
            className="whereabouts" if timed else "whereabouts-single",
        ),
        note=_note(where, indicator) if timed else None,
        aside=None if timed else _legend(indicator),
    )


def _note(where: Whereabouts, indicator: Indicator) -> str:
    if indicator is Indicator.TPOT:
        return f"a mean token took {text.duration_ms(where.excess_ms)} longer"
    less = f", with {text.milliseconds(where.saved_ms)} less in other stages" if where.saved_ms else ""
    return f"a mean request took {text.milliseconds(where.excess_ms)} longer{less}"


def _stages(where: Whereabouts) -> Component:
    added = [(stage.removesuffix("_ms"), STAGES.get(stage, stage), ms) for stage, ms in where.added_ms.items()]
    if where.untold_ms:
        added.append(("untold", "in no known stage", where.untold_ms))
    told = ", ".join(f"{text.milliseconds(added_ms)} {words}" for _, words, added_ms in added)
    largest_ms = max((added_ms for _, _, added_ms in added), default=0.0)
    return html.Div(
        [
            html.H3("By stage of the request"),
            html.Div(
                [
                    html.Span(
                        className=f"stage-{stage}",
                        style={"flexGrow": f"{added_ms:.3f}"},
                        title=f"{text.milliseconds(added_ms)} {words}",
                    )
                    for stage, words, added_ms in added
                ],
                className="stages",
                role="img",
                **{"aria-label": f"Added to a mean request: {told}"},
            ),
            html.Dl(
                [
                    html.Div(
                        [
                            html.Dt([html.Span(className=f"swatch stage-{stage}"), html.Span(sentence(words))]),
                            html.Dd(text.milliseconds(added_ms), className="number"),
                        ],
                        className="stage standing-out" if added_ms == largest_ms else "stage",
                    )
                    for stage, words, added_ms in added
                ]
            ),
        ],
        className="contrast",
    )


def _who(shares: tuple[EntityShare, ...], indicator: Indicator, *, titled: bool) -> Component:
    title = html.H3(["Who has it", html.Span(_legend(indicator), className="legend") if shares else None])
    alike = html.P("Nobody stands out: it lies on replicas, nodes and tenants as the traffic does.")
    return html.Div(
        [title if titled else None, html.Dl([_share(share, indicator) for share in shares]) if shares else alike],
        className="contrast",
    )


def _legend(indicator: Indicator) -> list[str | Component]:
    return [
        html.Span(className="swatch swatch-accent"),
        text.of_the_added(indicator),
        html.Span(className="swatch swatch-rest"),
        "of the traffic",
    ]


def _share(share: EntityShare, indicator: Indicator) -> Component:
    kind, entity = text.entity_title(share.entity.kind), share.entity
    of_it, of_traffic = text.percent_whole(share.excess_ratio), text.percent_whole(share.traffic_ratio)
    return pair_of_bars(
        [icon(ENTITY_ICONS[entity.kind]), html.Span(f"{kind} ", className="note"), html.Code(entity.name)],
        share.excess_ratio,
        share.traffic_ratio,
        name=f"{kind} {entity.name}",
        meaning=f"{of_it} {text.of_the_added(indicator)}, {of_traffic} of the traffic",
        standing_out=True,
    )
