from dataclasses import replace

from analytics.knowledge import shipped_knowledge
from dashboards.explanation import explained_window, uncharted, why
from dashboards.state import PageState
from domain.cause import CauseKind, Evidence, Explanation, RuledOut, Step
from domain.entity import Entity, EntityKind, GpuPlace
from domain.incident import Indicator
from tests.dashboards.frames import HOUR, PORT, cause
from tests.dashboards.reading import classes, links, words
from tests.own_titles import OWN_TITLES

KNOWLEDGE = shipped_knowledge()
_SYMBOLS = Evidence("symbol_errors", PORT, 0.37, 85.4, "1/s", 0.99, 50.0)
_CACHE = Evidence("kv_cache_usage", Entity(EntityKind.REPLICA, "chat-4"), 0.61, 0.93, "ratio", 0.8, -90.0)
_FOUND = Explanation(
    (cause(CauseKind.NETWORK_LINK_FAULT, _SYMBOLS, _CACHE), cause(CauseKind.GPU_MEMORY_PRESSURE, _CACHE, rank=2)),
    (RuledOut(CauseKind.TRAFFIC_SURGE, "request rate within 3 % of usual"),),
)
_UNKNOWN = Explanation((cause(CauseKind.UNKNOWN),), ())
_CHAIN = (
    Step(PORT, "symbol errors 0.37 → 85.4 per second", 50.0),
    Step(Entity(EntityKind.REPLICA, "chat-4"), "time in queue 12 → 900 ms", -15.0),
    Step(Entity(EntityKind.NODE, "gpu-07-03"), "packets lost", None),
    Step(Entity(EntityKind.SERVICE, "chat"), "a mean request takes 1,240 ms longer", 0.0),
)
_CHAINED = Explanation((replace(_FOUND.causes[0], chain=_CHAIN, explained_ratio=0.972), _FOUND.causes[1]), ())


def test_causes_come_by_rank_with_confidence_and_evidence() -> None:
    told = words(why(_FOUND, Indicator.TTFT, KNOWLEDGE))
    assert "1 Bad link 93 % gpu-07-03/mlx5_2/1 it has a bad link" in told
    assert "Symbol errors 0.37 → 85.4 per second , 50 s earlier" in told
    assert told.index("Bad link") < told.index("KV cache full")
    assert "KV cache full gpu-07-03/mlx5_2/1" in told, "a further cause bears no number: only the first is calibrated"


def test_causes_and_signals_are_called_as_a_site_calls_them() -> None:
    aside = Explanation((_FOUND.causes[1],), (RuledOut(CauseKind.NETWORK_LINK_FAULT, "no errors"),))
    assert "1 Dim optics 93 %" in words(why(_FOUND, Indicator.TTFT, OWN_TITLES))
    assert "Dirty symbols 0.37 → 85.4 per second" in words(why(_FOUND, Indicator.TTFT, OWN_TITLES))
    assert "Dim optics : no errors" in words(why(aside, Indicator.TTFT, OWN_TITLES))
    assert "Dirty symbols" in words(uncharted([_SYMBOLS], OWN_TITLES))


def test_a_cause_on_hardware_leads_to_its_page_where_that_is_known() -> None:
    def led_to(entity: Entity, place: GpuPlace | None = None) -> list[str]:
        on_it = replace(cause(CauseKind.GPU_FAULT, rank=1), entity=entity, gpu=place)
        return links(why(Explanation((on_it,), ()), Indicator.TTFT, KNOWLEDGE))

    gpu = Entity(EntityKind.GPU, "GPU-5fd4/7")
    assert led_to(gpu, GpuPlace("gpu-07-03", 2)) == ["/fleet/gpus/gpu-07-03/GPU-5fd4/7"]
    assert led_to(PORT) == ["/fleet/ports/gpu-07-03/mlx5_2/1"]
    assert led_to(Entity(EntityKind.NODE, "gpu-07-03")) == ["/fleet?node=gpu-07-03"]
    for nowhere in (gpu, Entity(EntityKind.PORT, "mlx5_2"), Entity(EntityKind.SERVICE, "chat")):
        assert led_to(nowhere) == []


def test_a_cause_says_how_much_of_the_trouble_it_explains_where_that_is_known() -> None:
    assert "93 % gpu-07-03/mlx5_2/1 explains 97 % of the added time it has" in words(
        why(_CHAINED, Indicator.TTFT, KNOWLEDGE)
    )
    assert "explains 97 % of the failures" in words(why(_CHAINED, Indicator.ERRORS, KNOWLEDGE))
    assert "explains" not in words(why(_FOUND, Indicator.TTFT, KNOWLEDGE))


