from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analytics.call_tree import (
    Blame,
    CallGraph,
    UsualTime,
    Verdict,
    calls_of_spans,
    link_ends,
    link_name,
    steps_of_spans,
    without_links,
)

STEPS = 120
Series = Callable[[np.random.Generator, int], np.ndarray]
Node = tuple[float, Series | float]  # requests a step, and the mean of each step


def near(level: float, spread: float = 1.0) -> Series:
    return lambda random, count: level + spread * random.standard_normal(count)


def frame(nodes: Mapping[str, Node], count: int = STEPS, seed: int = 1) -> pl.DataFrame:
    random = np.random.default_rng(seed)
    return pl.concat(
        pl.DataFrame(
            {
                "time": range(count),
                "node": node,
                "requests": float(requests),
                "mean": mean(random, count) if callable(mean) else np.full(count, float(mean)),
            }
        )
        for node, (requests, mean) in nodes.items()
    )


def blamed(verdict: Verdict) -> dict[str, float]:
    return {blame.node: round(blame.excess, 6) for blame in verdict.blames}


TREE = CallGraph("web", frozenset({("web", "search"), ("web", "pay"), ("pay", "bank")}))
USUAL: dict[str, Node] = {
    "web": (100, near(200.0, 2.0)),
    "search": (50, near(40.0)),
    "pay": (20, near(80.0)),
    "bank": (20, near(30.0, 0.5)),
}


def verdict_on(during: Mapping[str, Node], graph: CallGraph = TREE, usual: Mapping[str, Node] = USUAL) -> Verdict:
    return UsualTime(graph, frame(usual)).blame(frame(during, count=3))


def level_of(node: str, graph: CallGraph = TREE) -> float:
    """The median that three-step windows of usual time have."""
    means = frame(USUAL).filter(pl.col("node") == node)["mean"].to_numpy()
    return float(np.median(np.convolve(means, np.ones(3) / 3, mode="valid")))


# -- one algorithm, by hand --------------------------------------------------------------------------------------------


def test_the_milliseconds_of_a_slow_leaf_are_its_calls_per_request_of_the_target() -> None:
    slower = {**USUAL, "web": (100, 300.0), "pay": (20, 580.0), "bank": (20, 530.0)}
    verdict = verdict_on(slower)
    assert verdict.excess == pytest.approx(300.0 - level_of("web"))
    first = verdict.blames[0]
    # 500 ms more on 20 of 100 requests: all of the 100 ms, but for what usual noise leaves to those above.
    assert (first.node, first.is_unusual) == ("bank", True)
    assert first.excess == pytest.approx((530.0 - level_of("bank")) * 20 / 100, rel=0.02)
    assert [cause.node for cause in verdict.causes][:1] == ["bank"]


def test_a_node_answers_for_what_its_callees_leave() -> None:
    # pay is 500 ms slower and bank 100 ms of that: 80 ms of the target's 100 are pay's own, 20 are bank's.
    verdict = verdict_on({**USUAL, "web": (100, 300.0), "pay": (20, 580.0), "bank": (20, 130.0)})
    assert blamed(verdict)["pay"] == pytest.approx(80.0, abs=1.5)
    assert blamed(verdict)["bank"] == pytest.approx(20.0, abs=1.0)
    assert [cause.node for cause in verdict.causes[:2]] == ["pay", "bank"]


def test_a_target_that_is_slow_by_itself_is_its_own_cause() -> None:
    verdict = verdict_on({**USUAL, "web": (100, 300.0)})
    assert [(cause.node, round(cause.share, 6)) for cause in verdict.causes] == [("web", 1.0)]


def test_callees_that_claim_more_than_there_is_share_it_as_they_claim() -> None:
    # In parallel both take 400 ms longer: search claims 200 ms, pay 80 ms, and only 100 ms are there.
    verdict = verdict_on({**USUAL, "web": (100, 300.0), "search": (50, 440.0), "pay": (20, 480.0)})
    shares = {blame.node: blame.share for blame in verdict.blames}
    assert shares["search"] == pytest.approx(200 / 280, abs=0.01)
    assert shares["pay"] == pytest.approx(80 / 280, abs=0.01)
    assert "web" not in shares


