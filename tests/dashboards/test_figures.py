import itertools
import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from analytics.knowledge import shipped_knowledge
from dashboards import figures
from domain.cause import CauseKind, Evidence
from domain.entity import Entity, EntityKind
from domain.incident import Indicator
from domain.window import Window
from tests.dashboards.frames import HOUR, NOON, PORT, TIME, cause, incident, minutes_ago, objective, status
from tests.own_titles import OWN_TITLES

_GPU = Entity(EntityKind.GPU, "GPU-1")
_LEVELS = pl.DataFrame(
    {
        "time": [minutes_ago(m) for m in range(60, 0, -1)],
        "p50_ms": [180.0] * 60,
        "p99_ms": [500.0] * 40 + [4_000.0] * 20,
    },
    schema_overrides={"time": TIME},
)


_COUNTS = pl.DataFrame(
    {
        "time": [minutes_ago(m) for m in range(60, 0, -1)],
        "requests": [10] * 59 + [0],
        "errors": [0] * 40 + [4] * 19 + [0],
    },
    schema_overrides={"time": TIME},
)


def _heatmap(**changes: Any) -> figures.Figure:
    cells = pl.DataFrame(
        {"time": [minutes_ago(60), minutes_ago(60), minutes_ago(30)], "bucket": [28, 44, 30], "requests": [5, 2, 9]},
        schema_overrides={"time": TIME},
    )
    asked: dict[str, Any] = {
        "cells": cells,
        "percentiles": _LEVELS.select("time", "p99_ms"),
        "window": HOUR,
        "step_s": 60,
        "indicator": Indicator.TTFT,
        "threshold_ms": 800.0,
        "incidents": [],
        "knowledge": shipped_knowledge(),
    }
    return figures.latency_heatmap(**(asked | changes))


def _activity(**of: Any) -> pl.DataFrame:
    rows = [
        {"node": node, "gpu": f"{node}-{gpu}", "time": minutes_ago(minutes), "ratio": 0.9}
        for node in ("n1", "n2")
        for gpu in range(2)
        for minutes in (3, 2, 1)
    ]
    return pl.DataFrame(rows + ([of] if of else []), schema_overrides={"time": TIME})


def _gpus(index: list[int | None] | None = None, replica: list[str | None] | None = None) -> pl.DataFrame:
    """The GPUs of `_activity`, as of `dashboards.gpus.described`."""
    nothing: list[None] = [None] * 4
    return pl.DataFrame(
        {
            "node": ["n1", "n1", "n2", "n2"],
            "gpu": ["n1-0", "n1-1", "n2-0", "n2-1"],
            "index": nothing if index is None else index,
            "replica": nothing if replica is None else replica,
        },
        schema_overrides={"index": pl.Int64, "replica": pl.String},
    )


def _series(entity: Entity, values: list[float | None], signal: str = "symbol_errors") -> pl.DataFrame:
    return pl.DataFrame(
        {
            "signal": signal,
            "title": "Symbol errors",
            "unit": "1/s",
            "entity_kind": entity.kind.value,
            "entity_name": entity.name,
            "time": [minutes_ago(len(values) - index) for index in range(len(values))],
            "value": values,
        },
        schema_overrides={"time": TIME, "value": pl.Float64},
    )


def _evidence(entity: Entity = PORT, signal: str = "symbol_errors", lead_s: float | None = 50.0) -> Evidence:
    return Evidence(signal, entity, 0.37, 85.4, "1/s", 0.99, lead_s)


