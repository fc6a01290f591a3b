"""When a state of a GPU or a link becomes a fault to tell, and when it is over."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest

from analytics.device_faults import (
    GPU_METRICS,
    PORT_METRICS,
    RULES,
    DeviceFault,
    fault_document,
    fault_of,
    gpu_faults,
    gpu_samples,
    heard_of,
    named_by,
    port_faults,
    port_samples,
    replicas_by_place,
    silent_faults,
    with_riders,
)
from analytics.gpu_states import FAULTS as GPU_FAULTS
from analytics.gpu_states import Gpu, GpuSamples, GpuState
from analytics.jobs.devices import device_faults
from analytics.port_states import DOWNED, RATE, STATE, SYMBOL_ERRORS, Port, PortSamples, PortState
from analytics.port_states import FAULTS as PORT_FAULTS
from domain.entity import Entity, EntityKind
from domain.incident import Severity, Status
from domain.topology import Node, SwitchPort, Topology
from domain.window import Window
from storage.frames import Schema
from storage.store import Store
from tests.domain.examples import PAGING

STEPS, STEP_S = 30, 60
END = datetime(2026, 11, 23, 3, 0, tzinfo=UTC)
WINDOW = Window(END - timedelta(seconds=STEPS * STEP_S), END)
XID, ENERGY, BITS = "DCGM_FI_DEV_XID_ERRORS", "DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION", "DCGM_FI_DEV_CLOCKS_EVENT_REASONS"
WIDTH_OF_PCIE, UTIL, DBE = "DCGM_FI_DEV_PCIE_LINK_WIDTH", "DCGM_FI_DEV_GPU_UTIL", "DCGM_FI_DEV_ECC_DBE_VOL_TOTAL"
PENDING = "DCGM_FI_DEV_ROW_REMAP_PENDING"
USUAL = {XID: 0.0, BITS: 0.0, WIDTH_OF_PCIE: 16.0, UTIL: 95.0, DBE: 0.0, PENDING: 0.0}
GPU = Entity(EntityKind.GPU, "GPU-0")
PORT = Entity(EntityKind.PORT, "node/mlx5_0/1")
NAN = float("nan")


def gpus(changes: Mapping[str, object] | None = None) -> GpuSamples:
    """Three busy GPUs of a node, of which the first one changes."""
    values = {metric: np.full((3, STEPS), level) for metric, level in USUAL.items()}
    values[ENERGY] = np.cumsum(np.full((3, STEPS), 600.0 * STEP_S * 1e3), axis=1)
    for metric, changed in (changes or {}).items():
        values[metric][0] = changed
    return GpuSamples(tuple(Gpu(f"GPU-{row}", "node", model="H100") for row in range(3)), values, STEP_S)


def course(usual: float, of: Mapping[range, float]) -> list[float]:
    """A value that is usual but in some stretches of steps."""
    return [next((value for steps, value in of.items() if step in steps), usual) for step in range(STEPS)]


def ports(changes: Mapping[str, object] | None = None) -> PortSamples:
    """Three ports of a node, of which the first one changes."""
    usual = {STATE: 4.0, RATE: 50e9, SYMBOL_ERRORS: 0.0, DOWNED: 0.0}
    values = {name: np.full((3, STEPS), level) for name, level in usual.items()}
    for name, changed in (changes or {}).items():
        values[name][0] = changed
    return PortSamples(tuple(Port("node", f"mlx5_{row}/1") for row in range(3)), values, STEP_S)


def told(samples: GpuSamples, *known: DeviceFault) -> list[tuple[str, GpuState]]:
    return [(one.device.name, one.state) for one in gpu_faults(samples, WINDOW, known)]  # type: ignore[misc]


def later(minutes: int) -> Window:
    return Window(WINDOW.start + timedelta(minutes=minutes), WINDOW.end + timedelta(minutes=minutes))


def fault(state: GpuState | PortState = GpuState.MEMORY_FAULT, device: Entity = GPU, **more: object) -> DeviceFault:
    return replace(
        DeviceFault(device, state, "node", WINDOW.start, END - timedelta(minutes=1), "it is broken"),
        **more,  # type: ignore[arg-type]
    )


def test_each_state_that_is_a_fault_has_a_rule() -> None:
    assert set(RULES) == GPU_FAULTS | PORT_FAULTS
    assert len({rule.name for rule in RULES.values()}) == len(RULES)


def test_healthy_devices_are_no_fault() -> None:
    assert gpu_faults(gpus(), WINDOW) == []
    assert port_faults(ports(), WINDOW) == []


@pytest.mark.parametrize(
    ("code", "state"),
    [
        (79, GpuState.OFF_THE_BUS),
        (48, GpuState.MEMORY_FAULT),
        (119, GpuState.FIRMWARE_FAULT),
        (74, GpuState.NVLINK_FAULT),
    ],
)
def test_an_xid_of_the_hardware_is_told_and_says_which(code: int, state: GpuState) -> None:
    (found,) = gpu_faults(gpus({XID: course(0, {range(20, 30): code})}), WINDOW)
    assert (found.device, found.state, found.node) == (GPU, state, "node")
    assert found.reason.startswith(f"XID {code}: ")
    assert found.since == WINDOW.start + timedelta(minutes=20)


def test_an_xid_of_a_program_is_no_fault_of_the_hardware() -> None:
    assert told(gpus({XID: course(0, {range(20, 30): 31})})) == []


def test_an_xid_from_before_all_that_is_seen_is_told_while_it_is_the_last_one() -> None:
    (found,) = gpu_faults(gpus({XID: 95}), WINDOW)
    assert found.state is GpuState.MEMORY_FAULT
    assert found.reason.startswith("XID 95: ")
    assert found.reason.endswith("still its last error")


def test_a_row_that_waits_for_a_reset_is_told() -> None:
    (found,) = gpu_faults(gpus({PENDING: course(0, {range(25, 30): 1})}), WINDOW)
    assert (found.state, found.since) == (GpuState.MEMORY_FAULT, WINDOW.start + timedelta(minutes=25))
    assert "pending until a reset" in found.reason


def test_heat_is_told_only_when_it_lasts() -> None:
    assert told(gpus({BITS: course(0, {range(21, 30): 0x40})})) == []
    (found,) = gpu_faults(gpus({BITS: course(0, {range(19, 30): 0x40})}), WINDOW)
    assert (found.state, found.since) == (GpuState.THERMAL_THROTTLE, WINDOW.start + timedelta(minutes=19))


def test_a_fault_is_over_only_when_it_has_been_away_for_ten_minutes() -> None:
    assert told(gpus({BITS: course(0, {range(5, 21): 0x40})})) == [("GPU-0", GpuState.THERMAL_THROTTLE)]
    assert told(gpus({BITS: course(0, {range(5, 20): 0x40})})) == []


def test_what_comes_and_goes_is_one_fault_with_one_beginning() -> None:
    hot = {range(12): 64.0, range(15, 18): 64.0, range(24, 26): 64.0}
    (found,) = gpu_faults(gpus({BITS: course(0, hot)}), WINDOW)
    assert found.since == WINDOW.start


def test_steps_without_a_sample_neither_begin_nor_end_a_fault() -> None:
    without = gpus({BITS: course(0, {range(12): 0x40})})
    for values in without.values.values():
        values[:, 12:] = NAN
    assert told(without) == [("GPU-0", GpuState.THERMAL_THROTTLE)]


def test_the_beginning_stays_when_the_window_goes_on() -> None:
    (first,) = gpu_faults(gpus({BITS: course(0, {range(5, 30): 0x40})}), WINDOW)
    (second,) = gpu_faults(gpus({BITS: 0x40}), later(25), [first])
    assert second.since == first.since == WINDOW.start + timedelta(minutes=5)
    assert second.seen_at == END + timedelta(minutes=25)


def test_what_only_a_reset_mends_is_told_until_a_reset_is_seen() -> None:
    known = fault(since=WINDOW.start - timedelta(hours=3))
    (still,) = gpu_faults(gpus(), WINDOW, [known])  # its errors came long before this window
    assert (still.since, still.reason) == (known.since, known.reason)
    restarted = gpus()
    restarted.values[ENERGY][0, 15:] -= restarted.values[ENERGY][0, 14]
    assert gpu_faults(restarted, WINDOW, [known]) == []


def test_a_gpu_that_was_away_for_long_and_is_back_was_mended() -> None:
    assert gpu_faults(gpus(), WINDOW, [fault(seen_at=WINDOW.start - timedelta(minutes=5))]) == []


def test_a_gpu_that_says_nothing_any_more_stays_lost_for_a_week() -> None:
    known = [fault(GpuState.OFF_THE_BUS), fault(PortState.DOWN, PORT)]
    heard = heard_of(None, None)
    assert silent_faults(known, heard, END) == [known[0]]
    assert silent_faults(known, heard, END + timedelta(days=8)) == []
    assert silent_faults(known, heard_of(gpus(), ports()), END) == []


def test_instances_of_one_gpu_are_one_fault() -> None:
    samples = gpus({XID: 79})
    samples.values[XID][1] = 79
    parts = (Gpu("GPU-0", "node", "1"), Gpu("GPU-0", "node", "2"), Gpu("GPU-2", "node"))
    assert told(replace(samples, devices=parts)) == [("GPU-0", GpuState.OFF_THE_BUS)]


def test_a_reset_that_one_instance_shows_is_that_of_the_whole_gpu() -> None:
    samples = gpus()
    samples.values[ENERGY][0, 15:] -= samples.values[ENERGY][0, 14]
    samples.values[ENERGY][1] = NAN  # told for one of the instances only
    parts = (Gpu("GPU-0", "node", "1"), Gpu("GPU-0", "node", "2"), Gpu("GPU-2", "node"))
    known = fault(since=WINDOW.start - timedelta(hours=3))
    assert told(replace(gpus(), devices=parts), known) == [("GPU-0", GpuState.MEMORY_FAULT)]
    assert told(replace(samples, devices=parts), known) == []


def test_a_lesser_pcie_link_is_told_for_as_long_as_it_is_less_also_while_the_gpu_rests() -> None:
    (first,) = gpu_faults(gpus({WIDTH_OF_PCIE: course(16, {range(10, 30): 8})}), WINDOW)
    assert first.state is GpuState.PCIE_DEGRADED
    assert first.usual == {WIDTH_OF_PCIE: 16}
    rests = gpus({WIDTH_OF_PCIE: 8, UTIL: 0})
    assert told(rests) == []
    assert [one.key for one in gpu_faults(rests, later(30), [first])] == [first.key]
    assert gpu_faults(gpus(), later(30), [first]) == []


def test_a_link_that_went_down_is_told() -> None:
    (found,) = port_faults(ports({STATE: course(4, {range(20, 30): 1})}), WINDOW)
    assert (found.device, found.state, found.since) == (PORT, PortState.DOWN, WINDOW.start + timedelta(minutes=20))


def test_a_port_that_was_never_up_is_told_only_where_a_cable_is_known() -> None:
    never_up = ports({STATE: 1})
    assert port_faults(never_up, WINDOW) == []
    assert [one.state for one in port_faults(never_up, WINDOW, {PORT})] == [PortState.DOWN]


def test_a_link_that_was_down_before_the_window_is_told_on() -> None:
    known = fault(PortState.DOWN, PORT)
    assert [one.since for one in port_faults(ports({STATE: 1}), WINDOW, (), [known])] == [known.since]


def test_symbol_errors_that_go_on_are_told_and_a_few_are_not() -> None:
    many = np.cumsum(course(0, {range(20, 30): 30.0}))
    assert [one.state for one in port_faults(ports({SYMBOL_ERRORS: many}), WINDOW)] == [PortState.BAD_LINK]
    assert port_faults(ports({SYMBOL_ERRORS: np.cumsum(course(0, {range(25, 26): 5.0}))}), WINDOW) == []


def test_a_link_of_another_kind_than_its_peers_is_not_reduced_but_one_that_fell_is() -> None:
    assert port_faults(ports({RATE: 12.5e9}), WINDOW) == []
    (found,) = port_faults(ports({RATE: course(50e9, {range(20, 30): 12.5e9})}), WINDOW)
    assert (found.state, found.usual) == (PortState.REDUCED, {RATE: 50e9})
    alone = ports({RATE: 12.5e9})
    assert [one.key for one in port_faults(alone, later(30), (), [found])] == [found.key]


def series(rows: list[dict[str, object]]) -> pl.DataFrame:
    texts = ("metric", "node", "gpu", "port", "replica")
    schema: Schema = {"series_id": pl.UInt64, "labels": pl.List(pl.String)}
    schema.update(dict.fromkeys(texts, pl.String))
    return pl.DataFrame(rows, schema=schema)


def sample_frame(rows: list[tuple[int, int, float]]) -> pl.DataFrame:
    times = [(one, WINDOW.start + timedelta(minutes=step), value) for one, step, value in rows]
    schema: Schema = {
        "series_id": pl.UInt64,
        "time": pl.Datetime("us", "UTC"),
        "value": pl.Float64,
    }
    return pl.DataFrame(times, schema=schema, orient="row")


def test_frames_become_matrices_with_nan_where_there_is_no_sample() -> None:
    told_of = series(
        [
            {
                "metric": XID.lower(),
                "series_id": 1,
                "node": "n",
                "gpu": "GPU-1",
                "labels": ["H100"],
                "replica": "chat-0",
            },
            {"metric": XID.lower(), "series_id": 2, "node": "n", "gpu": "GPU-2/3", "labels": [""]},
            {"metric": PORT_METRICS[0], "series_id": 3, "node": "n", "port": "mlx5_0/1"},
            {"metric": "something_else", "series_id": 4, "node": "n", "gpu": "GPU-9"},
        ]
    )
    samples = sample_frame([(1, 0, 79.0), (2, 1, 0.0), (3, 2, 5.0), (4, 2, 5.0)])
    found = gpu_samples(told_of, samples, WINDOW, STEP_S)
    assert found is not None
    assert found.devices == (Gpu("GPU-1", "n", "", "H100"), Gpu("GPU-2", "n", "3"))
    assert found.values[XID][0, 0] == 79
    assert np.isfinite(found.values[XID]).sum() == 2
    of_ports = port_samples(told_of, samples, WINDOW, STEP_S)
    assert of_ports is not None
    assert of_ports.devices == (Port("n", "mlx5_0/1"),)
    assert replicas_by_place(told_of) == {"GPU-1": {"chat-0"}, "n": {"chat-0"}}


def test_without_metrics_there_are_no_matrices() -> None:
    assert gpu_samples(series([]), sample_frame([]), WINDOW, STEP_S) is None
    assert port_samples(series([]), sample_frame([]), WINDOW, STEP_S) is None
    assert set(GPU_METRICS) >= {XID, ENERGY, PENDING}


CABLE = Topology({"node": Node("node", ports={"mlx5_0/1": SwitchPort("leaf", 3)})})


def test_the_replicas_and_services_on_a_device_are_told() -> None:
    far = fault(PortState.BAD_LINK, Entity(EntityKind.PORT, "leaf/3"), node="leaf")
    places, services = {"GPU-0": {"chat-0"}, "node": {"chat-0", "chat-1"}}, {"chat-0": "chat", "chat-1": "chat"}
    of_gpu, of_port, of_switch = with_riders(
        [fault(), fault(PortState.DOWN, PORT), far], places, services, {"GPU-0": 2}, CABLE
    )
    assert (of_gpu.replicas, of_gpu.services) == (("chat-0",), ("chat",))
    assert of_port.replicas == of_switch.replicas == ("chat-0", "chat-1")
    (gone,) = with_riders([of_gpu], {}, {}, {}, CABLE)
    assert gone.replicas == ("chat-0",)
    assert (of_gpu.whose, of_port.whose) == ("GPU 2 of node (chat-0)", PORT.name)
    assert gone.whose == of_gpu.whose, "what was known stays"


def test_a_page_that_names_a_device_is_told_with_its_fault_when_that_is_new() -> None:
    assert PAGING.status is Status.OPEN
    entity = PAGING.cause.entity
    new = fault(PortState.BAD_LINK, entity)
    assert [one.incident for one in named_by([new], [PAGING], Topology(), [])] == [PAGING.id]
    assert [one.incident for one in named_by([new], [PAGING], Topology(), [new])] == [None]
    first = replace(new, incident="inc-before")
    joins = replace(new, state=PortState.FLAPPING)
    assert [one.incident for one in named_by([joins], [PAGING], Topology(), [first])] == ["inc-before"]
    assert [one.incident for one in named_by([fault()], [PAGING], Topology(), [])] == [None]
    ticket = replace(PAGING, severity=Severity.TICKET)
    assert [one.incident for one in named_by([new], [ticket], Topology(), [])] == [None]


def test_the_other_end_of_a_cable_is_the_same_link() -> None:
    far = Entity(EntityKind.PORT, "leaf/3")
    cause = replace(PAGING.cause, entity=far, chain=())
    page = replace(PAGING, explanation=replace(PAGING.explanation, causes=(cause,)))
    assert [one.incident for one in named_by([fault(PortState.DOWN, PORT)], [page], CABLE, [])] == [PAGING.id]


def test_a_fault_is_remembered_as_it_was() -> None:
    full = fault(replicas=("a",), services=("b",), incident="inc-1", usual={RATE: 50e9})
    assert fault_of(fault_document(full)) == full


def insert(store: Store, now: datetime, minutes: int, last_xid: float, *, is_there: bool = True) -> None:
    """Two GPUs of a node, scraped each minute; the second one's last XID, or the second one is gone by now."""
    names = [(gpu, metric) for gpu in ("GPU-a", "GPU-b") for metric in (XID, ENERGY, UTIL)]
    rows, samples = [], []
    for number, (gpu, metric) in enumerate(names, start=1):
        gone = gpu == "GPU-b" and not is_there
        end = now - timedelta(hours=2) if gone else now
        rows.append(
            {"metric": metric.lower(), "series_id": number, "job": "dcgm", "instance": "gpu-07:9400", "node": "gpu-07",
             "gpu": gpu, "port": "", "replica": f"chat-{gpu[-1]}", "service": "", "model": "",
             "first_seen": now - timedelta(hours=3), "last_seen": end}
        )  # fmt: skip
        for minute in range(0 if gone else minutes):
            time = now - timedelta(minutes=minute, seconds=30)
            level = {XID: last_xid if gpu == "GPU-b" else 0.0, ENERGY: time.timestamp(), UTIL: 90.0}[metric]
            samples.append({"metric": metric.lower(), "series_id": number, "time": time, "value": level})
    store.insert("tailsight_series", pl.DataFrame(rows, schema_overrides={"series_id": pl.UInt64}))
    overrides: Schema = {"series_id": pl.UInt64, "time": pl.Datetime("us", "UTC")}
    store.insert("tailsight_samples", pl.DataFrame(samples, schema_overrides=overrides))


