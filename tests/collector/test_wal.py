"""The write-ahead log: what is acknowledged is in a segment, whole; and segments go through their life in order."""

import contextlib
import itertools
import os
import stat
import struct
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.message import Message
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from collector import wal as wal_module
from collector.errors import BacklogFullError, LogBusyError, LogUnavailableError
from collector.settings import WalSettings
from collector.telemetry import Telemetry
from collector.wal import _KEPT_BYTES_MAX as KEPT_BYTES_MAX
from collector.wal import _MAGIC as MAGIC
from collector.wal import (
    SIGNAL_TABLES,
    Contents,
    Frame,
    ReadMemory,
    Segment,
    WriteAheadLog,
    encoded_frame,
    read_segment,
    segments_in,
)

FRAME = Frame(1_795_000_000_000_000_000, {"otel_traces": 3}, b"three spans")
REQUESTS = {
    "traces": ExportTraceServiceRequest,
    "metrics": ExportMetricsServiceRequest,
    "logs": ExportLogsServiceRequest,
}
NEVER = WalSettings(segment_age_s=3600)
ROOT = Path(__file__).parents[2]


@contextmanager
def opened(folder: Path, telemetry: Telemetry, settings: WalSettings = NEVER) -> Iterator[WriteAheadLog]:
    wal = WriteAheadLog(folder, settings, telemetry)
    try:
        yield wal
    finally:
        wal.close()


def frame_bytes(frame: Frame) -> bytes:
    return b"".join(encoded_frame("traces", frame))


def append(wal: WriteAheadLog, frame: Frame = FRAME, signal: str = "traces") -> None:
    wal.append(signal, frame).result(timeout=30)


def only_segment(folder: Path) -> Segment:
    (segment,) = segments_in(folder)
    return segment


def test_frames_are_read_back_as_they_were_written(tmp_path: Path, telemetry: Telemetry) -> None:
    points = Frame(7, {"otel_metrics_gauge": 2, "otel_metrics_summary": 5}, b"seven points")
    with opened(tmp_path, telemetry) as wal:
        append(wal)
        append(wal, Frame(8, {"otel_traces": 1}, b"one more"))
        append(wal, points, "metrics")
    metrics, traces = sorted(segments_in(tmp_path), key=lambda segment: segment.signal)
    assert read_segment(traces).frames == (FRAME, Frame(8, {"otel_traces": 1}, b"one more"))
    assert read_segment(metrics).frames == (points,)


def test_an_appended_frame_is_in_the_file_before_the_log_is_closed(tmp_path: Path, telemetry: Telemetry) -> None:
    with opened(tmp_path, telemetry) as wal:
        append(wal)
        assert read_segment(only_segment(tmp_path)).frames == (FRAME,)


