"""The weekly reports of an installation: made when asked for, and kept once their week is over.

The same week then gives the same bytes, whatever comes in later, until somebody has it made again.
"""

import io
import json
import threading
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from analytics.cost.jobs import Pricing
from analytics.knowledge import Knowledge
from domain.slo import Objective
from domain.window import from_rfc3339, rfc3339
from reports.digest import weekly_digest
from reports.facts import Progress, read_facts
from reports.html import weekly_html
from reports.markdown import weekly_markdown
from reports.pdf import weekly_pdf
from reports.settings import WeeklySettings
from reports.tables import TABLES, weekly_tables
from reports.weekly import Document, week_at, week_before, week_of, weekly_document
from storage.documents import read_document, write_document
from storage.readers import read_kept_reports
from storage.store import Store

KIND = "weekly-report"
"""The kind of document that a report is kept as; its name is the week."""

SETTLES = timedelta(minutes=15)
"""So long after a week's end what came in late is counted too: before that its report is not kept."""

_ZIP_TIME = (1980, 1, 1, 0, 0, 0)  # the earliest that a zip can say: the same tables give the same bytes


class WeekError(ValueError):
    """A week that there is no report of; the message says which there are."""


class TableError(LookupError):
    """A table that a report does not have; the message says which it has."""


@dataclass(frozen=True, slots=True)
class Rendered:
    """A report in one format, ready to be sent or written."""

    body: bytes
    media_type: str
    file_name: str


@dataclass(frozen=True, slots=True)
class KeptReport:
    """A report that was kept, in a line; `state` is the headline's, None without objectives."""

    week: str
    state: str | None
    read_at: datetime
    cost_usd: float | None
    incidents_count: int


class WeeklyReports:
    """All weekly reports. Safe to use from several threads.

    Args:
        store: migrated.
        settings: name of the site, and on whose clock weeks begin.
        knowledge: the signals that metrics carry, and how kinds of cause are called.
        pricing: what GPUs cost, at this moment.
        objectives: what is promised, at this moment.
        now: the clock.
        web_url: where the pages are reached.
    """

    tables = TABLES

    def __init__(
        self,
        store: Store,
        settings: WeeklySettings,
        knowledge: Knowledge,
        pricing: Callable[[], Pricing],
        objectives: Callable[[], Sequence[Objective]],
        now: Callable[[], datetime],
        web_url: Callable[[], str] = str,
    ) -> None:
        self._store = store
        self._settings = settings
        self._knowledge = knowledge
        self._pricing = pricing
        self._objectives = objectives
        self._now = now
        self._web_url = web_url
        self._making = threading.Lock()

    @property
    def week_under_way(self) -> str:
        """The week of now."""
        return week_at(self._now(), self._settings.time_zone)

    @property
    def week_over(self) -> str:
        """The newest week that is over."""
        return week_before(self.week_under_way)

    def check(self, week: str) -> None:
        """See that there can be a report of a week.

        Raises:
            WeekError: when it is none, or has not begun.
        """
        try:
            window = week_of(week, self._settings.time_zone)
        except ValueError as error:
            raise WeekError(str(error)) from None
        if window.start >= self._minute():
            newest = self.week_under_way
            raise WeekError(f"{week} has not begun: it does at {rfc3339(window.start)}; the newest is {newest}")

    def document(self, week: str, progress: Progress = lambda *_: None) -> Document:
        """The report of a week: as it was kept, or made now.

        Raises:
            WeekError: when there can be none.
        """
        self.check(week)
        kept = self._kept(week)
        if kept is not None:
            return kept
        with self._making:  # of two that ask at once, the second gets what the first had made
            return self._kept(week) or self._make(week, progress)

    def remake(self, week: str, progress: Progress = lambda *_: None) -> Document:
        """The report of a week, made anew from what is stored now, in place of what was kept.

        Raises:
            WeekError: when there can be none.
        """
        self.check(week)
        with self._making:
            return self._make(week, progress)

    def render(self, week: str, format: str, table: str | None = None) -> Rendered:  # noqa: A002  # as the API has it
        """The report of a week in one of `FORMATS`; of csv all tables in a zip, or one table.

        Raises:
            WeekError: when there can be none.
            TableError: for a table that it does not have.
            ValueError: for another format.
        """
        return rendered(self.document(week), format, table)

    def kept(self) -> list[KeptReport]:
        """What was kept, the newest week first."""
        return [
            KeptReport(
                week=row["week"],
                state=row["state"],
                read_at=from_rfc3339(row["read_at"]),
                cost_usd=row["cost_usd"],
                incidents_count=row["incidents_count"],
            )
            for row in read_kept_reports(self._store, KIND).iter_rows(named=True)
        ]

    def _kept(self, week: str) -> Document | None:
        kept: Document | None = read_document(self._store, KIND, week)
        return kept

    def _make(self, week: str, progress: Progress) -> Document:
        settings, read_at = self._settings, self._minute()
        facts = read_facts(
            self._store,
            week,
            knowledge=self._knowledge,
            pricing=self._pricing(),
            objectives=self._objectives(),
            read_at=read_at,
            time_zone=settings.time_zone,
            web_url=self._web_url(),
            site=settings.site,
            progress=progress,
        )
        document = weekly_document(facts)
        if read_at >= week_of(week, settings.time_zone).end + SETTLES:
            write_document(self._store, KIND, week, document, self._now())
        return document

    def _minute(self) -> datetime:
        return self._now().replace(second=0, microsecond=0)


