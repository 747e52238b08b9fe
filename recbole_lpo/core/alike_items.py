"""Items that are alike by what is known of them: attribute values that they share, the rarer the more telling."""

from __future__ import annotations

import numpy as np
from scipy import sparse

# A value that more items have tells little of any, and pairs of them would be without number on a large catalogue.
MOST_HOLDERS = 1000
# The power of the likeness: an item that shares all values should outweigh many that share one.
_SHARPNESS = 4
_ROWS_AT_ONCE = 1024


def alike_items(values: sparse.csr_matrix, *, most: int = 30, most_holders: int = MOST_HOLDERS) -> sparse.csr_matrix:
    """How alike other items (columns) are to each item (row), (N, N) float32; a row sums to one, or to zero.

    values        (N, V) 1 where an item has a value; those of rarer values weigh more, by log(N / items that have it)
    most          as many items as a row has at most, more only where several are equally alike
    most_holders  a value of more items than this does not count

    Likeness is the cosine of the weighted values (Salton and Buckley 1988, "Term-weighting approaches in automatic text
    retrieval"), to the fourth power.
    """
    n_items = values.shape[0]
    holders = np.bincount(values.indices, minlength=values.shape[1])
    telling = (holders > 1) & (holders <= most_holders)
    weight = np.where(telling, np.log(max(n_items, 1) / np.maximum(holders, 1)), 0.0)
    weighted = (values.astype(bool) @ sparse.diags(weight)).tocsr()
    weighted.eliminate_zeros()
    length = np.sqrt(np.asarray(weighted.multiply(weighted).sum(axis=1)).ravel())
    unit = sparse.diags(1 / np.where(length > 0, length, 1)) @ weighted
    begins = range(0, n_items, _ROWS_AT_ONCE)
    parts = [_most_alike(unit[begin : begin + _ROWS_AT_ONCE] @ unit.T, begin, most) for begin in begins]
    return sparse.vstack(parts, format="csr") if parts else sparse.csr_matrix((0, 0), dtype=np.float32)


def _most_alike(likeness: sparse.csr_matrix, first: int, most: int) -> sparse.csr_matrix:
    """The `most` best of each row without the item itself, `first` being the item of row 0."""
    entries = likeness.tocoo()
    others = (entries.col != entries.row + first) & (entries.data > 0)
    # Rounded, so that equals stay equal whatever the order of the terms.
    row, col, value = entries.row[others], entries.col[others], entries.data[others].round(6)
    order = np.lexsort((-value, row))
    row, col, value = row[order], col[order], value[order]
    start = np.searchsorted(row, np.arange(likeness.shape[0]))
    size = np.diff(start, append=len(row))
    filled = size > 0
    lowest = np.zeros(likeness.shape[0])
    lowest[filled] = value[start[filled] + np.minimum(size[filled], most) - 1]
    kept = value >= lowest[row]
    row, col, value = row[kept], col[kept], value[kept] ** _SHARPNESS
    total = np.bincount(row, weights=value, minlength=likeness.shape[0])
    return sparse.csr_matrix(((value / total[row]).astype(np.float32), (row, col)), shape=likeness.shape)
