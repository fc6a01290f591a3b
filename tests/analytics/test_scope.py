import math
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analytics.neighbourhood import neighbourhood
from analytics.scope import Scope, contrast, localise, slowness, stage_split
from domain.entity import Entity, EntityKind
from domain.incident import Indicator
from domain.topology import Topology
from domain.window import Window
from tests.analytics.frames import at, requests, series

REFERENCE = Window(at(0), at(600))
SPIKE = Window(at(600), at(900))


def usual_and_slow(extra_ms: dict[str, float], count: int = 100) -> list[dict[str, Any]]:
    """`count` usual requests a replica, then as many in the spike, slower by so much."""
    rows = []
    for replica, extra in extra_ms.items():
        for number in range(count):
            common = {"replica": replica, "tenant": f"t{number % 3}", "trace_id": f"{replica}-{number}"}
            rows.append({**common, "time": at(number * 6), "ttft_ms": 100.0 + number % 10})
            rows.append({**common, "time": at(600 + number * 3), "ttft_ms": 100.0 + number % 10 + extra})
    return rows


def scope_of(rows: list[dict[str, Any]]) -> Scope:
    return localise(stage_split(requests(rows)), Indicator.TTFT, SPIKE, REFERENCE)


def test_the_excess_lies_where_the_slow_requests_are() -> None:
    scope = scope_of(usual_and_slow({"a": 900.0, "b": 0.0, "c": 0.0, "d": 0.0}))
    assert scope.replicas["a"].excess_ratio == pytest.approx(1)
    assert {name: share.traffic_ratio for name, share in scope.replicas.items()} == dict.fromkeys("abcd", 0.25)
    assert scope.concentration() == pytest.approx(0.75)
    assert scope.excess_ms == pytest.approx(225)
    assert scope.slow_count == 100
    assert scope.slow_ratio == 0.25
    assert scope.slow_by_chance is not None
    assert scope.slow_by_chance < 1e-50


@pytest.mark.parametrize("indicator", [Indicator.TTFT, Indicator.LATENCY, Indicator.ERRORS])
def test_how_many_are_slow_is_told_without_the_rest_of_the_scope(indicator: Indicator) -> None:
    frame = stage_split(requests(usual_and_slow({"chat-1": 900.0})))
    told, scope = slowness(frame, indicator, SPIKE, REFERENCE), localise(frame, indicator, SPIKE, REFERENCE)
    for name in ("slow_over_ms", "slow_count", "slow_ratio", "slow_by_chance", "usual_worst_ratio", "is_unusual"):
        assert getattr(told, name) == getattr(scope, name)


def test_an_excess_that_meets_all_replicas_alike_is_not_concentrated() -> None:
    scope = scope_of(usual_and_slow({"a": 500.0, "b": 500.0, "c": 500.0}))
    assert scope.concentration() == pytest.approx(0, abs=1e-9)


@settings(max_examples=25, deadline=None)
@given(st.dictionaries(st.sampled_from("abcdef"), st.floats(0, 5000), min_size=1))
def test_the_shares_of_the_excess_add_up_to_all_of_it(extra_ms: dict[str, float]) -> None:
    scope = scope_of(usual_and_slow(extra_ms, count=10))
    assert math.fsum(share.traffic_ratio for share in scope.replicas.values()) == pytest.approx(1)
    if max(extra_ms.values()) > 1:
        assert math.fsum(share.excess_ratio for share in scope.replicas.values()) == pytest.approx(1)


def test_failed_requests_are_bad_ones_but_their_duration_says_nothing() -> None:
    rows = usual_and_slow({"a": 0.0})
    failed = [{"time": at(700), "replica": "a", "is_error": True, "ttft_ms": 90_000.0}] * 20
    scope = scope_of(rows + failed)
    assert scope.slow_count == 20
    assert scope.slow_ratio == pytest.approx(20 / 120)
    assert scope.excess_ms == pytest.approx(0, abs=1e-9)
    assert scope.replicas["a"].failures_ratio == 1


def test_a_few_slow_requests_may_be_chance() -> None:
    rows = usual_and_slow({"a": 0.0})
    scope = scope_of([*rows, {"time": at(700), "replica": "a", "ttft_ms": 5000.0}])
    assert scope.slow_by_chance is not None
    assert scope.slow_by_chance > 0.1


def test_of_few_usual_requests_the_slowest_is_no_measure_of_what_is_slow() -> None:
    few = [{"time": at(100 + number), "replica": "a", "ttft_ms": 100.0 + number} for number in range(60)]
    slower = [{"time": at(601 + number), "replica": "a", "ttft_ms": 100.0 + 1.2 * number} for number in range(60)]
    chance = scope_of(few + slower).slow_by_chance
    assert chance is not None
    assert chance > 1e-6
    all_slow = [{**row, "ttft_ms": 5000.0} for row in slower]
    assert scope_of(few + all_slow).is_unusual