def _all_figures() -> dict[str, figures.Figure]:
    told = incident(cause(CauseKind.NETWORK_LINK_FAULT, _evidence()))
    return {
        "empty": figures.empty("nothing"),
        "budgets": figures.budget_burn_down([status()], {status().objective.name: "critical"}, NOON),
        "heatmap": _heatmap(incidents=[incident()], explained=Window(minutes_ago(30), minutes_ago(20))),
        "latency": figures.incident_latency(_LEVELS, incident(), window=HOUR, threshold_ms=800.0),
        "failures": figures.incident_failures(_COUNTS, incident(indicator=Indicator.ERRORS), window=HOUR),
        "gpus": figures.gpu_activity(_activity(), _gpus(), window=HOUR, step_s=60, incidents=[incident()]),
        "evidence": figures.evidence_multiples(_series(PORT, [0.0, 1.0, 85.0]), told, window=HOUR),
    }


every_figure = pytest.mark.parametrize("figure", _all_figures().values(), ids=_all_figures())


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        yield from itertools.chain.from_iterable(_strings(item) for item in value.values())
    elif isinstance(value, list | tuple):
        yield from itertools.chain.from_iterable(_strings(item) for item in value)


# -- every figure --------------------------------------------------------------------------------------------------


@every_figure
def test_a_figure_is_plain_json_with_a_sentence_for_screen_readers(figure: figures.Figure) -> None:
    json.dumps(figure, allow_nan=False)
    assert figure["layout"]["meta"]["label"]


@every_figure
def test_a_figure_names_colours_and_leaves_their_values_to_the_theme(figure: figures.Figure) -> None:
    assert not [text for text in _strings(figure) if text.startswith(("#", "rgb(", "hsl"))]


@every_figure
def test_the_tokens_of_a_figure_are_defined_in_both_themes(figure: figures.Figure) -> None:
    css = (Path(figures.__file__).parent / "assets" / "app.css").read_text()
    tokens = {text[1:].split("/")[0] for text in _strings(figure) if text.startswith("$")}
    assert all(css.count(f"--{token}:") == 2 for token in tokens), tokens


# -- budgets -------------------------------------------------------------------------------------------------------


def test_the_worst_budget_is_drawn_last_and_filled() -> None:
    calm, burning = status(objective("rerank"), left=0.9), status(left=0.1)
    tones = {calm.objective.name: "calm", burning.objective.name: "critical"}
    traces = figures.budget_burn_down([burning, calm], tones, NOON)["data"]
    assert [trace.get("name") for trace in traces] == [None, "rerank TTFT", "chat TTFT"]
    assert traces[-1]["fillcolor"] == "$critical/.08"
    assert "fill" not in traces[1]


def test_a_budget_ends_now_and_its_unknown_points_are_gaps() -> None:
    figure = figures.budget_burn_down([status(history=(None, 0.8, 0.6))], {objective().name: "calm"}, NOON)
    assert figure["data"][-1]["y"] == [None, 80.0, 60.0]
    assert figure["data"][-1]["x"][-1] == "2026-11-23 12:00:00"


def test_an_overspent_budget_is_drawn_below_zero() -> None:
    overspent = status(left=-0.5, history=(1.0, 0.2, -0.5))
    figure = figures.budget_burn_down([overspent], {objective().name: "critical"}, NOON)
    assert figure["layout"]["yaxis"]["range"][0] == -50


def test_labels_at_the_end_of_lines_never_overlap() -> None:
    close = [status(objective(f"s{number}"), left=0.6 + number / 1_000) for number in range(6)]
    figure = figures.budget_burn_down(close, {one.objective.name: "calm" for one in close}, NOON)
    heights = sorted(note["y"] for note in figure["layout"]["annotations"])
    bottom, top = figure["layout"]["yaxis"]["range"]
    assert bottom == 50
    assert all(upper - lower >= 0.07 * (top - bottom) for lower, upper in itertools.pairwise(heights))
    assert heights[-1] <= 100


