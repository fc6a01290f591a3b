"""The fleet: its capacity and health; what was not seen, and how all was counted."""

from zoneinfo import ZoneInfo

from domain.window import from_rfc3339
from domain.wording import sentence
from reports import words
from reports.sections.blocks import (
    ROWS_MAX,
    Block,
    Bullets,
    Cell,
    Column,
    Document,
    Paragraph,
    Section,
    table_of,
    unknown_tone,
)


def health_section(document: Document, zone: ZoneInfo) -> Section:
    """Capacity, and what of the fleet was unhealthy."""
    cost = document["cost"]
    blocks: list[Block] = []
    if cost is not None and cost["gpu_models"]:
        columns = (
            Column("GPU", 34),
            Column("Mean GPUs", 14, is_number=True),
            Column("GPU-hours", 14, is_number=True),
            Column("Serving", 12, is_number=True),
            Column("Idle", 12, is_number=True),
            Column("Cost of idle", 14, is_number=True),
        )
        rows = [
            (
                Cell(row["name"] or "Model not known", unknown_tone(row["name"]), is_strong=True),
                Cell(f"{row['mean_gpus']:,.1f}"),
                Cell(words.count(row["gpu_hours"])),
                Cell(words.percent(row["requests_gpu_time_ratio"])),
                Cell(words.percent(row["idle_gpu_time_ratio"])),
                Cell(words.money(row["idle_cost_usd"])),
            )
            for row in cost["gpu_models"]
        ]
        blocks.append(table_of("Capacity", columns, rows, ROWS_MAX, "models of GPU"))
    else:
        blocks.append(Paragraph("How much GPU time was paid for is not known: no price book is loaded.", "muted"))
    for name, one, many in (("gpus", "GPU", "GPUs"), ("links", "link", "links")):
        blocks += _unhealthy(document[name], one, many, zone)
    return Section("health", "Capacity and health", tuple(blocks))


def _unhealthy(health: Document | None, one: str, many: str, zone: ZoneInfo) -> list[Block]:
    if health is None:
        return [Paragraph(f"Health of {many} is not known: nothing reports on them.", "muted")]
    of = f"{words.NOT_KNOWN} how many" if health["count"] is None else f"{health['count']:,} {many}"
    if not health["rows"]:
        return [Paragraph(f"No {one} was unhealthy ({of}).")]
    columns = (
        Column(sentence(one), 30),
        Column("Where", 20),
        Column("What was seen", 34),
        Column("Since", 20, is_number=True),
    )
    rows = [
        (
            Cell(row["name"], is_strong=True),
            Cell(row["where"]),
            Cell(row["what"], "" if row["is_over"] else "warning", below="over" if row["is_over"] else ""),
            Cell(_when(row["since"], zone), unknown_tone(row["since"])),
        )
        for row in health["rows"]
    ]
    title = f"{sentence(many)}: {words.number(health['unhealthy_count'], one)} unhealthy of {of}"
    return [table_of(title, columns, rows, 8, many)]


def _when(moment: str | None, zone: ZoneInfo) -> str:
    return words.NOT_KNOWN if moment is None else words.day_and_clock(from_rfc3339(moment).astimezone(zone))


def method_section(document: Document, zone: ZoneInfo) -> Section:
    """Gaps in the data, and how the figures are meant."""
    gaps = document["data_gaps"]
    if gaps is None:
        seen: Block = Paragraph("Whether all data came in is not known.", "muted")
    elif not gaps:
        seen = Paragraph("All sources reported through the whole week.")
    else:
        columns = (
            Column("Not seen", 28),
            Column("From", 18),
            Column("For", 16, is_number=True),
            Column("What is missing", 40),
        )
        rows = [
            (
                Cell(gap["source"], is_strong=True),
                Cell(_when(gap["started_at"], zone)),
                Cell(words.lasting(gap["lasted_in_week_s"]), below="" if gap["ended_at"] else "still missing"),
                Cell(gap["what"]),
            )
            for gap in gaps
        ]
        seen = table_of("Data gaps", columns, rows, 8, "gaps")
    notes = (
        "Met: budget is left. At risk: less than a tenth of it, or it burns six times too fast. Missed: overspent.",
        "Budgets count the events of the objective's whole window, and are rounded down.",
        "Times are medians with a 95 % bootstrap interval: with few incidents a change means little.",
        "The cost of a model holds the idle time of its own replicas. All parts add up to the bill.",
        *document["method_notes"],
    )
    return Section("method", "Data gaps and method", (seen, Bullets(notes)))
