import gzip
import re
from collections.abc import Iterable
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from collector.fabric.switches import METRICS, PortCounters, switch_reading
from simulator.exporters import text_of
from simulator.run import Simulation
from simulator.samples import Scrapes, go_float


@pytest.fixture(scope="module")
def scrapes(start: datetime) -> dict[str, Scrapes]:
    happened = Simulation(1, start).advance(start + timedelta(seconds=60))
    return {scrape.target.name: scrape for scrape in happened.scrapes}


def text(scrape: Scrapes) -> str:
    return text_of(scrape.target, scrape.values[-1])


def heads(lines: Iterable[str]) -> dict[str, tuple[str, str]]:
    """Family → its TYPE and HELP lines."""
    found: dict[str, list[str]] = {}
    for line in lines:
        if line.startswith("# "):
            found.setdefault(line.split()[2], []).append(line.strip())
    return {name: (pair[0], pair[1]) for name, pair in found.items()}


def label_names(lines: Iterable[str], family: str) -> list[str]:
    """The label names of the first series of a family, in order."""
    line = next(line for line in lines if line.startswith(family + "{"))
    return re.findall(r'(\w+)="', line)


def test_there_is_a_target_for_every_node_twice_and_every_replica(scrapes: dict[str, Scrapes]) -> None:
    jobs = [scrape.target.job for scrape in scrapes.values()]
    assert {job: jobs.count(job) for job in jobs} == {
        "dcgm-exporter": 4,
        "node-exporter": 4,
        "infiniband-switches": 2,
        "vllm": 10,
    }
    assert scrapes["vllm/chat-3"].target.labels == {
        "node": "gpu-01-02",
        "pod": "chat-3",
        "namespace": "serving",
        "service": "chat",
    }
    assert scrapes["dcgm-exporter/gpu-02-02"].target.labels == {"node": "gpu-02-02"}


def test_the_text_parses_to_the_values_that_were_built(scrapes: dict[str, Scrapes]) -> None:
    for scrape in scrapes.values():
        samples = [s for family in text_string_to_metric_families(text(scrape)) for s in family.samples]
        # prometheus_client adds _total to the name of any counter that lacks it, as some of dcgm's do.
        found = [(s.name.removesuffix("_total"), s.labels) for s in samples]
        built = [(f.name.removesuffix("_total"), dict(labels)) for f in scrape.target.families for labels in f.labels]
        assert found == built
        assert [s.value for s in samples] == scrape.values[-1].tolist()


def test_dcgm_text_is_like_the_real_exporters(scrapes: dict[str, Scrapes], shared_telemetry: Path) -> None:
    real = (shared_telemetry / "dcgm" / "rendered-dcgm-exporter-4.8.2_8xH100-mixed_Hostname.prom").read_text()
    mine = text(scrapes["dcgm-exporter/gpu-01-01"])
    real_heads, my_heads = heads(real.splitlines()), heads(mine.splitlines())
    # A site turned this one on by itself, and wrote its help.
    assert my_heads.pop("DCGM_FI_DEV_ENFORCED_POWER_LIMIT")[0].startswith("# HELP DCGM_FI_DEV_ENFORCED_POWER_LIMIT ")
    assert all(real_heads[name] == head for name, head in my_heads.items())
    shared_order = [name for name in real_heads if name in my_heads]
    assert [name for name in my_heads if "NVLINK" not in name] == [n for n in shared_order if "NVLINK" not in n]
    for family in my_heads:
        assert label_names(mine.splitlines(), family) == label_names(real.splitlines(), family), family
        number = re.compile(rf"^{family}{{.*}} (\S+)$", re.MULTILINE)
        printed = [{"." in found for found in number.findall(page)} for page in (real, mine)]
        assert printed[0] == printed[1], family


def test_an_idle_gpu_has_the_labels_of_a_real_gpu_without_pod(
    scrapes: dict[str, Scrapes], shared_telemetry: Path
) -> None:
    real = (shared_telemetry / "dcgm" / "real_L40S_driver595_no-pod-labels.prom").read_text().splitlines()
    mine = [line for line in text(scrapes["dcgm-exporter/gpu-02-02"]).splitlines() if 'gpu="7"' in line]
    assert label_names(mine, "DCGM_FI_DEV_FB_USED") == label_names(real, "DCGM_FI_DEV_FB_USED")


def test_node_text_is_like_the_real_exporters(scrapes: dict[str, Scrapes], shared_telemetry: Path) -> None:
    real = (shared_telemetry / "ib" / "node_exporter-1.11.1-mlx5-ndr-tree.prom").read_text().splitlines()
    mine = text(scrapes["node-exporter/gpu-01-01"]).splitlines()
    real_heads, my_heads = heads(real), heads(mine)
    # The recording has the InfiniBand collector alone.
    shared = {name: head for name, head in my_heads.items() if name in real_heads}
    assert len(shared) >= 16
    assert {name for name in my_heads if "infiniband" in name} <= set(shared)
    assert all(real_heads[name] == head for name, head in shared.items())
    assert [name for name in real_heads if name in shared] == list(shared)
    assert list(my_heads) == sorted(my_heads)
    for family in shared:
        assert label_names(mine, family) == label_names(real, family), family


def test_switch_ports_are_named_as_our_own_reader_names_them(scrapes: dict[str, Scrapes]) -> None:
    mine = scrapes["infiniband-switches/leaf-01"].target
    counters = dict.fromkeys(METRICS, 0)
    read = switch_reading("leaf-01", "0x1", PortCounters(ports={1: counters}), 0)
    known = {name: set(family.samples[0].labels) for name, family in read.families.items()}
    for family in mine.families:
        if family.kind == "counter":
            assert known[family.name] == set(family.labels[0])


def test_engine_text_is_like_the_real_engines(scrapes: dict[str, Scrapes], shared_telemetry: Path) -> None:
    real = (shared_telemetry / "engines" / "vllm-0.32.0-cpu-metrics.prom").read_text().splitlines()
    mine = text(scrapes["vllm/assist-0"]).splitlines()
    real_heads, my_heads = heads(real), heads(mine)
    assert all(real_heads[name] == head for name, head in my_heads.items())
    assert [name for name in real_heads if name in my_heads] == list(my_heads)
    for family in my_heads:
        if "{" in next(line for line in mine if line.startswith(family)):
            assert label_names(mine, family) == label_names(real, family), family


def test_numbers_print_as_gos_do(shared_telemetry: Path) -> None:
    recorded = shared_telemetry / "ib" / "node_exporter-1.11.1-series-40x15s.prom.gz"
    lines = gzip.decompress(recorded.read_bytes()).decode().splitlines()
    printed = {line.rsplit(" ", 1)[1] for line in lines if line and not line.startswith("#")}
    assert len(printed) > 100
    assert {go_float(float(number)) for number in printed} == printed


@pytest.mark.parametrize(
    ("value", "printed"),
    [(0.0, "0"), (1.0, "1"), (999_999.0, "999999"), (1e6, "1e+06"), (1234567.0, "1.234567e+06"), (4e13, "4e+13")],
)
def test_large_numbers_take_an_exponent_from_a_million_on(value: float, printed: str) -> None:
    assert go_float(value) == printed
