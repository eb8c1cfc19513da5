"""Chi-square tests of counts, with a stated chance to fail."""

import numpy as np


def chi_square(observed, expected):
    """Chi-square and its degrees of freedom, cells that expect less than 5 put together."""
    big = expected >= 5
    observed = np.append(observed[big], observed[~big].sum())
    expected = np.append(expected[big], expected[~big].sum())
    used = expected > 1e-9
    assert not observed[~used].any()
    return (((observed - expected)[used] ** 2) / expected[used]).sum(), used.sum() - 1


def assert_drawn_from(counts, probabilities, variance=1.0):
    """Fails by chance with probability below 1e-6 (Wilson-Hilferty at 4.9 standard deviations).

    `variance` is that of a count relative to that of a sample whose probabilities are known.
    """
    value, freedom = chi_square(counts, probabilities * counts.sum())
    limit = freedom * (1 - 2 / (9 * freedom) + 4.9 * np.sqrt(2 / (9 * freedom))) ** 3
    assert value < variance * limit
