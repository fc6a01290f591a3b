from pathlib import Path

import pytest

from alerts.config import AlertingError, parse_config
from alerts.receivers import RECEIVERS
from tests.alerts.conformance import CASES, needs_cases

MINIMAL = "route: {receiver: a}\nreceivers:\n- name: a\n"
UPSTREAM = CASES / "upstream" / "config" / "testdata"
# Alertmanager's own bad configurations of what we know too, each refused for its own reason.
BAD = (
    "conf.nil-match_re-route.yml",
    "conf.nil-source_match_re-inhibition.yml",
    "conf.nil-target_match_re-inhibition.yml",
    "conf.slack-no-api-url-or-token.yml",
)


@pytest.mark.parametrize("kind", sorted(RECEIVERS))
def test_every_kind_of_receiver_can_be_configured(kind: str) -> None:
    settings = {
        "webhook": "url: http://127.0.0.1:1/",
        "pagerduty": "routing_key: k",
        "slack": "api_url: https://hooks.slack.com/x",
        "msteamsv2": "webhook_url: https://example.com/x",
        "email": "to: a@example.com, smarthost: 'localhost:25'",
        "apprise": "url: 'json://localhost'",
    }
    config = parse_config(MINIMAL + f"  {kind}_configs: [{{{settings[kind]}}}]\n")
    (integration,) = config.receivers["a"]
    assert integration.kind == kind


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("route: {receiver: a}\nreceivers: [{name: b}]", "no receiver 'a'; known are b"),
        ("receivers: [{name: a}]", "route is missing"),
        ("route: {receiver: a}\nreceivers: [{name: a}, {name: a}]", "taken"),
        ("route: {receiver: a}\nreceivers: [{name: a, sns_configs: []}]", "sns_configs is not known here; valid"),
        ("route: {receiver: a}\nreceivers: [{name: a, webhook_configs: [{}]}]", "either url or url_file"),
        ("route: {receiver: a}\nreceivers: [{name: a, slack_configs: [{channel: '#x'}]}]", "slack needs api_url"),
        ("route: {receiver: a}\nreceivers: [{name: a, webhook_configs: [{url: x, urll: y}]}]", "urll"),
        (MINIMAL + "templates: [a.tmpl]", "templates are not read"),
        (MINIMAL + "global: {resolve_timeout: soon}", "global.resolve_timeout"),
        (MINIMAL + "time_intervals: [{name: x, time_intervals: [{weekdays: [funday]}]}]", "funday"),
        (MINIMAL.replace("a}", "a, routes: [{matchers: [a=b], mute_time_intervals: [x]}]}", 1), "no time interval 'x'"),
        ("- a", "expected a mapping"),
        ("a: [", "the text is no YAML at line 1"),
        (MINIMAL + "receivers: [{name: b}]", "the text holds the key 'receivers' twice"),
    ],
)  # fmt: skip
def test_what_cannot_be_used_is_refused_where_it_is_wrong(text: str, told: str) -> None:
    with pytest.raises(AlertingError, match=told):
        parse_config(text)


def test_every_fault_is_told_at_once_with_what_is_valid() -> None:
    text = """
global: {smtp_smarthots: 'mail:25', resolve_timeout: soon}
route:
  receiver: a
  routes:
  - {matchers: [severity="page"], receiver: oncall, repeat_intervall: 1h}
  - {matchers: ['=x'], receiver: b, group_interval: 0s}
receivers:
- name: a
  webhook_configs: [{url: 'http://x', max_alert: 3}]
  slack_configs: [{api_url: 'https://hooks.slack.com/x', title: '{{ .Foo }}'}]
- name: c
  pagerduty_configs: [{routing_key: 12345}]
  sns_configs: []
inhibit_rules: [{source: x}]
time_intervals: [{name: nights, time_intervals: [{weekdays: [funday]}]}]
templates: [a.tmpl]
"""
    with pytest.raises(AlertingError) as error:
        parse_config(text)
    told = str(error.value).splitlines()
    assert "unknown field templates; valid are global, route," in told.pop(0)
    assert [line.split(": ")[0] for line in told] == [
        "global.resolve_timeout",
        "global.smtp_smarthots",
        "route.routes[0]",
        "route.routes[1]",
        "route.routes[1].group_interval",
        "receivers[0] (a).webhook_configs[0].max_alert",
        "receivers[0] (a).slack_configs[0].title",
        "receivers[1] (c).pagerduty_configs[0].routing_key",
        "receivers[1] (c)",
        "inhibit_rules[0]",
        "time_intervals[0] (nights)",
    ]
    assert told[1].endswith("unknown field; did you mean smtp_smarthost?")
    assert told[5].endswith("unknown field; did you mean max_alerts?")
    assert told[6].endswith("unknown field; valid are api_url, api_url_file, channel, http_config, send_resolved")
    assert "12345" not in told[7]


def test_names_that_are_not_there_are_told_beside_other_faults() -> None:
    text = "route: {receiver: b}\nreceivers: [{name: a, webhook_configs: [{url: x, urll: y}]}]"
    with pytest.raises(AlertingError, match=r"(?s)unknown field; .*there is no receiver 'b'; known are a"):
        parse_config(text)


def test_a_field_that_is_written_under_another_name_is_told_by_it() -> None:
    text = MINIMAL + "  email_configs: [{to: a@example.com, smarthost: 'localhost:25', formm: x}]\n"
    with pytest.raises(AlertingError, match=r"formm: unknown field; did you mean from\?"):
        parse_config(text)


@needs_cases
@pytest.mark.parametrize("name", BAD)
def test_what_alertmanager_refuses_is_refused(name: str) -> None:
    with pytest.raises(AlertingError):
        parse_config((UPSTREAM / name).read_text())


def test_a_secret_is_never_shown(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text("0123456789abcdef\n")
    text = MINIMAL + f"  pagerduty_configs: [{{routing_key: hidden-key}}, {{routing_key_file: {file}}}]\n"
    assert "hidden-key" not in repr(parse_config(text))
