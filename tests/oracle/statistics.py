"""Goodness of fit whose power is asserted: a chi-square test is only worth the defects that it would notice."""

import numpy as np
from scipy import stats

ALPHA = 1e-6  # how often a test may fail by chance; with fixed keys it gives the same answer each time


def power(draws, defect, null):
    """The probability that a chi-square test at ALPHA rejects ``null`` when ``defect`` is the truth."""
    noncentrality = draws * np.sum((defect - null) ** 2 / null)
    cells = len(null) - 1
    return stats.ncx2.sf(stats.chi2.isf(ALPHA, cells), cells, noncentrality)


def fits(counts, null, defects):
    """Assert that counts are as ``null`` says, by a test that each of the ``defects`` would fail."""
    for name, defect in defects.items():
        np.testing.assert_allclose(np.sum(defect), 1, err_msg=name)
        assert power(counts.sum(), defect, null) > 0.999, f"too few draws to notice: {name}"
    assert stats.chisquare(counts, counts.sum() * null).pvalue > ALPHA