def test_a_shared_callee_is_charged_with_this_callers_calls_only() -> None:
    # Of the store's 400 requests 100 come from the target's tree: 10 ms more on each are 10 ms per request of web.
    graph = CallGraph("web", frozenset({("web", "store"), ("report", "store")}))
    usual: dict[str, Node] = {"web": (100, near(50.0)), "report": (300, near(50.0)), "store": (400, near(20.0, 0.1))}
    verdict = verdict_on({**usual, "web": (100, 70.0), "store": (400, 30.0)}, graph, usual)
    assert blamed(verdict)["store"] == pytest.approx(10.0, abs=0.5)
    assert blamed(verdict)["web"] == pytest.approx(10.0, abs=1.0)


def test_who_does_not_wait_for_a_callee_is_not_slowed_by_it() -> None:
    graph = CallGraph("web", frozenset({("web", "mail"), ("web", "search")}))
    usual: dict[str, Node] = {"web": (100, near(200.0)), "mail": (10, near(900.0, 200.0)), "search": (50, near(40.0))}
    learnt = UsualTime(graph, frame(usual))
    assert learnt.not_waited_for == {("web", "mail")}
    verdict = learnt.blame(frame({**usual, "web": (100, 250.0), "mail": (10, 5000.0), "search": (50, 140.0)}, count=3))
    assert [cause.node for cause in verdict.causes] == ["search"]


def test_who_waits_follows_a_callee_that_varies_more_than_the_rest() -> None:
    random = np.random.default_rng(3)
    searching = 40.0 + 20.0 * random.standard_normal(STEPS)
    usual: dict[str, Node] = {
        "web": (100, lambda r, count: 160.0 + searching[:count] + r.standard_normal(count)),
        "search": (100, lambda _, count: searching[:count] * 1.2),
    }
    graph = CallGraph("web", frozenset({("web", "search")}))
    assert not UsualTime(graph, frame(usual)).not_waited_for


def test_a_callee_without_a_past_is_its_callers_doing() -> None:
    graph = CallGraph("web", TREE.calls | {("pay", "fraud")})
    verdict = verdict_on({**USUAL, "web": (100, 300.0), "pay": (20, 580.0), "fraud": (20, 500.0)}, graph)
    assert [cause.node for cause in verdict.causes] == ["pay"]


def test_an_alias_hands_its_part_to_its_service_which_passes_it_on() -> None:
    graph = CallGraph("web", TREE.calls | {("web", "balancer")}, {"balancer": "pay"})
    usual: dict[str, Node] = {**USUAL, "balancer": (20, near(90.0))}
    during: dict[str, Node] = {
        **usual,
        "web": (100, 300.0),
        "balancer": (20, 590.0),
        "pay": (20, 580.0),
        "bank": (20, 530.0),
    }
    verdict = verdict_on(during, graph, usual)
    assert verdict.blames[0].node == "bank"
    assert verdict.blames[0].share == pytest.approx(1.0, abs=0.03)
    assert "balancer" not in blamed(verdict)


def test_callers_in_a_circle_keep_what_would_lead_back_up() -> None:
    graph = CallGraph("web", TREE.calls | {("bank", "pay"), ("bank", "web")})
    verdict = verdict_on({**USUAL, "web": (100, 300.0), "pay": (20, 580.0), "bank": (20, 530.0)}, graph)
    assert sum(blamed(verdict).values()) == pytest.approx(verdict.excess, abs=1e-4)
    assert set(blamed(verdict)) <= {"web", "pay", "bank"}


def test_failures_are_shared_out_like_time() -> None:
    usual: dict[str, Node] = {"web": (100, 0.0), "search": (50, 0.0), "pay": (20, 0.0), "bank": (20, 0.0)}
    learnt = UsualTime(TREE, frame(usual), grain=1.0)
    verdict = learnt.blame(frame({**usual, "web": (100, 0.10), "pay": (20, 0.5), "bank": (20, 0.5)}, count=3))
    assert {node: round(part, 9) for node, part in blamed(verdict).items()} == {"bank": 0.1}
    assert [cause.node for cause in verdict.causes] == ["bank"]


def test_three_failures_where_there_were_none_are_no_news() -> None:
    usual: dict[str, Node] = {"web": (100, 0.0)}
    learnt = UsualTime(CallGraph("web", frozenset()), frame(usual), grain=1.0)
    assert not learnt.blame(frame({"web": (100, 0.01)}, count=3)).causes
    assert learnt.blame(frame({"web": (100, 0.05)}, count=3)).causes