def test_budgets_that_are_nearly_full_are_told_apart_and_a_reader_is_told_where_the_axis_begins() -> None:
    full = [
        status(left=0.978, history=(None, 1.0, 0.978)),
        status(objective("rerank"), left=0.999, history=(None, 1, 0.999)),
    ]
    layout = figures.budget_burn_down(full, {one.objective.name: "critical" for one in full}, NOON)["layout"]
    assert layout["yaxis"]["range"] == [95.0, 100.2]
    assert layout["yaxis"]["ticktext"] == ["95 %", "96 %", "97 %", "98 %", "99 %", "100 %"]
    assert layout["xaxis"]["range"] == ["2026-11-13 12:00:00", "2026-11-23 12:00:00"]
    words = "the axis begins at 95 %, data since 13 Nov"
    assert figures.budget_view(full, NOON).words == words
    assert layout["meta"]["label"].endswith(words)
    whole = figures.budget_view([status(left=0.1, history=(1.0, 0.5, 0.1))], NOON)
    assert (whole.bottom, whole.words) == (0.0, "")


def test_without_any_history_the_burn_down_says_so() -> None:
    unknown = status(left=None, history=())
    assert figures.budget_burn_down([unknown], {}, NOON)["layout"]["meta"]["empty"] == "No requests to judge yet"


# -- latency -------------------------------------------------------------------------------------------------------


def test_the_heatmap_is_calm_below_the_objective_and_alarming_above() -> None:
    calm, alarm, p99 = _heatmap()["data"]
    assert (calm["colorscale"], alarm["colorscale"]) == ("$scale-calm/1.6", "$scale-alarm/1.6")
    assert max(calm["y"]) == min(alarm["y"])
    assert 700 < max(calm["y"]) < 900
    assert p99["mode"] == "lines"


def test_without_an_objective_everything_is_calm() -> None:
    heatmap, p99 = _heatmap(threshold_ms=None)["data"]
    assert heatmap["colorscale"] == "$scale-calm/1.6"
    assert p99["type"] == "scatter"


def test_a_cell_without_requests_is_empty_not_zero() -> None:
    calm = _heatmap()["data"][0]
    cells = list(itertools.chain.from_iterable(calm["z"]))
    assert sorted(cell for cell in cells if cell is not None) == [5, 9]
    assert 0 not in cells
    assert len(calm["x"]) == 61  # the edges of sixty columns
    assert len(calm["y"]) == len(calm["z"]) + 1


def test_an_incident_is_marked_only_where_it_began_in_the_window() -> None:
    inside = _heatmap(incidents=[incident()])
    outside = _heatmap(incidents=[incident(started_at=NOON - timedelta(days=1))])
    assert [note["text"] for note in inside["layout"]["annotations"]].count("Bad link") == 1
    assert "Bad link" not in [note["text"] for note in outside["layout"]["annotations"]]
    ours = _heatmap(incidents=[incident()], knowledge=OWN_TITLES)
    assert "Dim optics" in [note["text"] for note in ours["layout"]["annotations"]]


def test_a_new_window_to_explain_takes_the_old_selection_away() -> None:
    before, after = _heatmap(), _heatmap(explained=Window(minutes_ago(30), minutes_ago(20)))
    assert before["layout"]["selectionrevision"] != after["layout"]["selectionrevision"]
    assert after["layout"]["selections"] == []
    assert any(shape.get("fillcolor") == "$accent/.16" for shape in after["layout"]["shapes"])


def test_a_line_breaks_where_nothing_was_measured_for_long() -> None:
    silent = _LEVELS.filter(~pl.col("time").is_between(minutes_ago(50), minutes_ago(40)))
    line = figures.incident_latency(silent, incident(), window=HOUR, threshold_ms=None)["data"][1]
    assert line["y"].count(None) == 1
    assert line["x"][line["y"].index(None)] == "2026-11-23 11:15:00"


def test_a_line_joins_samples_that_are_rarer_than_steps() -> None:
    values = [1.0, None, None, 2.0, None, None, 3.0]
    told = incident(cause(CauseKind.NETWORK_LINK_FAULT, _evidence()))
    (line,) = figures.evidence_multiples(_series(PORT, values), told, window=HOUR)["data"]
    assert line["y"] == [1.0, 2.0, 3.0]


