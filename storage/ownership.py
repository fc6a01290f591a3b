"""One process owns a folder: it holds a lock on `owner.lock` there, a file that tells which process it is."""

import fcntl
import os
from pathlib import Path
from typing import IO


class OwnedError(Exception):
    """Another process owns the folder; the message is its number, or `unknown`."""


def take_ownership(folder: Path) -> IO[str]:
    """Own the folder, which is made if need be, until the lock is closed.

    Raises:
        OSError: when it cannot be written.
        OwnedError: when another process owns it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lock = (folder / "owner.lock").open("a+")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        lock.seek(0)
        owner = lock.read().strip() or "unknown"
        lock.close()
        raise OwnedError(owner) from None
    lock.truncate(0)
    lock.write(str(os.getpid()))
    lock.flush()
    return lock