def test_a_burst_is_no_incident_where_slow_requests_always_come_in_bursts() -> None:
    def usual(burst_every: int) -> list[dict[str, Any]]:
        slow = {
            number for number in range(0, 2400, burst_every * 100) for number in range(number, number + burst_every)
        }
        return [
            {"time": at(number / 4), "replica": "a", "ttft_ms": 900.0 if number in slow else 100.0 + number % 7}
            for number in range(2400)
        ]

    during = [
        {"time": at(601 + number / 4), "replica": "a", "ttft_ms": 1000.0 if number < 14 else 100.0}
        for number in range(200)
    ]
    evenly, in_bursts = (scope_of(usual(every) + during).slow_by_chance for every in (1, 8))
    assert evenly is not None
    assert in_bursts is not None
    assert evenly < 1e-6 < in_bursts


@pytest.mark.parametrize(
    ("stages", "slow_ratio", "may_be"),
    [
        ({"queue_ms": 17.0, "prefill_ms": 1.0}, 0.07, True),
        ({"queue_ms": 17.0, "prefill_ms": 1.0}, 0.13, False),  # more than any coincidence
        ({"queue_ms": 5.0, "prefill_ms": 9.0}, 0.07, False),  # waiting is not what it is
        ({}, 0.07, False),  # nobody says where the time went
    ],
)
def test_a_little_more_waiting_than_in_the_worst_usual_stretch_may_be_a_burst_of_arrivals(
    stages: dict[str, float], slow_ratio: float, *, may_be: bool
) -> None:
    usual = scope_of(usual_and_slow({"a": 900.0}))
    scope = replace(usual, stage_excess_ms=stages, slow_ratio=slow_ratio, usual_worst_ratio=0.04)
    assert scope.may_be_burst is may_be


def test_a_version_is_beside_another_only_in_the_minutes_in_which_both_serve() -> None:
    common = {"replica": "a", "ttft_ms": 100.0}
    old = [{**common, "time": at(600 + second), "version": "1"} for second in range(0, 60, 5)]
    new = [{**common, "time": at(630 + second), "version": "2"} for second in range(0, 240, 5)]
    scope = scope_of([*usual_and_slow({"a": 0.0}), *old, *new])
    assert scope.beside_ratio == {"1": 1.0, "2": pytest.approx(30 / 240)}


