"""What the OTLP doors share: who may send, how much is held at once, and waiting for the disk.

A small request is checked where it arrives, on the event loop: handing it to another thread and back costs more than
its check. A large one is checked in a worker, so that nobody waits behind it.
"""

import asyncio
import logging
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType

import orjson

from collector.answers import Refusal, refusal_of, response_body
from collector.compression import decompressed
from collector.errors import OverloadedError, TooLargeError, UnauthenticatedError
from collector.intake import Intake
from collector.telemetry import Telemetry
from storage.otlp import Encoding

log = logging.getLogger(__name__)

# Two bodies in work keep two cores busy; more would only hold more memory.
_WORKERS = 2
# The check of so much takes about a millisecond; the way to a worker and back costs a tenth of one.
_INLINE_BYTES_MAX = 64 << 10

_TOP_LEVEL_KEYS = {"traces": "resourceSpans", "metrics": "resourceMetrics", "logs": "resourceLogs"}


class Admission:
    """Takes requests into the log, whichever door they come through. For one event loop.

    Args:
        intake: checks requests and appends them to the log.
        in_flight_bytes_max: most bytes of requests that are at the doors and not in the log yet, as sent and, where
            they are large, as unpacked. A lone request is always taken.
        telemetry: told of every refusal.
        admits: is this the `authorization` of somebody who may send; None lets everybody.
    """

    def __init__(
        self,
        intake: Intake,
        in_flight_bytes_max: int,
        telemetry: Telemetry,
        admits: Callable[[str], bool] | None = None,
    ) -> None:
        self._intake = intake
        self._in_flight = _InFlight(in_flight_bytes_max)
        self._telemetry = telemetry
        self._admits = admits
        self._workers = ThreadPoolExecutor(_WORKERS, thread_name_prefix="otlp")
        telemetry.in_flight_bytes.set_function(lambda: self._in_flight.size_bytes)

    def check_sender(self, authorization: str) -> None:
        """Let a sender pass, or not.

        Raises:
            UnauthenticatedError: when a token is wanted and this holds none, or another.
        """
        if self._admits is not None and not self._admits(authorization):
            raise UnauthenticatedError(
                f"a token is needed, and {'a wrong one' if authorization else 'none'} was sent: send the header "
                "`authorization: Bearer TOKEN` (OTEL_EXPORTER_OTLP_HEADERS=authorization=Bearer%20TOKEN)"
            )

    def hold(self) -> "HeldBytes":
        """The bytes of one request: count them as they come; they are free again at the end of the `with`."""
        return HeldBytes(self._in_flight)

    async def take(
        self, signal: str, body: bytes, content_encoding: str, encoding: Encoding, bytes_max: int, held: "HeldBytes"
    ) -> bytes:
        """Unpack and check a request, put it into the log, and wait for the disk.

        Returns:
            The body of the answer.

        Raises:
            RefusedError: when the request is at fault.
            OverloadedError, BacklogFullError, LogUnavailableError: when it should be sent again later.
        """
        payload = _unpacked_here(body, content_encoding, min(bytes_max, _INLINE_BYTES_MAX))
        if payload is not None:
            answer, written = self._put(signal, payload, encoding)
        else:
            answer, written = await asyncio.get_running_loop().run_in_executor(
                self._workers, self._unpack_and_put, signal, body, content_encoding, encoding, bytes_max, held
            )
        await asyncio.wrap_future(written)
        return answer

    def refusal(self, signal: str, error: Exception) -> Refusal:
        """How an error is answered; counts it."""
        refusal = refusal_of(error)
        if refusal.reason == "internal":
            log.error("a %s request could not be taken in", signal, exc_info=error)
        self._telemetry.refused.labels(signal, refusal.reason).inc()
        return refusal

    def close(self) -> None:
        """Let the workers finish."""
        self._workers.shutdown()

    def _unpack_and_put(
        self, signal: str, body: bytes, content_encoding: str, encoding: Encoding, bytes_max: int, held: "HeldBytes"
    ) -> "tuple[bytes, Future[None]]":
        payload = decompressed(body, content_encoding, bytes_max)
        if payload is not body:
            held.add(len(payload))
        return self._put(signal, payload, encoding)

    def _put(self, signal: str, payload: bytes, encoding: Encoding) -> "tuple[bytes, Future[None]]":
        checked, written = self._intake.put(signal, payload, encoding)
        message = checked.rejections.message
        if encoding == "json" and not checked.items and not message:
            message = unrecognised(signal, payload)
        return response_body(signal, encoding, checked.rejections.total, message), written


class HeldBytes:
    """The bytes of one request at a door."""

    def __init__(self, in_flight: "_InFlight") -> None:
        self._in_flight = in_flight
        self.size_bytes = 0

    def add(self, size_bytes: int) -> None:
        """Hold more.

        Raises:
            OverloadedError: when all requests together would hold too much.
        """
        self._in_flight.add(size_bytes, self.size_bytes)
        self.size_bytes += size_bytes

    def __enter__(self) -> "HeldBytes":
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _at: TracebackType | None
    ) -> None:
        self._in_flight.remove(self.size_bytes)


class _InFlight:
    """The bytes of all requests at the doors."""

    def __init__(self, bytes_max: int) -> None:
        self.size_bytes = 0
        self._bytes_max = bytes_max
        self._lock = threading.Lock()

    def add(self, size_bytes: int, held_bytes: int) -> None:
        with self._lock:
            others_bytes = self.size_bytes - held_bytes
            if others_bytes and self.size_bytes + size_bytes > self._bytes_max:
                raise OverloadedError(
                    f"{self.size_bytes} bytes of requests are being taken in, at most {self._bytes_max} may: "
                    "retry later, or raise collector.in_flight_bytes_max"
                )
            self.size_bytes += size_bytes

    def remove(self, size_bytes: int) -> None:
        with self._lock:
            self.size_bytes -= size_bytes


def unrecognised(signal: str, payload: bytes) -> str:
    """A warning about a JSON request without items when it holds something else instead; empty when it does not."""
    key = _TOP_LEVEL_KEYS[signal]
    try:
        document = orjson.loads(payload)
    except orjson.JSONDecodeError:  # an empty body is an empty request
        return ""
    others = [other for other in document if other != key] if isinstance(document, dict) else []
    if not others or document.get(key):
        return ""
    found = ", ".join(repr(other[:50]) for other in others[:5])
    return f"nothing was stored: the request holds {found}, and {signal} are expected in {key!r}"


def _unpacked_here(body: bytes, content_encoding: str, bytes_max: int) -> bytes | None:
    """The unpacked body when it is small; None when it is large."""
    if len(body) > bytes_max:
        return None
    try:
        return decompressed(body, content_encoding, bytes_max)
    except TooLargeError:
        return None
