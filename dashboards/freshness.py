"""What is not seen now, and which states that hides: stale data, overdue looks, services that fell silent. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from dashboards import text
from domain.alert import Alert
from domain.freshness import LATE_AFTER, Looks
from domain.incident import Incident, Indicator
from domain.slo import Objective
from domain.wording import sentence

LOOKS, REQUESTS, SAMPLES = "looks", "requests", "samples"
_HIDDEN = {
    REQUESTS: "whether objectives are met since then is not known",
    SAMPLES: "what GPUs, engines and links do since then is not known",
}
_JUDGED_BY: Mapping[Indicator, tuple[str, ...]] = {
    Indicator.GPU_AVAILABILITY: (SAMPLES,),
    Indicator.DATA_FRESHNESS: (),  # that none comes in is what it is about
}
_TROUBLE = ("critical", "warning")


@dataclass(frozen=True, slots=True)
class Gap:
    """Something that is not seen since a moment.

    Attributes:
        of: looks, requests or samples.
        since: until when it was seen.
        words: name it in the head.
        meaning: a sentence on what it hides.
        as_of: what to say behind the state of something that it hides: `as of 02:41, no data since`.
        is_missed: does it last so long that nothing can be said to be well.
        service: the one that it hides; None for all.
    """

    of: str
    since: datetime
    words: str
    meaning: str
    as_of: str
    is_missed: bool = True
    service: str | None = None


def gaps(newest: Mapping[str, datetime | None], looks: Looks | None, now: datetime, stale_after_s: int) -> list[Gap]:
    """What is not seen, the worst first: nothing is found without looks, nothing that users feel without requests.

    Args:
        newest: the newest data by kind; a kind that never came is not missed.
        looks: those of the analysis; None where none goes on.
        now: when it is asked.
        stale_after_s: without new data of a kind for so long, or for `LATE_AFTER`, that kind is stale.
    """
    found = []
    if looks is not None and looks.are_overdue(now):
        found.append(_without_looks(looks, now))
    for kind, hidden in _HIDDEN.items():
        last = newest.get(kind)
        if last is not None and now - last > min(timedelta(seconds=stale_after_s), LATE_AFTER):
            found.append(
                Gap(
                    kind,
                    last,
                    f"{sentence(kind)} stale {text.lasting((now - last).total_seconds())}",
                    f"None came in since {text.since(last, now)} UTC: {hidden}.",
                    _no_data_since(last, now),
                    is_missed=now - last > LATE_AFTER,
                )
            )
    return found


def silence_of(alert: Alert, newest: datetime, now: datetime) -> Gap | None:
    """The silence of a service that an alert tells of; None where requests have come again: the alert outlasts that.

    Args:
        alert: `TailsightTrafficStopped`.
        newest: the newest request of its service.
        now: when it is asked.
    """
    if now - newest <= LATE_AFTER:
        return None
    words = alert.annotations
    meaning = f"{sentence(words['impact'])}."
    service = alert.labels["service"]
    return Gap(REQUESTS, newest, words["summary"], meaning, _no_data_since(newest, now), service=service)


def told_once(unseen: Sequence[Gap]) -> list[Gap]:
    """Without the silences of services, where nothing is heard of any."""
    of_all = {gap.of for gap in unseen if gap.service is None and gap.is_missed}
    return [gap for gap in unseen if gap.service is None or gap.of not in of_all]


def hiding(unseen: Sequence[Gap], kinds: Sequence[str], service: str | None = None) -> Gap | None:
    """The gap that hides for longest what rests on these kinds; None where it is seen.

    Args:
        unseen: what is not seen now.
        kinds: of which it takes every one to know.
        service: whose it is; None for what is of all.
    """
    found = [gap for gap in unseen if gap.of in kinds and gap.service in (None, service)]
    return min(found, key=lambda gap: gap.since, default=None)


def hiding_objective(unseen: Sequence[Gap], objective: Objective) -> Gap | None:
    """The gap that hides where an objective stands; None where it is seen."""
    data = _JUDGED_BY.get(objective.indicator, (REQUESTS,))
    return hiding(unseen, (LOOKS, *data), objective.service)


def hiding_end(unseen: Sequence[Gap], incident: Incident, calm: timedelta) -> Gap | None:
    """The gap that hides whether an incident goes on. It may count as over only because nothing came in any more.

    Args:
        unseen: what is not seen now.
        incident: going on, or over.
        calm: how long after the last that was slow it is over.
    """
    kinds = (LOOKS, REQUESTS) if incident.ended_at is None else (REQUESTS,)  # a look has seen that it is over
    gap = hiding(unseen, kinds, incident.service)
    if gap is None or incident.ended_at is None:
        return gap
    return gap if gap.since < incident.ended_at + calm else None


def lasted_words(incident: Incident, now: datetime, hidden: Gap | None) -> str:
    """How long an incident lasts or lasted: `26 min`, `at least 15 min` where the rest is hidden."""
    lasted = text.lasting(text.incident_lasted(incident, now if hidden is None else hidden.since).total_seconds())
    return lasted if hidden is None else f"at least {lasted}"


def as_known(tone: str, icon_name: str, hidden: Gap | None) -> tuple[str, str]:
    """Tone and icon of a state, grey where it is hidden. Trouble keeps its colour: it may well go on."""
    return (tone, icon_name) if hidden is None or tone in _TROUBLE else ("unknown", "circle-dashed")


def _without_looks(looks: Looks, now: datetime) -> Gap:
    since = looks.newest_at or looks.began_at
    at = text.since(since, now)
    words, as_of = (
        (f"no look since {at} UTC", f"as last known, no look since {at}")
        if looks.newest_at is None
        else (f"last look {at} UTC", f"as of {at}, no look since")
    )
    return Gap(LOOKS, since, f"Blind: {words}", "Nothing that happened since then is found or paged.", as_of)


def _no_data_since(last: datetime, now: datetime) -> str:
    return f"as of {text.since(last, now)}, no data since"
