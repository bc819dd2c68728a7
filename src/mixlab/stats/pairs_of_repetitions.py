"""The mean of a value of every pair of repetitions, such as the similarity of two trainings, with a jackknife.

Values of pairs that share a repetition are not independent: a test must not count them as samples.
"""

import numpy as np
from jaxtyping import Float


def pseudo_values(of_pairs: Float[np.ndarray, "repetition repetition"]) -> list[float]:
    """A value for each repetition, for Student's t; their mean is that of all pairs (Arvesen 1969).

    of_pairs  symmetric; the diagonal is ignored. At least three repetitions

    The value of a repetition is n times the mean of all pairs, minus n - 1 times that of the pairs without it.
    """
    n = len(of_pairs)
    of_each = of_pairs.sum(axis=1) - of_pairs.diagonal()
    total = of_each.sum() / 2
    return [float(2 * total / (n - 1) - 2 * (total - own) / (n - 2)) for own in of_each]
