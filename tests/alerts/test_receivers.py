"""What each kind of receiver is told, and what an answer means."""

import asyncio
import html
import json
import socket
import ssl
import subprocess
import sys
import textwrap
import threading
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from alerts import deliver as deliver_module
from alerts.config import parse_config
from alerts.decide import incident_alert
from alerts.deliver import DeliveryError, deliver
from alerts.notification import Notification, Reason
from alerts.receiver_settings import GlobalSettings
from alerts.receivers import RECEIVERS
from alerts.receivers.messages import AppriseMessage, HttpMessage, MailMessage
from domain.alert import Alert, fingerprint
from tests.alerts.loopback import Answer, Mailbox, Receiver, mailing, receiving
from tests.domain.examples import PAGING

NOW = datetime(2026, 11, 29, 3, 0, tzinfo=UTC)
GIVEN = GlobalSettings(external_url="https://tailsight.example")
FIRING = Alert(
    {"alertname": "SLOBurnRate", "severity": "page", "service": "chat", "slo": "chat-ttft"},
    {
        "summary": "chat: time to first token <burns> its budget 20 times too fast",
        "cause": "gpu-07/mlx5_0/1 has a bad link",
        "incident_url": "https://tailsight.example/incidents/inc-1",
    },
    NOW - timedelta(minutes=5),
    NOW + timedelta(hours=1),
    NOW,
)
RESOLVED = Alert(
    {"alertname": "SLOBurnRate", "slo": "b"}, {}, NOW - timedelta(hours=1), NOW - timedelta(minutes=1), NOW
)
OTHER = Alert({"alertname": "SLOBudgetSpent", "slo": "c"}, {"summary": "spent"}, NOW, NOW + timedelta(hours=1), NOW)
_PAGE = incident_alert(PAGING, "https://tailsight.example", NOW)
assert _PAGE is not None
FULL = _PAGE
CONFIGS = {
    "webhook": "url: http://127.0.0.1:1/, max_alerts: 1",
    "pagerduty": "routing_key: key",
    "slack": "api_url: https://hooks.slack.com/x",
    "msteamsv2": "webhook_url: https://example.com/x",
    "email": "to: 'a@example.com, b@example.com', smarthost: '127.0.0.1:1', from: tailsight@example.com",
    "apprise": "url: 'json://localhost'",
}


def notification(kind: str, *alerts: Alert, more: str = "") -> Notification:
    text = f"route: {{receiver: a}}\nreceivers:\n- name: a\n  {kind}_configs: [{{{more or CONFIGS[kind]}}}]\n"
    (integration,) = parse_config(text).receivers["a"]
    return Notification('{}:{service="chat"}', {"service": "chat"}, "a", 0, integration, alerts, NOW, Reason.FIRST)


def message(kind: str, *alerts: Alert) -> Any:
    return RECEIVERS[kind].message(notification(kind, *alerts), GIVEN)


def test_the_webhook_document_is_that_of_alertmanager() -> None:
    found = message("webhook", FIRING, RESOLVED)
    assert isinstance(found, HttpMessage)
    document = found.document
    assert list(document) == [
        "version", "groupKey", "truncatedAlerts", "status", "receiver", "groupLabels", "commonLabels",
        "commonAnnotations", "externalURL", "alerts",
    ]  # fmt: skip
    assert (document["version"], document["status"], document["truncatedAlerts"]) == ("4", "firing", 1)
    assert document["commonLabels"] == {"alertname": "SLOBurnRate"}
    (one,) = document["alerts"]
    assert (one["status"], one["endsAt"]) == ("firing", "0001-01-01T00:00:00Z")
    assert one["fingerprint"] == fingerprint(FIRING.labels)
    json.dumps(document)


def test_the_fingerprint_is_that_of_alertmanager() -> None:
    # Asked of Alertmanager 0.25.0: GET /api/v2/alerts after posting these labels.
    assert fingerprint({}) == f"{14695981039346656037:016x}"
    assert fingerprint({"a": "b", "c": "d"}) == fingerprint({"c": "d", "a": "b"})


