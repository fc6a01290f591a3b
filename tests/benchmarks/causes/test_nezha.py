from pathlib import Path

import polars as pl
import pytest

from analytics.call_tree import link_name
from benchmarks.causes.nezha import FOLDER, GAPS, OURS, Fault, fused, load, rows, unusual_cpu, unusual_gaps
from benchmarks.causes.scoring import as_dict

needs_data = pytest.mark.skipif(not FOLDER.is_dir(), reason=f"Nezha is not there: {FOLDER}")
PODS = ["cart", "pay", "web"]


def fault(metrics: list[tuple[int, str, str, float]], gaps: list[tuple[int, str, float]]) -> Fault:
    return Fault(
        name="made up",
        system="ob",
        kind="CPU",
        inject_s=600,
        cause="pay",
        pods=PODS,
        spans=pl.DataFrame(),
        metrics=pl.DataFrame(metrics, schema=["time_s", "pod", "metric", "value"], orient="row"),
        gaps=pl.DataFrame(gaps, schema=["time_s", "link", "value"], orient="row"),
    )


def test_an_absent_set_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"cases\.parquet is absent: .*--data FOLDER"):
        load(tmp_path)


def test_places_are_added_as_their_inverse() -> None:
    both = fused([{"cart": 5.0, "pay": 1.0}, {"pay": 3.0}], PODS)
    assert both == pytest.approx({"cart": 1 + 1 / 2.5, "pay": 1 / 2 + 1, "web": 1 / 3 + 1 / 2.5})


def test_only_cpu_use_that_rose_beyond_its_past_counts() -> None:
    minutes = range(0, 780, 60)
    metrics = [(minute, "pay", "CpuUsage(m)", 900.0 if minute >= 600 else 100.0 + minute % 7) for minute in minutes]
    metrics += [(minute, "web", "CpuUsage(m)", 100.0 + minute % 7) for minute in minutes]
    assert list(unusual_cpu(fault(metrics, []))) == ["pay"]


def test_slow_links_around_one_pod_are_that_pod() -> None:
    slow, also, fine = link_name("web", "pay"), link_name("cart", "pay"), link_name("web", "cart")
    gaps = [
        (minute, link, 0.25 if minute >= 600 and link != fine else 0.004)
        for minute in range(0, 780, 60)
        for link in (slow, also, fine)
    ]
    assert list(unusual_gaps(fault([], gaps))) == ["pay"]


@pytest.mark.slow
@needs_data
def test_the_true_pod_of_a_network_delay_is_among_the_first_three() -> None:
    delayed = [one for one in load() if one.kind == "network delay"]
    figures = as_dict(rows(delayed))
    assert figures[f"{OURS} / OB network delay / at_1"] >= 0.78
    assert figures[f"{OURS} / OB network delay / at_3"] >= 0.95
    assert figures[f"{OURS} / OB network delay / at_1"] >= figures[f"{GAPS} / OB network delay / at_1"]
