from collections.abc import Iterator
from datetime import datetime, timedelta

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from simulator.exporters import CONTENT_TYPE, Exporters
from simulator.run import Simulation


@pytest.fixture
def simulation(start: datetime) -> Simulation:
    return Simulation(1, start)


@pytest.fixture
def exporters(simulation: Simulation) -> Iterator[Exporters]:
    with Exporters(simulation.targets()) as serving:
        yield serving


def test_each_target_serves_its_page_with_the_labels_a_scrape_attaches(
    simulation: Simulation, exporters: Exporters, start: datetime
) -> None:
    exporters.show(simulation.advance(start + timedelta(seconds=30)).scrapes)
    targets = exporters.targets()
    assert len(targets) == len({target["url"] for target in targets}) == 20
    for target in targets:
        answer = httpx.get(target["url"])
        assert answer.status_code == 200
        assert answer.headers["Content-Type"] == CONTENT_TYPE
        families = list(text_string_to_metric_families(answer.text))
        if target["job"] == "dcgm-exporter":
            hosts = {sample.labels["Hostname"] for family in families for sample in family.samples}
            assert hosts == {target["labels"]["node"]}
        if target["job"] == "vllm":
            assert target["labels"].keys() == {"node", "pod", "namespace", "service"}


def test_a_target_shows_the_latest_tick(simulation: Simulation, exporters: Exporters, start: datetime) -> None:
    def energy_millijoules() -> float:
        page = httpx.get(exporters.targets()[0]["url"]).text
        line = next(line for line in page.splitlines() if line.startswith("DCGM_FI_DEV_TOTAL_ENERGY"))
        return float(line.rsplit(" ", 1)[1])

    exporters.show(simulation.advance(start + timedelta(seconds=30)).scrapes)
    before = energy_millijoules()
    exporters.show(simulation.advance(start + timedelta(seconds=60)).scrapes)
    assert energy_millijoules() > before
    exporters.show(())
    assert energy_millijoules() > before


def test_a_target_without_a_reading_says_so(exporters: Exporters) -> None:
    answer = httpx.get(exporters.targets()[0]["url"])
    assert (answer.status_code, answer.text) == (503, "no reading yet\n")


def test_another_path_is_not_found(exporters: Exporters) -> None:
    url = exporters.targets()[0]["url"].replace("/metrics", "/secrets")
    assert httpx.get(url).status_code == 404