def rendered(document: Document, format: str, table: str | None = None) -> Rendered:  # noqa: A002  # as the API has it
    """A report in one of `FORMATS`.

    Args:
        document: of `reports.weekly.weekly_document`.
        format: which.
        table: of csv, one table instead of a zip of all.

    Raises:
        TableError: for a table that it does not have.
        ValueError: for another format.
    """
    name = f"tailsight-{document['week']}"
    if format == "csv" and table is not None:
        return Rendered(_table(document, table).encode(), "text/csv", f"{name}-{table}.csv")
    if format not in _RENDERERS:
        raise ValueError(f"{format!r} is no format of a report; valid are {', '.join(FORMATS)}")
    media_type, ending, render = _RENDERERS[format]
    return Rendered(render(document), media_type, f"{name}{ending}")


def report_url(document: Document) -> str:
    """Where the report is read as a page; empty where nobody said where the pages are."""
    web_url = document["web_url"]
    return f"{web_url.rstrip('/')}/api/v1/reports/weekly?week={document['week']}&format=html" if web_url else ""


def _table(document: Document, table: str) -> str:
    tables = weekly_tables(document)
    if f"{table}.csv" not in tables:
        names = ", ".join(name.removesuffix(".csv") for name in tables)
        lacks = "is not in this report, for nobody set it up" if table in TABLES else "is no table"
        raise TableError(f"{table!r} {lacks}; it has {names}")
    return tables[f"{table}.csv"]


def _zipped(document: Document) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for file_name, text in weekly_tables(document).items():
            entry = zipfile.ZipInfo(f"tailsight-{document['week']}/{file_name}", _ZIP_TIME)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, text)
    return packed.getvalue()


def _json(document: Document) -> bytes:
    return (json.dumps(document, ensure_ascii=False, allow_nan=False, indent=1) + "\n").encode()


def _slack(document: Document) -> bytes:
    return weekly_digest(document, "slack", report_url(document)).encode()


_RENDERERS: Mapping[str, tuple[str, str, Callable[[Document], bytes]]] = {
    "json": ("application/json", ".json", _json),
    "html": ("text/html", ".html", lambda document: weekly_html(document).encode()),
    "pdf": ("application/pdf", ".pdf", weekly_pdf),
    "md": ("text/markdown", ".md", lambda document: weekly_markdown(document).encode()),
    "csv": ("application/zip", "-tables.zip", _zipped),
    "slack": ("text/plain", "-slack.txt", _slack),
}
"""Media type, ending of the file's name, and how it is made, by format."""

FORMATS = tuple(_RENDERERS)
