"""The weekly report as CSV tables: every row, raw numbers, the unit last in each heading; RFC 4180, UTF-8."""

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any

Document = Mapping[str, Any]


def weekly_tables(document: Document) -> dict[str, str]:
    """Text of each table by its file name; a part that is not configured has no table, one without rows a heading.

    A text that a spreadsheet would take for a formula gets an apostrophe before it.

    Args:
        document: of `reports.weekly.weekly_document`.
    """
    cost = document["cost"]
    alerts = document["alerts"]
    tables: dict[str, Sequence[Document] | None] = {
        "objectives": document["slos"],
        "incidents": document["incidents"]["all"],
        "incident_notes": _notes(document["incidents"]["all"]),
        "policy": document["policy"],
        "actions": document["actions"],
        "alert_rules": alerts and alerts["rules"],
        "times": [{"time": name, **times} for name, times in document["times"].items()],
        "sla": document["sla"],
        "cost_days": cost and cost["days"],
        "cost_models": cost and cost["models"],
        "cost_tenants": cost and cost["tenants"],
        "cost_uses": cost and cost["uses"],
        "cost_idle_causes": cost and cost["idle_causes"],
        "cost_gpu_models": cost and cost["gpu_models"],
        "cost_users": document["users"],
        "cost_variance": document["variance"] and document["variance"].get("parts"),
        "cost_forecast": document["forecast"] and document["forecast"].get("horizon"),
        "cost_advice": document["advice"],
        "gpus": document["gpus"] and document["gpus"]["rows"],
        "links": document["links"] and document["links"]["rows"],
        "data_gaps": document["data_gaps"],
    }
    return {f"{name}.csv": _csv(rows, _COLUMNS.get(name, ())) for name, rows in tables.items() if rows is not None}


def _notes(incidents: Sequence[Document]) -> list[Document] | None:
    """One row a note; None of a report that was kept before notes were part of it."""
    if not any("notes" in row for row in incidents):
        return None
    return [{"incident": row["id"], **note} for row in incidents for note in row["notes"]]


TABLES = (
    "objectives",
    "incidents",
    "incident_notes",
    "policy",
    "actions",
    "alert_rules",
    "times",
    "sla",
    "cost_days",
    "cost_models",
    "cost_tenants",
    "cost_uses",
    "cost_idle_causes",
    "cost_gpu_models",
    "cost_users",
    "cost_variance",
    "cost_forecast",
    "cost_advice",
    "gpus",
    "links",
    "data_gaps",
)
"""All that there may be, in their order."""

_LEFT_OUT = {"budget_left_history_ratio", "notes"}
_COLUMNS = {
    "objectives": ("name", "service", "state", "target_ratio", "sli_ratio", "budget_left_ratio"),
    "incidents": ("id", "service", "started_at", "lasted_s", "budget_spent_ratio", "cost_usd", "cause_kind"),
    "incident_notes": ("incident", "at", "by", "text"),
    "policy": ("kind", "about", "service", "text", "why"),
    "actions": ("text", "why", "worth"),
    "alert_rules": ("name", "service", "severity", "count"),
    "sla": ("customer", "service", "promised_ratio", "achieved_ratio", "credit_usd", "claim_until"),
    "cost_models": ("name", "cost_usd"),
    "cost_tenants": ("name", "cost_usd"),
    "cost_idle_causes": ("name", "cost_usd"),
    "cost_gpu_models": ("name", "gpu_hours"),
    "cost_users": ("user", "tenant", "cost_usd", "requests_count"),
    "cost_variance": ("name", "cost_usd"),
    "cost_forecast": ("time", "median_usd", "lower_usd", "upper_usd"),
    "cost_advice": ("title", "saves_usd_per_month_low", "saves_usd_per_month_high", "confidence", "why"),
    "gpus": ("name", "where", "what", "since", "is_over"),
    "links": ("name", "where", "what", "since", "is_over"),
    "data_gaps": ("source", "started_at", "ended_at", "lasted_in_week_s", "what"),
}
"""Headings that stand first, and stand even where there is no row."""


def _csv(rows: Sequence[Document], first: Sequence[str]) -> str:
    columns = list(dict.fromkeys([*first, *(name for row in rows for name in row if name not in _LEFT_OUT)]))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\r\n")
    writer.writerow(columns)
    writer.writerows([_value(row.get(name)) for name in columns] for row in rows)
    return text.getvalue()


def _value(value: Any) -> Any:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        value = " ".join(map(str, value))
    if isinstance(value, str):
        value = value.replace("\N{NO-BREAK SPACE}", " ")
    if isinstance(value, str) and (value.lstrip()[:1] in ("=", "+", "-", "@") or value[:1] in ("\t", "\r")):
        return f"'{value}"  # a spreadsheet would run it (OWASP, CSV injection)
    return value
