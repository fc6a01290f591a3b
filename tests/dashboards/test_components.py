from typing import Any
from urllib.parse import unquote

from dash import html

from dashboards.components import badge, chart, fact, page_link, panel, since_known, spark, state_badge
from dashboards.freshness import gaps
from tests.dashboards.frames import NOON, minutes_ago
from tests.dashboards.reading import classes, words


def _line(*values: float | None, **bounds: Any) -> str:
    return unquote(spark(values, "calm", **bounds).style["--spark-line"])


def test_a_spark_spans_its_box() -> None:
    assert "M0.0 29.0 50.0 15.0 100.0 1.0" in _line(1.0, 2.0, 3.0)


def test_a_spark_breaks_where_a_value_is_missing() -> None:
    line = _line(1.0, 2.0, None, 3.0, 1.0)
    assert line.count("M") == 2
    assert "75.0" in line


def test_a_spark_keeps_to_the_bounds_it_is_given() -> None:
    assert "M0.0 15.0 100.0 29.0" in _line(0.5, -3.0, low=0.0, high=1.0)


def test_a_spark_of_equal_values_is_a_line_in_the_middle_and_one_value_is_no_line() -> None:
    assert "M0.0 15.0 100.0 15.0" in _line(7.0, 7.0)
    assert not hasattr(spark([1.0, None], "calm"), "style")


def test_a_course_that_began_late_fills_the_box_of_its_spark() -> None:
    assert since_known((None, None, 1.0, None, 0.5)) == (1.0, None, 0.5)
    assert since_known((None,)) == ()


def test_a_panel_shows_a_note_that_is_still_to_be_filled() -> None:
    note = html.Span(id="later")
    assert "note" in classes(panel("Title", "body", note=note))


def test_a_chart_has_a_role_and_a_label_before_it_is_drawn() -> None:
    props = chart("latency", 300).to_plotly_json()["props"]
    assert (props["role"], props["aria-label"]) == ("img", "Loading")
    assert props["style"] == {"--chart-height": "300px"}


def test_pieces_say_what_they_are_in_words() -> None:
    assert words(badge("Page", "critical", "flame")) == "Page"
    assert words(fact("Tenants affected", "41", "of 52")) == "Tenants affected 41 of 52"
    assert page_link("Overview", "/").to_plotly_json()["props"]["data-page"] == "yes"


def test_the_badge_of_a_state_that_is_hidden_is_grey_and_says_as_of_when() -> None:
    (stale,) = gaps({"requests": minutes_ago(7)}, None, NOON, 120)
    well = state_badge("Healthy", "good", "circle-check", stale)
    assert words(well) == "Healthy as of 11:53, no data since"
    assert {"tone-unknown", "icon-circle-dashed"} < set(classes(well))
    assert well.title == stale.meaning
    seen = state_badge("Healthy", "good", "circle-check", None)
    assert (words(seen), classes(seen)) == ("Healthy", classes(badge("Healthy", "good", "circle-check")))


def test_a_state_that_claims_nothing_needs_no_time() -> None:
    (stale,) = gaps({"requests": minutes_ago(7)}, None, NOON, 120)
    assert words(state_badge("No data", "unknown", "circle-dashed", stale)) == "No data"
