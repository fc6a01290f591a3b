"""What others would say of the same findings, in their plainest form: they see the same signals, and know the kinds.

Each ranks the signals that moved and answers with the first kind of cause that requires the best one.
"""

import random

from analytics.causes import Findings
from analytics.knowledge import Knowledge
from analytics.signals import Shift
from domain.cause import CauseKind
from domain.entity import Entity, EntityKind


def others_say(findings: Findings, knowledge: Knowledge) -> dict[str, tuple[CauseKind, Entity]]:
    """The answer of each method by its name.

    `z-score` takes the signal that moved furthest in robust sigmas (BARO, NSigma); `onset` the one among those that
    moved which moved first (lead and lag, what correlation over lags comes to); `random` any that moved.
    """
    speaking = [shift for shift in findings.shifts if _kinds_of(shift, knowledge) and shift.moved(with_peers=True)]
    nobody = (CauseKind.UNKNOWN, Entity(EntityKind.SERVICE, findings.service))
    if not speaking:
        return dict.fromkeys(("z-score", "onset", "random"), nobody)
    seed = f"{findings.service}-{findings.onset}"
    timed = [shift for shift in speaking if shift.onset is not None]
    chosen = {
        "z-score": max(speaking, key=lambda shift: shift.sigmas),
        "onset": min(timed, key=lambda shift: (shift.onset, -shift.sigmas)) if timed else None,
        "random": random.Random(seed).choice(speaking),
    }
    return {
        name: nobody if shift is None else (_kinds_of(shift, knowledge)[0], shift.entity)
        for name, shift in chosen.items()
    }


def _kinds_of(shift: Shift, knowledge: Knowledge) -> list[CauseKind]:
    return [
        pattern.kind
        for pattern in knowledge.patterns.values()
        if any(sign.signal == shift.signal.name for sign in pattern.requires)
    ]
