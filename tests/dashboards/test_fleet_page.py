"""The page of the fleet and that of one device: their parts, and their callbacks over the made-up cloud."""

import asyncio
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import unquote

import numpy as np
import pytest
from fastapi import FastAPI

from analytics.gpu_states import Gpu, GpuState
from analytics.hardware import GpuLevels, GpuNow, Grade, PortNow, Trouble, Workload, gpu_totals, worst_gpus
from analytics.jobs.explaining import AnalyzeSettings
from analytics.knowledge import shipped_knowledge
from analytics.port_states import DOWNED, SYMBOL_ERRORS, Port, PortState
from analytics.signals import SignalMatrix
from dashboards.app import create_dashboard
from dashboards.device_figures import device_multiples, shown_signals
from dashboards.fleet_map import MEASURES, choices, fleet_map, legend, measure_of
from dashboards.fleet_parts import gpu_facts, no_hardware, port_facts, ports_table, troubles
from dashboards.fleet_words import error_words, gigabits, of_memory, watts
from dashboards.settings import DashboardSettings
from dashboards.shell import range_menu, service_menu
from dashboards.state import PageState, device_of, device_path, link, parse_state
from domain.entity import Entity, EntityKind
from storage.store import Store
from tests.browser import fixture_data
from tests.dashboards.asking import Asker
from tests.dashboards.frames import HOUR, NOON, incident, minutes_ago
from tests.dashboards.reading import classes, links, words

BUSY = GpuLevels(0.97, 70_000.0, 81_000.0, 71.0, 79.0, 612.0, 700.0, 0.31)
HOT = Trouble(GpuState.THERMAL_THROTTLE, Grade.FAULT, "the GPU is too hot", minutes_ago(12), "chat-1")
SILENT = Trouble(GpuState.NO_DATA, Grade.DOUBT, "nothing of its node was scraped")


def gpu(node: str, index: int, *found: Trouble, **changes: Any) -> GpuNow:
    """A busy GPU of a chat replica."""
    runs = Workload("chat-0", "chat", "llama-70b", "prod")
    uuid = f"GPU-{node}-{index}"
    return GpuNow(Gpu(uuid, node), index, runs, changes.pop("levels", BUSY), found, **changes)


def silent(node: str, index: int) -> GpuNow:
    return gpu(node, index, SILENT, levels=GpuLevels(), silent_since=minutes_ago(26))


def port(name: str, *found: Trouble, **changes: Any) -> PortNow:
    """A port of 400 Gb/s that is a third full."""
    known: dict[str, Any] = {"errors": {}, "wait_ratio": 0.0004} | changes
    far = Entity(EntityKind.PORT, "leaf-1/3")
    return PortNow(Port("n1", name), far, 50e9, 15e9, 16e9, 0.32, known.pop("wait_ratio"), troubles=found, **known)


# -- Words ------------------------------------------------------------------------------------------------------------


def test_numbers_of_the_hardware_have_the_units_that_people_use() -> None:
    assert (gigabits(50e9), gigabits(None)) == ("400 Gb/s", "—")
    assert (watts(612.4), watts(31_240.0)) == ("612 W", "31.2 kW")
    assert of_memory(2_055_208.0, 2_611_000.0) == "1.96 of 2.49 TiB"
    assert of_memory(71_200.0, 1_250_000.0) == "69.5 GiB of 1.19 TiB"
    assert error_words({SYMBOL_ERRORS: 85.0, DOWNED: 1.0}) == "1 link down, 85 symbol errors"


# -- Head line --------------------------------------------------------------------------------------------------------


def test_the_head_line_counts_gpus_nodes_and_troubles() -> None:
    facts = words(gpu_facts(gpu_totals([gpu("n1", 0), gpu("n1", 1, HOT), silent("n2", 0)]), ""))
    assert "GPUs 3 on 2 nodes 1 silent" in facts
    assert "GPUs in trouble 1 1 thermal throttle" in facts
    assert "Utilisation 97 % mean" in facts
    assert "Power 1,224 W of 1,400 W" in facts


def test_what_is_not_seen_now_says_as_of_when_it_was() -> None:
    facts = gpu_facts(gpu_totals([gpu("n1", 0)]), "as of 11:41")
    assert "GPUs in trouble as of 11:41 0" in words(facts)
    assert "greyed" in classes(facts)


def test_without_gpus_the_head_line_says_so_and_without_anything_the_page_says_what_to_do() -> None:
    assert words(gpu_facts(gpu_totals([]), "")) == "GPUs none no DCGM metrics"
    assert "dcgm-exporter" in words(no_hardware())
    assert "/data" in links(no_hardware())
    assert port_facts([], "") == []


