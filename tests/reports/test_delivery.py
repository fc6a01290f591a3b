"""The weekly report told by itself: once to each receiver, whatever fails and whatever is restarted in between."""

import asyncio
import email
import email.policy
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from prometheus_client import CollectorRegistry

from alerts.config import AlertingConfig, parse_config
from analytics.knowledge import shipped_knowledge
from reports.delivery import WeeklyDelivery, last_due, weekly_announcement
from reports.service import WeeklyReports
from reports.settings import WeeklySettings
from storage.documents import read_document, write_document
from storage.store import Store
from tests.alerts.loopback import Mailbox, mailing
from tests.reports.stored_fortnight import OBJECTIVES, PRICING, fill
from tests.reports.weekly_formats import SAMPLE

STARTED = datetime(2026, 11, 20, 12, tzinfo=UTC)
DUE = datetime(2026, 11, 23, 8, tzinfo=UTC)
CONFIG = """
route: {receiver: team}
receivers:
- name: team
  webhook_configs: [{url: 'http://hook.example/'}]
  slack_configs: [{api_url: 'http://slack.example/', channel: '#costs'}]
- name: boss
  msteamsv2_configs: [{webhook_url: 'http://teams.example/'}]
  pagerduty_configs: [{routing_key: key}]
"""


class Scene:
    """A store, a clock, and receivers that say what they are asked to."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.now = STARTED
        self.answers: dict[str, int] = {}
        self.told: list[tuple[str, Any]] = []
        self.alerting = parse_config(CONFIG)
        self.settings = WeeklySettings(receivers=("team", "boss"))
        self.start()

    def start(self, alerting: AlertingConfig | None = None) -> None:
        """Start, or start again: what is in memory is gone."""
        self.registry = CollectorRegistry()
        reports = WeeklyReports(
            self.store,
            self.settings,
            shipped_knowledge(),
            lambda: PRICING,
            lambda: OBJECTIVES,
            lambda: self.now,
            lambda: "https://tailsight.example",
        )
        alerting = alerting or self.alerting
        self.delivery = WeeklyDelivery(self.store, reports, self.settings, alerting, self.registry, lambda: self.now)

    def look(self, now: datetime | None = None) -> list[str]:
        """Look once; who took it then, in order."""
        self.now = now or self.now
        before = len(self.told)

        async def once() -> None:
            async with httpx.AsyncClient(transport=httpx.MockTransport(self._answer)) as client:
                await self.delivery.look(client)

        asyncio.run(once())
        return [name for name, _ in self.told[before:]]

    def _answer(self, request: httpx.Request) -> httpx.Response:
        name = request.url.host.partition(".")[0]
        status = self.answers.get(name, 200)
        if status == 200:
            self.told.append((name, json.loads(request.content)))
        return httpx.Response(status, text="no")

    def metric(self, name: str, **labels: str) -> float | None:
        return self.registry.get_sample_value(name, labels)


@pytest.fixture
def scene(clean_store: Store) -> Scene:
    """With a report that was kept before it was due: somebody had asked for it."""
    write_document(clean_store, "weekly-report", "2026-W47", SAMPLE, DUE - timedelta(hours=2))
    return Scene(clean_store)


@pytest.fixture
def fortnight(clean_store: Store) -> Scene:
    """With a report that is still to be made."""
    fill(clean_store)
    return Scene(clean_store)


def test_when_it_is_due_each_receiver_is_told_once(scene: Scene) -> None:
    assert scene.look() == []
    assert scene.look(DUE - timedelta(seconds=1)) == []
    assert scene.look(DUE) == ["hook", "slack", "teams"]
    assert scene.look(DUE + timedelta(seconds=5)) == []
    told = dict(scene.told)
    address = "https://tailsight.example.com/api/v1/reports/weekly?week=2026-W47&format=html"
    assert told["hook"]["kind"] == "tailsight.weekly_report"
    assert (told["hook"]["week"], told["hook"]["url"], told["hook"]["cost_usd"]) == (
        "2026-W47",
        address,
        SAMPLE["cost"]["cost_usd"],
    )
    assert told["slack"]["channel"] == "#costs"
    assert f"<{address}|Full report>" in told["slack"]["text"]
    card = told["teams"]["attachments"][0]["content"]
    assert card["actions"] == [{"type": "Action.OpenUrl", "title": "Full report", "url": address}]
    assert card["body"][0]["text"].startswith("Weekly report 2026-W47, prod-us-east: Not all: ")
    assert scene.metric("tailsight_weekly_reports_total", outcome="made") == 1
    assert scene.metric("tailsight_weekly_report_undelivered") == 0


def test_a_restart_neither_tells_again_nor_forgets_who_was_not_told(scene: Scene) -> None:
    scene.look()
    scene.answers["slack"] = 503
    assert scene.look(DUE) == ["hook", "teams"]
    scene.start()
    scene.answers.clear()
    assert scene.look(DUE + timedelta(minutes=1)) == ["slack"]
    scene.start()
    assert scene.look(DUE + timedelta(minutes=2)) == []


def test_what_fell_due_while_nothing_ran_is_told_late(scene: Scene) -> None:
    scene.look()
    scene.start()
    assert scene.look(DUE + timedelta(days=2)) == ["hook", "slack", "teams"]


def test_a_first_start_does_not_tell_of_what_was_due_before_it(scene: Scene) -> None:
    assert scene.look(DUE + timedelta(hours=1)) == []
    assert scene.look(DUE + timedelta(days=6)) == []
    assert scene.look(DUE + timedelta(days=7)) == ["hook", "slack", "teams"]
    assert scene.told[0][1]["week"] == "2026-W48"


def test_a_refusal_is_tried_again_later_and_later_and_seen(scene: Scene) -> None:
    scene.look()
    scene.answers["hook"] = 503
    scene.look(DUE)
    tries = 1
    for seconds in range(1, 61):
        scene.look(DUE + timedelta(seconds=seconds))
        tries = int(scene.metric("tailsight_weekly_report_deliveries_total", kind="webhook", outcome="failed") or 0)
    assert 6 <= tries <= 12
    assert scene.metric("tailsight_weekly_report_undelivered") == 1
    assert scene.delivery.deliveries()["2026-W47"].problems == (
        "the report of 2026-W47: team (webhook) was not told yet: HTTP 503: no",
    )
    scene.answers.clear()
    assert scene.look(DUE + timedelta(hours=1)) == ["hook"]
    assert scene.metric("tailsight_weekly_report_undelivered") == 0
    assert scene.delivery.deliveries()["2026-W47"].problems == ()


def test_what_is_refused_for_good_is_given_up_and_stays_seen(scene: Scene) -> None:
    scene.look()
    scene.answers["teams"] = 404
    scene.look(DUE)
    scene.answers.clear()
    assert scene.look(DUE + timedelta(hours=1)) == []
    assert scene.delivery.deliveries()["2026-W47"].problems == (
        "the report of 2026-W47: boss (msteamsv2) was not told: HTTP 404: no",
    )
    assert scene.metric("tailsight_weekly_report_undelivered") == 1


def test_after_a_day_of_refusals_it_is_given_up(scene: Scene) -> None:
    scene.look()
    scene.answers["hook"] = 503
    scene.look(DUE)
    scene.look(DUE + timedelta(hours=24))
    scene.answers.clear()
    assert scene.look(DUE + timedelta(hours=25)) == []


def test_a_receiver_that_is_gone_from_the_configuration_is_given_up(scene: Scene) -> None:
    scene.look()
    scene.answers["hook"] = 503
    scene.look(DUE)
    scene.start(parse_config("route: {receiver: other}\nreceivers: [{name: other}]"))
    assert scene.look(DUE + timedelta(minutes=1)) == []
    assert "it is not configured any more" in scene.delivery.deliveries()["2026-W47"].problems[0]


def test_a_report_that_cannot_be_made_is_tried_again_and_told_of(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    scene.look()
    with monkeypatch.context() as broken:
        broken.setattr(WeeklyReports, "document", _refuse)
        assert scene.look(DUE) == []
    assert scene.delivery.problems() == ["the report of 2026-W47 could not be made: the store is away"]
    assert scene.metric("tailsight_weekly_reports_total", outcome="failed") == 1
    assert scene.look(DUE + timedelta(minutes=4)) == []
    assert scene.look(DUE + timedelta(minutes=5)) == ["hook", "slack", "teams"]
    assert scene.delivery.problems() == []


def _refuse(*_: object) -> None:
    raise OSError("the store is away")


def test_a_report_due_at_the_very_end_of_a_week_waits_for_what_comes_in_late(scene: Scene) -> None:
    scene.settings = WeeklySettings(cron="0 0 * * 1", receivers=("team",))
    scene.start()
    scene.look()
    midnight = datetime(2026, 11, 23, tzinfo=UTC)
    assert scene.look(midnight + timedelta(minutes=14)) == []
    assert scene.look(midnight + timedelta(minutes=15)) == ["hook", "slack"]


def test_without_receivers_the_report_is_made_and_kept_all_the_same(fortnight: Scene) -> None:
    fortnight.settings = WeeklySettings()
    fortnight.start()
    fortnight.look()
    assert fortnight.look(DUE) == []
    kept = read_document(fortnight.store, "weekly-report", "2026-W47")
    assert (kept["read_at"], kept["cost"]["cost_usd"]) == ("2026-11-23T08:00:00Z", 1344.0)


@pytest.mark.parametrize(
    ("cron", "time_zone", "now", "due"),
    [
        ("0 8 * * 1", "UTC", "2026-11-23T08:00:00+00:00", "2026-11-23T08:00:00+00:00"),
        ("0 8 * * 1", "UTC", "2026-11-23T07:59:59+00:00", "2026-11-16T08:00:00+00:00"),
        ("0 8 * * 1", "Asia/Tokyo", "2026-11-22T23:00:00+00:00", "2026-11-22T23:00:00+00:00"),
        ("0 8 * * 1", "Europe/Prague", "2026-10-26T12:00:00+00:00", "2026-10-26T07:00:00+00:00"),  # after summer time
    ],
)
def test_when_it_was_due_last_is_told_by_the_clock_of_the_place(cron: str, time_zone: str, now: str, due: str) -> None:
    assert last_due(cron, time_zone, datetime.fromisoformat(now)) == datetime.fromisoformat(due)


def test_without_a_schedule_it_never_is() -> None:
    assert last_due("", "UTC", DUE) is None


@pytest.fixture
def mailbox() -> Iterator[Mailbox]:
    with mailing() as made:
        yield made


def test_a_mail_has_the_digest_as_text_and_html_and_the_report_as_pdf(scene: Scene, mailbox: Mailbox) -> None:
    config = (
        "global: {smtp_require_tls: false, smtp_from: tailsight@example.com}\nroute: {receiver: team}\n"
        "receivers: [{name: team, email_configs: "
        f"[{{to: 'a@example.com, b@example.com', smarthost: '{mailbox.smarthost}'}}]}}]"
    )
    scene.settings = WeeklySettings(receivers=("team",))
    scene.start(parse_config(config))
    scene.look()
    scene.look(DUE)
    mail = email.message_from_string(mailbox.mails[-1], policy=email.policy.default)
    assert mail["Subject"].startswith("Weekly report 2026-W47, prod-us-east: Not all: ")
    assert mail["To"] == "a@example.com, b@example.com"
    text, html = (mail.get_body((kind,)).get_content() for kind in ("plain", "html"))  # type: ignore[attr-defined]
    assert "Did we keep our promises? Not all" in text
    assert "https://tailsight.example.com/api/v1/reports/weekly?week=2026-W47&format=html" in text
    assert "<b>Did we keep our promises? Not all" in html
    (pdf,) = mail.iter_attachments()  # type: ignore[attr-defined]
    assert (pdf.get_filename(), pdf.get_content_type()) == ("tailsight-2026-W47.pdf", "application/pdf")
    assert pdf.get_content().startswith(b"%PDF-")


def test_names_cannot_bring_markup_into_what_is_told() -> None:
    hostile = {**SAMPLE, "site": "<b>*x*</b>", "web_url": None}
    told = weekly_announcement(hostile)
    assert "<b>*x*" not in told.html
    assert told.url == ""
    assert "Full report" not in told.html
