"""Silences: alerts that nobody is to be notified of for a while, as Alertmanager's API v2 has them."""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from alerts.matchers import Matcher, MatcherError, Operator
from domain.window import from_rfc3339, rfc3339


class SilenceError(ValueError):
    """A silence that cannot be used; the message names the field and what is valid."""


@dataclass(frozen=True, slots=True)
class Silence:
    """Alerts that match all of `matchers` are suppressed from `starts_at` to `ends_at`; by whom, and why."""

    id: str
    matchers: tuple[Matcher, ...]
    starts_at: datetime
    ends_at: datetime
    created_by: str
    comment: str
    updated_at: datetime

    def is_active(self, now: datetime) -> bool:
        """Does it hold at `now`."""
        return self.starts_at <= now < self.ends_at

    def state(self, now: datetime) -> str:
        """`pending`, `active` or `expired`."""
        return "active" if self.is_active(now) else "pending" if now < self.starts_at else "expired"


def new_silence(document: Mapping[str, Any], now: datetime) -> Silence:
    """Read what somebody posts; a new id where the document has none.

    Raises:
        SilenceError: naming the field.
    """
    for name in ("createdBy", "comment"):
        if not str(document.get(name) or "").strip():
            raise SilenceError(f"{name} is missing: whoever is woken next wants to know")
    try:
        matchers = tuple(_matcher(one) for one in document.get("matchers") or ())
        starts_at = max(from_rfc3339(document["startsAt"]), now) if document.get("startsAt") else now
        ends_at = from_rfc3339(document["endsAt"])
    except KeyError as error:
        raise SilenceError(f"{error.args[0]} is missing") from None
    except (MatcherError, ValueError) as error:
        raise SilenceError(str(error)) from None
    if not matchers:
        raise SilenceError("matchers is empty: a silence needs at least one")
    if all(matcher.matches({}) for matcher in matchers):
        raise SilenceError("matchers: at least one must not match empty text, or all alerts would be silent")
    if ends_at <= starts_at:
        raise SilenceError(f"endsAt {document['endsAt']} is not after startsAt, or lies in the past")
    return Silence(
        id=str(document.get("id") or uuid.uuid4()),
        matchers=matchers,
        starts_at=starts_at,
        ends_at=ends_at,
        created_by=str(document["createdBy"]),
        comment=str(document["comment"]),
        updated_at=now,
    )


_OPERATORS: Mapping[tuple[bool, bool], Operator] = {
    (True, False): "=",
    (True, True): "=~",
    (False, False): "!=",
    (False, True): "!~",
}
"""By `isEqual` and `isRegex`."""


def _matcher(document: Mapping[str, Any]) -> Matcher:
    operator = _OPERATORS[bool(document.get("isEqual", True)), bool(document.get("isRegex", False))]
    return Matcher(str(document["name"]), str(document["value"]), operator)


def matcher_document(matcher: Matcher) -> dict[str, Any]:
    """A matcher as a silence has it."""
    return {
        "name": matcher.name,
        "value": matcher.value,
        "isRegex": matcher.operator in ("=~", "!~"),
        "isEqual": matcher.operator in ("=", "=~"),
    }


def silence_document(silence: Silence) -> dict[str, Any]:
    """The silence as JSON, in the fields of Alertmanager's API v2."""
    return {
        "id": silence.id,
        "matchers": [matcher_document(matcher) for matcher in silence.matchers],
        "startsAt": rfc3339(silence.starts_at),
        "endsAt": rfc3339(silence.ends_at),
        "createdBy": silence.created_by,
        "comment": silence.comment,
        "updatedAt": rfc3339(silence.updated_at),
    }


def silence_of(document: Mapping[str, Any]) -> Silence:
    """The silence of such a document, as it was kept."""
    return Silence(
        id=document["id"],
        matchers=tuple(_matcher(one) for one in document["matchers"]),
        starts_at=from_rfc3339(document["startsAt"]),
        ends_at=from_rfc3339(document["endsAt"]),
        created_by=document["createdBy"],
        comment=document["comment"],
        updated_at=from_rfc3339(document["updatedAt"]),
    )
