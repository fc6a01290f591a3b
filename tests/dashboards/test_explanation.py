from dashboards.explanation import explained_window, why
from dashboards.state import PageState
from domain.cause import CauseKind, Evidence, Explanation, RuledOut
from domain.entity import Entity, EntityKind
from tests.dashboards.frames import HOUR, PORT, cause
from tests.dashboards.reading import classes, links, words

_SYMBOLS = Evidence("symbol_errors", PORT, 0.37, 85.4, "1/s", 0.99, 50.0)
_CACHE = Evidence("kv_cache_usage", Entity(EntityKind.REPLICA, "chat-4"), 0.61, 0.93, "ratio", 0.8, -90.0)
_FOUND = Explanation(
    (cause(CauseKind.NETWORK_LINK_FAULT, _SYMBOLS, _CACHE), cause(CauseKind.GPU_MEMORY_PRESSURE, _CACHE, rank=2)),
    (RuledOut(CauseKind.TRAFFIC_SURGE, "request rate within 3 % of usual"),),
)
_UNKNOWN = Explanation((cause(CauseKind.UNKNOWN),), ())


def test_causes_come_by_rank_with_confidence_and_evidence() -> None:
    told = words(why(_FOUND))
    assert "1 Bad link gpu-07-03/mlx5_2/1 93 % it has a bad link" in told
    assert "Symbol errors 0.37 → 85.4 /s , 50 s earlier" in told
    assert told.index("Bad link") < told.index("KV cache full")


def test_the_spread_is_told_in_the_order_in_which_things_moved_each_once() -> None:
    told = words(why(_FOUND))
    spread = told[told.index("How it spread") : told.index("Ruled out")]
    assert spread.index("−50 s Symbol errors") < spread.index("0 s the spike begins") < spread.index("+90 s KV cache")
    assert spread.count("KV cache") == 1


def test_what_was_ruled_out_has_its_reason_and_the_next_steps_are_told() -> None:
    told = words(why(_FOUND))
    assert "Traffic surge : request rate within 3 % of usual" in told
    assert told.endswith("Next steps Drain the node.")


def test_an_unknown_cause_shows_no_confidence() -> None:
    assert "confidence" not in classes(why(_UNKNOWN))
    assert "cause-first" not in classes(why(_UNKNOWN))


def test_a_window_without_a_cause_says_that_nothing_was_unusual() -> None:
    shown = explained_window(HOUR, _UNKNOWN, "/", PageState("1h", "chat", HOUR), "chat, TTFT")
    assert "Nothing unusual in this window explains a slow-down." in words(shown)


def test_an_explained_window_can_be_closed_and_keeps_the_rest_of_the_state() -> None:
    shown = explained_window(HOUR, _FOUND, "/", PageState("1h", "chat", HOUR), "chat, TTFT")
    assert links(shown) == ["/?range=1h&service=chat"]
    assert words(shown).startswith("23 Nov, 11:00:00 to 12:00:00 UTC chat, TTFT Close 1 Bad link")
