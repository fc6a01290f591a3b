"""The weekly report by itself: made when it is due, kept, and told once to each of its receivers.

What was told, and what is still to be told, stands in the store: a restart neither loses a report nor tells it twice.
A schedule begins with the first start that knows it; a report that fell due while nothing ran is told late.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from html import escape
from typing import Any

import httpx
from cronsim import CronSim
from prometheus_client import CollectorRegistry, Counter, Gauge

from alerts.announce import Announcement, announcement_message, announces
from alerts.config import AlertingConfig
from alerts.deliver import DeliveryError, send
from alerts.notification import Integration
from alerts.receivers.messages import Attachment
from domain.window import from_rfc3339, rfc3339
from reports.digest import weekly_digest
from reports.service import SETTLES, WeeklyReports, rendered, report_url
from reports.settings import WeeklySettings
from reports.weekly import Document, week_at, week_before, week_of, zone_of
from storage.documents import read_document, read_documents, write_document
from storage.store import Store

log = logging.getLogger(__name__)

KIND = "weekly-delivery"
"""The kind of document that says who was told of a week; its name is the week."""

_SCHEDULE, _STATE = "weekly-schedule", "state"
_LOOK_S = 5.0
_TIMEOUT_S = 30.0
_RETRY_FIRST_S, _RETRY_FACTOR, _RETRY_MOST_S = 0.5, 1.5, 900.0
_GIVEN_UP_AFTER = timedelta(hours=24)
_MADE_AGAIN_AFTER = timedelta(minutes=5)  # what could not be made then is tried again


@dataclass(frozen=True, slots=True)
class Told:
    """One receiver's way of being told of a week; `next_at` is None once it was, or was given up."""

    receiver: str
    place: int
    kind: str
    delivered_at: str | None = None
    attempts: int = 0
    error: str | None = None
    next_at: str | None = None


@dataclass(frozen=True, slots=True)
class Delivery:
    """The telling of one week: since when, and how far it is with each receiver. Times are RFC 3339."""

    week: str
    began_at: str
    told: tuple[Told, ...]

    @property
    def problems(self) -> tuple[str, ...]:
        """What went wrong and is not mended yet, a sentence each."""
        return tuple(
            f"the report of {self.week}: {one.receiver} ({one.kind}) was not told{' yet' if one.next_at else ''}: "
            f"{one.error}"
            for one in self.told
            if one.delivered_at is None and one.error is not None
        )


