"""Cost: what the week was billed, by day, by model, by tenant and by user, and what of it was idle."""

from collections.abc import Sequence

from reports import charts, words
from reports.sections.blocks import (
    ROWS_MAX,
    Block,
    Cell,
    Column,
    Document,
    Paragraph,
    Section,
    Table,
    less_is_good,
    more_note,
    pictures_of,
    table_of,
    unknown_tone,
)


def cost_section(document: Document) -> Section:
    """What was billed and for what."""
    cost = document["cost"]
    if cost is None:
        text = "Cost is not configured: no price book is loaded. GPU-hours without a price are not free, only unknown."
        return Section("cost", "Cost", (Paragraph(text, "muted"),))
    idle = charts.idle_by_cause(cost["idle_causes"])
    blocks: list[Block] = [
        Paragraph(_cost_words(cost)),
        *pictures_of(charts.cost_by_day(cost["days"])),
        *(pictures_of(idle) if idle else [Paragraph("No GPU that is paid for was idle.")]),
    ]
    columns = (
        Column("Model", 32),
        Column("Tokens", 12, is_number=True),
        Column("Spend", 14, is_number=True),
        Column("Of it idle", 14, is_number=True),
        Column("Per 1 M tokens, all in", 16, is_number=True),
        Column("Change", 11, is_number=True),
        Column("Per 1,000 served, all in", 16, is_number=True),
    )
    named = [row for row in cost["models"] if row["name"] is not None]
    rest = [_model_row(row, "No model") for row in cost["models"] if row["name"] is None]
    rows = [_model_row(row, row["name"]) for row in named]
    if rows or rest:
        blocks.append(_summed("By model", columns, rows, rest, cost, "models"))
    blocks += _tenants(cost)
    blocks += _users(document["users"])
    return Section("cost", "Cost", tuple(blocks))


def _cost_words(cost: Document) -> str:
    uses = [
        f"{words.percent(use['cost_ratio'])} {charts.USE_WORDS[use['name']]}"
        for use in cost["uses"]
        if use["cost_usd"] > 0
    ]
    told = f"Of {words.money(cost['cost_usd'])}, " + ", ".join(uses) + "." if uses else "Nothing was billed."
    if cost["failed_requests_cost_usd"] > 0:
        told += f" Requests that failed cost {words.money(cost['failed_requests_cost_usd'])}."
    estimated = cost["estimated_cost_ratio"]
    if estimated:
        told += f" The shares of {words.percent(estimated)} of it are estimates from gauges, not from step logs."
    return told


def _model_row(row: Document, name: str) -> tuple[Cell, ...]:
    tokens = row["input_tokens_count"] + row["output_tokens_count"]
    ratio = row["per_million_tokens_change_ratio"]
    return (
        Cell(name, is_strong=True),
        Cell(words.count(tokens) if tokens else "none", "" if tokens else "muted"),
        Cell(words.money(row["cost_usd"])),
        Cell(words.money(row["idle_cost_usd"])),
        _price(row["per_million_tokens_usd"], is_strong=True),
        Cell("" if ratio is None else words.change(ratio), less_is_good(ratio, 0.005)),
        _price(row["per_thousand_good_requests_usd"] if row["name"] is not None else None),
    )


def _price(usd: float | None, *, is_strong: bool = False) -> Cell:
    return Cell("" if usd is None else words.money(usd), is_strong=is_strong)


def _tenants(cost: Document) -> list[Block]:
    named = [row for row in cost["tenants"] if row["name"] is not None]
    if not named:
        return [Paragraph("Cost by tenant is not known: requests do not name their tenant.", "muted")]
    columns = (
        Column("Tenant", 34),
        Column("Requests", 14, is_number=True),
        Column("Tokens", 14, is_number=True),
        Column("Spend", 14, is_number=True),
        Column("Week before", 14, is_number=True),
        Column("Share", 10, is_number=True),
    )

    def row_of(row: Document, name: str) -> tuple[Cell, ...]:
        tokens = row["input_tokens_count"] + row["output_tokens_count"]
        return (
            Cell(name, is_strong=True),
            Cell(words.count(row["requests_count"]) if row["name"] is not None else ""),
            Cell(words.count(tokens) if row["name"] is not None else ""),
            Cell(words.money(row["cost_usd"]), is_strong=True),
            Cell(words.money(row["cost_before_usd"]), unknown_tone(row["cost_before_usd"])),
            Cell(words.percent(row["cost_usd"] / cost["cost_usd"] if cost["cost_usd"] else None)),
        )

    rest = [row_of(row, "No tenant (idle and overhead)") for row in cost["tenants"] if row["name"] is None]
    rows = [row_of(row, row["name"]) for row in named]
    return [_summed("By tenant", columns, rows, rest, cost, "tenants")]


def _summed(
    title: str,
    columns: tuple[Column, ...],
    rows: Sequence[tuple[Cell, ...]],
    rest: Sequence[tuple[Cell, ...]],
    cost: Document,
    what: str,
) -> Table:
    """The dearest rows, then what belongs to nobody; the note says what is left out, and what all add up to."""
    note = more_note(len(rows), ROWS_MAX, what)
    bill = f"All rows add up to the bill of {words.money(cost['cost_usd'])}."
    return Table(title, columns, (*rows[:ROWS_MAX], *rest), f"{note} {bill}".strip())


def _users(users: Sequence[Document] | None) -> list[Block]:
    if users is None:
        return [Paragraph("Cost by user is not configured.", "muted")]
    columns = (
        Column("User", 40),
        Column("Tenant", 28),
        Column("Requests", 16, is_number=True),
        Column("Spend", 16, is_number=True),
    )
    ranked = sorted(users, key=lambda user: (-(user.get("cost_usd") or 0.0), str(user.get("user"))))
    rows = [
        (
            Cell(str(user.get("user") or words.NOT_KNOWN), is_strong=True),
            Cell(str(user.get("tenant") or words.NOT_KNOWN), unknown_tone(user.get("tenant"))),
            Cell(words.count(user.get("requests_count"))),
            Cell(words.money(user.get("cost_usd")), unknown_tone(user.get("cost_usd"))),
        )
        for user in ranked
    ]
    return [table_of("Users who cost the most", columns, rows, 8, "users")] if rows else []
