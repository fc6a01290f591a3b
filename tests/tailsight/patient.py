"""A Tailsight that really serves, for the doctor to look at: first well, then with every trouble really caused.

`python -m tests.tailsight.patient FOLDER` prints what was told as one JSON object; `report` says under which names.
"""

import json
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import yaml
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

from collector.survey import DELTA
from collector.wal import Frame
from storage.open import read_gateway_address
from tailsight.cli.store import opened_store
from tailsight.doctor import examine
from tailsight.settings import Settings
from tailsight.wiring import Application
from tests.alerts.loopback import Answer, alert, receiving
from tests.collector.payloads import trace_request
from tests.tailsight.answering import answering

TOKEN = "a-token-of-ours"
SIXTY_DAYS_NS = 60 * 86_400 * 10**9
Checks = dict[str, dict[str, Any]]


class Patient:
    """One Tailsight at a time over a folder. It scrapes what `exposed` says, and tells `receiver`."""

    def __init__(self, folder: Path, opened: ExitStack) -> None:
        self.folder = folder
        self.receiver = opened.enter_context(receiving())
        self.exposed = {"/metrics": (200, "queue 3\nbusy NaN\n")}  # nothing that anybody has to know of
        self.engine = {
            "job": "engine",
            "url": f"http://127.0.0.1:{opened.enter_context(answering(self.exposed))}/metrics",
        }
        (folder / "alertmanager.yml").write_text(
            "route: {receiver: oncall, group_by: [service], group_wait: 100ms}\n"
            f"receivers: [{{name: oncall, webhook_configs: [{{url: '{self.receiver.url}'}}]}}]"
        )
        opened.callback(self.stop)

    def serve(self, **more: dict[str, Any]) -> None:
        """Serve anew, with these keys beside the usual ones of their groups."""
        document: dict[str, Any] = {
            "store": {"url": f"chdb://{self.folder / 'data'}"},
            "web": {"port": 0, "public_url": "https://tailsight.example"},
            "auth": {"token": TOKEN},
            "analytics": {"interval_s": 1},
            "collector": {
                "otlp_http": {"port": 0},
                "otlp_grpc": {"port": 0},
                "scrape": {"targets": [self.engine | {"interval_s": 1}]},
            },
            "alerts": {"config_file": str(self.folder / "alertmanager.yml")},
        }
        for group, keys in more.items():
            document[group] = document.get(group, {}) | keys
        (self.folder / "tailsight.yaml").write_text(yaml.safe_dump(document))
        self.settings = Settings.model_validate(document)
        self.application = Application(self.settings)
        self.application.start()

    def stop(self) -> None:
        """Load what was acknowledged, and end."""
        self.application.stop()

    def send(self, payload: bytes, signal: str = "traces") -> int:
        """Send a request, as an SDK would; the status of the answer."""
        headers = {"content-type": "application/x-protobuf", "authorization": f"Bearer {TOKEN}"}
        url = f"{self.application.addresses.otlp_http_url}/v1/{signal}"
        return httpx.post(url, content=payload, headers=headers).status_code

    def looked(self, later: timedelta = timedelta()) -> Checks:
        """The checks by their names, as they will be so much later."""
        checks = examine(self.settings, lambda: opened_store(self.settings), datetime.now(UTC) + later)
        return {check.name: asdict(check) for check in checks}

    def looked_until(self, is_so: Callable[[Checks], bool]) -> Checks:
        """The checks once they are so; those of the last look when they never are."""
        ended = time.monotonic() + 60
        while not is_so(told := self.looked()) and time.monotonic() < ended:
            time.sleep(0.5)
        return told

    def shows(self, sample: str) -> None:
        """Wait until a sample is at /metrics, a minute at most."""
        ended = time.monotonic() + 60
        address = read_gateway_address(self.folder / "data")
        assert address is not None
        headers = {"authorization": f"Bearer {TOKEN}"}
        while sample not in httpx.get(f"{address.web_url}/metrics", headers=headers).text and time.monotonic() < ended:
            time.sleep(0.1)

    def command(self, *arguments: str) -> dict[str, Any]:
        """What `tailsight doctor` tells, as a process of its own."""
        words = ["doctor", "--config", str(self.folder / "tailsight.yaml"), *arguments]
        done = subprocess.run(
            [sys.executable, "-m", "tailsight", *words], check=False, capture_output=True, text=True, timeout=240
        )
        return {"status": done.returncode, "out": done.stdout, "err": done.stderr}


