"""One process owns a folder: it holds a lock on `owner.lock` there, a file that tells which process it is."""

import fcntl
import os
from pathlib import Path
from typing import IO


class OwnedError(Exception):
    """Another process owns the folder; `owner` is its number, or `unknown`."""

    def __init__(self, folder: Path, owner: str) -> None:
        super().__init__(f"{folder} is in use by process {owner}")
        self.owner = owner


def take_ownership(folder: Path) -> IO[str]:
    """Own the folder, which is made if need be, until the lock is closed.

    Raises:
        OSError: when it cannot be written, or its file system has no locks.
        OwnedError: when another process owns it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lock = (folder / "owner.lock").open("a+")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
    except BlockingIOError:
        lock.seek(0)
        owner = lock.read().strip() or "unknown"
        lock.close()
        raise OwnedError(folder, owner) from None
    except OSError:
        lock.close()
        raise
    return lock
