import xml.etree.ElementTree as ET

import pytest

from reports import charts
from reports.charts import Area, Label, Line, Picture, Rect, svg
from reports.sections.report import layout
from tests.reports.weekly_formats import NASTY, SAMPLE, hard_document

PICTURES = [block for section in layout(SAMPLE).sections for block in section.blocks if isinstance(block, Picture)]


@pytest.mark.parametrize("picture", PICTURES, ids=lambda picture: picture.name)
def test_a_chart_is_an_image_with_a_title_and_stays_within_its_box(picture: Picture) -> None:
    root = ET.fromstring(svg(picture))
    assert root.attrib["role"] == "img"
    assert [child.tag.rpartition("}")[2] for child in root[:2]] == ["title", "desc"]
    for shape in picture.shapes:
        points = [(shape.x, shape.y)] if isinstance(shape, Rect | Label) else list(shape.points)
        points += [(shape.x + shape.width, shape.y + shape.height)] if isinstance(shape, Rect) else []
        for x, y in points:
            assert -0.5 <= x <= picture.width + 0.5, shape
            assert -0.5 <= y <= picture.height + 0.5, shape


@pytest.mark.parametrize("picture", PICTURES, ids=lambda picture: picture.name)
def test_labels_that_stand_on_one_line_do_not_touch(picture: Picture) -> None:
    boxes = []
    for label in (shape for shape in picture.shapes if isinstance(shape, Label)):
        wide = charts.text_width(label.text, label.size)
        left = label.x - {"start": 0.0, "middle": wide / 2, "end": wide}[label.anchor]
        boxes.append((label.text, left, left + wide, label.y - label.size * 0.7, label.y))
    for number, (text, left, right, top, bottom) in enumerate(boxes):
        for other, other_left, other_right, other_top, other_bottom in boxes[:number]:
            apart = right <= other_left or other_right <= left or bottom <= other_top or other_bottom <= top
            assert apart, (text, other)


def test_the_bars_of_a_day_add_up_to_its_dollars() -> None:
    days = [{"date": "2026-11-16", "cost_usd": 100.0, "requests_cost_usd": 75.0, "idle_cost_usd": 25.0}]
    days = [{**days[0], "overhead_cost_usd": 0.0, "unattributed_cost_usd": 0.0}]
    picture = charts.cost_by_day(days)
    assert picture is not None
    bars = {shape.fill: shape.height for shape in picture.shapes if isinstance(shape, Rect) and shape.height > 10.5}
    assert bars[charts.ACCENT] / bars[charts.AMBER] == pytest.approx(3, rel=0.05)


def test_a_day_that_is_not_known_has_no_bar_but_says_so() -> None:
    known = SAMPLE["cost"]["days"]
    hole = {name: value if name == "date" else None for name, value in known[0].items()}
    picture = charts.cost_by_day([hole, *known[1:]])
    assert picture is not None
    assert [shape.text for shape in picture.shapes if isinstance(shape, Label)].count("not known") == 1
    assert charts.cost_by_day([hole]) is None


def test_a_hole_in_the_p99_is_a_hole_in_its_line() -> None:
    week = next(picture for picture in PICTURES if picture.name == "week")
    lines = [shape for shape in week.shapes if isinstance(shape, Line) and shape.stroke == charts.TEXT]
    assert len(lines) == 5  # four services, one of them in two parts


def test_without_anything_to_draw_there_is_no_chart() -> None:
    assert charts.idle_by_cause([]) is None
    assert charts.forecast_fan(SAMPLE["cost"]["days"], [], "UTC") is None
    assert charts.variance_waterfall(1.0, 2.0, []) is None
    assert charts.variance_waterfall(1.0, 2.0, [{"name": "volume", "cost_usd": None}]) is None
    assert charts.budget_history([]) is None
    assert charts.week_timeline(SAMPLE, None, []) is None


def test_names_in_a_chart_are_escaped() -> None:
    for section in layout(hard_document(NASTY)).sections:
        for block in section.blocks:
            if isinstance(block, Picture):
                ET.fromstring(svg(block))
                assert "<script" not in svg(block)


def test_the_fan_spans_the_interval_of_the_forecast() -> None:
    fan = next(picture for picture in PICTURES if picture.name == "forecast")
    (area,) = [shape for shape in fan.shapes if isinstance(shape, Area)]
    assert len(area.points) == 2 * (9 + 1)  # nine days and the last that is known, there and back