# -- which steps, and when to be silent --------------------------------------------------------------------------------


def test_a_short_spike_is_found_among_usual_steps() -> None:
    def spike(base: float, top: float) -> Series:
        return lambda _, count: np.array([top if step in {3, 4} else base for step in range(count)])

    during: dict[str, Node] = {**USUAL, "web": (100, spike(200.0, 300.0)), "search": (50, spike(40.0, 240.0))}
    verdict = UsualTime(TREE, frame(USUAL)).blame(frame(during, count=8))
    assert verdict.steps == (3, 5)
    assert [cause.node for cause in verdict.causes] == ["search"]
    assert verdict.blames[0].excess == pytest.approx(100.0, abs=1.5)


def test_usual_time_seldom_has_a_cause() -> None:
    learnt = UsualTime(TREE, frame(USUAL))
    told = sum(bool(learnt.blame(frame(USUAL, count=5, seed=seed)).causes) for seed in range(2, 102))
    assert told <= 5


def test_a_target_that_became_faster_blames_nobody() -> None:
    verdict = verdict_on({**USUAL, "web": (100, 150.0)})
    assert verdict.excess < 0
    assert not verdict.blames
    assert not verdict.causes


def test_a_verdict_that_explains_less_than_half_names_no_cause() -> None:
    blames = (Blame("search", 40.0, 0.4, sigmas=9.0), Blame("web", 60.0, 0.6, sigmas=1.0))
    verdict = Verdict(excess=100.0, sigmas=9.0, steps=(0, 3), blames=blames, witnesses_sigmas=9.0)
    assert verdict.explained == 0.4
    assert not verdict.causes


def test_a_weak_rise_is_believed_when_its_cause_is_beyond_doubt() -> None:
    random = np.random.default_rng(5)
    usual: dict[str, Node] = {**USUAL, "web": (100, near(200.0, 5.0)), "search": (100, near(6.0, 0.1))}
    learnt = UsualTime(TREE, frame(usual))
    weak: dict[str, Node] = {**usual, "web": (100, 208.0 + random.standard_normal()), "search": (100, 16.0)}
    verdict = learnt.blame(frame(weak, count=3))
    assert verdict.sigmas is not None
    assert verdict.sigmas < 3.0
    assert [cause.node for cause in verdict.causes] == ["search"]
    assert not learnt.blame(frame({**weak, "search": (100, 6.0)}, count=3)).causes


def test_a_past_shorter_than_the_incident_leaves_the_target_unjudged() -> None:
    verdict = UsualTime(TREE, frame(USUAL, count=12)).blame(frame({**USUAL, "web": (100, 400.0)}, count=8))
    assert verdict.sigmas is None
    assert verdict.blames
    assert not verdict.causes


def test_a_target_without_a_past_is_refused() -> None:
    with pytest.raises(ValueError, match="fewer than 10 steps of usual time"):
        UsualTime(TREE, frame(USUAL, count=9))


def test_an_incident_without_requests_of_the_target_is_refused() -> None:
    with pytest.raises(ValueError, match="web has no request in the incident's steps"):
        UsualTime(TREE, frame(USUAL)).blame(frame({"pay": (10, 80.0)}, count=3))


# -- what must not matter ----------------------------------------------------------------------------------------------

DURING: dict[str, Node] = {**USUAL, "web": (100, 320.0), "search": (50, 90.0), "pay": (20, 580.0), "bank": (20, 330.0)}


def test_other_units_give_the_same_shares() -> None:
    in_seconds = pl.col("mean") / 1000
    learnt = UsualTime(TREE, frame(USUAL).with_columns(in_seconds))
    scaled = learnt.blame(frame(DURING, count=3).with_columns(in_seconds))
    plain = verdict_on(DURING)
    assert scaled.excess * 1000 == pytest.approx(plain.excess)
    assert [(blame.node, pytest.approx(blame.share), pytest.approx(blame.sigmas)) for blame in scaled.blames] == [
        (blame.node, blame.share, blame.sigmas) for blame in plain.blames
    ]


def test_other_names_give_the_same_verdict() -> None:
    names = {"web": "z", "search": "y", "pay": "x", "bank": "w"}
    renamed = CallGraph("z", frozenset((names[caller], names[callee]) for caller, callee in TREE.calls))
    new_names = pl.col("node").replace(names)
    verdict = UsualTime(renamed, frame(USUAL).with_columns(new_names)).blame(
        frame(DURING, count=3).with_columns(new_names)
    )
    assert blamed(verdict) == {names[node]: part for node, part in blamed(verdict_on(DURING)).items()}


