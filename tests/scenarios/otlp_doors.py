"""Both OTLP doors of a real collector on free ports, and requests re-encoded without the product's help."""

import asyncio
import base64
import gzip
import json
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import grpc
import httpx
import uvicorn
from google.protobuf import json_format
from google.protobuf.message import Message
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from prometheus_client import CollectorRegistry

from collector.grpc_receiver import SERVICES
from collector.service import Collector
from collector.settings import CollectorSettings
from storage.store import Store

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

REQUEST_TYPES: Mapping[str, Any] = {
    "traces": ExportTraceServiceRequest,
    "metrics": ExportMetricsServiceRequest,
    "logs": ExportLogsServiceRequest,
}
MEDIA_TYPES = {"protobuf": "application/x-protobuf", "json": "application/json"}
PACKERS: dict[str, Callable[[bytes], bytes]] = {"": bytes, "gzip": gzip.compress, "zstd": zstd.compress}
GRPC_COMPRESSIONS = {"": grpc.Compression.NoCompression, "gzip": grpc.Compression.Gzip}

_ID_NAMES = {"traceId", "spanId", "parentSpanId"}


class OtlpDoors:
    """A running collector, as senders see it."""

    def __init__(self, collector: Collector, registry: CollectorRegistry, http_url: str, grpc_target: str) -> None:
        self._collector = collector
        self._registry = registry
        self.http_url = http_url
        self.grpc_target = grpc_target
        self._client = httpx.Client(base_url=http_url, timeout=60)
        self._channel = grpc.insecure_channel(grpc_target)

    def post(self, signal: str, body: bytes, encoding: str = "protobuf", packing: str = "") -> httpx.Response:
        """Send a packed body over HTTP."""
        headers = {"content-type": MEDIA_TYPES[encoding]} | ({"content-encoding": packing} if packing else {})
        return self._client.post(f"/v1/{signal}", content=body, headers=headers)

    def call(self, signal: str, message: bytes, packing: str = "") -> bytes:
        """Send a message over gRPC."""
        export = self._channel.unary_unary(f"/{SERVICES[signal]}/Export")
        answer: bytes = export(message, compression=GRPC_COMPRESSIONS[packing], timeout=60)
        return answer

    def close(self) -> None:
        """Leave the doors."""
        self._client.close()
        self._channel.close()

    def load(self) -> None:
        """Wait until all that was taken in can be asked for."""
        assert self._collector.flush(120), "the store did not take what was acknowledged"

    def counted(self, name: str) -> float:
        """A counter of the collector, over all its labels."""
        return sum(
            sample.value
            for family in self._registry.collect()
            for sample in family.samples
            if sample.name == f"tailsight_collector_{name}"
        )


@contextmanager
def open_otlp_doors(store: Store, folder: Path, settings: Mapping[str, Any] | None = None) -> Iterator[OtlpDoors]:
    """A collector that fills `store`, served on free ports of loopback from a thread."""
    ports = {"otlp_http": {"port": 0}, "otlp_grpc": {"port": 0}}
    registry = CollectorRegistry()
    collector = Collector(CollectorSettings.model_validate(ports | dict(settings or {})), store, folder, registry)
    server = uvicorn.Server(uvicorn.Config(collector.otlp_app, port=0, log_level="warning", lifespan="off", ws="none"))
    collector.start()

    async def serve() -> None:
        await collector.otlp_grpc.start()
        await server.serve()
        await collector.otlp_grpc.stop(1)

    thread = threading.Thread(target=asyncio.run, args=(serve(),), name="otlp-doors")
    thread.start()
    try:
        while not server.started:
            thread.join(0.01)
            assert thread.is_alive(), "the doors did not open"
        http_port = server.servers[0].sockets[0].getsockname()[1]
        grpc_target = f"127.0.0.1:{collector.otlp_grpc.port}"
        with closing(OtlpDoors(collector, registry, f"http://127.0.0.1:{http_port}", grpc_target)) as doors:
            yield doors
    finally:
        server.should_exit = True
        thread.join(60)
        collector.close()


def to_json(message: Message) -> bytes:
    """A request as OTLP/JSON: as protobuf's own JSON, but enums are numbers and ids hexadecimal."""
    document = json_format.MessageToDict(message, use_integers_for_enums=True)
    return json.dumps(_with_ids(document, lambda text: base64.b64decode(text).hex())).encode()


def from_json(signal: str, text: str | bytes) -> Any:
    """A request that was OTLP/JSON. Null, which OTLP/JSON has for a NaN, is an unset value here as in protobuf."""
    document = _with_ids(json.loads(text), lambda text: base64.b64encode(bytes.fromhex(text)).decode())
    return json_format.ParseDict(document, REQUEST_TYPES[signal](), ignore_unknown_fields=True)


def _with_ids(value: Any, convert: Callable[[str], str]) -> Any:
    if isinstance(value, list):
        return [_with_ids(element, convert) for element in value]
    if not isinstance(value, dict):
        return value
    return {
        key: convert(element) if key in _ID_NAMES and isinstance(element, str) else _with_ids(element, convert)
        for key, element in value.items()
    }
