"""What becomes of the memory of this process. The engine has an allocator of its own."""

import ctypes
import gc

_MIB = 1 << 20
# https://man7.org/linux/man-pages/man3/mallopt.3.html
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_MAPPED_BYTES_MIN = 32 * _MIB  # the most that glibc accepts
_FREE_BYTES_KEPT = 128 * _MIB


def keep_freed_memory() -> None:
    """Let glibc keep what is freed, for the next body of a request.

    Bodies are hundreds of kilobytes. By itself glibc asks the kernel for each, and gives it back: the kernel clears
    every page of it anew, which took a tenth of the CPU time of taking spans in. Another C library is left as it is.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, _MAPPED_BYTES_MIN)
        mallopt(_M_TRIM_THRESHOLD, _FREE_BYTES_KEPT)


def spare_what_is_loaded() -> None:
    """Leave what there is by now out of garbage collection: modules live as long as the process.

    By itself each full collection walks 250,000 objects of libraries: for 0.1 s no thread answers a request.
    """
    gc.collect()
    gc.freeze()
