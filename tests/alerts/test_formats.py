"""What each receiver is sent holds to the format that its maker has published, whatever an alert says.

Slack: the models of its own SDK check the blocks. PagerDuty: the OpenAPI document of its Events API v2
(github.com/PagerDuty/api-schema, reference/events-v2), with the limits of its documentation. Teams: the schema of
adaptive cards 1.4 (adaptivecards.io/schemas), of the elements that we use, and the 28 kB of a message. Webhook:
Alertmanager's documentation of `webhook_config`, version 4. What an Alertmanager is posted, a real one checks
(tests/scenarios/test_alertmanager.py).
"""

import json
from datetime import timedelta
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from slack_sdk.models.blocks import Block, ContextBlock, HeaderBlock, SectionBlock

from alerts.receivers.messages import facts, links
from domain.alert import Alert
from tests.alerts.test_receivers import FIRING, FULL, NOW, OTHER, RESOLVED, message

STRING = {"type": "string"}
TIME = {"type": "string", "pattern": r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)$"}
TEXTS = {"type": "object", "additionalProperties": STRING}
URL = {"type": "string", "pattern": "^https?://"}


def record(required: dict[str, Any], optional: dict[str, Any] | None = None) -> dict[str, Any]:
    """The schema of an object with these properties and no other."""
    return {
        "type": "object",
        "properties": required | (optional or {}),
        "required": list(required),
        "additionalProperties": False,
    }


PAGERDUTY = record(
    {"routing_key": STRING, "event_action": {"enum": ["trigger", "acknowledge", "resolve"]}},
    {
        "dedup_key": {"type": "string", "minLength": 1, "maxLength": 255},
        "client": STRING,
        "client_url": URL,
        "links": {"type": "array", "items": record({"href": URL}, {"text": STRING})},
        "images": {"type": "array", "items": record({"src": URL}, {"href": URL, "alt": STRING})},
        "payload": record(
            {
                "summary": {"type": "string", "minLength": 1, "maxLength": 1024},
                "severity": {"enum": ["critical", "error", "warning", "info"]},
                "source": {"type": "string", "minLength": 1},
            },
            {"timestamp": TIME, "component": STRING, "group": STRING, "class": STRING,
             "custom_details": {"type": "object"}},
        ),
    },
)  # fmt: skip
PAGERDUTY["if"] = {"properties": {"event_action": {"const": "trigger"}}}
PAGERDUTY["then"] = {"required": ["payload"]}
PAGERDUTY["else"] = {"required": ["dedup_key"]}

_BLOCK = {"separator": {"type": "boolean"}, "spacing": STRING, "id": STRING, "isVisible": {"type": "boolean"}}
CARD = {
    "$defs": {
        "TextBlock": record(
            {"type": {"const": "TextBlock"}, "text": STRING},
            {**_BLOCK, "size": {"enum": ["Default", "Small", "Medium", "Large", "ExtraLarge"]},
             "weight": {"enum": ["Default", "Lighter", "Bolder"]}, "wrap": {"type": "boolean"},
             "isSubtle": {"type": "boolean"}, "maxLines": {"type": "number"},
             "color": {"enum": ["Default", "Dark", "Light", "Accent", "Good", "Warning", "Attention"]}},
        ),
        "FactSet": record(
            {"type": {"const": "FactSet"},
             "facts": {"type": "array", "items": record({"title": STRING, "value": STRING})}}, _BLOCK,
        ),
        "OpenUrl": record({"type": {"const": "Action.OpenUrl"}, "url": URL}, {"title": STRING, "iconUrl": URL}),
    },
    **record(
        {"type": {"const": "AdaptiveCard"}, "version": {"const": "1.4"}},
        {"$schema": {"const": "http://adaptivecards.io/schemas/adaptive-card.json"},
         "body": {"type": "array", "items": {"anyOf": [{"$ref": "#/$defs/TextBlock"}, {"$ref": "#/$defs/FactSet"}]}},
         "actions": {"type": "array", "maxItems": 6, "items": {"$ref": "#/$defs/OpenUrl"}}},
    ),
}  # fmt: skip
TEAMS_BYTES_MAX = 28_000

_STATUS = {"enum": ["firing", "resolved"]}
WEBHOOK = record(
    {
        "version": {"const": "4"}, "groupKey": STRING, "truncatedAlerts": {"type": "integer", "minimum": 0},
        "status": _STATUS, "receiver": STRING, "groupLabels": TEXTS, "commonLabels": TEXTS,
        "commonAnnotations": TEXTS, "externalURL": URL,
        "alerts": {
            "type": "array",
            "items": record(
                {"status": _STATUS, "labels": TEXTS, "annotations": TEXTS, "startsAt": TIME, "endsAt": TIME,
                 "generatorURL": STRING, "fingerprint": {"type": "string", "pattern": "^[0-9a-f]{16}$"}},
            ),
        },
    }
)  # fmt: skip


