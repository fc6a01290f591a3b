"""Bodies are unpacked whatever they are packed with, and never further than the limit."""

import gzip
import random
import sys
import zlib
from collections.abc import Callable
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.compression import decompressed
from collector.errors import RefusedError, TooLargeError, UndecodableError, UnsupportedError

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

LIMIT = 1 << 20
PACKERS: dict[str, Callable[[bytes], bytes]] = {"gzip": gzip.compress, "zstd": zstd.compress, "deflate": zlib.compress}

each_encoding = pytest.mark.parametrize("encoding", PACKERS)


@each_encoding
@given(body=st.binary(max_size=5000))
def test_a_body_is_what_its_sender_packed(encoding: str, body: bytes) -> None:
    assert decompressed(PACKERS[encoding](body), encoding, LIMIT) == body


@each_encoding
def test_a_body_of_several_pieces_is_unpacked_whole(encoding: str) -> None:
    body = random.Random(1).randbytes(900_000)
    assert decompressed(PACKERS[encoding](body), encoding, LIMIT) == body


@each_encoding
def test_streams_one_after_the_other_are_one_body(encoding: str) -> None:
    parts = [b"one ", b"", b"two ", random.Random(1).randbytes(300_000)]
    assert decompressed(b"".join(map(PACKERS[encoding], parts)), encoding, LIMIT) == b"".join(parts)


@pytest.mark.parametrize("encoding", ["", "identity"])
def test_a_body_that_is_not_packed_stays_as_it_is(encoding: str) -> None:
    body = b"spans"
    assert decompressed(body, encoding, 5) is body
    with pytest.raises(TooLargeError, match="the body is 6 bytes, at most 5"):
        decompressed(b"spans!", encoding, 5)


@each_encoding
def test_an_empty_body_is_empty_whatever_it_claims_to_be(encoding: str) -> None:
    assert decompressed(b"", encoding, LIMIT) == b""


@each_encoding
def test_a_body_of_exactly_the_limit_is_taken_and_one_byte_more_is_not(encoding: str) -> None:
    assert len(decompressed(PACKERS[encoding](bytes(1000)), encoding, 1000)) == 1000
    with pytest.raises(TooLargeError, match="over 1000 bytes after decompression"):
        decompressed(PACKERS[encoding](bytes(1001)), encoding, 1000)


@each_encoding
def test_a_bomb_of_many_streams_is_stopped_too(encoding: str) -> None:
    with pytest.raises(TooLargeError):
        decompressed(PACKERS[encoding](bytes(600_000)) * 2, encoding, LIMIT)


@each_encoding
def test_a_body_of_empty_streams_without_end_is_refused(encoding: str) -> None:
    with pytest.raises(UndecodableError, match="more than 4096"):
        decompressed(PACKERS[encoding](b"") * 5000, encoding, LIMIT)


@each_encoding
def test_a_body_that_was_cut_off_is_no_body(encoding: str) -> None:
    packed = PACKERS[encoding](random.Random(1).randbytes(10_000))
    with pytest.raises(UndecodableError, match="cut off"):
        decompressed(packed[:-9], encoding, LIMIT)


@each_encoding
def test_what_is_packed_otherwise_is_told_so(encoding: str) -> None:
    with pytest.raises(UndecodableError, match=f"no {encoding}"):
        decompressed(b"these are no spans", encoding, LIMIT)


CHECKSUMMED = PACKERS | {"zstd": lambda body: zstd.compress(body, options={zstd.CompressionParameter.checksum_flag: 1})}


@each_encoding
@given(data=st.data())
def test_a_damaged_body_is_refused_or_whole_all_the_same(encoding: str, data: st.DataObject) -> None:
    body = random.Random(1).randbytes(50) * 20
    packed = bytearray(CHECKSUMMED[encoding](body))
    for _ in range(data.draw(st.integers(1, 3))):
        packed[data.draw(st.integers(0, len(packed) - 1))] ^= data.draw(st.integers(1, 255))
    with suppress(RefusedError):
        assert decompressed(bytes(packed), encoding, 5000) in (body, b"")


def test_a_zstd_window_over_8_mb_is_refused() -> None:
    options = {zstd.CompressionParameter.window_log: 24, zstd.CompressionParameter.content_size_flag: 0}
    packer = zstd.ZstdCompressor(options=options)
    packed = packer.compress(b"spans") + packer.flush()
    with pytest.raises(UndecodableError):
        decompressed(packed, "zstd", LIMIT)


def test_an_unknown_encoding_is_told_what_is_served() -> None:
    with pytest.raises(UnsupportedError, match="'br' is not served; send gzip, zstd, deflate, identity"):
        decompressed(b"", "br", 10)
