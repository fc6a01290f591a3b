"""What is not seen now: kinds of data that are stale, looks that are overdue, alerts that say so. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from dashboards import text
from domain.alert import Alert
from domain.freshness import Looks

_LOOKS, _REQUESTS, _SAMPLES = "looks", "requests", "samples"
_HIDDEN = {
    _REQUESTS: "whether objectives are met since then is not known",
    _SAMPLES: "what GPUs, engines and links do since then is not known",
}


@dataclass(frozen=True, slots=True)
class Gap:
    """Something of now that is not seen: `words` name it in the head, `meaning` is a sentence on what that hides."""

    of: str
    words: str
    meaning: str


def gaps(newest: Mapping[str, datetime | None], looks: Looks | None, now: datetime, stale_after_s: int) -> list[Gap]:
    """What is not seen, the worst first: nothing is found without looks, nothing that users feel without requests.

    Args:
        newest: the newest data by kind; a kind that never came is not missed.
        looks: those of the analysis; None where none goes on.
        now: when it is asked.
        stale_after_s: without new data of a kind for so long, that kind is stale.
    """
    found = []
    if looks is not None and looks.are_overdue(now):
        words = (
            f"no look since {text.since(looks.began_at, now)} UTC"
            if looks.newest_at is None
            else f"last look {text.since(looks.newest_at, now)} UTC"
        )
        found.append(Gap(_LOOKS, f"Blind: {words}", "Nothing that happened since then is found or paged."))
    for kind, hidden in _HIDDEN.items():
        last = newest.get(kind)
        if last is not None and (age_s := (now - last).total_seconds()) > stale_after_s:
            meaning = f"None came in since {text.since(last, now)} UTC: {hidden}."
            found.append(Gap(kind, f"{text.sentence(kind)} stale {text.lasting(age_s)}", meaning))
    return found


def unjudged(found: Sequence[Gap], firing: Iterable[Alert], service: str | None) -> list[Gap]:
    """The gaps that keep objectives from being judged: looks that are overdue, and what an alert tells.

    Data is missed when its alert fires, not before: traffic may pause for minutes, at night all the more.

    Args:
        found: what `gaps` found.
        firing: the alerts that fire.
        service: the one whose objectives are judged; None for all.
    """
    told = [_gap_of(alert) for alert in firing if _hides(alert, service)]
    late = {gap.of for gap in told}
    known = {gap.of for gap in found}
    missed = [gap for gap in found if gap.of == _LOOKS or gap.of in late]
    return missed + [gap for gap in told if gap.of not in known]


def _hides(alert: Alert, service: str | None) -> bool:
    name = alert.labels["alertname"]
    return name == "TailsightDataLate" or (
        name == "TailsightTrafficStopped" and service in (None, alert.labels["service"])
    )


def _gap_of(alert: Alert) -> Gap:
    words = alert.annotations
    return Gap(alert.labels.get("source", "traffic"), words["summary"], f"{text.sentence(words['impact'])}.")