def test_pagerduty_is_triggered_and_resolved_under_one_key() -> None:
    trigger, resolve = message("pagerduty", FIRING, RESOLVED).document, message("pagerduty", RESOLVED).document
    assert (trigger["event_action"], resolve["event_action"]) == ("trigger", "resolve")
    assert trigger["dedup_key"] == resolve["dedup_key"]
    assert len(trigger["dedup_key"]) <= 255
    assert trigger["payload"]["severity"] == "critical"
    assert len(trigger["payload"]["summary"]) <= 1024
    assert trigger["links"] == [{"href": FIRING.annotations["incident_url"], "text": "Incident"}]


def test_slack_gets_what_matters_with_its_control_characters_escaped() -> None:
    document = message("slack", FIRING, OTHER).document
    text = json.dumps(document["attachments"][0]["blocks"], ensure_ascii=False)
    assert "&lt;burns&gt;" in text
    assert "*Cause:* gpu-07/mlx5_0/1 has a bad link" in text
    assert "<https://tailsight.example/incidents/inc-1|Incident>" in text


def test_slack_says_what_one_alert_is_once_and_what_is_short_side_by_side() -> None:
    blocks = message("slack", FULL).document["attachments"][0]["blocks"]
    assert [block["type"] for block in blocks] == ["header", "section", "section", "section", "context"]
    told = json.dumps(blocks, ensure_ascii=False)
    assert told.count(FULL.annotations["summary"]) == 1
    assert [field["text"].split("\n")[0] for field in blocks[2]["fields"]] == ["*Since*", "*Budget spent*", "*Cost*"]


def test_slack_takes_the_longest_alert() -> None:
    long = Alert(FULL.labels, dict.fromkeys(FULL.annotations, "&" * 5000), FULL.starts_at, FULL.ends_at, NOW)
    for block in message("slack", *[long] * 9).document["attachments"][0]["blocks"]:
        assert len(block.get("text", {}).get("text", "")) <= {"header": 150}.get(block["type"], 3000)
        assert all(len(field["text"]) <= 2000 for field in block.get("fields", ()))


def test_teams_gets_a_card_with_links() -> None:
    card = message("msteamsv2", FIRING).document["attachments"][0]["content"]
    assert card["type"] == "AdaptiveCard"
    assert card["actions"][0]["url"] == FIRING.annotations["incident_url"]


def test_a_mail_says_it_as_text_and_as_html() -> None:
    found = message("email", FIRING)
    assert isinstance(found, MailMessage)
    assert found.to == ("a@example.com", "b@example.com")
    assert found.subject.startswith("[FIRING:1] chat")
    assert "Cause: gpu-07" in found.text
    assert "&lt;burns&gt;" in found.html


def test_every_receiver_carries_all_that_matters_and_every_link() -> None:
    facts = ("impact", "cause", "evidence", "budget_spent", "cost", "next_step", "since", "exemplar_traces")
    for kind in ("pagerduty", "slack", "msteamsv2", "apprise"):
        found = message(kind, FULL)
        told = found.text if kind == "apprise" else json.dumps(found.document, ensure_ascii=False)
        for name in (*facts, "incident_url", "runbook_url", "silence_url"):
            assert FULL.annotations[name] in told, (kind, name)
    mail = message("email", FULL)
    for name in (*facts, "incident_url", "runbook_url", "silence_url"):
        assert FULL.annotations[name] in mail.text, name
        for part in FULL.annotations[name].split("; "):
            assert all(html.escape(one) in mail.html for one in part.split(", ")), name


def test_pagerduty_says_what_else_fires() -> None:
    details = message("pagerduty", FIRING, OTHER).document["payload"]["custom_details"]
    assert details["Also firing"] == ["spent"]
    assert "Also firing" not in message("pagerduty", FIRING).document["payload"]["custom_details"]


