from typing import Any

import polars as pl
import pytest

from dashboards.traffic import levels, measures
from domain.incident import Indicator
from domain.window import Window
from tests.dashboards.frames import NOON, TIME, minutes_ago

_WINDOW = Window(minutes_ago(3), NOON)


def _rows(*rows: tuple[float, int, int, int, float | None]) -> pl.DataFrame:
    schema: Any = {"time": TIME, "requests": pl.UInt64, "errors": pl.UInt64, "output_tokens": pl.UInt64}
    data = [(minutes_ago(minutes), *rest, None) for minutes, *rest in rows]
    return pl.DataFrame(data, schema=schema | {"ttft_ms_p99": pl.Float64, "latency_ms_p99": pl.Float64}, orient="row")


_CHAT = _rows((3, 120, 0, 6_000, 500.0), (1, 60, 6, 3_000, 4_000.0))
_RERANK = _rows((3, 60, 0, 0, None), (2, 60, 0, 0, None))


def test_counts_of_services_add_up_and_latency_is_that_of_one() -> None:
    frame = levels({"chat": _CHAT, "rerank": _RERANK}, _WINDOW, 60, "chat", Indicator.TTFT)
    assert frame["requests"].to_list() == [3.0, 1.0, 1.0]
    assert frame["tokens"].to_list() == [100.0, 0.0, 50.0]
    assert frame["p99"].to_list() == [500.0, None, 4_000.0]


def test_a_step_without_requests_has_no_error_ratio() -> None:
    frame = levels({"chat": _CHAT}, _WINDOW, 60, "chat", Indicator.TTFT)
    assert frame["errors"].to_list() == [0.0, None, 0.1]


def test_tokens_that_nobody_told_are_unknown_not_zero() -> None:
    frame = levels({"rerank": _RERANK}, _WINDOW, 60, "rerank", Indicator.LATENCY)
    assert frame["tokens"].to_list() == [None, None, None]
    tokens = measures(frame, frame.row(0, named=True), Indicator.LATENCY)[3]
    assert (tokens.value, tokens.change) == ("—", "")


def _course(**columns: list[float | None]) -> pl.DataFrame:
    calm: dict[str, list[float | None]] = {
        "requests": [100.0] * 4,
        "errors": [0.0] * 4,
        "p99": [500.0] * 4,
        "tokens": [50.0] * 4,
    }
    return pl.DataFrame(calm | columns, schema_overrides={"p99": pl.Float64})


_EARLIER = {"requests": 100.0, "errors": 0.0, "p99": 500.0, "tokens": 50.0}


def test_the_strip_compares_now_with_the_same_time_of_an_earlier_day() -> None:
    newest = {"requests": 1_284.0, "errors": 0.0004, "p99": 4_000.0, "tokens": 30.0}
    requests, errors, p99, tokens = measures(_course(), newest, Indicator.TTFT, earlier=_EARLIER)
    assert (requests.value, requests.unit, requests.change) == ("1.28", "k/s", "+1,184 %")
    assert (errors.value, errors.unit, errors.tone) == ("0.04", "%", "calm")
    assert (p99.title, p99.value, p99.unit, p99.change, p99.tone) == ("TTFT p99", "4.0", "s", "+700 %", "critical")
    assert (tokens.value, tokens.change, tokens.tone) == ("30", "−40 %", "warning")


def test_the_rhythm_of_the_day_is_no_surge_and_without_an_earlier_day_no_change_is_told() -> None:
    night = _course(requests=[40.0] * 4, tokens=[20.0] * 4)
    noon = {"requests": 110.0, "errors": 0.0, "p99": 500.0, "tokens": 50.0}
    assert [one.change for one in measures(night, noon, Indicator.TTFT, earlier=_EARLIER)] == ["+10 %", "", "±0", "±0"]
    without = measures(night, noon | {"p99": 4_000.0, "errors": 0.3}, Indicator.TTFT)
    assert [one.change for one in without] == ["", "", "", ""]
    assert [one.tone for one in without] == ["calm", "critical", "critical", "calm"], (
        "trouble has its colour all the same"
    )


def test_what_the_last_minute_does_not_show_any_more_has_no_colour() -> None:
    newest = {"requests": 100.0, "errors": 0.2, "p99": 4_000.0, "tokens": 20.0}
    for last, tones in ((_EARLIER, {"calm"}), (newest, {"calm", "critical", "warning"})):
        assert {one.tone for one in measures(_course(), newest, Indicator.TTFT, earlier=_EARLIER, last=last)} == tones


@pytest.mark.parametrize(("error_ratio", "tone"), [(0.02, "critical"), (0.009, "calm"), (None, "calm")])
def test_errors_alarm_above_one_in_a_hundred(error_ratio: float | None, tone: str) -> None:
    newest = {"requests": 1.0, "errors": error_ratio, "p99": None, "tokens": None}
    errors = measures(_course(), newest, Indicator.LATENCY)[1]
    assert errors.tone == tone


def test_fewer_tokens_from_fewer_requests_are_no_trouble() -> None:
    newest = {"requests": 60.0, "errors": 0.0, "p99": 500.0, "tokens": 30.0}
    assert measures(_course(), newest, Indicator.TTFT, earlier=_EARLIER)[3].tone == "calm"


def test_what_is_not_known_now_is_a_dash_without_a_change() -> None:
    newest = {"requests": 0.0, "errors": None, "p99": None, "tokens": 0.0}
    requests, errors, p99, _ = measures(_course(), newest, Indicator.LATENCY)
    assert (requests.value, requests.change) == ("0", "")
    assert (errors.value, p99.value, p99.change) == ("—", "—", "")
