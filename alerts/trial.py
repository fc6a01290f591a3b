"""Trials: a notification that is only a test, so that whoever sets up alerting sees it arrive before the first page.

It goes the way of every other one: the same messages, the same delivery, and to Alertmanager as Prometheus posts.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum

import httpx

from alerts.alertmanager import PATH, posted_alert
from alerts.deliver import DeliveryError, deliver, send
from alerts.matchers import Labels
from alerts.notification import Integration, Notification, Reason
from alerts.receiver_settings import GlobalSettings
from alerts.receivers.messages import HttpMessage
from alerts.settings import AlertsSettings
from domain.address import shown
from domain.alert import VALID, Alert
from domain.window import rfc3339

NAME = "TailsightTest"
"""How the alert of a trial is called, whatever it is about."""


class Outcome(StrEnum):
    """How it went with one integration."""

    TAKEN = "taken"
    REFUSED = "refused"
    NOT_REACHED = "not reached"
    NOT_TAKEN = "not taken"  # and why cannot be told


@dataclass(frozen=True, slots=True)
class TrialResult:
    """How one integration took a trial.

    Attributes:
        receiver: its name; of an Alertmanager its URL, as it may be shown.
        kind: of the integration, or alertmanager.
        outcome: taken or not.
        note: why it was not taken, or what happens next; empty where there is nothing to say.
    """

    receiver: str
    kind: str
    outcome: Outcome
    note: str = ""


def trial_alert(labels: Labels, by: str, now: datetime) -> Alert:
    """An alert that says that it is a test, by whom and of when; with these labels, but for its name."""
    annotations = {
        "summary": f"Test by {by} at {rfc3339(now)}: nothing is wrong",
        "impact": "None. Somebody looks whether notifications arrive (tailsight route send)",
        "next_step": "None. Tell the sender that it arrived",
    }
    return Alert({**labels, "alertname": NAME}, annotations, now, now + VALID, now)


def is_left_open(integration: Integration) -> bool:
    """Does what it is sent stay open there until it is resolved, so that a trial is to be resolved."""
    return integration.kind == "pagerduty" or (integration.kind == "webhook" and integration.send_resolved)


def run_trial(
    settings: AlertsSettings,
    receivers: Mapping[str, Sequence[Integration]],
    alert: Alert,
    web_url: str,
    open_s: float,
    now: Callable[[], datetime],
) -> list[TrialResult]:
    """Notify every integration of these receivers and every Alertmanager, all at once, and say how each took it.

    Args:
        settings: which Alertmanagers there are, and what holds for all receivers.
        receivers: integrations by the name of their receiver.
        alert: as `trial_alert` makes it.
        web_url: where the pages are reached, for links.
        open_s: seconds until what stays open is resolved again, so that it has time to ring.
        now: the clock.
    """
    key = alert.annotations["summary"]  # of no group that there is, and of no other trial
    notifications = [
        Notification(key, {"alertname": NAME}, name, place, integration, (alert,), alert.starts_at, Reason.TEST)
        for name, integrations in receivers.items()
        for place, integration in enumerate(integrations)
    ]
    global_settings = settings.config.global_settings.linking_to(web_url)

    async def run() -> list[TrialResult]:
        async with httpx.AsyncClient() as client:
            trials = [_try_receiver(one, global_settings, client, open_s, now) for one in notifications]
            return await asyncio.gather(
                *trials, *(_try_alertmanager(url, settings, alert, client) for url in settings.alertmanagers)
            )

    return asyncio.run(run())


async def _try_receiver(
    notification: Notification,
    global_settings: GlobalSettings,
    client: httpx.AsyncClient,
    open_s: float,
    now: Callable[[], datetime],
) -> TrialResult:
    receiver, kind = notification.receiver, notification.integration.kind
    opens, failed, not_ended = is_left_open(notification.integration), None, None
    try:
        failed = await _failure(deliver(notification, global_settings, client))
        if opens and failed is None:
            await asyncio.sleep(open_s)
    finally:  # also when somebody does not want to wait, or when its answer came too late: nothing stays open
        if opens and not (failed and failed.is_reached):
            at = now()
            over = tuple(replace(alert, ends_at=at) for alert in notification.alerts)
            not_ended = await _failure(deliver(replace(notification, alerts=over, at=at), global_settings, client))
    if failed is not None:
        return TrialResult(receiver, kind, _outcome(failed), str(failed))
    if not_ended is not None:
        return TrialResult(
            receiver, kind, _outcome(not_ended), f"taken, but not its end: resolve it there. {not_ended}"
        )
    return TrialResult(receiver, kind, Outcome.TAKEN, "and resolved again" if opens else "")


async def _try_alertmanager(url: str, settings: AlertsSettings, alert: Alert, client: httpx.AsyncClient) -> TrialResult:
    document, http = posted_alert(alert, alert.starts_at), settings.alertmanager_http_config

    async def post() -> None:
        await send(HttpMessage(url + PATH, [document], http.headers(), http), client)

    if (failed := await _failure(post())) is not None:
        return TrialResult(shown(url), "alertmanager", _outcome(failed), str(failed))
    note = f"its own routes decide who is told; over at {document['endsAt']}"
    return TrialResult(shown(url), "alertmanager", Outcome.TAKEN, note)


async def _failure(sending: Awaitable[None]) -> DeliveryError | None:
    """What went wrong; None when it was taken."""
    try:
        await sending
    except DeliveryError as error:
        return error
    except OSError as error:
        return DeliveryError(f"a file of secrets cannot be read: {error}", retryable=True)
    except Exception as error:  # what it says may quote a secret that cannot be sent as it stands
        return DeliveryError(f"it cannot be sent as it is configured: {type(error).__name__}", retryable=False)
    return None


def _outcome(failed: DeliveryError) -> Outcome:
    if failed.is_reached is None:
        return Outcome.NOT_TAKEN
    return Outcome.REFUSED if failed.is_reached else Outcome.NOT_REACHED