def report(folder: Path) -> dict[str, Any]:
    """All that was told.

    Returns:
        `healthy` and `ill` of the command, the latter as JSON; the checks by name: `wrong_token` of one who asks with
        another token, `later` ten minutes after all looks have begun to fail, `full` with a full disk.
    """
    told: dict[str, Any] = {}
    with ExitStack() as opened:
        patient = Patient(folder, opened)
        patient.serve()
        patient.send(trace_request(time.time_ns(), spans=30))
        patient.looked_until(is_well)
        told["healthy"] = patient.command()
        patient.settings = Settings.model_validate(patient.settings.model_dump() | {"auth": {"token": "another"}})
        told["wrong_token"] = patient.looked()
        patient.stop()

        retention = {"interval_s": 1, "disk_full_ratio": 0.001}
        patient.serve(store={"url": patient.settings.store.url, "retention": retention})
        patient.looked_until(lambda told: told["disk"]["state"] == "trouble")
        patient.send(trace_request(time.time_ns()))
        told["full"] = patient.looked()
        # Now, because spend is asked for at the first look, and then no more for ten minutes.
        patient.application.store.execute("RENAME TABLE tailsight_cost_hours TO tailsight_cost_hours_gone")
        patient.stop()

        (folder / "data/wal/traces-00000000000000000001-0000abcd.wal").write_bytes(b"what a disk made of a segment")
        (folder / "targets.json").write_text("no JSON")
        scrape = {
            "targets": [patient.engine | {"interval_s": 1}, {"job": "node", "url": "http://127.0.0.1:9/metrics"}],
            "files": [{"job": "listed", "files": [str(folder / "targets.json")]}],
        }
        patient.serve(
            api={"loading_lag_seconds_max": 0.5},
            store={"url": patient.settings.store.url, "retention": {"interval_s": 1}},
            collector={"otlp_http": {"port": 0}, "otlp_grpc": {"port": 0}, "scrape": scrape},
            alerts={"config_file": str(folder / "alertmanager.yml"), "alertmanagers": ["http://127.0.0.1:9"]},
        )
        make_ill(patient)
        patient.looked_until(lambda told: {name for name in told if told[name]["state"] == "trouble"} >= ILL)
        told["ill"] = patient.command("--json")
        store = patient.application.store
        store.execute("DROP VIEW of_our_own")
        store.execute("RENAME TABLE tailsight_incidents TO tailsight_incidents_gone")
        patient.shows('tailsight_analysis_runs_total{outcome="failed"}')
        told["later"] = patient.looked(timedelta(minutes=10))
    return told


ILL = {"loading", "alert sources", "Alertmanager http://127.0.0.1:9", "notifications", "targets"}


def is_well(told: Checks) -> bool:
    """Is nothing wrong, and has the analysis looked."""
    return all(check["state"] == "fine" for check in told.values()) and "looked" in told["analysis"]["says"]


def delta_request(time_unix_ns: int) -> bytes:
    """One point that tells what came since the one before."""
    request = ExportMetricsServiceRequest()
    metric = request.resource_metrics.add().scope_metrics.add().metrics.add(name="requests")
    metric.sum.aggregation_temporality = DELTA
    metric.sum.data_points.add(time_unix_nano=time_unix_ns, as_int=1)
    return request.SerializeToString()


def make_ill(patient: Patient) -> None:
    """All that can go wrong and does not keep the rest from going wrong."""
    collector, store = patient.application.collector, patient.application.store
    patient.exposed["/metrics"] = (200, "queue 3\nqueue many\n")
    patient.receiver.usual = Answer(404)
    patient.application.alerting.post([alert(severity="page")])
    patient.send(trace_request(time.time_ns() - SIXTY_DAYS_NS))
    patient.send(delta_request(time.time_ns()), "metrics")
    frame = Frame(time.time_ns(), {"otel_traces": 1}, b"\xff\xff is no request")
    collector._wal.append("traces", frame).result(timeout=60)  # as if the door had let it in
    collector.flush()
    store.execute("CREATE MATERIALIZED VIEW of_our_own ENGINE = Memory AS SELECT throwIf(1) AS failed FROM otel_traces")
    patient.send(trace_request(time.time_ns()))


if __name__ == "__main__":
    sys.stdout.write(json.dumps(report(Path(sys.argv[1])), indent=1))