def check_slack(document: dict[str, Any]) -> None:
    assert set(document) <= {"text", "attachments", "channel"}
    (attachment,) = document["attachments"]
    assert set(attachment) == {"color", "blocks"}
    assert len(attachment["blocks"]) <= 50
    for given_block in attachment["blocks"]:
        block = Block.parse(given_block)
        assert block is not None
        assert block.to_dict() == given_block, "what the SDK does not know it leaves out"
        if isinstance(block, HeaderBlock):
            continue
        if isinstance(block, SectionBlock):  # the SDK does not check how long a field is
            assert all(0 < len(text["text"]) <= 2000 for text in given_block.get("fields", ()))
            assert "text" not in given_block or given_block["text"]["text"]
        else:
            assert isinstance(block, ContextBlock) or given_block == {"type": "divider"}


def check(kind: str, document: dict[str, Any]) -> None:
    """Raise unless the document holds to the format."""
    json.dumps(document, allow_nan=False)
    if kind == "slack":
        check_slack(document)
    elif kind == "msteamsv2":
        assert set(document) == {"type", "attachments"}
        (attachment,) = document["attachments"]
        assert attachment["contentType"] == "application/vnd.microsoft.card.adaptive"
        assert len(json.dumps(document, ensure_ascii=False).encode()) <= TEAMS_BYTES_MAX
        _valid(attachment["content"], CARD)
    else:
        _valid(document, {"pagerduty": PAGERDUTY, "webhook": WEBHOOK}[kind])


def _valid(document: Any, schema: dict[str, Any]) -> None:
    jsonschema.Draft202012Validator(schema).validate(document)


KINDS = ("webhook", "pagerduty", "slack", "msteamsv2")
GROUPS = {
    "one": (FIRING,), "over": (RESOLVED,), "full": (FULL,), "both": (FIRING, RESOLVED), "many": (*[FULL] * 30, OTHER),
}  # fmt: skip


@pytest.mark.parametrize("group", GROUPS)
@pytest.mark.parametrize("kind", KINDS)
def test_what_is_sent_holds_to_the_published_format(kind: str, group: str) -> None:
    check(kind, message(kind, *GROUPS[group]).document)


_NAMES = sorted({*FULL.annotations, "cause_confidence"})
_TEXT = st.one_of(st.text(max_size=40), st.text("&<é漢🔥 \n", min_size=200, max_size=400).map(lambda text: text * 20))


@st.composite
def alerts(draw: st.DrawFn) -> Alert:
    """One that says anything, at any length; what is a URL stays one."""
    told = {
        name: f"https://tailsight.example/{name}" if name.endswith("_url") else draw(_TEXT)
        for name in draw(st.sets(st.sampled_from(_NAMES)))
    }
    labels = {"alertname": "A", **draw(st.dictionaries(st.sampled_from(["service", "severity", "slo"]), _TEXT))}
    ends_at = NOW + timedelta(minutes=draw(st.sampled_from([-1, 5])))
    return Alert(labels, told, NOW - timedelta(hours=1), ends_at, NOW)


@settings(max_examples=60, deadline=None)
@given(group=st.lists(alerts(), min_size=1, max_size=8))
@pytest.mark.parametrize("kind", KINDS)
def test_it_does_so_whatever_an_alert_says(kind: str, group: list[Alert]) -> None:
    check(kind, message(kind, *group).document)


def test_the_formats_can_tell_what_is_wrong() -> None:
    """A check that never fails checks nothing: each schema refuses what its receiver would."""
    assert facts(FULL.annotations)
    assert links(FULL.annotations)
    page = message("pagerduty", FULL).document
    for broken in (
        page | {"event_action": "fire"},
        page | {"payload": page["payload"] | {"severity": "page"}},
        page | {"payload": page["payload"] | {"summary": "x" * 1025}},
        {name: value for name, value in page.items() if name != "payload"},
    ):
        with pytest.raises(jsonschema.ValidationError):
            check("pagerduty", broken)
    card = message("msteamsv2", FULL).document
    card["attachments"][0]["content"]["body"][0]["colour"] = "Good"
    with pytest.raises(jsonschema.ValidationError):
        check("msteamsv2", card)
