"""The likelihood of the targets without the (B, N) scores of all items: a walk over the catalogue in chunks of columns.

The forward pass keeps a running maximum and sum for each row (the online softmax of Milakov and Gimelshein,
arXiv 1805.02867), or the sum alone where no score can be large; the backward pass finds the probabilities of the first
items kept, makes those of each further chunk again, and writes the gradient of each item once. A chunk of scores fits
the cache of a processor, so on a CPU this is faster than the scores as a whole, whatever memory there is.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.autograd import Function
from torch.nn import functional

from recbole_lpo.core.precision import at_least_float32
from recbole_lpo.core.reused_memory import reused_empty

# Scores are kept in bits: on a CPU torch's exp2 takes a third of the time of its exp.
_BITS = 1 / math.log(2)

# 2 MB of float32 scores on a CPU, where a chunk should stay in the cache; elsewhere a launch should have enough to do.
_CHUNK_CELLS_CPU, _CHUNK_CELLS = 2**19, 2**24

# Scores between -60 and 60 bits (41 nats) and the sums of their powers are far from what float32 cannot hold, so none
# has to be taken relative to the largest of its row: on a CPU this saves a tenth of the time of the loss.
_NEAR_ZERO = 60.0

# Chunks of items are multiples of this: 255 items in place of 256 cost a fifth more time.
_LANES = 64

# 12 million of float32. Making all probabilities again takes a quarter more time.
KEPT_BYTES = 48 * 2**20


def column_nll(
    hidden: Tensor,
    item_table: Tensor,
    target: Tensor,
    *,
    bias: Tensor | None = None,
    chunk: int | None = None,
    kept_bytes: int = KEPT_BYTES,
    gradient_dtype: torch.dtype | None = None,
) -> Tensor:
    """Cross-entropy of each row over all items, in nats: (B, D), (N, D), (B,), (N,) or None -> (B,).

    chunk           items that are scored at once; None: about half a million scores on a CPU, 17 million elsewhere
    kept_bytes      the memory for those of the B N probabilities that are kept for the backward pass, which has to make
                    the others again; changes no digit
    gradient_dtype  torch.bfloat16: the gradients' matrix products, of the probabilities with the item vectors and with
                    the hidden states, take their arguments and give their results in it, as those of torch's autocast
                    do: to two to three digits, in half the time where the processor has instructions for it. The value
                    stays in full precision. None: the gradients do too

    Computed in float32, or in float64 where an argument is, under autocast too. Memory beside the gradients: one chunk,
    and the probabilities that are kept. The gradient cannot be differentiated again: RuntimeError.
    """
    dtype = torch.promote_types(hidden.dtype, item_table.dtype)
    hidden = at_least_float32(hidden.to(dtype))
    if chunk is None:
        cells = _CHUNK_CELLS_CPU if hidden.device.type == "cpu" else _CHUNK_CELLS
        chunk = _LANES * max(1, round(cells / max(1, len(hidden)) / _LANES))
    n_rows = len(hidden)
    if gradient_dtype is not None:
        # For products in bfloat16 oneDNN keeps 2 MB for each number of rows that it has seen.
        more = -n_rows % _LANES
        hidden, target = functional.pad(hidden, (0, 0, 0, more)), functional.pad(target, (0, more))
    options = chunk, kept_bytes, gradient_dtype or hidden.dtype
    with torch.autocast(device_type=hidden.device.type, enabled=False):
        return _ColumnSoftmax.apply(hidden, item_table, bias, target, *options)[:n_rows]


def second_derivative_error(method: str) -> str:
    """The message for a gradient that is asked for with create_graph=True."""
    return f"item_softmax = {method}: its gradient cannot be differentiated again. Take item_softmax = dense."


class _ColumnSoftmax(Function):
    @staticmethod
    def forward(ctx, hidden, item_table, bias, target, chunk, kept_bytes, gradient_dtype):
        n_rows, n_items = len(hidden), len(item_table)
        # In whole chunks.
        chunk_bytes = max(1, n_rows * chunk * gradient_dtype.itemsize)
        n_kept = min(kept_bytes // chunk_bytes * chunk, n_items) if any(ctx.needs_input_grad) else 0
        store = reused_empty((n_rows * n_kept,), "probabilities", like=hidden.new_empty(0, dtype=gradient_dtype))
        place = _place(hidden, chunk, n_items)
        kept_as_made = gradient_dtype == hidden.dtype
        walk = [(begin, min(begin + chunk, n_items)) for begin in range(0, n_items, chunk)]
        in_bits = hidden * _BITS
        # Finite, so that a row in which all items so far have a bias of -inf does not become nan.
        lowest = torch.finfo(hidden.dtype).min
        shifted = not _near_zero(in_bits, item_table, bias)
        top, total = hidden.new_full((n_rows,), lowest if shifted else 0.0), hidden.new_zeros(n_rows)
        tops = hidden.new_empty(len(walk), n_rows) if shifted else None
        for number, (begin, end) in enumerate(walk):
            kept = _chunk_of(store, n_rows, begin, end - begin) if begin < n_kept else None
            scores = kept if kept_as_made and kept is not None else _chunk_of(place, n_rows, 0, end - begin)
            _score(in_bits, item_table, bias, begin, end, out=scores)
            if shifted:
                higher = torch.maximum(top, scores.amax(dim=1), out=tops[number])
                scores.sub_(higher[:, None])
                total.mul_(torch.exp2(top - higher))
                top = higher
            total.add_(scores.exp2_().sum(dim=1))
            if kept is not None and not kept_as_made:
                kept.copy_(scores)
        own = (in_bits * item_table[target]).sum(dim=1)
        if bias is not None:
            own = own + bias[target] * _BITS
        ctx.save_for_backward(hidden, item_table, bias, target, top, total, store, tops)
        ctx.walk, ctx.n_kept, ctx.method = walk, n_kept, "chunked" if kept_as_made else "chunked_bfloat16"
        # The score of the target is rounded in two ways here, so the loss of a sure one could come out below 0.
        return ((top - own + torch.log2(total)) / _BITS).clamp(min=0)

    @staticmethod
    def backward(ctx, grad):
        if torch.is_grad_enabled():
            raise RuntimeError(second_derivative_error(ctx.method))
        hidden, item_table, bias, target, top, total, store, tops = ctx.saved_tensors
        n_rows, in_bits = len(hidden), hidden * _BITS
        needs_hidden, needs_table, needs_bias = ctx.needs_input_grad[:3]
        grad_hidden = torch.zeros_like(hidden) if needs_hidden else None
        grad_table = reused_empty(item_table.shape, "gradient", like=item_table) if needs_table else None
        grad_bias = bias.new_empty(bias.shape) if needs_bias else None
        place = _place(hidden, ctx.walk[0][1], len(item_table))
        weight = grad / total
        for number, (begin, end) in enumerate(ctx.walk):
            if begin < ctx.n_kept:
                prob = _chunk_of(store, n_rows, begin, end - begin)
            else:
                scores = _chunk_of(place, n_rows, 0, end - begin)
                _score(in_bits, item_table, bias, begin, end, out=scores)
                if tops is not None:
                    scores.sub_(tops[number, :, None])
                prob = scores.exp2_().to(store.dtype)
            if tops is not None:
                # Relative to the maximum of its time, kept or not: the same digits. What makes probabilities of that is
                # a factor for each row, and goes where there are few numbers.
                weight = grad * torch.exp2(tops[number] - top) / total
            if needs_hidden:
                rows = item_table[begin:end].to(prob.dtype)
                grad_hidden.addcmul_(torch.mm(prob, rows), weight[:, None])
            if needs_table:
                grad_table[begin:end] = torch.mm(prob.T, (hidden * weight[:, None]).to(prob.dtype))
            if needs_bias:
                grad_bias[begin:end] = torch.mv(prob.T, weight.to(prob.dtype))
        if needs_hidden:
            grad_hidden.addcmul_(item_table[target].to(hidden.dtype), grad[:, None], value=-1)
        if needs_table:
            grad_table.index_add_(0, target, (hidden * grad[:, None]).to(grad_table.dtype), alpha=-1)
        if needs_bias:
            grad_bias.index_add_(0, target, grad.to(grad_bias.dtype), alpha=-1)
        return grad_hidden, grad_table, grad_bias, None, None, None, None


def _near_zero(in_bits: Tensor, item_table: Tensor, bias: Tensor | None) -> bool:
    """Whether every score, in bits, is small for certain: by the lengths of its two vectors."""
    # A GPU would have to wait for the answer.
    if in_bits.device.type != "cpu" or not len(in_bits):
        return False
    longest = [torch.linalg.vector_norm(rows, dim=1, dtype=in_bits.dtype).max() for rows in (in_bits, item_table)]
    largest = float(longest[0] * longest[1])
    if bias is not None:
        largest += float(bias.abs().max()) * _BITS
    return largest <= _NEAR_ZERO


def _place(hidden: Tensor, chunk: int, n_items: int) -> Tensor:
    """Memory for the scores of a chunk that is not kept."""
    return reused_empty((len(hidden) * min(chunk, n_items),), "scores", like=hidden)


def _chunk_of(store: Tensor, n_rows: int, begin: int, size: int) -> Tensor:
    """(n_rows, size) part of a flat tensor, for the items from `begin` on."""
    return store[n_rows * begin : n_rows * (begin + size)].view(n_rows, size)


def _score(in_bits: Tensor, item_table: Tensor, bias: Tensor | None, begin: int, end: int, *, out: Tensor) -> None:
    """Write the scores of the items from `begin` to `end`, in bits, to `out`."""
    torch.mm(in_bits, item_table[begin:end].to(in_bits.dtype).T, out=out)
    if bias is not None:
        out.add_(bias[begin:end] * _BITS)
