"""Incidents: what each spent of a budget and cost, and the cause that was found."""

from collections.abc import Sequence
from urllib.parse import quote
from zoneinfo import ZoneInfo

from domain.window import duration_text, from_rfc3339
from domain.wording import sentence
from reports import charts, words
from reports.sections.blocks import (
    ROWS_MAX,
    Block,
    Cell,
    Column,
    Document,
    Paragraph,
    Section,
    pictures_of,
    table_of,
    unknown_tone,
)


def incidents_section(document: Document, zone: ZoneInfo) -> Section:
    """What began this week, first what spent most of a budget."""
    incidents = document["incidents"]
    rows = incidents["all"]
    timeline = charts.week_timeline(document, document["latency"], rows)
    if not rows:
        return Section("incidents", "Incidents", (Paragraph("No incidents began this week."), *pictures_of(timeline)))
    by_id = {row["id"]: row for row in rows}
    web_url = web_address(document)
    said = [
        f"{sentence(words.number(len(rows), 'incident'))}, {incidents['page_count']} of which paged",
        f"the cause of {incidents['explained_count']} was found",
        *([f"{incidents['open_count']} still open"] if incidents["open_count"] else []),
    ]
    cost = incidents["cost_usd"]
    money = f"GPU time of slow and failed requests cost {words.money(cost)}"
    if cost is None:
        money = "What they cost is not known"
    elif incidents["cost_unknown_count"]:
        money += f", not counting {words.number(incidents['cost_unknown_count'], 'incident')} of unknown cost"
    columns = (
        Column("Incident", 25),
        Column("Began", 15),
        Column("Lasted", 11, is_number=True),
        Column("Budget spent", 10, is_number=True),
        Column("GPU cost", 10, is_number=True),
        Column("Cause found", 46),
    )
    told = [_incident_row(by_id[name], zone, web_url) for name in incidents["by_budget"]]
    blocks: list[Block] = [Paragraph(f"{', '.join(said)}. {money}."), *pictures_of(timeline)]
    if told:
        blocks.append(table_of("By error budget spent", columns, told, 6, "incidents"))
    else:
        every = [_incident_row(row, zone, web_url) for row in rows]
        blocks.append(table_of("In their order; what budget they spent is not known", columns, every, 6, "incidents"))
    first = incidents["by_cost"][:3]
    if first and first != incidents["by_budget"][:3]:
        dear = [_incident_row(by_id[name], zone, web_url) for name in incidents["by_cost"]]
        blocks.append(table_of("By dollars", columns, dear, 3, "incidents"))
    blocks += _handling(rows, zone, web_url)
    return Section("incidents", "Incidents", tuple(blocks))


def _handling(rows: Sequence[Document], zone: ZoneInfo, web_url: str) -> list[Block]:
    """Who took what in hand, and what they noted; nothing where nobody did."""
    # A report that was kept before notes were part of it stays as it was.
    handled = [row for row in rows if "notes" in row and (row["notes"] or row["acknowledged_at"])]
    if not handled:
        return []
    columns = (
        Column("Incident", 24),
        Column("Acknowledged", 19),
        Column("To acknowledge", 18, is_number=True),
        Column("To mitigate", 11, is_number=True),
        Column("Notes", 45),
    )
    told = [_handling_row(row, zone, web_url) for row in handled]
    return [table_of("Who had them in hand", columns, told, ROWS_MAX, "incidents")]


def _handling_row(row: Document, zone: ZoneInfo, web_url: str) -> tuple[Cell, ...]:
    def clock(at: str) -> str:
        return words.day_and_clock(from_rfc3339(at).astimezone(zone))

    notes = row["notes"]
    at, by = row["acknowledged_at"], row["acknowledged_by"]
    more = "" if len(notes) < 2 else f"{len(notes)} notes, whole in the tables and the JSON document"
    return (
        Cell(row["service"], is_strong=True, below=row["id"], link=_link(row, web_url)),
        Cell("nobody", "muted") if at is None else Cell(by or "somebody", below=clock(at)),
        Cell(words.lasting(row["to_acknowledge_s"]), unknown_tone(row["to_acknowledge_s"])),
        Cell(words.lasting(row["lasted_s"]) if row["ended_at"] else "open", "" if row["ended_at"] else "critical"),
        Cell("; ".join(f"{clock(one['at'])} {one['by']}: {one['text']}" for one in notes), below=more),
    )


def _incident_row(row: Document, zone: ZoneInfo, web_url: str) -> tuple[Cell, ...]:
    measured = words.percent(row["slow_requests_ratio"])
    hurt = f"{words.count(row['slow_requests_count'])} requests hurt"
    if row["indicator"] == "errors":
        peak = f"{measured} of requests failed"
    elif row["peak_ms_p99"] is None or row["baseline_ms_p99"] is None:
        peak = "p99 not known"
    else:
        peak = f"p99 {duration_text(row['baseline_ms_p99'])} to {duration_text(row['peak_ms_p99'])}"
    sure = row["confidence_ratio"]
    began = from_rfc3339(row["started_at"]).astimezone(zone)
    return (
        Cell(
            row["service"],
            is_strong=True,
            below=f"{row['id']} · {row['indicator_title']}",
            link=_link(row, web_url),
        ),
        Cell(f"{words.weekday(began)} {words.day(began)}", below=f"{began:%H:%M}"),
        Cell(words.lasting(row["lasted_s"]) if row["ended_at"] else "open", "" if row["ended_at"] else "critical"),
        Cell(words.percent(row["budget_spent_ratio"], 1), unknown_tone(row["budget_spent_ratio"]), is_strong=True),
        Cell(words.money(row["cost_usd"]), unknown_tone(row["cost_usd"])),
        Cell(
            row["cause"] if sure is None else f"{row['cause']} ({words.percent(sure)}\N{NO-BREAK SPACE}sure)",
            unknown_tone(sure),
            below=f"{peak}; {hurt}",
        ),
    )


def _link(row: Document, web_url: str) -> str:
    return f"{web_url}/incidents/{quote(row['id'], safe='')}" if web_url else ""


def web_address(document: Document) -> str:
    """Where the pages are reached; empty where that is not known, or no address of the web."""
    web_url = document["web_url"] or ""
    return web_url if web_url.startswith(("http://", "https://")) else ""