def test_a_mail_says_of_each_alert_whether_it_is_over() -> None:
    found = message("email", FIRING, RESOLVED)
    assert ">Page</div>" in found.html
    assert ">Alert, resolved</div>" in found.html


def test_a_card_of_several_alerts_says_which_is_which_and_links_once() -> None:
    card = message("msteamsv2", FULL, FULL, *[OTHER] * 6).document["attachments"][0]["content"]
    told = [one["text"] for one in card["body"] if one["type"] == "TextBlock"]
    assert told[1] == FULL.annotations["summary"]
    assert told[-1] == "and 3 more alerts"
    urls = [action["url"] for action in card["actions"]]
    assert len(urls) == len(set(urls)) == 3


def test_apprise_gets_a_title_and_a_text() -> None:
    found = message("apprise", RESOLVED)
    assert isinstance(found, AppriseMessage)
    assert (found.title, found.kind) == ("[RESOLVED] SLOBurnRate", "success")


@pytest.mark.parametrize(
    ("status", "retryable"),
    [(200, None), (202, None), (400, False), (404, False), (429, True), (500, True), (503, True)],
)
def test_what_an_answer_means(status: int, *, retryable: bool | None) -> None:
    transport = httpx.MockTransport(lambda _: httpx.Response(status, text="told"))

    async def send() -> None:
        async with httpx.AsyncClient(transport=transport) as client:
            await deliver(notification("webhook", FIRING), GIVEN, client)

    if retryable is None:
        asyncio.run(send())
        return
    with pytest.raises(DeliveryError, match=f"HTTP {status}: told") as failed:
        asyncio.run(send())
    assert failed.value.retryable is retryable


@pytest.mark.parametrize(
    ("headers", "retry_after_s"),
    [
        ({"Retry-After": "30"}, 30),
        ({"Retry-After": "999999"}, 3600),
        ({"Retry-After": "Sun, 29 Nov 2026 03:02:00 GMT", "Date": "Sun, 29 Nov 2026 03:00:00 GMT"}, 120),
        ({"Retry-After": "Sun, 29 Nov 2026 02:00:00 GMT", "Date": "Sun, 29 Nov 2026 03:00:00 GMT"}, 0),
        ({"Retry-After": "Sun, 29 Nov 2026 03:02:00 GMT"}, 0),
        ({"Retry-After": "soon"}, 0),
        ({"Retry-After": "-5"}, 0),
        ({}, 0),
    ],
)
def test_how_long_a_receiver_asks_us_to_wait(headers: dict[str, str], retry_after_s: float) -> None:
    transport = httpx.MockTransport(lambda _: httpx.Response(429, headers=headers))

    async def send() -> None:
        async with httpx.AsyncClient(transport=transport) as client:
            await deliver(notification("webhook", FIRING), GIVEN, client)

    with pytest.raises(DeliveryError) as failed:
        asyncio.run(send())
    assert failed.value.retry_after_s == retry_after_s


# -- how a receiver is reached -----------------------------------------------------------------------------------------


def deliver_to(receiver: Receiver, more: str, global_settings: GlobalSettings = GIVEN, url: str = "") -> None:
    """Tell it one alert, with these settings beside its URL."""

    async def send() -> None:
        async with httpx.AsyncClient() as client:
            settings = f"url: '{url or receiver.url}', {more}"
            await deliver(notification("webhook", FIRING, more=settings), global_settings, client)

    asyncio.run(send())


