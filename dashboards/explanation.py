"""An explanation as people read it: causes with their evidence, how it spread, what was ruled out, what to do."""

from collections.abc import Mapping, Sequence

from dash import html
from dash.development.base_component import Component

from analytics.knowledge import Knowledge
from dashboards import text
from dashboards.components import icon, page_link
from dashboards.icons import CAUSE_ICONS, ENTITY_ICONS
from dashboards.state import PageState, hardware_address, link
from domain.cause import NOT_LOOKED_AT, Cause, CauseKind, Evidence, Explanation, Step
from domain.incident import Indicator
from domain.window import Window

_UNFOLDED_MAX = 4


def why(
    explanation: Explanation,
    indicator: Indicator,
    knowledge: Knowledge,
    names: Mapping[str, str] = text.NO_NAMES,
) -> list[Component]:
    """The likeliest cause, how it spread and what to do; then the other causes, and what was set aside.

    Args:
        explanation: of the incident.
        indicator: what spiked.
        knowledge: how signals and kinds of cause are called.
        names: what people call a GPU, by its UUID.
    """
    first, *others = explanation.causes
    return [
        html.Ol(_cause(first, indicator, knowledge, names)),
        *(_chain(first.chain, names) if first.chain else _spread(explanation, knowledge)),
        *_next_steps(first),
        *([_subhead("Less likely", None), _causes(others, indicator, knowledge, names)] if others else []),
        *_set_aside(explanation, knowledge),
    ]


def explained_window(
    window: Window,
    explanation: Explanation,
    indicator: Indicator,
    knowledge: Knowledge,
    path: str,
    state: PageState,
    service: str,
    names: Mapping[str, str] = text.NO_NAMES,
) -> Component:
    """The answer to a drag across a chart; the link at its head takes it away again."""
    what = f"{service}, {text.INDICATORS[indicator]}"
    first = explanation.causes[0]
    unknown = first.kind is CauseKind.UNKNOWN
    head = html.Header(
        [
            html.H2([icon("crosshair"), text.window_words(window)]),
            html.Span(what, className="note"),
            page_link(
                [icon("x"), "Close"], link(path, PageState(state.range_name, state.service)), "button small aside"
            ),
        ],
        className="panel-head",
    )
    causes = _causes(explanation.causes, indicator, knowledge, names)
    body = html.P(first.summary, className="calm") if unknown else causes
    return html.Section([head, body, *_set_aside(explanation, knowledge)], className="panel explained")


def uncharted(
    evidence: Sequence[Evidence], knowledge: Knowledge, names: Mapping[str, str] = text.NO_NAMES
) -> Component | None:
    """What moved and has no course in time to draw: compared once, before with during."""
    if not evidence:
        return None
    return html.Div(
        [
            _subhead("Compared once", "before with during; there is no course to draw"),
            html.Ul(
                [_evidence_line(one, knowledge, text.called(one, names)) for one in evidence],
                className="evidence",
            ),
        ]
    )


def _causes(causes: Sequence[Cause], indicator: Indicator, knowledge: Knowledge, names: Mapping[str, str]) -> Component:
    return html.Ol([_cause(cause, indicator, knowledge, names) for cause in causes], start=str(causes[0].rank))


def _cause(cause: Cause, indicator: Indicator, knowledge: Knowledge, names: Mapping[str, str]) -> Component:
    known, name = cause.kind is not CauseKind.UNKNOWN, text.called(cause, names)
    entity = html.Code(cause.entity.name, title=text.entity_title(cause.entity.kind))
    address = hardware_address(cause.entity, cause.gpu)
    return html.Li(
        [
            html.Div(
                [
                    html.Span(str(cause.rank), className="rank"),
                    html.H3([icon(CAUSE_ICONS[cause.kind]), knowledge.cause_title(cause.kind)]),
                    _confidence(cause.confidence) if known and cause.rank == 1 else None,  # others have no scale
                ],
                className="cause-head",
            ),
            html.Div(
                [
                    html.Strong(name) if name != cause.entity.name else None,
                    entity if address is None else page_link(entity, address, "device-link"),
                    _explained(cause.explained_ratio, indicator) if known else None,
                    html.P(cause.summary),
                    html.Ul([_evidence_line(evidence, knowledge) for evidence in cause.evidence], className="evidence")
                    if cause.evidence
                    else None,
                ],
                className="cause-body",
            ),
        ],
        className="cause cause-first" if cause.rank == 1 and known else "cause",
    )


def _confidence(confidence: float) -> Component:
    words = text.percent_floor(confidence)
    return html.Div(
        [html.Span(html.Span(style={"width": f"{confidence:.0%}"}), className="bar"), html.Span(words)],
        className="confidence",
        title=f"Confidence {words}: {text.CONFIDENCE_MEANING}",
    )


