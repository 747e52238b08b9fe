"""Rows taken from an item table, with gradients as small as the rows.

The gradient of a gather is a tensor of zeros as large as the table with a few rows filled in, one for each gather: at a
million items and 64 dimensions 256 MB each. Where the softmax over the catalogue gives the table a dense gradient
anyway, these can be sparse and be added to it in place. Sparse gradients stay inside: a parameter gets a dense one.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.autograd import Function
from torch.nn import functional


def with_sparse_rows(item_table: Tensor) -> Tensor:
    """The table, (N, D), as `rows_of` knows it for one whose gathers may have sparse gradients.

    Its own gradient is dense as ever. Made before the model looks items up in the same table, it lets the sparse
    gradients of these lookups come first, so that the dense one is added to in place.
    """
    return _SparseRows.apply(item_table)


def rows_of(item_table: Tensor, columns: Tensor) -> Tensor:
    """Rows of a table, differentiable: (N, D), (...) column numbers -> (..., D)."""
    sparse = item_table.grad_fn is not None and item_table.grad_fn.name() == f"{_SparseRows.__name__}Backward"
    # Also where the gradient is dense: the backward pass of indexing is slower.
    return functional.embedding(columns, item_table, sparse=sparse)


def make_lookups_sparse(embedding: nn.Embedding) -> None:
    """Give the lookups of an embedding sparse gradients from now on, and its weight a dense one all the same.

    A table that is computed from other weights must see to its own gradient, by `with_sparse_rows`.
    """
    embedding.sparse = True
    if isinstance(embedding.weight, nn.Parameter):
        embedding.weight.register_post_accumulate_grad_hook(_make_gradient_dense)


class _SparseRows(Function):
    @staticmethod
    def forward(ctx, item_table):
        return item_table.view_as(item_table)

    @staticmethod
    def backward(ctx, grad):
        return grad.to_dense() if grad.is_sparse else grad


def _make_gradient_dense(weight: Tensor) -> None:
    if weight.grad is not None and weight.grad.is_sparse:
        weight.grad = weight.grad.to_dense()
