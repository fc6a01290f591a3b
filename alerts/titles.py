"""Titles: what a notification says in one line, the same to every receiver.

Who is woken sees it on a lock screen and nothing else: whose trouble, what users feel, and why, in one line that is
short enough. The line of an alert is its annotation `summary`, as alerts/decide.py and alerts/devices.py write it.
"""

import re

from alerts.notification import Notification
from domain.alert import Alert
from domain.incident import Severity

TITLE_MAX = 140  # characters: what a lock screen shows of a title
_IN_BRACKETS = re.compile(r"^\(\S+\)")
_NAME_LEAST = 22  # to so many characters a long name is cut, and no further: no kind of cause is longer


def title(notification: Notification) -> str:
    """`[FIRING:2] line of the first alert (and 1 more)`, in at most `TITLE_MAX` characters.

    Where the page of a group is over and a ticket of it fires on, it says so: `[FIRING:1, page over] …`. What is only a
    test is `[TEST] …`, whatever else it is.
    """
    firing, resolved = notification.firing, notification.resolved
    named = firing or resolved
    fallen = ", page over" if _has_page(resolved) and not _has_page(firing) else ""
    head = f"[FIRING:{len(firing)}{fallen}]" if firing else "[RESOLVED]"
    if notification.is_test:
        head = "[TEST]"
    rest = [f"and {len(named) - 1} more"] if len(named) > 1 else []
    rest += [f"{len(resolved)} resolved"] if firing and resolved else []
    tail = f" ({', '.join(rest)})" if rest else ""
    return f"{head} {shortened(heading(named[0]), TITLE_MAX - len(head) - len(tail) - 1)}{tail}"


def heading(alert: Alert) -> str:
    """What an alert is, in one line of at most `TITLE_MAX` characters."""
    texts = (alert.annotations.get("summary", ""), alert.labels.get("alertname", ""))
    return next(filter(None, (shortened(text, TITLE_MAX) for text in texts)), "alert")


def _has_page(alerts: tuple[Alert, ...]) -> bool:
    return any(alert.labels.get("severity") == Severity.PAGE.value for alert in alerts)


def shortened(text: str, most: int) -> str:
    """A text in one line of at most so many characters; `…` stands where something is left out.

    Long names lose their middle first, the longest before the others; then what stands in brackets goes, which only
    says more of the word before; then whole words, from the middle.

    >>> shortened("chat: gpu_fault on GPU-5fd4f087-86f3-7a43-b711-4771313afc50, 93 %", 50)
    'chat: gpu_fault on GPU-5fd4f087-…771313afc50, 93 %'
    >>> shortened("one two three four five six", 20)
    'one two … five six'
    """
    words = text.split()
    for place in sorted(range(len(words)), key=lambda place: -len(words[place])):
        over = len(" ".join(words)) - most
        if over > 0 and len(words[place]) > _NAME_LEAST:
            words[place] = _without_middle(words[place], max(_NAME_LEAST, len(words[place]) - over))
    if len(" ".join(words)) > most:
        words = [_IN_BRACKETS.sub("…", word) for word in words]
    return " ".join(words) if len(" ".join(words)) <= most else _ends(words, most)


def _without_middle(word: str, most: int) -> str:
    head = most // 2
    return f"{word[:head]}…{word[head + 1 - most :]}"


def _ends(words: list[str], most: int) -> str:
    """The first and the last of the words, as many as there is room for, in turn."""
    ends: tuple[list[str], list[str]] = [], []
    room = most - 1
    while words:
        end = ends[0] if len(" ".join(ends[0])) <= len(" ".join(ends[1])) else ends[1]
        word = words.pop(0 if end is ends[0] else -1)
        room -= len(word) + 1
        if room < 0:
            break
        end.insert(len(end) if end is ends[0] else 0, word)
    return " ".join([*ends[0], "…", *ends[1]])