def test_ports_in_trouble_are_those_that_are_used_and_told_of() -> None:
    down = Trouble(PortState.DOWN, Grade.FAULT, "the link is not up")
    waits = Trouble(PortState.CONGESTED, Grade.STRAIN, "it waits for credit")
    found = [port("a", down), port("b", waits), port("c"), port("d", down, is_used=False)]
    assert words(port_facts(found, "")) == "Ports in trouble 2 of 3, 1 at fault"


# -- The picture ------------------------------------------------------------------------------------------------------


def test_a_cell_leads_to_its_gpu_and_says_what_it_is_how_it_is_and_what_runs_there() -> None:
    drawn = fleet_map([gpu("n1", 3, HOT)], PageState("3h"), NOON)
    assert device_path(EntityKind.GPU, "n1", "GPU-n1-3") + "?range=3h" in links(drawn)
    cell = drawn.children[0].children[1].children[0]
    assert getattr(cell, "aria-label").replace("\N{NO-BREAK SPACE}", " ").split("\n") == [
        "n1 GPU 3",
        "Thermal throttle since 11:48",
        "97 % busy · tensor cores 31 % · 68.4 of 79.1 GiB · 71 °C · 612 W of 700 W",
        "chat-0: llama-70b of chat, pool prod",
    ]
    assert cell.children == "97"
    assert {"cell-high", "mark-fault"} <= set(classes(drawn))


def test_few_nodes_have_numbers_in_their_cells_and_many_are_dense() -> None:
    many = [gpu(f"n{node:03}", index) for node in range(200) for index in range(8)]
    dense = fleet_map(many, PageState(), NOON)
    assert "dense" in classes(dense)
    assert classes(dense).count("cell") == 1_600
    assert words(dense).startswith("n000 n001")


def test_the_worst_node_comes_first_unless_names_decide() -> None:
    gpus = [gpu("n1", 0), gpu("n2", 0, HOT), silent("n3", 0)]
    assert words(fleet_map(gpus, PageState(), NOON)).startswith("n2 97 GPU 0: thermal throttle ; chat-0 n3")
    assert "n3 silent since 11:34" in words(fleet_map(gpus, PageState(), NOON))
    assert words(fleet_map(gpus, PageState(sort="name"), NOON)).startswith("n1")


def test_each_measure_colours_by_its_own_scale_and_what_is_not_told_stays_open() -> None:
    shares = {key: measure.share(BUSY) for key, measure in MEASURES.items()}
    assert shares["temperature"] == pytest.approx((71 - 30) / 65)
    assert shares["memory"] == pytest.approx(70 / 81)
    assert shares["power"] == pytest.approx(612 / 700)
    assert [measure.short(GpuLevels()) for measure in MEASURES.values()] == [""] * len(MEASURES)
    assert "cell-unknown" in classes(fleet_map([gpu("n1", 0, levels=GpuLevels())], PageState(), NOON))


def test_a_measure_that_is_not_there_counts_as_not_asked_for() -> None:
    assert (measure_of(PageState(by="power")), measure_of(PageState(by="colour"))) == ("power", "utilisation")
    assert "/fleet?range=1h&by=power&node=n1" in links(choices(PageState("1h", node="n1")))


def test_the_legend_explains_the_marks_that_are_there() -> None:
    told = words(legend(MEASURES["temperature"], [gpu("n1", 0, HOT), silent("n2", 0)]))
    assert told == "30 °C 95 °C fault silent"


# -- Lists ------------------------------------------------------------------------------------------------------------


def test_what_is_in_trouble_is_listed_with_why_and_since_when_and_silent_nodes_in_one_line() -> None:
    gpus = [gpu("n1", 3, HOT), silent("n2", 0), silent("n2", 1)]
    listed = troubles(worst_gpus(gpus), gpu_totals(gpus), PageState(), NOON)
    assert "Thermal throttle n1 GPU 3 since 11:48 the GPU is too hot Open incident chat-0" in words(listed)
    assert "Silent node n2 no GPU of it has told anything since 11:34, 26 min ago" in words(listed)
    assert "/incidents/chat-1" in links(listed)
    assert troubles([], gpu_totals([gpu("n1", 0)]), PageState(), NOON) is None


def test_more_troubles_than_a_list_holds_are_counted() -> None:
    gpus = [gpu("n1", index, HOT) for index in range(40)]
    assert "28 more GPUs" in words(troubles(worst_gpus(gpus), gpu_totals(gpus), PageState(), NOON))


