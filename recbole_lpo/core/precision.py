"""In which precision what is computed."""

from __future__ import annotations

import torch
from torch import Tensor

_BFLOAT16_INSTRUCTIONS = ("avx512_bf16", "amx_bf16", "bf16", "sve_bf16")


def at_least_float32(x: Tensor) -> Tensor:
    """The tensor in float32, or as it is where it is float32 or float64: exponentials overflow in half precision."""
    return x if x.dtype in (torch.float32, torch.float64) else x.float()


def full_precision(device: torch.device) -> torch.autocast:
    """A context without mixed precision, for the softmax and all that follows from it."""
    return torch.autocast(device.type, enabled=False)


def half_precision(device: torch.device) -> torch.dtype:
    """The 16-bit type for mixed precision: bfloat16, or float16 on a GPU that has no bfloat16 of its own."""
    if device.type == "cuda" and not torch.cuda.is_bf16_supported(including_emulation=False):
        return torch.float16
    return torch.bfloat16


def cpu_has_bfloat16() -> bool | None:
    """Whether the processor has instructions for matrix products in bfloat16; None where torch cannot tell.

    Without them torch computes such products one by one, many times slower than in float32.
    """
    if not hasattr(torch.cpu, "get_capabilities"):
        return None
    found = torch.cpu.get_capabilities()
    return any(found.get(name, False) for name in _BFLOAT16_INSTRUCTIONS)
