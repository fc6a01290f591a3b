"""OTLP/gRPC: the three Export services, from messages that stay bytes to the log.

The rules are those of https://opentelemetry.io/docs/specs/otlp/#otlpgrpc. gzip is unpacked, and messages over the limit
are refused, by gRPC itself (RESOURCE_EXHAUSTED without RetryInfo, so that senders do not send them again).

To gRPC each Export is a stream of messages, which looks the same on the wire. So we are asked before the message is
read: who sends it is checked first, and one that must wait for room waits at the sender. gRPC's own limit of requests
(maximum_concurrent_rpcs) would refuse it without RetryInfo, and the sender would drop it.

gRPC has threads of its own, as the embedded engine has: this process must never fork without exec. A child is
started as a new program (subprocess, or multiprocessing's spawn).
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import grpc
from grpc import aio
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from collector.admission import Admission
from collector.errors import ListenError, StalledError, TooLargeError
from collector.settings import OtlpGrpcSettings
from collector.telemetry import Telemetry

SERVICES = {
    "traces": "opentelemetry.proto.collector.trace.v1.TraceService",
    "metrics": "opentelemetry.proto.collector.metrics.v1.MetricsService",
    "logs": "opentelemetry.proto.collector.logs.v1.LogsService",
}
"""The gRPC service of each signal."""

# The richer error model of https://grpc.io/docs/guides/error/: the google.rpc.Status, with its details.
_DETAILS_KEY = "grpc-status-details-bin"
# Clients may ask every ten seconds whether we live; gRPC's own limit of five minutes breaks their connections.
_PING_INTERVAL_MS_MIN = 10_000
_CODES = {code.value[0]: code for code in grpc.StatusCode}

Export = Callable[[AsyncIterator[bytes], "aio.ServicerContext[bytes, bytes]"], Awaitable[bytes]]


class OtlpGrpcReceiver:
    """The gRPC server. `start` and `stop` it in the event loop that serves it."""

    def __init__(self, admission: Admission, settings: OtlpGrpcSettings, telemetry: Telemetry) -> None:
        self._admission = admission
        self._settings = settings
        self._telemetry = telemetry
        # How large a message will be is known only once it is read, so here messages are counted, not their bytes.
        self._reading = asyncio.Semaphore(settings.messages_read_max)
        self._health = health.aio.HealthServicer()
        self._server: aio.Server | None = None
        self.port = settings.port
        """Where it listens; known from `start` on when the setting is 0."""

    async def start(self) -> None:
        """Listen and serve.

        Raises:
            ListenError: when the address cannot be had.
        """
        settings = self._settings
        server = aio.server(
            options=[
                ("grpc.max_receive_message_length", settings.message_bytes_max),
                ("grpc.keepalive_time_ms", int(settings.keepalive_s * 1000)),
                ("grpc.keepalive_permit_without_calls", 1),
                ("grpc.http2.min_ping_interval_without_data_ms", _PING_INTERVAL_MS_MIN),
                ("grpc.so_reuseport", 0),  # else two collectors would share a port, and each get half
            ]
        )
        handlers = [
            grpc.method_handlers_generic_handler(
                service, {"Export": grpc.stream_unary_rpc_method_handler(self._export(signal))}
            )
            for signal, service in SERVICES.items()
        ]
        server.add_generic_rpc_handlers(handlers)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, server)
        host = f"[{settings.host}]" if ":" in settings.host else settings.host
        try:
            self.port = server.add_insecure_port(f"{host}:{settings.port}")
        except RuntimeError:
            raise ListenError(
                f"collector.otlp_grpc.port: cannot listen on {host}:{settings.port}. Stop what uses it, or choose "
                "another port"
            ) from None
        for service in SERVICES.values():
            await self._health.set(service, health_pb2.HealthCheckResponse.SERVING)
        await server.start()
        self._server = server

    async def stop(self, grace_s: float) -> None:
        """Take no more requests, and let those that are under way end within the time given."""
        if self._server is not None:
            await self._health.enter_graceful_shutdown()
            await self._server.stop(grace_s)

    def _export(self, signal: str) -> Export:
        async def export(messages: AsyncIterator[bytes], context: "aio.ServicerContext[bytes, bytes]") -> bytes:
            with self._admission.hold() as held:
                try:
                    self._admission.check_sender(_authorization(context))
                    async with self._reading:
                        message = await self._message(messages)
                        held.add(len(message))
                    answer = await self._admission.take(
                        signal, message, "", "protobuf", self._settings.message_bytes_max, held
                    )
                except Exception as error:
                    refusal = self._admission.refusal(signal, error)
                else:
                    self._telemetry.requests.labels(signal, grpc.StatusCode.OK.name).inc()
                    return answer
            code = _CODES[refusal.code]
            self._telemetry.requests.labels(signal, code.name).inc()
            status = refusal.status()
            return await context.abort(code, status.message, ((_DETAILS_KEY, status.SerializeToString()),))

        return export

    async def _message(self, messages: AsyncIterator[bytes]) -> bytes:
        timeout_s = self._settings.message_timeout_s
        try:
            async with asyncio.timeout(timeout_s):
                async for message in messages:
                    return message
        except TimeoutError:
            raise StalledError(f"the message did not come within {timeout_s:g} s") from None
        # gRPC has refused it already, and ends the stream for us as if there had been none.
        raise TooLargeError(
            f"no message came, or one of more than {self._settings.message_bytes_max} bytes: send smaller batches, "
            "or raise collector.otlp_grpc.message_bytes_max"
        )


def _authorization(context: "aio.ServicerContext[bytes, bytes]") -> str:
    for key, value in context.invocation_metadata() or ():
        if key == "authorization":
            return value if isinstance(value, str) else value.decode("latin-1")
    return ""
