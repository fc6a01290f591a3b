from dataclasses import replace
from datetime import timedelta

import pytest

from analytics.knowledge import shipped_knowledge
from dashboards.freshness import Gap
from dashboards.verdict import (
    Pace,
    Verdict,
    budget_gone_in,
    days_seen,
    line_tone,
    look_of,
    pace,
    status_of,
    verdict,
    worst_first,
)  # fmt: skip
from domain.cause import CauseKind
from domain.entity import Entity, EntityKind
from domain.incident import Indicator, Severity
from domain.slo import SloState
from tests.dashboards.frames import NOON, cause, incident, minutes_ago, objective, status
from tests.own_titles import OWN_TITLES

KNOWLEDGE = shipped_knowledge()
_SEEN = {"requests": NOON, "samples": None}
_BLIND = Gap(
    "looks", minutes_ago(5), "Blind: last look 11:55 UTC", "Nothing that happened since then is found or paged.",
    "as of 11:55, no look since",
)  # fmt: skip
_STALE = Gap(
    "requests", minutes_ago(7), "Requests stale 7 min", "None came in since 11:53 UTC.", "as of 11:53, no data since"
)
_PAUSED = replace(_STALE, since=minutes_ago(3), as_of="as of 11:57, no data since", is_missed=False)


def _words(found: Verdict) -> str:
    return "".join(words for words, _ in found.details).replace("\N{NO-BREAK SPACE}", " ")


def test_an_open_incident_is_told_with_its_burn_rate_beginning_and_cause() -> None:
    found = verdict([status(burn=62.0, left=0.234)], [incident()], _SEEN, NOON, KNOWLEDGE)
    assert found.tone == "critical"
    assert found.headline == "chat is spending its TTFT budget 62× too fast"
    assert _words(found) == (
        "Began 11:40 UTC, 20 min ago. 31 % of its requests slow or failed. "
        "As in the last 1 h the budget runs out in 2 h 43 min. Likely cause: Bad link on gpu-07-03/mlx5_2/1, 93 % sure."
    )
    ours = verdict([], [incident()], _SEEN, NOON, OWN_TITLES)
    assert _words(ours).endswith("Likely cause: Dim optics on gpu-07-03/mlx5_2/1, 93 % sure.")
    assert found.incident_id == "chat-1"


def test_an_incident_without_an_objective_is_told_by_its_level() -> None:
    found = verdict([], [incident(cause(CauseKind.UNKNOWN), severity=Severity.TICKET)], _SEEN, NOON, KNOWLEDGE)
    assert (found.tone, found.headline) == ("warning", "TTFT p99 at 4.1 s on chat")
    assert _words(found).endswith("Likely cause: Not known.")


def test_a_spent_budget_does_not_run_out_any_more() -> None:
    assert "The budget is spent." in _words(
        verdict([status(left=-0.2, burn=9.0)], [incident()], _SEEN, NOON, KNOWLEDGE)
    )


def test_the_worst_incident_comes_first_and_the_others_are_counted() -> None:
    ticket = incident(id="newer", severity=Severity.TICKET, started_at=minutes_ago(1))
    found = verdict([], [ticket, incident()], _SEEN, NOON, KNOWLEDGE)
    assert found.incident_id == "chat-1"
    assert _words(found).endswith("1 more open incident.")


def test_an_objective_in_trouble_is_told_when_no_incident_is_open() -> None:
    missed = status(state=SloState.MISSED, left=-0.1)
    found = verdict([status(), missed], [], _SEEN, NOON, KNOWLEDGE)
    assert (found.tone, found.headline) == ("critical", "chat missed its objective TTFT < 800 ms")
    assert "99.60 % of 99 % over 30 days, −10 % of the budget left" in _words(found)
    assert verdict([status(state=SloState.AT_RISK)], [], _SEEN, NOON, KNOWLEDGE).tone == "warning"


def test_calm_is_one_line_with_the_lowest_budget_and_the_last_data() -> None:
    found = verdict([status(left=0.9), status(objective("rerank"), left=0.42)], [], _SEEN, NOON, KNOWLEDGE)
    assert (found.tone, found.headline) == ("good", "All objectives met")
    assert _words(found) == "Lowest budget 42 % left, rerank TTFT < 800 ms. Last data 12:00:00 UTC."


