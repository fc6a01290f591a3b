"""Delivery: messages sent, and what a refusal means: try again, or give up."""

import asyncio
import smtplib
import ssl
import threading
from collections.abc import Callable
from contextlib import AsyncExitStack
from email.message import EmailMessage
from email.utils import parsedate_to_datetime
from functools import partial
from typing import TypeVar

import httpx

from alerts.notification import Notification
from alerts.receiver_settings import GlobalSettings, TlsSettings
from alerts.receivers import RECEIVERS
from alerts.receivers.messages import AppriseMessage, HttpMessage, MailMessage, Message
from storage.asking import ask_in_daemon

_RETRIED = frozenset({408, 425, 429})  # and 5xx: the receiver is not able now, but may be soon
_TIMEOUT_S = 10.0  # to connect, and for each read
_WHOLE_TIMEOUT_S = 30.0
_RETRY_AFTER_MOST_S = 3600.0  # longer no page may wait, whatever is asked for
_ANSWER_MAX = 300
_SECRET_LEAST = 8  # characters; what is shorter is no secret, and common in answers
_SMTPS_PORT = "465"
_ADDING = threading.Lock()
_Blocking = TypeVar("_Blocking", MailMessage, AppriseMessage)


class DeliveryError(Exception):
    """A receiver did not take it; `retryable` when the same may be taken later, and not before `retry_after_s`.

    `is_reached` says whether the receiver itself answered so; None where that cannot be told.
    """

    def __init__(
        self, message: str, *, retryable: bool, retry_after_s: float = 0.0, is_reached: bool | None = False
    ) -> None:
        super().__init__(message)
        self.retryable = retryable
        self.retry_after_s = retry_after_s
        self.is_reached = is_reached


async def deliver(notification: Notification, global_settings: GlobalSettings, client: httpx.AsyncClient) -> None:
    """Send a notification to its integration.

    Raises:
        DeliveryError: when it was not taken.
    """
    try:
        message = RECEIVERS[notification.integration.kind].message(notification, global_settings)
    except OSError as error:
        raise DeliveryError(f"a file of secrets cannot be read: {error}", retryable=True) from error
    await send(message, client)


async def send(message: Message, client: httpx.AsyncClient) -> None:
    """Send a message.

    Raises:
        DeliveryError: when it was not taken.
    """
    if isinstance(message, HttpMessage):
        await _post(message, client)
    elif isinstance(message, MailMessage):
        await _in_thread(_mail, message)
    else:
        await _in_thread(_by_apprise, message)


async def _in_thread(blocking: Callable[[_Blocking], None], message: _Blocking) -> None:
    """Send in a thread of its own: neither a store nor another server that hangs takes it, and no end waits for it."""
    await asyncio.wrap_future(ask_in_daemon(partial(blocking, message), "deliver"))


async def _post(message: HttpMessage, client: httpx.AsyncClient) -> None:
    http = message.http
    try:
        async with AsyncExitStack() as stack:
            if http.is_reached_otherwise:
                client = await stack.enter_async_context(
                    httpx.AsyncClient(proxy=http.proxy_url, verify=_trusted(http.tls_config))
                )
            await stack.enter_async_context(asyncio.timeout(_WHOLE_TIMEOUT_S))
            request = client.build_request(
                "POST", message.url, json=message.document, headers=dict(message.headers), timeout=_TIMEOUT_S
            )
            answer = await client.send(request, stream=True, follow_redirects=http.follow_redirects)
            stack.push_async_callback(answer.aclose)
            answered = _without_secrets(await _beginning(answer), message, answer.request)[:_ANSWER_MAX]
    except TimeoutError as error:
        raise DeliveryError(f"no whole answer in {_WHOLE_TIMEOUT_S:g} s", retryable=True) from error
    except OSError as error:
        raise DeliveryError(f"a certificate cannot be used: {error}", retryable=True) from error
    except (httpx.InvalidURL, httpx.UnsupportedProtocol) as error:
        raise DeliveryError(f"no URL to POST to: {error}", retryable=False) from error
    except (httpx.LocalProtocolError, UnicodeEncodeError) as error:  # which quotes the header, with the secret in it
        raise DeliveryError("a secret has characters that no header may have, or is empty", retryable=True) from error
    except httpx.HTTPError as error:
        raise DeliveryError(f"{type(error).__name__}: {error}", retryable=True) from error
    if answer.request.method != "POST":  # 301 to 303 make a GET without a body of it, which tells nobody anything
        first = answer.history[0]
        raise DeliveryError(
            f"HTTP {first.status_code} leads to {answer.url.host}, by GET: give the URL that takes a POST",
            retryable=False,
            is_reached=True,
        )
    if answer.is_success:
        return
    retryable = answer.status_code >= 500 or answer.status_code in _RETRIED
    raise DeliveryError(
        f"HTTP {answer.status_code}: {answered.strip() or answer.reason_phrase}",
        retryable=retryable,
        retry_after_s=_retry_after_s(answer.headers) if retryable else 0.0,
        is_reached=True,
    )