def test_ports_that_say_nothing_are_behind_a_link() -> None:
    waits = Trouble(PortState.CONGESTED, Grade.STRAIN, "it waits for credit 4.3 % of the time")
    found = [
        port("mlx5_0/1", waits, wait_ratio=0.043),
        port("mlx5_1/1", errors={DOWNED: 2.0}, has_many_errors=True),
        port("mlx5_2/1"),
    ]
    first = ports_table(found, PageState("3h"), "3 h", NOON)
    assert "Congested n1 mlx5_0/1 leaf-1/3 400 Gb/s 128 Gb/s · 32 % 4 % none" in words(first)
    assert "2 link downs" in words(first)
    assert "mlx5_2/1" not in words(first)
    assert "/fleet?range=3h&show=all" in links(first)
    assert "mlx5_2/1" in words(ports_table(found, PageState(show="all"), "3 h", NOON))


def test_a_calm_fabric_says_so_and_none_says_who_would_tell_of_it() -> None:
    calm = words(ports_table([port("mlx5_0/1")], PageState(), "1 h", NOON))
    assert calm.startswith("No port is in trouble, and none counted many errors within 1 h.")
    assert "node_exporter" in words(ports_table([], PageState(), "1 h", NOON))


# -- Addresses --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("node", "name"), [("n1", "GPU-1"), ("n1.example", "GPU-1/3"), ("ü & co", "a?b")])
def test_the_address_of_a_device_names_it_whatever_it_is_called(node: str, name: str) -> None:
    assert device_of(device_path(EntityKind.GPU, node, name)) == (Entity(EntityKind.GPU, name), node)
    port_entity = Entity(EntityKind.PORT, f"{node}/{name}")
    assert device_of(device_path(EntityKind.PORT, node, name)) == (port_entity, node)
    assert device_of(unquote(device_path(EntityKind.PORT, node, name))) == (port_entity, node)  # as a server reads it


@pytest.mark.parametrize("path", [None, "/", "/fleet", "/fleet/gpus", "/fleet/gpus/n1", "/fleet/discs/n1/a"])
def test_other_addresses_name_no_device(path: str | None) -> None:
    assert device_of(path) is None


def test_the_node_and_whether_all_is_shown_are_in_the_address() -> None:
    state = PageState("1h", by="power", node="gpu-07-03", show="all")
    assert parse_state(link("/fleet", state).removeprefix("/fleet")) == state


# -- The course of a device -------------------------------------------------------------------------------------------


def _signal(name: str, *values: float) -> SignalMatrix:
    signal = shipped_knowledge().signals[name]
    return SignalMatrix(signal, (Entity(signal.entity, "it"),), np.array([values]))


def test_main_signals_are_shown_whatever_they_do_and_others_where_they_moved() -> None:
    signals = [
        _signal("thermal_slowdown", 0.0, 0.0, 1.0),
        _signal("power_cap", 0.0, 0.0, 0.0),
        _signal("gpu_power", 500.0, 500.0, 500.0),
        _signal("engine_active", 0.8, 0.9, np.nan),
        _signal("tensor_active", np.nan, np.nan, np.nan),
    ]
    shown = [one.signal.name for one in shown_signals(signals, EntityKind.GPU)]
    assert shown == ["engine_active", "gpu_power", "thermal_slowdown"]


def test_the_course_has_a_band_a_signal_and_shades_incidents() -> None:
    times = [NOON - timedelta(minutes=minutes) for minutes in (30, 20, 10)]
    signals = [_signal("engine_active", 0.8, 0.9, 0.7), _signal("sm_clock", 1980.0, 1980.0, 1290.0)]
    drawn = device_multiples(signals, times, EntityKind.GPU, window=HOUR, incidents=[incident()])
    assert [trace["y"] for trace in drawn["data"]] == [[80.0, 90.0, 70.0], [1980.0, 1980.0, 1290.0]]
    assert drawn["layout"]["meta"]["label"] == "Course of Graphics engine activity now 70%; SM clock now 1,290 MHz"
    assert [shape["type"] for shape in drawn["layout"]["shapes"]] == ["rect", "line"]
    assert device_multiples([], times, EntityKind.GPU, window=HOUR)["layout"]["meta"]["empty"]


# -- Over the made-up cloud -------------------------------------------------------------------------------------------

_GPUS = tuple(f"fleet-{name}.children" for name in ("now", "gpu-facts", "troubles", "map-note", "choices", "map"))
_PORTS = tuple(f"fleet-{name}.children" for name in ("port-facts", "ports-note", "ports", "empty"))
_DEVICE = tuple(f"device-{name}.children" for name in ("head", "facts", "troubles"))
_COURSE = ("device-note.children", "figure:device.data", "device-incidents.children")


