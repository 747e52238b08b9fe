"""Writing tensors in the safetensors format, one after the other: no second copy of them in memory.

The library's own writer takes the whole file from memory or puts a temporary one of its own beside it; ours are written
aside under a name that is known (`whole_files`). The format is 8 bytes with the length of the header (little-endian),
the header (JSON: name -> dtype, shape and place of each tensor, and `__metadata__`), and the bytes of the tensors.
https://huggingface.co/docs/safetensors#format
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

_NAMES = {
    torch.float64: "F64", torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16", torch.int64: "I64",
    torch.int32: "I32", torch.int16: "I16", torch.int8: "I8", torch.uint8: "U8", torch.bool: "BOOL",
}  # fmt: skip
# The tensors start at a multiple of this many bytes.
_ALIGNMENT = 8


def tensor_bytes(tensor: Tensor) -> memoryview:
    """The bytes of a dense tensor in row-major order, without a copy where it lies so on the CPU."""
    flat = tensor.detach().cpu().contiguous().reshape(-1)
    return memoryview(flat.view(torch.uint8).numpy()) if flat.numel() else memoryview(b"")


def write_safetensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Write a file that `safetensors.safe_open` reads. Raises OSError, and TypeError for a type that we do not keep."""
    header: dict[str, object] = {"__metadata__": dict(metadata)}
    end = 0
    for name, tensor in tensors.items():
        if tensor.dtype not in _NAMES:
            raise TypeError(f"{name}: a checkpoint cannot hold a tensor of {tensor.dtype}")
        start, end = end, end + tensor.numel() * tensor.element_size()
        header[name] = {"dtype": _NAMES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [start, end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % _ALIGNMENT)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little"))
        file.write(text)
        for tensor in tensors.values():
            file.write(tensor_bytes(tensor))
