"""The random streams of a training: what they are at the moment, and how to put them back.

RecBole draws from the global streams of python, numpy and torch (initial weights, then dropout masks and sampled
negatives), and from a generator in each of its loaders (the order of rows). A model of ours draws rivals from a stream
of its own, and packed batches have their order from the seed and the number of the epoch alone.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader


def streams(train_data, model: nn.Module) -> dict[str, Any]:
    """Where every stream of a training stands: tensors and plain values."""
    rivals = getattr(model, "rival_streams", {})
    return global_streams() | {
        "loaders": [generator.get_state() for generator in _generators(train_data)],
        "rivals": {str(device): generator.get_state() for device, generator in rivals.items()},
    }


def put_streams(found: dict[str, Any], train_data, model: nn.Module) -> None:
    """Have every stream stand where `streams` found it. Raises ValueError for loaders of another kind."""
    put_global_streams(found)
    for generator, state in zip(_generators(train_data), found["loaders"], strict=True):
        generator.set_state(state)
    for device, state in found["rivals"].items():
        model.rival_stream(torch.device(device)).set_state(state)


@contextmanager
def undisturbed_streams(loader=None) -> Iterator[None]:
    """Whatever is drawn in the block, all streams stand afterwards where they stood before: training does not notice.

    loader: one that is read in the block; its generator counts too.
    """
    generators = _generators(loader)
    before, states = global_streams(), [generator.get_state() for generator in generators]
    try:
        yield
    finally:
        put_global_streams(before)
        for generator, state in zip(generators, states, strict=True):
            generator.set_state(state)


def global_streams() -> dict[str, Any]:
    """The streams of python, numpy, torch and, where it has been used, CUDA."""
    name, keys, *rest = np.random.get_state()
    found = {"python": random.getstate(), "numpy": [name, keys.astype(np.int64), *rest], "torch": torch.get_rng_state()}
    return found | {"cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else []}


def put_global_streams(found: dict[str, Any]) -> None:
    """Have the global streams stand where `global_streams` found them."""
    random.setstate(found["python"])
    name, keys, *rest = found["numpy"]
    np.random.set_state((name, keys.astype(np.uint32), *rest))
    torch.set_rng_state(found["torch"])
    if found["cuda"] and torch.cuda.is_available():
        torch.cuda.set_rng_state_all(found["cuda"])


def _generators(loader) -> list[torch.Generator]:
    """Those of a loader of RecBole, or of the loaders that it is made of."""
    parts = [] if loader is None else [loader, *vars(loader).values()]
    found = (getattr(part, "generator", None) for part in parts if part is loader or isinstance(part, DataLoader))
    return [generator for generator in found if isinstance(generator, torch.Generator)]