def test_an_objective_without_data_is_never_counted_as_met() -> None:
    unknown = status(state=SloState.NO_DATA, left=None, history=())
    found = verdict([unknown], [], {"requests": None}, NOON, KNOWLEDGE)
    assert found.tone == "unknown"
    assert _words(found).endswith("No data in the last 35 days.")
    mixed = verdict([unknown, status()], [], _SEEN, NOON, KNOWLEDGE)
    assert mixed.headline == "All objectives with data met, 1 without data"


def test_nothing_is_claimed_to_be_met_while_something_is_not_seen() -> None:
    found = verdict([status(left=0.42)], [], _SEEN, NOON, KNOWLEDGE, [_BLIND, _STALE])
    assert (found.tone, found.headline) == ("warning", "Blind: last look 11:55 UTC")
    assert _words(found) == (
        "Nothing that happened since then is found or paged. Requests stale 7 min. "
        "By what is known: lowest budget 42 % left, chat TTFT < 800 ms."
    )
    without = verdict([], [], _SEEN, NOON, KNOWLEDGE, [_STALE])
    assert (without.tone, without.headline) == ("warning", "Requests stale 7 min")
    assert _words(without) == "None came in since 11:53 UTC."


def test_trouble_stays_the_headline_and_what_is_not_seen_stands_beside_it() -> None:
    burning = verdict([], [incident()], _SEEN, NOON, KNOWLEDGE, [_BLIND])
    assert (burning.tone, burning.incident_id) == ("critical", "chat-1")
    assert burning.headline == "TTFT p99 at 4.1 s on chat as of 11:55, no look since"
    assert _words(burning).endswith("Bad link on gpu-07-03/mlx5_2/1, 93 % sure. Blind: last look 11:55 UTC.")
    missed = verdict([status(state=SloState.MISSED, left=-0.1)], [], _SEEN, NOON, KNOWLEDGE, [_STALE])
    assert missed.headline == "chat missed its objective TTFT < 800 ms"
    assert "No incident is open as of 11:53, no data since." in _words(missed)
    assert _words(missed).endswith("Last data 12:00:00 UTC. Requests stale 7 min.")


def test_after_a_pause_all_is_met_as_of_its_beginning_and_nobody_is_alarmed() -> None:
    found = verdict([status(left=0.42)], [], _SEEN, NOON, KNOWLEDGE, [_PAUSED])
    assert (found.tone, found.headline) == ("unknown", "All objectives met as of 11:57, no data since")
    assert _words(found).endswith("Last data 12:00:00 UTC. Requests stale 7 min.")


def test_a_gap_that_hides_no_objective_leaves_them_met() -> None:
    samples = replace(_PAUSED, of="samples", words="Samples stale 3 min")
    found = verdict([status(left=0.42)], [], _SEEN, NOON, KNOWLEDGE, [samples])
    assert (found.tone, found.headline) == ("good", "All objectives met")
    assert _words(found).endswith("Samples stale 3 min.")
    gpus = objective(indicator=Indicator.GPU_AVAILABILITY)
    assert verdict([status(gpus)], [], _SEEN, NOON, KNOWLEDGE, [samples]).headline.endswith(
        "as of 11:57, no data since"
    )


def test_what_is_missed_is_told_before_what_has_only_paused() -> None:
    found = verdict([status()], [], _SEEN, NOON, KNOWLEDGE, [replace(_PAUSED, words="Requests stale 3 min"), _BLIND])
    assert found.headline == "Blind: last look 11:55 UTC"
    assert "Requests stale 3 min." in _words(found)


def test_the_last_data_are_those_of_the_kind_that_is_furthest_behind() -> None:
    found = verdict([status()], [], {"requests": minutes_ago(1), "samples": NOON}, NOON, KNOWLEDGE)
    assert _words(found).endswith("Last data 11:59:00 UTC.")


def test_objectives_are_ordered_by_state_then_by_what_is_left() -> None:
    full, low = status(left=0.9), status(left=0.2)
    unknown, missed = status(state=SloState.NO_DATA, left=None), status(state=SloState.MISSED, left=-1.0)
    assert worst_first([full, unknown, low, missed]) == [missed, unknown, low, full]


def test_what_pages_stands_before_what_is_emptier_and_calm() -> None:
    burning, calm = status(left=0.98), status(objective("rerank"), left=0.2)
    missed = status(objective("embed"), state=SloState.MISSED, left=-1.0)
    assert worst_first([calm, missed, burning], [incident()]) == [burning, missed, calm]
    ticket = incident(severity=Severity.TICKET)
    assert worst_first([calm, missed, burning], [ticket]) == [missed, burning, calm]


