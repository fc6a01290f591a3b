import subprocess
import sys
import textwrap
import threading

import pytest

from storage.asking import ask_in_daemon


def test_an_answer_comes_from_a_thread_of_that_name() -> None:
    assert ask_in_daemon(lambda: threading.current_thread().name, "readiness").result(timeout=30) == "readiness"


def test_what_a_question_raises_is_raised_where_it_is_waited_for() -> None:
    with pytest.raises(ZeroDivisionError):
        ask_in_daemon(lambda: 1 // 0, "readiness").result(timeout=30)


def test_a_question_without_an_answer_does_not_hold_up_the_end_of_the_process() -> None:
    hanging = """
        import threading
        from storage.asking import ask_in_daemon
        ask_in_daemon(threading.Event().wait, "readiness")
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(hanging)], check=True, timeout=60)
