"""Plackett-Luce draws from the scores of many columns, without noise for every one and without a (B, M) tensor.

The law is that of `gumbel_top_k` on score / scale: one column after another, each in proportion to its weight
exp(score / scale) among those that are left. That is also what remains of independent draws with replacement when
repeated and excluded ones are passed over. Draws with replacement are independent, so a row may stop them at any moment
that depends on those before it alone, and go on in any other way that draws from what is left in proportion to the
weights: what it has is kept, and nothing is drawn anew because of what it turned out to be. So few random numbers do
for most rows; the others are completed by `gumbel_top_k`.

`score_of` stands for the scores: of row numbers or a slice of rows it gives (rows, M), -inf for what must not be drawn.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import partial

import torch
from torch import Tensor

from recbole_lpo.core.sampling import gumbel_top_k

ScoreOf = Callable[[Tensor | slice], Tensor]

# Scores in memory at a time (4 bytes each, in up to four tensors): more where a small tensor is not worth a kernel.
_BLOCK_ON_CPU = 2**21
_BLOCK_ELSEWHERE = 2**25
# With fewer rows a matrix product waits for the item table to come from memory.
_LEAST_ROWS = 32


def draws_at_once(shape: tuple[int, int], k: int, device: torch.device) -> bool:
    """Whether noise for every one of (B, M) scores is the best way to draw K.

    Never where that would be large. Else on the CPU where M is not much larger than K, and on other devices always:
    there noise is cheap, while a draw with rows to be completed has to wait for the device to say which.
    """
    fits = shape[0] * shape[1] <= _BLOCK_ELSEWHERE
    return fits and (device.type != "cpu" or shape[1] <= 16 * k)


def draw_from_probabilities(
    score_of: ScoreOf,
    shape: tuple[int, int],
    k: int,
    *,
    scale: float,
    exclude: Tensor,
    generator: torch.Generator | None = None,
) -> Tensor:
    """K columns of each row, where scores are probabilities: each in [0, 1], and no more than 1 in a row together.

    A weight is then 1 + (exp(p / scale) - 1), and exp is convex, so that over a row

        sum of (exp(p / scale) - 1)  <=  sum of p (e^(1 / scale) - 1)  <=  e^(1 / scale) - 1  =: excess

    With probability M / (M + excess) a draw is uniform, whatever the scores are. Else it is by exp(p / scale) - 1, or
    passed over with what that lacks to `excess`. A row's scores are asked for where that first happens, which is in
    about k * excess / M of all rows; where that is not few, this is `draw_from_scores`.

    shape (B, M); scale > 0; exclude (B, E) column numbers, negative: none; returns as `gumbel_top_k`. Scores that add
    up to 1 but for rounding do: the law is as exact as they are.
    """
    n_rows, n_columns = shape
    excess = math.expm1(1 / scale) if scale > 0.01 else math.inf
    if 4 * k * excess > n_columns:
        return draw_from_scores(score_of, shape, k, scale=scale, exclude=exclude, generator=generator)
    # float64: a product of a float32 with M would miss columns where M is large.
    uniform = partial(torch.rand, dtype=torch.float64, generator=generator, device=exclude.device)
    candidates = (uniform((n_rows, n_candidates(k))) * (n_columns + excess)).long()
    by_score = candidates >= n_columns
    # What comes after is drawn anew once the scores are known.
    candidates = candidates.masked_fill(by_score.cummax(dim=1).values, -1)
    drawn = first_distinct(candidates, k, exclude)
    met = by_score.any(dim=1)

    def next_by_score(rows: Tensor, scores: Tensor) -> Tensor:
        point = uniform((len(rows), 1)) * excess
        reached = torch.cumsum(torch.expm1(scores.double().clamp(max=1) / scale), dim=1)
        found = torch.searchsorted(reached, point, right=True)
        return torch.where((found < n_columns) & met[rows, None], found, -1)

    return completed(
        drawn, score_of, shape, scale=scale, exclude=exclude, generator=generator, next_column=next_by_score
    )


def draw_from_scores(
    score_of: ScoreOf,
    shape: tuple[int, int],
    k: int,
    *,
    scale: float,
    exclude: Tensor,
    generator: torch.Generator | None = None,
) -> Tensor:
    """K columns of each row by any scores, in blocks of rows: draws with replacement from the row's own softmax.

    A column whose share of the row is below 2^-24 is as good as never drawn with replacement; `gumbel_noise` has the
    same grain. shape (B, M); scale > 0; exclude (B, E) column numbers, negative: none; returns as `gumbel_top_k`.
    """
    point = torch.rand((shape[0], n_candidates(k)), generator=generator, device=exclude.device)
    # Made before the blocks: small results in between would leave no room where the last block was.
    candidates = torch.empty(point.shape, dtype=torch.int64, device=exclude.device)
    for rows in _blocks(shape, exclude):
        candidates[rows] = _by_softmax(score_of(rows) / scale, point[rows], exclude[rows])
    drawn = first_distinct(candidates, k, exclude[:, :0])
    return completed(drawn, score_of, shape, scale=scale, exclude=exclude, generator=generator)


def best_scored(score_of: ScoreOf, shape: tuple[int, int], k: int, *, exclude: Tensor) -> Tensor:
    """The K best-scored columns of each row, best first, in blocks of rows; arguments and result as above."""
    best = torch.empty((shape[0], k), dtype=torch.int64, device=exclude.device)
    for rows in _blocks(shape, exclude):
        best[rows] = gumbel_top_k(score_of(rows), k, scale=0.0, exclude=exclude[rows])
    return best


def n_candidates(k: int) -> int:
    """Draws with replacement that nearly always hold K different columns, where no few columns have all the weight."""
    return k + k // 2 + 4


def first_distinct(candidates: Tensor, k: int, exclude: Tensor) -> Tensor:
    """The first K different columns of a row's candidates that are not excluded; -1 where there are fewer, at the end.

    candidates (B, C) and exclude (B, E) column numbers; negative: none. Returns (B, k).
    """
    # Equal numbers come to stand side by side, in their old order: excluded ones first.
    everything = torch.cat([exclude, candidates], dim=1)
    ordered, place = everything.sort(dim=1, stable=True)
    again = torch.zeros_like(ordered, dtype=torch.bool)
    again[:, 1:] = ordered[:, 1:] == ordered[:, :-1]
    passed_over = torch.empty_like(again).scatter_(1, place, again)[:, exclude.shape[1] :] | (candidates < 0)
    order = torch.argsort(passed_over.to(torch.uint8), dim=1, stable=True)[:, :k]
    drawn = candidates.gather(1, order).masked_fill(passed_over.gather(1, order), -1)
    return torch.nn.functional.pad(drawn, (0, k - drawn.shape[1]), value=-1)


def completed(
    drawn: Tensor,
    score_of: ScoreOf,
    shape: tuple[int, int],
    *,
    scale: float = 1.0,
    exclude: Tensor,
    generator: torch.Generator | None = None,
    next_column: Callable[[Tensor, Tensor], Tensor] | None = None,
) -> Tensor:
    """The rows that lack columns (-1, at the end) drawn further from what they have neither drawn nor excluded.

    next_column of (row numbers, their scores) gives the very next draw of each row, (rows, 1), -1 for none; None: the
    next is drawn as all that follow. Waits once for a device other than the CPU, which knows what rows lack columns.
    """
    k = drawn.shape[1]
    lacking = (drawn[:, -1] < 0).nonzero()[:, 0]
    for part in _blocks((len(lacking), shape[1]), exclude):
        rows = lacking[part]
        scores, have = score_of(rows), drawn[rows]
        if next_column is not None:
            have = torch.cat([have, next_column(rows, scores)], dim=1)
        more = gumbel_top_k(
            scores, k, scale=scale, exclude=torch.cat([exclude[rows], have], dim=1), generator=generator
        )
        drawn[rows] = first_distinct(torch.cat([have, more], dim=1), k, exclude[rows])
    return drawn


def _by_softmax(scores: Tensor, point: Tensor, exclude: Tensor) -> Tensor:
    """The column of each of (B, C) points in [0, 1) on the line of a row's shares, those excluded taken out."""
    weight = torch.softmax(scores.float(), dim=1)
    _set_to_zero(weight, exclude)
    reached = torch.cumsum(weight, dim=1)
    found = torch.searchsorted(reached, point * reached[:, -1:], right=True)
    inside = found < weight.shape[1]
    found = found.clamp_(max=weight.shape[1] - 1)
    # Rounding may lead to a column of no weight, at the very end or where sums are made in parallel.
    return torch.where(inside & (weight.gather(1, found) > 0), found, -1)


def _set_to_zero(weight: Tensor, columns: Tensor) -> None:
    """Zeros in (B, M) weights at some columns of each row (negative: none), in place."""
    if not columns.shape[1]:
        return
    # Where a number is missing, another column of the row that goes anyway; where there is none, a column as it was.
    some = columns.amax(dim=1, keepdim=True)
    safe = torch.where(columns < 0, some, columns).clamp_(min=0)
    weight.scatter_(1, safe, torch.where(some < 0, weight.gather(1, safe), 0.0))


def _blocks(shape: tuple[int, int], like: Tensor) -> Iterator[slice]:
    """Slices of rows with at most a block of scores in each, or the least number of rows."""
    block = _BLOCK_ON_CPU if like.device.type == "cpu" else _BLOCK_ELSEWHERE
    step = max(_LEAST_ROWS, block // shape[1])
    for start in range(0, shape[0], step):
        yield slice(start, start + step)
