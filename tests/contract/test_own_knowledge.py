"""A signal and a cause of somebody's own, from two files to the verdict, without a line of code.

The files are those that docs/adding-a-cause.md walks through.
"""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from analytics.jobs.explaining import AnalyzeSettings, evidence_series, explain_window
from analytics.jobs.incidents import analyze
from domain.cause import CauseKind
from domain.entity import Entity, EntityKind, GpuPlace
from domain.window import Window
from storage.store import Store
from tailsight.settings import read_settings
from tests.contract.payloads import SECOND_NS, gauge, metrics, point
from tests.contract.request_rows import insert_requests
from tests.documents import yaml_blocks

END = datetime(2026, 11, 23, 3, 0, tzinfo=UTC)
BEGAN = END - timedelta(minutes=8)
START = END - timedelta(minutes=60)
SPIKE = Window(BEGAN, END)
REPLICAS = {f"chat-{number}": f"gpu-0{number}" for number in range(6)}
BAD_PORT = Entity(EntityKind.PORT, "gpu-03/mlx5_0/1")


@pytest.fixture
def own_settings(tmp_path: Path) -> AnalyzeSettings:
    """The settings of a site with the two files of the page."""
    signals, causes, *_ = yaml_blocks("adding-a-cause.md")
    (tmp_path / "signals.yaml").write_text(signals)
    (tmp_path / "causes.yaml").write_text(causes)
    settings = read_settings(
        None,
        {
            "TAILSIGHT_KNOWLEDGE__SIGNALS": str(tmp_path / "signals.yaml"),
            "TAILSIGHT_KNOWLEDGE__CAUSES": str(tmp_path / "causes.yaml"),
            "TAILSIGHT_ANALYTICS__HISTORY_S": "2700",
        },
    )
    return settings.analytics.to_job(settings.knowledge.known)


@pytest.fixture
def dim_light(any_store: Store) -> Store:
    """A store in which one replica's transfers slow down while its port gets less and less light."""
    random = np.random.default_rng(5)
    size = 3 * int((END - START).total_seconds())
    ago = np.sort(random.uniform(0, (END - START).total_seconds(), size))[::-1]
    replica = random.integers(0, len(REPLICAS), size)
    hurt = (replica == 3) & (ago < (END - BEGAN).total_seconds())
    transfer = random.lognormal(3.5, 0.3, size) + np.where(hurt, 2500.0, 0.0)
    queue, prefill, decode = random.lognormal(2.5, 0.4, size), random.normal(120, 8, size), random.normal(900, 30, size)
    insert_requests(
        any_store,
        END,
        -ago,
        replica=pl.Series(list(REPLICAS)).gather(replica),
        node=pl.Series(list(REPLICAS.values())).gather(replica),
        tenant=["acme"] * size,
        ttft_ms=queue + prefill + transfer,
        latency_ms=queue + prefill + transfer + decode,
        queue_ms=queue,
        prefill_ms=prefill,
        decode_ms=decode,
    )
    points = []
    for node in REPLICAS.values():
        labels = {"node": node, "device": "mlx5_0", "port": "1"}
        for second in range(int(START.timestamp()), int(END.timestamp()), 15):
            dim = node == "gpu-03" and second >= BEGAN.timestamp() - 30
            level_dbm = float(random.normal(-8.0 if dim else -2.5, 0.05))
            points.append(point(level_dbm, time_ns=second * SECOND_NS, attributes=labels))
    payload = metrics(gauge("Acme_Optic_Receive_Power_dBm", *points), resource={"service.name": "optics"})
    any_store.load_otlp("otel_metrics_gauge", payload, token="optics")
    return any_store


def test_a_spike_is_explained_by_a_signal_of_somebodys_own(dim_light: Store, own_settings: AnalyzeSettings) -> None:
    (incident,) = analyze(dim_light, SPIKE, END, (), own_settings)
    assert (incident.cause.kind, incident.cause.entity) == (CauseKind.NETWORK_LINK_FAULT, BAD_PORT)
    assert incident.cause.evidence[0].signal == "optic_receive_power"
    assert incident.cause.evidence[0].during == pytest.approx(-8.0, abs=0.3)
    assert incident.cause.lead_s is not None
    assert "light received" in incident.cause.summary
    series = evidence_series(dim_light, incident, Window(START, END), 60, own_settings.knowledge)
    told = series.filter((pl.col("signal") == "optic_receive_power") & pl.col("value").is_not_null())
    assert told["entity_name"].unique().to_list() == [BAD_PORT.name]
    assert told.height == 60


def test_without_the_files_nobody_knows_of_the_light(dim_light: Store, own_settings: AnalyzeSettings) -> None:
    shipped = AnalyzeSettings(own_settings.spikes)
    causes = explain_window(dim_light, "chat", SPIKE, settings=shipped).causes
    assert CauseKind.NETWORK_LINK_FAULT not in {cause.kind for cause in causes}
    assert causes[0].kind is CauseKind.STRAGGLER or causes[0].kind is CauseKind.UNKNOWN
    with_files = explain_window(dim_light, "chat", SPIKE, settings=own_settings).causes
    assert with_files[0].kind is CauseKind.NETWORK_LINK_FAULT


def test_where_a_gpu_is_that_is_to_blame_is_told_as_its_exporter_tells_it(
    dim_light: Store, own_settings: AnalyzeSettings
) -> None:
    points = []
    for replica, node in REPLICAS.items():
        labels = {"node": node, "UUID": f"GPU-of-{node}", "gpu": "2", "pod": replica}
        for second in range(int(START.timestamp()), int(END.timestamp()), 15):
            is_narrow = node == "gpu-03" and second >= BEGAN.timestamp() - 30
            points.append(point(4.0 if is_narrow else 16.0, time_ns=second * SECOND_NS, attributes=labels))
    payload = metrics(gauge("DCGM_FI_DEV_PCIE_LINK_WIDTH", *points), resource={"service.name": "dcgm"})
    dim_light.load_otlp("otel_metrics_gauge", payload, token="dcgm")
    cause = explain_window(dim_light, "chat", SPIKE, settings=AnalyzeSettings(own_settings.spikes)).causes[0]
    assert (cause.kind, cause.entity.name) == (CauseKind.PCIE_DEGRADED, "GPU-of-gpu-03")
    assert cause.gpu == GpuPlace("gpu-03", 2, "chat-3")
