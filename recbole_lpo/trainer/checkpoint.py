"""The weights of a run: tensors and plain values only, whole or absent."""

from __future__ import annotations

import hashlib
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from recbole_lpo.errors import InputError

BEST = "best.pth"


def token_map_hash(tokens: np.ndarray) -> str:
    """What tells one catalogue from another: the hash of its external item tokens in order of item number."""
    return hashlib.sha256("\n".join(map(str, tokens)).encode()).hexdigest()


def save_checkpoint(path: Path, model: nn.Module, about: dict[str, Any]) -> None:
    """Write aside, flush, then rename, so that `path` is never half a file.

    about: plain values (text, numbers, lists, dicts) that say what the weights belong to.
    """
    aside = path.with_suffix(".partial")
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {"state_dict": model.state_dict(), "other_parameter": model.other_parameter(), "about": about}
    with open(aside, "wb") as file:
        torch.save(content, file)
        file.flush()
        os.fsync(file.fileno())
    os.replace(aside, path)


def load_checkpoint(path: Path, model: nn.Module, *, items: str | None = None, device="cpu") -> dict[str, Any]:
    """Put the weights of a file into a model; returns what the file says about itself.

    Loads with `weights_only=True`: a file can hold data, it cannot run anything. items: the `token_map_hash` of the
    catalogue that the model was built for. Raises InputError where the file is missing, damaged, or of another model or
    catalogue.
    """
    try:
        content = torch.load(path, map_location=device, weights_only=True)
        state, about = content["state_dict"], content["about"]
    except FileNotFoundError:
        raise InputError(f"{path}: there is no such checkpoint. Was the run finished?") from None
    except (pickle.UnpicklingError, RuntimeError, EOFError, KeyError, TypeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(f"{path}: not a checkpoint of recbole_lpo, or damaged ({reason}).") from None
    if items is not None and about.get("items") != items:
        raise InputError(f"{path}: belongs to another catalogue (its item tokens differ from those of this dataset).")
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:300]
        raise InputError(f"{path}: the weights do not fit the model: {reason}") from None
    model.load_other_parameter(content["other_parameter"])
    return about
