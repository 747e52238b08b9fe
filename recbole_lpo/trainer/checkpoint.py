"""The weights of a run: tensors and plain values only, whole or absent."""

from __future__ import annotations

import hashlib
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from recbole_lpo.errors import InputError
from recbole_lpo.whole_files import appears_whole

BEST = "best.pth"


def token_map_hash(tokens: np.ndarray) -> str:
    """What tells one catalogue from another: the hash of its external item tokens in order of item number."""
    return hashlib.sha256("\n".join(map(str, tokens)).encode()).hexdigest()


def save_checkpoint(path: Path, model: nn.Module, about: dict[str, Any]) -> None:
    """Write aside, flush, then rename, so that `path` is never half a file.

    about: plain values (text, numbers, lists, dicts) that say what the weights belong to.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # Where RecBole names a layer here, its weights are in the state dict as well.
    others = model.other_parameter() or {}
    others = {name: value for name, value in others.items() if not isinstance(value, nn.Module)}
    content = {"state_dict": model.state_dict(), "other_parameter": others, "about": about}
    with appears_whole(path) as aside:
        torch.save(content, aside)


def load_checkpoint(path: Path, model: nn.Module, *, items: str | None = None, device="cpu") -> dict[str, Any]:
    """Put the weights of a file into a model; returns what the file says about itself.

    Loads with `weights_only=True`: a file can hold data, it cannot run anything. items: the `token_map_hash` of the
    catalogue that the model was built for. Raises InputError where the file is missing, damaged, or of another model or
    catalogue.
    """
    state, other_parameter, about = _read(path, device)
    if items is not None and about.get("items") != items:
        raise InputError(f"{path}: belongs to another catalogue (its item tokens differ from those of this dataset).")
    try:
        model.load_state_dict(state)
    except (RuntimeError, TypeError) as error:
        reason = " ".join(str(error).split())[:300]
        raise InputError(f"{path}: the weights do not fit the model: {reason}") from None
    model.load_other_parameter(other_parameter)
    return about


def _read(path: Path, device) -> tuple[Any, Any, dict[str, Any]]:
    """(state dict, other parameters, about) of a file."""
    try:
        with zipfile.ZipFile(path) as archive:
            # torch itself loads weights with a flipped bit without a word.
            damaged = archive.testzip()
        if damaged:
            raise ValueError(f"the checksum of {damaged} is wrong")
        content = torch.load(path, map_location=device, weights_only=True)
        if not isinstance(content, dict):
            raise TypeError(f"it holds a {type(content).__name__}")
        state, other_parameter, about = content["state_dict"], content["other_parameter"], dict(content["about"])
    except FileNotFoundError:
        raise InputError(f"{path}: there is no such checkpoint. Was the run finished?") from None
    except Exception as error:
        # A damaged file makes the reader fail in any way: OSError, IndexError, UnicodeDecodeError, ...
        reason = " ".join(str(error).split())[:200]
        raise InputError(f"{path}: not a checkpoint of recbole_lpo, or damaged ({reason}).") from None
    return state, other_parameter, about