def test_nodes_outside_the_targets_tree_leave_the_verdict() -> None:
    graph = CallGraph("web", TREE.calls | {("batch", "disk"), ("batch", "queue")})
    more: dict[str, Node] = {"batch": (500, near(90.0)), "disk": (900, near(9.0)), "queue": (5, near(1.0))}
    wild: dict[str, Node] = {"batch": (5000, 900.0), "disk": (9, 900.0), "queue": (5, 0.0)}
    assert verdict_on({**DURING, **wild}, graph, {**USUAL, **more}) == verdict_on(DURING)


def test_times_may_be_moments() -> None:
    moment = pl.col("time").map_elements(
        lambda step: datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=15 * step),
        return_dtype=pl.Datetime("us", "UTC"),
    )
    verdict = UsualTime(TREE, frame(USUAL).with_columns(moment)).blame(frame(DURING, count=3).with_columns(moment))
    assert verdict == verdict_on(DURING)


@st.composite
def incidents(draw: st.DrawFn) -> tuple[CallGraph, dict[str, Node], dict[str, Node]]:
    names = [f"n{number}" for number in range(draw(st.integers(1, 6)))]
    calls = draw(st.frozensets(st.tuples(st.sampled_from(names), st.sampled_from(names)), max_size=12))
    aliases = draw(st.dictionaries(st.sampled_from(names), st.sampled_from(names), max_size=2))
    requests, means = st.integers(0, 1000), st.floats(0.01, 5000.0)
    usual: dict[str, Node] = {name: (draw(requests), near(draw(means), draw(st.floats(0.0, 100.0)))) for name in names}
    during: dict[str, Node] = {name: (draw(requests), draw(means)) for name in names}
    usual[names[0]] = (draw(st.integers(1, 1000)), usual[names[0]][1])
    during[names[0]] = (draw(st.integers(1, 1000)), during[names[0]][1])
    return CallGraph(names[0], frozenset(call for call in calls if call[0] != call[1]), aliases), usual, during


@settings(deadline=None)
@given(incidents())
def test_in_any_graph_the_blames_add_up_to_the_targets_excess(
    incident: tuple[CallGraph, dict[str, Node], dict[str, Node]],
) -> None:
    graph, usual, during = incident
    verdict = UsualTime(graph, frame(usual, count=40)).blame(frame(during, count=4))
    assert sum(blame.excess for blame in verdict.blames) == pytest.approx(max(0.0, verdict.excess), rel=1e-9, abs=1e-9)
    assert all(blame.excess > 0 for blame in verdict.blames)
    if verdict.blames:
        assert sum(blame.share for blame in verdict.blames) == pytest.approx(1.0)


@settings(deadline=None)
@given(incidents(), st.floats(1e-3, 1e3))
def test_in_any_graph_the_unit_does_not_matter(
    incident: tuple[CallGraph, dict[str, Node], dict[str, Node]], factor: float
) -> None:
    graph, usual, during = incident
    scaled = pl.col("mean") * factor
    plain = UsualTime(graph, frame(usual, count=40)).blame(frame(during, count=4))
    other = UsualTime(graph, frame(usual, count=40).with_columns(scaled)).blame(
        frame(during, count=4).with_columns(scaled)
    )
    assert other.excess == pytest.approx(plain.excess * factor, rel=1e-6, abs=1e-6 * factor)


# -- spans -------------------------------------------------------------------------------------------------------------

Span = tuple[int, int, int | None, str, float, float]


def spans(rows: list[Span]) -> pl.DataFrame:
    names = ["trace", "span", "parent", "node", "start_ms", "duration_ms"]
    types = {"trace": pl.Int64, "span": pl.Int64, "parent": pl.Int64}
    return pl.DataFrame(rows, schema=names, schema_overrides=types, orient="row")


def request(
    trace: int, at_ms: float, *, own_ms: float = 10.0, gap_ms: float = 2.0, store_ms: float = 5.0
) -> list[Span]:
    """web works, and calls store by a client span of its own, longer than store's by the way there and back."""
    client_ms = store_ms + gap_ms
    return [
        (trace, 1, None, "web", at_ms, own_ms + client_ms),
        (trace, 2, 1, "web", at_ms + 1, client_ms),
        (trace, 3, 2, "store", at_ms + 1 + gap_ms / 2, store_ms),
        (trace, 4, 3, "store", at_ms + 2, store_ms / 2),
    ]


