"""The weekly report for a chat: at most 15 lines, read in 20 seconds."""

import re
from collections.abc import Mapping
from typing import Any, Literal

from domain.wording import sentence
from reports import words
from reports.sections.report import layout
from reports.weekly import first_actions

LINES_MAX = 15
_LINE_LENGTH, _DETAIL_LENGTH = 180, 130  # characters
_MARKS = {"good": "✅", "warning": "⚠️", "critical": "🔴", "unknown": "❔", "plain": "💵"}

Document = Mapping[str, Any]


def weekly_digest(document: Document, form: Literal["plain", "slack"] = "plain", report_url: str = "") -> str:
    """A few lines that answer the three questions.

    Args:
        document: of `reports.weekly.weekly_document`.
        form: plain text, or Slack's mrkdwn.
        report_url: where the whole report is; left out where it is empty.
    """
    slack = form == "slack"
    laid_out = layout(document)
    lines = [_bold(f"Weekly report · {laid_out.subtitle.rpartition(' · ')[0]}", is_slack=slack)]
    if laid_out.notice:
        lines.append(_line(laid_out.notice, is_slack=slack))
    kept, spent, _ = laid_out.answers
    for one in (kept, spent):
        mark = f"{_MARKS[one.tone]} " if slack else ""
        lines.append(f"{mark}{_bold(f'{one.question} {one.answer}.', is_slack=slack)}")
        lines.append(_line(_first_sentences(one.detail), is_slack=slack))
    lines.append(_line(_incidents(document), is_slack=slack))
    lines += _worst(document, is_slack=slack)
    actions = document["actions"]
    to_do = laid_out.answers[2]
    lines.append(_bold(f"{to_do.question}{'' if actions else f' {to_do.answer}.'}", is_slack=slack))
    for number, action in enumerate(first_actions(actions), start=1):
        lines.append(_line(f"{number}. {action['text']} ({action['worth']})", is_slack=slack))
    if report_url:
        lines.append(f"<{_slack_url(report_url)}|Full report>" if slack else f"Full report: {report_url}")
    return "\n".join(lines[:LINES_MAX]) + "\n"


def _first_sentences(text: str) -> str:
    """As many whole sentences as a line takes."""
    told = ""
    for one in text.split(". "):
        longer = f"{told}. {one}" if told else one
        if told and len(longer) > _DETAIL_LENGTH:
            return f"{told}."
        told = longer
    return told


def _incidents(document: Document) -> str:
    incidents = document["incidents"]
    before = incidents["before_count"]
    told = sentence(words.number(incidents["count"], "incident"))
    told += "" if before is None else f" ({before} the week before)"
    pages = document["alerts"] and document["alerts"]["pages_count"]
    return told + (", pages not known." if pages is None else f", {words.number(pages, 'page')}.")


def _worst(document: Document, *, is_slack: bool) -> list[str]:
    by_id = {row["id"]: row for row in document["incidents"]["all"]}
    rows = [by_id[name] for name in document["incidents"]["by_budget"][:2]]
    return [
        _line(
            f"• {row['service']}: {words.percent(row['budget_spent_ratio'], 1)} of the budget, {row['cause']}",
            is_slack=is_slack,
        )
        for row in rows
    ]


def _bold(text: str, *, is_slack: bool) -> str:
    return f"*{_line(text, is_slack=True)}*" if is_slack else _line(text, is_slack=False)


def _line(text: str, *, is_slack: bool) -> str:
    """One line, cut where it is too long; in Slack without markup or mentions that a name might bring."""
    plain = " ".join(text.split())
    if len(plain) > _LINE_LENGTH:
        plain = plain[: _LINE_LENGTH - 1].rstrip() + "…"
    return _slack(plain) if is_slack else plain


def _slack(text: str) -> str:
    escaped = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    looks_alike = escaped.translate(str.maketrans("*~`", "\N{ASTERISK OPERATOR}\N{TILDE OPERATOR}'"))
    return re.sub(r"(?<!\w)_|_(?!\w)", "\N{MODIFIER LETTER LOW MACRON}", looks_alike)  # within a word it marks nothing


def _slack_url(url: str) -> str:
    return url.replace("|", "%7C").replace(">", "%3E").replace("<", "%3C")
