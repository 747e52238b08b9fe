"""The least precision in which likelihoods and preferences are computed."""

from __future__ import annotations

import torch
from torch import Tensor


def at_least_float32(x: Tensor) -> Tensor:
    """The tensor in float32, or as it is where it is float32 or float64: exponentials overflow in half precision."""
    return x if x.dtype in (torch.float32, torch.float64) else x.float()
