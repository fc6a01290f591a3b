from datetime import timedelta

import pytest

from dashboards.state import (
    RANGES,
    PageState,
    elsewhere,
    incident_id_of,
    incident_path,
    link,
    parse_state,
    slo_name_of,
    slo_path,
)
from domain.window import Window
from tests.dashboards.frames import HOUR, NOON


def test_a_link_and_what_is_read_from_it_are_inverse() -> None:
    state = PageState("1h", "chat & rerank", HOUR)
    address = link("/", state)
    assert address.startswith("/?range=1h&service=chat+%26+rerank&explain=2026-11-23T11:00:00Z~2026-11-23T12:00:00Z")
    assert parse_state(address.removeprefix("/")) == state


@pytest.mark.parametrize(
    "search",
    [None, "", "?", "?range=2h", "?range=1h%00", "?explain=yesterday", "?explain=2026-11-23T12:00:00Z~", "?service="],
)
def test_what_a_query_does_not_say_validly_counts_as_not_said(search: str | None) -> None:
    assert parse_state(search) == PageState()


def test_a_window_that_ends_before_it_starts_is_not_explained() -> None:
    assert parse_state("?explain=2026-11-23T12:00:00Z~2026-11-23T11:00:00Z").explain is None


@pytest.mark.parametrize("name", RANGES)
def test_a_window_covers_its_range_from_the_start_of_a_step_to_now(name: str) -> None:
    now = NOON + timedelta(seconds=7.3)
    window = PageState(name).window(now, "6h")
    chosen = RANGES[name]
    assert window.start.timestamp() % chosen.step_s == 0
    assert window.end == NOON + timedelta(seconds=7)
    assert chosen.seconds <= window.seconds < chosen.seconds + chosen.step_s


@pytest.mark.parametrize("chosen", RANGES.values())
def test_steps_are_multiples_of_the_rollups_resolution_and_columns_about_a_hundred(chosen: object) -> None:
    seconds, step_s = chosen.seconds, chosen.step_s  # type: ignore[attr-defined]
    assert step_s % 15 == 0
    assert 50 <= seconds / step_s <= 120


def test_without_a_range_the_page_has_its_own() -> None:
    assert PageState().window(NOON, "1h") == Window(NOON - timedelta(hours=1), NOON)


@pytest.mark.parametrize("incident_id", ["chat-1", "a/b", "ü & co", "..", "%2F"])
def test_any_incident_id_survives_its_path(incident_id: str) -> None:
    path = incident_path(incident_id)
    assert incident_id_of(path) == incident_id
    assert incident_id_of(f"{path}/") == incident_id


@pytest.mark.parametrize("path", [None, "", "/", "/incidents", "/incidents/", "/other/chat-1", "/incidents/a/b"])
def test_other_paths_name_no_incident(path: str | None) -> None:
    assert incident_id_of(path) is None


def test_the_window_to_explain_stays_behind_when_the_page_changes() -> None:
    assert elsewhere(PageState("1h", "chat", HOUR)) == PageState("1h", "chat")


def test_what_belongs_to_the_breakdown_of_cost_is_in_its_address_and_stays_there() -> None:
    state = parse_state("?range=30d&by=tenant&model=llama&sort=tenant.up")
    assert state == PageState(range_name="30d", by="tenant", model="llama", sort="tenant.up")
    assert parse_state(link("/cost/breakdown", state).partition("?")[2]) == state
    assert elsewhere(state) == PageState(range_name="30d")


def test_a_range_of_cost_is_the_usual_one_elsewhere() -> None:
    assert PageState(range_name="30d").range("6h") == PageState().range("6h")


@pytest.mark.parametrize("name", ["chat-ttft", "acme/chat latency", "50%", "é"])
def test_the_path_of_an_objective_and_its_name_are_inverse(name: str) -> None:
    assert slo_name_of(slo_path(name)) == name


@pytest.mark.parametrize("path", [None, "", "/", "/slos", "/slos/", "/x/slos/chat"])
def test_other_paths_name_no_objective(path: str | None) -> None:
    assert slo_name_of(path) is None