def test_the_spike_is_shaded_from_its_beginning_to_its_end() -> None:
    over = incident(ended_at=minutes_ago(5))
    shapes = figures.incident_latency(_LEVELS, over, window=HOUR, threshold_ms=800.0)["layout"]["shapes"]
    (area,) = [shape for shape in shapes if shape.get("fillcolor") == "$critical/.1"]
    assert (area["x0"], area["x1"]) == ("2026-11-23 11:40:00", "2026-11-23 11:55:00")


def test_an_incident_of_which_no_requests_are_kept_says_so() -> None:
    figure = figures.incident_latency(_LEVELS.clear(), incident(), window=HOUR, threshold_ms=None)
    assert figure["layout"]["meta"]["empty"] == "No requests of this time are kept"


def test_names_from_the_wire_cannot_be_markup() -> None:
    evil = status(objective("<b>chat</b>&"))
    label = figures.budget_burn_down([evil], {evil.objective.name: "calm"}, NOON)["layout"]["annotations"][0]["text"]
    assert "&lt;b&gt;chat&lt;/b&gt;&amp;" in label


# -- GPUs ----------------------------------------------------------------------------------------------------------


def test_the_title_of_a_band_is_short_on_a_phone_and_names_the_gpu_first() -> None:
    gpu = Entity(EntityKind.GPU, "GPU-b21b02bf-bc0b-43f0-8849-2db4c1ad66a4")
    told = incident(cause(CauseKind.NETWORK_LINK_FAULT, _evidence(entity=gpu)))
    for name, wide, narrow in (
        ("GPU 7 of gpu-02-02 (assist-with-a-long-name-3)",) * 2 + ("GPU 7 of gpu-02-02",),
        (gpu.name, gpu.name, "GPU-b21b02bf-bc0b-43f0-8849-2…"),
    ):
        figure = figures.evidence_multiples(_series(gpu, [0.0, 85.0]), told, window=HOUR, names={gpu.name: name})
        titles = [note["text"] for note in figure["layout"]["annotations"] if "Symbol errors" in note["text"]]
        assert titles == [f"<b>Symbol errors</b>  {wide}", f"<b>Symbol errors</b>  {narrow}"]


def test_gpus_are_grouped_by_node_with_a_gap_between() -> None:
    figure = figures.gpu_activity(_activity(), _gpus(), window=Window(minutes_ago(3), NOON), step_s=60)
    assert figure["layout"]["yaxis"]["ticktext"] == ["n1", "n2"]
    assert figure["layout"]["yaxis"]["tickvals"] == [0.5, 3.5]
    assert figure["data"][0]["z"][2] == [None, None, None]


def test_a_gpu_without_samples_is_a_gap_and_an_idle_one_is_zero() -> None:
    window = Window(minutes_ago(10), NOON)
    seen = _activity(node="n1", gpu="n1-0", time=minutes_ago(10), ratio=0.0)
    row = figures.gpu_activity(seen, _gpus(), window=window, step_s=60)["data"][0]["z"][0]
    assert row == [0.0, 0.0, None, None, None, None, None, 90.0, 90.0, 90.0]  # one column is carried, for drift


def test_a_row_says_which_gpu_it_is_on_its_axis_and_on_hover() -> None:
    gpus = _gpus(index=[0, 1, 0, 1], replica=["chat-0", None, "chat-1", "chat-1"])
    figure = figures.gpu_activity(_activity(), gpus, window=Window(minutes_ago(3), NOON), step_s=60)
    axis, (busy, free) = figure["layout"]["yaxis"], figure["data"]
    assert busy["y"] == ["n1 GPU 0, chat-0", "n1 GPU 1", "  ", "n2 GPU 0, chat-1", "n2 GPU 1, chat-1"]
    assert busy["hovertemplate"].startswith("%{y}<br>")
    assert (axis["tickvals"], axis["ticktext"]) == ([0, 1, 3, 4], ["0", "1", "0", "1"])
    assert [note["text"] for note in figure["layout"]["annotations"]] == ["n1", "n2"]
    assert (busy["z"][1], free["z"][1]) == ([None] * 3, [90.0] * 3), "one that serves no replica has the grey scale"
    assert free["colorscale"] == "$scale-free"


