"""Content encodings of request bodies, unpacked within a limit: a small body may hide a very large one."""

import sys
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Protocol

from isal import igzip_lib

from collector.errors import TooLargeError, UndecodableError, UnsupportedError

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

# RFC 9659, section 3: senders keep to windows of 8 MB, and who unpacks need not hold more.
_ZSTD_WINDOW_LOG_MAX = 23
# What follows the end of a stream is copied by the libraries, so pieces are fed, not the whole body.
_PIECE_BYTES = 1 << 18
# bgzip writes a stream for each 64 KiB; a body of millions of empty ones would only burn CPU time.
_STREAMS_MAX = 4096


class _Stream(Protocol):
    """One compressed stream: a gzip member, a zlib stream or a zstd frame."""

    @property
    def eof(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int) -> bytes: ...


_STREAMS: Mapping[str, Callable[[], _Stream]] = {
    "gzip": partial(igzip_lib.IgzipDecompressor, flag=igzip_lib.DECOMP_GZIP),
    "zstd": partial(zstd.ZstdDecompressor, options={zstd.DecompressionParameter.window_log_max: _ZSTD_WINDOW_LOG_MAX}),
    "deflate": partial(igzip_lib.IgzipDecompressor, flag=igzip_lib.DECOMP_ZLIB),  # RFC 9110, section 8.4.1.2
}
_FAULTS: tuple[Any, ...] = (igzip_lib.error, zstd.ZstdError)

ENCODINGS = (*_STREAMS, "identity")
"""The values of Content-Encoding that are served."""


def decompressed(body: bytes, encoding: str, bytes_max: int) -> bytes:
    """The body of a request as its sender wrote it. No more than `bytes_max` are ever unpacked.

    Args:
        body: as it came; several compressed streams one after the other are one body, and none is an empty body.
        encoding: the value of Content-Encoding, in lower case; empty is identity.
        bytes_max: the limit, before and after.

    Raises:
        TooLargeError: when the body is over the limit, packed or unpacked.
        UndecodableError: when it is broken or cut off.
        UnsupportedError: when the encoding is not one of `ENCODINGS`.
    """
    if len(body) > bytes_max:
        raise TooLargeError(f"the body is {len(body)} bytes, at most {bytes_max} are accepted: send smaller batches")
    if encoding in ("", "identity"):
        return body
    if encoding not in _STREAMS:
        raise UnsupportedError(f"Content-Encoding {encoding[:50]!r} is not served; send {', '.join(ENCODINGS)}")
    try:
        return _unpacked(_STREAMS[encoding], body, encoding, bytes_max)
    except _FAULTS as error:
        raise UndecodableError(f"the body is no {encoding} ({error}), although Content-Encoding says so") from None


def _unpacked(open_stream: Callable[[], _Stream], body: bytes, encoding: str, bytes_max: int) -> bytes:
    parts: list[bytes] = []
    left, streams = bytes_max, 0
    stream: _Stream | None = None
    for start in range(0, len(body), _PIECE_BYTES):
        piece = body[start : start + _PIECE_BYTES]
        while piece:
            if stream is None:
                stream, streams = open_stream(), streams + 1
            if streams > _STREAMS_MAX:
                raise UndecodableError(
                    f"the body holds more than {_STREAMS_MAX} {encoding} streams one after the other: send one"
                )
            part = stream.decompress(piece, left + 1)
            left -= len(part)
            if left < 0:
                raise TooLargeError(f"the body is over {bytes_max} bytes after decompression: send smaller batches")
            parts.append(part)
            piece = stream.unused_data if stream.eof else b""
            if stream.eof:
                stream = None
    if stream is not None:
        raise UndecodableError(
            f"the {encoding} body ends too early, after {len(body)} bytes: it was cut off on its way"
        )
    return parts[0] if len(parts) == 1 else b"".join(parts)
