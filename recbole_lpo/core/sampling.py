"""Which rivals a target meets: Gumbel top-K, and what follows from it."""

from __future__ import annotations

import torch
from torch import Tensor


def gumbel_noise(shape: tuple[int, ...], *, generator: torch.Generator | None = None, device=None) -> Tensor:
    """Independent Gumbel(0, 1) draws, float32: minus the log of an Exponential(1) draw -log(1 - u).

    The uniform u is a multiple of 2^-24; 0 counts as 2^-25, so the largest draw is 17.3. (On the CPU four times as fast
    as `Tensor.exponential_`, from uniforms of the same grain.)
    """
    uniform = torch.rand(shape, generator=generator, device=device).clamp_(min=2**-25)
    return uniform.neg_().log1p_().neg_().log_().neg_()


def gumbel_top_k(
    scores: Tensor,
    k: int,
    *,
    scale: float = 1.0,
    exclude: Tensor | None = None,
    generator: torch.Generator | None = None,
) -> Tensor:
    """K columns of each row without replacement, by the Gumbel top-K trick.

    With `scale` s the ordered draw follows Plackett-Luce with weights exp(score / s): the first column is drawn from
    softmax(score / s), the second from the same among the rest, and so on (LPO4Rec Eq. 14-15, where the scores are
    probabilities; the printed formula of the noise misses its uniform variable).

    scores     (B, M); -inf marks a column that must not be drawn
    k          >= 1
    scale      of the noise; >= 0. 0 takes the k best columns without any noise
    exclude    what must not be drawn: a bool mask (B, M), or column numbers (B, E) with any negative number for none
    generator  the random stream; None draws from torch's global one
    returns    (B, k) int64 column numbers in the order drawn, -1 where fewer than k columns remain

    No gradient flows through the choice.
    """
    if scores.ndim != 2:
        raise ValueError(f"scores must have two dimensions (rows, columns), got shape {tuple(scores.shape)}.")
    if k < 1:
        raise ValueError(f"k = {k}: at least one rival must be drawn.")
    if scale < 0:
        raise ValueError(f"scale = {scale}: the noise scale must be >= 0.")
    with torch.no_grad():
        keys = scores.detach().float()
        if scale > 0:
            noise = gumbel_noise(keys.shape, generator=generator, device=keys.device)
            keys = torch.add(keys, noise, alpha=scale)
        barred = torch.isneginf(scores)
        if exclude is not None:
            barred = barred | _as_mask(exclude, scores.shape)
        keys = keys.masked_fill(barred, -torch.inf)
        best = torch.topk(keys, min(k, keys.shape[1]), dim=1)
        drawn = best.indices.masked_fill(torch.isneginf(best.values), -1)
        missing = k - drawn.shape[1]
        return torch.nn.functional.pad(drawn, (0, missing), value=-1) if missing else drawn


def straight_through_inclusion(
    scores: Tensor, drawn: Tensor, *, temperature: float, noise: Tensor | None = None, exclude: Tensor | None = None
) -> Tensor:
    """The K-hot choice in the forward pass, a continuous Gumbel-softmax in the backward pass (LPO4Rec, IV-C).

    Value: 1 at the drawn columns, 0 elsewhere. Gradient: that of y = K' softmax((score + noise) / temperature), K' the
    number of columns drawn in the row. The published code writes `one_hot.detach() + one_hot - one_hot.detach()` with
    an integer one-hot, through which no gradient passes at all; here it does.

    scores (B, M), drawn (B, K) from `gumbel_top_k` with -1 for none, noise (B, M) the noise of that very draw,
    exclude as in `gumbel_top_k`; returns (B, M).
    """
    if temperature <= 0:
        raise ValueError(f"temperature = {temperature}: must be > 0.")
    noisy = scores if noise is None else scores + noise
    barred = torch.isneginf(scores)
    if exclude is not None:
        barred = barred | _as_mask(exclude, scores.shape)
    soft = torch.softmax(noisy.masked_fill(barred, -torch.inf) / temperature, dim=1)
    present = drawn >= 0
    soft = soft.nan_to_num() * present.sum(dim=1, keepdim=True)
    k_hot = torch.zeros_like(soft).scatter_add_(1, drawn.clamp(min=0), present.to(soft.dtype))
    # The bracket is exactly 0, so that the value is exactly the choice.
    return k_hot + (soft - soft.detach())


def _as_mask(exclude: Tensor, shape: torch.Size) -> Tensor:
    """A bool mask of `shape` from a mask, or from column numbers (negative: none)."""
    if exclude.dtype == torch.bool:
        if exclude.shape != shape:
            raise ValueError(f"the exclude mask has shape {tuple(exclude.shape)}, the scores {tuple(shape)}.")
        return exclude
    if exclude.ndim != 2 or exclude.shape[0] != shape[0]:
        raise ValueError(f"exclude must be (rows, any) column numbers for {shape[0]} rows, got {tuple(exclude.shape)}.")
    # Elsewhere the check would make the device wait for the host, and indexing there checks for itself.
    if exclude.device.type == "cpu" and exclude.numel() and int(exclude.max()) >= shape[1]:
        raise ValueError(f"exclude names column {int(exclude.max())}; there are {shape[1]}.")
    mask = torch.zeros((shape[0], shape[1] + 1), dtype=torch.bool, device=exclude.device)
    # Negative numbers fall into one column beyond the last, which is cut off again.
    columns = torch.where(exclude < 0, shape[1], exclude)
    return mask.scatter_(1, columns, True)[:, :-1]
