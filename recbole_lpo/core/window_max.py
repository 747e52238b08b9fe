"""The largest response of filters of every height to the windows of a sequence that ends in zeros."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


def filter_bank(filters: list[Tensor]) -> Tensor:
    """Filters of the heights 1, 2, ..., L in one matrix (L * D, L * F), as `window_max` takes them.

    filters: L tensors, the one at index h - 1 of shape (F, h, D). Below a filter's own height its column is 0.
    """
    n_filters, _, width = filters[0].shape
    height = len(filters)
    bank = filters[0].new_zeros((height, n_filters, height * width))
    blocks = [
        torch.nn.functional.pad(block.reshape(n_filters, -1), (0, bank.shape[2] - block.shape[1] * width))
        for block in filters
    ]
    return torch.cat(blocks).T


def window_max(x: Tensor, bank: Tensor, length: int) -> Tensor:
    """For each filter, its largest product with a window of the sequence; (R, L * F).

    x        (R, n, D) the first n steps of sequences of L steps; all later steps are zero
    bank     (L * D, L * F) from `filter_bank`: F filters of each height 1 to L
    length   L >= n

    A filter of height h meets the L - h + 1 windows that lie within the L steps. Only those that start within the
    first n steps are computed, and of each only the part within these; a window beyond gives 0. Gradients reach the
    first of equal windows.
    """
    return _WindowMax.apply(x, bank, length)


class _WindowMax(torch.autograd.Function):
    """One matrix product for each step that windows start at, for filters of all heights together.

    Written by hand because autograd would keep the responses to every window, and would fill a gradient of the whole
    bank with zeros for each of them.
    """

    @staticmethod
    def forward(ctx, x: Tensor, bank: Tensor, length: int) -> Tensor:
        n_filters = bank.shape[1] // length
        best = _responses(x, bank, length, 0)
        start_of_best = torch.zeros_like(best, dtype=torch.int16)
        for start in range(1, x.shape[1]):
            found = _responses(x, bank, length, start)
            so_far, chosen = best[:, : found.shape[1]], start_of_best[:, : found.shape[1]]
            chosen.masked_fill_(found > so_far, start)
            torch.maximum(so_far, found, out=so_far)
        # Filters short enough to have a window beyond the first n steps.
        beyond = best[:, : (length - x.shape[1]) * n_filters]
        start_of_best[:, : beyond.shape[1]].masked_fill_(beyond < 0, -1)
        beyond.clamp_(min=0)
        ctx.save_for_backward(x, bank, start_of_best)
        ctx.length = length
        return best

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, Tensor, None]:
        x, bank, start_of_best = ctx.saved_tensors
        flat, n_filters = x.flatten(1), bank.shape[1] // ctx.length
        width = x.shape[2]
        to_x, to_bank = torch.zeros_like(flat), torch.zeros_like(bank)
        for start in range(x.shape[1]):
            columns, rows = (ctx.length - start) * n_filters, (x.shape[1] - start) * width
            here = gradient[:, :columns].masked_fill(start_of_best[:, :columns] != start, 0)
            to_x[:, start * width :].addmm_(here, bank[:rows, :columns].T)
            to_bank[:rows, :columns].addmm_(flat[:, start * width :].T, here)
        return to_x.view_as(x), to_bank, None


def _responses(x: Tensor, bank: Tensor, length: int, start: int) -> Tensor:
    """What filters of the heights 1 to L - start give for the window at `start`; (R, (L - start) * F)."""
    steps, width = x.shape[1] - start, x.shape[2]
    n_filters = bank.shape[1] // length
    return x.flatten(1)[:, start * width :] @ bank[: steps * width, : (length - start) * n_filters]