def test_a_tenant_that_asks_more_often_has_added_no_length() -> None:
    def asked(tenant: str, start_s: int, count: int, tokens: int) -> list[dict[str, Any]]:
        span_s = 600 if start_s == 0 else 300
        return [
            {"replica": "a", "ttft_ms": 100.0, "tenant": tenant, "input_tokens": tokens, "output_tokens": 10,
             "time": at(start_s + number * span_s // count)}
            for number in range(count)
        ]  # fmt: skip

    usual = asked("acme", 0, 60, 100) + asked("umbra", 0, 60, 100)
    scope = scope_of(usual + asked("acme", 600, 120, 100) + asked("umbra", 600, 30, 300))
    assert scope.added_tokens_ratio == {"acme": 0.0, "umbra": pytest.approx(1)}


def test_tenants_that_nobody_named_are_unknown_and_not_none() -> None:
    rows = usual_and_slow({"a": 900.0})
    assert scope_of(rows).tenants_count == 3
    assert scope_of([{**row, "tenant": None} for row in rows]).tenants_count is None


def test_the_slowest_traces_are_the_examples() -> None:
    rows = usual_and_slow({"a": 900.0, "b": 0.0})
    rows.append({"time": at(650), "replica": "b", "ttft_ms": 20_000.0, "trace_id": "slowest"})
    examples = scope_of(rows).exemplar_trace_ids
    assert examples[0] == "slowest"
    assert len(examples) == 5


def test_the_added_time_is_told_by_stage_and_an_unmeasured_stage_not_at_all() -> None:
    rows = []
    for time_s, queue_ms in ((100, 5.0), (700, 405.0)):
        rows += [
            {"time": at(time_s), "replica": "a", "ttft_ms": 60 + queue_ms, "queue_ms": queue_ms, "prefill_ms": 40.0}
        ] * 9
    stages = scope_of(rows).stage_excess_ms
    assert stages == pytest.approx({"queue_ms": 400, "prefill_ms": 0, "transfer_ms": 0})


def test_without_requests_in_the_spike_nothing_is_slow() -> None:
    scope = scope_of([{"time": at(100), "replica": "a", "ttft_ms": 100.0}])
    assert (scope.slow_count, scope.slow_ratio, scope.slow_by_chance) == (0, 0.0, None)


# -- whose is a GPU, a port, an engine ---------------------------------------------------------------------------------


def test_longer_prompts_and_answers_are_told_apart_from_a_slower_pace() -> None:
    rows = []
    for time_s, tokens, pace in ((100, 100, 1.0), (700, 300, 2.0)):
        rows += [
            {
                "time": at(time_s),
                "replica": "a",
                "latency_ms": 2 * tokens * pace,
                "ttft_ms": tokens * pace,
                "queue_ms": 0.0,
                "prefill_ms": tokens * pace,
                "decode_ms": tokens * pace,
                "input_tokens": tokens,
                "output_tokens": tokens,
            }
        ] * 9
    stages = localise(stage_split(requests(rows)), Indicator.LATENCY, SPIKE, REFERENCE).stage_excess_ms
    assert stages["prompt_ms"] == stages["answer_ms"] == pytest.approx(200)
    assert stages["prefill_ms"] == stages["decode_ms"] == pytest.approx(300)


def test_a_service_whose_requests_name_no_replica_still_carries_its_excess() -> None:
    rows = [{"time": at(100), "ttft_ms": 100.0}] * 20 + [{"time": at(700), "ttft_ms": 900.0}] * 20
    scope = scope_of(rows)
    found = neighbourhood("chat", requests(rows), series([]), Topology())
    assert found.explained(Entity(EntityKind.SERVICE, "chat"), scope) == pytest.approx(1)


# -- what slow requests have in common ---------------------------------------------------------------------------------


def test_the_shares_of_each_side_add_up_to_one_and_the_most_different_value_comes_first() -> None:
    rows = usual_and_slow({"a": 900.0, "b": 0.0})
    for number, row in enumerate(rows):
        row["input_tokens"] = None if number % 7 == 0 else 100 * (number % 300)
    table = contrast(requests(rows), 200.0, Indicator.TTFT, ("replica", "tenant", "version", "input_tokens"))
    for _, values in table.group_by("dimension"):
        assert values["slow_ratio"].sum() == pytest.approx(1)
        assert values["rest_ratio"].sum() == pytest.approx(1)
    first = table.row(0, named=True)
    assert (first["dimension"], first["value"], first["slow_ratio"]) == ("replica", "a", 1.0)
    assert "not known" in table.filter(dimension="input_tokens")["value"].to_list()


def test_time_in_the_own_stages_leaves_nothing_to_ask_for_unless_what_is_left_would_be_an_incident_itself() -> None:
    all_slow = [{"ttft_ms": 3000.0 + number, "queue_ms": 2900.0} for number in range(40)]
    scope = replace(scope_of(all_slow), excess_ms=39_000.0, slow_over_ms=1800.0)
    assert replace(scope, stage_excess_ms={"queue_ms": 38_500.0}).is_spent_within
    assert not replace(scope, stage_excess_ms={"queue_ms": 32_000.0}).is_spent_within, "seven seconds are left"
    assert not replace(scope, stage_excess_ms={"queue_ms": 12_000.0}).is_spent_within


@pytest.mark.parametrize("count", range(1, 16))
def test_no_count_of_slow_requests_is_impossible_where_they_come_in_bursts(count: int) -> None:
    common = {"replica": "a", "tenant": "t"}
    rows = [
        {**common, "time": at(0.2 * number), "ttft_ms": 5000.0 + number if number % 1000 < 10 else 100.0}
        for number in range(3000)
    ]
    rows += [{**common, "time": at(600 + number), "ttft_ms": 9000.0} for number in range(count)]
    found = slowness(stage_split(requests(rows)), Indicator.TTFT, SPIKE, REFERENCE)
    assert found.slow_count == count
    assert found.slow_by_chance is not None
    assert found.slow_by_chance > 0


def test_after_a_rollout_as_many_failures_as_before_are_none_that_were_added() -> None:
    rows = []
    for number in range(600):
        failed = {"is_error": number % 30 == 0}
        rows.append({"time": at(number), "replica": "old", "version": "1", "ttft_ms": 100.0} | failed)
        rows.append({"time": at(600 + number / 2), "replica": "new", "version": "2", "ttft_ms": 100.0} | failed)
    scope = localise(stage_split(requests(rows)), Indicator.ERRORS, SPIKE, REFERENCE)
    assert scope.shares[EntityKind.VERSION]["2"].failures_ratio == 0.0
    assert scope.replicas["new"].excess_ratio == 0.0
