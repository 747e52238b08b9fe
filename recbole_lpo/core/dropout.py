"""Dropout whose masks are cheap to draw on the CPU."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

_DTYPES = {8: torch.int8, 16: torch.int16}


def dropout(x: Tensor, p: float, training: bool) -> Tensor:
    """Zero each element with probability p and divide the others by what is left of 1, as `functional.dropout` does.

    p in [0, 1]. On the CPU p is taken to the nearest multiple of 2^-16, the division included, so that the mean of an
    element stays what it is: four masks then come from one random number, eight where p is a multiple of 2^-8 (as 0.5),
    in a fifth of the time that `functional.dropout` takes there. Elsewhere this is `functional.dropout`.
    """
    bits = 8 if float((1 - p) * 2**8).is_integer() else 16
    kept = round((1 - p) * 2**bits)
    if not training or kept == 2**bits:
        return x
    if x.device.type != "cpu" or kept == 0:
        return functional.dropout(x, p)
    draws = torch.empty(-(-x.numel() * bits // 64), dtype=torch.int64).random_(-(2**63), None).view(_DTYPES[bits])
    # Compared into numbers: a mask of booleans would have to be made into these.
    mask = torch.lt(draws[: x.numel()], kept - 2 ** (bits - 1), out=x.new_empty(x.numel()))
    return x * mask.mul_(2**bits / kept).view(x.shape)