def _explained(ratio: float | None, indicator: Indicator) -> Component | None:
    """How much of the trouble lies where the cause reaches."""
    if ratio is None:
        return None
    return html.Div(
        ["explains ", html.Strong(text.percent_whole(min(ratio, 1.0))), f" {text.of_the_added(indicator)}"],
        className="explains",
    )


def _evidence_line(evidence: Evidence, knowledge: Knowledge, of: str = "") -> Component:
    return html.Li(
        [
            icon(ENTITY_ICONS[evidence.entity.kind]),
            html.Span(
                [
                    knowledge.signal_title(evidence.signal),
                    " ",
                    *([html.Code(of), " "] if of else []),
                    html.Strong(evidence.move),
                    html.Span(
                        f", {text.lead(evidence.lead_s)}" if evidence.lead_s is not None else "", className="lead"
                    ),
                ]
            ),
        ]
    )


def _chain(chain: Sequence[Step], names: Mapping[str, str]) -> list[Component]:
    """The way from the cause to the users, a station for each step."""
    last = len(chain) - 1
    return [
        _subhead("How it spread", "times against the onset"),
        html.Ol(
            [
                _station(step, names, "is-cause" if number == 0 < last else "is-felt" if number == last else "")
                for number, step in enumerate(chain)
            ],
            className="chain",
        ),
    ]


def _station(step: Step, names: Mapping[str, str], class_name: str) -> Component:
    felt = class_name == "is-felt"
    kind = text.entity_title(step.entity.kind)
    return html.Li(
        [
            html.Span(icon("users" if felt else ENTITY_ICONS[step.entity.kind]), className="station", title=kind),
            html.Div(
                [
                    html.Div(
                        [
                            html.Span(
                                [
                                    "Users of " if felt else html.Span(f"{kind} ", className="unseen"),
                                    html.Code(text.called(step, names)),
                                ],
                                className="clip",
                                title=f"{kind} {step.entity.name}",
                            ),
                            html.Span(text.against_onset(step.lead_s), className="when"),
                        ],
                        className="station-head",
                    ),
                    html.P(step.text),
                ]
            ),
        ],
        className=class_name,
    )


def _spread(explanation: Explanation, knowledge: Knowledge) -> list[Component]:
    """For incidents that were stored before causes had chains: their evidence, in order."""
    moved = [evidence for cause in explanation.causes for evidence in cause.evidence if evidence.lead_s is not None]
    if len(moved) < 2:
        return []
    ordered = _once(sorted(moved, key=lambda evidence: -(evidence.lead_s or 0)))
    before = [evidence for evidence in ordered if (evidence.lead_s or 0) > 0]
    after = [evidence for evidence in ordered if (evidence.lead_s or 0) <= 0]
    return [
        _subhead("How it spread", "in the order in which things moved"),
        html.Ol(
            [
                *(_spread_line(evidence, knowledge) for evidence in before),
                html.Li([html.Span(text.against_onset(0.0), className="when"), "the spike begins"], className="spike"),
                *(_spread_line(evidence, knowledge) for evidence in after),
            ],
            className="spread",
        ),
    ]


def _spread_line(evidence: Evidence, knowledge: Knowledge) -> Component:
    return html.Li(
        [
            html.Span(text.against_onset(evidence.lead_s), className="when"),
            html.Span([knowledge.signal_title(evidence.signal), " ", html.Code(evidence.whose)]),
        ]
    )


def _once(evidence: Sequence[Evidence]) -> list[Evidence]:
    """Causes share evidence; each signal of an entity is told once."""
    return list({(one.signal, one.entity): one for one in reversed(evidence)}.values())[::-1]


def _set_aside(explanation: Explanation, knowledge: Knowledge) -> list[Component]:
    """What was ruled out, and what nobody could look at: that is no finding. Long lists are folded."""
    unseen = [one for one in explanation.ruled_out if one.why.startswith(NOT_LOOKED_AT)]
    ruled_out = [one for one in explanation.ruled_out if one not in unseen]
    return [
        html.Details(
            [
                html.Summary([_subhead(title, f"{len(kinds)}, {note}"), icon("chevrons-up-down")]),
                html.Ul(
                    [
                        html.Li(
                            [
                                html.Strong(knowledge.cause_title(one.kind)),
                                f": {one.why.removeprefix(NOT_LOOKED_AT)}",
                            ]
                        )
                        for one in kinds
                    ],
                    className="ruled-out",
                ),
            ],
            open=len(explanation.ruled_out) <= _UNFOLDED_MAX,
            className="set-aside",
        )
        for title, note, kinds in (
            ("Ruled out", "each with its reason", ruled_out),
            ("Not looked at", "for want of data", unseen),
        )
        if kinds
    ]


def _next_steps(cause: Cause) -> list[Component]:
    if not cause.next_steps:
        return []
    return [_subhead("Next steps", None), html.Ol([html.Li(step) for step in cause.next_steps], className="steps")]


def _subhead(title: str, note: str | None) -> Component:
    return html.H3([title, html.Span(note, className="note") if note else None], className="subhead")