def test_the_page_tells_of_all_gpus_and_of_the_one_that_fell_off_the_bus(pages: Asker) -> None:
    told = pages.callback(*_GPUS, url__search="", tick__n_intervals=1)
    assert "GPUs 32 on 4 nodes" in words(told["fleet-gpu-facts"]["children"])
    assert "Off the bus gpu-07-02 GPU-0102-5c1d since 02:01" in words(told["fleet-troubles"]["children"])
    assert classes(told["fleet-map"]["children"]).count("cell") == 32
    of_one = pages.callback(*_GPUS, url__search="?node=gpu-07-03", tick__n_intervals=1)
    assert classes(of_one["fleet-map"]["children"]).count("cell") == 8


def test_the_page_tells_of_the_bad_link_with_its_other_end(pages: Asker) -> None:
    told = pages.callback(*_PORTS, url__search="", tick__n_intervals=1)
    ports = words(told["fleet-ports"]["children"])
    assert ports.startswith(
        "State Port Other end Rate Throughput Waits Errors Why Bad link gpu-07-03 mlx5_2/1 leaf-07/3"
    )
    assert "symbol errors" in ports
    assert told["fleet-empty"]["children"] is None


def _asked_at(runner: asyncio.Runner, store: Store, now: datetime) -> Asker:
    """The pages over the same store at another time."""
    api = FastAPI()
    create_dashboard(api, store, DashboardSettings(), objectives=tuple, now=lambda: now, analysis=AnalyzeSettings())
    return Asker(runner, api)


def test_where_no_sample_comes_in_any_more_the_fleet_is_told_as_it_was(
    runner: asyncio.Runner, filled_store: Store, pages: Asker
) -> None:
    later = _asked_at(runner, filled_store, fixture_data.NOW + timedelta(minutes=40))
    told = later.callback(*_GPUS, url__search="", tick__n_intervals=1)
    assert words(told["fleet-now"]["children"]) == ("23 Nov 2026, 03:47 UTC; all of it as of 03:06, no data since")
    assert "GPUs in trouble as of 03:06 1" in words(told["fleet-gpu-facts"]["children"])
    assert classes(told["fleet-map"]["children"]).count("cell") == 32


def test_where_nothing_was_heard_of_for_long_the_page_says_what_to_configure(
    runner: asyncio.Runner, filled_store: Store, pages: Asker
) -> None:
    much_later = _asked_at(runner, filled_store, fixture_data.NOW + timedelta(days=40))
    told = much_later.callback(*_PORTS, url__search="", tick__n_intervals=1)
    assert words(told["fleet-empty"]["children"]).startswith("No hardware metrics yet")


def test_the_fleet_has_its_own_ranges_and_no_service_to_choose() -> None:
    assert [words(one) for one in range_menu("/fleet", PageState())] == ["15m", "1h", "3h", "6h", "24h"]
    assert service_menu("/fleet", PageState(), ["chat"]) is None


def test_a_gpu_has_a_page_with_its_course(pages: Asker) -> None:
    path = device_path(EntityKind.GPU, "gpu-07-03", "GPU-0203-5c1d")
    told = pages.callback(*_DEVICE, url__pathname=path, url__search="", tick__n_intervals=1)
    assert "gpu-07-03 GPU-0203-5c1d" in words(told["device-head"]["children"])
    course = pages.callback(*_COURSE, url__pathname=path, url__search="", tick__n_intervals=1)
    assert "Graphics engine activity" in course['{"name":"device","type":"figure"}']["data"]["layout"]["meta"]["label"]
    assert "TTFT p99 at 4.3 s on chat" in words(course["device-incidents"]["children"])
    assert "names its node" in words(course["device-incidents"]["children"])


def test_a_port_has_a_page_with_why_it_is_bad(pages: Asker) -> None:
    path = device_path(EntityKind.PORT, "gpu-07-03", "mlx5_2/1")
    told = pages.callback(*_DEVICE, url__pathname=path, url__search="", tick__n_intervals=1)
    assert "Bad link since 02:41" in words(told["device-troubles"]["children"])
    assert fixture_data.incident().id in " ".join(links(told["device-troubles"]["children"]))


def test_a_link_to_a_device_that_is_not_there_leads_back(pages: Asker) -> None:
    path = device_path(EntityKind.GPU, "gpu-07-03", "GPU-nope")
    told = pages.callback(*_DEVICE, url__pathname=path, url__search="", tick__n_intervals=1)
    assert "No such GPU was heard of within a day" in words(told["device-head"]["children"])
    assert "/fleet" in links(told["device-head"]["children"])
