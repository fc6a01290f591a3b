import asyncio
from concurrent.futures import Future

from prometheus_client import CollectorRegistry

from collector.admission import Admission
from collector.otlp import CheckedRequest, Rejections
from collector.telemetry import Telemetry


class OneSync:
    """An intake whose requests all wait for the same sync."""

    def __init__(self) -> None:
        self.written: Future[None] = Future()
        self.written.set_running_or_notify_cancel()

    def put(self, _signal: str, payload: bytes, _encoding: str) -> tuple[CheckedRequest, Future[None]]:
        return CheckedRequest(payload, {"otel_traces": 1}, Rejections(), None, 0), self.written


async def one_leaves_before_the_sync(intake: OneSync, error: Exception | None) -> list[bytes | BaseException]:
    admission = Admission(intake, 1 << 20, Telemetry(CollectorRegistry()))  # type: ignore[arg-type]

    async def send() -> bytes:
        with admission.hold() as held:
            return await admission.take("traces", b"request", "", "protobuf", 1 << 20, held)

    leaving, *staying = [asyncio.ensure_future(send()) for _ in range(3)]
    await asyncio.sleep(0)
    leaving.cancel()
    await asyncio.sleep(0)
    if error is None:
        intake.written.set_result(None)
    else:
        intake.written.set_exception(error)
    answers = await asyncio.gather(*staying, return_exceptions=True)
    admission.close()
    assert leaving.cancelled()
    return answers


def test_a_sender_that_goes_away_takes_no_other_along_that_waits_for_the_same_sync() -> None:
    assert asyncio.run(one_leaves_before_the_sync(OneSync(), None)) == [b"", b""]


def test_all_that_wait_for_a_sync_are_told_that_it_failed() -> None:
    error = OSError("the disk is gone")
    assert asyncio.run(one_leaves_before_the_sync(OneSync(), error)) == [error, error]