class WeeklyDelivery:
    """Makes reports when they are due, and tells of them.

    Args:
        store: where it is kept what was told.
        reports: makes and keeps reports.
        settings: when, and to whom.
        alerting: the receivers.
        registry: where its own metrics are registered.
        now: the clock.
    """

    def __init__(
        self,
        store: Store,
        reports: WeeklyReports,
        settings: WeeklySettings,
        alerting: AlertingConfig,
        registry: CollectorRegistry,
        now: Callable[[], datetime],
    ) -> None:
        self._store = store
        self._reports = reports
        self._settings = settings
        self._alerting = alerting
        self._now = now
        self._telemetry = _Telemetry(registry)
        self._since: datetime | None = None
        self._open: dict[str, Delivery] = {}
        self._not_before: datetime | None = None
        self._problem: str | None = None

    def problems(self) -> list[str]:
        """What went wrong with the newest report and is not mended yet, a sentence each; of this process alone."""
        made = [] if self._problem is None else [self._problem]
        return [*made, *(problem for one in list(self._open.values()) for problem in one.problems)]

    def deliveries(self) -> dict[str, Delivery]:
        """Who was told of which week."""
        return {week: _delivery(document) for week, document in read_documents(self._store, KIND).items()}

    async def run(self) -> None:
        """Look every few seconds, until cancelled."""
        async with httpx.AsyncClient(timeout=_TIMEOUT_S) as client:
            while True:
                try:
                    await self.look(client)
                except Exception:  # the store may be back at the next look
                    log.exception("weekly_report_not_looked_after")
                await asyncio.sleep(_LOOK_S)

    async def look(self, client: httpx.AsyncClient) -> None:
        """Make what is due, tell who is due."""
        now = self._now()
        if self._since is None:
            await asyncio.to_thread(self._recall, now)
        week = self._week_due(now)
        if week is not None and (self._not_before is None or now >= self._not_before):
            try:
                await asyncio.to_thread(self._begin, week, now)
            except Exception as error:  # tried again a little later; seen at /metrics and on the page
                log.exception("weekly_report_not_made week=%s", week)
                self._telemetry.reports.labels("failed").inc()
                self._not_before = now + _MADE_AGAIN_AFTER
                self._problem = f"the report of {week} could not be made: {error}"
            else:
                self._problem = None
        for delivery in list(self._open.values()):
            for one in delivery.told:
                if one.next_at is not None and from_rfc3339(one.next_at) <= now:
                    await self._tell(delivery.week, one, client)
        self._telemetry.undelivered.set(sum(len(one.problems) for one in self._open.values()))

    # -- When ----------------------------------------------------------------------------------------------------------

    def _recall(self, now: datetime) -> None:
        """Since when the schedule holds, and what is still to be told."""
        state = read_document(self._store, _SCHEDULE, _STATE)
        if state is None:
            state = {"since": rfc3339(now)}
            write_document(self._store, _SCHEDULE, _STATE, state, now)
        known = self.deliveries()
        newest = max(known, default="")
        self._open = {
            week: one
            for week, one in known.items()
            if week == newest or any(told.next_at is not None for told in one.told)
        }
        self._since = from_rfc3339(state["since"])

    def _week_due(self, now: datetime) -> str | None:
        """The week of which a report is due and was not begun."""
        due = last_due(self._settings.cron, self._settings.time_zone, now)
        if due is None or self._since is None or due < self._since:
            return None
        week = week_before(week_at(due, self._settings.time_zone))
        if week in self._open or now < week_of(week, self._settings.time_zone).end + SETTLES:
            return None
        return week

    def _begin(self, week: str, now: datetime) -> None:
        """Make and keep the report, and note who is to be told of it."""
        if read_document(self._store, KIND, week) is None:
            self._reports.document(week)
            self._telemetry.reports.labels("made").inc()
            at = rfc3339(now)
            told = tuple(
                Told(name, place, integration.kind, next_at=at)
                for name in self._settings.receivers
                for place, integration in enumerate(self._alerting.receivers.get(name, ()))
                if announces(integration)
            )
            self._keep(Delivery(week, at, told))
        self._open = {
            name: one
            for name, one in self._open.items()
            if any(told.next_at is not None for told in one.told)  # of those done with only the newest is of interest
        } | {week: _delivery(read_document(self._store, KIND, week))}

    # -- To whom -------------------------------------------------------------------------------------------------------

    async def _tell(self, week: str, one: Told, client: httpx.AsyncClient) -> None:
        try:
            await self._send(week, one, client)
        except Exception as error:  # a bug in one kind of receiver must not keep the others from being told
            if not isinstance(error, DeliveryError):
                log.exception("weekly_report_not_sent_by_itself kind=%s", one.kind)
            log.warning("weekly_report_not_sent receiver=%s kind=%s error=%s", one.receiver, one.kind, error)
            self._telemetry.deliveries.labels(one.kind, "failed").inc()
            told = self._failed(week, one, error)
        else:
            self._telemetry.deliveries.labels(one.kind, "delivered").inc()
            told = replace(one, delivered_at=rfc3339(self._now()), attempts=one.attempts + 1, error=None, next_at=None)
        delivery = self._open[week]
        self._open[week] = replace(delivery, told=tuple(told if old == one else old for old in delivery.told))
        await asyncio.to_thread(self._keep, self._open[week])

    async def _send(self, week: str, one: Told, client: httpx.AsyncClient) -> None:
        integration = self._integration(one)
        if integration is None:
            raise DeliveryError("it is not configured any more", retryable=False)
        told = await asyncio.to_thread(self._announcement, week, integration)
        try:
            message = announcement_message(integration, self._alerting.global_settings, told)
        except OSError as error:
            raise DeliveryError(f"a file of secrets cannot be read: {error}", retryable=True) from error
        await send(message, client)

    def _announcement(self, week: str, integration: Integration) -> Announcement:
        return weekly_announcement(self._reports.document(week), with_pdf=integration.kind == "email")

    def _integration(self, one: Told) -> Integration | None:
        known = self._alerting.receivers.get(one.receiver, ())
        found = known[one.place] if one.place < len(known) else None
        return found if found is not None and found.kind == one.kind else None

    def _failed(self, week: str, one: Told, error: Exception) -> Told:
        now, attempts = self._now(), one.attempts + 1
        delay_s = min(_RETRY_FIRST_S * _RETRY_FACTOR ** (attempts - 1), _RETRY_MOST_S)
        again = now + timedelta(seconds=delay_s)
        is_over = again > from_rfc3339(self._open[week].began_at) + _GIVEN_UP_AFTER
        retried = getattr(error, "retryable", False) and not is_over
        return replace(one, attempts=attempts, error=str(error), next_at=rfc3339(again) if retried else None)

    def _keep(self, delivery: Delivery) -> None:
        write_document(self._store, KIND, delivery.week, asdict(delivery), self._now())