@pytest.mark.parametrize(
    ("more", "header"),
    [
        ("http_config: {authorization: {credentials: abc}}", "Bearer abc"),
        ("http_config: {authorization: {type: Token, credentials_file: FILE}}", "Token from-a-file"),
        ("http_config: {basic_auth: {username: ann, password_file: FILE}}", "Basic YW5uOmZyb20tYS1maWxl"),
        ("http_config: {}", None),
        ("", "Bearer of-all"),
    ],
)
def test_a_receiver_learns_who_we_are(more: str, header: str | None, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("from-a-file\n")
    global_settings = GlobalSettings.model_validate({"http_config": {"authorization": {"credentials": "of-all"}}})
    with receiving() as receiver:
        deliver_to(receiver, more.replace("FILE", str(tmp_path / "secret")), global_settings)
        assert [headers.get("Authorization") for headers in receiver.headers] == [header]


def test_a_file_of_secrets_that_is_not_there_is_tried_again() -> None:
    with receiving() as receiver, pytest.raises(DeliveryError, match="cannot be read") as failed:
        deliver_to(receiver, "http_config: {authorization: {credentials_file: /none}}")
    assert failed.value.retryable


def test_a_receiver_behind_a_proxy_is_told_through_it() -> None:
    with receiving() as proxy:
        deliver_to(proxy, f"http_config: {{proxy_url: '{proxy.url}'}}", url="http://receiver.invalid/hook")
        assert proxy.paths == ["http://receiver.invalid/hook"]


def test_a_receiver_that_has_moved_is_followed_unless_that_is_not_wanted() -> None:
    with receiving() as receiver, receiving(Answer(307, {"Location": receiver.url})) as moved:
        deliver_to(moved, "")
        assert len(receiver.received) == 1
        with pytest.raises(DeliveryError, match="HTTP 307"):
            deliver_to(moved, "http_config: {follow_redirects: false}")


@pytest.mark.parametrize("status", [301, 302, 303])
def test_a_receiver_that_answers_by_a_page_was_not_told(status: int) -> None:
    with receiving() as elsewhere, receiving(Answer(status, {"Location": elsewhere.url})) as moved:
        with pytest.raises(DeliveryError, match=f"HTTP {status} leads to 127.0.0.1, by GET") as failed:
            deliver_to(moved, "")
        assert not failed.value.retryable
        assert elsewhere.received == []


def test_a_receiver_that_drips_its_answer_holds_nobody_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("alerts.deliver._WHOLE_TIMEOUT_S", 0.5)

    async def drip(_request: httpx.Request) -> httpx.Response:
        async def body() -> AsyncIterator[bytes]:
            for _ in range(200):
                await asyncio.sleep(0.1)
                yield b"."

        return httpx.Response(500, content=body())

    async def send() -> None:
        async with httpx.AsyncClient(transport=httpx.MockTransport(drip)) as client:
            await deliver(notification("webhook", FIRING), GIVEN, client)

    with pytest.raises(DeliveryError, match=r"no whole answer in 0\.5 s") as failed:
        asyncio.run(send())
    assert failed.value.retryable


def own_certificate(folder: Path) -> tuple[Path, Path]:
    """The key of 127.0.0.1, and a certificate that it signed itself."""
    key, certificate = folder / "key.pem", folder / "certificate.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=127.0.0.1",
         "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(certificate)],
        check=True, capture_output=True,
    )  # fmt: skip
    return key, certificate


