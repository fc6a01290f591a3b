"""What an objective is not judged by: the stretches, a form for one more, and a button that ends one."""

import asyncio
import uuid
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from dash import ALL, Dash, Input, Output, State, ctx, dcc, html, no_update
from dash.development.base_component import Component

from analytics.jobs.objectives import kept_exclusions
from analytics.slo_exclusions import exclusion_document, taken_back
from dashboards import text
from dashboards.callbacks import callback
from dashboards.components import badge, cell_of, icon
from dashboards.context import PageContext
from dashboards.state import slo_name_of
from domain.slo import Exclusion
from storage.documents import SLO_EXCLUSIONS, change_document

_BY = "the page"  # where nobody gave a name
_WORDS_MAX, _NAME_MAX = 400, 100
_ALL, _PAGES = "all", "pages"
_HEADS = ("State", "From (UTC)", "To (UTC)", "Reason", "By", "Concerns", "")
_WIDE = ("State", "Reason")


def layout() -> Component:
    """The table and the form; the form stays while the rest is drawn anew."""
    fields = [
        html.Label(
            ["From (UTC)", dcc.Input(id="exclusion-from", placeholder="2026-11-23 02:00")], className="moment-field"
        ),
        html.Label(
            ["To (UTC)", dcc.Input(id="exclusion-to", placeholder="2026-11-23 03:00")], className="moment-field"
        ),
        html.Label(["Reason", dcc.Input(id="exclusion-reason", maxLength=_WORDS_MAX)], className="silence-words"),
        html.Label(
            ["Your name", dcc.Input(id="note-by", persistence=True, maxLength=_NAME_MAX)], className="name-field"
        ),
        dcc.Checklist(
            id="exclusion-options",
            options=[
                {"label": "Of all objectives", "value": _ALL},
                {"label": "Page all the same", "value": _PAGES},
            ],
            value=[],
            className="checks",
        ),
        html.Button("Exclude", id="exclusion-save", className="button"),
    ]
    summary = html.Summary([icon("circle-pause"), "Leave a stretch out"])
    form = [html.Div(fields, className="silence-form")]
    return html.Div(
        [
            html.Div(id="slo-exclusions"),
            html.Details([summary, *form], className="add-note add-exclusion"),
            html.Div(id="exclusion-told", role="status", className="note told"),
        ]
    )


def register(app: Dash, context: PageContext) -> None:
    """The callback of this part: it does what a button asks; whoever shows the objective hears of it and shows."""

    @callback(
        app,
        Output("exclusion-told", "children"),
        Output("slo-changed", "data"),
        Output("exclusion-reason", "value"),
        Input("exclusion-save", "n_clicks"),
        Input({"type": "end-exclusion", "of": ALL}, "n_clicks"),
        State("url", "pathname"),
        State("exclusion-from", "value"),
        State("exclusion-to", "value"),
        State("exclusion-reason", "value"),
        State("note-by", "value"),
        State("exclusion-options", "value"),
    )
    async def change_exclusions(_saves: int | None, _ends: Any, path: str | None, *given: Any) -> tuple[Any, ...]:
        asked = ctx.triggered_id if any(one["value"] for one in ctx.triggered) else None
        name, now = slo_name_of(path), context.now()
        start, end, reason, by, options = given
        who = (by or "").strip() or _BY
        if isinstance(asked, dict):
            told = await asyncio.to_thread(end_exclusion, context, str(asked["of"]), who, now)
            return told, now.isoformat(), no_update
        if asked != "exclusion-save" or name is None:
            return no_update, no_update, no_update
        try:
            exclusion = exclusion_from(start, end, reason, who, () if _ALL in (options or ()) else (name,))
        except ValueError as error:
            return f"Not excluded: {error}", no_update, no_update
        exclusion = replace(exclusion, pages=_PAGES in (options or ()))
        await asyncio.to_thread(_keep, context, exclusion, now)
        return f"Excluded {span_words(exclusion, now)}.", f"{now.isoformat()} {exclusion.id}", ""


def exclusion_from(start: str | None, end: str | None, reason: str | None, by: str, slos: tuple[str, ...]) -> Exclusion:
    """What the form says.

    Raises:
        ValueError: saying which field, what was found and what is valid.
    """
    starts_at, ends_at = _moment("From", start), _moment("To", end)
    if ends_at <= starts_at:
        raise ValueError(f"To, {text.day_and_clock(ends_at)}, is not after From, {text.day_and_clock(starts_at)}")
    words = (reason or "").strip()
    if not words:
        raise ValueError("Reason is missing: whoever reads the figures wants to know")
    return Exclusion(f"page-{uuid.uuid4().hex[:12]}", starts_at, ends_at, words, by, slos)


def _moment(field: str, written: str | None) -> datetime:
    """`2026-11-23 02:00`, with or without seconds and zone; UTC without one."""
    found = (written or "").strip()
    try:
        moment = datetime.fromisoformat(found)
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError):
        raise ValueError(f"{field} is {found!r}; write a time in UTC such as 2026-11-23 02:00") from None


def end_exclusion(context: PageContext, exclusion_id: str, by: str, now: datetime) -> str:
    """End one that is in force; take one back that is over or to come. What was done, in words."""
    known = next((one for one in kept_exclusions(context.store) if one.id == exclusion_id), None)
    if known is None:
        return "It was taken back already."
    if known.starts_at < now < known.ends_at:
        _keep(context, replace(known, ends_at=now, created_by=by), now)
        return f"Ended at {text.clock(now)} UTC; what came before stays excluded."
    change_document(context.store, SLO_EXCLUSIONS, exclusion_id, lambda before: taken_back(before, by, now), now)
    return "Taken back: this time is judged as any other."


def _keep(context: PageContext, exclusion: Exclusion, now: datetime) -> None:
    change_document(
        context.store, SLO_EXCLUSIONS, exclusion.id, lambda before: exclusion_document(exclusion, before, now), now
    )


def span_words(exclusion: Exclusion, now: datetime) -> str:
    """`02:00 to 03:00 UTC`."""
    return f"{text.since(exclusion.starts_at, now)} to {text.since(exclusion.ends_at, now)} UTC"


def table(exclusions: Sequence[Exclusion], now: datetime) -> Component:
    """Those of one objective, the newest first."""
    if not exclusions:
        return html.P("Nothing is left out of this objective's window.", className="calm")
    head = html.Tr([html.Th(name, scope="col") for name in _HEADS])
    ordered = sorted(exclusions, key=lambda one: (one.starts_at, one.id), reverse=True)
    return html.Div(
        html.Table([html.Thead(head), html.Tbody([_row(one, now) for one in ordered])]), className="table listing"
    )


def _row(exclusion: Exclusion, now: datetime) -> Component:
    is_on = exclusion.starts_at <= now < exclusion.ends_at
    word, tone = (
        ("In force", "warning") if is_on else ("Over", "calm") if exclusion.ends_at <= now else ("To come", "calm")
    )
    concerns = ", ".join(exclusion.slos) or "all objectives"
    action = "End now" if is_on else "Take back"
    cells = (
        badge(word, tone),
        text.since(exclusion.starts_at, now),
        text.since(exclusion.ends_at, now),
        exclusion.reason,
        exclusion.created_by,
        concerns + ("; pages all the same" if exclusion.pages else ""),
        html.Button(
            action,
            id={"type": "end-exclusion", "of": exclusion.id},
            className="button small",
            title="Judge from now on again" if is_on else "Judge this time as any other",
        ),
    )
    return html.Tr([cell_of(head, cell, is_wide=head in _WIDE) for head, cell in zip(_HEADS, cells, strict=True)])