def test_a_missed_objective_does_not_look_better_for_a_mere_ticket() -> None:
    missed = status(state=SloState.MISSED, left=-1.0)
    assert look_of(missed, [incident(severity=Severity.TICKET)])[:2] == ("Missed", "critical")
    assert look_of(status(state=SloState.AT_RISK), [incident(severity=Severity.INFO)])[0] == "At risk"


def test_the_pace_of_what_pages_is_that_of_the_worst_short_window_and_else_of_the_last_hour() -> None:
    known = replace(status(burn=0.5), burn_rates={"5m": 29.0, "30m": 6.0, "1h": 0.5, "6h": 40.0})
    burning, calm = pace(known, [incident()]), pace(known, [])
    assert burning is not None
    assert calm is not None
    assert (burning.words, calm.words) == (f"29× over {_unbroken('5 min')}", f"0.5× over {_unbroken('1 h')}")
    assert pace(status(burn=None), [incident()]) is None
    assert (
        verdict([known], [incident()], _SEEN, NOON, KNOWLEDGE).headline
        == "chat is spending its TTFT budget 29× too fast"
    )


def _unbroken(words: str) -> str:
    return words.replace(" ", "\N{NO-BREAK SPACE}")


def test_an_incident_is_told_with_the_name_of_its_gpu() -> None:
    contended = replace(cause(), entity=Entity(EntityKind.GPU, "GPU-b21b"))
    told = _words(
        verdict([], [incident(contended)], _SEEN, NOON, KNOWLEDGE, names={"GPU-b21b": "gpu-02-02 GPU 7, assist-3"})
    )
    assert told.endswith("Likely cause: Bad link on gpu-02-02 GPU 7, assist-3, 93 % sure.")
    assert "GPU-b21b, 93 % sure." in _words(verdict([], [incident(contended)], _SEEN, NOON, KNOWLEDGE))


def test_a_window_that_reaches_beyond_its_data_says_how_many_days_are_seen() -> None:
    assert days_seen(status(history=(None, None, None, 0.9))) == "7 of 30 days seen"
    assert days_seen(status(history=(1.0, None, 0.9))) is None
    assert days_seen(status(history=())) is None


@pytest.mark.parametrize(
    ("left", "burn", "gone_in"),
    [
        (0.5, 10.0, timedelta(days=1.5)),
        (0.5, 1.0, None),
        (0.5, None, None),
        (None, 10.0, None),
        (-0.1, 10.0, None),
    ],
)
def test_a_budget_lasts_what_is_left_of_the_window_over_its_burn_rate(
    left: float | None, burn: float | None, gone_in: timedelta | None
) -> None:
    at = None if burn is None else Pace(burn, timedelta(hours=1))
    assert budget_gone_in(status(left=left, burn=burn), at) == gone_in


def test_an_incident_spends_the_objective_of_its_service_and_indicator() -> None:
    own, other = status(), status(objective("chat", Indicator.ERRORS))
    assert status_of(incident(), [other, own]) is own
    assert status_of(incident(service="rerank"), [other, own]) is None


def test_an_objective_looks_as_bad_as_the_worst_incident_that_spends_it() -> None:
    ticket = incident(severity=Severity.TICKET)
    assert look_of(status(), [ticket, incident()])[0] == "Page"
    assert look_of(status(), [])[0] == "Healthy"
    assert [line_tone(status(), [incident()]), line_tone(status(), [])] == ["critical", "calm"]


def test_where_nothing_is_heard_of_any_service_the_silence_of_each_is_not_told_too() -> None:
    silent = replace(_STALE, words="chat has had no request for 7 min", service="chat")
    alone = verdict([status()], [], _SEEN, NOON, KNOWLEDGE, [silent])
    assert alone.headline == "chat has had no request for 7 min"
    for found in (
        verdict([status()], going_on, _SEEN, NOON, KNOWLEDGE, [_STALE, silent]) for going_on in ([], [incident()])
    ):
        assert "chat has had no request" not in f"{found.headline} {_words(found)}"
    paused = verdict([status()], [], _SEEN, NOON, KNOWLEDGE, [_PAUSED, silent])
    assert paused.headline == "chat has had no request for 7 min", "a pause of all tells nothing of it"