def test_where_no_replica_is_known_of_any_gpu_none_is_grey() -> None:
    assert len(figures.gpu_activity(_activity(), _gpus(), window=HOUR, step_s=60)["data"]) == 1


def test_columns_narrower_than_the_samples_are_apart_are_filled_and_a_silence_among_them_is_not() -> None:
    told = [20, 17, 14, 5, 4, 3, 2, 1]  # each three minutes, then each minute after nine of silence
    seen = pl.DataFrame(
        {"node": "n1", "gpu": "n1-0", "time": [minutes_ago(minute) for minute in told], "ratio": 0.5},
        schema_overrides={"time": TIME},
    )
    window = Window(minutes_ago(20), NOON)
    row = figures.gpu_activity(seen, _gpus(), window=window, step_s=60)["data"][0]["z"][0]
    assert row[:8] == [50.0] * 8
    assert row[8:15] == [None] * 7
    assert row[15:] == [50.0] * 5


def test_without_gpu_metrics_the_chart_names_the_metric_to_send() -> None:
    empty = figures.gpu_activity(_activity().clear(), _gpus(), window=HOUR, step_s=60)["layout"]["meta"]["empty"]
    assert "DCGM_FI_PROF_GR_ENGINE_ACTIVE" in empty


# -- failures ------------------------------------------------------------------------------------------------------


def test_failures_are_shares_of_the_requests_and_a_step_without_any_has_none() -> None:
    figure = figures.incident_failures(_COUNTS, incident(indicator=Indicator.ERRORS), window=HOUR)
    (line,) = figure["data"]
    assert line["y"] == [0.0] * 40 + [40.0] * 19
    assert figure["layout"]["yaxis"]["range"][1] == pytest.approx(44)


def test_failures_of_requests_that_are_no_longer_kept_say_so() -> None:
    figure = figures.incident_failures(_COUNTS.clear(), incident(indicator=Indicator.ERRORS), window=HOUR)
    assert figure["layout"]["meta"]["empty"] == "No requests of this time are kept"


# -- evidence ------------------------------------------------------------------------------------------------------


def test_each_signal_has_its_band_and_the_likeliest_cause_comes_first() -> None:
    second = Evidence("kv_cache_usage", _GPU, 0.6, 0.9, "ratio", 0.8, -90.0)
    told = incident(
        cause(CauseKind.NETWORK_LINK_FAULT, _evidence(), _evidence(signal="receive_errors")),
        cause(CauseKind.GPU_MEMORY_PRESSURE, second, _evidence(), rank=2),
    )
    series = pl.concat([_series(_GPU, [0.6, 0.9], "kv_cache_usage"), _series(PORT, [0.0, 85.0])])
    figure = figures.evidence_multiples(series, told, window=HOUR)
    assert [trace["yaxis"] for trace in figure["data"]] == ["y", "y2"]  # nothing is kept of receive_errors
    assert [trace["line"]["color"] for trace in figure["data"]] == ["$accent", "$line-neutral"]
    assert figure["layout"]["meta"]["height"] == 2 * 104 + 28
    domains = [figure["layout"][axis]["domain"] for axis in ("yaxis", "yaxis2")]
    assert domains[0][0] > domains[1][1]


def test_a_band_tells_when_its_signal_moved_and_how_far() -> None:
    told = incident(cause(CauseKind.NETWORK_LINK_FAULT, _evidence()))
    figure = figures.evidence_multiples(_series(PORT, [0.0, 1.0, 85.0]), told, window=HOUR)
    notes = [note["text"].replace("\N{NO-BREAK SPACE}", " ") for note in figure["layout"]["annotations"]]
    assert "<b>50 s earlier</b><br>0.37 → 85.4 per second" in notes


