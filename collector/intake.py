"""The one way in: check a request, log it, count it. The receiver and the scraper both go through here."""

import time
from collections.abc import Callable
from concurrent.futures import Future

from collector.otlp import CHECKS, CheckedRequest, TimeRange
from collector.settings import AcceptedTimes
from collector.telemetry import Telemetry
from collector.wal import Frame, WriteAheadLog
from storage.otlp import Encoding

_DAY_NS = 86_400 * 10**9


class Intake:
    """Puts requests into the log. Safe to share between threads.

    Args:
        wal: where accepted requests go.
        accepted_times: the event times that are accepted.
        telemetry: told of all that was accepted and of all that was not.
        now_unix_ns: the clock.
    """

    def __init__(
        self,
        wal: WriteAheadLog,
        accepted_times: AcceptedTimes,
        telemetry: Telemetry,
        now_unix_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self._wal = wal
        self._past_ns = int(accepted_times.past_days * _DAY_NS)
        self._future_ns = int(accepted_times.future_s * 1e9)
        self._telemetry = telemetry
        self._now_unix_ns = now_unix_ns

    def put(
        self, signal: str, payload: bytes, encoding: Encoding = "protobuf"
    ) -> tuple[CheckedRequest, "Future[None]"]:
        """Check an export request and append it to the log.

        Args:
            signal: traces, metrics or logs.
            payload: the request.
            encoding: what it is written in.

        Returns:
            What was accepted, and a future that is done when it is on the disk.

        Raises:
            UndecodableError, TooLargeError: when the payload is no such request, or its items carry too much.
            BacklogFullError, LogUnavailableError: when the log does not take it now.
        """
        now = self._now_unix_ns()
        checked = CHECKS[signal](payload, TimeRange(max(0, now - self._past_ns), now + self._future_ns), encoding)
        written: Future[None]
        if checked.items:
            frame = Frame(
                now,
                checked.items,
                checked.payload,
                encoding=encoding,
                days=checked.days,
                carried_bytes=checked.carried_bytes,
                is_plain=checked.is_plain,
            )
            written = self._wal.append(signal, frame)
        else:
            written = Future()
            written.set_result(None)
        self._count(signal, checked, written)
        return checked, written

    def _count(self, signal: str, checked: CheckedRequest, written: "Future[None]") -> None:
        telemetry = self._telemetry

        def count_accepted(written: "Future[None]") -> None:
            if written.exception() is None:
                for reason, count in checked.rejections.counts.items():
                    telemetry.rejected.labels(signal, reason).inc(count)
                telemetry.ends_before_start.inc(checked.ends_before_start)
                if checked.delta_points:
                    telemetry.without_samples.labels("delta").inc(checked.delta_points)
                for table, count in checked.items.items():
                    telemetry.accepted.labels(table).inc(count)

        written.add_done_callback(count_accepted)
