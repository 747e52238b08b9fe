"""Nested values as named tensors plus JSON, and back: what a checkpoint may hold, and nothing that could run."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from scipy import sparse
from torch import Tensor

# A dict with one of these as its only key stands for something that JSON has no word for.
_TENSOR, _ARRAY, _SPARSE, _TUPLE, _ITEMS = "$tensor", "$array", "$sparse", "$tuple", "$items"


def to_tensors(tree: Any) -> tuple[dict[str, Tensor], str]:
    """(tensors by their path in the tree, the rest as JSON).

    tree: dicts, lists and tuples, nested at will, of numbers, texts, True, False, None, dense tensors, numpy arrays and
    sparse matrices of scipy. The tensors are those of the tree, not copied. Raises TypeError for anything else.
    """
    tensors: dict[str, Tensor] = {}
    return tensors, json.dumps(_plain(tree, "", tensors))


def to_tree(tensors: dict[str, Tensor], plain: str) -> Any:
    """The tree that `to_tensors` was given. Raises KeyError or ValueError where the two do not belong together."""
    return _tree(json.loads(plain), tensors)


def _plain(value: Any, path: str, tensors: dict[str, Tensor]) -> Any:
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return float(value)
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, Tensor) and value.layout == torch.strided:
        return {_TENSOR: _kept(value, path, tensors)}
    if isinstance(value, np.ndarray) and value.dtype != object:
        return {_ARRAY: _kept(torch.from_numpy(np.ascontiguousarray(value)).reshape(value.shape), path, tensors)}
    if sparse.issparse(value):
        rows = value.tocsr()
        parts = {"shape": list(rows.shape), "data": rows.data, "indices": rows.indices, "indptr": rows.indptr}
        return {_SPARSE: {"format": value.format} | _plain(parts, path, tensors)}
    if isinstance(value, dict):
        if all(isinstance(key, str) and not key.startswith("$") for key in value):
            return {key: _plain(item, f"{path}/{key}", tensors) for key, item in value.items()}
        pairs = [[_plain(key, path, tensors), _plain(item, f"{path}/{key}", tensors)] for key, item in value.items()]
        return {_ITEMS: pairs}
    if isinstance(value, list | tuple):
        listed = [_plain(item, f"{path}/{place}", tensors) for place, item in enumerate(value)]
        return {_TUPLE: listed} if isinstance(value, tuple) else listed
    raise TypeError(f"{path or 'the value'}: a checkpoint cannot hold a {type(value).__name__}")


def _kept(tensor: Tensor, path: str, tensors: dict[str, Tensor]) -> str:
    name = path.lstrip("/") or "value"
    name = next(name for name in _names(name) if name not in tensors)
    tensors[name] = tensor
    return name


def _names(name: str) -> Iterator[str]:
    yield name
    number = 2
    while True:
        yield f"{name}#{number}"
        number += 1


def _tree(plain: Any, tensors: dict[str, Tensor]) -> Any:
    if isinstance(plain, list):
        return [_tree(item, tensors) for item in plain]
    if not isinstance(plain, dict):
        return plain
    key = next(iter(plain)) if len(plain) == 1 else None
    if key == _TENSOR:
        return tensors[plain[key]]
    if key == _ARRAY:
        return tensors[plain[key]].numpy()
    if key == _SPARSE:
        parts = {name: _tree(part, tensors) for name, part in plain[key].items()}
        rows = sparse.csr_matrix((parts["data"], parts["indices"], parts["indptr"]), shape=tuple(parts["shape"]))
        return rows.asformat(parts["format"])
    if key == _TUPLE:
        return tuple(_tree(item, tensors) for item in plain[key])
    if key == _ITEMS:
        return {_tree(name, tensors): _tree(item, tensors) for name, item in plain[key]}
    return {name: _tree(item, tensors) for name, item in plain.items()}