def last_due(cron: str, time_zone: str, now: datetime) -> datetime | None:
    """When a schedule was due last, now included; None for one that never is, or has not been within a year."""
    if not cron:
        return None
    local = now.astimezone(zone_of(time_zone)) + timedelta(seconds=1)
    found = next(CronSim(cron, local.replace(microsecond=0), reverse=True), None)
    return found if found is not None and now - found < timedelta(days=366) else None


def weekly_announcement(document: Document, *, with_pdf: bool = False) -> Announcement:
    """What receivers are told of a report.

    Args:
        document: of `reports.weekly.weekly_document`.
        with_pdf: attach the whole report as a PDF.
    """
    url = report_url(document)
    lines = tuple(weekly_digest(document).splitlines())
    kept, spent = (one["answer"] for one in document["answers"][:2])
    site = f", {document['site']}" if document["site"] else ""
    made = [rendered(document, "pdf")] if with_pdf else []
    return Announcement(
        title=f"Weekly report {document['week']}{site}: {kept}; {spent}",
        lines=lines,
        slack=weekly_digest(document, "slack", url),
        html=_html(lines, [one["question"] for one in document["answers"]], url),
        document={
            "kind": "tailsight.weekly_report",
            "week": document["week"],
            "site": document["site"],
            "headline": document["headline"],
            "cost_usd": None if document["cost"] is None else document["cost"]["cost_usd"],
            "incidents_count": document["incidents"]["count"],
        },
        url=url,
        attachments=tuple(Attachment(one.file_name, one.media_type, one.body) for one in made),
    )


def _html(lines: Sequence[str], questions: Sequence[str], url: str) -> str:
    """The lines for mail programs, which know no style sheets: the first as heading, what answers a question bold."""
    told = [
        f'<p style="margin:{"14px" if line.startswith(tuple(questions)) else "3px"} 0 0">'
        f"{f'<b>{escape(line)}</b>' if line.startswith(tuple(questions)) else escape(line)}</p>"
        for line in lines[1:]
    ]
    link = f'<p style="margin:18px 0 0"><a href="{escape(url)}">Full report</a></p>' if url else ""
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"></head>'
        '<body style="font-family:-apple-system,Segoe UI,Roboto,Helvetica,Arial,sans-serif;font-size:14px;'
        'line-height:21px;color:#1d2939">'
        f'<h1 style="font-size:18px;margin:0">{escape(lines[0])}</h1>{"".join(told)}{link}</body></html>'
    )


def _delivery(document: Mapping[str, Any]) -> Delivery:
    return Delivery(document["week"], document["began_at"], tuple(Told(**one) for one in document["told"]))


class _Telemetry:
    """What the weekly report says of itself at /metrics."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.reports = Counter(
            "tailsight_weekly_reports", "Reports that fell due, by outcome", ["outcome"], registry=registry
        )
        self.deliveries = Counter(
            "tailsight_weekly_report_deliveries",
            "Attempts to tell of a weekly report, by kind of receiver and outcome",
            ["kind", "outcome"],
            registry=registry,
        )
        self.undelivered = Gauge(
            "tailsight_weekly_report_undelivered",
            "Receivers that refused the newest weekly report and were not told of it since",
            registry=registry,
        )
