"""Alerts and response: what fired, how fast we were, and what customers may claim."""

from collections.abc import Sequence

from domain.wording import sentence
from reports import words
from reports.sections.blocks import (
    ROWS_MAX,
    Block,
    Cell,
    Column,
    Document,
    Paragraph,
    Section,
    Table,
    table_of,
    unknown_tone,
)

_TIME_WORDS = {
    "to_detect": "To detect (from impact)",
    "to_notify": "To notify (from detection)",
    "to_acknowledge": "To acknowledge (from notification)",
    "to_resolve": "To mitigate (from impact)",
}


def response_section(document: Document) -> Section:
    """Alerts, how fast we were, and credits that may be due."""
    columns = (
        Column("Time", 36),
        Column("Median", 14, is_number=True),
        Column("95 % interval", 24, is_number=True),
        Column("9 of 10 within", 18, is_number=True),
        Column("Incidents", 14, is_number=True),
        Column("Median before", 16, is_number=True),
    )
    rows = tuple(_time_row(name, times) for name, times in document["times"].items())
    speed: Block = (
        Table("How fast we were", columns, rows)
        if document["incidents"]["count"]
        else Paragraph("No incidents, so there is no time to detect or to mitigate one.")
    )
    return Section(
        "response", "Alerts and response", (*_alert_blocks(document["alerts"]), speed, *_sla(document["sla"]))
    )


def _time_row(name: str, times: Document) -> tuple[Cell, ...]:
    low, high = times["low_s"], times["high_s"]
    unknown = f"{times['unknown_count']} not known" if times["unknown_count"] else ""
    between = words.NOT_KNOWN if low is None else f"{words.lasting(low)} to {words.lasting(high)}"
    return (
        Cell(_TIME_WORDS[name]),
        Cell(words.lasting(times["median_s"]), unknown_tone(times["median_s"]), is_strong=True),
        Cell(between, unknown_tone(low)),
        Cell(words.lasting(times["p90_s"]), unknown_tone(times["p90_s"])),
        Cell(f"{times['count']}", below=unknown),
        Cell(words.lasting(times["median_before_s"]), unknown_tone(times["median_before_s"])),
    )


def _alert_blocks(alerts: Document | None) -> list[Block]:
    if alerts is None:
        return [Paragraph("What alerts fired is not known.", "muted")]
    precision = alerts["precision_ratio"]
    judged = (
        "Nobody judged any of them, so their precision is not known."
        if precision is None
        else f"Of {alerts['judged_count']} that somebody judged, {alerts['useful_count']} were useful "
        f"({words.percent(precision)})."
    )
    before = alerts["pages_before_count"]
    since = "" if before is None else f" ({before} the week before)"
    told = (
        f"{sentence(words.number(alerts['pages_count'], 'page'))}{since} and "
        f"{words.number(alerts['tickets_count'], 'ticket')}. {judged} "
        f"The busiest 12-hour shift had {words.number(alerts['pages_in_busiest_shift_count'], 'page')}; the goal is "
        "at most 2."
    )
    columns = (
        Column("Rule", 46),
        Column("Kind", 12),
        Column("Fired", 10, is_number=True),
        Column("Lasted, median", 16, is_number=True),
        Column("Judged useful", 18, is_number=True),
        Column("", 12),
    )
    rows = [
        (
            Cell(rule["name"], is_strong=True, below=rule["service"]),
            Cell(sentence(rule["severity"])),
            Cell(f"{rule['count']}"),
            Cell(words.lasting(rule["median_lasted_s"])),
            Cell(
                f"{rule['useful_count']} of {rule['judged_count']}" if rule["judged_count"] else "not judged",
                "" if rule["judged_count"] else "muted",
            ),
            Cell("Noisy" if rule["is_noisy"] else "", "warning", is_strong=True),
        )
        for rule in alerts["rules"]
    ]
    return [Paragraph(told), *([table_of("Rules by how often they fired", columns, rows, 6, "rules")] if rows else [])]


def _sla(sla: Sequence[Document] | None) -> list[Block]:
    if sla is None:
        return [
            Paragraph("SLA exposure: no contracts are configured, so what credits may be due is not known.", "muted")
        ]
    if not sla:
        return [Paragraph("SLA exposure: no customer is below what was promised this month.")]
    known = [row["credit_usd"] for row in sla if row.get("credit_usd") is not None]
    columns = (
        Column("Customer", 26),
        Column("Service", 24),
        Column("Promised", 14, is_number=True),
        Column("Achieved", 14, is_number=True),
        Column("Credit exposed", 16, is_number=True),
        Column("Claim until", 14, is_number=True),
    )
    rows = [
        (
            Cell(str(row.get("customer") or words.NOT_KNOWN), is_strong=True),
            Cell(str(row.get("service") or "")),
            Cell(words.percent(row.get("promised_ratio"), 2)),
            Cell(words.percent(row.get("achieved_ratio"), 3), unknown_tone(row.get("achieved_ratio"))),
            Cell(words.money(row.get("credit_usd")), unknown_tone(row.get("credit_usd")), is_strong=True),
            Cell(str(row.get("claim_until") or words.NOT_KNOWN)[:10], unknown_tone(row.get("claim_until"))),
        )
        for row in sla
    ]
    total = f": {words.money(sum(known))} of credits" if known else ""
    return [table_of(f"SLA exposure, month so far{total}", columns, rows, ROWS_MAX, "customers")]