def insert_requests(store: Store, now: datetime) -> None:
    times = [now - timedelta(minutes=minute) for minute in range(1, 9)]
    frame = pl.DataFrame({"time": times, "service": "chat", "replica": ["chat-a", "chat-b"] * 4, "latency_ms": 100.0})
    store.insert("tailsight_requests", frame)


def test_the_job_finds_a_fault_with_its_riders_and_remembers_it_until_it_is_over(clean_store: Store) -> None:
    now = datetime(2026, 11, 23, 3, 0, tzinfo=UTC)
    insert(clean_store, now, 30, last_xid=119)
    insert_requests(clean_store, now)
    (found,) = device_faults(clean_store, now, [])
    assert (found.device.name, found.state, found.node) == ("GPU-b", GpuState.FIRMWARE_FAULT, "gpu-07")
    assert (found.replicas, found.services) == (("chat-b",), ("chat",))
    clean_store.execute("TRUNCATE TABLE otel.tailsight_samples")
    clean_store.execute("TRUNCATE TABLE otel.tailsight_series")
    later_on = now + timedelta(minutes=20)
    insert(clean_store, later_on, 1, last_xid=0, is_there=False)
    (silent,) = device_faults(clean_store, later_on, [])
    assert (silent.key, silent.since, silent.services) == (found.key, found.since, found.services)
    back = now + timedelta(hours=3)
    insert(clean_store, back, 30, last_xid=0)
    assert device_faults(clean_store, back, []) == []


def test_a_look_that_is_taken_twice_finds_the_same(clean_store: Store) -> None:
    now = datetime(2026, 11, 23, 3, 0, tzinfo=UTC)
    insert(clean_store, now, 30, last_xid=48)
    assert device_faults(clean_store, now, []) == device_faults(clean_store, now, [])


def test_an_empty_store_has_no_fault(clean_store: Store) -> None:
    assert device_faults(clean_store, datetime(2026, 11, 23, 3, 0, tzinfo=UTC), []) == []
