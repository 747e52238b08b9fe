"""What a model of RecBole keeps of its training outside its weights: counters and arrays in plain attributes.

MultiVAE counts its steps to anneal a term of its loss, LINE walks through a shuffled list of users. A state dict has
none of these, and a training that goes on without them is another one.
"""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from recbole_lpo.trainer.safetensors_file import tensor_bytes

# Of torch itself; the trainer sets it in every epoch.
_NOT_OURS = ("training",)


class PlainAttributes:
    """The numbers, arrays and dense tensors in attributes of a model's modules, and which of them training changes."""

    def __init__(self, model: nn.Module) -> None:
        """model: as it was made, before its first epoch."""
        self._model = model
        self._at_first = {key: _fingerprint(value) for key, value in _found(model).items()}

    def changed(self) -> dict[str, Any]:
        """Those that differ from what they were at first, by `<module>:<attribute>`."""
        now = _found(self._model)
        return {key: value for key, value in now.items() if self._at_first.get(key) != _fingerprint(value)}

    def put(self, changed: dict[str, Any]) -> None:
        """Set what `changed` has found in a model of the same class and settings."""
        modules = dict(self._model.named_modules())
        for key, value in changed.items():
            module, _, name = key.rpartition(":")
            now = getattr(modules[module], name, None)
            setattr(modules[module], name, value.to(now.device) if isinstance(now, Tensor) else value)


def _found(model: nn.Module) -> dict[str, Any]:
    return {
        f"{place}:{name}": value
        for place, module in model.named_modules()
        for name, value in vars(module).items()
        if name not in _NOT_OURS and _is_kept(value)
    }


def _is_kept(value: Any) -> bool:
    if isinstance(value, Tensor):
        return value.layout == torch.strided and not isinstance(value, nn.Parameter)
    if isinstance(value, np.ndarray):
        return value.dtype != object
    return isinstance(value, bool | int | float | np.number)


def _fingerprint(value: Any) -> str:
    """The value of a number, a hash of the bytes of an array."""
    if isinstance(value, np.ndarray | Tensor):
        tensor = torch.as_tensor(value)
        return hashlib.sha256(tensor_bytes(tensor)).hexdigest() + str(tuple(tensor.shape))
    return repr(value)