def test_a_cause_that_reaches_more_than_the_added_time_explains_all_of_it() -> None:
    more = Explanation((replace(_FOUND.causes[0], explained_ratio=1.3),), ())
    assert "explains 100 % of the added time" in words(why(more, Indicator.TTFT, KNOWLEDGE))


def test_a_chain_leads_from_the_cause_to_the_users_with_the_time_of_each_step() -> None:
    shown = why(_CHAINED, Indicator.TTFT, KNOWLEDGE)
    told = words(shown)
    spread = told[told.index("How it spread") : told.index("Next steps")]
    assert spread == (
        "How it spread times against the onset "
        "port gpu-07-03/mlx5_2/1 −50 s symbol errors 0.37 → 85.4 per second "
        "replica chat-4 +15 s time in queue 12 → 900 ms "
        "node gpu-07-03 time unknown packets lost "
        "Users of chat at the onset a mean request takes 1,240 ms longer "
    )
    assert [name for name in classes(shown) if name.startswith("is-")] == ["is-cause", "is-felt"]
    assert "spread" not in classes(shown)


def test_what_to_do_comes_before_less_likely_causes_and_what_was_set_aside() -> None:
    told = words(why(_FOUND, Indicator.TTFT, KNOWLEDGE))
    parts = [told.index(part) for part in ("Bad link", "How it spread", "Next steps", "Less likely 2 KV", "Ruled out")]
    assert parts == sorted(parts)


def test_the_spread_of_an_incident_without_a_chain_is_told_by_its_evidence_each_once() -> None:
    told = words(why(_FOUND, Indicator.TTFT, KNOWLEDGE))
    spread = told[told.index("How it spread") : told.index("Next steps")]
    order = [spread.index(part) for part in ("−50 s Symbol errors", "at the onset the spike begins", "+90 s KV cache")]
    assert order == sorted(order)
    assert spread.count("KV cache") == 1


def test_what_was_ruled_out_has_its_reason_and_the_next_steps_are_told() -> None:
    told = words(why(_FOUND, Indicator.TTFT, KNOWLEDGE))
    assert "Traffic surge : request rate within 3 % of usual" in told
    assert "Next steps Drain the node." in told


def test_what_could_not_be_looked_at_is_no_finding_and_long_lists_are_folded() -> None:
    kinds = (CauseKind.TRAFFIC_SURGE, CauseKind.STRAGGLER, CauseKind.COLD_START, CauseKind.GPU_FAULT)
    ruled_out = tuple(RuledOut(kind, "as usual") for kind in kinds)
    unseen = RuledOut(CauseKind.BAD_RELEASE, "not looked at: no data of version_time")
    told = words(why(replace(_FOUND, ruled_out=(*ruled_out, unseen)), Indicator.TTFT, KNOWLEDGE))
    assert "Ruled out 4, each with its reason Traffic surge : as usual" in told
    assert told.endswith("Not looked at 1, for want of data Bad release : no data of version_time")
    assert _folds(ruled_out) == [True]
    assert _folds((*ruled_out, unseen)) == [False, False]


def _folds(ruled_out: tuple[RuledOut, ...]) -> list[bool]:
    shown = why(replace(_FOUND, ruled_out=ruled_out), Indicator.TTFT, KNOWLEDGE)
    return [part.open for part in shown if getattr(part, "className", "") == "set-aside"]


def test_evidence_without_a_course_is_told_in_words_with_whose_it_is() -> None:
    slower = Evidence("version_time", Entity(EntityKind.VERSION, "0.11.3"), 210.0, 340.0, "ms", 1.0, 45.0)
    assert words(uncharted([slower], KNOWLEDGE)).endswith("Version request time 0.11.3 210 → 340 ms , 45 s earlier")
    assert uncharted([], KNOWLEDGE) is None


def test_an_unknown_cause_shows_no_confidence() -> None:
    assert "confidence" not in classes(why(_UNKNOWN, Indicator.TTFT, KNOWLEDGE))
    assert "cause-first" not in classes(why(_UNKNOWN, Indicator.TTFT, KNOWLEDGE))


def test_a_window_without_a_cause_says_what_is_known_of_it_and_no_more() -> None:
    shown = explained_window(HOUR, _UNKNOWN, Indicator.TTFT, KNOWLEDGE, "/", PageState("1h", "chat", HOUR), "chat")
    assert words(shown).count(_UNKNOWN.causes[0].summary) == 1
    assert "Nothing unusual" not in words(shown)


def test_an_explained_window_can_be_closed_and_keeps_the_rest_of_the_state() -> None:
    shown = explained_window(HOUR, _FOUND, Indicator.TTFT, KNOWLEDGE, "/", PageState("1h", "chat", HOUR), "chat")
    assert links(shown)[0] == "/?range=1h&service=chat"
    assert words(shown).startswith("23 Nov, 11:00:00 to 12:00:00 UTC chat, TTFT Close 1 Bad link")
