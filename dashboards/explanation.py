"""An explanation as people read it: causes with their evidence, how it spread, what was ruled out, what to do."""

from collections.abc import Sequence

from dash import html
from dash.development.base_component import Component

from dashboards import text
from dashboards.components import icon, page_link
from dashboards.state import PageState, link
from domain.cause import Cause, CauseKind, Evidence, Explanation
from domain.entity import EntityKind
from domain.window import Window

_ENTITY_ICONS = {
    EntityKind.SERVICE: "activity",
    EntityKind.TENANT: "users",
    EntityKind.VERSION: "file-text",
    EntityKind.REPLICA: "server",
    EntityKind.GPU: "gpu",
    EntityKind.NODE: "server",
    EntityKind.PORT: "network",
    EntityKind.LINK: "network",
    EntityKind.SWITCH: "network",
}


def why(explanation: Explanation) -> list[Component]:
    """Causes by rank, how the trouble spread, what was ruled out and the next steps."""
    first = explanation.causes[0]
    return [
        html.Ol([_cause(cause) for cause in explanation.causes], className="causes"),
        *_spread(explanation),
        *_ruled_out(explanation),
        *_next_steps(first),
    ]


def explained_window(window: Window, explanation: Explanation, path: str, state: PageState, what: str) -> Component:
    """The answer to a drag across a chart; the link at its head takes it away again."""
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
    body = (
        [
            html.P("Nothing unusual in this window explains a slow-down.", className="calm"),
            html.P(first.summary, className="calm"),
        ]
        if unknown
        else [html.Ol([_cause(cause) for cause in explanation.causes], className="causes")]
    )
    return html.Section([head, *body, *_ruled_out(explanation)], className="panel explained")


def _cause(cause: Cause) -> Component:
    known = cause.kind is not CauseKind.UNKNOWN
    return html.Li(
        [
            html.Div(
                [
                    html.Span(str(cause.rank), className="rank"),
                    html.Div(
                        [
                            html.H3(text.cause_title(cause.kind)),
                            html.Code(cause.entity.name, title=str(cause.entity.kind)),
                        ],
                        className="cause-name",
                    ),
                    _confidence(cause.confidence) if known else None,
                ],
                className="cause-head",
            ),
            html.P(cause.summary, className="cause-summary"),
            html.Ul([_evidence_line(evidence) for evidence in cause.evidence], className="evidence")
            if cause.evidence
            else None,
        ],
        className="cause cause-first" if cause.rank == 1 and known else "cause",
    )


def _confidence(confidence: float) -> Component:
    words = text.percent_floor(confidence)
    return html.Div(
        [html.Span(html.Span(style={"width": f"{confidence:.0%}"}), className="bar"), html.Span(words)],
        className="confidence",
        title=f"Confidence {words}: how well the evidence fits; it ranks, and is not calibrated yet",
    )


def _evidence_line(evidence: Evidence) -> Component:
    return html.Li(
        [
            icon(_ENTITY_ICONS[evidence.entity.kind]),
            html.Span(
                [
                    text.signal_title(evidence.signal),
                    " ",
                    html.Strong(text.change(evidence)),
                    html.Span(
                        f", {text.lead(evidence.lead_s)}" if evidence.lead_s is not None else "", className="lead"
                    ),
                ]
            ),
        ]
    )


def _spread(explanation: Explanation) -> list[Component]:
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
                *(_spread_line(evidence) for evidence in before),
                html.Li([html.Span("0 s", className="when"), html.Span("the spike begins")], className="spike"),
                *(_spread_line(evidence) for evidence in after),
            ],
            className="spread",
        ),
    ]


def _spread_line(evidence: Evidence) -> Component:
    lead_s = evidence.lead_s or 0.0
    sign = "" if abs(lead_s) < 1 else "−" if lead_s > 0 else "+"
    return html.Li(
        [
            html.Span(f"{sign}{text.lasting(abs(lead_s))}", className="when"),
            html.Span([text.signal_title(evidence.signal), " ", html.Code(evidence.entity.name)]),
        ]
    )


def _once(evidence: Sequence[Evidence]) -> list[Evidence]:
    """Causes share evidence; each signal of an entity is told once."""
    return list({(one.signal, one.entity): one for one in reversed(evidence)}.values())[::-1]


def _ruled_out(explanation: Explanation) -> list[Component]:
    if not explanation.ruled_out:
        return []
    return [
        _subhead("Ruled out", "looked at and set aside"),
        html.Ul(
            [
                html.Li([html.Strong(text.cause_title(ruled_out.kind)), f": {ruled_out.why}"])
                for ruled_out in explanation.ruled_out
            ],
            className="ruled-out",
        ),
    ]


def _next_steps(cause: Cause) -> list[Component]:
    if not cause.next_steps:
        return []
    return [_subhead("Next steps", None), html.Ol([html.Li(step) for step in cause.next_steps], className="steps")]


def _subhead(title: str, note: str | None) -> Component:
    return html.H3([title, html.Span(note, className="note") if note else None], className="subhead")
