"""Being asked to end: SIGTERM, and Ctrl-C."""

import os
import signal
import threading

_ENDING = (signal.SIGTERM, signal.SIGINT)


def until_signal() -> threading.Event:
    """What is set at SIGTERM or Ctrl-C; to be asked for in the main thread.

    A handler in Python runs in the main thread, and only once that comes to it: not while it waits for something if the
    signal came just before the wait, or to another thread; and if it comes while the event itself is locked, setting it
    there would wait for ever. So nothing is done in handlers: a thread of its own reads what the interpreter writes at
    each signal (https://docs.python.org/3/library/signal.html#signal.set_wakeup_fd).
    """
    stop = threading.Event()
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    for number in _ENDING:
        signal.signal(number, lambda *_: None)
    signal.set_wakeup_fd(writing, warn_on_full_buffer=False)

    def wait() -> None:
        while os.read(reading, 1)[0] not in _ENDING:
            pass
        stop.set()

    threading.Thread(target=wait, name="signals", daemon=True).start()
    return stop