@pytest.mark.parametrize(
    ("entity", "title", "move"),
    [(PORT, "Gb/s", "400 → 100 Gb/s"), (Entity(EntityKind.GPU, "GPU-7c"), "GB/s", "50 → 12.5 GB/s")],
)
def test_a_band_is_in_the_unit_that_its_change_is_told_in(entity: Entity, title: str, move: str) -> None:
    evidence = Evidence("port_rate", entity, 5e10, 1.25e10, "B/s", 0.99, 50.0)
    told = incident(cause(CauseKind.NETWORK_LINK_FAULT, evidence))
    figure = figures.evidence_multiples(_series(entity, [5e10, 1.25e10], "port_rate"), told, window=HOUR)
    (trace,) = figure["data"]
    assert f"{trace['y'][0]:g} → {trace['y'][1]:g} {title}" == move
    assert trace["hovertemplate"].endswith(f"%{{y:.4~g}} {title}<extra></extra>")
    assert any(move in note["text"] for note in figure["layout"]["annotations"])


def test_charts_above_each_other_line_up() -> None:
    told = incident(cause(CauseKind.NETWORK_LINK_FAULT, _evidence()))
    multiples = figures.evidence_multiples(_series(PORT, [0.0, 1.0, 85.0]), told, window=HOUR)["layout"]
    latency = figures.incident_latency(_LEVELS, told, window=HOUR, threshold_ms=800.0)["layout"]
    assert [multiples["margin"][side] for side in "lr"] == [latency["margin"][side] for side in "lr"]
    assert multiples["xaxis"]["range"] == latency["xaxis"]["range"]


def test_a_signal_without_any_value_has_no_band() -> None:
    told = incident(cause(CauseKind.NETWORK_LINK_FAULT, _evidence()))
    figure = figures.evidence_multiples(_series(PORT, [None, None]), told, window=HOUR)
    assert figure["layout"]["meta"]["empty"] == "No signal is kept for this time"
    assert figures.evidence_without_course(_series(PORT, [None, None]), told) == [_evidence()]


def test_where_nothing_moved_the_chart_says_so_and_not_that_something_was_lost() -> None:
    figure = figures.evidence_multiples(_series(PORT, []), incident(cause(CauseKind.UNKNOWN)), window=HOUR)
    assert figure["layout"]["meta"]["empty"] == "No signal moved in a way that explains it"


def test_evidence_without_a_band_is_named_once_and_the_rest_is_drawn() -> None:
    started = _evidence(Entity(EntityKind.REPLICA, "chat-4"), "replica_start")
    told = incident(
        cause(CauseKind.NETWORK_LINK_FAULT, _evidence(), started), cause(CauseKind.COLD_START, started, rank=2)
    )
    series = _series(PORT, [0.0, 1.0, 85.0])
    assert figures.evidence_without_course(series, told) == [started]
    assert len(figures.evidence_multiples(series, told, window=HOUR)["data"]) == 1


def test_a_signal_with_one_value_is_drawn_as_a_point() -> None:
    told = incident(cause(CauseKind.NETWORK_LINK_FAULT, _evidence()))
    (trace,) = figures.evidence_multiples(_series(PORT, [None, 85.0]), told, window=HOUR)["data"]
    assert trace["mode"] == "markers"


def test_a_signal_that_never_changes_still_has_an_axis() -> None:
    told = incident(cause(CauseKind.NETWORK_LINK_FAULT, _evidence()))
    for value in (0.0, 5.0):
        axis = figures.evidence_multiples(_series(PORT, [value, value]), told, window=HOUR)["layout"]["yaxis"]
        assert axis["range"][0] < axis["range"][1]