def test_a_receiver_with_a_certificate_of_our_own_is_trusted_when_we_say_so(tmp_path: Path) -> None:
    key, certificate = own_certificate(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with receiving(tls=context) as receiver:
        with pytest.raises(DeliveryError, match="CERTIFICATE_VERIFY_FAILED"):
            deliver_to(receiver, "")
        deliver_to(receiver, f"http_config: {{tls_config: {{ca_file: '{certificate}'}}}}")
        deliver_to(receiver, "http_config: {tls_config: {insecure_skip_verify: true}}")
        assert len(receiver.received) == 2
        with pytest.raises(DeliveryError, match="a certificate cannot be used"):
            deliver_to(receiver, "http_config: {tls_config: {ca_file: /none}}")


@pytest.fixture
def mailbox() -> Iterator[Mailbox]:
    with mailing() as made:
        yield made


def test_a_mail_is_really_sent(mailbox: Mailbox) -> None:
    more = f"to: a@example.com, smarthost: '{mailbox.smarthost}', from: t@example.com"
    global_settings = GlobalSettings(smtp_require_tls=False)
    asyncio.run(deliver(notification("email", FIRING, more=more), global_settings, httpx.AsyncClient()))
    assert "[FIRING:1] chat: time to first token" in mailbox.mails[-1]


def test_a_mail_goes_out_while_all_threads_of_the_loop_wait_for_something_else(mailbox: Mailbox) -> None:
    more = f"to: a@example.com, smarthost: '{mailbox.smarthost}', from: t@example.com"
    answers = threading.Event()

    async def send() -> None:
        loop = asyncio.get_running_loop()
        loop.set_default_executor(ThreadPoolExecutor(1))
        waiting = loop.run_in_executor(None, answers.wait)  # a store that hangs
        try:
            async with asyncio.timeout(10):
                global_settings = GlobalSettings(smtp_require_tls=False)
                await deliver(notification("email", FIRING, more=more), global_settings, httpx.AsyncClient())
        finally:
            answers.set()
            await waiting

    asyncio.run(send())
    assert len(mailbox.mails) == 1


def test_mails_to_a_server_that_hangs_leave_a_thread_for_another(
    mailbox: Mailbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deliver_module, "_TIMEOUT_S", 60.0)
    more = "to: a@example.com, smarthost: '127.0.0.1:{}', from: t@example.com"

    async def send_to(port: int) -> None:
        given = notification("email", FIRING, more=more.format(port))
        await deliver(given, GlobalSettings(smtp_require_tls=False), httpx.AsyncClient())

    async def send(hanging: int) -> None:
        waiting = [asyncio.create_task(send_to(hanging)) for _ in range(40)]  # an executor has 32 threads at most
        await asyncio.sleep(0.2)
        async with asyncio.timeout(10):
            await send_to(mailbox.server.server_address[1])
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)

    with socket.create_server(("127.0.0.1", 0), backlog=64) as silent:
        asyncio.run(send(silent.getsockname()[1]))
    assert len(mailbox.mails) == 1


def test_a_mail_server_that_hangs_does_not_hold_up_the_end_of_the_process() -> None:
    hanging = """
        import asyncio, contextlib, socket
        from alerts import deliver
        from alerts.receivers.messages import MailMessage

        async def send(port):
            smarthost, to = f"127.0.0.1:{port}", ("a@example.com",)
            mail = MailMessage(smarthost, "here", "", None, False, "t@example.com", to, "", "", "")
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(0.5):
                    await deliver.send(mail, None)

        deliver._TIMEOUT_S = 600.0
        silent = socket.create_server(("127.0.0.1", 0))
        asyncio.run(send(silent.getsockname()[1]))
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(hanging)], check=True, timeout=60)


def test_a_mail_server_without_tls_is_refused_unless_clear_text_is_allowed(mailbox: Mailbox) -> None:
    more = f"to: a@example.com, smarthost: '{mailbox.smarthost}', from: t@example.com"
    with pytest.raises(DeliveryError) as failed:
        asyncio.run(deliver(notification("email", FIRING, more=more), GlobalSettings(), httpx.AsyncClient()))
    assert not failed.value.retryable


def test_a_mail_server_at_the_port_of_smtps_is_spoken_to_in_tls_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key, certificate = own_certificate(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    with mailing(context) as mailbox:
        monkeypatch.setattr("alerts.deliver._SMTPS_PORT", mailbox.smarthost.partition(":")[2])
        more = f"to: smtps@example.com, smarthost: '{mailbox.smarthost}', from: t@example.com"
        asyncio.run(deliver(notification("email", FIRING, more=more), GlobalSettings(), httpx.AsyncClient()))
    assert "smtps@example.com" in mailbox.mails[-1]


def test_a_url_that_apprise_does_not_know_is_given_up() -> None:
    with pytest.raises(DeliveryError) as failed:
        asyncio.run(deliver(notification("apprise", FIRING, more="url: 'nothing'"), GIVEN, httpx.AsyncClient()))
    assert not failed.value.retryable
