"""The likelihood of items under the softmax over the whole catalogue."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from recbole_lpo.core.column_softmax import column_nll, second_derivative_error
from recbole_lpo.core.gathered_rows import rows_of
from recbole_lpo.core.precision import at_least_float32
from recbole_lpo.errors import InputError

METHODS = ("auto", "dense", "chunked", "chunked_bfloat16", "fused")

# Up to here `auto` is `dense`, which has RecBole's digits: a batch of 2,048 targets on 2,048 items. Where there are no
# digits to keep, up to where the chunks begin to win on a CPU.
_DENSE_CELLS, _DENSE_CELLS_OWN_DIGITS = 2**22, 2**20

# Dense keeps scores, log-probabilities and their gradient; on a GPU they may take this share of its memory.
_DENSE_COPIES, _DENSE_SHARE = 3, 0.25

# Scores that torch's own loss holds at once, 64 MiB of float32. By default it takes so few rows at a time that on 2,048
# targets and 100 thousand items it is six times slower.
_FUSED_CELLS = 2**24


def target_nll(
    hidden: Tensor, item_table: Tensor, target: Tensor, *, bias: Tensor | None = None, method: str = "auto"
) -> Tensor:
    """Cross-entropy of each row: minus the target's log-probability over the whole catalogue, in nats.

    hidden      (B, D)
    item_table  (N, D); the score of item n is hidden . item_table[n]
    target      (B,) column numbers
    bias        (N,) added to the score of each item, the same in every row; None: nothing
    method      one of METHODS, see `softmax_method`: the same numbers up to rounding, but for the gradient of
                `chunked_bfloat16`, other memory and time
    returns     (B,) float32 or better

    The padding column takes part, as in RecBole's own cross-entropy. Raises InputError for `fused` on a torch that is
    too old for it. Only the gradient of `dense` can be differentiated again; that of the others
    raises RuntimeError.
    """
    match softmax_method(method, len(hidden), len(item_table), hidden.device):
        case "dense":
            return _dense_nll(hidden, item_table, target, bias)
        case "fused":
            return _fused_nll(hidden, item_table, target, bias)
        case "chunked_bfloat16":
            return column_nll(hidden, item_table, target, bias=bias, gradient_dtype=torch.bfloat16)
    return column_nll(hidden, item_table, target, bias=bias)


def softmax_method(method: str, n_rows: int, n_items: int, device: torch.device, *, recbole_digits: bool = True) -> str:
    """How `target_nll` computes: dense (all B N scores at once), chunked (`column_nll`), chunked_bfloat16 (the same
    with matrix products of the gradient in bfloat16) or fused (torch's `linear_cross_entropy`).

    `auto` is dense up to 4 million scores, where it has the digits of RecBole's cross-entropy, or up to a million where
    these do not matter (recbole_digits). Above that it is chunked on a CPU, which is faster there; on a GPU it stays
    dense while three copies of the scores take no more than a quarter of the memory (chosen for safety, not measured on
    a GPU). Never chunked_bfloat16, whose gradient has two to three digits, and never fused: on a CPU that is slower.
    Raises InputError for a method that is unknown, or that the installed torch does not have.
    """
    check_method(method)
    if method != "auto":
        return method
    cells = n_rows * n_items
    if cells <= (_DENSE_CELLS if recbole_digits else _DENSE_CELLS_OWN_DIGITS):
        return "dense"
    if device.type == "cuda":
        memory = torch.cuda.get_device_properties(device).total_memory
        return "dense" if 4 * _DENSE_COPIES * cells <= _DENSE_SHARE * memory else "chunked"
    return "chunked"


def check_method(method: str) -> None:
    """Raise InputError unless `method` is one of METHODS and the installed torch has it."""
    if method not in METHODS:
        raise InputError(f"item_softmax = {method}: unknown. Allowed: {', '.join(METHODS)}.")
    if method == "fused" and not hasattr(functional, "linear_cross_entropy"):
        raise InputError(
            f"item_softmax = fused: torch {torch.__version__} has no linear_cross_entropy, torch 2.13 and newer have. "
            "Take item_softmax = chunked, which gives the same numbers, or a newer torch."
        )


def _dense_nll(hidden: Tensor, item_table: Tensor, target: Tensor, bias: Tensor | None) -> Tensor:
    logits = at_least_float32(torch.matmul(hidden, item_table.transpose(0, 1)))
    if bias is not None:
        logits = logits + bias
    return functional.cross_entropy(logits, target, reduction="none")


def _fused_nll(hidden: Tensor, item_table: Tensor, target: Tensor, bias: Tensor | None) -> Tensor:
    dtype = at_least_float32(torch.empty((), dtype=torch.promote_types(hidden.dtype, item_table.dtype))).dtype
    rows = max(1, _FUSED_CELLS // len(item_table))
    with torch.autocast(device_type=hidden.device.type, enabled=False):
        nll = functional.linear_cross_entropy(
            hidden.to(dtype),
            item_table.to(dtype),
            target,
            linear_bias=None if bias is None else bias.to(dtype),
            reduction="none",
            options=torch.nn.LinearCrossEntropyOptions(batch_chunk_size=rows),
        )
    if nll.requires_grad:
        # torch takes the second derivative for 0 and says nothing.
        nll.register_hook(_refuse_second_derivative)
    return nll


def _refuse_second_derivative(grad: Tensor) -> None:
    if torch.is_grad_enabled():
        raise RuntimeError(second_derivative_error("fused"))


def item_scores(hidden: Tensor, item_table: Tensor, columns: Tensor) -> Tensor:
    """Scores of a few items for each row, differentiable: (B, D), (N, D), (B, K) column numbers -> (B, K).

    -inf where the column is -1. Dot products with K gathered rows: a gather from (B, N) logits would make its backward
    pass fill a (B, N) gradient with zeros. Products and sums take half the time of the batched matrix product of a
    matrix and a vector.
    """
    rows = rows_of(item_table, columns.clamp(min=0))
    scores = (rows * hidden[:, None, :]).sum(dim=2)
    return at_least_float32(scores).masked_fill(columns < 0, -torch.inf)


def catalogue_log_sum(nll: Tensor, target_score: Tensor, pad_score: Tensor | None = None) -> Tensor:
    """The log of the softmax denominator; (B,), without the padding column where its score is given.

    From `log sum = nll + score of the target` (all (B,)), so it needs no second walk over the catalogue. A padding
    column that holds all but a millionth of the probability is taken to hold just that much, so that the result stays
    finite.
    """
    log_sum = nll + target_score
    if pad_score is None:
        return log_sum
    return log_sum + log1mexp((pad_score - log_sum).clamp(max=-1e-6))


def log1mexp(x: Tensor) -> Tensor:
    """log(1 - exp(x)) for x < 0, without loss of digits near 0 and far from it."""
    near_zero = x > -0.6931471805599453
    # Each branch gets a harmless value where the other one is taken: its gradient is multiplied by 0, not by inf.
    small = torch.where(near_zero, x, -1.0)
    large = torch.where(near_zero, -1.0, x)
    return torch.where(near_zero, torch.log(-torch.expm1(small)), torch.log1p(-torch.exp(large)))