def test_frames_that_arrive_together_share_a_sync(
    tmp_path: Path, telemetry: Telemetry, counted: Callable[..., float], monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = threading.Event()
    sync = os.fdatasync

    def slow_sync(handle: int) -> None:
        disk.wait(30)
        sync(handle)

    monkeypatch.setattr(os, "fdatasync", slow_sync)
    with opened(tmp_path, telemetry) as wal:
        written = [wal.append("traces", FRAME) for _ in range(50)]
        assert not written[0].done(), "nothing is acknowledged before the sync"
        disk.set()
        for future in written:
            future.result(timeout=30)
    assert counted("wal_sync_seconds_count") <= 2


def test_senders_that_were_answered_together_and_send_again_one_by_one_share_a_sync(
    tmp_path: Path, telemetry: Telemetry, counted: Callable[..., float], monkeypatch: pytest.MonkeyPatch
) -> None:
    sync = os.fdatasync

    def slow_sync(handle: int) -> None:
        time.sleep(0.5)
        sync(handle)

    monkeypatch.setattr(os, "fdatasync", slow_sync)
    monkeypatch.setattr("collector.wal._GATHER_S_MAX", 30.0)
    with opened(tmp_path, telemetry) as wal:
        first = wal.append("traces", FRAME)
        together = [wal.append("traces", FRAME) for _ in range(2)]  # they wait for the sync of the first
        for future in (first, *together):
            future.result(timeout=30)
        again = [wal.append("traces", FRAME)]
        time.sleep(0.05)
        again.append(wal.append("traces", FRAME))
        for future in again:
            future.result(timeout=30)
    assert counted("wal_sync_seconds_count") <= 3


@given(cut=st.integers(0, 200))
def test_a_torn_tail_costs_the_last_frame_only(tmp_path_factory: pytest.TempPathFactory, cut: int) -> None:
    whole = MAGIC + frame_bytes(FRAME) + frame_bytes(FRAME)
    folder = tmp_path_factory.mktemp("torn")
    segment = Segment(folder / "traces-00000000000000000001-00000000.wal")
    segment.path.write_bytes(whole[: max(0, len(whole) - cut)])
    contents = read_segment(segment)
    one = len(frame_bytes(FRAME))
    left = max(0, len(whole) - cut) - len(MAGIC)
    assert contents.frames == (FRAME,) * max(0, left // one)
    assert (contents.damaged_bytes > 0) == (left != len(contents.frames) * one and left + len(MAGIC) > 0)


def test_a_frame_that_rotted_on_the_disk_costs_itself_only(tmp_path: Path) -> None:
    rotten = bytearray(frame_bytes(FRAME))
    rotten[-1] ^= 1
    good = frame_bytes(FRAME)
    segment = Segment(tmp_path / "traces-00000000000000000001-00000000.wal")
    segment.path.write_bytes(MAGIC + good + rotten + good)
    contents = read_segment(segment)
    assert contents.frames == (FRAME, FRAME)
    assert contents.damaged_bytes == len(rotten)


@given(st.data())
def test_a_flipped_bit_costs_the_frame_it_is_in_and_no_other(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    frames = [Frame(number, {"otel_traces": number}, bytes([number]) * number, days=(9, 10)) for number in (3, 200, 7)]
    encoded = [frame_bytes(frame) for frame in frames]
    whole = bytearray(MAGIC + b"".join(encoded))
    bit = data.draw(st.integers(0, 8 * len(whole) - 1) | st.just(8 * (len(MAGIC) + 1)))  # a length as of version 3
    whole[bit // 8] ^= 1 << bit % 8
    segment = Segment(tmp_path_factory.mktemp("flipped") / "traces-00000000000000000001-00000000.wal")
    segment.path.write_bytes(whole)
    contents = read_segment(segment)
    ends = list(itertools.accumulate(map(len, [MAGIC, *encoded])))
    hit = next(number for number, end in enumerate(ends) if bit // 8 < end) - 1  # -1 is the magic number
    assert contents.frames == tuple(frame for number, frame in enumerate(frames) if number != hit)
    assert contents.damaged_bytes == (len(encoded[hit]) if hit >= 0 else len(MAGIC))


def test_a_payload_may_hold_what_looks_like_a_frame(tmp_path: Path) -> None:
    inner = frame_bytes(FRAME)
    outer = Frame(1, {"otel_traces": 1}, inner * 2 + inner[:20])
    segment = Segment(tmp_path / "traces-00000000000000000001-00000000.wal")
    segment.path.write_bytes(MAGIC + frame_bytes(outer) * 2)
    assert read_segment(segment) == Contents((outer, outer), 0, is_all_of_file=True)


@given(share=st.floats(0, 1))
def test_a_segment_that_is_cut_off_keeps_its_whole_frames_and_all_else_counts_as_damage(
    tmp_path_factory: pytest.TempPathFactory, share: float
) -> None:
    one = frame_bytes(FRAME)
    whole = MAGIC + one * 10
    cut = int(len(whole) * share)
    segment = Segment(tmp_path_factory.mktemp("cut") / "traces-00000000000000000001-00000000.wal")
    segment.path.write_bytes(whole[:cut])
    kept = max(0, cut - len(MAGIC)) // len(one)
    kept_bytes = kept * len(one) + (len(MAGIC) if cut >= len(MAGIC) else 0)
    contents = Contents((FRAME,) * kept, len(whole) - kept_bytes, is_all_of_file=cut == len(whole))
    assert read_segment(segment, len(whole)) == contents


def test_what_lies_behind_the_acknowledged_part_is_not_read(tmp_path: Path) -> None:
    one = frame_bytes(FRAME)
    segment = Segment(tmp_path / "traces-00000000000000000001-00000000.wal")
    segment.path.write_bytes(MAGIC + one * 2)
    assert read_segment(segment, len(MAGIC) + len(one)) == Contents((FRAME,), 0)


@given(st.lists(st.integers(0, 5), min_size=1))
def test_memory_that_is_used_again_tells_of_one_segment_only(
    tmp_path_factory: pytest.TempPathFactory, counts: list[int]
) -> None:
    memory = ReadMemory()
    segment = Segment(tmp_path_factory.mktemp("again") / "traces-00000000000000000001-00000000.wal")
    for count in counts:
        frame = Frame(count, {"otel_traces": count + 1}, b"spans" * count)
        segment.path.write_bytes(MAGIC + frame_bytes(frame) * count)
        assert read_segment(segment, memory=memory) == Contents((frame,) * count, 0, is_all_of_file=True)


def test_memory_for_a_file_that_is_larger_than_segments_are_is_not_kept(tmp_path: Path) -> None:
    memory = ReadMemory()
    for size_bytes, kept_bytes in [
        (1000, 1000),
        (10, 1000),
        (KEPT_BYTES_MAX + 1, 1000),
        (KEPT_BYTES_MAX, KEPT_BYTES_MAX),
    ]:
        (tmp_path / "file").write_bytes(b"x" * size_bytes)
        data = memory.read(tmp_path / "file")
        assert (len(data), data.readonly) == (size_bytes, True)
        assert data == b"x" * size_bytes
        assert len(memory._kept) == kept_bytes


@given(st.binary(max_size=300))
def test_any_bytes_can_be_read_as_a_segment(tmp_path_factory: pytest.TempPathFactory, noise: bytes) -> None:
    segment = Segment(tmp_path_factory.mktemp("noise") / "traces-00000000000000000001-00000000.wal")
    segment.path.write_bytes(MAGIC + noise)
    assert read_segment(segment).damaged_bytes <= len(noise)


@pytest.mark.parametrize(("signal", "request_type"), list(REQUESTS.items()))
def test_a_whole_segment_is_one_export_request(
    tmp_path: Path, telemetry: Telemetry, signal: str, request_type: type[Message]
) -> None:
    payload = b"\x0a\x00"  # one empty resource
    with opened(tmp_path, telemetry) as wal:
        for number in range(3):
            append(wal, Frame(number, {SIGNAL_TABLES[signal][0]: 1}, payload), signal)
    request: Any = request_type()
    request.ParseFromString(only_segment(tmp_path).path.read_bytes())
    assert [len(resources) for _, resources in request.ListFields()] == [3]
    request.DiscardUnknownFields()
    assert request.SerializeToString() == payload * 3


@pytest.mark.parametrize("is_plain", [False, True])
def test_what_is_plain_is_still_so_when_it_is_read(tmp_path: Path, telemetry: Telemetry, *, is_plain: bool) -> None:
    frame = Frame(7, {"otel_metrics_sum": 2}, b"\x0a\x00", days=(9, 10), is_plain=is_plain)
    with opened(tmp_path, telemetry) as wal:
        append(wal, frame, "metrics")
    assert read_segment(only_segment(tmp_path)).frames == (frame,)


def test_the_log_of_the_version_before_is_read_too(tmp_path: Path, telemetry: Telemetry) -> None:
    header = struct.pack("<Q2HQ5I", 7, 9, 10, 640, 0, 2, 0, 0, 0)
    payload = b"\x0a\x00"
    checksum = zlib.crc32(struct.pack("<I", len(header + payload)) + header + payload)
    prefix = b"\xf5\xfaWF" + struct.pack("<II", len(header + payload), checksum)
    frame = bytes([15 << 3 | 2, len(prefix + header)]) + prefix + header + payload
    segment = Segment(tmp_path / "metrics-00000000000000000001-00000000.wal")
    segment.path.write_bytes(b"\x7a\x08TAILWAL3" + frame * 2)
    theirs = Frame(7, {"otel_metrics_sum": 2}, payload, days=(9, 10), carried_bytes=640)
    assert read_segment(segment) == Contents((theirs, theirs), 0, is_all_of_file=True)
    with opened(tmp_path, telemetry) as wal:
        assert wal.take(0) == segment


def test_a_log_that_another_version_wrote_is_left_as_it_is(tmp_path: Path, telemetry: Telemetry) -> None:
    theirs = tmp_path / "traces-00000000000000000001-00000000.wal"
    theirs.write_bytes(b"TAILWAL2 and what it holds")
    with pytest.raises(LogUnavailableError, match="holds 1 segments that another version of Tailsight wrote"):
        WriteAheadLog(tmp_path, NEVER, telemetry)
    assert theirs.exists()
    theirs.rename(tmp_path / "elsewhere")
    with opened(tmp_path, telemetry) as wal:
        append(wal)


def test_what_cannot_be_removed_yet_is_removed_later(
    tmp_path: Path, telemetry: Telemetry, monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened(tmp_path, telemetry) as wal:
        append(wal)
        wal.rotate(30)
        segment = wal.take(0)
        assert segment is not None
        wal.mark_loaded(segment)
        with monkeypatch.context() as broken:
            broken.setattr(Path, "unlink", _refuse)
            assert not wal.checkpoint()
        assert segment.path.exists()
        assert wal.checkpoint()
        assert not segment.path.exists()


def _refuse(*_: object, **__: object) -> None:
    raise PermissionError(13, "Permission denied")


def test_a_segment_is_closed_by_its_size(tmp_path: Path, telemetry: Telemetry) -> None:
    with opened(tmp_path, telemetry, WalSettings(segment_bytes_max=4096, segment_age_s=3600)) as wal:
        append(wal, Frame(1, {"otel_traces": 1}, bytes(5000)))
        assert wal.take(30) is not None


def test_a_segment_is_closed_by_its_age(tmp_path: Path, telemetry: Telemetry) -> None:
    with opened(tmp_path, telemetry, WalSettings(segment_age_s=0.01)) as wal:
        append(wal)
        assert wal.take(30) is not None


def test_while_another_waits_a_segment_grows_beyond_its_age(tmp_path: Path, telemetry: Telemetry) -> None:
    with opened(tmp_path, telemetry, WalSettings(segment_age_s=0.01)) as wal:
        append(wal)
        while len(segments_in(tmp_path)) < 2:  # the first is closed by its age, and nobody takes it
            append(wal)
        for _ in range(20):
            append(wal)
            threading.Event().wait(0.01)
        assert len(segments_in(tmp_path)) == 2


def test_closed_segments_are_taken_oldest_first_and_only_once(tmp_path: Path, telemetry: Telemetry) -> None:
    with opened(tmp_path, telemetry) as wal:
        for _ in range(3):
            append(wal)
            wal.rotate(30)
        taken = [wal.take(0) for _ in range(3)]
        assert taken == segments_in(tmp_path)
        assert wal.take(0) is None


def test_a_segment_that_is_given_back_comes_first_again(tmp_path: Path, telemetry: Telemetry) -> None:
    with opened(tmp_path, telemetry) as wal:
        for _ in range(2):
            append(wal)
            wal.rotate(30)
        first = wal.take(0)
        assert first is not None
        wal.give_back(first)
        assert wal.take(0) == first


def test_a_loaded_segment_stays_until_the_checkpoint(tmp_path: Path, telemetry: Telemetry) -> None:
    with opened(tmp_path, telemetry) as wal:
        append(wal)
        wal.rotate(30)
        segment = wal.take(0)
        assert segment is not None
        wal.checkpoint()
        wal.mark_loaded(segment)
        assert segment.path.exists()
        wal.checkpoint()
        assert not segment.path.exists()


@pytest.mark.parametrize("store", [None, "elsewhere"])
def test_a_checkpoint_syncs_the_disk_of_an_embedded_store(
    tmp_path: Path, telemetry: Telemetry, monkeypatch: pytest.MonkeyPatch, store: str | None
) -> None:
    synced: list[Path] = []
    monkeypatch.setattr(wal_module, "_sync_file_system", synced.append)
    store_path = None if store is None else tmp_path / store
    with contextlib.closing(WriteAheadLog(tmp_path / "data" / "wal", NEVER, telemetry, store_path=store_path)) as wal:
        append(wal)
        wal.rotate(30)
        segment = wal.take(0)
        assert segment is not None
        wal.mark_loaded(segment)
        assert wal.checkpoint()
        assert not segment.path.exists()
    assert synced == ([] if store_path is None else [store_path])


def test_what_an_earlier_process_left_is_taken_first(tmp_path: Path, telemetry: Telemetry) -> None:
    with opened(tmp_path, telemetry) as wal:
        append(wal)
    left = only_segment(tmp_path)
    (tmp_path / "notes.txt").write_text("not ours")
    with opened(tmp_path, telemetry) as wal:
        assert wal.take(0) == left


def test_a_full_log_refuses_and_takes_again_when_it_was_loaded(
    tmp_path: Path, telemetry: Telemetry, counted: Callable[..., float]
) -> None:
    with opened(tmp_path, telemetry, WalSettings(backlog_bytes_max=4096, segment_age_s=3600)) as wal:
        append(wal, Frame(1, {"otel_traces": 1}, bytes(3000)))
        with pytest.raises(BacklogFullError, match="at most 4096 may: retry later") as refusal:
            wal.append("traces", Frame(1, {"otel_traces": 1}, bytes(3000)))
        assert refusal.value.retryable
        wal.rotate(30)
        segment = wal.take(0)
        assert segment is not None
        wal.mark_loaded(segment)
        assert counted("wal_backlog_bytes") == 0
        append(wal, Frame(1, {"otel_traces": 1}, bytes(3000)))


def test_a_disk_that_cannot_be_written_is_told_and_nothing_half_written_stays(
    tmp_path: Path, telemetry: Telemetry, monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened(tmp_path, telemetry) as wal:
        append(wal)
        with monkeypatch.context() as broken:
            broken.setattr(os, "fdatasync", failing_sync)
            with pytest.raises(LogUnavailableError, match="No space left on device") as refusal:
                append(wal)
        assert refusal.value.retryable
        append(wal)
        segments = segments_in(tmp_path)
    assert [read_segment(segment).frames for segment in segments] == [(FRAME,), (FRAME,)]


def failing_sync(_handle: int) -> None:
    raise OSError(28, "No space left on device")


def handle_of(path: Path) -> int:
    """The number under which this process has the file open."""
    for number in range(3, 4096):
        with contextlib.suppress(OSError):
            if os.path.samestat(os.fstat(number), path.stat()):
                return number
    raise AssertionError(f"{path} is not open")


def test_a_segment_that_cannot_be_closed_costs_neither_itself_nor_the_next(
    tmp_path: Path, telemetry: Telemetry
) -> None:
    with opened(tmp_path, telemetry) as wal:
        append(wal)
        os.close(handle_of(only_segment(tmp_path).path))
        assert wal.rotate(30)
        closed = wal.take(0)
        assert closed is not None
        assert read_segment(closed).frames == (FRAME,)
        append(wal)
        assert wal.is_alive


def test_when_the_writer_fails_everybody_is_told_and_what_it_acknowledged_can_be_loaded(
    tmp_path: Path, telemetry: Telemetry, counted: Callable[..., float], monkeypatch: pytest.MonkeyPatch
) -> None:
    def defect(_handle: int) -> None:
        raise RuntimeError("a defect")

    with opened(tmp_path, telemetry) as wal:
        append(wal)
        acknowledged_bytes = counted("wal_backlog_bytes")
        monkeypatch.setattr(os, "fdatasync", defect)
        with pytest.raises(LogUnavailableError, match="a defect"):
            append(wal)
        with pytest.raises(LogUnavailableError, match="restart the collector"):
            wal.append("traces", FRAME)
        assert wal.rotate(30), "nobody waits for a writer that is no more"
        assert not wal.is_alive
        assert counted("wal_backlog_bytes") == acknowledged_bytes
        left = wal.take(0)
        assert left is not None
        assert read_segment(left).frames == (FRAME,)


def test_rotating_gives_up_when_the_disk_takes_too_long(
    tmp_path: Path, telemetry: Telemetry, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = threading.Event()
    monkeypatch.setattr(os, "fdatasync", lambda _handle: disk.wait(30))
    with opened(tmp_path, telemetry) as wal:
        written = wal.append("traces", FRAME)
        assert not wal.rotate(0.01)
        disk.set()
        written.result(timeout=30)


def test_a_segment_that_somebody_took_away_no_longer_counts(
    tmp_path: Path, telemetry: Telemetry, counted: Callable[..., float]
) -> None:
    with opened(tmp_path, telemetry) as wal:
        append(wal)
        wal.rotate(30)
        segment = wal.take(0)
        assert segment is not None
        segment.path.unlink()
        wal.mark_loaded(segment)
        wal.checkpoint()
        assert counted("wal_backlog_bytes") == 0


def test_a_folder_that_cannot_be_synced_keeps_its_segments(tmp_path: Path, telemetry: Telemetry) -> None:
    data = tmp_path / "data"
    with contextlib.closing(WriteAheadLog(data / "wal", NEVER, telemetry, store_path=data)) as wal:
        append(wal)
        wal.rotate(30)
        segment = wal.take(0)
        assert segment is not None
        wal.mark_loaded(segment)
        data.rename(tmp_path / "elsewhere")
        wal.checkpoint()
        (tmp_path / "elsewhere").rename(data)
        assert segment.path.exists()
        wal.checkpoint()
        assert not segment.path.exists()


def test_an_unwritable_folder_is_told_at_start(tmp_path: Path, telemetry: Telemetry) -> None:
    (tmp_path / "file").write_text("a file, where the log's folder should be")
    with pytest.raises(LogUnavailableError, match=r"cannot write the log in .*file.*name another data folder"):
        WriteAheadLog(tmp_path / "file" / "wal", NEVER, telemetry)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_of_somebody_else_is_told_at_start(tmp_path: Path, telemetry: Telemetry) -> None:
    tmp_path.chmod(stat.S_IRUSR | stat.S_IXUSR)
    with pytest.raises(LogUnavailableError, match="Permission denied"):
        WriteAheadLog(tmp_path / "wal", NEVER, telemetry)


SECOND_PROCESS = """
import sys
from pathlib import Path
from prometheus_client import CollectorRegistry
from collector.settings import WalSettings
from collector.telemetry import Telemetry
from collector.wal import WriteAheadLog
WriteAheadLog(Path(sys.argv[1]), WalSettings(), Telemetry(CollectorRegistry()))
"""


def test_a_second_process_on_the_same_log_is_told_who_has_it(tmp_path: Path, telemetry: Telemetry) -> None:
    with opened(tmp_path, telemetry):
        second = subprocess.run(
            [sys.executable, "-c", SECOND_PROCESS, str(tmp_path)], cwd=ROOT, capture_output=True, text=True, check=False
        )
        assert second.returncode == 1
        assert LogBusyError.__name__ in second.stderr
        assert f"in use by process {os.getpid()}" in second.stderr


def test_after_it_stopped_taking_the_log_refuses_but_can_be_loaded(tmp_path: Path, telemetry: Telemetry) -> None:
    with opened(tmp_path, telemetry) as wal:
        append(wal)
        wal.stop_taking()
        with pytest.raises(LogUnavailableError, match="stopping"):
            wal.append("traces", FRAME)
        wal.rotate(30)
        assert wal.take(0) is not None


def test_a_sender_that_goes_away_does_not_stop_the_writer(tmp_path: Path, telemetry: Telemetry) -> None:
    with opened(tmp_path, telemetry) as wal:
        wal.append("traces", FRAME).cancel()
        append(wal)
    assert read_segment(only_segment(tmp_path)).frames == (FRAME, FRAME)


def test_no_name_comes_twice_and_their_order_stays_when_the_clock_goes_back(
    tmp_path: Path, telemetry: Telemetry, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter([9_000, 5, 5, 4_000, 7, 8])
    monkeypatch.setattr(time, "time_ns", lambda: next(clock))
    with opened(tmp_path, telemetry) as wal:
        for _ in range(2):
            append(wal)
            wal.rotate(30)
        first = wal.take(0), wal.take(0)
    with opened(tmp_path, telemetry) as wal:  # asks the clock twice: how old is what was left
        append(wal)
        wal.rotate(30)
        assert (wal.take(0), wal.take(0)) == first
        third = wal.take(0)
    assert [segment.number for segment in (*first, third) if segment] == [9_000, 9_001, 9_002]


@pytest.mark.parametrize("jump_s", [-86_400, 86_400])
def test_ages_are_not_those_of_a_clock_that_jumps(
    tmp_path: Path, telemetry: Telemetry, monkeypatch: pytest.MonkeyPatch, counted: Callable[..., float], jump_s: int
) -> None:
    now_ns = time.time_ns()
    with opened(tmp_path, telemetry, WalSettings(segment_age_s=600)) as wal:
        append(wal)
        monkeypatch.setattr(time, "time_ns", lambda: now_ns + jump_s * 10**9)
        append(wal)
        waited_s = wal.waiting_s()
        assert waited_s is not None
        assert 0 <= waited_s < 500
        assert 0 <= counted("waiting_seconds") < 500
        assert wal.take(0) is None, "it is not ten minutes old"


@pytest.mark.parametrize(("ahead_s", "waits_s"), [(-3600, 3600), (3600, 0)])
def test_what_an_earlier_process_left_is_as_old_as_its_name_and_never_from_the_future(
    tmp_path: Path, telemetry: Telemetry, ahead_s: int, waits_s: int
) -> None:
    number = time.time_ns() + ahead_s * 10**9
    (tmp_path / f"traces-{number:020d}-00000000.wal").write_bytes(MAGIC)
    with opened(tmp_path, telemetry) as wal:
        waited_s = wal.waiting_s()
    assert waited_s is not None
    assert waits_s <= waited_s < waits_s + 500


def test_a_log_that_is_told_that_the_disk_is_nearly_full_refuses_with_the_reason(
    tmp_path: Path, telemetry: Telemetry
) -> None:
    reasons = ["the disk is 95 % full"]
    with contextlib.closing(WriteAheadLog(tmp_path, NEVER, telemetry, lambda: reasons[-1] if reasons else None)) as wal:
        with pytest.raises(BacklogFullError, match="95 % full"):
            wal.append("traces", FRAME)
        reasons.clear()
        append(wal)


def test_a_disk_that_does_not_answer_is_told_to_the_next_sender(
    tmp_path: Path, telemetry: Telemetry, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk, asked = threading.Event(), threading.Event()

    def stuck(_handle: int) -> None:
        asked.set()
        disk.wait(30)

    monkeypatch.setattr(os, "fdatasync", stuck)
    with opened(tmp_path, telemetry, WalSettings(segment_age_s=3600, sync_seconds_max=0.001)) as wal:
        first = wal.append("traces", FRAME)
        asked.wait(30)
        time.sleep(0.002)
        with pytest.raises(LogUnavailableError, match="has not answered"):
            wal.append("traces", FRAME)
        disk.set()
        first.result(timeout=30)


def test_a_disk_without_room_leaves_no_empty_segments(
    tmp_path: Path, telemetry: Telemetry, monkeypatch: pytest.MonkeyPatch, counted: Callable[..., float]
) -> None:
    with opened(tmp_path, telemetry) as wal:
        with monkeypatch.context() as broken:
            broken.setattr(os, "fdatasync", failing_sync)
            for _ in range(5):
                with pytest.raises(LogUnavailableError, match="No space left"):
                    append(wal)
        assert segments_in(tmp_path) == []
        assert counted("wal_backlog_bytes") == 0
        assert wal.waiting_s() is None