LINK = link_name("web", "store")


def test_spans_become_nodes_and_links() -> None:
    traces = spans([*request(1, 0.0), *request(2, 400.0, gap_ms=4.0), *request(3, 1200.0)])
    assert calls_of_spans(traces, "web") == CallGraph("web", frozenset({("web", LINK), (LINK, "store")}))
    assert steps_of_spans(traces, 1000.0).sort("time", "node").rows() == [
        (0.0, "store", 2.0, 5.0),
        (0.0, "web", 2.0, 18.0),
        (0.0, LINK, 2.0, 8.0),
        (1000.0, "store", 1.0, 5.0),
        (1000.0, "web", 1.0, 17.0),
        (1000.0, LINK, 1.0, 7.0),
    ]


def test_a_call_without_a_client_span_has_no_link() -> None:
    traces = spans([(1, 1, None, "web", 0.0, 20.0), (1, 2, 1, "store", 1.0, 5.0)])
    assert calls_of_spans(traces, "web").calls == {("web", "store")}
    assert steps_of_spans(traces, 1000.0)["node"].to_list() == ["web", "store"]


def test_a_span_over_several_calls_is_no_link_of_one_of_them() -> None:
    traces = spans(
        [
            (1, 1, None, "web", 0.0, 20.0),
            (1, 2, 1, "web", 1.0, 15.0),
            (1, 3, 2, "store", 2.0, 5.0),
            (1, 4, 2, "cache", 8.0, 5.0),
        ]
    )
    assert calls_of_spans(traces, "web").calls == {("web", "store"), ("web", "cache")}


@pytest.mark.parametrize(
    ("changed", "cause"),
    [({"own_ms": 60.0}, "web"), ({"gap_ms": 52.0}, LINK), ({"store_ms": 55.0}, "store")],
    ids=["the caller works longer", "the way is longer", "the callee works longer"],
)
def test_fifty_milliseconds_are_found_where_they_are_spent(changed: dict[str, float], cause: str) -> None:
    random = np.random.default_rng(7)

    def requests(first: int, last: int, change: dict[str, float]) -> pl.DataFrame:
        rows: list[Span] = []
        for trace in range(first, last):
            parts = {"own_ms": 10.0, "gap_ms": 2.0, "store_ms": 5.0} | change
            noisy = {name: part + 0.1 * random.standard_normal() for name, part in parts.items()}
            rows += request(trace, 100.0 * trace, **noisy)
        return spans(rows)

    before, after = requests(0, 400, {}), requests(400, 430, changed)
    learnt = UsualTime(calls_of_spans(before, "web"), steps_of_spans(before, 1000.0))
    verdict = learnt.blame(steps_of_spans(after, 1000.0))
    assert [found.node for found in verdict.causes] == [cause]
    assert verdict.blames[0].excess == pytest.approx(50.0, abs=0.3)


def test_a_column_of_slow_links_says_the_callee() -> None:
    links = [link_name("a", "x"), link_name("b", "x"), link_name("a", "y")]
    assert without_links({links[0]: 10.0, links[1]: 5.0, "y": 1.0}, links) == {"x": 15.0, "y": 1.0}


def test_a_row_of_slow_links_says_the_caller() -> None:
    links = [link_name("a", "x"), link_name("a", "y"), link_name("b", "x"), link_name("b", "y")]
    assert without_links({links[0]: 10.0, links[1]: 5.0}, links) == {"a": 15.0}


def test_a_caller_is_not_cleared_by_callees_that_only_it_calls() -> None:
    links = [link_name("a", "x"), link_name("a", "y")]
    assert without_links(dict.fromkeys(links, 10.0), links) == {"a": 20.0}


def test_a_single_slow_link_is_both_ends_alike() -> None:
    links = [link_name("a", "x"), link_name("a", "y"), link_name("b", "x"), link_name("b", "y")]
    assert without_links({links[0]: 10.0}, links) == {"a": 5.0, "x": 5.0}


def test_a_link_is_told_from_a_node_by_its_name() -> None:
    assert link_ends(LINK) == ("web", "store")
    assert link_ends("web") is None
