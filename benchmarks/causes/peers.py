"""What others would say, in their plainest form: each scores every candidate by its own series.

All take arrays of steps x nodes; NaN is a step without a value. `usual` is the time before, `incident` the time after.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from analytics.robust import median_and_sigma

ANOMALOUS_SIGMAS = 3.0
_STEPS_MIN = 3

Floats = NDArray[np.float64]


def robust_sigmas(usual: Floats, incident: Floats) -> Floats:
    """The greatest distance of each node from its median, in robust sigmas; 0 where nothing can be compared."""
    return _greatest_distance(usual, incident, lambda near: median_and_sigma(near)[1])


def z_score(usual: Floats, incident: Floats) -> Floats:
    """The same in interquartile ranges: the scorer of BARO (Pham et al., FSE 2024) with the time of change given."""
    return _greatest_distance(usual, incident, lambda near: float(np.subtract(*np.percentile(near, [75, 25]))))


def ranked_correlation(usual: Floats, incident: Floats, target: int) -> Floats:
    """Correlation with the target, of the anomalous nodes only: the strong baseline of the PetShop paper.

    Pearson's correlation over the incident's steps alone (on PetShop the best of the six variants that were tried,
    and better than the authors' code); a node whose steps all stay within three robust sigmas scores 0.
    """
    anomalous = robust_sigmas(usual, incident) > ANOMALOUS_SIGMAS
    scores = np.zeros(incident.shape[1])
    for node in np.flatnonzero(anomalous):
        both = np.isfinite(incident[:, node]) & np.isfinite(incident[:, target])
        mine, felt = incident[both, node], incident[both, target]
        if len(mine) >= _STEPS_MIN and mine.std() > 0 and felt.std() > 0:
            scores[node] = abs(float(np.corrcoef(mine, felt)[0, 1]))
    return scores


def by_chance(candidates: int, first: int) -> float:
    """How often a cause drawn blindly is among the `first`."""
    return min(1.0, first / candidates)


def _greatest_distance(usual: Floats, incident: Floats, spread_of: Callable[[Floats], float]) -> Floats:
    scores = np.zeros(usual.shape[1])
    for node in range(usual.shape[1]):
        near, now = usual[np.isfinite(usual[:, node]), node], incident[np.isfinite(incident[:, node]), node]
        if len(near) >= _STEPS_MIN and len(now):
            distance = float(np.max(np.abs(now - np.median(near))))
            scores[node] = distance / max(spread_of(near), 1e-9 + 1e-3 * abs(float(np.median(near))))
    return scores
