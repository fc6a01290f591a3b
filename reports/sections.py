"""What the report says and in which order: headings, words, tables and charts, for HTML, PDF and Markdown alike.

A format only lays out what stands here, so that all formats say the same. Text is plain; each format escapes it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, Literal
from urllib.parse import quote
from zoneinfo import ZoneInfo

from domain.window import duration_text, from_rfc3339
from reports import charts, words
from reports.charts import Picture
from reports.weekly import saving

Document = Mapping[str, Any]
Tone = Literal["", "good", "warning", "critical", "muted"]

ROWS_MAX = 12
"""Rows of a table that people read; the CSV tables have all."""

_TEXT_MAX, _BELOW_MAX = 150, 240  # characters


@dataclass(frozen=True, slots=True)
class Cell:
    """Words in a table; `below` is a second, quieter line, `bar_ratio` a bar before them, `link` where they lead."""

    text: str
    tone: Tone = ""
    below: str = ""
    is_strong: bool = False
    bar_ratio: float | None = None
    link: str = ""


@dataclass(frozen=True, slots=True)
class Column:
    """Its heading, its share of the width, and on which side its words stand."""

    title: str
    weight: float
    is_number: bool = False


@dataclass(frozen=True, slots=True)
class Table:
    """Rows under headings; `note` says what was left out."""

    title: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]
    note: str = ""


@dataclass(frozen=True, slots=True)
class Paragraph:
    """A few sentences."""

    text: str
    tone: Tone = ""


@dataclass(frozen=True, slots=True)
class Bullets:
    """Sentences one under the other."""

    items: tuple[str, ...]


Block = Table | Paragraph | Bullets | Picture


@dataclass(frozen=True, slots=True)
class Section:
    """A heading and what stands under it."""

    key: str
    title: str
    blocks: tuple[Block, ...]


@dataclass(frozen=True, slots=True)
class Answer:
    """One of the three questions."""

    question: str
    answer: str
    detail: str
    items: tuple[str, ...]
    tone: str


@dataclass(frozen=True, slots=True)
class Figure:
    """One number of the strip under the answers, and how it moved since the week before."""

    label: str
    value: str
    moved: str = ""
    tone: Tone = ""


@dataclass(frozen=True, slots=True)
class Layout:
    """The whole report."""

    title: str
    subtitle: str
    notice: str
    answers: tuple[Answer, ...]
    figures: tuple[Figure, ...]
    sections: tuple[Section, ...]
    footer: str


def layout(document: Document) -> Layout:
    """The report laid out.

    Args:
        document: of `reports.weekly.weekly_document`.
    """
    start, end = from_rfc3339(document["from"]), from_rfc3339(document["to"])
    zone = ZoneInfo(document["time_zone"])
    span = words.days(start.astimezone(zone), (end - timedelta(microseconds=1)).astimezone(zone))
    week = f"Week {int(document['week'][-2:])}, {span}"
    site = document["site"]
    read_at = from_rfc3339(document["read_at"]).astimezone(zone)
    return Layout(
        title="Weekly cost and SLO report",
        subtitle=" · ".join([*([site] if site else []), week, f"times in {document['time_zone']}"]),
        notice=""
        if document["is_complete"]
        else f"The week is not over: figures go to {words.day_and_clock(read_at)} {document['time_zone']}.",
        answers=tuple(
            Answer(one["question"], one["answer"], one["detail"], tuple(one["items"]), one["tone"])
            for one in document["answers"]
        ),
        figures=_figures(document),
        sections=tuple(
            _with_short_names(section)
            for section in (
                _actions(document),
                _objectives(document),
                _incidents(document, zone),
                _response(document),
                _cost(document),
                _outlook(document),
                _health(document, zone),
                _method(document, zone),
            )
        ),
        footer=f"Tailsight · {week}" if not site else f"Tailsight · {site} · {week}",
    )


def _with_short_names(section: Section) -> Section:
    """No cell so long that its row would fill a page; the tables and the JSON document have the whole names."""
    return replace(
        section,
        blocks=tuple(
            replace(
                block,
                rows=tuple(
                    tuple(
                        replace(
                            cell,
                            text=words.shortened(cell.text, _TEXT_MAX),
                            below=words.shortened(cell.below, _BELOW_MAX),
                        )
                        for cell in row
                    )
                    for row in block.rows
                ),
            )
            if isinstance(block, Table)
            else block
            for block in section.blocks
        ),
    )


# -- The strip -----------------------------------------------------------------------------------------------------


def _figures(document: Document) -> tuple[Figure, ...]:
    headline, cost, incidents = document["headline"], document["cost"], document["incidents"]
    slos = len(document["slos"])
    judged = slos - headline["no_data_count"]
    kept = judged - headline["missed_count"]
    before_missed = headline["missed_before_count"]
    missed_more = None if before_missed is None else headline["missed_count"] - before_missed
    figures = [
        Figure(
            "Objectives kept",
            f"{kept} of {judged}" if judged else words.NOT_KNOWN if slos else "none set",
            "" if not missed_more else f"{-missed_more:+d}".replace("-", "−"),
            "" if not missed_more else "critical" if missed_more > 0 else "good",
        ),
        Figure("Incidents", f"{incidents['count']}", *_difference(incidents["count"], incidents["before_count"])),
    ]
    if cost is None:
        return (*figures, Figure("Spend", words.NOT_CONFIGURED, tone="muted"))
    idle, idle_before = cost["idle_gpu_time_ratio"], cost["idle_gpu_time_before_ratio"]
    idle_moved = None if idle is None or idle_before is None else idle - idle_before
    return (
        *figures,
        Figure("Spend", words.money(cost["cost_usd"]), *_moved(cost["cost_change_ratio"])),
        Figure(
            "Per 1 M tokens, all in",
            words.money(cost["per_million_tokens_usd"]),
            *_moved(cost["per_million_tokens_change_ratio"]),
        ),
        Figure(
            "GPU time idle",
            words.percent(idle),
            "" if idle_moved is None else words.points(idle_moved),
            _less_is_good(idle_moved, 0.005),
        ),
    )


def _difference(now: int, before: int | None) -> tuple[str, Tone]:
    if before is None or now == before:
        return "", ""
    return f"{now - before:+d}".replace("-", "−"), "critical" if now > before else "good"


def _moved(ratio: float | None) -> tuple[str, Tone]:
    return ("", "") if ratio is None else (words.change(ratio), _less_is_good(ratio, 0.005))


def _less_is_good(moved: float | None, least: float) -> Tone:
    return "" if moved is None or abs(moved) < least else "critical" if moved > 0 else "good"


# -- What to do ----------------------------------------------------------------------------------------------------


def _actions(document: Document) -> Section:
    actions = document["actions"]
    if not actions:
        detail = document["answers"][2]["detail"]
        return Section("actions", "What to do next", (Paragraph(detail),))
    rows = [
        (
            Cell(f"{number}"),
            Cell(action["text"], is_strong=True, below=action["why"] or ""),
            Cell(
                words.sentence(action["worth"]),
                "warning" if action["worth"] in ("due by policy", "open now") else "good",
                is_strong=True,
            ),
        )
        for number, action in enumerate(actions, start=1)
    ]
    columns = (Column("No.", 5), Column("Step", 72), Column("Worth", 25, is_number=True))
    return Section("actions", "What to do next", (_table("", columns, rows, 8, "steps"),))


# -- Objectives ----------------------------------------------------------------------------------------------------

_STATE_WORDS = {"met": "Met", "at_risk": "At risk", "missed": "Missed", "no_data": "No data"}
_STATE_TONES: dict[str, Tone] = {"met": "good", "at_risk": "warning", "missed": "critical", "no_data": "muted"}


def _objectives(document: Document) -> Section:
    slos = document["slos"]
    if not slos:
        return Section("objectives", "Objectives", (Paragraph("No objectives are set.", "muted"),))
    columns = (
        Column("Objective", 26),
        Column("Target", 9, is_number=True),
        Column("Over the window", 14, is_number=True),
        Column("This week", 11, is_number=True),
        Column("Budget left", 16),
        Column("Spent this week", 11, is_number=True),
        Column("Status", 13),
    )
    rows = [_slo_row(slo, ZoneInfo(document["time_zone"])) for slo in slos]
    shown = charts.budget_history(slos)
    blocks: list[Block] = [_table("", columns, rows, 20, "objectives"), *_picture(shown)]
    policy = document["policy"]
    blocks.append(
        Table(
            "Steps due by the error budget policy",
            (Column("Step", 52), Column("Why", 48)),
            tuple(
                (
                    Cell(step["text"], is_strong=True),
                    Cell(words.sentence(step["why"]), below=words.sentence(step["exemption"] or "")),
                )
                for step in policy[:ROWS_MAX]
            ),
            _more(len(policy), ROWS_MAX, "steps"),
        )
        if policy
        else Paragraph(
            "The error budget policy asks for no step: no budget is spent, and no incident took a fifth of one."
        )
    )
    return Section("objectives", "Objectives", tuple(blocks))


def _slo_row(slo: Document, zone: ZoneInfo) -> tuple[Cell, ...]:
    tone = _STATE_TONES[slo["state"]]
    left, before = slo["budget_left_ratio"], slo["budget_left_before_ratio"]
    was = "" if before is None else f"was {words.percent_down(before)}"
    state_before = slo["state_before"]
    exhausted = slo["exhausted_at"]
    below = (
        f"gone by {words.day(from_rfc3339(exhausted).astimezone(zone))}"
        if exhausted
        else f"was {_STATE_WORDS[state_before].lower()}"
        if state_before and state_before != slo["state"]
        else ""
    )
    target = f"{slo['target_ratio'] * 100:.6g} %"
    period = "calendar" if slo["is_calendar"] else f"{slo['window_days']}\N{NO-BREAK SPACE}days"
    seen = slo["coverage_ratio"]
    unseen = f" · {words.percent_down(seen)} of hours seen" if 0 < seen < 0.995 else ""
    return (
        Cell(slo["service"], is_strong=True, below=slo["title"] + unseen),
        Cell(target),
        Cell(words.percent_of_target(slo["sli_ratio"], slo["target_ratio"]), _unknown(slo["sli_ratio"]), below=period),
        Cell(
            words.percent_of_target(slo["sli_in_week_ratio"], slo["target_ratio"]), _unknown(slo["sli_in_week_ratio"])
        ),
        Cell(words.percent_down(left), tone, is_strong=True, bar_ratio=left, below=was),
        Cell(words.percent(slo["budget_spent_in_week_ratio"]), _unknown(slo["budget_spent_in_week_ratio"])),
        Cell(_STATE_WORDS[slo["state"]], tone, is_strong=True, below=below),
    )


def _unknown(value: Any) -> Tone:
    return "muted" if value is None else ""


# -- Incidents -----------------------------------------------------------------------------------------------------


def _incidents(document: Document, zone: ZoneInfo) -> Section:
    incidents = document["incidents"]
    rows = incidents["all"]
    timeline = charts.week_timeline(document, document["latency"], rows)
    if not rows:
        return Section("incidents", "Incidents", (Paragraph("No incidents began this week."), *_picture(timeline)))
    by_id = {row["id"]: row for row in rows}
    web_url = web_address(document)
    said = [
        f"{words.sentence(words.number(len(rows), 'incident'))}, {incidents['page_count']} of which paged",
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
    blocks: list[Block] = [Paragraph(f"{', '.join(said)}. {money}."), *_picture(timeline)]
    if told:
        blocks.append(_table("By error budget spent", columns, told, 6, "incidents"))
    else:
        every = [_incident_row(row, zone, web_url) for row in rows]
        blocks.append(_table("In their order; what budget they spent is not known", columns, every, 6, "incidents"))
    first = incidents["by_cost"][:3]
    if first and first != incidents["by_budget"][:3]:
        dear = [_incident_row(by_id[name], zone, web_url) for name in incidents["by_cost"]]
        blocks.append(_table("By dollars", columns, dear, 3, "incidents"))
    return Section("incidents", "Incidents", tuple(blocks))


def _incident_row(row: Document, zone: ZoneInfo, web_url: str) -> tuple[Cell, ...]:
    measured = words.percent(row["slow_requests_ratio"])
    hurt = f"{words.count(row['slow_requests_count'])} requests hurt"
    link = f"{web_url}/incidents/{quote(row['id'], safe='')}" if web_url else ""
    if row["indicator"] == "errors":
        peak = f"{measured} of requests failed"
    elif row["peak_ms_p99"] is None or row["baseline_ms_p99"] is None:
        peak = "p99 not known"
    else:
        peak = f"p99 {duration_text(row['baseline_ms_p99'])} to {duration_text(row['peak_ms_p99'])}"
    sure = row["confidence_ratio"]
    began = from_rfc3339(row["started_at"]).astimezone(zone)
    return (
        Cell(row["service"], is_strong=True, below=f"{row['id']} · {row['indicator_title']}", link=link),
        Cell(f"{words.weekday(began)} {words.day(began)}", below=f"{began:%H:%M}"),
        Cell(words.lasting(row["lasted_s"]) if row["ended_at"] else "open", "" if row["ended_at"] else "critical"),
        Cell(words.percent(row["budget_spent_ratio"], 1), _unknown(row["budget_spent_ratio"]), is_strong=True),
        Cell(words.money(row["cost_usd"]), _unknown(row["cost_usd"])),
        Cell(
            row["cause"] if sure is None else f"{row['cause']} ({words.percent(sure)}\N{NO-BREAK SPACE}sure)",
            _unknown(sure),
            below=f"{peak}; {hurt}",
        ),
    )


# -- Alerts and response -------------------------------------------------------------------------------------------

_TIME_WORDS = {
    "to_detect": "To detect (from impact)",
    "to_notify": "To notify (from detection)",
    "to_acknowledge": "To acknowledge (from notification)",
    "to_resolve": "To mitigate (from impact)",
}


def _response(document: Document) -> Section:
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
        Cell(words.lasting(times["median_s"]), _unknown(times["median_s"]), is_strong=True),
        Cell(between, _unknown(low)),
        Cell(words.lasting(times["p90_s"]), _unknown(times["p90_s"])),
        Cell(f"{times['count']}", below=unknown),
        Cell(words.lasting(times["median_before_s"]), _unknown(times["median_before_s"])),
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
        f"{words.sentence(words.number(alerts['pages_count'], 'page'))}{since} and "
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
            Cell(words.sentence(rule["severity"])),
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
    return [Paragraph(told), *([_table("Rules by how often they fired", columns, rows, 6, "rules")] if rows else [])]


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
            Cell(words.percent(row.get("achieved_ratio"), 3), _unknown(row.get("achieved_ratio"))),
            Cell(words.money(row.get("credit_usd")), _unknown(row.get("credit_usd")), is_strong=True),
            Cell(str(row.get("claim_until") or words.NOT_KNOWN)[:10], _unknown(row.get("claim_until"))),
        )
        for row in sla
    ]
    total = f": {words.money(sum(known))} of credits" if known else ""
    return [_table(f"SLA exposure, month so far{total}", columns, rows, ROWS_MAX, "customers")]


# -- Cost ----------------------------------------------------------------------------------------------------------

IDLE_WORDS = {
    "unallocated": "Given to nobody",
    "no_model": "Given, but no model on it",
    "loading": "Loading a model",
    "warm_by_policy": "Kept warm on purpose",
    "loaded_without_traffic": "Loaded, no traffic",
    "between_steps": "Between steps",
    "held_without_engine": "Held, no engine",
    "waiting_for_kv_space": "Waiting for KV cache",
    "throttled": "Throttled",
    "stalled_on_fabric": "Stalled on the fabric",
    "hung": "Hung",
    "no_telemetry": "Billed, but not seen",
}


def _cost(document: Document) -> Section:
    cost = document["cost"]
    if cost is None:
        text = "Cost is not configured: no price book is loaded. GPU-hours without a price are not free, only unknown."
        return Section("cost", "Cost", (Paragraph(text, "muted"),))
    idle = charts.idle_by_cause(cost["idle_causes"], IDLE_WORDS)
    blocks: list[Block] = [
        Paragraph(_cost_words(cost)),
        *_picture(charts.cost_by_day(cost["days"])),
        *(_picture(idle) if idle else [Paragraph("No GPU that is paid for was idle.")]),
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
        Cell("" if ratio is None else words.change(ratio), _less_is_good(ratio, 0.005)),
        _price(row["per_thousand_good_requests_usd"]),
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
            Cell(words.money(row["cost_before_usd"]), _unknown(row["cost_before_usd"])),
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
    note = _more(len(rows), ROWS_MAX, what)
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
            Cell(str(user.get("tenant") or words.NOT_KNOWN), _unknown(user.get("tenant"))),
            Cell(words.count(user.get("requests_count"))),
            Cell(words.money(user.get("cost_usd")), _unknown(user.get("cost_usd"))),
        )
        for user in ranked
    ]
    return [_table("Users who cost the most", columns, rows, 8, "users")] if rows else []


def _outlook(document: Document) -> Section:
    cost = document["cost"]
    return Section(
        "outlook",
        "Why the bill changed, and where it goes",
        (
            *_variance(document["variance"], cost),
            *_forecast(document["forecast"], document),
            *_advice(document["advice"]),
        ),
    )


def _variance(variance: Document | None, cost: Document | None) -> list[Block]:
    if variance is None or cost is None or cost["cost_before_usd"] is None:
        return [Paragraph("Why the bill changed is not known: there is nothing to compare with.", "muted")]
    picture = charts.variance_waterfall(cost["cost_before_usd"], cost["cost_usd"], variance.get("parts") or [])
    groups = variance.get("groups") or []
    columns = (Column("Where", 34), Column("Change", 16, is_number=True), Column("Why", 50))
    rows = [
        (
            Cell(str(group.get("name")), is_strong=True),
            Cell(words.money_change(group.get("cost_usd")), _unknown(group.get("cost_usd"))),
            Cell(str(group.get("why") or "")),
        )
        for group in groups
    ]
    return [*_picture(picture), *([_table("Largest changes", columns, rows, 6, "groups")] if rows else [])]


def _forecast(forecast: Document | None, document: Document) -> list[Block]:
    if forecast is None:
        return [Paragraph("A forecast is not configured, or there are too few days to make one.", "muted")]
    cost = document["cost"]
    days = [] if cost is None else [*cost["days_before"], *cost["days"]]
    picture = charts.forecast_fan(days, forecast.get("horizon") or [], document["time_zone"])
    month = forecast.get("month_end") or {}
    told = []
    if month.get("median_usd") is not None:
        between = (
            ""
            if month.get("lower_usd") is None or month.get("upper_usd") is None
            else f" ({words.money(month['lower_usd'])} to {words.money(month['upper_usd'])})"
        )
        told.append(f"The month is heading for {words.money(month['median_usd'])}{between}.")
        if month.get("budget_usd") is not None:
            over = month["median_usd"] - month["budget_usd"]
            way = "over" if over > 0 else "under"
            told.append(f"That is {words.money(abs(over))} {way} the budget of {words.money(month['budget_usd'])}.")
    if forecast.get("mase") is not None:
        better = forecast["mase"] < 1
        told.append(
            f"Model: {forecast.get('model')}; its error in the backtest is {forecast['mase']:.2f} of that of repeating "
            f"last week ({'better' if better else 'no better'})."
        )
    return [*([Paragraph(" ".join(told))] if told else []), *_picture(picture)]


def _advice(advice: Sequence[Document] | None) -> list[Block]:
    if advice is None:
        return [Paragraph("Advice on savings is not configured.", "muted")]
    if not advice:
        return [Paragraph("Nothing was found that would save money.")]
    columns = (Column("Step", 62), Column("Confidence", 14), Column("Saves", 28, is_number=True))
    rows = [
        (
            Cell(str(one.get("title")), is_strong=True),
            Cell(_confidence(one.get("confidence"))),
            Cell(saving(one), "good", is_strong=True),
        )
        for one in advice
    ]
    return [_table("Savings found", columns, rows, 8, "savings")]


def _confidence(value: Any) -> str:
    if value is None:
        return words.NOT_KNOWN
    return words.sentence(str(value)) if isinstance(value, str) else words.percent(float(value))


# -- The fleet, and what was not seen ------------------------------------------------------------------------------


def _health(document: Document, zone: ZoneInfo) -> Section:
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
                Cell(row["name"] or "Model not known", _unknown(row["name"]), is_strong=True),
                Cell(f"{row['mean_gpus']:,.1f}"),
                Cell(words.count(row["gpu_hours"])),
                Cell(words.percent(row["requests_gpu_time_ratio"])),
                Cell(words.percent(row["idle_gpu_time_ratio"])),
                Cell(words.money(row["idle_cost_usd"])),
            )
            for row in cost["gpu_models"]
        ]
        blocks.append(_table("Capacity", columns, rows, ROWS_MAX, "models of GPU"))
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
        Column(words.sentence(one), 30),
        Column("Where", 20),
        Column("What was seen", 34),
        Column("Since", 20, is_number=True),
    )
    rows = [
        (
            Cell(row["name"], is_strong=True),
            Cell(row["where"]),
            Cell(row["what"], "" if row["is_over"] else "warning", below="over" if row["is_over"] else ""),
            Cell(_when(row["since"], zone), _unknown(row["since"])),
        )
        for row in health["rows"]
    ]
    title = f"{words.sentence(many)}: {words.number(health['unhealthy_count'], one)} unhealthy of {of}"
    return [_table(title, columns, rows, 8, many)]


def _when(moment: str | None, zone: ZoneInfo) -> str:
    return words.NOT_KNOWN if moment is None else words.day_and_clock(from_rfc3339(moment).astimezone(zone))


def _method(document: Document, zone: ZoneInfo) -> Section:
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
        seen = _table("Data gaps", columns, rows, 8, "gaps")
    notes = (
        "Met: budget is left. At risk: less than a tenth of it, or it burns six times too fast. Missed: overspent.",
        "Budgets count the events of the objective's whole window, and are rounded down.",
        "Times are medians with a 95 % bootstrap interval: with few incidents a change means little.",
        "The cost of a model holds the idle time of its own replicas. All parts add up to the bill.",
        *document["method_notes"],
    )
    return Section("method", "Data gaps and method", (seen, Bullets(notes)))


def web_address(document: Document) -> str:
    """Where the pages are reached; empty where that is not known, or no address of the web."""
    web_url = document["web_url"] or ""
    return web_url if web_url.startswith(("http://", "https://")) else ""


# -- Parts ---------------------------------------------------------------------------------------------------------


def _picture(picture: Picture | None) -> list[Block]:
    return [] if picture is None else [picture]


def _table(title: str, columns: tuple[Column, ...], rows: Sequence[tuple[Cell, ...]], most: int, what: str) -> Table:
    return Table(title, columns, tuple(rows[:most]), _more(len(rows), most, what))


def _more(count: int, most: int, what: str) -> str:
    return f"{count - most:,} more {what} are in the tables and the JSON document." if count > most else ""
