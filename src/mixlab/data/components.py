"""Indices that are linked by pairs, directly or through others."""

import numpy as np
from jaxtyping import Int64


def component_of(pairs: Int64[np.ndarray, "pair 2"], count: int) -> Int64[np.ndarray, " index"]:
    """The number of the connected component of each of `count` indices. An index without a pair has its own."""
    from scipy.sparse import coo_array  # takes time to import, and most commands link nothing
    from scipy.sparse.csgraph import connected_components

    first, second = pairs.T
    links = coo_array((np.ones(len(pairs), dtype=bool), (first, second)), shape=(count, count))
    return connected_components(links, directed=False)[1].astype(np.int64)