async def _beginning(answer: httpx.Response) -> str:
    """The first words of an answer; the rest of a long one is not waited for."""
    body = b""
    async for chunk in answer.aiter_bytes():
        body += chunk
        if len(body) >= _ANSWER_MAX * 4:
            break
    return body.decode(errors="replace")


def _without_secrets(text: str, message: HttpMessage, request: httpx.Request) -> str:
    """An answer without what it repeats of our secrets: token, key, path of a URL (`Cannot POST /services/T0/B0/x`)."""
    url = httpx.URL(message.url)
    secrets = [message.url, url.raw_path.decode(), url.path, *request.headers.get("Authorization", "").split()]
    if isinstance(message.document, dict):
        secrets.append(message.document.get("routing_key") or "")
    for secret in secrets:
        if len(secret) >= _SECRET_LEAST:
            text = text.replace(secret, "…")
    return text


def _trusted(tls: TlsSettings) -> ssl.SSLContext:
    """Whom we trust, and how we are known. OSError for a file that cannot be read, or that holds no certificate."""
    context = ssl.create_default_context(cafile=tls.ca_file)
    if tls.cert_file is not None:
        context.load_cert_chain(tls.cert_file, tls.key_file)
    if tls.insecure_skip_verify:
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


def _retry_after_s(headers: httpx.Headers) -> float:
    """How long the receiver asks us to wait (RFC 9110, 10.2.3): seconds, or a date by its own clock; else 0."""
    asked = headers.get("Retry-After", "").strip()
    if asked.isdecimal():
        return min(float(asked), _RETRY_AFTER_MOST_S)
    try:
        wait = parsedate_to_datetime(asked) - parsedate_to_datetime(headers["Date"])
    except (KeyError, TypeError, ValueError):
        return 0.0
    return min(max(wait.total_seconds(), 0.0), _RETRY_AFTER_MOST_S)


def _mail(message: MailMessage) -> None:
    mail = EmailMessage()
    mail["Subject"], mail["From"], mail["To"] = message.subject, message.sender, ", ".join(message.to)
    mail.set_content(message.text)
    mail.add_alternative(message.html, subtype="html")
    for one in message.attachments:
        kind, _, subtype = one.media_type.partition("/")
        mail.add_attachment(one.body, maintype=kind, subtype=subtype, filename=one.name)
    try:
        with _mail_server(message) as server:
            if message.require_tls and not isinstance(server, smtplib.SMTP_SSL):
                server.starttls(context=ssl.create_default_context())
            if message.username:
                server.login(message.username, message.password or "")
            server.send_message(mail)
    except (smtplib.SMTPAuthenticationError, smtplib.SMTPRecipientsRefused, smtplib.SMTPNotSupportedError) as error:
        raise DeliveryError(f"{type(error).__name__}: {error}", retryable=False, is_reached=True) from error
    except (smtplib.SMTPException, OSError, ValueError) as error:
        is_answer = isinstance(error, smtplib.SMTPResponseException)
        raise DeliveryError(f"{type(error).__name__}: {error}", retryable=True, is_reached=is_answer) from error


def _mail_server(message: MailMessage) -> smtplib.SMTP:
    """The server of a mail; at port 465 it speaks TLS from the first byte (RFC 8314), as Alertmanager has it."""
    host, _, port = message.smarthost.partition(":")
    if port == _SMTPS_PORT:
        context = ssl.create_default_context()
        return smtplib.SMTP_SSL(host, int(port), local_hostname=message.hello, timeout=_TIMEOUT_S, context=context)
    return smtplib.SMTP(host, int(port or 25), local_hostname=message.hello, timeout=_TIMEOUT_S)


def _by_apprise(message: AppriseMessage) -> None:
    import apprise  # noqa: PLC0415  # hundreds of modules, for those who use it

    service = apprise.Apprise()
    with _ADDING:
        apprise.logger.disabled = True  # it quotes a URL that it cannot read, with the tokens in it
        try:
            is_known = service.add(message.url)
        finally:
            apprise.logger.disabled = False
    if not is_known:
        raise DeliveryError("Apprise knows no service for this URL", retryable=False)
    if not service.notify(title=message.title, body=message.text, notify_type=message.kind):
        raise DeliveryError("the service behind the URL of Apprise did not take it", retryable=True, is_reached=None)
