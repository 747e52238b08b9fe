"""Drawing columns with weights that are the same for every row: uniform, by popularity, by targets of a batch."""

from __future__ import annotations

import torch
from torch import Tensor

from recbole_lpo.core.sampling import gumbel_top_k
from recbole_lpo.core.streamed_sampling import completed, draws_at_once, first_distinct, n_candidates


def cumulative_weight(weight: Tensor) -> Tensor:
    """Running sums of weights, as `weighted_draw` takes them: computed and checked once, not at every draw.

    weight (N,) finite and >= 0; 0 marks a column that is never drawn. Returns (N,) float64: in float32 the running sum
    of a million weights cannot tell neighbours apart.
    """
    if weight.ndim != 1 or not bool(((weight >= 0) & weight.isfinite()).all()):
        raise ValueError(f"weight must be one-dimensional, finite and >= 0, got shape {tuple(weight.shape)}.")
    return torch.cumsum(weight.double(), 0)


def weighted_draw(cumulative: Tensor, k: int, *, exclude: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """K columns of each row without replacement, one after another with probability in proportion to their weights.

    The ordered draw follows Plackett-Luce, as `gumbel_top_k` on log weights does, but costs K and not N random numbers
    a row: columns are drawn with replacement, and repeated or excluded ones are passed over. What a row still lacks
    then is drawn exactly among the columns that are left, in blocks of rows.

    cumulative  (N,) from `cumulative_weight`
    k           >= 1
    exclude     (B, E) column numbers that a row must not draw; negative: none
    generator   the random stream, on the device of `cumulative`
    returns     (B, k) int64 column numbers in the order drawn, -1 where fewer than k columns remain

    Where noise for every column is better (`draws_at_once`), that is how they are drawn: it never waits for a device.
    Otherwise one that is not the CPU is waited for once.
    """
    if k < 1:
        raise ValueError(f"k = {k}: at least one column must be drawn.")
    shape = (len(exclude), len(cumulative))

    def log_weight(rows: Tensor | slice) -> Tensor:
        weight = torch.diff(cumulative, prepend=cumulative.new_zeros(1))
        return weight.log().float().expand(len(exclude[rows]), -1)

    if draws_at_once(shape, k, cumulative.device):
        return gumbel_top_k(log_weight(slice(None)), k, exclude=exclude, generator=generator)
    drawn = first_distinct(_with_replacement(cumulative, (len(exclude), n_candidates(k)), generator), k, exclude)
    return completed(drawn, log_weight, shape, exclude=exclude, generator=generator)


def batch_draw(target: Tensor, k: int, *, exclude: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """K different items for each row from the targets of its batch; an item that is the target of n rows counts n-fold.

    target (B,) item numbers > 0; exclude (B, E) item numbers that a row must not draw (0 or less: none), its own target
    among them. Returns (B, k) item numbers in the order drawn, -1 where the batch holds fewer.
    """
    items = target.sort().values
    first, end = torch.searchsorted(items, items), torch.searchsorted(items, items, right=True)
    # All rows of an item in the place of its first one: no shape depends on how many different items there are.
    weight = torch.where(first == torch.arange(len(items), device=items.device), end - first, 0)
    place = torch.searchsorted(items, exclude).clamp_(max=len(items) - 1)
    barred = torch.where(items[place] == exclude, place, -1)
    drawn = weighted_draw(torch.cumsum(weight.double(), 0), k, exclude=barred, generator=generator)
    return torch.where(drawn < 0, -1, items[drawn.clamp(min=0)])


def _with_replacement(cumulative: Tensor, shape: tuple[int, int], generator: torch.Generator | None) -> Tensor:
    """Columns by their weights; -1 where no column has any."""
    point = torch.rand(shape, dtype=torch.float64, generator=generator, device=cumulative.device) * cumulative[-1]
    # Below the total, even by rounding, so that it falls on a column of some weight.
    below = torch.minimum(point, torch.nextafter(cumulative[-1], cumulative.new_zeros(())))
    found = torch.searchsorted(cumulative, below, right=True)
    return torch.where(found == len(cumulative), -1, found)
