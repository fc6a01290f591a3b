from pathlib import Path
from typing import Any

import pytest

from analytics.scope import STAGES
from dashboards import whereabouts
from dashboards.whereabouts import show_whereabouts
from domain.cause import EntityShare, Whereabouts
from domain.entity import Entity, EntityKind
from domain.incident import Indicator
from tests.dashboards.reading import classes, words

_SHARE = EntityShare(Entity(EntityKind.REPLICA, "chat-4"), 0.97, 0.17)
_STAGES_MS = {"queue_ms": 1_105.0, "transfer_ms": 0.3, "prompt_ms": -5.0, "prefill_ms": 139.7}
_WHERE = Whereabouts(1_240.0, _STAGES_MS, (_SHARE,))


def _bar(shown: Any) -> dict[str, Any]:
    stages = shown.children[1].children[0].children[1]
    assert stages.className == "stages"
    return stages.to_plotly_json()["props"]


def test_the_stages_that_took_longer_are_drawn_and_told_in_milliseconds() -> None:
    shown = show_whereabouts(_WHERE, Indicator.TTFT)
    told = words(shown)
    assert told.startswith("Where the time went a mean request took 1,240 ms longer By stage of the request")
    assert "In the queue 1,105 ms In slower prefill 140 ms" in told
    bar = _bar(shown)
    assert bar["aria-label"] == "Added to a mean request: 1,105 ms in the queue, 140 ms in slower prefill"
    assert [part.className for part in bar["children"]] == ["stage-queue", "stage-prefill"]
    assert [part.style for part in bar["children"]] == [{"flexGrow": "1105.000"}, {"flexGrow": "139.700"}]


def test_time_that_no_stage_tells_is_not_left_out() -> None:
    told = words(show_whereabouts(Whereabouts(500.0, {"queue_ms": 100.0}, ()), Indicator.LATENCY))
    assert "In the queue 100 ms In no known stage 400 ms" in told


def test_where_the_time_per_token_spiked_the_rise_is_that_of_a_token() -> None:
    shown = show_whereabouts(Whereabouts(3.1, {"queue_ms": 0.2, "decode_ms": 499.0}, ()), Indicator.TPOT)
    assert words(shown).startswith(
        "Where the time went a mean token took 3.1 ms longer By stage of the request In slower decode 499 ms Who"
    )


def test_whoever_has_more_of_it_than_of_the_traffic_has_both_bars() -> None:
    shown = show_whereabouts(_WHERE, Indicator.TTFT)
    assert words(shown).endswith("Who has it of the added time of the traffic replica chat-4 97 %")
    assert classes(shown).count("bar-slow") == classes(shown).count("bar-rest") == 1


def test_time_that_lies_as_the_traffic_does_is_said_to_be_nobodys() -> None:
    assert "Nobody stands out" in words(show_whereabouts(Whereabouts(500.0, _STAGES_MS, ()), Indicator.TTFT))


def test_failures_have_no_stages_but_somebody_who_has_them() -> None:
    shown = show_whereabouts(Whereabouts(-83.0, _STAGES_MS, (_SHARE,)), Indicator.ERRORS)
    assert words(shown) == "Who has it of the failures of the traffic replica chat-4 97 %"
    assert "stages" not in classes(shown)


def test_what_other_stages_took_less_is_told_so_that_the_sum_is_right() -> None:
    told = words(show_whereabouts(Whereabouts(321.0, {"queue_ms": 349.0, "decode_ms": -28.0}, ()), Indicator.TTFT))
    assert "took 321 ms longer, with 28 ms less in other stages" in told
    told = words(show_whereabouts(Whereabouts(345.0, {"queue_ms": 349.0, "decode_ms": -4.0}, ()), Indicator.TTFT))
    assert "less" not in told


@pytest.mark.parametrize("where", [None, Whereabouts(-3.0, _STAGES_MS, ())])
def test_where_nothing_is_known_nothing_is_shown(where: Whereabouts | None) -> None:
    assert show_whereabouts(where, Indicator.TTFT) is None


def test_every_stage_has_a_colour() -> None:
    styles = (Path(whereabouts.__file__).parent / "assets" / "app.css").read_text()
    for stage in (*STAGES, "untold"):
        assert f".stage-{stage.removesuffix('_ms')} " in styles
