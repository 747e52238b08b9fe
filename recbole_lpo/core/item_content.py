"""What the attributes and vectors of items add up to: a table of items from a table of attribute values."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.autograd import Function
from torch.nn import functional


@dataclass(frozen=True)
class Bags:
    """Weighted sets of row numbers, one set for each row of a table to be made: a sparse matrix by rows.

    member  (M,) int64 row numbers of the table that is read, set after set
    start   (R,) int64 where each set begins in `member`; a set may be empty
    weight  (M,) float
    """

    member: Tensor
    start: Tensor
    weight: Tensor

    def transposed(self, n_members: int) -> Bags:
        """The sets of the rows that each of `n_members` members is in, with the same weights: the transposed matrix."""
        size = torch.diff(self.start, append=self.start.new_tensor([len(self.member)]))
        row = torch.repeat_interleave(torch.arange(len(self.start), device=size.device), size)
        order = torch.argsort(self.member, stable=True)
        count = torch.bincount(self.member, minlength=n_members)
        return Bags(row[order], torch.cumsum(count, 0) - count, self.weight[order])


def pooled(values: Tensor, bags: Bags, transposed: Bags) -> Tensor:
    """Weighted sums of rows, differentiable: (V, D) -> (R, D); an empty set gives zeros.

    transposed: `bags.transposed(V)`. The gradient is one product with it, where that of torch's own sum over sets takes
    many times as long. It can be differentiated again.
    """
    return _Pooled.apply(values, bags, transposed)


def standardised(vectors: Tensor, known: Tensor) -> tuple[Tensor, Tensor]:
    """(centre (W,), scale ()) such that (vectors - centre) * scale has mean 0 in every column and mean square 1.

    vectors (N, W); known (N,) bool: the rows that count. The columns keep their proportions: one scale for all. It is 1
    where all rows are the same. Sentence vectors share a large common part, which says nothing of an item.
    """
    rows = vectors[known].double()
    centre = rows.mean(dim=0) if len(rows) else vectors.new_zeros(vectors.shape[1], dtype=torch.float64)
    mean_square = (rows - centre).square().mean() if rows.numel() else centre.new_zeros(())
    scale = torch.where(mean_square > 0, mean_square, 1.0).rsqrt()
    return centre.to(vectors.dtype), scale.to(vectors.dtype)


class _Pooled(Function):
    @staticmethod
    def forward(ctx, values, bags, transposed):
        ctx.bags, ctx.transposed = bags, transposed
        if not len(bags.member):
            return values.new_zeros(len(bags.start), values.shape[1])
        weight = bags.weight.to(values.dtype)
        return functional.embedding_bag(bags.member, values, bags.start, mode="sum", per_sample_weights=weight)

    @staticmethod
    def backward(ctx, grad):
        return pooled(grad.contiguous(), ctx.transposed, ctx.bags), None, None
