import numpy as np
import pytest

from benchmarks.causes.peers import by_chance, ranked_correlation, robust_sigmas, z_score

USUAL = np.column_stack([np.arange(20) % 5 + 10.0, np.arange(20) % 3 + 1.0, np.full(20, np.nan)])


def test_the_z_score_counts_interquartile_ranges_from_the_median() -> None:
    incident = np.array([[12.0, 1.0, 5.0], [32.0, np.nan, 5.0]])
    # Medians are 12 and 2, quartiles 11 and 13, and 1 and 3; the third node has no past.
    assert z_score(USUAL, incident).tolist() == pytest.approx([10.0, 0.5, 0.0])


def test_robust_sigmas_count_median_absolute_deviations() -> None:
    assert robust_sigmas(USUAL, np.array([[12.0 + 1.4826, 2.0, 5.0]])).tolist() == pytest.approx([1.0, 0.0, 0.0])


def test_correlation_ranks_anomalous_nodes_only() -> None:
    usual = np.column_stack([np.arange(20) % 5 * 1.0] * 3)
    incident = np.array([[1.0, 2.0, 1.0], [50.0, 100.0, 3.0], [30.0, 60.0, 2.0]])
    scores = ranked_correlation(usual, incident, 0)
    assert scores[1] == pytest.approx(1.0)
    assert scores[2] == 0.0


def test_chance_is_never_above_one() -> None:
    assert by_chance(40, 3) == 0.075
    assert by_chance(2, 3) == 1.0
